"""A client of the sidecar's API that keeps trying while there is time; standard library only."""

import json
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
_TRY_AGAIN = frozenset({429, 503})


class Answer(NamedTuple):
    """An answer that was not refused; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Give what the body says."""
        return json.loads(self.body)


class RefusedError(Exception):
    """The sidecar said no; the text says to what, and why."""


class OutOfTimeError(Exception):
    """Nobody answered while there was time."""


class Client:
    """Sends requests, each on a connection of its own, again and again until one is answered.

    A ``POST`` that must not happen twice needs an ``Idempotency-Key``.

    :param url: what targets are appended to.
    :param token: asked before every try, for a token file may be renewed.
    :param deadline: on the monotonic clock, in seconds.
    """

    def __init__(self, url: str, token: Callable[[], str], deadline: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self._deadline = deadline

    @property
    def seconds_left(self) -> float:
        """How long there is still time."""
        return self._deadline - time.monotonic()

    def request(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Give the answer.

        :param body: sent as JSON unless it is None.
        :raises RefusedError: the status is 400 or more, and trying again is of no use.
        :raises OutOfTimeError: the deadline passed.
        """
        trouble = "no time was left"
        while self.seconds_left > 0:
            pause = _PAUSE_SECONDS
            try:
                answer = self._try(method, target, body, headers or {})
            except (OSError, HTTPException) as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if answer.status < 400:
                    return answer
                trouble = _refusal(answer)
                if answer.status not in _TRY_AGAIN:
                    raise RefusedError(f"{method} {target}: {trouble}")
                pause = _pause_of(answer)
            time.sleep(max(0.0, min(pause, self.seconds_left)))
        raise OutOfTimeError(f"{method} {target}: {trouble}")

    def _try(self, method: str, target: str, body: object, headers: Mapping[str, str]) -> Answer:
        connection = HTTPConnection(self._host, self._port, timeout=max(0.1, self.seconds_left))
        payload = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            credentials = {"Authorization": f"Bearer {self._token()}"}
            connection.request(method, f"{self._prefix}{target}", payload, {**credentials, **kind, **headers})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()


def _pause_of(answer: Answer) -> float:
    try:
        return min(_LONGEST_PAUSE_SECONDS, float(answer.headers.get("retry-after", _PAUSE_SECONDS)))
    except ValueError:
        return _PAUSE_SECONDS


def _refusal(answer: Answer) -> str:
    try:
        said = answer.json()
        return f"{answer.status} {said['code']}: {said['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} {answer.body[:200].decode('utf-8', 'replace')}"
