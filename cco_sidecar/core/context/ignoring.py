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
    """One line of an ignore file; ``segments`` has None for ``**``.

    ``text`` is the line as it was written, ``source`` the file and the number of the line (``web/.ccoignore:3``).
    """

    segments: Sequence["re.Pattern[str] | None"]
    negated: bool
    directories_only: bool
    text: str = ""
    source: str = ""

    @property
    def name(self) -> "re.Pattern[str] | None":
        """The pattern of a name, where that is all there is to it: the common case, a name anywhere."""
        return self.segments[1] if len(self.segments) == 2 and self.segments[0] is _DOUBLE_STAR else None

    def matches(self, parts: Sequence[str], is_directory: bool) -> bool:
        """Say whether the pattern matches exactly this path (not one above it)."""
        if self.directories_only and not is_directory:
            return False
        name = self.name
        if name is not None:
            return name.match(parts[-1]) is not None
        return _match(self.segments, parts)


def parse(text: str, name: str = "") -> list[Pattern]:
    """Read an ignore file, called ``name``; its first 1,000 patterns count."""
    patterns = (_pattern(line, f"{name}:{number}") for number, line in enumerate(text.splitlines(), 1))
    found = [pattern for pattern in patterns if pattern is not None]
    return found[:MOST_PATTERNS]


def globs(patterns: Iterable[str]) -> list[Pattern]:
    """Read globs of the roster, which follow the same rules."""
    return parse("\n".join(patterns))


def matches_any(patterns: Sequence[Pattern], path: str) -> bool:
    """Say whether one of the patterns matches the file or a directory above it."""
    return first_match(patterns, path) is not None


def first_match(patterns: Sequence[Pattern], path: str) -> Pattern | None:
    """Give the first of the patterns that matches the file or a directory above it."""
    parts = path.split("/")
    for pattern in patterns:
        if any(pattern.matches(parts[:length], length < len(parts)) for length in range(len(parts), 0, -1)):
            return pattern
    return None


@define(eq=False)
class Globs:
    """Patterns that very many paths are held against: most match none, and which do is seen by few comparisons."""

    patterns: Sequence[Pattern]
    _named: "re.Pattern[str] | None" = field(init=False)
    _named_directories: "re.Pattern[str] | None" = field(init=False)
    _others: Sequence[tuple[str, Pattern]] = field(init=False)
    _directories: dict[str, bool] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        simple = [pattern for pattern in self.patterns if pattern.name is not None]
        self._named = _either(pattern for pattern in simple if not pattern.directories_only)
        self._named_directories = _either(simple)
        self._others = [(_literal(pattern.text), pattern) for pattern in self.patterns if pattern.name is None]

    def has(self, path: str) -> bool:
        """Say whether one of the patterns matches the file or a directory above it."""
        if not self.patterns:
            return False
        above, _, name = path.rpartition("/")
        return (above != "" and self._has_directory(above)) or self._is_matched(path, name, False)

    def first(self, path: str) -> Pattern | None:
        """Give the first of the patterns that matches the file or a directory above it."""
        return first_match(self.patterns, path) if self.has(path) else None

    def _has_directory(self, path: str) -> bool:
        known = self._directories.get(path)
        if known is None:
            above, _, name = path.rpartition("/")
            known = (above != "" and self._has_directory(above)) or self._is_matched(path, name, True)
            self._directories[path] = known
        return known

    def _is_matched(self, path: str, name: str, is_directory: bool) -> bool:
        named = self._named_directories if is_directory else self._named
        if named is not None and named.match(name):
            return True
        if not self._others:
            return False
        parts = path.split("/")
        # The first comparison spares nearly all of the second, which takes twenty times as long.
        return any(literal in path and pattern.matches(parts, is_directory) for literal, pattern in self._others)


def _literal(glob: str) -> str:
    """Give the longest name of a glob that stands for itself alone: it is in every path that the glob matches."""
    names = glob.removeprefix("!").split("/")
    return max((name for name in names if not set(name) & set("*?[\\")), key=len, default="")


def _either(patterns: Iterable[Pattern]) -> "re.Pattern[str] | None":
    """Join patterns of names; each is of `fnmatch`, which backtracks into nothing."""
    names = [pattern.name.pattern for pattern in patterns if pattern.name is not None]
    return re.compile("|".join(names)) if names else None


@define(eq=False)
class IgnoreRules:
    """The ignore files of one tree: deeper files beat shallower ones, later lines beat earlier ones."""

    _files: dict[str, list[Pattern]] = field(factory=dict)
    _directories: dict[str, bool] = field(factory=dict)

    def add(self, directory: str, text: str, name: str = "") -> None:
        """Take up an ignore file of ``directory`` ("" is the root), before anything below it is asked about.

        :param name: what to call it when somebody asks which rule it was: its path.
        """
        self._files.setdefault(directory, []).extend(parse(text, name))

    def excludes(self, path: str, is_directory: bool = False) -> bool:
        """Say whether the path is excluded, or below a directory that is."""
        if not self._files:
            return False
        above = path.rpartition("/")[0]
        return (above != "" and self._excludes_directory(above)) or self._verdict(path, is_directory)

    def rule(self, path: str, is_directory: bool = False) -> Pattern | None:
        """Give the rule that excludes the path, or a directory above it; None if it is not excluded."""
        above = path.rpartition("/")[0]
        if above and self._excludes_directory(above):
            return self.rule(above, True)
        found = self._last_match(path, is_directory)
        return None if found is None or found.negated else found

    def _excludes_directory(self, path: str) -> bool:
        known = self._directories.get(path)
        if known is None:
            known = self._directories[path] = self.excludes(path, True)
        return known

    def _verdict(self, path: str, is_directory: bool) -> bool:
        found = self._last_match(path, is_directory)
        return found is not None and not found.negated

    def _last_match(self, path: str, is_directory: bool) -> Pattern | None:
        parts = path.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            for pattern in reversed(self._files.get("/".join(parts[:depth]), ())):
                if pattern.matches(parts[depth:], is_directory):
                    return pattern
        return None


def _pattern(line: str, source: str) -> Pattern | None:
    line = written = re.sub(r"(?<!\\) +$", "", line.removesuffix("\r"))
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
    # Of several ** in a row one says it all, and takes less time.
    names = [name for place, name in enumerate(names) if name != "**" or names[place - 1 : place] != ["**"]]
    segments = [_DOUBLE_STAR if name == "**" else _segment(name) for name in names]
    return Pattern(segments if anchored else [_DOUBLE_STAR, *segments], negated, directories_only, written, source)


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
