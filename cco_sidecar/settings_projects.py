"""The projects: directory trees with ids, as the command line, the environment and the config file name them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cco_sidecar.core.identifiers import is_identifier
from cco_sidecar.settings_checks import Given, SettingsError, directory, shown


def id_of(root: Path) -> str:
    """Make a project's id of its directory's name."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).lstrip("._-")[:128].rstrip("-")
    return text or "project"


def _split(given: Given) -> tuple[str | None, Given]:
    """Take ``ID=DIR`` apart; what has a slash before its first ``=`` is a directory."""
    text = str(given.value)
    name, equals, rest = text.partition("=")
    if not equals or "/" in name:
        return None, given
    return name, Given(rest, given.origin, given.named, given.base, given.user_home, True)


def projects_of_texts(many: Sequence[Given]) -> Mapping[str, Path]:
    """Give the projects that ``ID=DIR`` and ``DIR`` texts name, in their order.

    :raises SettingsError: a directory is missing, or an id is not one or is there twice.
    """
    found: dict[str, Path] = {}
    for given in many:
        name, where = _split(given)
        if name is not None and not is_identifier(name):
            raise given.wrong("DIR or ID=DIR, where ID is letters, digits, '.', '_' or '-'")
        root = directory(where)
        _add_once(found, name or id_of(root), root, given)
    if not found:
        raise SettingsError("PROJECT_ROOT must be a directory that exists.")
    return found


def projects_of_object(given: Given) -> Mapping[str, Path]:
    """Give the projects that an object of ids and directories names; raises as `projects_of_texts`."""
    found: dict[str, Path] = {}
    for name, value in given.value.items():
        if not is_identifier(name):
            right = "an id of letters, digits, '.', '_' or '-'"
            raise SettingsError(f"{given.named} must have {right} for each directory, not {shown(name)}.")
        part = given.part(name, value)
        _add_once(found, name, directory(part), part)
    return found


def _add_once(found: dict[str, Path], name: str, root: Path, given: Given) -> None:
    if name in found:
        raise SettingsError(f"{given.named} has two projects named {name}; give one another name, as ID=DIR.")
    for other, its_root in found.items():
        if root == its_root:
            raise SettingsError(f"{given.named} has {shown(str(root))} twice, as {other} and {name}; give it once.")
    found[name] = root
