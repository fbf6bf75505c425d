"""Two sidecars alike in all but the fast path, which one lacks; the same is done to both, and must show alike."""

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field, frozen

from cco_sidecar.web.connection import Connection, FastPath
from tests.web.house import Disk, HangUp, House, Pass, Send, Step
from tests.web.world import World

MOST_TOLD = 100
"""So many steps before a difference are shown; they come out of `shortest`, so that these are nearly always all."""


@define(eq=False)
class Counting:
    """The fast path, and how many requests it took."""

    path: FastPath
    taken: int = 0

    def take(self, connection: Connection, data: bytes) -> bool | None:
        """Count, and leave all else to the fast path."""
        is_taken = self.path.take(connection, data)
        self.taken += bool(is_taken)
        return is_taken


class DifferenceError(AssertionError):
    """The two have shown different things."""


@frozen
class Run:
    """What steps came to: how many requests were sent, and how many of them the fast path took."""

    requests: int
    taken: int

    def __add__(self, other: "Run") -> "Run":
        return Run(self.requests + other.requests, self.taken + other.taken)


@define(eq=False)
class Twins:
    """A sidecar with the fast path and one without."""

    world: World
    fast: House = field(init=False)
    slow: House = field(init=False)
    counting: Counting = field(init=False)
    requests: int = 0
    history: list[Step] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.fast, self.slow = House.on(self.world.ground), House.on(self.world.ground)
        path = self.fast.parts.web.site.fast_path
        assert path is not None
        self.fast.parts.web.site.fast_path = self.counting = Counting(path)
        self.slow.parts.web.site.fast_path = None

    def do(self, step: Step) -> None:
        """Do the same to both.

        :raises DifferenceError: they show different things.
        """
        self.history.append(step)
        if isinstance(step, Send):
            self.requests += step.requests
        self.fast.do(step)
        self.slow.do(step)
        self._compare(self.fast.shown(), self.slow.shown())

    def _compare(self, fast: Mapping[str, object], slow: Mapping[str, object]) -> None:
        told = self.world.told
        differing = [what for what in fast if fast[what] != slow[what]]
        if differing:
            lines = [f"{what}:\n  fast {told(fast[what])}\n  slow {told(slow[what])}" for what in differing]
            first = max(0, len(self.history) - MOST_TOLD)
            steps = [f"  {number}. {told(step)}" for number, step in enumerate(self.history[first:], first)]
            raise DifferenceError("\n".join([*lines, "after:", *steps]))

    def finish(self) -> Run:
        """See what is left: each agent's allowance, the whole log, the counts; then hang up, and see nothing stay.

        :raises DifferenceError: they show different things.
        """
        self.do(Disk("write"))
        for token in self.world.cast.values():
            head = b"GET /api/events?limit=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n"
            self.do(Send(-1, (head % token,), requests=0))
        self._compare({"metrics": self.fast.metrics()}, {"metrics": self.slow.metrics()})
        for number in list(self.fast.pipes):
            self.do(HangUp(number))
        self.do(Pass(400.0))
        for house in (self.fast, self.slow):
            assert (house.parts.base.polls.used, len(house.parts.web.site.connections)) == (0, 0)
        return Run(self.requests, self.counting.taken)


def run(world: World, steps: Iterable[Step]) -> Run:
    """Do these steps to new twins.

    :raises DifferenceError: they show different things.
    """
    twins = Twins(world)
    for step in steps:
        twins.do(step)
    return twins.finish()


def shortest(world: World, steps: Sequence[Step]) -> DifferenceError | None:
    """Leave out of steps whatever is not needed for a difference; None if there is none."""

    def difference(some: Sequence[Step]) -> DifferenceError | None:
        try:
            run(world, some)
        except DifferenceError as error:
            return error
        return None

    kept, size, found = list(steps), len(steps) // 2, difference(steps)
    while size and found is not None:
        for start in range(len(kept) - size, -1, -size):
            fewer = kept[:start] + kept[start + size :]
            still = difference(fewer)
            if still is not None:
                kept, found = fewer, still
        size //= 2
    return found
