"""The fast path: a publish or a wait that arrived whole and strictly shaped, without Klein and without twisted.web.

It stands before the pipeline (`routing.Pipeline`) and asks the same objects the same questions: token, permission,
project, limit, the event hub. It takes only what will be accepted: whatever it doubts, and whatever would be refused
for what it says, it leaves to the pipeline, which knows how to refuse. research/events.md sections 4 and 9 say what
this is worth, and tests/web/test_differential.py holds both paths to the same answers.
"""

from collections.abc import Callable

import msgspec
from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import parse_qs

from cco_sidecar.core.identifiers import event_type
from cco_sidecar.core.limits import Allowance
from cco_sidecar.core.tokens import Claims
from cco_sidecar.errors import Refusal
from cco_sidecar.logs import redact
from cco_sidecar.web.codec import read_query
from cco_sidecar.web.connection import Connection
from cco_sidecar.web.events import EventRequest, EventsAPI, WaitQuery, Wish
from cco_sidecar.web.heads import Head, parse_head, split_length
from cco_sidecar.web.hot import Answering, Plan, Publishing, Waiting
from cco_sidecar.web.root import FrontDoor, fit_for_logs
from cco_sidecar.web.routing import Gate, Route
from cco_sidecar.web.sending import has_unsent

MOST_PLANS = 4096
"""So many heads are remembered; with the longest, 16 MiB."""
_BEARER = b"Bearer "

_decode_event = msgspec.json.Decoder(EventRequest).decode


@define(eq=False)
class Wire:
    """Takes hot requests off connections; see `connection.FastPath`."""

    _clock: IReactorTime
    _door: FrontDoor
    _gate: Gate
    _events: EventsAPI
    _publish: Route
    _wait: Route
    _new_id: Callable[[], str]
    _answering: Answering
    _plans: dict[bytes, Plan] = field(factory=dict)

    def take(self, connection: Connection, data: bytes) -> bool:
        """Begin to answer the one whole request that ``data`` is; False if it is anything else."""
        end = data.find(b"\r\n\r\n")
        if end < 0 or connection.site.draining or has_unsent(connection.transport):
            return False
        head, length = split_length(data[:end])
        plan = self._plans.get(head) or self._understand(head)
        if plan is None or len(data) != end + 4 + (length or 0):
            return False
        if self._gate.tokens.refusal_of(plan.claims) is not None:
            return False
        if plan.wish is not None:
            return length is None and self._take_wait(connection, plan, plan.wish)
        return bool(length) and self._take_publish(connection, plan, data[end + 4 :])

    # Heads: what one says is worked out once, for its sender says it again and again

    def _understand(self, head: bytes) -> Plan | None:
        read = parse_head(head)
        if read is None:
            return None
        try:
            plan = self._plan(read)
        except (Refusal, ValueError):
            return None  # the pipeline says what is wrong
        if plan is not None and plan.comes_again:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[head] = plan
        return plan

    def _plan(self, head: Head) -> Plan | None:
        headers = head.headers
        token = headers[b"authorization"]
        if not self._door.serves(headers[b"host"].decode("ascii").lower()) or not token.startswith(_BEARER):
            return None
        claims = self._gate.tokens.verify(token.removeprefix(_BEARER))
        route = self._publish if head.is_publish else self._wait
        self._gate.authorise(route.access, claims, {})
        query = read_query(parse_qs(head.query, True), WaitQuery)
        path = route.path.partition("<")[0] + head.name
        return Plan(
            claims=claims,
            project=self._gate.project_of(claims, query.project),
            route=f"{route.method} {route.path}",
            method=route.method,
            path=redact(path),
            limit=self._gate.limit_of(claims),
            renewed_at=self._gate.tokens.renewed_at(claims),
            request_id=fit_for_logs(_text(headers.get(b"x-request-id"))),
            correlation_id=fit_for_logs(_text(headers.get(b"x-correlation-id"))),
            event_type=event_type(head.name) if head.is_publish else "",
            wish=None if head.is_publish else self._wish(claims, head, query),
            comes_again=query.since is None and query.ack is None and b"x-request-id" not in headers,
        )

    def _wish(self, claims: Claims, head: Head, query: WaitQuery) -> Wish:
        return self._events.wish(claims, head.name, query)

    def _allowance(self, plan: Plan) -> Allowance | None:
        return None if plan.limit is None else self._gate.limiter.take(plan.claims.place, plan.limit)

    # Requests

    def _take_publish(self, connection: Connection, plan: Plan, content: bytes) -> bool:
        try:
            body = _decode_event(content)
            draft = self._events.draft(plan.claims, plan.event_type, body, plan.correlation_id)
            allowance = self._allowance(plan)
        except (Refusal, msgspec.MsgspecError, ValueError, RecursionError):
            return False
        asked = Publishing(self._answering, connection, plan, plan.request_id or self._new_id(), allowance)
        connection.receipts.settle()
        connection.begin(asked)
        plan.project.hub.accept(draft).addCallbacks(asked.published, asked.failed)
        return True

    def _take_wait(self, connection: Connection, plan: Plan, wish: Wish) -> bool:
        hub = plan.project.hub
        connection.receipts.settle()  # whoever sends another request has read the answer before it
        try:
            if wish.since is None and hub.delivery_before(wish.reader, wish.selection, wish.subscription) is not None:
                return False  # on its way on another connection, which has to be asked
            allowance = self._allowance(plan)
        except Refusal:
            return False
        asked = Waiting(self._answering, connection, plan, plan.request_id or self._new_id(), allowance)
        connection.begin(asked)
        asked.begin(hub, wish)
        return True


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("ascii")
