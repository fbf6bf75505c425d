"""Requests, answers and what became of them, as plain values: whoever does the talking is told by these what to do."""

import json
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote, urlencode

ANSWER_SECONDS = 60.0
"""How long the sidecar may work on a request that waits for nothing."""

MARGIN_SECONDS = 10.0
"""How much longer than the sidecar itself a client waits."""

MOST_ANSWER_BYTES = 64 << 20
"""An answer that is larger is none of the sidecar's."""

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]
Query: TypeAlias = Mapping[str, object]
"""Parameters; None means not given."""


class Event(TypedDict):
    """An event, as a wait and the history give it (contract section 5)."""

    event_id: str
    sequence: int
    event_type: str
    topic: str
    publisher: str
    agent_type: str | None
    project_id: str
    issue_id: str | None
    data: Any
    correlation_id: str | None
    references: list[str]
    priority: str
    ttl_seconds: int
    timestamp: str


class Request(NamedTuple):
    """What is asked for.

    :param target: path and query, escaped.
    :param seconds: how long the sidecar may take.
    :param repeatable: whether it may be sent again when nobody knows if it was done.
    :param accept: statuses of 400 and more that are answers, too.
    """

    method: str
    target: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    seconds: float = ANSWER_SECONDS
    repeatable: bool = True
    accept: tuple[int, ...] = ()


class Answer(NamedTuple):
    """A whole answer; ``headers`` have names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Give what the body says.

        :raises ValueError: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


class Trouble(NamedTuple):
    """Why there is no answer.

    :param kind: ``unreachable`` (nothing was sent), ``stale`` (a kept connection had ended), ``broken`` or ``late``.
    :param reason: in words, without a full stop.
    """

    kind: str
    reason: str = ""


class Send(NamedTuple):
    """Do this: send a request, and come back with its `Answer` or a `Trouble`; it may take ``seconds``."""

    request: Request
    seconds: float


class Pause(NamedTuple):
    """Do this: nothing, for so long."""

    seconds: float


Steps: TypeAlias = Generator[Send | Pause, Any, T]
"""A call as a list of things to do that is made up as they are done; in the end it has the call's result."""


def build(
    method: str,
    path: str,
    *,
    query: Query | None = None,
    body: object = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = ANSWER_SECONDS,
    repeatable: bool | None = None,
    accept: tuple[int, ...] = (),
) -> Request:
    """Make a request.

    :param path: escaped, as `route` makes it.
    :param body: sent as JSON; None is no body.
    :param key: an Idempotency-Key.
    :param repeatable: unless it is said, all but a ``POST`` without a key is.
    :raises ValueError: a key is not printable, or the body is no JSON.
    """
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise ValueError("An Idempotency-Key must be printable ASCII.")
    sent = dict(headers or {})
    content = None
    if body is not None:
        content = json.dumps(body, allow_nan=False).encode()
        sent["Content-Type"] = "application/json"
    if key is not None:
        sent["Idempotency-Key"] = key
    may_repeat = method != "POST" or key is not None if repeatable is None else repeatable
    return Request(method, _target(path, query), content, sent, seconds, may_repeat, accept)


def route(*segments: str) -> str:
    """Join path segments, each escaped.

    :raises ValueError: one is empty.
    """
    if not all(segments):
        raise ValueError("A name must not be empty.")
    # Commas and stars mean something in a wait's path, and the sidecar's fast path takes them unescaped.
    return "/" + "/".join(quote(segment, safe=",*") for segment in segments)


def _target(path: str, query: Query | None) -> str:
    given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    return path + ("?" + urlencode(given) if given else "")


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
