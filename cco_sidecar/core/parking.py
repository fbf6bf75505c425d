"""Requests that wait for their turn: each has a place among the parked polls, and leaves it once, whatever ends it."""

from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define
from twisted.internet.defer import Deferred

from cco_sidecar.core.events.waiting import PollRoom, Reader
from cco_sidecar.core.wheel import TimerWheel

T = TypeVar("T")


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
