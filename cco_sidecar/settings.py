"""The settings: a flag beats its environment variable, which beats the config file, which beats the default."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from cco_sidecar.settings_checks import (
    DEFAULT_BUCKETS,
    Bucket,
    Given,
    ResourceLimits,
    Runner,
    SettingsError,
    directory,
    holds,
    known_keys,
    path,
)
from cco_sidecar.settings_file import add_project, read_config, remove_project
from cco_sidecar.settings_projects import id_of, projects_of_object, projects_of_texts
from cco_sidecar.settings_schema import (
    LOG_LEVELS,
    OPTIONS,
    AgentSettings,
    BreakerSettings,
    EventSettings,
    HookSettings,
    Option,
    RateLimits,
    Settings,
    TokenSettings,
    WebhookSettings,
)

__all__ = [
    "DEFAULT_BUCKETS",
    "LOG_LEVELS",
    "AgentSettings",
    "BreakerSettings",
    "Bucket",
    "EventSettings",
    "RateLimits",
    "Runner",
    "Settings",
    "SettingsError",
    "TokenSettings",
    "WebhookSettings",
    "add_project",
    "as_config",
    "load",
    "origin_of",
    "places",
    "remove_project",
]

_ROSTER_IN_PROJECT = Path("config", "orchestra-config.json")


def load(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Settings:
    """Put the settings together and check each one.

    ``flags`` has the option names of `Settings` and ``project_root`` (a list of ``ID=DIR`` or ``DIR``) and ``config``;
    None and an empty list mean that the flag was not given. Relative paths start at ``cwd``, in the file at its
    directory. An empty environment variable counts as not set.

    :raises SettingsError: something is wrong; one line.
    """
    sources = _Sources.read(flags, environ, cwd)
    values: dict[str, Any] = {}
    origin = {"home": sources.home.origin, "config": sources.config.origin}
    for option in OPTIONS:
        given = sources.given(option)
        values[option.name] = option.check(given)
        origin[option.name] = given.origin
    projects, origin["projects"] = sources.projects()
    if values["roster"] is None:
        in_project = next(iter(projects.values())) / _ROSTER_IN_PROJECT
        values["roster"] = in_project if holds(in_project.is_file) else None
    ttl = values["tokens.ttl_seconds"]
    refresh_before = min(values["tokens.refresh_before_seconds"], ttl / 2)
    return Settings(
        **{name: value for name, value in values.items() if "." not in name},
        projects=projects,
        tokens=TokenSettings(ttl, refresh_before),
        rate_limits=RateLimits(**_below("rate_limits", values)),
        events=EventSettings(**_below("events", values)),
        agents=AgentSettings(**_below("agents", values)),
        breaker=BreakerSettings(**_below("breaker", values)),
        hooks=HookSettings(**_below("hooks", values)),
        webhooks=WebhookSettings(**_below("webhooks", values)),
        config=path(sources.config),
        home=path(sources.home),
        origin=origin,
    )


def _below(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    start = section + "."
    return {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}


def places(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> tuple[Path, Path]:
    """Give the home and the config file without reading the file.

    :raises SettingsError: one of them is no path.
    """
    home, config = _places(flags, environ, cwd)
    return path(home), path(config)


def _places(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> tuple[Given, Given]:
    user_home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    home = Given(user_home / ".cco", "default", "CCO_HOME", cwd, user_home)
    if environ.get("CCO_HOME"):
        home = Given(environ["CCO_HOME"], "environment CCO_HOME", "CCO_HOME", cwd, user_home, True)
    config = Given(path(home) / "config.json", "default", "--config", cwd, user_home)
    if flags.get("config") is not None:
        config = Given(flags["config"], "flag --config", "--config", cwd, user_home, True)
    elif environ.get("CCO_CONFIG"):
        config = Given(environ["CCO_CONFIG"], "environment CCO_CONFIG", "CCO_CONFIG", cwd, user_home, True)
    return home, config


@frozen
class _Sources:
    """Where values come from; ``file`` has the config file's values by their dotted keys."""

    flags: Mapping[str, object]
    environ: Mapping[str, str]
    cwd: Path
    home: Given
    config: Given
    file: Mapping[str, Any]

    @classmethod
    def read(cls, flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> "_Sources":
        home, config = _places(flags, environ, cwd)
        tree = read_config(path(config), may_miss=config.origin == "default", named=config.named)
        return cls(flags, environ, cwd, home, config, _flat(_in_file(path(config), "", tree, config.user_home)))

    def given(self, option: Option) -> Given:
        """Find the strongest value of ``option``."""
        user_home = self.config.user_home
        if option.variable is not None:
            if (flag := self.flags.get(option.name)) is not None:
                return Given(flag, f"flag {option.flag}", option.flag, self.cwd, user_home, True)
            if text := self.environ.get(option.variable):
                return Given(text, f"environment {option.variable}", option.variable, self.cwd, user_home, True)
        if option.key in self.file:
            return _in_file(path(self.config), option.key, self.file[option.key], user_home)
        return Given(option.default, "default", option.key, self.cwd, user_home)

    def projects(self) -> tuple[Mapping[str, Path], str]:
        """Find the projects, and say where they come from: one source has them all."""
        user_home = self.config.user_home
        roots: Any = self.flags.get("project_root")
        if roots:
            many = [roots] if isinstance(roots, str) else list(roots)
            given = [Given(it, "flag --project-root", "--project-root", self.cwd, user_home, True) for it in many]
            return projects_of_texts(given), "flag --project-root"
        if text := self.environ.get("PROJECT_ROOT"):
            origin = "environment PROJECT_ROOT"
            many = [text] if holds((self.cwd / text).is_dir) else [it for it in text.split(os.pathsep) if it]
            given = [Given(it, origin, "PROJECT_ROOT", self.cwd, user_home, True) for it in many]
            return projects_of_texts(given), origin
        if self.file.get("projects"):
            whole_object = _in_file(path(self.config), "projects", self.file["projects"], user_home)
            return projects_of_object(whole_object), whole_object.origin
        root = directory(Given(self.cwd, "default", "--project-root", self.cwd, user_home))
        return {id_of(root): root}, "default"


def _in_file(config: Path, key: str, value: object, user_home: Path) -> Given:
    named = f"{config}: {key}" if key else f"{config}:"
    return Given(value, f"file {config}", named, config.parent, user_home)


def _flat(tree: Given) -> dict[str, Any]:
    """Check the keys of the file's two levels, and give its values by their dotted keys."""
    sections: dict[str, list[str]] = {"sidecar": [], "projects": []}
    for option in OPTIONS:
        section, _, leaf = option.key.partition(".")
        sections.setdefault(section, []).append(leaf)
    found: dict[str, Any] = {}
    for section, value in known_keys(tree, sections).items():
        named = Given(value, tree.origin, f"{tree.named} {section}", tree.base, tree.user_home)
        if section == "projects":
            found["projects"] = value if isinstance(value, dict) else known_keys(named, ())
            continue
        found |= {f"{section}.{leaf}": it for leaf, it in known_keys(named, sections[section]).items()}
    return found


def as_config(settings: Settings) -> dict[str, Any]:
    """Give the settings in the shape of the config file."""
    sections: dict[str, dict[str, Any]] = {}
    for option in OPTIONS:
        section, _, leaf = option.key.partition(".")
        holder: Any = settings
        for part in option.name.split("."):
            holder = getattr(holder, part)
        sections.setdefault(section, {})[leaf] = _plain(holder)
    projects = {name: str(root) for name, root in settings.projects.items()}
    return {"sidecar": sections.pop("sidecar"), "projects": projects, **sections}


def origin_of(settings: Settings, key: str) -> str:
    """Say where the value of a key of the config file (``sidecar.port``), ``home`` or ``config`` came from."""
    names = {option.key: option.name for option in OPTIONS}
    return settings.origin[names.get(key, key)]


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Bucket | ResourceLimits):
        return _plain(asdict(value, recurse=False))
    if isinstance(value, Runner):
        return _plain(asdict(value, recurse=False, filter=lambda _, it: it is not None))
    if isinstance(value, Mapping):
        return {key: _plain(it) for key, it in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(it) for it in value]
    return value
