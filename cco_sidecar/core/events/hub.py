"""The events of one project: published once on disk, read by all, awaited by parked polls."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cco_sidecar.core.events.event import (
    SIDECAR,
    Event,
    EventBody,
    Extensions,
    Priority,
    cursor,
    event_id,
)
from cco_sidecar.core.events.fanout import FanOut
from cco_sidecar.core.events.following import Followers
from cco_sidecar.core.events.history import History
from cco_sidecar.core.events.replays import Replays
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.starting import Log
from cco_sidecar.core.events.subscriptions import Delivery, Subscription, Subscriptions
from cco_sidecar.core.events.waiting import Answer, PollRoom, Reader, Waiter, Waiters
from cco_sidecar.core.ledger import ENTRY_KIND, KeyRecord, Ledger, Record
from cco_sidecar.core.shielding import shielded
from cco_sidecar.core.times import rfc3339, seconds_of
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import Refusal

_log = Logger()


class Draft(msgspec.Struct, frozen=True):
    """An event before it is numbered; ``data`` is JSON text, checked already."""

    event_type: str
    topic: str
    publisher: str
    agent_type: str | None
    issue_id: str | None
    data: msgspec.Raw
    correlation_id: str | None = None
    references: Sequence[str] = ()
    priority: Priority = "normal"
    ttl_seconds: int = 86400
    extensions: Extensions | msgspec.UnsetType = msgspec.UNSET
    replayed_from: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of_sidecar(  # noqa: PLR0917 - the envelope's fields
        cls,
        event_type: str,
        topic: str,
        data: Mapping[str, object] | None,
        agent_type: str | None = None,
        issue_id: str | None = None,
        correlation_id: str | None = None,
    ) -> Self:
        """Make an event that the sidecar itself publishes; type and issue are those of the agent that it is about."""
        text = msgspec.Raw(msgspec.json.encode(data))
        return cls(event_type, topic, SIDECAR, agent_type, issue_id, text, correlation_id)


class Published(msgspec.Struct, frozen=True):
    """An event that is on disk, and the agents whose parked polls it ended."""

    event: Event
    notified: Sequence[str]


class _LogState(msgspec.Struct, frozen=True):
    id: str
    sequence: int
    evicted_through: int
    evicted_at: float = 0.0


@define(eq=False)
class EventHub:
    """Numbers a project's events, keeps what is retained, and lets everybody who waits know."""

    _clock: IReactorTime
    _ledger: Ledger
    project_id: str
    subscriptions: Subscriptions
    _room: PollRoom
    _issue_mark: Callable[[str], int]
    ring: Ring
    _new_log_id: Callable[[], str]
    _on_delivery: Callable[[float, int], None]  # seconds from publish to the answers of so many parked polls
    _wheel: TimerWheel
    kinds: tuple[str, ...] = ("log", ENTRY_KIND)
    waiters: Waiters = field(init=False)
    _fan_out: FanOut = field(init=False)
    followers: Followers = field(init=False)
    replays: Replays = field(init=False)
    history: History = field(init=False)
    log_id: str = ""
    published_total: int = 0
    delivered_total: int = 0
    _sequence: int = 0  # the last given; events up to it may still be on their way to the disk
    _shown: int = 0  # the last that is on disk
    _last_at: float = 0.0
    _observers: list[tuple[Callable[[Event], None], bool]] = field(factory=list)
    _draining: bool = False

    def __attrs_post_init__(self) -> None:
        self.waiters = Waiters(self._wheel, self._room, self._time_is_up)
        self._fan_out = FanOut(self._clock, self._deliver)
        self.followers = Followers(self._clock, self._room, self._places, self._gave)
        self.observe(self.followers.show, replays=True)
        self.history = History(self._clock, self._places)
        self.replays = Replays(self._clock, self._room, self._places, self._publish_again, self._gave, self._new_log_id)

    def open(self, most_lost: int = 0) -> None:
        """Begin, after recovery; a new log gets its id.

        :param most_lost: how many events, at most, there may have been that cannot be read any more.
        """
        is_new = not self.log_id
        if is_new:
            self.log_id = self._new_log_id()
        # After damage a reader may have been given numbers past the last event: none is given twice.
        self._sequence = self._shown = max(self._shown, self.subscriptions.furthest) + most_lost
        if is_new or most_lost:
            self._ledger.note("log", self._state())
        self.ring.evict(self._clock.seconds())

    def observe(self, observer: Callable[[Event], None], *, replays: bool = False) -> None:
        """Call ``observer`` with every event once it is on disk.

        :param replays: also with events that repeat earlier ones. Whoever acts on events must not have them: nothing
            may happen twice because somebody looks at it again.
        """
        self._observers.append((observer, replays))

    @property
    def sequence(self) -> int:
        """The number of the newest event that readers can see."""
        return self._shown

    @property
    def last_numbered(self) -> int:
        """The last number given away, seen or not."""
        return self._sequence

    def cursor(self, sequence: int) -> str:
        """Name the place after ``sequence``."""
        return cursor(self.log_id, sequence)

    # Publishing

    def publish(self, draft: Draft, key_for: "Callable[[Event], KeyRecord] | None" = None) -> "Deferred[Published]":
        """Fire when the event is on disk and everybody parked for it has been answered.

        Cancelling takes nothing back: what is on its way to the disk will be seen.

        :param key_for: makes the idempotency record that is written together with the event.
        :raises EventLogUnavailable: the log takes nothing.
        :raises StorageFull: the disk is full.
        """
        return shielded(self.accept(draft, key_for))

    def accept(self, draft: Draft, key_for: "Callable[[Event], KeyRecord] | None" = None) -> "Deferred[Published]":
        """Publish, for one who never cancels."""
        event = self._number(draft)
        key = key_for(event) if key_for is not None else None
        done = self._ledger.record(ENTRY_KIND, msgspec.Raw(event.encoded), key)
        return done.addCallback(lambda _: self._show(event))

    def _publish_again(self, event: Event, topic: str | None) -> "Deferred[Published]":
        """Publish an event anew, as it was but for number, time and (if one is given) topic, and marked as a replay.

        It keeps its publisher, also where that is the sidecar: these are that publisher's words, and nobody else can
        choose them.
        """
        body = event.body
        return self.publish(
            Draft(
                event_type=body.event_type,
                topic=topic or body.topic,
                publisher=body.publisher,
                agent_type=body.agent_type,
                issue_id=body.issue_id,
                data=event.data,
                correlation_id=body.correlation_id,
                references=body.references,
                priority=body.priority,
                ttl_seconds=body.ttl_seconds,
                extensions=body.extensions,
                replayed_from=body.event_id,
            )
        )

    def _number(self, draft: Draft) -> Event:
        self._sequence += 1
        # Never backwards, so that a time finds its place by bisection; whole milliseconds, as readers see it.
        self._last_at = max(self._last_at, int(self._clock.seconds() * 1000) / 1000)
        body = EventBody(
            event_id=event_id(self.log_id, self._sequence),
            sequence=self._sequence,
            event_type=draft.event_type,
            topic=draft.topic,
            publisher=draft.publisher,
            agent_type=draft.agent_type,
            project_id=self.project_id,
            issue_id=draft.issue_id,
            data=draft.data,
            correlation_id=draft.correlation_id,
            references=list(draft.references),
            priority=draft.priority,
            ttl_seconds=draft.ttl_seconds,
            timestamp=rfc3339(self._last_at),
            extensions=draft.extensions,
            replayed_from=draft.replayed_from,
        )
        return Event.of(body, self._last_at)

    def _show(self, event: Event) -> Published:
        self._retain(event)
        self.published_total += 1
        woken = self.waiters.claim(event)
        if woken:
            self._fan_out.give(event, woken)
        is_replay = event.is_replay
        for observer, wants_replays in self._observers:
            if is_replay and not wants_replays:
                continue
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - one observer's mistake must not take the publisher's answer
                _log.failure("an observer of events failed")
        if not woken:
            return Published(event, ())
        notified = (waiter.reader.agent for waiter in woken if waiter.claimed)
        return Published(event, tuple(dict.fromkeys(agent for agent in notified if agent is not None)))

    def _retain(self, event: Event) -> None:
        self._shown = event.sequence
        self.ring.append(event)
        self.ring.evict(self._clock.seconds())

    def _deliver(self, event: Event, waiters: Sequence[Waiter]) -> None:
        """End parked polls with the event that they were claimed for."""
        events, given = [event], 0
        for waiter in waiters:
            if not self.waiters.can_answer(waiter):
                continue
            delivery = self._offer(waiter.subscription, event.sequence)
            self.waiters.wake(waiter, Answer(events, event.sequence, gap=waiter.gap, delivery=delivery))
            given += 1
        self._gave(event, given, live=True)

    def _gave(self, event: Event, readers: int, live: bool) -> None:
        self.delivered_total += readers
        if live and readers:
            self._on_delivery(max(0.0, self._clock.seconds() - event.at), readers)

    # Waiting

    def wait(
        self,
        reader: Reader,
        selection: Selection,
        *,
        since: str | None,
        subscription: str | None,
        ack: str | None,
        limit: int,
        seconds: float,
    ) -> "Deferred[Answer]":
        """Fire with what the reader has not had yet, at once or when it comes.

        :param since: a place to start at; the stored position is then neither read nor moved.
        :param subscription: a name for the position; None for the one that the selection names.
        :param ack: a cursor up to which the reader has everything.
        :raises InvalidParameter: ``since`` or ``ack`` is no place in this log, or there are too many subscriptions.
        :raises NotFound: ``subscription`` names a replay that is not there, or not for this reader.
        :raises TooManyPolls: nothing is there yet, and there is no place to park.
        """
        replay = self.replays.named(subscription, reader)
        if replay is not None:
            return self.replays.readers.wait(
                replay, reader, selection, since=since, ack=ack, limit=limit, seconds=seconds
            )
        self.ring.evict(self._clock.seconds())  # first, so that whoever lost something by it is told
        if since is not None or reader.agent is None:
            window = self._places().after(since or "earliest")
            return self._read_or_park(Waiter(reader, selection, window.after, window.gap, None), limit, seconds)
        mine = self._subscription(reader, subscription or selection.key)
        if ack is not None:
            self.subscriptions.settle(mine, self._places().after(ack, "ack").after)
        self._end_older(mine)
        start = mine.start(selection.key)
        gap = start < self.ring.evicted_through
        return self._read_or_park(Waiter(reader, selection, start, gap, mine), limit, seconds)

    def delivery_before(self, reader: Reader, selection: Selection, subscription: str | None) -> Delivery | None:
        """Give the reader's answer that is still on its way on this subscription, so that it can be asked after."""
        replay = self.replays.named(subscription, reader)
        if replay is not None:
            return replay.place.offered
        if reader.agent is None:
            return None
        return self.subscriptions.offered(reader.agent, subscription or selection.key)

    def _subscription(self, reader: Reader, key: str) -> Subscription:
        assert reader.agent is not None
        # Nothing retained is missed, and nothing is a gap yet, for one who starts late.
        first = max(self._issue_mark(reader.issue_id or ""), self.ring.evicted_through)
        return self.subscriptions.open(reader.agent, key, lambda: first)

    def _end_older(self, subscription: Subscription) -> None:
        older = subscription.parked
        if older is not None:
            self.waiters.release(older, Answer([], older.start, gap=older.gap))

    def _read_or_park(self, waiter: Waiter, limit: int, seconds: float) -> "Deferred[Answer]":
        """Answer at once with what is there, or with nothing when there is no time or a gap to tell of; else park."""
        subscription, gap = waiter.subscription, waiter.gap
        events, more, through = self._scan(waiter.selection, waiter.start, limit)
        if events:
            self.delivered_total += len(events)
            delivery = self._offer(subscription, through)
            return succeed(Answer(events, through, more, gap=gap, delivery=delivery))
        if self._draining:
            return succeed(Answer([], waiter.start, gap=gap))
        if subscription is not None:
            subscription.pass_over(waiter.selection.key, through)
        if seconds <= 0 or gap:
            return succeed(Answer([], through, timeout=not gap, gap=gap))
        waiter.start = through
        parked = self.waiters.park(waiter, seconds)
        if subscription is not None:
            subscription.parked = waiter
        return parked

    def _scan(self, selection: Selection, start: int, limit: int) -> tuple[list[Event], bool, int]:
        if start >= self._shown:
            return [], False, start
        now = self._clock.seconds()
        found: list[Event] = []
        for event in self.ring.after(start):
            if event.expires_at <= now or not selection.matches(event):
                continue
            if len(found) == limit:
                return found, True, found[-1].sequence
            found.append(event)
        return found, False, found[-1].sequence if found else max(start, self._shown)

    def _offer(self, subscription: Subscription | None, through: int) -> Delivery | None:
        return None if subscription is None else self.subscriptions.offer(subscription, through)

    def _time_is_up(self, waiter: Waiter) -> None:
        if waiter.claimed:
            return  # it is about to be answered
        # All that came while it was parked did not match: the next wait need not look at it again.
        if waiter.subscription is not None:
            waiter.subscription.pass_over(waiter.selection.key, self._shown)
        self.waiters.release(waiter, Answer([], self._shown, timeout=True, gap=waiter.gap))

    def end_polls(self, token_ids: Iterable[str], refusal: Refusal) -> None:
        """End the polls that are parked, and the streams, under these tokens."""
        ended = frozenset(token_ids)
        self.followers.end_tokens(ended, refusal)
        self.replays.readers.end_tokens(ended, refusal)
        for waiter in self.waiters.parked():
            if waiter.reader.token_id in ended:
                self.waiters.refuse(waiter, refusal)

    def end_refused(self) -> None:
        """End the polls and the streams under tokens that are no good any more."""
        self.followers.end_refused()
        self.replays.readers.end_refused()
        for waiter in self.waiters.parked():
            self.waiters.can_answer(waiter)

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """End the polls, the streams and the subscriptions of an agent that is gone."""
        self.followers.end_agent(agent, refusal)
        self.replays.readers.end_agent(agent, refusal)
        for waiter in self.waiters.parked():
            if waiter.reader.agent == agent:
                self.waiters.refuse(waiter, refusal)
        self.subscriptions.end(agent)

    def drain(self) -> None:
        """Answer every parked poll, empty and with its cursor unmoved, end every stream, and park no more."""
        self._draining = True
        self.followers.drain()
        self.replays.drain()
        for waiter in self.waiters.parked():
            self.waiters.release(waiter, Answer([], waiter.start, gap=waiter.gap))

    @property
    def oldest_cursor(self) -> str:
        """Name the place from which everything retained can be read."""
        return self.cursor(self.ring.evicted_through)

    def _places(self) -> Log:
        return Log(self.log_id, self._shown, self.ring)

    # What lasts

    def _state(self) -> _LogState:
        return _LogState(self.log_id, self._sequence, self.ring.evicted_through, self.ring.evicted_at)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up the log's own state, or an event."""
        if kind == "log":
            state = msgspec.json.decode(body, type=_LogState)
            self.log_id = state.id
            self._sequence = self._shown = max(self._sequence, state.sequence)
            self.ring.evict_through(state.evicted_through, state.evicted_at)
            self._last_at = max(self._last_at, state.evicted_at)
            return
        text = bytes(body)
        event = msgspec.json.decode(text, type=EventBody)
        if event.sequence <= self.ring.evicted_through:
            return
        at = seconds_of(event.timestamp, "timestamp")
        self._sequence = self._shown = max(self._sequence, event.sequence)
        self._last_at = max(self._last_at, at)
        self.ring.append(Event.of(event, at, text))

    def snapshot(self) -> Iterable[Record]:
        """Give the log's id and numbers; events lie in the segments themselves."""
        yield "log", self._state()
