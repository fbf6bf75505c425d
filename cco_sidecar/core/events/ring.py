"""The events that are retained: the newest so many, none older than so long, and no more than memory bears."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from attrs import define, field

from cco_sidecar.core.events.event import Event

MOST_BYTES = 256 * 1024 * 1024
"""How much the retained events of a project may take, however few they are: any agent may publish 1 MiB at a time."""

_COMPACT_AT = 1024
_GONE: Any = None


@define(eq=False)
class Ring:
    """Retained events in order of sequence; numbers may be missing where a write failed."""

    _max_events: int
    _retention_seconds: float
    _max_bytes: int = MOST_BYTES
    evicted_through: int = 0
    """The highest sequence that retention removed."""
    evicted_at: float = 0.0
    """When that was published, in seconds since the epoch."""
    _events: list[Event] = field(factory=list)
    _start: int = 0  # places before it hold nothing; the list is cut now and then
    size_bytes: int = 0

    def __len__(self) -> int:
        return len(self._events) - self._start

    @property
    def capacity(self) -> int:
        """How many events fit."""
        return self._max_events

    @property
    def oldest(self) -> int | None:
        """The sequence of the oldest retained event."""
        return self._events[self._start].sequence if len(self) else None

    def append(self, event: Event) -> None:
        """Add the newest event; the oldest goes when there is no room."""
        events = self._events
        events.append(event)
        self.size_bytes += len(event.encoded)
        while len(events) - self._start > self._max_events or self.size_bytes > self._max_bytes:
            self._drop_oldest()

    def evict(self, now: float) -> None:
        """Remove what is past the retention time."""
        ends = now - self._retention_seconds
        while self._start < len(self._events) and self._events[self._start].at <= ends:
            self._drop_oldest()

    def evict_through(self, sequence: int, at: float = 0.0) -> None:
        """Remove what an earlier run had removed already."""
        while len(self) and self._events[self._start].sequence <= sequence:
            self._drop_oldest()
        self.evicted_through = max(self.evicted_through, sequence)
        self.evicted_at = max(self.evicted_at, at)

    def _drop_oldest(self) -> None:
        gone = self._events[self._start]
        self.evicted_through = gone.sequence
        self.evicted_at = gone.at
        self.size_bytes -= len(gone.encoded)
        self._events[self._start] = _GONE  # it may be large
        self._start += 1
        if self._start >= _COMPACT_AT:
            del self._events[: self._start]
            self._start = 0

    def _index_after(self, sequence: int) -> int:
        return bisect_right(self._events, sequence, lo=self._start, key=lambda event: event.sequence)

    def after(self, sequence: int) -> Iterator[Event]:
        """Give the events past ``sequence``, oldest first."""
        for index in range(self._index_after(sequence), len(self._events)):
            yield self._events[index]

    def before(self, sequence: int) -> Iterator[Event]:
        """Give the events below ``sequence``, newest first."""
        for index in range(self._index_after(sequence - 1) - 1, self._start - 1, -1):
            yield self._events[index]

    def get(self, sequence: int) -> Event | None:
        """Give the event of that number, if it is retained."""
        index = self._index_after(sequence) - 1
        if index < self._start or self._events[index].sequence != sequence:
            return None
        return self._events[index]

    def current(self, sequence: int, now: float) -> Event | None:
        """Give the event of that number, if it is retained and its own time is not over."""
        event = self.get(sequence)
        return None if event is None or event.expires_at <= now else event

    def sequence_at(self, seconds: float) -> int:
        """Give the sequence of the newest event that is older than a time (0 if there is none)."""
        index = bisect_right(self._events, seconds, lo=self._start, key=lambda event: event.at)
        # An event of that very millisecond belongs to what comes after it.
        while index > self._start and self._events[index - 1].at >= seconds:
            index -= 1
        if index > self._start:
            return self._events[index - 1].sequence
        return self.evicted_through
