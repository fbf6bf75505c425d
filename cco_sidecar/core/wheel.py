"""A timer wheel: time limits for very many things that nearly always end before their time.

A delayed call each costs a heap entry and a dozen objects to set and to cancel; here each costs a dict entry in a slot
of the wheel, and the reactor has one delayed call for all of them. A limit is kept at most `TICK_SECONDS` too late, and
never too early.
"""

import heapq
from collections.abc import Callable
from math import ceil
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

TICK_SECONDS = 0.05
MOST_AT_ONCE = 256
"""How many limits are acted upon before the reactor may do something else."""
_TICKS = 1 / TICK_SECONDS
_EXACT = 1e-6  # a limit that falls on a tick is due at that tick, whatever floating point makes of it


@define(eq=False)
class TimerWheel:
    """Calls what was set when its time is up, unless it was cleared before."""

    _clock: IReactorTime
    _slots: dict[int, dict[Any, Callable[[Any], None]]] = field(factory=dict)
    _order: list[int] = field(factory=list)  # a heap of the slots there are
    _call: IDelayedCall | None = None
    _call_slot: int = 0

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots.values())

    def set(self, item: T, seconds: float, act: Callable[[T], None]) -> int:
        """Call ``act(item)`` in so many seconds; gives the slot that `clear` takes. An item is in a slot once."""
        number = ceil((self._clock.seconds() + seconds) * _TICKS - _EXACT)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heapq.heappush(self._order, number)
            self._arm()
        slot[item] = act
        return number

    def clear(self, item: object, number: int) -> None:
        """Forget the limit of ``item`` that `set` put into slot ``number``, if it is there still."""
        slot = self._slots.get(number)
        if slot is not None:
            slot.pop(item, None)

    def _arm(self) -> None:
        first = self._order[0]
        if self._call is not None and self._call.active():
            if self._call_slot <= first:
                return
            self._call.cancel()
        self._call_slot = first
        self._call = self._clock.callLater(max(0.0, first / _TICKS - self._clock.seconds()), self._turn)

    def _turn(self) -> None:
        """Act on what is due, a bounded number at a time."""
        now = self._clock.seconds() * _TICKS + _EXACT
        left = MOST_AT_ONCE
        while self._order and self._order[0] <= now and left > 0:
            slot = self._slots[self._order[0]]
            while slot and left > 0:
                left -= 1
                item = next(iter(slot))
                slot.pop(item)(item)
            if not slot:
                del self._slots[heapq.heappop(self._order)]
        if self._order:
            self._arm()
