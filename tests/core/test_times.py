"""Times: RFC 3339 out and in, and nothing else in."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.times import looks_like_time, rfc3339, seconds_of
from cco_sidecar.errors import InvalidParameter


def test_form() -> None:
    """A time is written in UTC, with milliseconds and a Z."""
    assert rfc3339(1_800_000_000.5) == "2027-01-15T08:00:00.500Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_round_trip(milliseconds: int) -> None:
    """A whole millisecond, written and read, is the same number to the last bit: positions by time depend on it."""
    seconds = milliseconds / 1000
    assert seconds_of(rfc3339(seconds), "since") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15T08:00:00Z", 1_800_000_000.0),
        ("2027-01-15t08:00:00z", 1_800_000_000.0),
        ("2027-01-15 08:00:00Z", 1_800_000_000.0),
        ("2027-01-15T09:30:00+01:30", 1_800_000_000.0),
        ("2027-01-15T07:00:00.25-01:00", 1_800_000_000.25),
        ("2027-01-15T08:00:00.123456789Z", 1_800_000_000.123456),
    ],
)
def test_read(text: str, seconds: float) -> None:
    """Every form that RFC 3339 allows is read, finer fractions than microseconds are cut."""
    assert seconds_of(text, "since") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00Z",
        "2027-02-30T08:00:00Z",
        "2027-13-01T08:00:00Z",
        "2027-01-15T24:00:01Z",
        "2027-01-15T08:00:60Z",
        "0000-01-15T08:00:00Z",
        "2027-01-15T08:00:00+25:00",
        "2027-01-15T08:00:00Z\n",
        "\uff12\uff10\uff12\uff17-01-15T08:00:00Z",
        "1800000000",
        "now",
    ],
)
def test_refused(text: str) -> None:
    """What is no such time is refused by the parameter's name."""
    with pytest.raises(InvalidParameter) as refused:
        seconds_of(text, "until")
    assert refused.value.details == {"parameter": "until"}
    assert refused.value.message.startswith("until must be")


@given(st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", fullmatch=True))
def test_only_refusals(text: str) -> None:
    """Whatever is given, the answer is a number or a refusal; what is read has the form of a time."""
    try:
        seconds = seconds_of(text, "since")
    except InvalidParameter:
        return
    assert looks_like_time(text)
    assert abs(seconds) < 253_402_300_800 + 86400


def test_same_as_datetime() -> None:
    """The numbers are those of the standard library."""
    assert seconds_of("2026-11-22T07:46:03.123Z", "since") == datetime(2026, 11, 22, 7, 46, 3, 123000, UTC).timestamp()
