"""How the budget of an answer is shared out: a slice for each section, and what they leave for the files."""

from collections.abc import Sequence
from itertools import accumulate

from attrs import evolve, frozen

ONE_FILE = 8_192
"""So much a file may have, however many there are."""
_LEAST_FILE = 1_024
_MANY_FILES = 64


@frozen
class Slices:
    """The most bytes that each section may take; files get all that the others leave.

    The slices are the shares of contract section 6 when the budget is large. When it is small each section still gets
    enough to say something, and previous results more than that: they stay to the last.
    """

    metadata: int
    structure: int
    git: int
    results: int
    omitted: int


def slices(available: int) -> Slices:
    """Share out ``available`` bytes."""
    return Slices(
        metadata=_share(available, 2, 8, 16_384),
        structure=_share(available, 5, 8, 4_096),
        git=_share(available, 5, 8, 8_192),
        results=_share(available, 10, 4, 16_384),
        omitted=_share(available, 1, 16, 2_048),
    )


def _share(available: int, percent: int, divisor: int, enough: int) -> int:
    return max(available * percent // 100, min(available // divisor, enough))


@frozen
class Level:
    """How much each of many files may take: as much as levels them, so that small ones are whole and big ones alike.

    ``_after`` has, for each in turn, what those after it will take at that level. ``fill`` says that there is enough
    for all, so that who is cut may take all that it is allowed, and what the ones before it did not take. ``favour`` is
    what the first that are bigger may take beyond the level, together.
    """

    _most: int
    _after: Sequence[int]
    fill: bool
    favour: int = 0

    def allowance(self, turn: int, left: int) -> int:
        """Say how much of what is left the file whose turn it is may take."""
        return min(left, max(self._most, left - self._after[turn]) if self.fill else self._most)

    def beyond(self, size: int) -> int:
        """Say how much beyond the level a file takes that is whole."""
        return max(size - self._most, 0)


def level_of(sizes: Sequence[int], left: int, one_file: int = ONE_FILE) -> Level:
    """Find the level at which files of the given sizes fill ``left``; it is at least ``one_file``, though not all fit.

    A quarter is for the first, which are the best, to be whole, where the others keep more than that or are very many.
    """
    favour = left // 4
    if sum(sizes) > left:
        lower = _levelled(sizes, left - favour, one_file)
        if lower.beyond(one_file + 1) == 0 or left - favour >= _MANY_FILES * one_file:
            return evolve(lower, favour=favour)
    return _levelled(sizes, left, one_file)


def _levelled(sizes: Sequence[int], left: int, one_file: int) -> Level:
    least = min(one_file, max(left // 4, _LEAST_FILE))
    most = left
    rest = left
    for place, size in enumerate(sorted(sizes)):
        most = rest // (len(sizes) - place)
        if size > most:
            break
        rest -= size
    else:
        most = left
    most = max(most, least)
    after = list(accumulate((min(size, most) for size in reversed(sizes)), initial=0))
    return Level(most, after[-2::-1], after[-1] <= left)
