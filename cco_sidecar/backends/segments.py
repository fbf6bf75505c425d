"""The form of the log on disk: segments of JSON lines, each with magic, sequence, length and checksum.

A line is ``{"cco":1,"seq":S,"len":L,"crc":"XXXXXXXX","rec":R}`` and a newline; ``R`` is the record, ``L`` its length in
bytes (1 or more), and the CRC-32 covers sequence, length and record, so that no part of a line can change unseen, and
a run of zero bytes is no record. A segment begins with a snapshot, ``{"k":"begin",…}`` to ``{"k":"end"}``; one without
its ``end`` was never in use.
"""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

_NAME = re.compile(r"([0-9]{20})\.log")
_HEAD = re.compile(rb'\{"cco":1,"seq":([0-9]{1,20}),"len":([0-9]{1,12}),"crc":"([0-9a-f]{8})","rec":')
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


@frozen
class Scan:
    """What a segment's bytes hold.

    ``good_bytes`` is the length of the valid beginning; ``torn`` the number of bytes behind the last valid record;
    ``damaged`` the number of stretches in the middle that are no records though valid ones follow.
    """

    records: Sequence[tuple[int, bytes]] = field(factory=list)
    good_bytes: int = 0
    torn: int = 0
    damaged: int = 0


@frozen
class _Found:
    """A record whose checksum holds; ``ends`` is where its line does, if ``whole``."""

    sequence: int
    record: bytes
    ends: int
    whole: bool


def _record_at(text: bytes, offset: int) -> _Found | None:
    head = _HEAD.match(text, offset)
    if head is None:
        return None
    sequence, length = int(head[1]), int(head[2])
    end = head.end() + length
    record = text[head.end() : end]
    if length < 1 or _checksum(sequence, record) != head[3]:
        return None
    return _Found(sequence, record, end + 2, text[end : end + 2] == _TAIL)


def scan(text: bytes) -> Scan:
    """Read a segment: every valid record in order, and what is wrong with the rest."""
    records: list[tuple[int, bytes]] = []
    offset = good = damaged = 0
    broken = False
    while offset < len(text):
        found = _record_at(text, offset)
        if found is not None and found.whole and (not records or found.sequence > records[-1][0]):
            # Numbers have no holes: a line that is missing was there once.
            damaged += broken or (bool(records) and found.sequence != records[-1][0] + 1)
            broken = False
            records.append((found.sequence, found.record))
            offset = good = found.ends
            continue
        broken = True
        offset = _next_line(text, offset, found)
    return Scan(records, good, len(text) - good, damaged)


def _next_line(text: bytes, offset: int, found: _Found | None) -> int:
    """Say where to go on behind what is no record: either damage lies between, or this is the torn end.

    Only a line's beginning counts: what looks like one inside a record was put there by whoever wrote its data.
    """
    if found is not None and not found.whole and text.startswith(_START, found.ends):
        return found.ends
    at = text.find(b"\n" + _START, offset)
    return len(text) if at < 0 else at + 1
