"""The form of the log on disk: segments of JSON lines, each with magic, sequence, length and checksum.

A line is ``{"cco":1,"seq":S,"len":L,"crc":"XXXXXXXX","rec":R}`` and a newline; ``R`` is the record, ``L`` its length in
bytes (1 or more), and the CRC-32 covers sequence, length and record, so that no part of a line can change unseen, and
a run of zero bytes is no record. A segment begins with a snapshot, ``{"k":"begin",…}`` to ``{"k":"end",…}``; one
without its ``end`` was never in use.

While a snapshot is written into the next segment, records go on into the one before. The snapshot's numbers come
first: it is the state of one moment, and all that was written since has higher numbers, wherever it lies. So both
segments jump: the earlier one says so with a ``skip``, the next one with its ``end``, which knows the last number
before it. In the order of their numbers all records of all segments are as they were written.
"""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

_NAME = re.compile(r"([0-9]{20})\.log")
_HEAD = re.compile(rb'\{"cco":1,"seq":([0-9]{1,20}),"len":([0-9]{1,12}),"crc":"([0-9a-f]{8})","rec":')
BEGIN = b'{"k":"begin","b":{"mark":%d}}'
"""Begins a snapshot; ``mark`` is the highest number of an entry that it knows of."""
END = b'{"k":"end","b":{"mark":%d,"previous":%d,"last":%d}}'
"""Ends it: ``mark`` is the highest number of an entry that lies in earlier segments, ``previous`` the first sequence of
the segment before, ``last`` the last that was written to it."""
SKIP = b'{"k":"skip","b":{"next":%d}}'
"""Says with which sequence the segment goes on."""
PROBE = b'{"k":"probe","b":null}'
"""Says nothing: written to see whether the disk takes something again."""

_BEGIN_TEXT = re.compile(rb'\{"k":"begin","b":\{"mark":([0-9]{1,20})\}\}')
_END_TEXT = re.compile(rb'\{"k":"end","b":\{"mark":([0-9]{1,20}),"previous":([0-9]{1,20}),"last":([0-9]{1,20})\}\}')
_SKIP_TEXT = re.compile(rb'\{"k":"skip","b":\{"next":([0-9]{1,20})\}\}')
_OWN = (b'{"k":"begin"', b'{"k":"end"', b'{"k":"skip"', b'{"k":"probe"')

_TAIL = b"}\n"
_START = b'{"cco":1,"seq":'


def segment_name(sequence: int) -> str:
    """Name the segment whose first record has that sequence."""
    return f"{sequence:020}.log"


def first_sequence(path: Path) -> int | None:
    """Read a segment's first sequence from its name; None if it is no segment's."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else None


def _checksum(sequence: int, record: bytes) -> bytes:
    return b"%08x" % zlib.crc32(record, zlib.crc32(b"%d:%d:" % (sequence, len(record))))


def frame(sequence: int, record: bytes) -> bytes:
    """Make a record's line."""
    crc = _checksum(sequence, record)
    return b'{"cco":1,"seq":%d,"len":%d,"crc":"%s","rec":%s}\n' % (sequence, len(record), crc, record)


def is_own(record: bytes) -> bool:
    """Say whether a record is about the log itself."""
    return record.startswith(_OWN)


@frozen
class End:
    """What the end of a snapshot says, see `END`."""

    mark: int
    previous: int
    last: int


def end_of(record: bytes) -> End | None:
    """Read the end of a snapshot; None if it is another record."""
    found = _END_TEXT.fullmatch(record) if record.startswith(b'{"k":"end"') else None
    return End(*map(int, found.groups())) if found else None


def is_begin(record: bytes) -> bool:
    """Say whether a record begins a snapshot."""
    return _BEGIN_TEXT.fullmatch(record) is not None


def following(sequence: int, record: bytes) -> int:
    """Give the sequence that comes behind a record in its segment."""
    if not record.startswith(_OWN):
        return sequence + 1
    skip = _SKIP_TEXT.fullmatch(record)
    if skip is not None:
        return int(skip[1])
    end = end_of(record)
    return max(sequence, end.last if end is not None else 0) + 1


@frozen
class Scan:
    """What a segment's bytes hold.

    ``good_bytes`` is the length of the valid beginning; ``torn`` the number of bytes behind the last valid record;
    ``damaged`` the number of stretches in the middle that are no records though valid ones follow; ``last`` the last
    sequence that is spoken for; ``end`` the end of the snapshot, where there is one.
    """

    records: Sequence[tuple[int, bytes]] = field(factory=list)
    good_bytes: int = 0
    torn: int = 0
    damaged: int = 0
    last: int = field(default=0, eq=False)
    end: End | None = field(default=None, eq=False)

    @property
    def has_snapshot(self) -> bool:
        """Whether it begins with a snapshot that is whole, as far as that can be seen."""
        return bool(self.records) and is_begin(self.records[0][1]) and self.end is not None


def _record_at(text: bytes, offset: int) -> tuple[int, bytes, int] | None:
    """Give sequence and record of a line whose checksum holds, and where it ends, if it does with a `_TAIL`."""
    head = _HEAD.match(text, offset)
    if head is None:
        return None
    sequence, length, checksum = head.groups()
    begin = head.end()
    end = begin + int(length)
    record = text[begin:end]
    if not record or _checksum(int(sequence), record) != checksum:
        return None
    return int(sequence), record, end + 2


def scan(text: bytes) -> Scan:
    """Read a segment: every valid record in order, and what is wrong with the rest."""
    records: list[tuple[int, bytes]] = []
    offset = good = damaged = expected = 0
    highest = -1
    end: End | None = None
    broken = False
    while offset < len(text):
        found = _record_at(text, offset)
        if found is not None and found[0] > highest and text.startswith(_TAIL, found[2] - 2):
            highest, record, offset = found
            # Numbers have no holes but those that are said: a line that is missing was there once.
            damaged += broken or expected not in (0, highest)
            broken = False
            records.append((highest, record))
            good = offset
            if record.startswith(_OWN):
                expected = following(highest, record)
                end = end or end_of(record)
            else:
                expected = highest + 1
            continue
        broken = True
        offset = _next_line(text, offset, found)
    return Scan(records, good, len(text) - good, damaged, max(0, expected - 1), end)


def _next_line(text: bytes, offset: int, found: tuple[int, bytes, int] | None) -> int:
    """Say where to go on behind what is no record: either damage lies between, or this is the torn end.

    Only a line's beginning counts: what looks like one inside a record was put there by whoever wrote its data.
    """
    if found is not None:
        end = found[2]
        if not text.startswith(_TAIL, end - 2) and text.startswith(_START, end):
            return end
    at = text.find(b"\n" + _START, offset)
    return len(text) if at < 0 else at + 1
