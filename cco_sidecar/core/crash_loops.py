"""What fails as soon as it runs, again and again, is not started again at once: a second, then two, then four…"""

from collections.abc import Callable

from attrs import define, field
from cachetools import LRUCache

SOON_SECONDS = 300.0
"""Who fails after it has run for longer did some work: that is no crash loop."""
MOST_REMEMBERED = 10_000


@define(eq=False)
class _Loop:
    failures: int = 0
    until: float = 0.0


@define(eq=False)
class CrashLoops:
    """Counts failures in a row, by what was tried.

    :param after: so many in a row make a loop; 0 is never.
    :param first_seconds: the least that one in a loop waits; it doubles with each failure.
    :param most_seconds: the most, but for a quarter that chance adds, so that not all come back at once.
    :param chance: gives numbers from 0 to 1.
    """

    _after: int
    _first_seconds: float
    _most_seconds: float
    _chance: Callable[[], float]
    _loops: "LRUCache[str, _Loop]" = field(factory=lambda: LRUCache(MOST_REMEMBERED))

    def failed(self, attempt_at: str, lasted: float, now: float) -> float:
        """Note a failure; gives how many seconds the next try has to wait."""
        if lasted >= SOON_SECONDS:
            self.succeeded(attempt_at)
            return 0.0
        loop = self._loops.setdefault(attempt_at, _Loop())
        loop.failures += 1
        return self._hold(loop, now)

    def succeeded(self, attempt_at: str) -> None:
        """Note that it works."""
        self._loops.pop(attempt_at, None)

    def started(self, attempt_at: str, now: float) -> None:
        """Note another try: in a loop the one after it waits as long again, whatever comes of this one."""
        loop = self._loops.get(attempt_at)
        if loop is not None:
            self._hold(loop, now)

    def held_until(self, attempt_at: str) -> float:
        """Say until when another try has to wait, in seconds since the epoch."""
        loop = self._loops.get(attempt_at)
        return 0.0 if loop is None else loop.until

    def _hold(self, loop: _Loop, now: float) -> float:
        if not self._after or loop.failures < self._after:
            return 0.0
        doubled = self._first_seconds * 2.0 ** min(loop.failures - self._after, 60)
        wait = min(doubled, self._most_seconds) * (1 + self._chance() / 4)
        loop.until = now + wait
        return wait
