"""Which directories a project's answer hangs on."""

import os
from collections.abc import Iterator
from pathlib import Path

from cco_sidecar.backends.gatherer.opener import MOST_DEPTH
from cco_sidecar.backends.gatherer.repository import Location, Repository
from cco_sidecar.backends.gatherer.tree import is_never_walked

_IGNORED_BYTES = 4 << 20
_LINE_BYTES = 4_096
_MOST_LINKS = 5


def directories_of(root: Path, repository: Repository | None) -> Iterator[bytes]:
    """Give the directories of the tree but for ignored ones, those above them up to the repository's, and git's own.

    What is above comes first, so that nothing between two watches goes unseen. Raises GitError.
    """
    passed_over: frozenset[str] = frozenset()
    if repository is not None:
        yield from _of_git(repository.location)
        passed_over = _ignored(repository)
        yield from (os.fsencode(path) for path in _between(repository.location.top, root))
    yield from _tree(os.fsencode(root), passed_over, all_names=repository is not None)


def _tree(root: bytes, passed_over: frozenset[str], *, all_names: bool) -> Iterator[bytes]:
    skipped = {os.fsencode(path) for path in passed_over}
    pending = [(root, b"", 0)]
    while pending:
        directory, below, depth = pending.pop()
        yield directory
        try:
            with os.scandir(directory) as scan:
                names = [entry.name for entry in scan if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # gone, or closed to us
        for name in names:
            path = below + name
            passed = name == b".git" or path in skipped or (not all_names and is_never_walked(os.fsdecode(name), True))
            if not passed and depth < MOST_DEPTH:
                pending.append((directory + b"/" + name, path + b"/", depth + 1))


def _ignored(repository: Repository) -> frozenset[str]:
    """Give the directories below the root that git looks no further into."""
    listed = repository.git(
        *("ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z", "--", "."),
        most_bytes=_IGNORED_BYTES,
    )
    names = listed.data.split(b"\0")[:-1]
    return frozenset(os.fsdecode(name[:-1]) for name in names if name.endswith(b"/"))


def _between(top: Path, root: Path) -> Iterator[Path]:
    """Give the directories above the root, whose ignore files count, too: the top first."""
    above = root.relative_to(top).parts
    for count in range(len(above)):
        yield top.joinpath(*above[:count])


def _of_git(location: Location) -> Iterator[bytes]:
    """Give where HEAD, the index, the configuration and the branch that HEAD is on are kept."""
    found = dict.fromkeys([location.private, location.common, location.common / "info", location.common / "reftable"])
    name = "HEAD"
    for _ in range(_MOST_LINKS):
        base = location.private if name == "HEAD" else location.common
        name = _link(base / name)
        if not name.startswith("refs/") or ".." in name:
            break
        parts = name.split("/")[:-1]
        found.update(dict.fromkeys(location.common.joinpath(*parts[: count + 1]) for count in range(len(parts))))
    return (os.fsencode(path) for path in found)


def _link(path: Path) -> str:
    """Give what a symbolic ref points at, "" if it is none."""
    try:
        with path.open("rb") as file:
            line = os.fsdecode(file.read(_LINE_BYTES))
    except (OSError, ValueError):
        return ""
    return line.removeprefix("ref:").strip() if line.startswith("ref:") else ""
