"""What an agent type wishes beyond the usual choice of files: globs, pinned files, sources (its roster entry).

`path_refusal` and `pattern_refusal` judge them when the roster is read; `Wishes` answers for each file of a project.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from attrs import define, field

from cco_sidecar.core.context.ignoring import Globs, Pattern, globs
from cco_sidecar.core.context.project import Omission, Project, ProjectFile

PINNED = "pinned for this agent type"
SOURCE = "from a source of this agent type"
NOTHING_PINNED = "pinned for this agent type, but not in the project, or ignored"
NOTHING_THERE = "a source of this agent type, but nothing is there, or it is ignored"

_CONTROL = frozenset(map(chr, (*range(32), 127)))


class Wish(Protocol):
    """The part of a roster's `ContextWish` that is about single files."""

    @property
    def include(self) -> Sequence[str]:
        """Globs of what is wanted whatever its language."""

    @property
    def exclude(self) -> Sequence[str]:
        """Globs of what is not wanted."""

    @property
    def pinned(self) -> Sequence[str]:
        """Files that come before all others."""

    @property
    def sources(self) -> Sequence[str]:
        """Files and directories that come before what the type prefers."""


@define(eq=False)
class Wishes:
    """The wishes of one agent type, ready to be asked."""

    _wish: Wish
    _include: Globs = field(init=False)
    _exclude: Globs = field(init=False)
    _pinned: Mapping[str, int] = field(init=False)
    _sources: frozenset[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._include = Globs(globs(self._wish.include))
        self._exclude = Globs(globs(self._wish.exclude))
        self._pinned = {path: place for place, path in enumerate(dict.fromkeys(self._wish.pinned))}
        self._sources = frozenset(path.rstrip("/") for path in self._wish.sources)

    def pins(self, path: str) -> bool:
        """Say whether the file is pinned."""
        return path in self._pinned

    def place_of(self, path: str) -> int:
        """Give the place of a pinned file among the others, from 0."""
        return self._pinned[path]

    def has_source(self, path: str) -> bool:
        """Say whether the file is a source, or lies below one."""
        return bool(self._sources) and not self._sources.isdisjoint(_at_and_above(path))

    def includes(self, path: str) -> bool:
        """Say whether a glob wants the file whatever its language."""
        return self._include.has(path)

    def exclusion(self, path: str) -> Pattern | None:
        """Give the glob that keeps the file out; a pinned file stays in."""
        return None if self.pins(path) else self._exclude.first(path)

    def missing(self, project: Project) -> list[Omission]:
        """Name what is pinned or a source, but of which an agent can see nothing."""
        if not self._pinned and not self._sources:
            return []
        seen: set[str] = set()
        there: Sequence[ProjectFile | Omission] = [*project.files, *project.omissions]
        for one in there:
            seen.update(_at_and_above(one.path))
        return [*_absent(self._wish.pinned, seen, NOTHING_PINNED), *_absent(self._wish.sources, seen, NOTHING_THERE)]


def path_refusal(path: str) -> str:
    """Say why ``path`` cannot be a pinned file or a source, "" if it can."""
    if path.startswith(("/", "~")) or ".." in path.split("/"):
        return f"{path[:128]!r} may lie outside of the project; name a path relative to its root, without '..'"
    if not _CONTROL.isdisjoint(path) or "\\" in path:
        return f"{path[:128]!r} is no path; write it with '/' and without control characters"
    plain = "/".join(part for part in path.split("/") if part not in {"", "."})
    if not plain:
        return f"{path[:128]!r} names the whole project; name a file or a directory in it"
    if path.rstrip("/") != plain:
        return f"write {path[:128]!r} as {plain[:128]!r}"
    if any(char in path for char in "*?["):
        return f"{path[:128]!r} is a glob, and this takes paths; globs go into 'include'"
    return ""


def pattern_refusal(pattern: str) -> str:
    """Say why ``pattern`` cannot be a glob of `include` or `exclude`, "" if it can."""
    if pattern.startswith("!"):
        return f"{pattern[:128]!r}: a glob cannot be negated here; write it into the other list, without the '!'"
    if ".." in pattern.split("/") or pattern.startswith("~"):
        return f"{pattern[:128]!r} may match outside of the project; write globs relative to its root, without '..'"
    if not _CONTROL.isdisjoint(pattern) or len(globs([pattern])) != 1:
        return f"{pattern[:128]!r} matches nothing; write a glob such as 'docs/**' or '*.md'"
    return ""


def _absent(paths: Collection[str], seen: Collection[str], why: str) -> list[Omission]:
    return [Omission(path, 0, why) for path in dict.fromkeys(paths) if path.rstrip("/") not in seen]


def _at_and_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
