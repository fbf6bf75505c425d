"""Tells senders of messages that will never be seen, or done: nothing vanishes in silence."""

from collections.abc import Iterable

from attrs import define
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.events.event import SIDECAR
from cco_sidecar.core.events.hub import Draft, EventHub
from cco_sidecar.core.messages.message import Delivery
from cco_sidecar.errors import Refusal

_log = Logger()

TOPIC = "messages"
EVENT = "message_dead"
FAILED = frozenset({"dead", "expired"})


@define(eq=False)
class MessageNews:
    """Publishes `message_dead`; it never has the message's body, for anybody may read events."""

    _hub: EventHub

    def tell(self, delivery: Delivery) -> None:
        """Publish that a message did not arrive, if that is what became of it."""
        if delivery.state.state in FAILED:
            self._hub.publish(_draft(delivery)).addErrback(_untold, delivery.record.id)

    def open(self, deliveries: Iterable[Delivery]) -> None:
        """Publish, after recovery, what an earlier sidecar had no time to; what retention took was told."""
        told: set[tuple[str, str]] = set()
        for event in self._hub.ring.after(0):
            if event.body.publisher == SIDECAR and event.body.event_type == EVENT:
                fields = event.fields()
                told.update((name, agent) for name in fields.texts("message_id") for agent in fields.texts("agent_id"))
        for delivery in deliveries:
            ended_at = delivery.state.ended_at
            key = (delivery.record.id, delivery.holder.agent_id)
            if ended_at is not None and key not in told and ended_at > self._hub.ring.evicted_at:
                self.tell(delivery)


def _draft(delivery: Delivery) -> Draft:
    record, state = delivery.record, delivery.state
    data = {
        "message_id": record.id,
        "agent_id": state.agent_id,
        "from": record.sender.agent_id,
        "to": record.to,
        "kind": record.kind,
        "correlation_id": record.correlation_id,
        "state": state.state,
        "offers": state.offers,
        "reason": state.reason,
    }
    return Draft.of_sidecar(EVENT, TOPIC, data, agent_type=delivery.holder.agent_type, issue_id=record.sender.issue_id)


def _untold(failure: Failure, message_id: str) -> None:
    failure.trap(Refusal)
    _log.warn("nobody hears that message {id} did not arrive: {why}", id=message_id, why=failure.getErrorMessage())
