"""Where each agent stands in the events it waits for (contract section 5, "Where a wait starts")."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred

from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.errors import InvalidParameter

if TYPE_CHECKING:
    from cco_sidecar.core.events.waiting import Waiter

MOST_PER_AGENT = 64


class Position(msgspec.Struct, frozen=True):
    """A subscription's place, as it is kept: everything through ``sequence`` was received, or does not match."""

    agent: str
    key: str
    sequence: int


class Departure(msgspec.Struct, frozen=True):
    """An agent whose subscriptions have ended with it."""

    agent: str


class Delivery(msgspec.Struct, eq=False):
    """An answer on its way: it counts once the connection that carried it proves that it arrived."""

    subscription: "Subscription"
    through: int
    settle: Callable[["Delivery"], None]
    probe: "Callable[[], Deferred[None]] | None" = None
    """Set by the connection: look now, and for a moment, whether the peer has ended it, and settle this if so."""

    def received(self) -> None:
        """The peer has it: the subscription stands after it."""
        self.settle(self)

    def lost(self) -> None:
        """The peer does not have it: the same events are given again."""
        if self.subscription.offered is self:
            self.subscription.offered = None


@define(eq=False)
class Subscription:
    """One agent's place; it has at most one parked wait and one answer on its way.

    Everything through ``position`` was received. A named one may be waited on with another selection next time: how far
    one of them was looked through without a match is no position of the other.
    """

    agent: str
    key: str
    position: int
    _selection: str = ""
    _looked_through: int = 0
    parked: "Waiter | None" = None
    offered: Delivery | None = None

    def start(self, selection: str) -> int:
        """Give the sequence after which a wait for that selection starts."""
        return max(self.position, self._looked_through) if selection == self._selection else self.position

    def pass_over(self, selection: str, through: int) -> None:
        """Move past events that do not match; not written down, for nothing is lost by looking again."""
        self._looked_through = max(self.start(selection), through)
        self._selection = selection


@define(eq=False)
class Subscriptions:
    """The subscriptions of one project's agents; positions last."""

    _ledger: Ledger
    kinds: tuple[str, ...] = ("positions", "position", "departure")
    _of_agent: dict[str, dict[str, Subscription]] = field(factory=dict)

    def open(self, agent: str, key: str, first: Callable[[], int]) -> Subscription:
        """Give the agent's subscription of that name, made at ``first()`` if it is new.

        :raises InvalidParameter: the agent has too many.
        """
        mine = self._of_agent.setdefault(agent, {})
        if key in mine:
            return mine[key]
        if len(mine) >= MOST_PER_AGENT:
            raise InvalidParameter(
                f"An agent has at most {MOST_PER_AGENT} subscriptions: wait again on one you have, or use 'since'.",
                parameter="subscription",
            )
        mine[key] = Subscription(agent, key, first())
        # Kept from the first wait on: after a restart it must not start over at the mark.
        self._keep(mine[key])
        return mine[key]

    def of_agent(self, agent: str) -> list[tuple[str, int]]:
        """Give what an agent's subscriptions select (`Selection.key`), and where each stands; nothing moves by it.

        A named one that was not waited on since the start is left out: what it selects is not known.
        """
        found = ((kept._selection or kept.key, kept) for kept in self._of_agent.get(agent, {}).values())
        return [(selection, kept.start(selection)) for selection, kept in found if " " in selection]

    def offered(self, agent: str, key: str) -> Delivery | None:
        """Give the answer that is on its way on the agent's subscription of that name, if there are both."""
        subscription = self._of_agent.get(agent, {}).get(key)
        return None if subscription is None else subscription.offered

    def offer(self, subscription: Subscription, through: int) -> Delivery:
        """Begin a delivery; an older one that is still open no longer counts."""
        subscription.offered = Delivery(subscription, through, self._received)
        return subscription.offered

    def settle(self, subscription: Subscription, through: int) -> None:
        """Move past events that were received."""
        if through > subscription.position:
            subscription.position = through
            self._keep(subscription)

    def end(self, agent: str) -> None:
        """Forget the subscriptions of an agent that is gone."""
        if self._of_agent.pop(agent, None):
            self._ledger.note("departure", Departure(agent))

    def _received(self, delivery: Delivery) -> None:
        if delivery.subscription.offered is delivery:
            delivery.subscription.offered = None
        self.settle(delivery.subscription, delivery.through)

    def _keep(self, subscription: Subscription) -> None:
        if self._of_agent.get(subscription.agent, {}).get(subscription.key) is subscription:
            self._ledger.note("position", _position(subscription))

    @property
    def furthest(self) -> int:
        """The highest position of all."""
        return max((kept.position for mine in self._of_agent.values() for kept in mine.values()), default=0)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a position, a departure, or that what follows is all there is."""
        if kind == "positions":
            self._of_agent.clear()
            return
        if kind == "departure":
            self._of_agent.pop(msgspec.json.decode(body, type=Departure).agent, None)
            return
        kept = msgspec.json.decode(body, type=Position)
        self._of_agent.setdefault(kept.agent, {})[kept.key] = Subscription(kept.agent, kept.key, kept.sequence)

    def snapshot(self) -> Iterable[Record]:
        """Give every position.

        Older records are read before: a departure among them that could not be written must not come to nothing.
        """
        yield "positions", None
        for mine in self._of_agent.values():
            for subscription in mine.values():
                yield "position", _position(subscription)


def _position(subscription: Subscription) -> Position:
    return Position(subscription.agent, subscription.key, subscription.start(subscription.key))
