"""What can be claimed: paths and globs below the project's root, and names; and whether two of them conflict.

A path is a list of segments. In a glob, ``*`` is any run of characters of one segment, ``?`` one character, and ``**``,
as a segment of its own, any number of segments, none included. Two conflict when there is a path that both match: that
is decided without looking for the path, in time that is bounded by the product of their lengths.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from attrs import frozen

MOST_LENGTH = 512
MOST_SEGMENTS = 64
MOST_WILDCARDS = 16
NAME = "name:"
_ANY = "**"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BRACES = re.compile(r"\{[^{}/]*,[^{}/]*\}")
_WILD = re.compile(r"[*?]")

T = TypeVar("T")


@frozen(eq=False)
class Resource:
    """A resource, normalised; ``text`` names it.

    :param segments: of a path or glob; empty for a name.
    :param pieces: the segments between the ``**``: one piece where there is none.
    :param head: the path of the segments before the first with a wildcard: all that it matches lies there or below.
    :param tail: what every path that it matches ends with.
    :param start: what the last segment of every path that it matches begins with.
    :param is_glob: whether it can match more than one path.
    """

    text: str
    segments: tuple[str, ...]
    pieces: tuple[Sequence[str], ...]
    head: str
    tail: str
    start: str
    is_glob: bool

    @property
    def is_name(self) -> bool:
        """Whether it is a name, which conflicts with the same name alone."""
        return not self.segments


class NoResource(ValueError):
    """A text that names no resource; the message says why, as the end of a sentence."""


@lru_cache(maxsize=4096)
def resource(text: str, root: str) -> Resource:
    """Read a resource.

    :param root: the project's root, absolute; a path below it becomes relative to it.
    :raises NoResource: the text names none.
    """
    if not text:
        raise NoResource("is empty: name a path, a glob or 'name:anything'")
    if len(text) > MOST_LENGTH:
        raise NoResource(f"has more than {MOST_LENGTH} characters")
    if _CONTROL.search(text):
        raise NoResource("has control characters or halves of characters")
    if text.startswith(NAME):
        if not text[len(NAME) :].strip():
            raise NoResource("is no name: say what behind 'name:'")
        return Resource(text, (), (), text, text, text, False)
    segments = _segments(text, root)
    _check(segments)
    return _of(segments)


def _segments(text: str, root: str) -> list[str]:
    if "\\" in text:
        raise NoResource("has a backslash: directories are separated by '/', and nothing is escaped")
    parts = text.split("/")
    if ".." in parts:
        raise NoResource("has '..': name the path from the project's root")
    segments = [part for part in parts if part not in {"", "."}]
    if text.startswith("/"):
        above = [part for part in root.split("/") if part]
        if segments[: len(above)] != above:
            raise NoResource("lies outside of the project: claims are about what is below its root")
        segments = segments[len(above) :]
    # A directory, and the root itself, are all that is in them.
    if parts[-1] in {"", "."} or not segments:
        segments.append(_ANY)
    return segments


def _check(segments: Sequence[str]) -> None:
    if len(segments) > MOST_SEGMENTS:
        raise NoResource(f"is more than {MOST_SEGMENTS} directories deep")
    text = "/".join(segments)
    if len(text) > MOST_LENGTH:
        raise NoResource(f"has more than {MOST_LENGTH} characters")
    if len(_WILD.findall(text.replace(_ANY, "*"))) > MOST_WILDCARDS:
        raise NoResource(f"has more than {MOST_WILDCARDS} wildcards: claim a wider glob, or several")
    if braces := _BRACES.search(text):
        raise NoResource(f"has {braces[0]}, which is not expanded: list each, or write '*' for it")
    for segment in segments:
        if _ANY in segment and segment != _ANY:
            raise NoResource(f"has '{segment}': '**' stands alone between slashes ('src/**/*.py')")


def _of(segments: Sequence[str]) -> Resource:
    # '**' twice in a row is '**'.
    kept = tuple(
        part for number, part in enumerate(segments) if part != _ANY or segments[number - 1 : number] != [_ANY]
    )
    # So that no path is taken for a name.
    text = "./" * kept[0].startswith(NAME) + "/".join(kept)
    pieces = tuple(_pieces(kept, _ANY))
    wild = [number for number, part in enumerate(kept) if _WILD.search(part)]
    if not wild:
        return Resource(text, kept, pieces, text, text, kept[-1], False)
    tail = text[max(text.rfind("*"), text.rfind("?")) + 1 :]
    # '**' may be no segment at all, and then there is no slash before what follows.
    start = _WILD.split(kept[-1], maxsplit=1)[0]
    return Resource(text, kept, pieces, "/".join(kept[: wild[0]]), tail.removeprefix("/"), start, True)


def conflict(one: Resource, other: Resource) -> bool:
    """Say whether there is something that both name."""
    if one.is_name or other.is_name or not (one.is_glob or other.is_glob):
        return one.text == other.text
    return _meet(one.pieces, other.pieces, _segments_meet)


@lru_cache(maxsize=16_384)
def _segments_meet(one: str, other: str) -> bool:
    if one == other:
        return True
    if not (_is_wild(one) or _is_wild(other)):
        return False
    return _meet(_pieces(one, "*"), _pieces(other, "*"), _characters_meet)


def _is_wild(segment: str) -> bool:
    return "*" in segment or "?" in segment


def _characters_meet(one: str, other: str) -> bool:
    return one in ("?", other) or other == "?"


def _meet(ours: Sequence[Sequence[T]], theirs: Sequence[Sequence[T]], may_meet: Callable[[T, T], bool]) -> bool:
    """Say whether a sequence matches both patterns, given as the pieces between their stars.

    With a star in both, only what stands before the first stars and behind the last ones can keep them apart: each
    star takes what the other pattern has in its middle. With a star in one alone, its pieces have to be found in the
    other in their order; the first place of each leaves the most room for the rest.
    """
    if len(ours) == 1 and len(theirs) == 1:
        return len(ours[0]) == len(theirs[0]) and all(map(may_meet, ours[0], theirs[0]))
    if len(ours) == 1:
        return _found_in(theirs, ours[0], may_meet)
    if len(theirs) == 1:
        return _found_in(ours, theirs[0], may_meet)
    heads = all(map(may_meet, ours[0], theirs[0]))
    return heads and all(map(may_meet, reversed(ours[-1]), reversed(theirs[-1])))


def _pieces(pattern: Sequence[T], star: object) -> list[Sequence[T]]:
    found: list[Sequence[T]] = []
    start = 0
    for number, element in enumerate(pattern):
        if element == star:
            found.append(pattern[start:number])
            start = number + 1
    return [*found, pattern[start:]]


def _found_in(pieces: Sequence[Sequence[T]], whole: Sequence[T], may_meet: Callable[[T, T], bool]) -> bool:
    first, *middle, last = pieces
    position, end = len(first), len(whole) - len(last)
    if position > end or not _at(first, whole, 0, may_meet) or not _at(last, whole, end, may_meet):
        return False
    for piece in middle:
        while position + len(piece) <= end and not _at(piece, whole, position, may_meet):
            position += 1
        position += len(piece)
        if position > end:
            return False
    return True


def _at(piece: Sequence[T], whole: Sequence[T], position: int, may_meet: Callable[[T, T], bool]) -> bool:
    for number, element in enumerate(piece):  # noqa: SIM110 - a third faster than all() of a generator
        if not may_meet(element, whole[position + number]):
            return False
    return True
