"""Messages over HTTP: send, receive, acknowledge, trace (contract section 8)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from attrs import define
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.events.waiting import Reader
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.identifiers import identifier
from cco_sidecar.core.messages.message import Delivery, Kind, Message, MessageRecord, State
from cco_sidecar.core.messages.messages import Looked, NewMessage
from cco_sidecar.core.tenure import holder_of
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import Claims as TokenClaims
from cco_sidecar.errors import Foreign, InvalidBody, InvalidParameter
from cco_sidecar.web.codec import Reply, compact
from cco_sidecar.web.routing import Call, ProjectQuery, idempotent

MOST_BODY = 16 * 1024
DEFAULT_TTL = 86_400
MOST_TTL = 7 * 86_400
MOST_WAIT = 300_000
MOST_TO = 128 + len("agent:")

Name = Annotated[str, Meta(max_length=128)]


class MessageRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to say, and to whom: an agent, or all of a type or an issue; ``ack`` wants to hear that it is done."""

    to: Annotated[str, Meta(min_length=1, max_length=MOST_TO)]
    body: msgspec.Raw
    kind: Kind = "info"
    ack: bool = False
    ttl_seconds: Annotated[int, Meta(ge=1, le=MOST_TTL)] = DEFAULT_TTL
    reply_to: str | None = None
    correlation_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class AckRequest(msgspec.Struct, forbid_unknown_fields=True):
    """That the message was seen, or that what it asks for is done."""

    state: Literal["seen", "done"] = "seen"


class DeliveryLine(msgspec.Struct):
    """How far a message is with one agent; ``again_at`` is when it is offered once more if nobody acknowledges it."""

    agent_id: str
    agent_type: str
    state: State
    offers: int
    offered_at: str | None
    again_at: str | None
    seen_at: str | None
    ended_at: str | None
    reason: str | None


class _Said(msgspec.Struct):
    """What was said, by whom, to whom."""

    id: str
    from_: str = msgspec.field(name="from")
    from_type: str
    issue_id: str | None
    to: str
    kind: Kind
    body: Any
    ack: bool
    reply_to: str | None
    correlation_id: str | None
    sent_at: str
    expires_at: str


class MessageAnswer(_Said):
    """A message; its ``state`` is that of the delivery that is least far."""

    state: State
    deliveries: list[DeliveryLine]


class MessageLine(_Said):
    """A message as it is with one agent."""

    agent_id: str
    agent_type: str
    state: State
    offers: int
    offered_at: str | None
    again_at: str | None
    seen_at: str | None
    ended_at: str | None
    reason: str | None


class MessagesQuery(ProjectQuery):
    """Which messages; with ``wait``, those that are new to the one who asks, and how long to wait for some (ms)."""

    box: Literal["inbox", "sent", "all"] = "inbox"
    agent: Name | None = None
    state: State | None = None
    unread: bool = False
    kind: Kind | None = None
    sender: Name | None = None
    correlation_id: Name | None = None
    wait: Annotated[int, Meta(ge=0, le=MOST_WAIT)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class MessagesAnswer(msgspec.Struct):
    """Messages, one line for each agent that one went to; ``unread`` is how many the agent has not seen yet."""

    agent_id: str
    messages: list[MessageLine]
    unread: int


@define(eq=False)
class MessagesAPI:
    """Parse, delegate, encode; ``reader_of`` tells who waits."""

    _clock: IReactorTime
    _reader_of: Callable[[TokenClaims], Reader]

    async def send(self, call: Call[ProjectQuery, MessageRequest]) -> Reply:
        """Send a message."""
        body, project = call.body, call.project
        text = compact(body.body, "$.body")
        if len(bytes(text)) > MOST_BODY:
            raise InvalidBody(
                f"body is larger than {MOST_BODY} bytes of JSON: put it into a file of the project, and name that.",
                path="$.body",
            )
        new = NewMessage(
            to=body.to,
            kind=body.kind,
            body=text,
            ack=body.ack,
            ttl_seconds=body.ttl_seconds,
            reply_to=None if body.reply_to is None else identifier(body.reply_to, "reply_to"),
            correlation_id=body.correlation_id,
        )
        sender = holder_of(call.holder)

        async def work(record: Any) -> Answered:
            key = None if record is None else lambda message: record(201, _whole(message))
            message = await project.messages.send(new, sender, key)
            return Answered(201, msgspec.json.encode(_whole(message)))

        answered = await idempotent(call, project, work)
        return Reply(answered.body, answered.status)

    async def list(self, call: Call[MessagesQuery, None]) -> Reply:
        """List an agent's messages, or, with ``wait``, give it those that are new to it."""
        query, messages = call.query, call.project.messages
        asks = call.holder.sub
        agent = asks if query.agent is None else identifier(query.agent, "agent")
        if agent != asks and not call.holder.is_admin:
            raise Foreign("An agent reads its own messages alone; leave out 'agent'.")
        if query.box == "all" and not call.holder.is_admin:
            raise Foreign("Only the admin sees what others write to each other; box=inbox and box=sent are yours.")
        found: Sequence[Delivery]
        if query.wait is None:
            found = messages.listing(_looked(query, agent), query.limit)
        elif agent != asks or query.box != "inbox":
            raise InvalidParameter("Only the one whose inbox it is can wait for its messages.", parameter="wait")
        else:
            found = await self._receive(call)
        return Reply(MessagesAnswer(agent, [_line(one) for one in found], messages.unread(agent)))

    async def _receive(self, call: Call[MessagesQuery, None]) -> Sequence[Delivery]:
        query, claims, asked_at = call.query, call.holder, self._clock.seconds()
        messages, agent = call.project.messages, claims.sub
        messages.people.meet(holder_of(claims))
        # Not longer than the token: the time limit then finds it expired, and says so.
        seconds = min((query.wait or 0) / 1000, claims.exp - asked_at)
        try:
            return await messages.receive(self._reader_of(claims), agent, _looked(query, agent), query.limit, seconds)
        finally:
            if query.wait:
                call.request.parked_seconds = self._clock.seconds() - asked_at

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Show a message, and how far it is."""
        return Reply(_whole(call.project.messages.read(call.path["message_id"], call.holder.sub)))

    async def acknowledge(self, call: Call[ProjectQuery, AckRequest]) -> Reply:
        """Take an agent's word that it has seen a message, or done what it asks."""
        messages = call.project.messages
        return Reply(_whole(await messages.acknowledge(call.holder.sub, call.path["message_id"], call.body.state)))


def _looked(query: MessagesQuery, agent: str) -> Looked:
    sender = None if query.sender is None else identifier(query.sender, "sender")
    to: str | None = agent if query.box == "inbox" else query.agent
    if query.box == "sent":
        if sender not in {None, agent}:
            raise InvalidParameter("box=sent has what the agent sent itself: leave out 'sender'.", parameter="sender")
        sender, to = agent, None
    return Looked(query.state, query.unread, query.kind, sender, to, query.correlation_id)


def _whole(message: Message) -> MessageAnswer:
    lines = [DeliveryLine(**_progress(delivery)) for delivery in message.deliveries.values()]
    return MessageAnswer(**_said(message.record), state=message.state, deliveries=lines)


def _line(delivery: Delivery) -> MessageLine:
    return MessageLine(**_said(delivery.record), **_progress(delivery))


def _said(record: MessageRecord) -> dict[str, Any]:
    sender = record.sender
    return {
        "id": record.id,
        "from_": sender.agent_id,
        "from_type": sender.agent_type,
        "issue_id": sender.issue_id,
        "to": record.to,
        "kind": record.kind,
        "body": record.body,
        "ack": record.ack,
        "reply_to": record.reply_to,
        "correlation_id": record.correlation_id,
        "sent_at": rfc3339(record.sent_at),
        "expires_at": rfc3339(record.expires_at),
    }


def _progress(delivery: Delivery) -> dict[str, Any]:
    state = delivery.state
    is_offered = state.state == "offered"
    return {
        "agent_id": state.agent_id,
        "agent_type": delivery.holder.agent_type,
        "state": state.state,
        "offers": state.offers,
        "offered_at": _time(state.offered_at),
        "again_at": _time(state.again_at) if is_offered else None,
        "seen_at": _time(state.seen_at),
        "ended_at": _time(state.ended_at),
        "reason": state.reason,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
