"""How the budget of an answer is shared out: a slice for each section, and what they leave for the files."""

from attrs import frozen


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


def most_for_one_file(left: int) -> int:
    """Say how much of what is left one file may take: half, so that one big file does not push out many small ones."""
    return min(left, max(left // 2, 8_192))
