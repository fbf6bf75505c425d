"""The access log: a line for each answered request."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import IO

import msgspec
from twisted.logger import Logger, LogLevel

from cco_sidecar.core.times import rfc3339
from cco_sidecar.logs import LEVELS

NAMESPACE = "cco_sidecar.access"

_log = Logger(namespace=NAMESPACE)
_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An answered request; times are seconds (``at`` since the epoch), and ``seconds`` is without parked time."""

    route: str
    method: str
    path: str
    status: int
    at: float
    seconds: float
    parked_seconds: float
    request_id: str
    correlation_id: str | None
    agent: str | None


class AccessLog:
    """A line for each answered request: straight to a stream where that is ours, else as Twisted's log has it.

    Twisted's log costs some 30 microseconds a line, more than all else that a publish costs.
    """

    def __init__(self, stream: IO[bytes] | None = None, level: str = "info") -> None:
        self._stream = stream
        self._silent = LEVELS[level] > LogLevel.info

    def write(self, requests: Sequence[Entry]) -> None:
        """Write their lines; a log that cannot be written must stop nobody."""
        if self._stream is None:
            for request in requests:
                self._emit(request)
        elif not self._silent and requests:
            try:
                self._stream.write("".join(map(_access_line, requests)).encode())
                self._stream.flush()
            except (OSError, ValueError):
                return

    def _emit(self, request: Entry) -> None:
        _log.info(
            "{method} {path} {status} {milliseconds} ms",
            method=request.method,
            path=request.path,
            status=request.status,
            milliseconds=round(request.seconds * 1000, 2),
            parked_seconds=round(request.parked_seconds, 3),
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            agent=request.agent,
        )


def _access_line(entry: Entry) -> str:
    head, middle, tail = _frame(entry.method, entry.path, entry.status, entry.agent)
    milliseconds = f"{entry.seconds * 1000:.2f}"
    parked = f"{entry.parked_seconds:.3f}" if entry.parked_seconds else "0.0"
    correlation = "null" if entry.correlation_id is None else _json(entry.correlation_id)
    request_id = entry.request_id
    quoted = f'"{request_id}"' if request_id.isalnum() else _json(request_id)  # ours are
    return (
        f'{{"time":"{rfc3339(entry.at)}",{head} {milliseconds} ms",{middle},"milliseconds":{milliseconds},'
        f'"parked_seconds":{parked},"request_id":{quoted},"correlation_id":{correlation},{tail}}}\n'
    )


@lru_cache(maxsize=1024)
def _frame(method: str, path: str, status: int, agent: str | None) -> tuple[str, str, str]:
    """Give the parts of a line that its sender's next line has, too; few routes and agents make nearly all lines."""
    said = _json(f"{method} {path} {status}").removesuffix('"')
    head = f'"level":"info","logger":"{NAMESPACE}","message":{said}'
    middle = f'"method":{_json(method)},"path":{_json(path)},"status":{status}'
    return head, middle, f'"agent":{"null" if agent is None else _json(agent)}'


def _json(text: str) -> str:
    return _encode(text).decode()


def access_log(level: str) -> AccessLog:
    """Make the access log that goes with `logs.observer`: into its stream, unless that is a person's terminal."""
    target = sys.stderr.buffer
    return AccessLog() if target.isatty() else AccessLog(target, level)
