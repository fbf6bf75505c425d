"""A webhook: what it wants, how far it has got, and what is on its way to it."""

from collections import deque
from typing import Annotated

import msgspec
from attrs import define, field
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.fields import EventFields
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.identifiers import event_type, identifier
from cco_sidecar.errors import InvalidBody
from cco_sidecar.interfaces import Receipt, WebhookKey

MOST_UNSETTLED = 8
"""How many events may be on their way to a webhook, those that wait for another attempt among them.

Not one: a single event that a receiver cannot take would hold up all others for minutes. Not many: of a receiver
that is down no more than these are taken out of the log, and used up, at a time.
"""
MOST_AT_ONCE = 4
"""How many requests may be open to one receiver; one that failed last gets a single one until it takes something."""

MOST_TYPES = 64

_Word = Annotated[str, Meta(min_length=1, max_length=128)]


class SelectionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which events a webhook wants; all given conditions must hold, and nothing given means every event.

    ``types`` is ``type`` (one, or several with commas) as a list; ``*`` is any.
    """

    type: Annotated[str, Meta(min_length=1, max_length=8320)] | None = None
    types: Annotated[list[_Word], Meta(min_length=1, max_length=MOST_TYPES)] | None = None
    topic: _Word | None = None
    filter: Annotated[str, Meta(max_length=1024)] | None = None
    publisher: _Word | None = None
    correlation_id: Annotated[str, Meta(max_length=256)] | None = None
    issue: _Word | None = None

    def read(self) -> Selection:
        """Make the selection.

        :raises InvalidParameter: a name is none.
        :raises InvalidFilter: the filter does not parse.
        :raises InvalidBody: both ``type`` and ``types`` are given.
        """
        if self.type is not None and self.types is not None:
            raise InvalidBody("Give 'type' or 'types', not both.", path="$.selection.types")
        types = self.type.split(",") if self.type is not None else self.types or ["*"]
        if len(types) > MOST_TYPES:
            raise InvalidBody(f"At most {MOST_TYPES} event types; '*' stands for all.", path="$.selection")
        return Selection(
            types=None if types == ["*"] else frozenset(event_type(name) for name in types),
            topic=None if self.topic is None else identifier(self.topic, "topic"),
            filter=None if self.filter is None else parse_filter(self.filter),
            publisher=None if self.publisher is None else identifier(self.publisher, "publisher"),
            correlation_id=self.correlation_id,
            issue_id=None if self.issue is None else identifier(self.issue, "issue"),
        )


class WebhookRecord(msgspec.Struct, frozen=True):
    """A webhook as the log has it: nothing of it is secret, so its whole URL is not in it.

    ``start`` is the sequence of the last event before it; ``disabled`` says why nothing is sent any more.
    """

    id: str
    origin: str
    selection: SelectionBody
    created_at: float
    start: int
    disabled: str | None = None


class PositionRecord(msgspec.Struct, frozen=True):
    """How far a webhook has got: all up to ``through`` is settled, but for those in ``open`` (a few)."""

    id: str
    through: int
    open: list[int]


@define(eq=False)
class Delivery:
    """An event (its JSON text) on its way: of a ``sequence``, or of a dead ``letter`` that is delivered again.

    The message is made for each attempt: kept, it would be a copy of the event for each webhook.
    """

    event: bytes
    sequence: int | None = None
    letter: str | None = None
    attempts: int = 0
    first_at: float | None = None
    last_at: float | None = None
    sending: "Deferred[Receipt] | None" = None
    timer: IDelayedCall | None = None

    def stop(self) -> None:
        """Send nothing more."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        if self.sending is not None:
            self.sending.cancel()


@define(eq=False)
class Attempted:
    """What became of the attempts since the start; times are in seconds since the epoch."""

    delivered: int = 0
    expired: int = 0
    consecutive_failures: int = 0
    last_success_at: float | None = None
    last_failure_at: float | None = None
    last_failure: str | None = None


@define(eq=False)
class Webhook:
    """One webhook; everything up to ``scanned`` was looked at, and what matched is in ``backlog`` or was begun."""

    record: WebhookRecord
    selection: Selection
    scanned: int
    key: WebhookKey | None = None
    caught_up: bool = False
    ended: bool = False
    backlog: "deque[int]" = field(factory=deque)  # sequences that match and were not begun
    again: "deque[int]" = field(factory=deque)  # those that were begun before a halt, and come first
    letters: "deque[str]" = field(factory=deque)  # dead letters that are to be delivered again
    unsettled: dict[Delivery, None] = field(factory=dict)
    due: "deque[Delivery]" = field(factory=deque)  # whose next attempt may begin
    open_requests: int = 0
    held_until: float = 0.0
    timers: dict[str, IDelayedCall] = field(factory=dict)
    noted: int = 0  # how far what was written down last goes
    attempted: Attempted = field(factory=Attempted)

    @property
    def id(self) -> str:
        """The webhook's name."""
        return self.record.id

    @property
    def is_active(self) -> bool:
        """Say whether events are sent to it."""
        return self.record.disabled is None and self.key is not None and not self.ended

    @property
    def through(self) -> int:
        """The sequence up to which everything was begun, or needs nothing."""
        return self.backlog[0] - 1 if self.backlog else self.scanned

    @property
    def open(self) -> list[int]:
        """The sequences of what was begun and is not settled."""
        return sorted([*self.again, *(it.sequence for it in self.unsettled if it.sequence is not None)])

    @property
    def position(self) -> int:
        """The sequence up to which everything is settled: taken, a dead letter, expired, or not wanted."""
        return min([*(sequence - 1 for sequence in self.open[:1]), self.through])

    @property
    def pending(self) -> int:
        """How many events are on their way or wait for their turn, as far as the log was looked through."""
        return len(self.unsettled) + len(self.again) + len(self.backlog) + len(self.letters)

    @property
    def has_work(self) -> bool:
        """Say whether an attempt could begin."""
        if self.due:
            return True
        return len(self.unsettled) < MOST_UNSETTLED and bool(self.again or self.backlog or self.letters)

    @property
    def may_send(self) -> bool:
        """Say whether its receiver may get another request now."""
        most = 1 if self.attempted.consecutive_failures else MOST_AT_ONCE
        return self.is_active and self.open_requests < most

    def wants(self, event: Event, fields: EventFields | None) -> bool:
        """Say whether an event is to be sent; ``fields`` are its fields, if somebody has looked at them."""
        if not self.selection.matches_envelope(event):
            return False
        if self.selection.filter is None:
            return True
        return self.selection.filter.matches_fields(fields or event.fields())

    def progress(self) -> PositionRecord:
        """Give what lasts of how far it has got."""
        self.noted = self.through
        return PositionRecord(self.id, self.through, self.open)

    def take_up(self, progress: PositionRecord) -> None:
        """Go on from what lasted: with those that were open, then with what comes in the log."""
        self.scanned = self.noted = progress.through
        self.again = deque(progress.open)
        self.backlog.clear()

    def rewind(self, position: int) -> None:
        """Begin again after ``position``, if it is further back; what is on its way is dropped, and comes again."""
        start = min(self.position, position)
        for delivery in list(self.unsettled):
            if delivery.sequence is not None:
                self.drop(delivery)
        self.scanned = start
        self.again.clear()
        self.backlog.clear()
        self.caught_up = False

    def drop(self, delivery: Delivery) -> None:
        """Let go of a delivery without a word."""
        self.unsettled.pop(delivery, None)
        if delivery in self.due:
            self.due.remove(delivery)
        delivery.stop()

    def halt(self) -> None:
        """Send nothing more for now; what was on its way comes first when it goes on."""
        self.again = deque(self.open)
        for delivery in list(self.unsettled):
            self.drop(delivery)
            if delivery.letter is not None:
                self.letters.appendleft(delivery.letter)
        for timer in self.timers.values():
            if timer.active():
                timer.cancel()
        self.timers.clear()
        self.caught_up = False
