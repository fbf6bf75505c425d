"""Options and values that several commands take."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cco_sidecar.cli.sidecar import Failed

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def project_option(function: _Function) -> _Function:
    """Add ``--project``, which a spawned agent's token already names."""
    return click.option("--project", metavar="ID", help="Project; the first one if not given.")(function)


def type_option(help_text: str, *, required: bool = False) -> Callable[[_Function], _Function]:
    """Add ``--type``, also as ``--agent-type``."""
    return click.option("--type", "--agent-type", "agent_type", metavar="TYPE", required=required, help=help_text)


def issue_option(help_text: str, *, required: bool = False) -> Callable[[_Function], _Function]:
    """Add ``--issue``."""
    return click.option("--issue", metavar="ISSUE", required=required, help=help_text)


def limit_option(function: _Function) -> _Function:
    """Add ``--limit``."""
    return click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")(function)


def read_json(text: str | None, file: str | None, what: str) -> Any:
    """Read JSON from an option's ``text`` or from ``file`` (``-`` is stdin).

    :param what: the option's name, for the message.
    :raises click.UsageError: both are given, or neither, or it is not JSON.
    """
    if (text is None) == (file is None):
        raise click.UsageError(f"Give {what}, or --input FILE (- is stdin), but not both.")
    if file is not None:
        text, what = read_text(file), "--input"
    try:
        return json.loads(text or "", parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise click.UsageError(f"{what} is not JSON: {error.msg} at {where}.") from None
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{what} is not JSON: {error}.") from None


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is no number of JSON")


def read_text(file: str) -> str:
    """Read the file that ``--input`` names (``-`` is stdin).

    :raises click.UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except OSError as error:
        raise click.UsageError(f"--input: {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--input: {file} is not UTF-8.") from None


def seconds_of(text: str) -> int:
    """Read a duration (``30d``, ``12h``, ``90s``).

    :raises click.UsageError: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text.strip())
    if found is None:
        raise click.UsageError(f"A duration is a number and one of s, m, h, d, w (30d), not {text!r}.")
    return int(found[1]) * _SECONDS[found[2]]


def save(file: str, text: str) -> None:
    """Write ``text`` into ``file``, whole or not at all.

    :raises Failed: it cannot be written.
    """
    import tempfile

    target = Path(file)
    try:
        if target.exists() and not target.is_file():  # a device or a pipe is written to, never replaced
            target.write_text(text, encoding="utf-8")
            return
        target = target.resolve()
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as opened:
            opened.write(text)
        Path(temporary).replace(target)  # 0600: what agents see of a project is its owner's business
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}.") from None
