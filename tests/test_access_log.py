"""The access log: one JSON object a line, whatever the requests said; silent where the level says so."""

import json
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.access_log import AccessLog, Entry

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
AT = 1_800_000_000.123


def entry(method: str, path: str, request_id: str, correlation_id: str | None, agent: str | None) -> Entry:
    return Entry("route", method, path, 202, AT, 0.0012345, 1.5, request_id, correlation_id, agent)


@given(st.lists(st.tuples(texts, texts, texts, st.none() | texts, st.none() | texts), max_size=4))
def test_lines_are_json(told: list[tuple[str, str, str, str | None, str | None]]) -> None:
    """Every line is an object with the same fields, and each field is what the request had."""
    stream = BytesIO()
    AccessLog(stream).write([entry(*each) for each in told])
    lines = stream.getvalue().decode().split("\n")[:-1]
    assert len(lines) == len(told)
    for line, (method, path, request_id, correlation_id, agent) in zip(lines, told, strict=True):
        assert json.loads(line) == {
            "time": "2027-01-15T08:00:00.123Z",
            "level": "info",
            "logger": "cco_sidecar.access",
            "message": f"{method} {path} 202 1.23 ms",
            "method": method,
            "path": path,
            "status": 202,
            "milliseconds": 1.23,
            "parked_seconds": 1.5,
            "request_id": request_id,
            "correlation_id": correlation_id,
            "agent": agent,
        }


@pytest.mark.parametrize(("level", "lines"), [("debug", 1), ("info", 1), ("warning", 0), ("error", 0)])
def test_level(level: str, lines: int) -> None:
    """Answers are told at level info."""
    stream = BytesIO()
    AccessLog(stream, level).write([entry("GET", "/livez", "r", None, None)])
    assert stream.getvalue().count(b"\n") == lines


def test_a_stream_that_fails_stops_nobody() -> None:
    """A log that cannot be written loses its lines, and nothing else happens."""
    stream = BytesIO()
    stream.close()
    AccessLog(stream).write([entry("GET", "/livez", "r", None, None)])
