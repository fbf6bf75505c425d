"""The sidecar seen from outside: health, status, metrics (contract section 11)."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec
import psutil
from attrs import define
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.internet.interfaces import IReactorTime

from cco_sidecar import __version__
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.projects import Projects
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import Refusal
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.measurements import Measurements, Performance
from cco_sidecar.web.routing import Call, Gate, NoQuery

FULL_AT = 0.9
DISK_LOW_AT = 0.05
MB = 1024 * 1024


class Checks(msgspec.Struct):
    """What ``/health`` looked at."""

    storage: str
    event_bus: str
    memory_usage_mb: float
    cpu_usage_percent: float
    active_agents: int
    event_queue_size: int
    disk_space_available_mb: float


class HealthAnswer(msgspec.Struct):
    """Whether all is well."""

    status: str
    service: str
    version: str
    uptime_seconds: float
    checks: Checks
    timestamp: str


class ProbeAnswer(msgspec.Struct):
    """Yes, for a supervisor."""

    status: str
    timestamp: str


class AgentsStatus(msgspec.Struct):
    """Agents, counted."""

    active: int
    completed: int
    failed: int
    spawned_total: int
    by_type: dict[str, int]
    avg_execution_time_ms: float


class StorageStatus(msgspec.Struct):
    """What is kept; the path only for those with a token."""

    context_cache_entries: int
    context_cache_mb: float
    results_stored: int
    total_size_mb: float
    cache_hit_rate: float
    storage_path: str | None


class EventsStatus(msgspec.Struct):
    """Events, counted."""

    total_published: int
    total_delivered: int
    active_subscriptions: int
    queue_depth: int
    avg_delivery_time_ms: float
    dead_letter_queue_size: int


class StatusAnswer(msgspec.Struct):
    """Everything that is measured."""

    agents: AgentsStatus
    storage: StorageStatus
    events: EventsStatus
    performance: Performance
    timestamp: str


@define(eq=False)
class Sources:
    """Where the numbers come from."""

    projects: Projects
    agents: Agents
    measurements: Measurements
    settle: Callable[[], None]  # brings the measurements up to date
    storage: Path
    journal_troubles: Callable[[], list[str]]
    journal_bytes: Callable[[], int]
    journal_damaged: Callable[[], int]
    results_stored: Callable[[], int]
    results_bytes: Callable[[], int]
    cache: "CacheNumbers"

    @property
    def fullest(self) -> float:
        """How full the fullest project's ring is (0 to 1)."""
        return max((len(project.hub.ring) / project.hub.ring.capacity for project in self.projects), default=0.0)

    @property
    def queue_depth(self) -> int:
        """How many events are retained, in all projects."""
        return sum(len(project.hub.ring) for project in self.projects)

    @property
    def parked(self) -> int:
        """How many polls are parked, and streams open, now."""
        return sum(len(project.hub.waiters) + len(project.hub.followers) for project in self.projects)


class CacheNumbers(Protocol):
    """What the context cache counts."""

    hits: int
    misses: int

    @property
    def entries(self) -> int:
        """How many contexts it holds."""

    @property
    def size_bytes(self) -> int:
        """How large they are."""


@define(eq=False)
class StatusAPI:
    """Read, encode."""

    _clock: IReactorTime
    _gate: Gate
    _sources: Sources
    _is_ready: Callable[[], bool]
    _started_at: float
    _process: psutil.Process | None = None

    async def health(self, call: Call[NoQuery, None]) -> Reply:
        """Say whether all is well, and what is not."""
        sources = self._sources
        if self._process is None:
            self._process = psutil.Process()  # not sooner: twistd forks after all is built, and that is another process
        disk = os.statvfs(sources.storage)
        troubles = sources.journal_troubles()
        unhealthy = bool(troubles)
        damaged = sources.journal_damaged() > 0
        degraded = damaged or sources.fullest > FULL_AT or disk.f_bavail < DISK_LOW_AT * disk.f_blocks
        checks = Checks(
            storage="unavailable" if troubles else "damaged" if damaged else "ok",
            event_bus="ok" if not troubles else troubles[0],
            memory_usage_mb=round(self._process.memory_info().rss / MB, 1),
            cpu_usage_percent=self._process.cpu_percent(),
            active_agents=sources.agents.totals().active,
            event_queue_size=sources.queue_depth,
            disk_space_available_mb=round(disk.f_bavail * disk.f_frsize / MB, 1),
        )
        now = self._clock.seconds()
        status = "unhealthy" if unhealthy else "degraded" if degraded else "healthy"
        answer = HealthAnswer(
            status, "orchestration-sidecar", __version__, round(now - self._started_at, 3), checks, rfc3339(now)
        )
        return Reply(answer, 503 if unhealthy else 200)

    async def live(self, call: Call[NoQuery, None]) -> Reply:
        """Say that the reactor turns."""
        return Reply(ProbeAnswer("ok", rfc3339(self._clock.seconds())))

    async def ready(self, call: Call[NoQuery, None]) -> Reply:
        """Say whether requests are taken: not before recovery, not while it shuts down, not with a broken log."""
        ready = self._is_ready() and not self._sources.journal_troubles()
        answer = ProbeAnswer("ok" if ready else "not ready", rfc3339(self._clock.seconds()))
        return Reply(answer, 200 if ready else 503)

    async def status(self, call: Call[NoQuery, None]) -> Reply:
        """Give the numbers; names only to those who show a token."""
        known = self._shows_token(call)
        sources = self._sources
        sources.settle()
        totals = sources.agents.totals()
        asked = sources.cache.hits + sources.cache.misses
        hubs = [project.hub for project in sources.projects]
        answer = StatusAnswer(
            agents=AgentsStatus(
                active=totals.active,
                completed=totals.completed,
                failed=totals.failed,
                spawned_total=totals.spawned_total,
                by_type=dict(totals.by_type) if known else {},
                avg_execution_time_ms=totals.avg_execution_time_ms,
            ),
            storage=StorageStatus(
                context_cache_entries=sources.cache.entries,
                context_cache_mb=round(sources.cache.size_bytes / MB, 3),
                results_stored=sources.results_stored(),
                total_size_mb=round((sources.results_bytes() + sources.journal_bytes()) / MB, 3),
                cache_hit_rate=round(sources.cache.hits / asked, 4) if asked else 0.0,
                storage_path=str(sources.storage) if known else None,
            ),
            events=EventsStatus(
                total_published=sum(hub.published_total for hub in hubs),
                total_delivered=sum(hub.delivered_total for hub in hubs),
                active_subscriptions=sources.parked,
                queue_depth=sources.queue_depth,
                avg_delivery_time_ms=sources.measurements.avg_delivery_time_ms,
                dead_letter_queue_size=sum(len(project.dead_letters) for project in sources.projects),
            ),
            performance=sources.measurements.performance(),
            timestamp=rfc3339(self._clock.seconds()),
        )
        return Reply(answer)

    def _shows_token(self, call: Call[NoQuery, None]) -> bool:
        if call.request.getHeader("authorization") is None:
            return False
        try:
            self._gate.authenticate(call.request)
        except Refusal:
            return False
        return True

    async def metrics(self, call: Call[NoQuery, None]) -> Reply:
        """Give Prometheus its numbers."""
        self._sources.settle()
        encoder, content_type = choose_encoder(call.request.getHeader("accept") or "")
        return Reply(encoder(self._sources.measurements.registry), content_type=content_type.encode())


class SidecarCollector(Collector):
    """Reads the numbers that others keep, at the moment they are asked for."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        """Give them to Prometheus."""
        sources = self._sources
        hubs = [project.hub for project in sources.projects]
        yield _gauge("sidecar_active_agents", "Agents that are starting or running.", sources.agents.totals().active)
        yield _gauge("sidecar_parked_polls", "Polls that are parked now.", sources.parked)
        yield _gauge(
            "sidecar_storage_bytes",
            "What results and event log hold on disk.",
            sources.results_bytes() + sources.journal_bytes(),
        )
        yield _counter(
            "sidecar_journal_damaged",
            "Damaged stretches that the start found.",
            sources.journal_damaged(),
        )
        yield _counter("sidecar_events_published", "Events published.", sum(hub.published_total for hub in hubs))
        yield _counter("sidecar_events_delivered", "Events given to readers.", sum(h.delivered_total for h in hubs))
        yield _counter("sidecar_cache_hits", "Contexts served from the cache.", sources.cache.hits)
        yield _counter("sidecar_cache_misses", "Contexts gathered anew.", sources.cache.misses)


def _gauge(name: str, text: str, value: float) -> Metric:
    family: Metric = GaugeMetricFamily(name, text, value=value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    family: Metric = CounterMetricFamily(name, text, value=value)
    return family
