"""The few lines of a text that speak of secrets, taken out so that the many patterns run over them alone."""

from bisect import bisect_right
from itertools import accumulate

import re2
from attrs import frozen

_LINES_AFTER = 5  # a value can stand some lines below its name
_LONGEST_REST = 120
_MOST_SPACES = 8
_ENDS = (b");", b")", b"):", b";", b".")
_BARRIER = b"\n}\0{\n"  # so that hardly any pattern goes from one piece into the next; what does is not a find


@frozen
class Excerpt:
    """Lines taken out of a text: ``text``, and where in the text each piece of it began, and here."""

    text: bytes
    starts: list[int]
    places: list[int]

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Give where in the whole text a part of the excerpt stands; None if it goes over the edge of a piece."""
        piece = bisect_right(self.places, start) - 1
        offset = self.starts[piece] - self.places[piece]
        following = self.places[piece + 1] - len(_BARRIER) if piece + 1 < len(self.places) else len(self.text)
        return (start + offset, end + offset) if end <= following else None


def excerpt(data: bytes, words: re2._Regexp) -> Excerpt:
    """Take out every line in which ``words`` are, and, where they can belong to it, the five after it."""
    pieces: list[tuple[int, int]] = []
    line_end = below = -1
    # One search a line: a trigger may have to look as far as the end of the line, and there can be many of them on it.
    while line_end < len(data) and (word := words.search(data, line_end + 1)) is not None:
        at = word.start()
        line_end = data.find(b"\n", at)
        line_end = len(data) if line_end < 0 else line_end
        below, above = _below(data, at, line_end), below
        if at <= above:
            pieces[-1] = (pieces[-1][0], below)
        else:
            pieces.append((data.rfind(b"\n", 0, at) + 1, below))
    parts = [data[start:end] for start, end in pieces]
    places = list(accumulate((len(part) + len(_BARRIER) for part in parts), initial=0))
    return Excerpt(_BARRIER.join(parts), [start for start, _ in pieces], places[: len(parts)])


def _below(data: bytes, word: int, line_end: int) -> int:
    """Give where the lines end that can belong to a line: none if it is a sentence or a whole statement."""
    rest = data[word : min(line_end, word + _LONGEST_REST)].rstrip()
    if (
        (rest.endswith(_ENDS) and not _is_of_columns(rest))
        or rest.count(b" ") > _MOST_SPACES
        or len(rest) == _LONGEST_REST
    ):
        return line_end
    end = line_end
    for _ in range(_LINES_AFTER):
        found = data.find(b"\n", end + 1)
        if found < 0:
            return len(data)
        end = found
    return end


def _is_of_columns(rest: bytes) -> bool:
    """Say whether a line ends like ``INSERT INTO t (name, password, age)``, whose values come below."""
    return rest.endswith(b")") and b"," in rest and b"(" not in rest
