"""How many agents run at once, and who is next: by priority, and within one first in, first out."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isinf
from typing import Protocol

from attrs import define, field, frozen

from cco_sidecar.errors import TooManyRequests

PRIORITIES = ("high", "normal", "low")
LONGEST_QUEUE = 1_000
_RETRY_SECONDS = 10.0
_WHOLE = 1 - 1e-5  # seconds since the epoch are not exact to the last bit: who waited as told must be served

Group = tuple[str, str]
"""A kind of group, and the name of one: ``("type", "python-specialist")``."""


@frozen
class Applicant:
    """One who wants to run: the groups that count it, and what it would be another try of (`held_until` knows).

    :param account: whose breaker may hold it; empty for none.
    :param returns: it ran before, and others wait for what it holds: it comes before those of its priority.
    """

    name: str
    groups: tuple[Group, ...] = ()
    attempt_at: str = ""
    account: str = ""
    returns: bool = False


class IBreakers(Protocol):
    """What is asked of the breakers of accounts."""

    def held_until(self, account: str) -> float:
        """Say until when nobody of the account may enter; infinity when nobody knows."""

    def why_held(self, account: str) -> str:
        """Say why."""


Queue = tuple[str, bool]
"""A priority, and whether those in it return."""
_QUEUES: Sequence[Queue] = [(priority, returns) for priority in PRIORITIES for returns in (True, False)]


@define(eq=False)
class Admission:
    """A number of places, fewer for each group, filled no faster than so many a minute; and a bounded queue for them.

    :param places: how many may be inside at once.
    :param longest_queue: how many may wait.
    :param caps: how many of one group may be inside, by the kind of the group; 0, or none, is as many as there are
        places.
    :param per_minute: how many may enter in a minute (0: any number), as many at once as there are places.
    :param held_until: until when another try of the same must wait.
    :param breakers: hold back those whose account is of no use.
    :param withheld: why somebody, by name, may not enter at all for the time being; None if nothing is against it.
    """

    _places: int
    _longest_queue: int = LONGEST_QUEUE
    _caps: Mapping[str, int] = field(factory=dict)
    _per_minute: int = 0
    _held_until: Callable[[str], float] = lambda _: 0.0
    _breakers: IBreakers | None = None
    _withheld: Callable[[str], str | None] = lambda _: None
    _inside: dict[str, Applicant] = field(factory=dict)
    _counts: "Counter[Group]" = field(factory=Counter)
    _queues: dict[Queue, dict[str, Applicant]] = field(factory=lambda: {queue: {} for queue in _QUEUES})
    _reserved: int = 0
    _level: float = field(default=0.0, init=False)
    _level_at: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._level = float(self._places)

    def reserve(self) -> None:
        """Keep a place in the queue for one that `enter`s, or is given up by `release`, soon.

        :raises TooManyRequests: the queue is full.
        """
        waiting = self.queued + self._reserved
        if waiting >= max(self._places - len(self._inside), 0) + self._longest_queue:
            raise TooManyRequests(
                f"{len(self._inside)} agents run and {waiting} more wait: try again when some have ended.",
                retry_after=_RETRY_SECONDS,
            )
        self._reserved += 1

    def release(self) -> None:
        """Give a reservation up."""
        self._reserved -= 1

    def enter(self, applicant: Applicant, priority: str) -> None:
        """Queue up; `admit` says when it is in."""
        self._queues[priority, applicant.returns][applicant.name] = applicant

    def occupy(self, applicant: Applicant) -> None:
        """Take a place without waiting: it ran before there was an admission."""
        self._inside[applicant.name] = applicant
        self._counts.update(applicant.groups)

    def leave(self, name: str) -> None:
        """Give up the place, inside or in the queue."""
        left = self._inside.pop(name, None)
        if left is not None:
            self._counts.subtract(left.groups)
            self._counts += Counter()  # forget those of none
        for queue in self._queues.values():
            queue.pop(name, None)

    def waits(self, name: str) -> bool:
        """Say whether it is in the queue."""
        return any(name in queue for queue in self._queues.values())

    def admit(self, now: float) -> str | None:
        """Let the next one in and name it; None when there is nobody who may."""
        self._refill(now)
        if len(self._inside) >= self._places or not self._has_start():
            return None
        for queue in self._queues.values():
            for applicant in queue.values():
                if self._free_at(applicant) <= now and self._is_free(applicant):
                    del queue[applicant.name]
                    self._level -= bool(self._per_minute)
                    self.occupy(applicant)
                    return applicant.name
        return None

    def next_at(self, now: float) -> float | None:
        """Say when somebody may enter although nobody leaves; None when only a leave helps."""
        if len(self._inside) >= self._places:
            return None
        held = [self._free_at(each) for each in self._waiting() if self._is_free(each)]
        if not held or isinf(min(held)):
            return None
        self._refill(now)
        start_at = now if self._has_start() else now + (1 - self._level) * 60 / self._per_minute
        return max(min(held), start_at)

    def why_waits(self, name: str, now: float) -> str | None:
        """Say in words what one in the queue waits for; None when it is not in the queue."""
        found = next((queue[name] for queue in self._queues.values() if name in queue), None)
        if found is None:
            return None
        held = self._withheld(name) or self._why_account(found.account, now)
        if held is not None:
            return held
        held_for = self._held_until(found.attempt_at) - now
        if held_for > 0:
            return f"agents of its type failed on its issue again and again: it waits {held_for:.0f} s more"
        group = self._full_group(found)
        if group is not None and len(self._inside) < self._places:
            return f"{self._caps[group[0]]} agents of its {group[0]} '{group[1]}' run already"
        if len(self._inside) >= self._places:
            return f"all {self._places} places are taken"
        return f"at most {self._per_minute} agents start in a minute" if not self._has_start() else "its turn comes"

    @property
    def queued(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    def _waiting(self) -> Iterator[Applicant]:
        for queue in self._queues.values():
            yield from queue.values()

    def _free_at(self, applicant: Applicant) -> float:
        until = self._held_until(applicant.attempt_at)
        if self._breakers is None or not applicant.account:
            return until
        return max(until, self._breakers.held_until(applicant.account))

    def _why_account(self, account: str, now: float) -> str | None:
        if self._breakers is None or not account or self._breakers.held_until(account) <= now:
            return None
        return self._breakers.why_held(account)

    def _is_free(self, applicant: Applicant) -> bool:
        """Say whether only places and time are between it and its start."""
        return self._full_group(applicant) is None and self._withheld(applicant.name) is None

    def _full_group(self, applicant: Applicant) -> Group | None:
        for group in applicant.groups:
            cap = self._caps.get(group[0], 0)
            if cap and self._counts[group] >= cap:
                return group
        return None

    def _has_start(self) -> bool:
        return not self._per_minute or self._level >= _WHOLE

    def _refill(self, now: float) -> None:
        # A clock set back must not take starts away.
        gained = max(0.0, now - self._level_at) * self._per_minute / 60
        self._level = min(float(self._places), self._level + gained)
        self._level_at = now
