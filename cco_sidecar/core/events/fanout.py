"""Waking many: the polls that one event ends are answered in slices, so that the reactor breathes in between."""

from collections import deque
from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.waiting import Waiter

SLICE = 128
"""About 2 ms of answering; the fleet of 119 is woken in one go."""


@define(eq=False)
class FanOut:
    """Gives events to claimed polls, first come, first served; whoever left meanwhile is passed over by ``deliver``."""

    _clock: IReactorTime
    _deliver: Callable[[Event, Sequence[Waiter]], None]
    _waiting: deque[tuple[Event, Sequence[Waiter]]] = field(factory=deque)
    _call: IDelayedCall | None = None

    def give(self, event: Event, waiters: Sequence[Waiter]) -> None:
        """Answer the first of them now, if nobody else is waiting for it, and the others soon."""
        for start in range(0, len(waiters), SLICE):
            self._waiting.append((event, waiters[start : start + SLICE]))
        if self._waiting and self._call is None:
            self._go_on()

    def _go_on(self) -> None:
        self._call = None
        event, waiters = self._waiting.popleft()
        # First, so that a failure in one slice does not keep the others.
        if self._waiting:
            self._call = self._clock.callLater(0, self._go_on)
        self._deliver(event, waiters)
