"""Parked polls: each leaves once, woken, timed out, ended or cancelled."""

from collections.abc import Callable, Sequence

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.interest import InterestIndex
from cco_sidecar.core.events.selection import Key, Selection
from cco_sidecar.core.events.subscriptions import Delivery, Subscription
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import Refusal, TooManyPolls

MOST_PER_AGENT = 32


@frozen
class Reader:
    """Who waits: ``agent`` is None for the admin; ``refused`` tells whether its token is still good.

    ``place`` is the agent's name over all projects.
    """

    agent: str | None
    issue_id: str | None
    token_id: str
    refused: Callable[[], Refusal | None]
    place: str | None


class Answer(msgspec.Struct):
    """What a wait ends with: events in order, and the sequence after which to go on.

    Those whom one event wakes are given the very same list. ``replay`` is the state of the replay that was waited for.
    """

    events: Sequence[Event]
    next_sequence: int
    more_available: bool = False
    timeout: bool = False
    gap: bool = False
    delivery: Delivery | None = None
    replay: str | None = None


class Waiter(msgspec.Struct, eq=False):
    """A parked poll; ``start`` is where it stood when it was parked.

    ``claimed`` says that an event ends it, though its turn to be answered may still come; who leaves before gives up.
    """

    reader: Reader
    selection: Selection
    start: int
    gap: bool
    subscription: Subscription | None
    keys: tuple[Key, ...] = ()
    number: int = 0
    done: "Deferred[Answer] | None" = None
    claimed: bool = False
    slot: int = 0  # of the timer wheel


@define(eq=False)
class Waiters:
    """All parked polls of one project, found by what they want."""

    _wheel: TimerWheel
    _room: "PollRoom"
    _on_timeout: Callable[[Waiter], None]
    _index: InterestIndex = field(factory=InterestIndex)
    _all: dict[Waiter, None] = field(factory=dict)  # an ordered set: first in, first woken
    _parked: int = 0  # ever

    def __len__(self) -> int:
        return len(self._all)

    def park(self, waiter: Waiter, seconds: float) -> "Deferred[Answer]":
        """Keep the poll until somebody lets it go.

        :raises TooManyPolls: the agent, or the sidecar, has no place for another.
        """
        self._room.enter(waiter.reader.place)
        self._parked += 1
        waiter.number = self._parked
        waiter.keys = waiter.selection.index_keys
        self._all[waiter] = None
        self._index.add(waiter)
        waiter.slot = self._wheel.set(waiter, seconds, self._on_timeout)
        waiter.done = Deferred(lambda _: self._cancelled(waiter))
        return waiter.done

    def claim(self, event: Event) -> list[Waiter]:
        """Give the parked polls that want ``event``, in the order they came; no other event will find them."""
        wanting = self._index.wanting(event)
        for waiter in wanting:
            waiter.claimed = True
            self._index.remove(waiter)
        return wanting

    def parked(self) -> list[Waiter]:
        """Give all parked polls."""
        return list(self._all)

    def can_answer(self, waiter: Waiter) -> bool:
        """Say whether the poll is still there; one whose token has died meanwhile is ended with a refusal."""
        if waiter not in self._all:
            return False  # whoever was answered before it made it leave
        refusal = waiter.reader.refused()
        if refusal is not None:
            self.refuse(waiter, refusal)
        return refusal is None

    def wake(self, waiter: Waiter, answer: Answer) -> None:
        """Answer a claimed poll, which can be."""
        done = self._let_go(waiter)
        waiter.claimed = True
        done.callback(answer)

    def release(self, waiter: Waiter, answer: Answer) -> None:
        """Answer a poll, if it can be."""
        if self.can_answer(waiter):
            self.leave(waiter).callback(answer)

    def refuse(self, waiter: Waiter, refusal: Refusal) -> None:
        """End a poll with a refusal, if it is still there."""
        if waiter in self._all:
            self.leave(waiter).errback(refusal)

    def _cancelled(self, waiter: Waiter) -> None:
        self.leave(waiter)

    def leave(self, waiter: Waiter) -> "Deferred[Answer]":
        """Let a poll go, if it is still there; gives what its answer is to be given to."""
        if waiter in self._all:
            return self._let_go(waiter)
        assert waiter.done is not None
        return waiter.done

    def _let_go(self, waiter: Waiter) -> "Deferred[Answer]":
        del self._all[waiter]
        if not waiter.claimed:
            self._index.remove(waiter)
        waiter.claimed = False
        self._room.leave(waiter.reader.place)
        subscription = waiter.subscription
        if subscription is not None and subscription.parked is waiter:
            subscription.parked = None
        self._wheel.clear(waiter, waiter.slot)
        assert waiter.done is not None
        return waiter.done


@define(eq=False)
class PollRoom:
    """How many polls may be parked, per agent and in all projects together."""

    _most: int
    _used: int = 0
    _of_agent: dict[str, int] = field(factory=dict)

    @property
    def used(self) -> int:
        """How many polls are parked now."""
        return self._used

    def holds(self, agent: str) -> bool:
        """Say whether an agent has a parked poll."""
        return agent in self._of_agent

    def enter(self, agent: str | None) -> None:
        """Take a place; the admin is counted, but has no limit of its own.

        :raises TooManyPolls: there is none.
        """
        if self._used >= self._most:
            raise TooManyPolls(f"The sidecar holds {self._most} parked polls already: try again later.", 5)
        if agent is not None:
            mine = self._of_agent.get(agent, 0)
            if mine >= MOST_PER_AGENT:
                raise TooManyPolls(
                    f"This agent has {MOST_PER_AGENT} polls parked already: wait for several types in one poll "
                    "(types joined by commas), or end one.",
                    1,
                )
            self._of_agent[agent] = mine + 1
        self._used += 1

    def leave(self, agent: str | None) -> None:
        """Give a place back."""
        self._used -= 1
        if agent is None:
            return
        self._of_agent[agent] -= 1
        if not self._of_agent[agent]:
            del self._of_agent[agent]
