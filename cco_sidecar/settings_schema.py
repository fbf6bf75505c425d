"""What can be set, and the frozen `Settings` that comes of it (contract section 2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from cco_sidecar.settings_checks import (
    Bucket,
    Check,
    ResourceLimits,
    Runner,
    buckets,
    host,
    list_of,
    network_or_host,
    one_of,
    optional_file,
    origin_of_pages,
    path,
    resource_limits,
    runners,
    truth,
    whole,
)

LOG_LEVELS = ("debug", "info", "warning", "error")


@frozen
class Option:
    """A setting: ``name`` in `Settings.origin`, ``key`` in the config file; with a ``variable`` it has a flag, too."""

    name: str
    key: str
    check: Check
    default: object
    variable: str | None = None

    @property
    def flag(self) -> str:
        """Give the flag as it is typed."""
        return "--" + self.name.replace("_", "-")


OPTIONS: Sequence[Option] = (
    Option("host", "sidecar.host", host, "127.0.0.1", "CCO_SIDECAR_HOST"),
    Option("port", "sidecar.port", whole(0, 65535), 3001, "CCO_SIDECAR_PORT"),
    Option("storage", "sidecar.storage_path", path, "/tmp/cco-sidecar", "CCO_SIDECAR_STORAGE"),
    Option("cache_size_mb", "sidecar.cache_size_mb", whole(1), 1024, "CCO_SIDECAR_CACHE_SIZE_MB"),
    Option("log_level", "sidecar.log_level", one_of(*LOG_LEVELS), "info", "CCO_SIDECAR_LOG_LEVEL"),
    Option("roster", "sidecar.roster", optional_file, None, "CCO_SIDECAR_ROSTER"),
    Option("allowed_hosts", "sidecar.allowed_hosts", list_of(host, "a list of host names"), ()),
    Option("allowed_origins", "sidecar.allowed_origins", list_of(origin_of_pages, "a list of origins"), ()),
    Option("tokens.ttl_seconds", "tokens.ttl_seconds", whole(1, 366 * 86400), 3600),
    Option("tokens.refresh_before_seconds", "tokens.refresh_before_seconds", whole(0), 300),
    Option("rate_limits.enabled", "rate_limits.enabled", truth, True),
    Option("rate_limits.categories", "rate_limits.categories", buckets, {}),
    Option("events.retention_seconds", "events.retention_seconds", whole(1), 86400),
    Option("events.max_events", "events.max_events", whole(1), 10000),
    Option("events.max_parked_polls", "events.max_parked_polls", whole(1), 20000),
    Option("agents.max_concurrent", "agents.max_concurrent", whole(1), 119),
    Option("agents.default_timeout_seconds", "agents.default_timeout_seconds", whole(1), 28800),
    Option("agents.on_shutdown", "agents.on_shutdown", one_of("leave", "stop"), "leave"),
    Option("agents.runners", "agents.runners", runners, {}),
    Option("agents.max_per_project", "agents.max_per_project", whole(0), 0),
    Option("agents.max_per_type", "agents.max_per_type", whole(0), 0),
    Option("agents.max_per_parent", "agents.max_per_parent", whole(0), 32),
    Option("agents.max_depth", "agents.max_depth", whole(0, 1000), 4),
    Option("agents.max_starts_per_minute", "agents.max_starts_per_minute", whole(0), 600),
    Option("agents.crash_loop_failures", "agents.crash_loop_failures", whole(0), 3),
    Option("agents.first_backoff_seconds", "agents.first_backoff_seconds", whole(1, 3600), 1),
    Option("agents.most_backoff_seconds", "agents.most_backoff_seconds", whole(1, 86400), 300),
    Option("agents.first_request_seconds", "agents.first_request_seconds", whole(0), 60),
    Option("agents.silent_seconds", "agents.silent_seconds", whole(0), 900),
    Option("agents.busy_seconds", "agents.busy_seconds", whole(0), 1800),
    Option("agents.loop_requests", "agents.loop_requests", whole(0), 100),
    Option("agents.budget_grace_seconds", "agents.budget_grace_seconds", whole(0, 3600), 60),
    Option("agents.limits", "agents.limits", resource_limits, {}),
    Option("breaker.first_wait_seconds", "breaker.first_wait_seconds", whole(1, 86400), 30),
    Option("breaker.most_wait_seconds", "breaker.most_wait_seconds", whole(1, 86400), 300),
    Option("breaker.login_wait_seconds", "breaker.login_wait_seconds", whole(1, 86400), 600),
    Option("breaker.resume_per_minute", "breaker.resume_per_minute", whole(0), 60),
    Option("breaker.max_parkings", "breaker.max_parkings", whole(0), 200),
    Option("breaker.max_parked_seconds", "breaker.max_parked_seconds", whole(0), 259200),
    Option("hooks.on_failure", "hooks.on_failure", one_of("allow", "deny"), "allow"),
    Option(
        "webhooks.allowed_networks",
        "webhooks.allowed_networks",
        list_of(network_or_host, "a list of networks, addresses and host names"),
        (),
    ),
    Option("webhooks.max_attempts", "webhooks.max_attempts", whole(1, 100), 8),
    Option("webhooks.first_retry_seconds", "webhooks.first_retry_seconds", whole(1, 3600), 5),
    Option("webhooks.most_retry_seconds", "webhooks.most_retry_seconds", whole(1, 86400), 900),
    Option("webhooks.timeout_seconds", "webhooks.timeout_seconds", whole(1, 60), 10),
)
"""Every setting but the projects, which are a list on the command line and an object in the file."""


@frozen
class TokenSettings:
    """How long agents' tokens live, and how long before their end they are replaced (at most half of it)."""

    ttl_seconds: int
    refresh_before_seconds: float


@frozen
class RateLimits:
    """Whether requests are limited, and how for each category of agents."""

    enabled: bool
    categories: Mapping[str, Bucket]


@frozen
class EventSettings:
    """How long and how many events are kept for each project, and how many polls may be parked in all."""

    retention_seconds: int
    max_events: int
    max_parked_polls: int


@frozen
class AgentSettings:
    """How many agents run at once, for how long, with which patience; and what becomes of them when the sidecar ends.

    Of the caps and the patience 0 is none; docs/configuration.md says what each means.
    """

    max_concurrent: int
    default_timeout_seconds: int
    on_shutdown: Literal["leave", "stop"]
    runners: Mapping[str, Runner]
    max_per_project: int
    max_per_type: int
    max_per_parent: int
    max_depth: int
    max_starts_per_minute: int
    crash_loop_failures: int
    first_backoff_seconds: int
    most_backoff_seconds: int
    first_request_seconds: int
    silent_seconds: int
    busy_seconds: int
    loop_requests: int
    budget_grace_seconds: int
    limits: ResourceLimits


@frozen
class BreakerSettings:
    """How an account that is of no use is tried again, and how long its agents wait for that.

    docs/configuration.md says what each means.
    """

    first_wait_seconds: int
    most_wait_seconds: int
    login_wait_seconds: int
    resume_per_minute: int
    max_parkings: int
    max_parked_seconds: int


@frozen
class HookSettings:
    """What comes of an edit that the sidecar could not be asked about."""

    on_failure: Literal["allow", "deny"]


@frozen
class WebhookSettings:
    """Where webhooks may go beside public addresses, and how often, how soon and for how long each message is tried."""

    allowed_networks: Sequence[str]
    max_attempts: int
    first_retry_seconds: int
    most_retry_seconds: int
    timeout_seconds: int


@frozen
class Settings:
    """Everything that can be set, checked; all paths are absolute.

    ``projects`` is ordered, its first is the default project; ``roster`` None is the packaged one; ``origin`` says
    for each setting where it came from (``flag --port``, ``environment CCO_SIDECAR_PORT``, ``file PATH``, ``default``).
    """

    host: str
    port: int
    storage: Path
    cache_size_mb: int
    log_level: str
    roster: Path | None
    allowed_hosts: Sequence[str]
    allowed_origins: Sequence[str]
    projects: Mapping[str, Path]
    tokens: TokenSettings
    rate_limits: RateLimits
    events: EventSettings
    agents: AgentSettings
    breaker: BreakerSettings
    hooks: HookSettings
    webhooks: WebhookSettings
    config: Path
    home: Path
    origin: Mapping[str, str] = field(repr=False)

    @property
    def default_project(self) -> str:
        """Give the id of the project that is meant when none is named."""
        return next(iter(self.projects))
