"""Requests that wait for their turn: each has a place among the parked polls, and leaves it once, whatever ends it."""

from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from cco_sidecar.core.events.waiting import PollRoom, Reader
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import Refusal

T = TypeVar("T")
Wish = TypeVar("Wish", bound=Hashable)


@define(eq=False)
class Parked(Generic[T]):
    """A request that waits; ``done`` fires with what it gets, or fails with why it gets nothing."""

    reader: Reader
    done: "Deferred[T]"
    is_parked: bool = True
    slot: int = 0  # of the timer wheel


@define(eq=False)
class Parking:
    """Where requests wait."""

    _wheel: TimerWheel
    _room: PollRoom

    def park(
        self,
        reader: Reader,
        seconds: float,
        time_is_up: Callable[["Parked[T]"], None],
        left: Callable[["Parked[T]"], None],
    ) -> "Parked[T]":
        """Give a request a place.

        :param time_is_up: called with it after so many seconds; it must let it go.
        :param left: called with it when its client hangs up before ``done`` has fired; it has no place any more.
        :raises TooManyPolls: the agent, or the sidecar, has no place for another.
        """
        self._room.enter(reader.place)

        def cancelled(_: "Deferred[T]") -> None:
            if parked.is_parked:
                self._leave(parked)
            left(parked)

        parked: Parked[T] = Parked(reader, Deferred(cancelled))
        parked.slot = self._wheel.set(parked, seconds, time_is_up)
        return parked

    def let_go(self, parked: "Parked[T]") -> "Deferred[T]":
        """Take a request's place away; gives what its answer is to be given to, at once."""
        self._leave(parked)
        return parked.done

    def _leave(self, parked: "Parked[T]") -> None:
        parked.is_parked = False
        self._room.leave(parked.reader.place)
        self._wheel.clear(parked, parked.slot)


@define(eq=False)
class WaitingLine(Generic[Wish, T]):
    """Those who wait for something of one kind, first come, first served; each leaves once, whatever ends its wait.

    Walking it walks those who wait now; whoever leaves meanwhile is not come to any more.

    :param nothing: makes what those get to whom nothing came in time.
    """

    _parking: Parking
    _nothing: Callable[[], T]
    is_closed: bool = False
    _parked: "dict[Wish, Parked[T]]" = field(factory=dict)

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> Iterator[Wish]:
        return (wish for wish in list(self._parked) if wish in self._parked)

    def enter(self, wish: Wish, reader: Reader, seconds: float) -> "Deferred[T]":
        """Wait at the end of the line, so long at most.

        :raises TooManyPolls: there is no place to wait.
        """

        def left(_: Parked[T]) -> None:
            self._parked.pop(wish, None)  # whose turn had come may hang up before it has its answer

        parked: Parked[T] = self._parking.park(reader, seconds, lambda _: self._time_is_up(wish), left)
        self._parked[wish] = parked
        return parked.done

    def take(self, wish: Wish) -> "Deferred[T]":
        """Let somebody go; gives what its answer is to be given to, at once."""
        return self._parking.let_go(self._parked.pop(wish))

    def turn_away(self, wish: Wish, refusal: Refusal) -> None:
        """End somebody's wait with a refusal."""
        self.take(wish).errback(refusal)

    def is_refused(self, wish: Wish) -> bool:
        """Say whether somebody's token is no good any more, and end its wait if so."""
        refusal = self._parked[wish].reader.refused()
        if refusal is not None:
            self.turn_away(wish, refusal)
        return refusal is not None

    def end_refused(self) -> None:
        """Turn those away whose tokens are no good any more."""
        for wish in self:
            self.is_refused(wish)

    def end_tokens(self, token_ids: Collection[str], refusal: Refusal) -> None:
        """Turn those away who wait by these tokens."""
        for wish in self:
            if self._parked[wish].reader.token_id in token_ids:
                self.turn_away(wish, refusal)

    def close(self) -> None:
        """Answer all that wait; from now on nobody is to enter."""
        self.is_closed = True
        for wish in self:
            self._time_is_up(wish)

    def _time_is_up(self, wish: Wish) -> None:
        if not self.is_refused(wish):
            self.take(wish).callback(self._nothing())
