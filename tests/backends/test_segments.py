"""Segments: what a scan accepts was written, and in that order; what is damaged never hides behind silence."""

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.backends.segments import Scan, first_sequence, frame, scan, segment_name

RECORDS = [b'{"k":"a","b":%d}' % number for number in range(1, 7)]
LINES = [frame(number, record) for number, record in enumerate(RECORDS, 1)]
TEXT = b"".join(LINES)
WRITTEN = list(enumerate(RECORDS, 1))

records = st.lists(
    st.binary(min_size=1, max_size=40).filter(lambda record: b"\n" not in record), min_size=1, max_size=8
)


def framed(written: list[bytes], first: int = 1) -> bytes:
    return b"".join(frame(number, record) for number, record in enumerate(written, first))


def is_subsequence(found: list[tuple[int, bytes]], written: list[tuple[int, bytes]]) -> bool:
    rest = iter(written)
    return all(record in rest for record in found)


def test_line() -> None:
    """A line is JSON that people and jq can read."""
    assert frame(7, b'{"x":1}') == b'{"cco":1,"seq":7,"len":7,"crc":"%08x","rec":{"x":1}}\n' % zlib.crc32(
        b'7:7:{"x":1}'
    )


def test_names() -> None:
    """Names sort as their sequences do, and other files are none."""
    assert [segment_name(number) for number in (9, 10, 10**19)] == sorted(
        segment_name(number) for number in (10**19, 10, 9)
    )
    assert first_sequence(Path("/x") / segment_name(42)) == 42
    for name in ("x.log", "1.log", segment_name(1) + "~", "\u0660" * 20 + ".log"):
        assert first_sequence(Path(name)) is None


def test_whole() -> None:
    """An undamaged text gives all records, and nothing is wrong with it."""
    assert scan(TEXT) == Scan(WRITTEN, len(TEXT), 0, 0)
    assert scan(b"") == Scan([], 0, 0, 0)


@pytest.mark.parametrize("cut", range(len(TEXT)))
def test_cut(cut: int) -> None:
    """Cut anywhere, the whole records before the cut are there, the rest is torn, and nothing is damaged."""
    whole = [number for number in range(7) if len(b"".join(LINES[:number])) <= cut][-1]
    good = len(b"".join(LINES[:whole]))
    assert scan(TEXT[:cut]) == Scan(WRITTEN[:whole], good, cut - good, 0)


@pytest.mark.parametrize(
    "tail", [b"\0" * 4096, b"\0", b"\xff" * 100, b"garbage\n" * 9, b"\n", LINES[0][:30], b'{"cco":1,']
)
def test_tail(tail: bytes) -> None:
    """Zeros or garbage behind the last record are no records."""
    assert scan(TEXT + tail) == Scan(WRITTEN, len(TEXT), len(tail), 0)


def test_every_bit() -> None:
    """Whichever bit is flipped, no wrong record is accepted, only that one is lost, and it is never silent."""
    for place in range(len(TEXT)):
        for bit in range(8):
            text = bytearray(TEXT)
            text[place] ^= 1 << bit
            found = scan(bytes(text))
            assert is_subsequence(list(found.records), WRITTEN)
            assert len(found.records) == 5
            assert found.damaged or found.torn


@pytest.mark.parametrize("missing", range(1, 5))
def test_missing_line(missing: int) -> None:
    """A line that was taken out whole is missed."""
    found = scan(b"".join(LINES[:missing] + LINES[missing + 1 :]))
    assert list(found.records) == WRITTEN[:missing] + WRITTEN[missing + 1 :]
    assert found.damaged == 1


def test_doubled_line() -> None:
    """A line that is there twice counts once, and is seen to be wrong."""
    found = scan(b"".join([*LINES[:3], LINES[2], *LINES[3:]]))
    assert (list(found.records), found.damaged) == (WRITTEN, 1)
    found = scan(TEXT + LINES[-1])
    assert (list(found.records), found.torn) == (WRITTEN, len(LINES[-1]))


def test_swapped_lines() -> None:
    """Lines in the wrong order are seen to be wrong, and never given in that order."""
    found = scan(b"".join([LINES[0], LINES[2], LINES[1], *LINES[3:]]))
    assert is_subsequence(list(found.records), WRITTEN)
    assert found.damaged == 2


def test_stretch_of_zeros() -> None:
    """A page of zeros in the middle costs what it covers, and no more."""
    begin, end = len(LINES[0]) + 10, len(b"".join(LINES[:3])) - 10
    found = scan(TEXT[:begin] + b"\0" * (end - begin) + TEXT[end:])
    assert (list(found.records), found.damaged, found.torn) == ([WRITTEN[0], *WRITTEN[3:]], 1, 0)


def test_lost_line_end() -> None:
    """A damaged line end costs its own record only."""
    for damaged in (b"X", b"\0"):
        text = LINES[0] + LINES[1][:-1] + damaged + b"".join(LINES[2:])
        found = scan(text)
        assert (list(found.records), found.damaged) == ([WRITTEN[0], *WRITTEN[2:]], 1)


def test_forged_record() -> None:
    """What looks like a record inside another one's data is none, also when the line around it is damaged."""
    forged = frame(3, b'{"k":"agent","b":"mine"}').rstrip(b"\n")
    line = bytearray(frame(2, b'{"k":"a","b":' + forged + b"}"))
    line[5] ^= 1
    found = scan(LINES[0] + bytes(line) + b"".join(LINES[2:]))
    assert list(found.records) == [WRITTEN[0], *WRITTEN[2:]]


def test_empty_record() -> None:
    """A record of no bytes is none: its checksum would prove nothing."""
    assert list(scan(b'{"cco":1,"seq":1,"len":0,"crc":"%08x","rec":}\n' % zlib.crc32(b"1:0:")).records) == []


def test_length_past_the_end() -> None:
    """A length that reaches past the text, however far, is no record."""
    assert list(scan(b'{"cco":1,"seq":1,"len":999999999999,"crc":"00000000","rec":x}\n').records) == []


@given(st.binary(max_size=600))
def test_any_bytes(text: bytes) -> None:
    """Whatever the bytes, the scan ends, and its numbers add up."""
    found = scan(text)
    assert found.good_bytes + found.torn == len(text)
    assert list(found.records) == []


@given(records, st.integers(1, 10**18), st.data())
def test_any_damage(written: list[bytes], first: int, data: st.DataObject) -> None:
    """Cut, overwrite, insert, delete, double: what is found was written, in that order; what is lost is not silent."""
    text = framed(written, first)
    expected = list(enumerate(written, first))
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 60)))
        text = text[:begin] + data.draw(st.binary(max_size=20) | st.just(text[begin:end] * 2)) + text[end:]
    found = scan(text)
    assert is_subsequence(list(found.records), expected)
    assert found.good_bytes + found.torn == len(text)
    if found.records and len(found.records) < found.records[-1][0] - first + 1 and found.records[0][0] == first:
        assert found.damaged


@given(records, st.integers(0, 10**18))
def test_round_trip(written: list[bytes], first: int) -> None:
    """What is written undamaged is found, whatever the bytes."""
    assert list(scan(framed(written, first)).records) == list(enumerate(written, first))
