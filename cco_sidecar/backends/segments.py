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


def _record_at(text: bytes, offset: int) -> tuple[int, bytes, int] | None:
    head = _HEAD.match(text, offset)
    if head is None:
        return None
    sequence, length = int(head[1]), int(head[2])
    end = head.end() + length
    if length < 1 or text[end : end + 2] != _TAIL:
        return None
    record = text[head.end() : end]
    if _checksum(sequence, record) != head[3]:
        return None
    return sequence, record, end + 2


def scan(text: bytes) -> Scan:
    """Read a segment: every valid record in order, and what is wrong with the rest."""
    records: list[tuple[int, bytes]] = []
    offset = good = damaged = 0
    broken = False
    while offset < len(text):
        found = _record_at(text, offset)
        if found is not None and (not records or found[0] > records[-1][0]):
            damaged += broken
            broken = False
            records.append(found[:2])
            offset = good = found[2]
            continue
        broken = True
        # Look for the next line that could be a record; what lies between is either damage or the torn end.
        offset = text.find(b'{"cco":1,"seq":', offset + 1)
        if offset < 0:
            break
    return Scan(records, good, len(text) - good, damaged)
