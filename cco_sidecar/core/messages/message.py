"""A message, and how far it is with each of those whom it was sent to."""

from typing import Literal

import msgspec
from attrs import define, field

from cco_sidecar.core.tenure import Holder

Kind = Literal["info", "request", "steer"]
State = Literal["queued", "offered", "seen", "done", "expired", "dead"]
STATES: tuple[State, ...] = ("queued", "offered", "seen", "done", "expired", "dead")

URGENCY = {"steer": 0, "request": 1, "info": 2}
_PROGRESS = {"queued": 0, "offered": 0, "seen": 1, "done": 2, "expired": 2, "dead": 2}
OVERHEAD = 512
"""How many bytes a message, and each of its deliveries, takes beside the body, about."""


class MessageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was said; it never changes. ``body`` is JSON text, times are in seconds since the epoch.

    :param number: the order in which messages were sent.
    :param to: whom the sender named: an agent, an agent type or an issue.
    :param ack: the sender wants to hear that it is done, not only that it was seen.
    :param recipients: the agents that ``to`` meant when it was sent.
    :param full: those of them that could take no more; they never get it.
    """

    id: str
    number: int
    sender: Holder
    to: str
    kind: Kind
    body: msgspec.Raw
    ack: bool
    reply_to: str | None
    correlation_id: str | None
    sent_at: float
    expires_at: float
    recipients: list[Holder]
    full: list[str] = []


class DeliveryState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a message is with one agent.

    :param offers: how many times it was given to the agent, each time without proof that it arrived.
    :param again_at: when it is given once more if nothing proves before that it was seen.
    :param by_call: it was given last in the answer to a hook or a tool call: that the agent calls again proves that it
        arrived.
    :param reason: why it was never delivered.
    """

    id: str
    agent_id: str
    state: State = "queued"
    offers: int = 0
    offered_at: float | None = None
    again_at: float | None = None
    by_call: bool = False
    seen_at: float | None = None
    ended_at: float | None = None
    reason: str | None = None


@define(eq=False)
class Delivery:
    """A message on its way to one agent.

    :param writing: how many words about it are on their way to the disk; until they are there it does not end.
    :param lost_its_agent: the agent is gone.
    """

    record: MessageRecord
    holder: Holder
    state: DeliveryState
    writing: int = 0
    lost_its_agent: bool = False
    slot: int = 0  # of the timer wheel

    @property
    def is_open(self) -> bool:
        """Whether something is still to come of it."""
        return self.state.state in {"queued", "offered"} or (self.state.state == "seen" and self.record.ack)

    @property
    def is_unread(self) -> bool:
        """Whether nothing proves yet that the agent has seen it."""
        return self.state.state in {"queued", "offered"}

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in an inbox: what is to be obeyed first, then by age."""
        return URGENCY[self.record.kind], self.record.number

    def leads_to(self, state: State) -> bool:
        """Say whether it can stand so from now on: it goes forward only, and what is over stays as it is."""
        return self.is_open and _PROGRESS[state] >= _PROGRESS[self.state.state]


@define(eq=False)
class Message:
    """A message with its deliveries, by agent."""

    record: MessageRecord
    deliveries: dict[str, Delivery] = field(factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether something is still to come of it."""
        return any(delivery.is_open for delivery in self.deliveries.values())

    @property
    def state(self) -> State:
        """How far it is: as far as the delivery that is least far, and those that failed count last."""
        states = {delivery.state.state for delivery in self.deliveries.values()}
        return next(state for state in STATES if state in states)

    @property
    def size(self) -> int:
        """How many bytes it takes, about."""
        return len(bytes(self.record.body)) + OVERHEAD * (1 + len(self.deliveries))


def message_of(record: MessageRecord) -> Message:
    """Make the message of its record: on its way to everybody but those who could take no more."""
    message = Message(record)
    for holder in record.recipients:
        state = DeliveryState(id=record.id, agent_id=holder.agent_id)
        if holder.agent_id in record.full:
            why = f"the inbox of '{holder.agent_id}' is full"
            state = msgspec.structs.replace(state, state="dead", ended_at=record.sent_at, reason=why)
        message.deliveries[holder.agent_id] = Delivery(record, holder, state)
    return message
