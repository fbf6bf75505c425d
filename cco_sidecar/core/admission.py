"""How many agents run at once, and who is next: by priority, and within one first in, first out."""

from attrs import define, field

from cco_sidecar.errors import TooManyRequests

PRIORITIES = ("high", "normal", "low")
LONGEST_QUEUE = 1_000
_RETRY_SECONDS = 10.0


@define(eq=False)
class Admission:
    """A number of places, and a bounded queue for them.

    :param places: how many may be inside at once.
    :param longest_queue: how many may wait.
    """

    _places: int
    _longest_queue: int = LONGEST_QUEUE
    _inside: set[str] = field(factory=set)
    _queues: dict[str, dict[str, None]] = field(factory=lambda: {priority: {} for priority in PRIORITIES})
    _reserved: int = 0

    def reserve(self) -> None:
        """Keep a place in the queue for one that `enter`s, or is given up by `release`, soon.

        :raises TooManyRequests: the queue is full.
        """
        waiting = self.queued + self._reserved
        if waiting >= max(self._places - len(self._inside), 0) + self._longest_queue:
            raise TooManyRequests(
                f"All {self._places} agents run and {waiting} more wait: try again when some have ended.",
                retry_after=_RETRY_SECONDS,
            )
        self._reserved += 1

    def release(self) -> None:
        """Give a reservation up."""
        self._reserved -= 1

    def enter(self, name: str, priority: str) -> None:
        """Queue up; `admit` says when it is in."""
        self._queues[priority][name] = None

    def occupy(self, name: str) -> None:
        """Take a place without waiting: it ran before there was an admission."""
        self._inside.add(name)

    def leave(self, name: str) -> None:
        """Give up the place, inside or in the queue."""
        self._inside.discard(name)
        for queue in self._queues.values():
            queue.pop(name, None)

    def waits(self, name: str) -> bool:
        """Say whether it is in the queue."""
        return any(name in queue for queue in self._queues.values())

    def admit(self) -> str | None:
        """Let the next one in and name it; None when there is nobody, or no place."""
        if len(self._inside) >= self._places:
            return None
        for priority in PRIORITIES:
            queue = self._queues[priority]
            if queue:
                name = next(iter(queue))
                del queue[name]
                self._inside.add(name)
                return name
        return None

    @property
    def queued(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))
