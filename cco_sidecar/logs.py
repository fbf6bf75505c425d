"""Logs: one JSON object a line, or text for a terminal; never a token."""

import re
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

import msgspec
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatEventAsClassicLogText,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from cco_sidecar.core.times import rfc3339

AUDIT = "cco_sidecar.audit"
LEVELS: Mapping[str, Any] = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warning": LogLevel.warn,
    "error": LogLevel.error,
}
MOST_TEXT = 8192
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
_PLAIN = (int, float, bool, type(None))


def redact(text: str) -> str:
    """Take tokens out of a text."""
    return _TOKEN.sub("[REDACTED:token]", text)


def as_json(event: LogEvent) -> bytes:
    """Make the line of an event: time, level, where, message, its plain fields, and a traceback if there is one."""
    line: dict[str, object] = {
        "time": rfc3339(event["log_time"]),
        "level": event["log_level"].name if event.get("log_level") else "info",
        "logger": event.get("log_namespace", ""),
        "message": formatEvent(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in {"time", "message", "isError", "format", "system"}:
            line[name] = value
    if "log_failure" in event:
        line["failure"] = event["log_failure"].getTraceback()
    return msgspec.json.encode({name: _plain(value) for name, value in line.items()}) + b"\n"


def _plain(value: object) -> object:
    """Make something that JSON has; a text that is no UTF-8, as a path may be, must not cost the line."""
    if isinstance(value, _PLAIN):
        return value
    return redact(str(value))[:MOST_TEXT].encode("utf-8", "backslashreplace").decode()


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as a line to a stream."""

    def __init__(self, stream: IO[bytes], form: Callable[[LogEvent], bytes]) -> None:
        self._stream = stream
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        """Write the event; a log that cannot be written must stop nobody."""
        try:
            self._stream.write(self._form(event))
            self._stream.flush()
        except (OSError, ValueError):
            return


def _as_text(event: LogEvent) -> bytes:
    return redact(formatEventAsClassicLogText(event) or "").encode("utf-8", "replace")


def observer(level: str, stream: IO[bytes] | None = None) -> FilteringLogObserver:
    """Make the observer for a level: text for a person at a terminal, else JSON."""
    target = sys.stderr.buffer if stream is None else stream
    form = _as_text if target.isatty() else as_json
    return FilteringLogObserver(LineObserver(target, form), [LogLevelFilterPredicate(LEVELS[level])])


def json_observer() -> LineObserver:
    """Make the observer for ``twistd -n --logger cco_sidecar.logs.json_observer``, which calls it without arguments."""
    return LineObserver(sys.stderr.buffer, as_json)


def twistd_observer(level: str, options: Mapping[str, Any]) -> ILogObserver | None:
    """Make the observer that twistd would make of its ``options``, for a level; None where syslog is asked for."""
    if options.get("syslog"):
        return None
    name = options.get("logfile")
    to_terminal = bool(options.get("nodaemon")) and name in {None, "", "-"}
    target = sys.stdout if to_terminal else LogFile.fromFullPath(name or "twistd.log")
    return FilteringLogObserver(textFileLogObserver(target), [LogLevelFilterPredicate(LEVELS[level])])
