"""Logs: one JSON object a line, whatever is logged, and never a token."""

import io
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from cco_sidecar.logs import LEVELS, LineObserver, as_json, observer, redact

TOKEN = jwt.encode({"sub": "agent", "x": "y" * 40}, "k" * 32, algorithm="HS256")


def event(message: str = "{what} happened", /, **fields: Any) -> LogEvent:
    return {
        "log_format": message,
        "log_time": 1_800_000_000.1239,
        "log_level": LogLevel.warn,
        "log_namespace": "cco_sidecar.x",
        **fields,
    }


def line_of(one: LogEvent) -> dict[str, Any]:
    text = as_json(one)
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    line: dict[str, Any] = json.loads(text)
    return line


def test_line() -> None:
    """Time, level, where, what, and the fields."""
    assert line_of(event(what="it", request_id="r", status=401, none=None, yes=True, ms=1.5)) == {
        "time": "2027-01-15T08:00:00.123Z",
        "level": "warn",
        "logger": "cco_sidecar.x",
        "message": "it happened",
        "what": "it",
        "request_id": "r",
        "status": 401,
        "none": None,
        "yes": True,
        "ms": 1.5,
    }


def test_failure() -> None:
    """A failure brings its traceback."""
    try:
        raise RuntimeError(f"with {TOKEN}")
    except RuntimeError:
        line = line_of(event("broken", log_failure=Failure()))
    assert "RuntimeError: with [REDACTED:token]" in line["failure"]


@pytest.mark.parametrize(
    "fields",
    [
        {"what": TOKEN},
        {"what": "it", "header": f"Bearer {TOKEN}"},
        {"what": "it", "headers": {"Authorization": f"Bearer {TOKEN}"}},
        {"what": "it", "arguments": ["--token", TOKEN]},
        {"what": "it", "raw": TOKEN.encode()},
        {"what": "it", "error": ValueError(TOKEN)},
        {"what": f"x{TOKEN} y" * 3},
        {"what": "a" * 8180 + TOKEN},
    ],
    ids=["message", "text", "dict", "list", "bytes", "exception", "several", "at the cut"],
)
def test_no_token(fields: dict[str, Any]) -> None:
    """A token is taken out wherever it stands, whole or in part: its claims and its signature alike."""
    for text in (as_json(event(**fields)).decode(), _as_text(event(**fields))):
        for piece in TOKEN.split(".")[1:]:
            assert piece[:12] not in text


def _as_text(one: LogEvent) -> str:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    observer("debug", stream)(one)
    return stream.getvalue().decode()


def test_redact_leaves_the_rest() -> None:
    """What merely begins like a token stays."""
    assert redact("eyJ is how they begin; a.b.c") == "eyJ is how they begin; a.b.c"
    assert redact(f"<{TOKEN}>") == "<[REDACTED:token]>"


def test_long_text() -> None:
    """A line is bounded, whatever somebody puts into it."""
    line = line_of(event(what="x" * 100_000, more=["y" * 100_000]))
    assert [len(line[name]) for name in ("message", "what", "more")] == [8192] * 3


@given(st.text() | st.binary() | st.floats() | st.integers() | st.lists(st.text()), st.text(max_size=20))
def test_any_value(value: object, message: str) -> None:
    """Whatever the fields hold, there is one line, and it is JSON."""
    assert line_of(event(message.replace("{", "").replace("}", ""), value=value))["logger"] == "cco_sidecar.x"


def test_no_utf8() -> None:
    """A name that is no UTF-8, as a path may be, does not cost the line."""
    assert line_of(event(what="\udcff"))["message"] == "\\udcff happened"
    assert "happened" in _as_text(event(what="\udcff"))


def test_bad_format() -> None:
    """A message that can't be formatted is still a line."""
    assert "nothing" in line_of(event("{nothing}"))["message"]


def test_level() -> None:
    """What is below the level is not written."""
    stream = io.BytesIO()
    watching = observer("warning", stream)
    log = Logger(namespace="x", observer=watching)
    log.info("quiet")
    log.warn("loud")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["loud"]
    assert set(LEVELS) == {"debug", "info", "warning", "error"}


@pytest.mark.parametrize("trouble", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_broken_stream(trouble: Exception) -> None:
    """A log that can't be written stops nobody."""

    class Broken(io.BytesIO):
        def write(self, data: object) -> int:
            raise trouble

    LineObserver(Broken(), as_json)(event(what="it"))
