"""The settings: where each comes from, and what each refuses."""

import json
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict
from hypothesis import HealthCheck, given, settings, strategies

from cco_sidecar.backends.agents.limits import limits_of
from cco_sidecar.settings import (
    Bucket,
    Runner,
    Settings,
    SettingsError,
    WebhookSettings,
    add_project,
    as_config,
    load,
    origin_of,
    places,
    remove_project,
)


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """Give a directory with a home, a config-less start and a working directory ``shop``."""
    (tmp_path / "home").mkdir()
    (tmp_path / "shop").mkdir()
    return tmp_path


def loaded(
    where: Path, flags: Mapping[str, object] | None = None, config: object = None, /, **environ: str
) -> Settings:
    """Load with ``where`` as home; ``config`` is written as the default config file."""
    if config is not None:
        (where / "home" / "config.json").write_text(json.dumps(config))
    return load(flags or {}, {"HOME": str(where), "CCO_HOME": str(where / "home"), **environ}, where / "shop")


def refused(where: Path, flags: Mapping[str, object] | None = None, config: object = None, /, **environ: str) -> str:
    """Give the line of the refusal."""
    with pytest.raises(SettingsError) as caught:
        loaded(where, flags, config, **environ)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


def test_defaults(where: Path) -> None:
    """Without anything set, the values are those of the contract."""
    found = loaded(where)
    assert (found.host, found.port, found.storage) == ("127.0.0.1", 3001, Path("/tmp").resolve() / "cco-sidecar")
    assert (found.cache_size_mb, found.log_level, found.roster) == (1024, "info", None)
    assert found.projects == {"shop": where / "shop"}
    assert (found.tokens.ttl_seconds, found.tokens.refresh_before_seconds) == (3600, 300)
    assert found.events.max_parked_polls == 20000
    assert (found.agents.max_concurrent, found.agents.on_shutdown) == (119, "leave")
    assert found.webhooks == WebhookSettings((), 8, 5, 900, 10)
    assert found.rate_limits.categories["coding"] == Bucket(300, 60)
    assert found.rate_limits.categories["research"] == Bucket(120, 30)
    assert "architect" not in found.rate_limits.categories
    assert found.origin["port"] == "default"


def test_home_default(where: Path) -> None:
    """Without CCO_HOME the home is ~/.cco."""
    assert load({}, {"HOME": str(where)}, where).home == where / ".cco"


FOUR_WAYS = [
    ("host", "CCO_SIDECAR_HOST", "host", "::1", "0.0.0.0", "localhost"),
    ("port", "CCO_SIDECAR_PORT", "port", 1, 2, 3),
    ("cache_size_mb", "CCO_SIDECAR_CACHE_SIZE_MB", "cache_size_mb", 1, 2, 3),
    ("log_level", "CCO_SIDECAR_LOG_LEVEL", "log_level", "debug", "warning", "error"),
]


@pytest.mark.parametrize(("name", "variable", "key", "by_flag", "by_variable", "by_file"), FOUR_WAYS)
def test_order(  # noqa: PLR0917
    where: Path, name: str, variable: str, key: str, by_flag: Any, by_variable: Any, by_file: Any
) -> None:
    """A flag beats the environment, which beats the file; each value says where it came from."""
    config = {"sidecar": {key: by_file}}
    option = "--" + name.replace("_", "-")
    file = where / "home" / "config.json"

    found = loaded(where, {}, config)
    assert (getattr(found, name), found.origin[name]) == (by_file, f"file {file}")

    found = loaded(where, {}, config, **{variable: str(by_variable)})
    assert (getattr(found, name), found.origin[name]) == (by_variable, f"environment {variable}")

    found = loaded(where, {name: str(by_flag)}, config, **{variable: str(by_variable)})
    assert (getattr(found, name), found.origin[name]) == (by_flag, f"flag {option}")


def test_paths(where: Path) -> None:
    """Relative paths start at the working directory, in the file at its directory; ~ is the home of the user."""
    config = {"sidecar": {"storage_path": "data"}}
    assert loaded(where, {}, config).storage == where / "home" / "data"
    assert loaded(where, {}, config, CCO_SIDECAR_STORAGE="data").storage == where / "shop" / "data"
    assert loaded(where, {"storage": "~/data"}, config).storage == where / "data"


def test_storage_link_stays(where: Path) -> None:
    """A storage that is a symlink is not followed: the service must see it to refuse it."""
    (where / "link").symlink_to(where / "shop")
    assert loaded(where, {"storage": str(where / "link")}).storage == where / "link"


def test_empty_variable(where: Path) -> None:
    """An empty variable counts as not set."""
    assert loaded(where, CCO_SIDECAR_PORT="", PROJECT_ROOT="").port == 3001


def test_roster_of_project(where: Path) -> None:
    """The default project's own roster is taken if there is one."""
    roster = where / "shop" / "config" / "orchestra-config.json"
    roster.parent.mkdir()
    roster.write_text("{}")
    assert loaded(where).roster == roster
    other = where / "other.json"
    other.write_text("{}")
    assert loaded(where, {"roster": str(other)}).roster == other


def test_projects_by_flags(where: Path) -> None:
    """Several projects keep their order; an id is made of a directory's name."""
    odd = where / "My Shop (old)"
    odd.mkdir()
    found = loaded(where, {"project_root": [f"main={where / 'shop'}", str(odd)]})
    assert list(found.projects.items()) == [("main", where / "shop"), ("My-Shop-old", odd)]
    assert found.default_project == "main"
    assert found.origin["projects"] == "flag --project-root"


def test_projects_by_environment(where: Path) -> None:
    """PROJECT_ROOT is one directory, or several as in PATH."""
    (where / "a:b").mkdir()
    (where / "web").mkdir()
    assert list(loaded(where, PROJECT_ROOT=str(where / "a:b")).projects) == ["a-b"]
    both = os.pathsep.join([str(where / "shop"), f"site={where / 'web'}"])
    assert list(loaded(where, PROJECT_ROOT=both).projects) == ["shop", "site"]


def test_projects_by_file(where: Path) -> None:
    """The file's projects count when nothing else names any."""
    config = {"projects": {"b": str(where / "home"), "a": "../shop"}}
    found = loaded(where, {}, config)
    assert list(found.projects.items()) == [("b", where / "home"), ("a", where / "shop")]
    assert list(loaded(where, {"project_root": [str(where / "shop")]}, config).projects) == ["shop"]


def test_root_directory_as_project() -> None:
    """A directory whose name gives no id is called project."""
    assert list(load({"project_root": ["/"]}, {"CCO_HOME": "/nonexistent"}, Path("/")).projects) == ["project"]


def test_file_values(where: Path) -> None:
    """Everything in the contract's example is taken."""
    config = {
        "sidecar": {"allowed_hosts": ["sidecar.example"], "allowed_origins": ["https://example.org"]},
        "tokens": {"ttl_seconds": 60, "refresh_before_seconds": 10},
        "rate_limits": {"enabled": False, "categories": {"coding": {"burst": 5}, "own": {"per_minute": 1, "burst": 2}}},
        "events": {"retention_seconds": 5, "max_events": 6, "max_parked_polls": 7},
        "agents": {
            "max_concurrent": 2,
            "default_timeout_seconds": 3,
            "on_shutdown": "stop",
            "runners": {"mine": {"command": ["program", "{task}"], "env": {"A": "b"}}},
        },
    }
    found = loaded(where, {}, config)
    assert (found.allowed_hosts, found.allowed_origins) == (("sidecar.example",), ("https://example.org",))
    assert (found.tokens.ttl_seconds, found.tokens.refresh_before_seconds) == (60, 10)
    assert found.rate_limits.enabled is False
    assert found.rate_limits.categories["coding"] == Bucket(300, 5)
    assert found.rate_limits.categories["own"] == Bucket(1, 2)
    assert (found.events.retention_seconds, found.events.max_events) == (5, 6)
    assert found.agents.on_shutdown == "stop"
    assert found.agents.runners == {"mine": Runner(("program", "{task}"), {"A": "b"})}
    assert origin_of(found, "tokens.ttl_seconds").startswith("file ")
    assert origin_of(found, "sidecar.port") == "default"


def test_refresh_before_is_half_at_most(where: Path) -> None:
    """Tokens that live shortly are refreshed at half of their life."""
    assert loaded(where, {}, {"tokens": {"ttl_seconds": 10}}).tokens.refresh_before_seconds == 5


def test_as_config_loads_again(where: Path) -> None:
    """What `cco config show` prints is a config file that means the same."""
    config = {"agents": {"runners": {"mine": {"command": ["program"]}}}, "sidecar": {"port": 4000}}
    shown = as_config(loaded(where, {}, config))
    assert as_config(loaded(where, {}, shown)) == shown
    assert list(shown)[:2] == ["sidecar", "projects"]


TEXT_REFUSALS = [
    ("port", "--port", "65536", "65535"),
    ("port", "--port", "-1", "0 to 65535"),
    ("port", "--port", "abc", "whole number"),
    ("port", "--port", "1_0", "whole number"),
    ("cache_size_mb", "--cache-size-mb", "0", "1 or more"),
    ("log_level", "--log-level", "loud", "debug, info, warning, error"),
    ("host", "--host", "http://x", "host name"),
    ("host", "--host", "a b", "host name"),
    ("storage", "--storage", " ", "a path"),
    ("storage", "--storage", "a\0b", "a path"),
    ("roster", "--roster", "missing.json", "file that exists"),
    ("config", "--config", "missing.json", "file that exists"),
]


@pytest.mark.parametrize(("name", "option", "value", "right"), TEXT_REFUSALS)
def test_wrong_flag(where: Path, name: str, option: str, value: str, right: str) -> None:
    """A wrong flag is named as it was typed, with what would be right."""
    line = refused(where, {name: value})
    assert line.startswith(option)
    assert right in line


def test_limits_of_agents(where: Path) -> None:
    """A limit that is named takes the place of its default; null takes it away; `show` gives them all."""
    found = loaded(where, {}, {"agents": {"limits": {"open_files": None, "memory_mb": 512}}})
    assert limits_of(asdict(found.agents.limits)) == [
        (resource.RLIMIT_DATA, 512 << 20, 512 << 20),
        (resource.RLIMIT_CORE, 0, 0),
    ]
    assert as_config(found)["agents"]["limits"] == {
        "open_files": None,
        "memory_mb": 512,
        "processes": None,
        "file_size_mb": None,
        "core_mb": 0,
    }
    usual = loaded(where, {}, {}).agents.limits
    assert limits_of(asdict(usual)) == [(resource.RLIMIT_NOFILE, 4096, -1), (resource.RLIMIT_CORE, 0, 0)]


def test_wrong_variable(where: Path) -> None:
    """A wrong variable is named, even when the file has a right value."""
    line = refused(where, {}, {"sidecar": {"port": 1}}, CCO_SIDECAR_PORT="70000")
    assert line == 'CCO_SIDECAR_PORT must be a whole number from 0 to 65535, not "70000".'


def test_hidden_by_a_stronger_one(where: Path) -> None:
    """A wrong value that a stronger source replaces is not looked at."""
    assert loaded(where, {"port": "5"}, {}, CCO_SIDECAR_PORT="x").port == 5


FILE_REFUSALS: list[tuple[object, str, str]] = [
    ({"sidecar": {"port": True}}, "sidecar.port", "whole number"),
    ({"sidecar": {"port": "3001"}}, "sidecar.port", "whole number"),
    ({"sidecar": {"port": 1.5}}, "sidecar.port", "whole number"),
    ({"sidecar": {"prot": 1}}, "sidecar", "did you mean port?"),
    ({"sidecars": {}}, "sidecars", "did you mean sidecar?"),
    ({"sidecar": {"zzz": 1}}, "zzz", "known are host, port"),
    ({"sidecar": []}, "sidecar", "an object"),
    ([], "must be", "an object"),
    ({"sidecar": {"allowed_hosts": "x"}}, "sidecar.allowed_hosts", "a list"),
    ({"sidecar": {"allowed_hosts": [1]}}, "sidecar.allowed_hosts.0", "host name"),
    ({"sidecar": {"allowed_origins": ["*"]}}, "sidecar.allowed_origins.0", "an origin"),
    ({"sidecar": {"log_level": 1}}, "sidecar.log_level", "one of"),
    ({"projects": {"-x": "."}}, "projects", "an id"),
    ({"projects": {"x": "missing"}}, "projects.x", "directory that exists"),
    ({"projects": {"x": ".", "y": "."}}, "projects", "twice"),
    ({"projects": ["."]}, "projects", "an object"),
    ({"projects": 1}, "projects", "an object"),
    ({"tokens": {"ttl_seconds": 0}}, "tokens.ttl_seconds", "1 to 31622400"),
    ({"rate_limits": {"enabled": 1}}, "rate_limits.enabled", "true or false"),
    ({"rate_limits": {"categories": {"own": {"burst": 1}}}}, "categories.own", "both"),
    ({"rate_limits": {"categories": {"coding": {"brust": 1}}}}, "categories.coding", "did you mean burst?"),
    ({"rate_limits": {"categories": {"coding": {"burst": 0}}}}, "categories.coding.burst", "1 or more"),
    ({"rate_limits": {"categories": {"a b": {}}}}, "rate_limits.categories", "category"),
    ({"rate_limits": {"categories": []}}, "rate_limits.categories", "an object"),
    ({"agents": {"on_shutdown": "kill"}}, "agents.on_shutdown", "leave, stop"),
    ({"agents": {"runners": {"x": {}}}}, "agents.runners.x.command", "the program"),
    ({"agents": {"runners": {"x": {"command": []}}}}, "agents.runners.x.command", "the program"),
    ({"agents": {"runners": {"x": {"command": "ls"}}}}, "agents.runners.x.command", "a list"),
    ({"agents": {"runners": {"x": {"command": ["a", 1]}}}}, "agents.runners.x.command.1", "a text"),
    ({"agents": {"runners": {"x": {"command": ["a"], "env": {"1": "a"}}}}}, "agents.runners.x.env", "variable"),
    ({"agents": {"runners": {"x": {"command": ["a"], "env": []}}}}, "agents.runners.x.env", "names and texts"),
    ({"agents": {"runners": {"x/y": {"command": ["a"]}}}}, "agents.runners", "runner"),
    ({"agents": {"runners": []}}, "agents.runners", "an object"),
    ({"agents": {"runners": {"x": {"command": ["a"], "first_request_seconds": -1}}}}, "first_request_seconds", "0 or"),
    ({"agents": {"runners": {"x": {"command": ["a"], "output": "json"}}}}, "output", "one of text, stream-json"),
    ({"agents": {"max_deph": 1}}, "agents", "did you mean max_depth?"),
    ({"agents": {"max_per_type": -1}}, "agents.max_per_type", "0 or more"),
    ({"agents": {"first_backoff_seconds": 0}}, "agents.first_backoff_seconds", "1 to 3600"),
    ({"agents": {"silent_seconds": "15m"}}, "agents.silent_seconds", "a whole number"),
    ({"agents": {"limits": {"open_file": 1}}}, "agents.limits", "did you mean open_files?"),
    ({"agents": {"limits": {"open_files": 1}}}, "agents.limits.open_files", "a whole number from 16"),
    ({"agents": {"limits": []}}, "agents.limits", "an object"),
    ({"webhooks": {"allowed_networks": "10.0.0.0/8"}}, "webhooks.allowed_networks", "a list"),
    ({"webhooks": {"allowed_networks": ["10.0.0.1/8"]}}, "webhooks.allowed_networks.0", "a network"),
    ({"webhooks": {"allowed_networks": ["127.1"]}}, "webhooks.allowed_networks.0", "a network"),
    ({"webhooks": {"allowed_networks": [1]}}, "webhooks.allowed_networks.0", "a network"),
    ({"webhooks": {"max_attempt": 1}}, "webhooks", "did you mean max_attempts?"),
    ({"webhooks": {"max_attempts": 0}}, "webhooks.max_attempts", "1 to 100"),
    ({"webhooks": {"timeout_seconds": 61}}, "webhooks.timeout_seconds", "1 to 60"),
]


@pytest.mark.parametrize(("config", "key", "right"), FILE_REFUSALS)
def test_wrong_file(where: Path, config: object, key: str, right: str) -> None:
    """A wrong value in the file is named with the file and the key."""
    line = refused(where, {}, config)
    assert line.startswith(str(where / "home" / "config.json"))
    assert key in line
    assert right in line


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (b'{"sidecar":\n  {"port" 1}}', "config.json:2:11: "),
        (b"", "config.json:1:1: "),
        (b'{"a": NaN}', "NaN"),
        (b'{"sidecar": {}, "sidecar": {}}', "twice"),
        (b"\xff", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b" " * (2 << 20), "1 MiB"),
    ],
)
def test_no_json(where: Path, text: bytes, right: str) -> None:
    """A file that is no JSON is refused with the place of the slip."""
    (where / "home" / "config.json").write_bytes(text)
    assert right in refused(where)


def test_config_is_a_directory(where: Path) -> None:
    """A config file that cannot be read is refused, not passed over."""
    (where / "home" / "config.json").mkdir()
    assert "cannot be read" in refused(where)


def test_config_that_is_named_must_exist(where: Path) -> None:
    """The default config file may be missing, one that is named may not."""
    assert refused(where, CCO_CONFIG="none.json").startswith("CCO_CONFIG must be a file that exists")


@pytest.mark.parametrize(
    ("roots", "right"),
    [
        (["missing"], "a directory that exists"),
        (["a b=."], "ID"),
        (["x=.", "x=.."], "two projects named x"),
        (["x=.", "y=."], "twice"),
        (["x=missing"], "a directory that exists"),
    ],
)
def test_wrong_projects(where: Path, roots: list[str], right: str) -> None:
    """A wrong project is refused with the flag's name."""
    line = refused(where, {"project_root": roots})
    assert line.startswith("--project-root")
    assert right in line


def test_project_root_of_separators(where: Path) -> None:
    """PROJECT_ROOT without a single directory is refused."""
    assert refused(where, PROJECT_ROOT=os.pathsep).startswith("PROJECT_ROOT")


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = strategies.sampled_from(
    ["port", "host", "storage_path", "roster", "allowed_hosts", "ttl_seconds", "categories", "runners", "enabled", "x"]
)
SECTIONS = strategies.sampled_from(["sidecar", "projects", "tokens", "rate_limits", "events", "agents"])
CONFIGS = JSON | strategies.dictionaries(SECTIONS, strategies.dictionaries(KEYS, JSON, max_size=3) | JSON, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(config=CONFIGS)
def test_any_json(where: Path, config: object) -> None:
    """Whatever JSON the file holds, it loads or is refused in one line; nothing else ever escapes."""
    (where / "home" / "config.json").write_text(json.dumps(config))
    try:
        found = load({}, {"HOME": str(where), "CCO_HOME": str(where / "home")}, where / "shop")
    except SettingsError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert found.projects


def test_places_without_a_file(where: Path) -> None:
    """Home and config file are known without reading the file."""
    environ = {"HOME": str(where), "CCO_HOME": str(where / "home")}
    (where / "home" / "config.json").write_text("no JSON")
    assert places({}, environ, where) == (where / "home", where / "home" / "config.json")
    assert places({"config": "c.json"}, environ, where)[1] == where / "c.json"


def test_add_and_remove_project(where: Path) -> None:
    """Projects are edited in the file; its other keys, and a link to it, stay."""
    real, config = where / "real.json", where / "home" / "config.json"
    real.write_text(json.dumps({"sidecar": {"port": 5}, "projects": {"old": str(where / "home")}}))
    config.symlink_to(real)
    assert add_project(config, "shop", None, {}, where) == ("shop", where / "shop")
    assert add_project(config, "shop", None, {}, where) == ("shop", where / "shop")
    remove_project(config, "old")
    assert json.loads(real.read_text()) == {"sidecar": {"port": 5}, "projects": {"shop": str(where / "shop")}}
    assert config.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(it.name for it in where.iterdir()) == ["home", "real.json", "shop"]


def test_add_project_makes_the_file(where: Path) -> None:
    """The first project makes the home and the file."""
    config = where / "new" / "config.json"
    add_project(config, str(where / "shop"), "main", {}, where)
    assert json.loads(config.read_text()) == {"projects": {"main": str(where / "shop")}}
    assert config.parent.stat().st_mode & 0o777 == 0o700


def test_add_project_refusals(where: Path) -> None:
    """A taken id, a missing directory, a broken file are refused, and the file stays as it was."""
    config = where / "home" / "config.json"
    add_project(config, "shop", "main", {}, where)
    before = config.read_bytes()
    for text, name in (("home", "main"), ("missing", None), ("shop", "no id")):
        with pytest.raises(SettingsError):
            add_project(config, text, name, {}, where)
    with pytest.raises(SettingsError, match="it has main"):
        remove_project(config, "mian")
    assert config.read_bytes() == before
    config.write_text("[]")
    with pytest.raises(SettingsError, match="object"):
        add_project(config, "shop", None, {}, where)
