"""A file cut down to the lines that tell most of it."""

from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field, frozen

from cco_sidecar.core.context.fitting import encode, head_of
from cco_sidecar.core.context.outline.comments import omission_line
from cco_sidecar.core.context.outline.focus import within
from cco_sidecar.core.context.outline.shape import Outline, Part, lines_of

WINDOW = 3
"""How many lines around a line that matters are shown with it."""


@frozen
class Cut:
    """What is left of a file; ``omitted`` has the first and last line, from 1, of each run that is not shown whole."""

    content: str
    omitted: Sequence[tuple[int, int]]


def cut(text: str, language: str, outline: Outline, focused: Sequence[int], most_bytes: int, *, fill: bool) -> Cut:
    """Cut a text to what matters: windows around the focused lines, the outline and, to ``fill``, the rest as it comes.

    :param focused: the numbers, from 0, of the lines that matter to the task, best first.
    :param most_bytes: what the JSON of the content (without quotes) and of the omitted ranges (without the outer
        brackets) may take together.
    """
    lines = lines_of(text)
    choice = _Choice.of(lines, language)
    focused = within(focused, len(lines))
    around = list(_surroundings(outline, focused))
    choice.add(_windows(around, focused, len(lines)), most_bytes // 2)
    choice.add(_by_depth(outline), most_bytes)
    choice.add(_windows(around, focused, len(lines)), most_bytes)
    if fill or not outline:
        choice.add(
            (number for parts in around for part in parts[-1:] for number in range(part.start, part.end)), most_bytes
        )
        choice.add(range(len(lines)), most_bytes)
    choice.close_gaps()
    return choice.shown(lines, language) or _beginning(text, len(lines), most_bytes)


def beginning(text: str, language: str, most_bytes: int) -> Cut:
    """Cut a text to its beginning, in as many bytes as `cut`: for files not worth the time that a closer look takes."""
    total = text.count("\n") + (not text.endswith("\n"))
    gap = _gap_bytes(language, total)
    head = head_of(text, most_bytes + 2 - gap)
    if not head.endswith("\n"):
        return _beginning(text, total, most_bytes)
    shown = head.count("\n")
    return Cut(head + omission_line(language, shown + 1, total), [(shown + 1, total)])


def _beginning(text: str, total: int, most_bytes: int) -> Cut:
    """What is one endless line is shown in part."""
    return Cut(head_of(text, most_bytes + 2 - len(b"[1,],") - len(str(total))), [(1, total)])


def _gap_bytes(language: str, last: int) -> int:
    """Say how much room it takes at most to name a run of lines, in the text and among the ranges."""
    line = omission_line(language, last, last + 1)  # none has more digits
    return len(encode(line)) - 2 + 2 * len(str(last)) + len("[,],")


def _surroundings(outline: Outline, focused: Iterable[int]) -> Iterator[list[Part]]:
    """Give, for each line, the parts it lies in, from the outside in."""
    for number in focused:
        yield [part for part in outline if part.start <= number < part.end]


def _windows(around: Sequence[Sequence[Part]], focused: Sequence[int], total: int) -> Iterator[int]:
    for parts, number in zip(around, focused, strict=True):
        yield number
        for part in parts:
            yield from range(part.start, part.stop)
        yield from range(max(number - WINDOW, 0), min(number + WINDOW + 1, total))


def _by_depth(outline: Outline) -> Iterator[int]:
    """Give the lines of the outline: what lies outside first, and documentation with what lies one deeper."""
    deepest = max((part.depth for part in outline), default=-1)
    for depth in range(deepest + 2):
        for part in outline:
            if part.depth == depth:
                yield from range(part.start, part.stop)
            if part.depth == depth - 1:
                yield from range(part.doc_start, part.doc_stop)


@define(eq=False)
class _Choice:
    """Chooses lines, and knows at each moment what the text of them takes."""

    _costs: list[int]
    _gap: int
    _chosen: bytearray = field(init=False)
    _used: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chosen = bytearray(len(self._costs))
        self._used = self._gap

    @classmethod
    def of(cls, lines: Sequence[str], language: str) -> "_Choice":
        return cls([len(encode(line)) - 2 for line in lines], _gap_bytes(language, len(lines)))

    def add(self, numbers: Iterable[int], most_bytes: int) -> None:
        """Choose lines in turn; one that does not fit, or that there is not, is passed over."""
        chosen, costs, gap, total = self._chosen, self._costs, self._gap, len(self._costs)
        for number in numbers:
            if number >= total or chosen[number]:
                continue
            # One run of lines that are left out becomes two, stays one, or is gone.
            before = number > 0 and not chosen[number - 1]
            after = number + 1 < total and not chosen[number + 1]
            used = self._used + costs[number] + gap * (before + after - 1)
            if used <= most_bytes:
                chosen[number] = 1
                self._used = used

    def close_gaps(self) -> None:
        """Show the lines whose place takes as much as they do."""
        for first, last in list(self._gaps()):
            if sum(self._costs[first : last + 1]) <= self._gap:
                self._chosen[first : last + 1] = b"\1" * (last + 1 - first)

    def shown(self, lines: Sequence[str], language: str) -> Cut | None:
        """Give the text of what is chosen, None if that is nothing."""
        if not any(self._chosen):
            return None
        parts: list[str] = []
        at = 0
        gaps = list(self._gaps())
        for first, last in gaps:
            parts += (*lines[at:first], omission_line(language, first + 1, last + 1))
            at = last + 1
        return Cut("".join((*parts, *lines[at:])), [(first + 1, last + 1) for first, last in gaps])

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """Give the first and the last line of each run that is not chosen."""
        at = self._chosen.find(0)
        while at >= 0:
            end = self._chosen.find(1, at)
            last = (end if end >= 0 else len(self._chosen)) - 1
            yield at, last
            at = self._chosen.find(0, last + 1)
