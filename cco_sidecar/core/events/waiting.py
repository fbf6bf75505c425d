"""Parked polls: each leaves once, woken, timed out, ended or cancelled."""

from collections.abc import Callable, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.subscriptions import Delivery, Subscription
from cco_sidecar.errors import Refusal, TooManyPolls

MOST_PER_AGENT = 32


@frozen
class Reader:
    """Who waits: ``agent`` is None for the admin; ``refused`` tells whether its token is still good."""

    agent: str | None
    issue_id: str | None
    token_id: str
    refused: Callable[[], Refusal | None]


@frozen
class Answer:
    """What a wait ends with: events in order, and the sequence after which to go on; ``replay`` is a replay's state."""

    events: Sequence[Event]
    next_sequence: int
    more_available: bool = False
    timeout: bool = False
    gap: bool = False
    delivery: Delivery | None = None
    replay: str | None = None


@define(eq=False)
class Waiter:
    """A parked poll; ``start`` is where it stood when it was parked."""

    reader: Reader
    selection: Selection
    start: int
    gap: bool
    subscription: Subscription | None
    done: "Deferred[Answer]" = field(init=False)
    timer: IDelayedCall | None = None


@define(eq=False)
class Waiters:
    """All parked polls of one project, found by the type of event they want."""

    _clock: IReactorTime
    _project_id: str
    _room: "PollRoom"
    _by_type: dict[str | None, dict[Waiter, None]] = field(factory=dict)
    _all: dict[Waiter, None] = field(factory=dict)  # an ordered set: first in, first woken

    def __len__(self) -> int:
        return len(self._all)

    def park(self, waiter: Waiter, seconds: float, on_timeout: Callable[[Waiter], None]) -> "Deferred[Answer]":
        """Keep the poll until somebody lets it go.

        :raises TooManyPolls: the agent, or the sidecar, has no place for another.
        """
        self._room.enter(self._place(waiter))
        self._all[waiter] = None
        for event_type in waiter.selection.types or (None,):
            self._by_type.setdefault(event_type, {})[waiter] = None
        waiter.done = Deferred(lambda _: self._leave(waiter))
        waiter.timer = self._clock.callLater(seconds, on_timeout, waiter)
        return waiter.done

    def wanting(self, event: Event) -> list[Waiter]:
        """Give the parked polls that want ``event``, in the order they came."""
        named = self._by_type.get(event.body.event_type, {})
        anything = self._by_type.get(None, {})
        wanting = [waiter for waiter in (*named, *anything) if waiter.selection.matches_envelope(event)]
        if not any(waiter.selection.filter for waiter in wanting):
            return wanting
        fields = event.fields()
        return [
            waiter
            for waiter in wanting
            if waiter.selection.filter is None or waiter.selection.filter.matches_fields(fields)
        ]

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

    def release(self, waiter: Waiter, answer: Answer) -> None:
        """Answer a poll, if it can be."""
        if self.can_answer(waiter):
            self._leave(waiter)
            waiter.done.callback(answer)

    def refuse(self, waiter: Waiter, refusal: Refusal) -> None:
        """End a poll with a refusal, if it is still there."""
        if waiter in self._all:
            self._leave(waiter)
            waiter.done.errback(refusal)

    def _place(self, waiter: Waiter) -> str | None:
        agent = waiter.reader.agent
        return None if agent is None else f"{self._project_id}/{agent}"

    def _leave(self, waiter: Waiter) -> None:
        if waiter not in self._all:
            return
        del self._all[waiter]
        for event_type in waiter.selection.types or (None,):
            wanting = self._by_type[event_type]
            del wanting[waiter]
            if not wanting:
                del self._by_type[event_type]
        self._room.leave(self._place(waiter))
        if waiter.subscription is not None and waiter.subscription.parked is waiter:
            waiter.subscription.parked = None
        if waiter.timer is not None and waiter.timer.active():
            waiter.timer.cancel()


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
