"""The options of the service (contract section 2), as the command line has them."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cco_sidecar.settings import Settings

_Function = TypeVar("_Function", bound=Callable[..., Any])

Flags = Mapping[str, Any]
"""The options that were given, by their names in `Settings`."""

_OPTIONS = (
    click.option("--host", metavar="HOST", help="Address to listen on (127.0.0.1; CCO_SIDECAR_HOST)."),
    click.option("--port", metavar="PORT", help="Port, 0 for any free one (3001; CCO_SIDECAR_PORT)."),
    click.option("--storage", metavar="DIR", help="Where data is kept (/tmp/cco-sidecar; CCO_SIDECAR_STORAGE)."),
    click.option("--cache-size-mb", metavar="MB", help="Memory for contexts (1024; CCO_SIDECAR_CACHE_SIZE_MB)."),
    click.option(
        "--project-root",
        metavar="[ID=]DIR",
        multiple=True,
        help="Directory that agents work in; again for more projects (here; PROJECT_ROOT).",
    ),
    click.option("--roster", metavar="FILE", help="Agent types (the project's, or 119 packaged; CCO_SIDECAR_ROSTER)."),
    click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error (info; CCO_SIDECAR_LOG_LEVEL)."),
    click.option("--config", metavar="FILE", help="Config file (~/.cco/config.json; CCO_CONFIG)."),
)


def service_options(function: _Function) -> _Function:
    """Add the options; their values are texts, which `cco_sidecar.settings` checks."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def as_arguments(flags: Flags) -> Sequence[str]:
    """Give the options that were given as they are typed."""
    found = []
    for name, value in flags.items():
        texts = value if isinstance(value, tuple) else () if value is None else (value,)
        found += [f"--{name.replace('_', '-')}={text}" for text in texts]
    return found


class WrongSettings(click.ClickException):
    """A setting is wrong."""

    exit_code = 2


def load_settings(flags: Flags) -> "Settings":
    """Put the settings together.

    :raises WrongSettings: one is wrong; the message names it.
    """
    from cco_sidecar.settings import SettingsError, load

    try:
        return load(flags, os.environ, Path.cwd())
    except SettingsError as error:
        raise WrongSettings(str(error)) from None
