"""A replay: which events are given again, how fast, to whom, and how far it is (contract section 5)."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Literal, NamedTuple

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.subscriptions import Subscription

LONGEST_GAP_SECONDS = 60.0
"""How long a replay is silent between two events, however long it was then: a night must not stall it."""

SLICE_EVENTS = 100
SLICE_BYTES = 1024 * 1024
"""How much is looked at, or published, before the reactor has its turn."""

TIMER_SECONDS = 0.001
"""The times of events are whole milliseconds: by less no event is early."""

Destination = Literal["subscription", "topic"]
State = Literal["running", "done", "cancelled", "failed"]


@frozen
class ReplayOrder:
    """What is to be given again.

    ``speed`` is a factor on the pace of then, None for as fast as it can be taken. ``topic`` (only to a topic) stands
    in for each event's own; ``agent`` (only to a subscription) may read it beside the admin.
    """

    selection: Selection
    since: str | None = None
    until: str | None = None
    speed: float | None = None
    to: Destination = "subscription"
    topic: str | None = None
    agent: str | None = None


class Due(NamedTuple):
    """An event of a replay, and how many seconds after the beginning its turn is."""

    sequence: int
    after: float


def paced(found: Iterable[tuple[int, float]], speed: float | None) -> list[Due]:
    """Give each event (sequence and time of then, in order) its turn."""
    dues: list[Due] = []
    turn, before = 0.0, None
    for sequence, at in found:
        if speed is not None and before is not None:
            turn += min(max(0.0, at - before) / speed, LONGEST_GAP_SECONDS)
        dues.append(Due(sequence, turn))
        before = at
    return dues


@define(eq=False)
class Replay:
    """One replay; the events themselves stay in the ring, and those that it lets go meanwhile are ``missed``.

    ``done`` counts the events published, or received by the reader (what a reader did not want included).
    ``place`` is where the reader stands. The pace begins with ``began``: at the first wait, or with the first event
    published. Times are seconds since the epoch.
    """

    id: str
    order: ReplayOrder
    made_at: float
    place: Subscription
    dues: list[Due] = field(factory=list)
    total: int = 0
    done: int = 0
    missed: int = 0
    state: State = "running"
    reason: str | None = None
    began: float | None = None
    ended_at: float | None = None
    looked_through: int = 0
    timer: IDelayedCall | None = None
    pause: "Deferred[None] | None" = None

    @property
    def is_running(self) -> bool:
        """Whether there may be more of it."""
        return self.state == "running"

    def index_after(self, sequence: int) -> int:
        """Give how many of its events lie at or before ``sequence``."""
        return bisect_right(self.dues, sequence, key=lambda due: due.sequence)

    def miss(self, sequence: int) -> None:
        """Count an event that is gone, once."""
        if sequence > self.looked_through:
            self.looked_through = sequence
            self.missed += 1
