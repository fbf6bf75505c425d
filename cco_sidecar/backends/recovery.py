"""What a start finds in the journal's directory: every readable record, and what is wrong with the rest.

A torn end is what a write leaves that was cut short: nothing in it was acknowledged, so it goes. Everything else that
cannot be read is damage: it is said loudly, counted and left where it is, and whatever lies around it is kept.
"""

import os
from collections.abc import Callable
from pathlib import Path

from attrs import define, frozen
from twisted.logger import Logger

from cco_sidecar.backends.segments import Scan, first_sequence, scan

_log = Logger()

BEGIN = b'{"k":"begin","b":{"mark":%d}}'
END = b'{"k":"end","b":null}'
_LINE = b'{"cco":1,'
_BEGINS = b'{"k":"begin","b":{"mark":'


@define
class Segment:
    """A file of the log; everything numbered up to ``mark`` lies in earlier ones."""

    path: Path
    mark: int
    size: int


@frozen
class Recovery:
    """What was found: how many records, bytes cut from a torn end, and damaged stretches."""

    records: int
    torn_bytes: int
    damaged: int


@frozen
class Recovered:
    """The segments that are in use, oldest first, the last record's sequence, and the count of it all."""

    segments: list[Segment]
    sequence: int
    recovery: Recovery


def recover_segments(directory: Path, apply: Callable[[bytes], None], mark: Callable[[], int]) -> Recovered:
    """Read all segments, oldest first, and give every record to ``apply``; cut a torn end. Blocks.

    :param mark: the highest number of an entry that was applied so far.
    """
    found = sorted(path for path in directory.iterdir() if first_sequence(path) is not None)
    if found and _is_unfinished(found[-1].read_bytes()):
        # It was being made when the process ended: it holds nothing that the one before does not.
        _log.warn("{path} was never finished, and is removed", path=str(found[-1]))
        found.pop().unlink()
    segments: list[Segment] = []
    total = torn = damaged = sequence = 0
    for path in found:
        text = path.read_bytes()
        what = scan(text)
        lost, cut = _weigh(path, what, is_last=path is found[-1])
        damaged, torn = damaged + lost, torn + cut
        segments.append(Segment(path, _mark_of(what, mark()), what.good_bytes if cut else len(text)))
        sequence = max(sequence, first_sequence(path) or 0)
        for number, record in what.records:
            sequence = max(sequence, number)
            if record != END and not record.startswith(_BEGINS):
                apply(record)
                total += 1
    return Recovered(segments, sequence, Recovery(total, torn, damaged))


def _is_unfinished(text: bytes) -> bool:
    what = scan(text)
    if not what.records:
        return _LINE.startswith(text[: len(_LINE)].rstrip(b"\0"))
    # With something readable behind what is not, it was in use: that is damage.
    return not what.damaged and not _has_snapshot(what)


def _has_snapshot(what: Scan) -> bool:
    return what.records[0][1].startswith(_BEGINS) and any(record == END for _, record in what.records)


def _weigh(path: Path, what: Scan, *, is_last: bool) -> tuple[int, int]:
    """Give how many stretches are damaged, and how many bytes of a torn end were cut."""
    damaged, cut = what.damaged, 0
    if what.torn and is_last and what.records:
        cut = what.torn
        _log.warn("{bytes} bytes of an unfinished write cut from {path}", bytes=cut, path=str(path))
        os.truncate(path, what.good_bytes)
    elif what.torn or not what.records or not _has_snapshot(what):
        # Nothing was being written to an earlier segment any more: what cannot be read there was lost since.
        damaged += 1 if what.torn or not damaged else 0
    if damaged:
        _log.error(
            "{count} damaged stretches in {path}: what is readable is kept, the file stays as it is",
            count=damaged,
            path=str(path),
        )
    return damaged, cut


def _mark_of(what: Scan, applied: int) -> int:
    """Read the segment's mark; where its beginning is damaged, it is what the earlier ones held."""
    first = what.records[0][1] if what.records else b""
    if not first.startswith(_BEGINS):
        return applied
    return int(first.removeprefix(_BEGINS).rstrip(b"}"))
