"""What a segment holds, seen from outside: is it whole, is its end only torn, was it ever in use."""

from typing import Any

import msgspec
from attrs import define, field, frozen

from cco_sidecar.backends.segments import Scan, scan

_LINE_START = b'{"cco":1,"seq":'


class _Line(msgspec.Struct):
    k: str
    b: msgspec.Raw


class _Begin(msgspec.Struct):
    mark: int


class _End(msgspec.Struct):
    """What the end of a snapshot may say of the segment before, by its first and last sequence."""

    mark: int
    previous: int
    last: int


class _Skip(msgspec.Struct):
    """Where the numbers of a segment go on."""

    next: int


class _Numbered(msgspec.Struct):
    sequence: int


_line = msgspec.json.Decoder(_Line).decode
_begin = msgspec.json.Decoder(_Begin).decode
_end: Any = msgspec.json.Decoder(_End | None).decode
_skip = msgspec.json.Decoder(_Skip).decode
_numbered = msgspec.json.Decoder(_Numbered).decode


@frozen
class Look:
    """A segment's content.

    ``mark`` is the highest number of an event in earlier segments, None where the segment does not say. ``previous`` is
    the segment before, by its first sequence (0: not said), and ``previous_last`` what that one goes on to. ``last`` is
    the last sequence that this one speaks for, ``highest`` the highest number of an event in it (0: none).
    ``unreadable`` counts records whose checksum holds although they are no records; ``is_torn`` says that all behind
    the last record is an unfinished write.
    """

    what: Scan
    mark: int | None
    previous: int
    previous_last: int
    last: int
    has_snapshot: bool
    highest: int
    unreadable: int
    is_torn: bool

    @property
    def is_unfinished(self) -> bool:
        """Whether it was being made, and never in use: its snapshot was cut short."""
        began = not self.what.records or self.mark is not None
        return began and not self.has_snapshot and self.is_torn and not self.what.damaged and not self.unreadable


def look_at(text: bytes) -> Look:
    """Look at a segment's bytes."""
    what = scan(text)
    said = _Said()
    for number, record in what.records:
        said.take(number, record)
    return Look(
        what,
        said.mark,
        said.previous,
        said.previous_last,
        said.last,
        said.has_begin and said.has_end,
        said.highest,
        said.unreadable,
        _is_torn(text[what.good_bytes :]),
    )


@define
class _Said:
    """What the records of a segment say of it."""

    mark: int | None = None
    previous: int = 0
    previous_last: int = 0
    last: int = 0
    has_begin: bool = False
    has_end: bool = False
    highest: int = 0
    unreadable: int = 0
    _is_first: bool = field(default=True)

    def take(self, number: int, record: bytes) -> None:
        """Take the next record."""
        self.last = max(self.last, number)
        try:
            line = _line(record)
            if line.k == "begin" and self._is_first:
                self.mark, self.has_begin = _begin(line.b).mark, True
            elif line.k == "event":
                self.highest = max(self.highest, _numbered(line.b).sequence)
            elif line.k == "end" and not self.has_end:
                self._take_end(_end(line.b))
            elif line.k == "skip":
                self.last = max(self.last, _skip(line.b).next - 1)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.unreadable += 1
        self._is_first = False

    def _take_end(self, end: _End | None) -> None:
        self.has_end = True
        if end is not None:
            self.mark, self.previous, self.previous_last = end.mark, end.previous, end.last
            self.last = max(self.last, end.last)


def _is_torn(tail: bytes) -> bool:
    """Say whether ``tail`` is the beginning of a line, and then nothing, or zeros."""
    rest = tail.rstrip(b"\0")
    if b"\n" in rest or not (rest.startswith(_LINE_START) or _LINE_START.startswith(rest)):
        return False
    # With nothing wrong but its last byte it was written whole, and has changed since.
    return not scan(tail[:-1] + b"\n").records
