"""Requests that the fast path has in hand, and how they are answered: head and body in one piece, sent at once."""

from collections.abc import Callable, Iterable

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, datetimeToString

from cco_sidecar.access_log import Entry
from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.hub import Draft, EventHub, Published
from cco_sidecar.core.events.waiting import Answer, Reader
from cco_sidecar.core.idempotency import Answered, Attempt
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.limits import Allowance, RateLimit
from cco_sidecar.core.projects import Project
from cco_sidecar.core.tokens import Claims
from cco_sidecar.errors import Refusal
from cco_sidecar.web.accounts import Accounts
from cco_sidecar.web.codec import JSON, SECURITY_HEADERS, allowance_headers, envelope, refusal_headers
from cco_sidecar.web.connection import Connection
from cco_sidecar.web.errors import status_of
from cco_sidecar.web.events import EventsAPI, Wish, publish_answer
from cco_sidecar.web.routing import Access, Gate, audit_refusal, internal_error

_log = Logger()
_encode = msgspec.json.Encoder().encode


@frozen
class Line:
    """What a request line says, whoever sends it."""

    is_publish: bool
    access: Access
    route: str
    method: str
    path: str
    target: bytes
    event_type: str
    wish: Wish


@frozen
class Caller:
    """What the headers say, whatever is asked for: who it is, where, how often."""

    claims: Claims
    reader: Reader
    project: Project
    limit: RateLimit | None
    renewed_at: float
    request_id: str | None
    correlation_id: str | None


@define(eq=False)
class Answering:
    """What every hot request needs to be answered with."""

    clock: IReactorTime
    gate: Gate
    events: EventsAPI
    accounts: Accounts
    new_request_id: Callable[[], str]
    _starts_at: int = 0
    _starts: dict[tuple[int, int], bytes] = field(factory=dict)

    def start(self, status: int, length: int) -> bytes:
        """Give the beginning of a head, up to the request's id: the same for all such answers of this second."""
        second = int(self.clock.seconds())
        if second != self._starts_at:
            self._starts_at, self._starts = second, {}
        made = self._starts.get((status, length))
        if made is None:
            made = self._starts[status, length] = _start(status, length, second)
        return made


def _start(status: int, length: int, second: int) -> bytes:
    headers: list[tuple[bytes, bytes]] = [
        (b"Server", b"cco-sidecar"),
        (b"Date", datetimeToString(second)),
        (b"Content-Type", JSON),
        (b"Cache-Control", b"no-store"),
        *SECURITY_HEADERS,
        (b"Content-Length", b"%d" % length),
    ]
    return b"HTTP/1.1 %d %s\r\n%sX-Request-ID: " % (status, RESPONSES.get(status, b"Unknown Status"), _lines(headers))


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%s: %s\r\n" % header for header in headers)


class Hot:
    """A request in hand; see `connection.InHand`, and `routing` for what audit log and renewal ask of it."""

    __slots__ = (
        "_allowance",
        "_answered",
        "_answering",
        "_arrived",
        "_caller",
        "_connection",
        "_line",
        "_status",
        "request_id",
        "successor",
    )

    def __init__(
        self, answering: Answering, connection: Connection, line: Line, caller: Caller, allowance: Allowance | None
    ) -> None:
        self._answering = answering
        self._connection = connection
        self._line = line
        self._caller = caller
        self._allowance = allowance
        self._arrived = answering.clock.seconds()
        answering.gate.agents.signs.heard(caller.claims.sub, self._arrived)
        self.request_id = caller.request_id or answering.new_request_id()
        self.successor: str | None = None

    @property
    def agent(self) -> str:
        """Whose it is."""
        return self._caller.claims.sub

    @property
    def route(self) -> str:
        """Which route would have been its."""
        return self._line.route

    def hung_up(self) -> None:
        """The peer is gone; what was begun goes on, and nobody is told."""

    def failed(self, failure: Failure) -> None:
        """Answer with a refusal, or for a mistake of ours."""
        if failure.check(CancelledError):
            return  # the peer is gone: there is nobody to answer
        refusal = failure.value
        if not isinstance(refusal, Refusal):
            _log.failure("a hot request failed", failure, request_id=self.request_id, route=self.route)
            refusal = internal_error()
        status = status_of(refusal)[0]
        audit_refusal(self, status, refusal)
        body = _encode(envelope(refusal, self._answering.clock.seconds(), self.request_id))
        self._answer(status, body, _lines(refusal_headers(refusal).items()))

    def _answer(self, status: int, body: bytes, more: bytes = b"") -> None:
        connection, caller, answering = self._connection, self._caller, self._answering
        if connection.in_hand is not self:
            return  # the peer is gone: what nobody was answered is not counted, as in the pipeline
        self._answered = now = answering.clock.seconds()
        self._status = status
        if now >= caller.renewed_at and status != 401:
            answering.gate.renew(self, caller.claims)
        connection.answer(self._head(status, len(body), more) + body, now)
        answering.accounts.add(self.entry)

    def _head(self, status: int, length: int, more: bytes) -> bytes:
        start = self._answering.start(status, length)
        if self._allowance is not None:
            more += _lines(allowance_headers(self._allowance))
        if self.successor is not None:
            more += b"X-Refreshed-Token: %s\r\n" % self.successor.encode()
        if self._connection.site.draining:
            more += b"Connection: close\r\n"
        return b"%s%s\r\n%s\r\n" % (start, self.request_id.encode(), more)

    def entry(self) -> Entry:
        """Give what the accounts want to know, once it is answered."""
        line, caller = self._line, self._caller
        taken = max(0.0, self._answered - self._arrived)
        seconds, parked = (taken, 0.0) if line.is_publish else (0.0, taken)
        return Entry(
            line.route,
            line.method,
            line.path,
            self._status,
            self._answered,
            seconds,
            parked,
            self.request_id,
            caller.correlation_id,
            caller.claims.sub,
        )


class Publishing(Hot):
    """A publish that is on its way to the disk, perhaps under an Idempotency-Key."""

    __slots__ = ("_attempt",)

    _attempt: Attempt | None

    def begin(self, draft: Draft, attempt: Attempt | None) -> None:
        """Begin to publish."""
        self._attempt = attempt
        key_for = None if attempt is None else self._record
        self._caller.project.hub.accept(draft, key_for).addCallbacks(self.published, self.failed)

    def _record(self, event: Event) -> KeyRecord:
        assert self._attempt is not None
        return self._attempt.record(202, publish_answer(self._caller.project.hub, Published(event, ())))

    def published(self, published: Published) -> None:
        """Tell the publisher."""
        try:
            body = _encode(publish_answer(self._caller.project.hub, published))
            if self._attempt is not None:
                self._attempt.answered(Answered(202, body))
                self._attempt.end()
            self._answer(202, body)
        except Exception:  # noqa: BLE001 - as an errback would, which costs each answer more
            self.failed(Failure())

    def failed(self, failure: Failure) -> None:
        """Answer with a refusal, or for a mistake of ours."""
        if self._attempt is not None:
            self._attempt.end()
        super().failed(failure)


class Waiting(Hot):
    """A wait, parked or about to be answered."""

    __slots__ = ("_waiting",)

    _waiting: "Deferred[Answer]"

    def begin(self, hub: EventHub) -> None:
        """Begin to wait."""
        caller = self._caller
        try:
            self._waiting = self._answering.events.begin(hub, caller.claims, caller.reader, self._line.wish)
        except Refusal:
            self.failed(Failure())
            return
        self._waiting.addCallbacks(self.answered, self.failed)

    def hung_up(self) -> None:
        """The peer is gone: its place is free at once."""
        self._waiting.cancel()

    def answered(self, answer: Answer) -> None:
        """Give what came."""
        try:
            self._give(answer)
        except Exception:  # noqa: BLE001 - as above
            self.failed(Failure())

    def _give(self, answer: Answer) -> None:
        if answer.delivery is not None:
            if self._connection.in_hand is not self:
                answer.delivery.lost()
                return
            self._connection.receipts.carry(answer.delivery)
        self._answer(200, self._answering.events.waited(self._caller.project.hub, answer))
