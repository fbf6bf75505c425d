"""The messages of a project in their order, by name and by inbox; of those that are over only the newest are kept."""

from collections.abc import Iterator

from attrs import define, field

from cco_sidecar.core.messages.message import Delivery, DeliveryState, Message

MOST_ENDED = 4_000
"""So many deliveries of messages that are over are kept; the oldest messages go first."""
MOST_BYTES = 16 * 1024 * 1024
"""How much all messages of a project may take: each segment of the journal begins with all of them."""


@define(eq=False)
class PostRoom:
    """Where messages lie."""

    _all: dict[str, Message] = field(factory=dict)
    _inboxes: dict[str, dict[Delivery, None]] = field(factory=dict)  # what is open, by agent
    _ended: dict[str, int] = field(factory=dict)  # how many deliveries; the one that ended first is the first
    _ended_deliveries: int = 0
    _bytes: int = 0
    open: int = 0
    """How many deliveries are not over."""
    open_bytes: int = 0

    def __iter__(self) -> Iterator[Message]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def newest(self) -> Iterator[Message]:
        """Give all, the newest first; while it is walked nothing may come or go."""
        return reversed(self._all.values())

    def find(self, message_id: str) -> Message | None:
        """Give the message of that id."""
        return self._all.get(message_id)

    def inbox(self, agent: str) -> list[Delivery]:
        """Give an agent's deliveries that are not over: what is to be obeyed first, then by age."""
        return sorted(self._inboxes.get(agent, ()), key=lambda delivery: delivery.place)

    def depth(self, agent: str) -> int:
        """Count an agent's deliveries that are not over."""
        return len(self._inboxes.get(agent, ()))

    def add(self, message: Message) -> None:
        """Take a message in."""
        self._all[message.record.id] = message
        self._bytes += message.size
        for delivery in message.deliveries.values():
            if delivery.is_open:
                self._inboxes.setdefault(delivery.holder.agent_id, {})[delivery] = None
                self.open += 1
        if message.is_open:
            self.open_bytes += message.size
        else:
            self._over(message)

    def put(self, delivery: Delivery, state: DeliveryState) -> None:
        """Let a delivery that is not over stand otherwise."""
        delivery.state = state
        if delivery.is_open:
            return
        agent = delivery.holder.agent_id
        inbox = self._inboxes[agent]
        del inbox[delivery]
        if not inbox:
            del self._inboxes[agent]
        self.open -= 1
        message = self._all[delivery.record.id]
        if not message.is_open:
            self.open_bytes -= message.size
            self._over(message)

    def _over(self, message: Message) -> None:
        self._ended[message.record.id] = len(message.deliveries)
        self._ended_deliveries += len(message.deliveries)
        while self._ended and (self._ended_deliveries > MOST_ENDED or self._bytes > MOST_BYTES):
            oldest = next(iter(self._ended))
            self._ended_deliveries -= self._ended.pop(oldest)
            self._bytes -= self._all.pop(oldest).size
