"""The config file: reading it, and writing its projects for `cco project`."""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cco_sidecar.settings_checks import Given, SettingsError, shown
from cco_sidecar.settings_projects import projects_of_texts

_MAX_CONFIG_BYTES = 1 << 20


def read_config(config: Path, may_miss: bool, named: str) -> Any:
    """Give the JSON value of the file; ``{}`` if it is missing and ``may_miss``.

    :param named: the option that named it, for the message.
    :raises SettingsError: it cannot be read, or is not JSON (with line and column).
    """
    try:
        with config.open("rb") as opened:
            body = opened.read(_MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        if may_miss:
            return {}
        raise SettingsError(f"{named} must be a file that exists, not {shown(str(config))}.") from None
    except OSError as error:
        raise SettingsError(f"{config}: cannot be read: {error.strerror}.") from None
    if len(body) > _MAX_CONFIG_BYTES:
        raise SettingsError(f"{config}: is larger than 1 MiB, which no configuration needs to be.")
    try:
        return json.loads(body.decode(), object_pairs_hook=_each_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{config}:{error.lineno}:{error.colno}: is not valid JSON: {error.msg}.") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"{config}: is not valid JSON: {error}.") from None


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} is there twice")
        found[key] = value
    return found


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is no number of JSON")


def add_project(config: Path, text: str, name: str | None, environ: Mapping[str, str], cwd: Path) -> tuple[str, Path]:
    """Write a project (``DIR``, or ``ID=DIR``) into the config file; gives its id and directory.

    :param name: its id, or None to take the one in ``text`` or make one of the directory's name.
    :raises SettingsError: the directory is missing, the id is not one or is taken, or the file cannot be used.
    """
    user_home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    given = Given(text if name is None else f"{name}={text}", "argument", "DIR", cwd, user_home, True)
    ((found, root),) = projects_of_texts([given]).items()
    tree = _editable(config)
    projects = tree.setdefault("projects", {})
    if found in projects and projects[found] != str(root):
        raise SettingsError(f"{config}: has a project {found} already, at {projects[found]}; choose another id.")
    projects[found] = str(root)
    _replace(config, tree)
    return found, root


def remove_project(config: Path, name: str) -> None:
    """Take a project out of the config file.

    :raises SettingsError: it has none of that id, or cannot be used.
    """
    tree = _editable(config)
    known = tree.get("projects", {})
    if name not in known:
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise SettingsError(f"{config}: has no project {shown(name)}; {there}.")
    del tree["projects"][name]
    _replace(config, tree)


def _editable(config: Path) -> dict[str, Any]:
    tree = read_config(config, may_miss=True, named="--config")
    if not isinstance(tree, dict) or not isinstance(tree.get("projects", {}), dict):
        raise SettingsError(f'{config}: must be an object, and its "projects", too.')
    return tree


def _replace(config: Path, tree: Mapping[str, Any]) -> None:
    """Write the file anew, whole or not at all; a link stays a link."""
    target = config.resolve()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".config-", dir=target.parent)  # made 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as opened:
                json.dump(tree, opened, indent=2, ensure_ascii=False)
                opened.write("\n")
                opened.flush()
                os.fsync(opened.fileno())
            Path(name).replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise SettingsError(f"{config}: cannot be written: {error.strerror}.") from None
