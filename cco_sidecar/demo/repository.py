"""The git repository that the demo works on: the one it is started in, or a small one made for it."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

MOST_FILES = 20_000
"""With more, the agents' 20 seconds might go by over their first look at the project."""
GIT_SECONDS = 20.0

_SETTINGS = (
    "user.name=cco demo",
    "user.email=demo@localhost",
    "commit.gpgsign=false",
    "core.hooksPath=/dev/null",
    "init.defaultBranch=main",
)

_COMMITS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "Read durations such as 90s or 2h",
        {
            "README.md": "# durations\n\nReads durations as people write them: `90s`, `15m`, `2h`.\n",
            "setup.cfg": "[metadata]\nname = durations\nversion = 0.1\n\n[options]\npackages = durations\n",
            "durations/__init__.py": '"""Durations as people write them."""\n',
            "durations/parsing.py": '''"""Turns text into seconds."""

UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> int:
    """Give the seconds in a duration.

    :raises ValueError: it is none.
    """
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isdigit():
        raise ValueError(f"{text!r} is no duration: write 90s, 15m or 2h")
    return int(number) * UNITS[unit]
''',
        },
    ),
    (
        "Test the parser",
        {
            "tests/test_parsing.py": '''"""Tests of `durations.parsing`."""

import pytest

from durations.parsing import seconds


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("15m", 900), ("2h", 7200)])
def test_units(text: str, expected: int) -> None:
    """Each unit counts for what it is."""
    assert seconds(text) == expected


def test_nonsense() -> None:
    """What is no duration is refused."""
    with pytest.raises(ValueError, match="no duration"):
        seconds("soon")
''',
        },
    ),
    (
        "Write durations, too",
        {
            "durations/printing.py": '''"""Turns seconds into text."""


def text(seconds: int) -> str:
    """Give the shortest way to write a number of seconds."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
''',
            "CHANGELOG.md": "# Changes\n\n- `printing.text` writes durations.\n- `parsing.seconds` reads them.\n",
        },
    ),
)


class RepositoryError(Exception):
    """There is no git to work with."""


class Repository(NamedTuple):
    """A repository with at least one commit; ``made`` if it is the demo's own."""

    root: Path
    branch: str
    head: str
    files: int
    made: bool


def choose(directory: Path, spare: Path) -> Repository:
    """Give the repository around ``directory``; if there is none that will do, make a small one at ``spare``.

    The one around is only read.

    :raises RepositoryError: git is missing or refuses.
    """
    return _around(directory) or _make(spare)


def _around(directory: Path) -> Repository | None:
    try:
        root = Path(_git(directory, "rev-parse", "--show-toplevel").rstrip("\n"))
        found = _describe(root, made=False)
    except RepositoryError:
        return None  # no repository, no commit yet, or not ours
    return found if 0 < found.files <= MOST_FILES else None


def _make(root: Path) -> Repository:
    root.mkdir(parents=True)
    _git(root, "init", "--quiet", "--template=")
    for message, files in _COMMITS:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _git(root, "add", "--all")
        _git(root, "commit", "--quiet", "--message", message)
    return _describe(root, made=True)


def _describe(root: Path, *, made: bool) -> Repository:
    head = _git(root, "rev-parse", "--short", "--verify", "HEAD").strip()
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    files = _git(root, "ls-files", "-z").count("\0")
    return Repository(root, branch, head, files, made)


def _git(directory: Path, *arguments: str) -> str:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *settings, *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=GIT_SECONDS,
        )
    except FileNotFoundError:
        raise RepositoryError("git is not installed, and the demo shows a real repository.") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RepositoryError(f"git {arguments[0]}: {error}") from error
    if done.returncode != 0:
        raise RepositoryError(f"git {arguments[0]}: {os.fsdecode(done.stderr).strip()}")
    return os.fsdecode(done.stdout)


def _environment() -> dict[str, str]:
    """Leave out what would point git elsewhere: the demo may be started by a hook."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
