"""Streams: readers that are given every event they want as it comes, until something ends them."""

from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cco_sidecar.core.events.event import Event, cursor
from cco_sidecar.core.events.fields import EventFields
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.starting import Log
from cco_sidecar.core.events.waiting import PollRoom, Reader
from cco_sidecar.core.times import looks_like_time, seconds_of
from cco_sidecar.errors import Refusal

BEAT_SECONDS = 15.0
MOST_WAITING_EVENTS = 1000
MOST_WAITING_BYTES = 1024 * 1024

STOPPING = "the sidecar is stopping"
TOO_SLOW = "events came faster than this connection was read"
UNTIL_REACHED = "'until' is reached"


class Sink(Protocol):
    """Where a stream is written to; ``Followers.pause`` may be called from within ``event``."""

    def event(self, cursor: str, event: Event) -> None:
        """Write an event, and the place after it."""

    def gap(self, oldest_cursor: str) -> None:
        """Say that retention took events that the reader has not seen."""

    def beat(self) -> None:
        """Show that the stream is alive."""

    def end(self, reason: str) -> None:
        """Say why there is no more, and let go."""


@define(eq=False)
class Follower:
    """One stream; unless it is paused, all up to ``position`` was given and nothing past it is there.

    ``before`` is the sequence that is no longer wanted; ``ends_at`` the time (seconds since the epoch).
    """

    reader: Reader
    selection: Selection
    position: int
    gap: bool
    before: int | None = None
    ends_at: float | None = None
    sink: Sink | None = None
    paused: bool = False
    waiting_events: int = 0  # that came while the connection took nothing
    waiting_bytes: int = 0
    timers: dict[str, IDelayedCall] = field(factory=dict)

    def is_past(self, event: Event) -> bool:
        """Say whether ``event`` lies behind the end of what is wanted."""
        if self.before is not None and event.sequence >= self.before:
            return True
        return self.ends_at is not None and event.at >= self.ends_at

    def take_note(self, event: Event) -> bool:
        """Count an event that has to wait; says whether there is room for it, however large this one is."""
        if self.waiting_events >= MOST_WAITING_EVENTS or self.waiting_bytes >= MOST_WAITING_BYTES:
            return False
        self.waiting_events += 1
        self.waiting_bytes += len(event.encoded)
        return True


@define(eq=False)
class Followers:
    """All streams of one project.

    Nothing is queued for a stream: what its connection cannot take stays in the ring, and is read from there later.
    ``gave`` hears of every event given, to how many, and whether it was given the moment it came.
    """

    _clock: IReactorTime
    _room: PollRoom
    _places: Callable[[], Log]
    _gave: Callable[[Event, int, bool], None]
    _all: dict[Follower, None] = field(factory=dict)
    _stopping: bool = False

    def __len__(self) -> int:
        return len(self._all)

    def open(
        self, reader: Reader, selection: Selection, *, resume: str | None, since: str | None, until: str | None
    ) -> Follower:
        """Take a place for a stream; `begin` starts it, `leave` gives the place back.

        :param resume: the ``Last-Event-ID``; it beats ``since``. With neither the stream starts with the next event.
        :param until: where it ends; without it, never.
        :raises InvalidParameter: one of them is no place in this log.
        :raises TooManyPolls: there is no place for another.
        """
        places = self._places()
        places.ring.evict(self._clock.seconds())  # first, so that whoever lost something by it is told
        window = places.after(resume, "Last-Event-ID") if resume else places.after(since or "latest")
        follower = Follower(reader, selection, window.after, window.gap)
        if until is not None and looks_like_time(until):
            follower.ends_at = seconds_of(until, "until")
        elif until is not None:
            follower.before = places.until(until)
        self._room.enter(follower.reader.place)
        self._all[follower] = None
        return follower

    def cursor(self, follower: Follower) -> str:
        """Name the place where the stream stands."""
        return cursor(self._places().log_id, follower.position)

    def begin(self, follower: Follower, sink: Sink, seconds: float) -> None:
        """Give what is there already, then whatever comes.

        :param seconds: how long the reader's token lives.
        """
        follower.sink = sink
        if self._stopping:
            self.end(follower, STOPPING)
            return
        if follower.ends_at is not None:
            seconds = min(seconds, follower.ends_at - self._clock.seconds())
        follower.timers["beat"] = self._clock.callLater(BEAT_SECONDS, self._beat, follower)
        follower.timers["end"] = self._clock.callLater(max(0.0, seconds), self._time_is_up, follower)
        self._catch_up(follower)

    def pause(self, follower: Follower) -> None:
        """Give nothing for now: the connection takes nothing."""
        follower.paused = True

    def resume(self, follower: Follower) -> None:
        """Go on where it stands."""
        follower.paused = False
        follower.waiting_events = follower.waiting_bytes = 0
        self._catch_up(follower)

    def show(self, event: Event) -> None:
        """Give a new event, which is on disk, to all who want it."""
        fields: EventFields | None = None
        for follower in list(self._all):
            wanted = follower.selection.matches_envelope(event)
            if wanted and follower.selection.filter is not None:
                fields = fields or event.fields()
                wanted = follower.selection.filter.matches_fields(fields)
            if follower.sink is not None:
                self._offer(follower, event, wanted)

    def _offer(self, follower: Follower, event: Event, wanted: bool) -> None:
        if follower.paused:
            if wanted and not follower.is_past(event) and not follower.take_note(event):
                self.end(follower, TOO_SLOW)
        elif follower.is_past(event):
            self.end(follower, UNTIL_REACHED)
        elif wanted:
            self._give(follower, event, live=True)
        else:
            follower.position = event.sequence

    def _catch_up(self, follower: Follower) -> None:
        places, now = self._places(), self._clock.seconds()
        if not self._may_have_more(follower) or follower.paused:
            return
        self._tell_gap(follower, places)
        for event in places.ring.after(follower.position):
            if follower.is_past(event):
                break
            if event.expires_at > now and follower.selection.matches(event):
                self._give(follower, event, live=False)
            else:
                follower.position = event.sequence
            if follower.paused or follower not in self._all:
                return  # it goes on here when the connection takes more
        if follower.before is not None or (follower.ends_at is not None and follower.ends_at <= now):
            self.end(follower, UNTIL_REACHED)

    def _tell_gap(self, follower: Follower, places: Log) -> None:
        oldest = places.ring.evicted_through
        if follower.gap or follower.position < oldest:
            follower.gap = False
            follower.position = max(follower.position, oldest)
            if follower.sink is not None:
                follower.sink.gap(cursor(places.log_id, oldest))

    def _give(self, follower: Follower, event: Event, *, live: bool) -> None:
        if follower.sink is None or not self._may_have_more(follower):
            return
        follower.position = event.sequence
        self._gave(event, 1, live)
        follower.sink.event(self.cursor(follower), event)

    def _may_have_more(self, follower: Follower) -> bool:
        """Say whether the stream is still there; one whose token has died meanwhile is ended."""
        if follower not in self._all:
            return False
        refusal = follower.reader.refused()
        if refusal is not None:
            self.end(follower, _why(refusal))
        return refusal is None

    def _beat(self, follower: Follower) -> None:
        if not self._may_have_more(follower):
            return
        follower.timers["beat"] = self._clock.callLater(BEAT_SECONDS, self._beat, follower)
        if not follower.paused and follower.sink is not None:
            follower.sink.beat()

    def _time_is_up(self, follower: Follower) -> None:
        # Its token has expired, or ``until`` has come; what is there already is given still.
        self._catch_up(follower)

    def end(self, follower: Follower, reason: str) -> None:
        """End a stream, if it is still there, with a word about why."""
        if follower not in self._all:
            return
        self.leave(follower)
        if follower.sink is not None:
            follower.sink.end(reason)

    def end_tokens(self, token_ids: Iterable[str], refusal: Refusal) -> None:
        """End the streams under these tokens."""
        ended = frozenset(token_ids)
        for follower in list(self._all):
            if follower.reader.token_id in ended:
                self.end(follower, _why(refusal))

    def end_refused(self) -> None:
        """End the streams under tokens that are no good any more."""
        for follower in list(self._all):
            refusal = follower.reader.refused()
            if refusal is not None:
                self.end(follower, _why(refusal))

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """End the streams of an agent that is gone."""
        for follower in list(self._all):
            if follower.reader.agent == agent:
                self.end(follower, _why(refusal))

    def drain(self) -> None:
        """End all streams, and begin no more."""
        self._stopping = True
        for follower in list(self._all):
            self.end(follower, STOPPING)

    def leave(self, follower: Follower) -> None:
        """Give the stream's place back, if it has one still; its peer may be gone."""
        if follower not in self._all:
            return
        del self._all[follower]
        self._room.leave(follower.reader.place)
        for timer in follower.timers.values():
            if timer.active():
                timer.cancel()


def _why(refusal: Refusal) -> str:
    return f"{refusal.code} {refusal.message}"
