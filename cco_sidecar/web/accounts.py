"""What was answered is counted and logged a moment later: nobody who waits for an answer waits for that."""

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cco_sidecar.access_log import AccessLog, Entry
from cco_sidecar.web.measurements import Measurements

LATER_SECONDS = 0.25
MOST_AT_ONCE = 512
MOST_WAITING = 16_384
"""More than one event wakes by default; to count so many takes some 10 ms, when somebody reads the numbers."""


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
    _counted: deque[Entry] = field(factory=deque)  # but not logged yet; they come before those that wait
    _call: IDelayedCall | None = None

    def add(self, entry: Callable[[], Entry]) -> None:
        """Note an answer; ``entry`` is asked about it when there is time."""
        self._waiting.append(entry)
        if self._call is None:
            self._call = self._clock.callLater(LATER_SECONDS, self._go_on)
        if len(self._waiting) + len(self._counted) > MOST_WAITING:
            self._hand_over(MOST_AT_ONCE)

    def _go_on(self) -> None:
        self._call = None
        self._hand_over(MOST_AT_ONCE)
        if self._waiting or self._counted:
            self._call = self._clock.callLater(0, self._go_on)

    def settle(self) -> None:
        """Count everything, for somebody who reads the numbers; the log can wait."""
        self._count(len(self._waiting))

    def finish(self) -> None:
        """Count and log everything: this is the end."""
        self.settle()
        self._hand_over(len(self._counted))

    def _count(self, many: int) -> None:
        waiting, counted, answered = self._waiting, self._counted, self._measurements.answered
        for _ in range(min(many, len(waiting))):
            entry = waiting.popleft()()
            answered(entry.route, entry.status, entry.at, entry.seconds)
            counted.append(entry)
            if entry.agent is not None:
                self._told(entry)

    def _hand_over(self, most: int) -> None:
        counted = self._counted
        self._count(most - len(counted))
        self._log.write([counted.popleft() for _ in range(min(most, len(counted)))])
