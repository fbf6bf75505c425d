"""What a start finds in the journal's directory: every readable record, and what is wrong with the rest.

A torn end is what a write leaves that was cut short: nothing in it was acknowledged, so it goes. Everything else that
cannot be read is damage: it is said loudly and counted, the segment is put into quarantine as it is, and what is
readable in it stays in its place.

Every start begins a segment with the whole state, and segments stay while their events are wanted: what was written
before the newest snapshot that is whole is only given if no snapshot has it.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from heapq import merge
from itertools import chain
from operator import itemgetter
from pathlib import Path

from attrs import define, field, frozen
from twisted.logger import Logger

from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.repair import repaired
from cco_sidecar.backends.segments import Scan, end_of, first_sequence, is_begin, is_own, scan

_log = Logger()

LEAST_EVENT_BYTES = 256
"""No event's line is shorter."""
MOST_IN_A_STRETCH = 2**20
"""More events than a segment holds."""

_LINE = b'{"cco":1,'
_NUMBERED = tuple[int, bytes]


@define
class Segment:
    """A file of the log; everything numbered up to ``mark`` lies in earlier ones."""

    path: Path
    mark: int
    size: int

    @property
    def first(self) -> int:
        """The sequence of its first record."""
        return first_sequence(self.path) or 0


@frozen
class Recovery:
    """What was found: how many records were given, bytes cut from a torn end, and damaged stretches."""

    records: int
    torn_bytes: int
    damaged: int

    @property
    def most_lost(self) -> int:
        """How many events there may have been, at most, that cannot be read any more."""
        return self.torn_bytes // LEAST_EVENT_BYTES + self.damaged * MOST_IN_A_STRETCH


@frozen
class Recovered:
    """The segments that are in use, oldest first, the last record's sequence, and the count of it all."""

    segments: list[Segment]
    sequence: int
    recovery: Recovery


@frozen
class _Read:
    """A segment as it was found, and what its bytes hold."""

    path: Path
    head: bytes
    what: Scan

    @property
    def first(self) -> int:
        return first_sequence(self.path) or 0

    @property
    def is_base(self) -> bool:
        """Whether its snapshot says all that those before it said: each line of it is there, as it was written."""
        records, end = self.what.records, self.what.end
        if end is None or not end.previous or not self.what.has_snapshot:
            return False  # the end was lost and put right (see `repaired`), or there is nothing before it
        place = next(place for place, (_, record) in enumerate(records) if end_of(record) == end)
        return records[place][0] == self.first + place and not any(is_own(record) for _, record in records[1:place])


@define
class _Recovering:
    """One recovery, from the oldest segment to the newest.

    ``base`` is the first number of the newest whole snapshot: of what was written before, only what ``lasts`` is given.
    """

    _apply: Callable[[bytes], None]
    _mark: Callable[[], int]
    _lasts: Callable[[bytes], bool]
    _base: int
    _quarantine: Quarantine
    segments: list[Segment] = field(factory=list)
    sequence: int = 0
    records: int = 0
    torn: int = 0
    damaged: int = 0
    _last: int = 0
    _later: Sequence[_NUMBERED] = ()  # what the segments so far hold, but was written after the next one's snapshot

    def take(self, read: _Read, coming: _Read | None) -> None:
        """Take a segment up; ``coming`` is the next one."""
        what = read.what
        self.sequence = max(self.sequence, read.first, what.last)
        carried = self._later[-1][0] if self._later else 0
        found = list(merge(self._later, what.records)) if self._later else what.records
        here = len(found) if coming is None else bisect_left(found, coming.first, key=itemgetter(0))
        own = bisect_right(found, carried, hi=here, key=itemgetter(0))
        self._give(found[:own])
        mark = what.end.mark if what.end is not None else self._mark()
        size = self._weigh(read, coming, mark)
        if size is not None:
            self.segments.append(Segment(read.path, mark, size))
        self._give(found[own:here])
        self._later = found[here:]

    def _give(self, records: Sequence[_NUMBERED]) -> None:
        for number, record in records:
            if number <= self._last:
                continue  # a copy, which is counted as damage
            self._last = number
            if (number >= self._base or self._lasts(record)) and not is_own(record):
                self._apply(record)
                self.records += 1

    def _weigh(self, read: _Read, coming: _Read | None, mark: int) -> int | None:
        """Cut what is torn, put right what is damaged; gives the segment's size, None when nothing of it is left."""
        what = read.what
        damaged = self._damage(read, coming)
        if coming is None and what.records:
            self.torn += what.torn
        if damaged:
            return self._put_right(read, damaged, repaired(what, read.first, mark, _expected(read, coming)))
        if what.torn:
            _log.warn("{bytes} bytes of an unfinished write cut from {path}", bytes=what.torn, path=str(read.path))
            os.truncate(read.path, what.good_bytes)
        return what.good_bytes

    def _damage(self, read: _Read, coming: _Read | None) -> int:
        """Count the stretches that were written once and cannot be read any more."""
        what = read.what
        if not what.records:
            return 1
        lost_end = _expected(read, coming) not in {None, what.last}
        # Nothing was being written to an earlier segment any more: what cannot be read there was lost since.
        torn = bool(what.torn) and coming is not None
        displaced = what.records[0][0] != read.first
        return what.damaged or int(torn or lost_end or displaced or not what.has_snapshot)

    def _put_right(self, read: _Read, damaged: int, text: bytes | None) -> int | None:
        self.damaged += damaged
        if text is None:
            _log.error("{path} is no segment by its name: it is read, and left as it is", path=str(read.path))
            return read.what.good_bytes + read.what.torn
        kept = self._quarantine.replace(read.path, text)
        _log.error(
            "{count} damaged stretches in {path}: what is readable is kept, the segment as it was lies in {kept}",
            count=damaged,
            path=str(read.path),
            kept=str(kept),
        )
        return len(text) or None


def everything(_record: bytes) -> bool:
    """Say that each record is wanted."""
    return True


def recover_segments(
    directory: Path,
    apply: Callable[[bytes], None],
    mark: Callable[[], int],
    quarantine: Quarantine,
    lasts: Callable[[bytes], bool] = everything,
) -> Recovered:
    """Read all segments, and give the records to ``apply`` in the order of writing. Blocks.

    A torn end is cut, and what is damaged put right, so that the next start finds it clean.

    :param mark: the highest number of an entry that was applied so far.
    :param lasts: whether a record is wanted although a later snapshot is whole, for no snapshot has it.
    """
    found = sorted(path for path in directory.iterdir() if first_sequence(path) is not None)
    newest = _read(found.pop()) if found else None
    if newest is not None and _is_unfinished(newest):
        # It was being made when the process ended: it holds nothing that the one before does not.
        _log.warn("{path} was never finished, and is removed", path=str(newest.path))
        newest.path.unlink()
        newest = _read(found.pop()) if found else None
    bases = (read.first for read in chain([newest] if newest else [], map(_read, reversed(found))) if read.is_base)
    recovering = _Recovering(apply, mark, lasts, next(bases, 0), quarantine)
    reads = chain(map(_read, found), [newest] if newest else [])
    read = next(reads, None)
    while read is not None:
        coming = next(reads, None)  # read already here: it says where this one has to end
        recovering.take(read, coming)
        read = coming
    counted = Recovery(recovering.records, recovering.torn, recovering.damaged)
    return Recovered(recovering.segments, recovering.sequence, counted)


def _read(path: Path) -> _Read:
    text = path.read_bytes()
    return _Read(path, text[: len(_LINE)], scan(text))


def _expected(read: _Read, coming: _Read | None) -> int | None:
    """Give the last sequence that a segment must have, as the next one knows it."""
    end = coming.what.end if coming is not None else None
    return end.last if end is not None and end.previous == read.first else None


def _is_unfinished(read: _Read) -> bool:
    what = read.what
    if not what.records:
        return _LINE.startswith(read.head.rstrip(b"\0"))
    # With something readable behind what is not, it was in use: that is damage.
    number, record = what.records[0]
    return not what.damaged and what.end is None and number == read.first and is_begin(record)
