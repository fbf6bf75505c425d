"""``cco project``: the directories that agents work in, kept in the config file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.output import emit, note
from cco_sidecar.cli.service_options import WrongSettings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

_config_option = click.option("--config", metavar="FILE", help="Config file (~/.cco/config.json; CCO_CONFIG).")
_AT_NEXT_START = "A sidecar that runs takes it up when it is started again: cco daemon restart"


@click.group(cls=Group)
def project() -> None:
    """Choose the directories that agents work in; the first one is the default project."""


@project.command()
@click.argument("names", metavar="[ID] DIR", nargs=-1, required=True)
@_config_option
def add(names: tuple[str, ...], config: str | None) -> None:
    """Add a project to the config file.

    Its id is made of the directory's name if not given.

    \b
    cco project add ~/src/shop
    cco project add shop ~/src/shop
    """
    if len(names) > 2:
        raise click.UsageError("Give DIR, or ID and DIR.")
    from cco_sidecar.settings import add_project

    file = _config_file(config)
    given_id = names[0] if len(names) == 2 else None
    found, root = _checked(lambda: add_project(file, names[-1], given_id, os.environ, Path.cwd()))
    note(f"Added {found} to {file}. {_AT_NEXT_START}")
    if os.environ.get("PROJECT_ROOT"):
        note("PROJECT_ROOT is set here, and beats the config file.")
    emit({"id": found, "directory": str(root)})


@project.command("list")
@_config_option
def list_projects(config: str | None) -> None:
    """List the projects.

    Those that a sidecar started here and now would have.
    """
    settings = load_settings({"config": config})
    rows = [
        {"id": name, "directory": str(root), "default": name == settings.default_project}
        for name, root in settings.projects.items()
    ]
    emit({"projects": rows, "origin": settings.origin["projects"]}, rows=rows, columns=("id", "directory", "default"))


@project.command()
@click.argument("name", metavar="ID")
@_config_option
def remove(name: str, config: str | None) -> None:
    """Take a project out of the config file.

    Its directory, and what is stored, stay.
    """
    from cco_sidecar.settings import remove_project

    file = _config_file(config)
    _checked(lambda: remove_project(file, name))
    note(f"Removed {name} from {file}. {_AT_NEXT_START}")
    emit({"id": name, "removed": True})


def _config_file(config: str | None) -> Path:
    from cco_sidecar.settings import places

    found: Path = _checked(lambda: places({"config": config}, os.environ, Path.cwd()))[1]
    return found


def _checked(run: "Callable[[], Any]") -> Any:
    from cco_sidecar.settings import SettingsError

    try:
        return run()
    except SettingsError as error:
        raise WrongSettings(str(error)) from None
