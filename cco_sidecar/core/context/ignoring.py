"""Ignore files (.gitignore, .ccoignore) by git's rules, in time that no pattern can blow up.

The patterns come from the project and so from agents: a regular expression made of a whole pattern could backtrack for
hours while it holds the interpreter's lock. Each path segment is matched by itself, by `fnmatch`, whose expressions do
not backtrack across stars; ``**`` is resolved over segments.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

MOST_PATTERNS = 1_000
MOST_CHARACTERS = 1_024
_DOUBLE_STAR = None


@frozen
class Pattern:
    """One line of an ignore file; ``segments`` has None for ``**``."""

    segments: Sequence["re.Pattern[str] | None"]
    negated: bool
    directories_only: bool

    def matches(self, parts: Sequence[str], is_directory: bool) -> bool:
        """Say whether the pattern matches exactly this path (not one above it)."""
        if self.directories_only and not is_directory:
            return False
        if len(self.segments) == 2 and self.segments[0] is _DOUBLE_STAR and self.segments[1] is not None:
            return self.segments[1].match(parts[-1]) is not None  # the common case: a name anywhere
        return _match(self.segments, parts)


def parse(text: str) -> list[Pattern]:
    """Read an ignore file; its first 1,000 patterns count."""
    patterns = (_pattern(line) for line in text.splitlines())
    found = [pattern for pattern in patterns if pattern is not None]
    return found[:MOST_PATTERNS]


def globs(patterns: Iterable[str]) -> list[Pattern]:
    """Read globs of the roster, which follow the same rules."""
    return parse("\n".join(patterns))


def matches_any(patterns: Sequence[Pattern], path: str) -> bool:
    """Say whether one of the patterns matches the file or a directory above it."""
    parts = path.split("/")
    return any(
        pattern.matches(parts[:length], length < len(parts))
        for pattern in patterns
        for length in range(len(parts), 0, -1)
    )


@define(eq=False)
class IgnoreRules:
    """The ignore files of one tree: deeper files beat shallower ones, later lines beat earlier ones."""

    _files: dict[str, list[Pattern]] = field(factory=dict)
    _directories: dict[str, bool] = field(factory=dict)

    def add(self, directory: str, text: str) -> None:
        """Take up an ignore file of ``directory`` ("" is the root), before anything below it is asked about."""
        self._files.setdefault(directory, []).extend(parse(text))

    def excludes(self, path: str, is_directory: bool = False) -> bool:
        """Say whether the path is excluded, or below a directory that is."""
        if not self._files:
            return False
        above = path.rpartition("/")[0]
        return (above != "" and self._excludes_directory(above)) or self._verdict(path, is_directory)

    def _excludes_directory(self, path: str) -> bool:
        known = self._directories.get(path)
        if known is None:
            known = self._directories[path] = self.excludes(path, True)
        return known

    def _verdict(self, path: str, is_directory: bool) -> bool:
        parts = path.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            for pattern in reversed(self._files.get("/".join(parts[:depth]), ())):
                if pattern.matches(parts[depth:], is_directory):
                    return not pattern.negated
        return False


def _pattern(line: str) -> Pattern | None:
    line = re.sub(r"(?<!\\) +$", "", line.removesuffix("\r"))
    if not line or line.startswith("#") or len(line) > MOST_CHARACTERS:
        return None
    negated = line.startswith("!")
    line = line[1:] if negated else line
    directories_only = line.endswith("/")
    line = line.rstrip("/") if directories_only else line
    if not line:
        return None
    anchored = "/" in line
    names = line.removeprefix("/").split("/")
    segments = [_DOUBLE_STAR if name == "**" else _segment(name) for name in names]
    return Pattern(segments if anchored else [_DOUBLE_STAR, *segments], negated, directories_only)


def _segment(name: str) -> "re.Pattern[str]":
    name = re.sub(r"\\(.)", lambda found: f"[{found[1]}]" if found[1] in "*?[" else found[1], name)
    return re.compile(fnmatch.translate(name.replace("[^", "[!")))


def _match(segments: Sequence["re.Pattern[str] | None"], parts: Sequence[str]) -> bool:
    """Match segment by segment: the greedy algorithm for stars, on whole names, so at most quadratic."""
    at, here, star, resume = 0, 0, -1, 0
    while here < len(parts):
        segment = segments[at] if at < len(segments) else _DOUBLE_STAR
        if at < len(segments) and segment is not _DOUBLE_STAR and segment.match(parts[here]):
            at, here = at + 1, here + 1
        elif at < len(segments) and segment is _DOUBLE_STAR:
            star, resume, at = at, here, at + 1
            if at == len(segments):
                return here < len(parts)  # "a/**" is all below a, not a itself
        elif star >= 0:
            resume, at, here = resume + 1, star + 1, resume + 1
        else:
            return False
    return at == len(segments)
