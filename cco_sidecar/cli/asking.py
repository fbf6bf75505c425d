"""One request to the sidecar, for what has to start fast; whatever goes wrong is a sentence for a person."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from cco_sidecar.client.server import Server
from cco_sidecar.client.transport import BrokenError, Pool, TimedOutError, UnreachableError
from cco_sidecar.client.values import Request
from cco_sidecar.runfile import RunFile

_UNWELL = {"late", "broken", "foreign"}


class Trouble(Exception):
    """The sidecar could not be asked, or said no.

    :param kind: what kind of trouble it is: one of the same kind is no news.
    :param status: of the answer; 0 if there was none.
    """

    def __init__(self, kind: str, message: str, status: int = 0, data: object = None) -> None:
        from cco_sidecar.cli.output import one_line

        super().__init__(one_line(message))
        self.kind = kind
        self.status = status
        self.data = data


class Answer(NamedTuple):
    """An answer in JSON; ``successor`` is the token that follows the one that was shown, if it came along."""

    body: dict[str, Any]
    text: bytes
    successor: str | None


def ask(server: Server, method: str, path: str, token: str, body: object, *, seconds: float) -> Answer:
    """Send a request on a connection of its own and give its answer.

    :param token: empty where there is none to show: the sidecar, if there is one, says what is wrong with that.
    :param seconds: how long all of it may take.
    :raises Trouble: there is none, it is no JSON object, or it is an error.
    """
    headers = {"Content-Type": "application/json", "Connection": "close"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    text = None if body is None else json.dumps(body).encode()
    request = Request(method, path, text, headers, seconds, repeatable=False)
    try:
        with Pool(server).send(request, {}, seconds, is_fresh=True) as stream:
            status, found, given = stream.status, stream.body(), stream.headers.get("x-refreshed-token")
    except UnreachableError as error:
        raise Trouble("unreachable", f"No sidecar answers at {server.url} ({error}).") from None
    except TimedOutError:
        raise Trouble("late", f"The sidecar at {server.url} did not answer in time.") from None
    except BrokenError as error:
        raise Trouble("broken", f"The answer of the sidecar at {server.url} was cut off ({error}).") from None
    return Answer(_read(status, found), found, given)


def _read(status: int, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Trouble("foreign", "What answered is not the sidecar: its answer is not a JSON object.", status)
    if status < 400:
        return found
    code = str(found.get("code") or status)
    raise Trouble(code, str(found.get("message") or f"The sidecar answered with status {status}."), status, found)


def advice(trouble: Trouble, url: str, running: Iterable[RunFile]) -> str:
    """Say what to do about a trouble.

    :param url: where the sidecar was to be.
    :param running: the sidecars of this machine that run.
    """
    if trouble.kind == "unreachable":
        others = [entry.url for entry in running if entry.url != url]
        if others:
            return f"One runs at {' and at '.join(others)}: write that into this repository with cco init."
        return "Start it: cco daemon start"
    if trouble.kind == "NOT_FOUND":
        return "The sidecar may be older than cco: cco daemon restart"
    return "See how it is: cco health" if trouble.kind in _UNWELL or trouble.status >= 500 else ""
