"""A snapshot on its way into the next segment, a slice at a time, while writing goes on in the one before.

The state is that of the moment when it began: what it is made of does not change any more, so that it can be encoded
later, between batches, and holds up nobody.
"""

from collections.abc import Iterator
from typing import Protocol

from attrs import define, field

from cco_sidecar.backends.segments import BEGIN, END, SKIP, frame, segment_name

SLICE_BYTES = 128 * 1024
"""So much of a snapshot is made at once: some 2 ms of the reactor, some 1 ms of the writer."""


class Snapshot(Protocol):
    """The state of one moment as records; walking it later gives the same ones."""

    def __len__(self) -> int:
        """How many they are."""

    def __iter__(self) -> Iterator[bytes]:
        """Give them."""


@define(eq=False)
class Rotation:
    """The numbers and the rest of a snapshot that is being written.

    :param begin: the first sequence of the next segment; all up to ``begin`` + the snapshot's length + 1 are its own.
    :param mark: the highest number of an entry that the snapshot knows of.
    :param horizon: the highest number of an entry that was no longer wanted then.
    :param needed: it makes good what could not be written.
    """

    _snapshot: Snapshot
    begin: int
    mark: int
    horizon: int
    needed: bool = False
    skipped: bool = False
    """Whether the segment before has been told to jump over the snapshot's numbers."""
    written: int = 0
    _lines: Iterator[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = self._frame()

    @property
    def name(self) -> bytes:
        """The next segment's file."""
        return segment_name(self.begin).encode()

    @property
    def last(self) -> int:
        """The snapshot's last sequence."""
        return self.begin + len(self._snapshot) + 1

    def _frame(self) -> Iterator[bytes]:
        yield frame(self.begin, BEGIN % self.mark)
        for number, record in enumerate(self._snapshot, self.begin + 1):
            yield frame(number, record)

    def slice(self) -> bytes:
        """Make the next lines; nothing is left when there are none."""
        lines: list[bytes] = []
        size = 0
        for line in self._lines:
            lines.append(line)
            size += len(line)
            if size >= SLICE_BYTES:
                break
        return b"".join(lines)

    def end(self, mark: int, previous: int, last: int) -> bytes:
        """Make the last line."""
        return frame(self.last, END % (mark, previous, last))

    def skip(self) -> bytes:
        """Make the line with which the segment before jumps."""
        return frame(self.begin - 1, SKIP % (self.last + 1))
