"""What was answered is counted and logged a moment later: nobody who waits for an answer waits for that."""

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cco_sidecar.access_log import AccessLog, Entry
from cco_sidecar.web.measurements import Measurements

LATER_SECONDS = 0.25
MOST_AT_ONCE = 512
MOST_WAITING = 4096
"""So many are handed over in some 12 ms, when somebody reads the numbers."""


@define(eq=False)
class Accounts:
    """Hands each entry to the measurements and to the access log.

    :param told: hears of each answer that an agent was given.
    """

    _clock: IReactorTime
    _measurements: Measurements
    _log: AccessLog
    _told: Callable[[Entry], None] = lambda _: None
    _waiting: deque[Callable[[], Entry]] = field(factory=deque)
    _call: IDelayedCall | None = None

    def add(self, entry: Callable[[], Entry]) -> None:
        """Note an answer; ``entry`` is asked about it when there is time."""
        self._waiting.append(entry)
        if self._call is None:
            self._call = self._clock.callLater(LATER_SECONDS, self._go_on)
        if len(self._waiting) > MOST_WAITING:
            self._hand_over(MOST_AT_ONCE)

    def _go_on(self) -> None:
        self._call = None
        self._hand_over(MOST_AT_ONCE)
        if self._waiting:
            self._call = self._clock.callLater(0, self._go_on)

    def settle(self) -> None:
        """Bring everything up to date, for somebody who reads the numbers, or at the end."""
        self._hand_over(len(self._waiting))

    def _hand_over(self, most: int) -> None:
        entries = [self._waiting.popleft()() for _ in range(min(most, len(self._waiting)))]
        for entry in entries:
            self._measurements.answered(entry.route, entry.status, entry.at, entry.seconds)
            if entry.agent is not None:
                self._told(entry)
        self._log.write(entries)
