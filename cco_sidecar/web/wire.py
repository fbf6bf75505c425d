"""The fast path: a publish or a wait that arrived whole and strictly shaped, without Klein and without twisted.web.

It stands before the pipeline (`routing.Pipeline`) and asks the same objects the same questions: token, permission,
project, limit, the event hub. It takes only what will be accepted: whatever it doubts, and whatever would be refused
for what it says, it leaves to the pipeline, which knows how to refuse. research/events.md sections 4 and 9 say what
this is worth, and tests/web/test_differential.py holds both paths to the same answers.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from attrs import define, field, frozen
from twisted.web.http import parse_qs

from cco_sidecar.core.identifiers import event_type
from cco_sidecar.core.limits import Allowance
from cco_sidecar.errors import Refusal
from cco_sidecar.logs import redact
from cco_sidecar.web.codec import read_query
from cco_sidecar.web.connection import Connection
from cco_sidecar.web.events import EventRequest, EventsAPI, WaitQuery, wish_of
from cco_sidecar.web.heads import RequestLine, parse_headers, parse_request_line, split_key, split_length
from cco_sidecar.web.hot import Answering, Caller, Line, Publishing, Waiting
from cco_sidecar.web.root import FrontDoor, fit_for_logs
from cco_sidecar.web.routing import Gate, Route, request_digest

MOST_REMEMBERED = 4096
"""So many heads, request lines and header blocks; with the longest, some 60 MiB together, with usual ones 10."""
MOST_HELD = 64 * 1024
"""A publish whose body is longer, and has not come with its head, is the channel's: it reads as it comes."""
_NO_PATH: Mapping[str, str] = {}
_BEARER = b"Bearer "

T = TypeVar("T")

_decode_event = msgspec.json.Decoder(EventRequest).decode


@frozen
class _Head:
    line: Line
    caller: Caller
    length: int
    key: str | None


@define(eq=False)
class Wire:
    """Takes hot requests off connections; see `connection.FastPath`."""

    _door: FrontDoor
    _gate: Gate
    _events: EventsAPI
    _publish: Route
    _wait: Route
    _answering: Answering
    _heads: dict[bytes, _Head] = field(factory=dict)
    _lines: dict[bytes, Line] = field(factory=dict)  # of heads that differ in the length of the body alone, or the line
    _callers: dict[bytes, Caller] = field(factory=dict)

    def take(self, connection: Connection, data: bytes) -> bool | None:
        """See `FastPath.take`."""
        end = data.find(b"\r\n\r\n")
        if end < 0 or connection.site.draining or connection.has_unsent:
            return False
        text = data[:end]
        head = self._heads.get(text) or self._read(text)
        if head is None or not self._is_welcome(head.line, head.caller):
            return False
        missing = end + 4 + head.length - len(data)
        if missing:
            return None if missing > 0 and head.length <= MOST_HELD else False
        if head.line.is_publish:
            return self._take_publish(connection, head, data[end + 4 :])
        return self._take_wait(connection, head.line, head.caller)

    # What a head says is worked out once, for its sender says it again and again

    def _read(self, text: bytes) -> _Head | None:
        without, length = split_length(text)
        without, key = split_key(without)
        first, _, rest = without.partition(b"\r\n")
        line = self._lines.get(first) or self._read_line(first)
        caller = self._callers.get(rest) or self._read_headers(rest)
        if line is None or caller is None or line.is_publish != bool(length) or length == 0:
            return None
        # Polls are told apart by their lines, and are many: for them two look-ups cost less than the room.
        if key is None and line.is_publish and rest in self._callers:
            return _remember(self._heads, text, _Head(line, caller, length or 0, None))
        return _Head(line, caller, length or 0, key)

    def _read_line(self, text: bytes) -> Line | None:
        read = parse_request_line(text)
        if read is None:
            return None
        try:
            line = self._line(read)
        except (Refusal, ValueError):
            return None  # the pipeline says what is wrong
        if line is not None and line.wish.since is None and line.wish.ack is None:
            _remember(self._lines, text, line)
        return line

    def _line(self, read: RequestLine) -> Line | None:
        route = self._publish if read.is_publish else self._wait
        query = read_query(parse_qs(read.query, True), WaitQuery)
        if query.project is not None:
            return None  # only with the token is it clear what that means
        return Line(
            is_publish=read.is_publish,
            access=route.access,
            route=f"{route.method} {route.path}",
            method=route.method,
            path=redact(route.path.partition("<")[0] + read.name),
            target=read.target,
            event_type=event_type(read.name) if read.is_publish else "",
            wish=wish_of("*" if read.is_publish else read.name, query),
        )

    def _read_headers(self, text: bytes) -> Caller | None:
        headers = parse_headers(text)
        if headers is None:
            return None
        try:
            caller = self._caller(headers)
        except Refusal:
            return None
        if caller is not None and b"x-request-id" not in headers and b"x-correlation-id" not in headers:
            _remember(self._callers, text, caller)
        return caller

    def _caller(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        token = headers[b"authorization"]
        if not self._door.serves(headers[b"host"].decode("ascii").lower()) or not token.startswith(_BEARER):
            return None
        claims = self._gate.tokens.verify(token.removeprefix(_BEARER))
        return Caller(
            claims=claims,
            reader=self._events.reader(claims),
            project=self._gate.project_of(claims, None),
            limit=self._gate.limit_of(claims),
            renewed_at=self._gate.tokens.renewed_at(claims),
            request_id=fit_for_logs(_text(headers.get(b"x-request-id"))),
            correlation_id=fit_for_logs(_text(headers.get(b"x-correlation-id"))),
        )

    def _is_welcome(self, line: Line, caller: Caller) -> bool:
        """Say whether the token is still good, and good for this."""
        if caller.reader.refused() is not None:
            return False
        try:
            self._gate.authorise(line.access, caller.claims, _NO_PATH)
        except Refusal:
            return False
        return True

    def _allowance(self, caller: Caller) -> Allowance | None:
        return None if caller.limit is None else self._gate.limiter.take(caller.claims.place, caller.limit)

    # Requests

    def _take_publish(self, connection: Connection, head: _Head, content: bytes) -> bool:
        line, caller = head.line, head.caller
        slot = None if head.key is None else (caller.claims.sub, line.route, head.key)
        keys = caller.project.keys
        try:
            body = _decode_event(content)
            draft = self._events.draft(caller.claims, line.event_type, body, caller.correlation_id)
            if slot is not None and not keys.is_new(slot):
                return False
            allowance = self._allowance(caller)
        except (Refusal, msgspec.MsgspecError, ValueError, RecursionError):
            return False
        asked = Publishing(self._answering, connection, line, caller, allowance)
        connection.receipts.settle()
        connection.begin(asked)
        asked.begin(draft, None if slot is None else keys.attempt(slot, request_digest(line.target, content)))
        return True

    def _take_wait(self, connection: Connection, line: Line, caller: Caller) -> bool:
        hub, wish = caller.project.hub, line.wish
        connection.receipts.settle()  # whoever sends another request has read the answer before it
        try:
            if wish.since is None and hub.delivery_before(caller.reader, wish.selection, wish.subscription) is not None:
                return False  # on its way on another connection, which has to be asked
            allowance = self._allowance(caller)
        except Refusal:
            return False
        asked = Waiting(self._answering, connection, line, caller, allowance)
        connection.begin(asked)
        asked.begin(hub)
        return True


def _remember(known: dict[bytes, T], text: bytes, what: T) -> T:
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[text] = what
    return what


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("ascii")
