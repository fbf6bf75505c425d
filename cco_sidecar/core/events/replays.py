"""The replays of one project: each is published anew at its pace, or kept for one reader who waits for it."""

import re
from collections.abc import Callable
from itertools import islice
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.replay import (
    SLICE_BYTES,
    SLICE_EVENTS,
    TIMER_SECONDS,
    Replay,
    ReplayOrder,
    State,
    paced,
)
from cco_sidecar.core.events.replay_reading import ReplayReaders
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.starting import Log
from cco_sidecar.core.events.subscriptions import Subscription
from cco_sidecar.core.events.waiting import PollRoom, Reader
from cco_sidecar.errors import InvalidBody, NotFound, Refusal, TooManyRequests

MOST_EVENTS = 10_000
MOST_RUNNING = 8
MOST_ENDED = 32
"""How many replays that are over can still be asked after."""

LIFETIME_SECONDS = 24 * 3600.0
STOPPING = "the sidecar is stopping"
TOO_LONG = "it was not over after 24 hours"

_ID = re.compile(r"replay-[0-9a-f]{8}")
_log = Logger()


@define(eq=False)
class Replays:
    """Begins, gives and ends replays.

    ``publish`` takes an event and the topic that stands in for its own; ``gave`` hears of every event that a reader is
    given. Nothing of a replay lasts: after a restart it is not there.
    """

    _clock: IReactorTime
    _room: PollRoom
    _places: Callable[[], Log]
    _publish: "Callable[[Event, str | None], Deferred[Any]]"
    _gave: Callable[[Event, int, bool], None]
    _new_id: Callable[[], str]
    readers: ReplayReaders = field(init=False)
    _all: dict[str, Replay] = field(factory=dict)
    _stopping: bool = False

    def __attrs_post_init__(self) -> None:
        self.readers = ReplayReaders(self._clock, self._room, self._places, self._gave, self._end)

    # Beginning

    async def begin(self, order: ReplayOrder) -> Replay:
        """Select the events, in slices, and begin; whoever is cancelled meanwhile has begun nothing.

        Events that are replays themselves are left out: each event comes once, however often it was replayed before.

        :raises TooManyRequests: too many are running already.
        :raises InvalidParameter: ``since`` or ``until`` is no place in this log.
        :raises InvalidBody: more than `MOST_EVENTS` are selected.
        """
        self._check_room()
        name = f"replay-{self._new_id()}"
        replay = Replay(name, order, self._clock.seconds(), Subscription(order.agent or "", name, 0))
        self._all[name] = replay  # its place is taken from here on
        try:
            found = await self._select(order)
        except BaseException:
            self._all.pop(name, None)
            raise
        replay.total = len(found)
        if self._stopping:
            self._end(replay, "cancelled", STOPPING)
        elif not found:
            self._end(replay, "done")
        if replay.is_running:  # somebody may have ended it while its events were looked for
            replay.dues = paced(found, order.speed)
            replay.timer = self._clock.callLater(LIFETIME_SECONDS, self._end, replay, "cancelled", TOO_LONG)
            if order.to == "topic":
                Deferred.fromCoroutine(self._publish_all(replay)).addErrback(self._failed, replay)
        return replay

    def _check_room(self) -> None:
        running = [replay.id for replay in self._all.values() if replay.is_running]
        if len(running) >= MOST_RUNNING:
            raise TooManyRequests(
                f"{MOST_RUNNING} replays of this project are running: wait for one to end, or end one "
                f"(DELETE /api/events/replay/{running[0]}).",
                5,
                replays=running,
            )

    async def _select(self, order: ReplayOrder) -> list[tuple[int, float]]:
        places = self._places()
        window = places.after(order.since or "earliest")
        before = window.before if order.until is None else min(window.before, places.until(order.until))
        found: list[tuple[int, float]] = []
        position: int | None = window.after
        while position is not None:
            position = self._select_slice(order.selection, position, before, found)
            if position is not None:
                await deferLater(self._clock, 0)
        return found

    def _select_slice(
        self, selection: Selection, position: int, before: int, found: list[tuple[int, float]]
    ) -> int | None:
        """Add to ``found``; gives where to go on, None at the end."""
        now, size = self._clock.seconds(), 0
        for many, event in enumerate(self._places().ring.after(position), 1):
            if event.sequence >= before:
                return None
            if event.expires_at > now and not event.is_replay and selection.matches(event):
                found.append((event.sequence, event.at))
            if len(found) > MOST_EVENTS:
                raise InvalidBody(
                    f"This selects more than the {MOST_EVENTS} events that one replay gives: "
                    "narrow it, by 'since' and 'until' for example.",
                    path="$.selection",
                )
            size += len(event.encoded)
            if many >= SLICE_EVENTS or size >= SLICE_BYTES:
                return event.sequence
        return None

    # Publishing

    async def _publish_all(self, replay: Replay) -> None:
        replay.began = began = self._clock.seconds()
        turn = 0
        while replay.is_running:
            if turn == len(replay.dues):
                self._end(replay, "done")
                return
            await self._pause(replay, began + replay.dues[turn].after - self._clock.seconds())
            turn += await self._publish_slice(replay, turn, self._clock.seconds() - began + TIMER_SECONDS)

    async def _pause(self, replay: Replay, seconds: float) -> None:
        """Wait for the next turn, or until the replay is ended."""
        replay.pause = deferLater(self._clock, max(0.0, seconds))
        try:
            await replay.pause
        except CancelledError:
            pass  # by `_end`: nobody else has it
        finally:
            replay.pause = None

    async def _publish_slice(self, replay: Replay, turn: int, elapsed: float) -> int:
        """Publish what is due, as far as a slice goes; gives how many turns that were."""
        turns, size = 0, 0
        published: list[Deferred[Any]] = []
        for due in islice(replay.dues, turn, turn + SLICE_EVENTS):
            if due.after > elapsed or size >= SLICE_BYTES:
                break
            turns += 1
            event = self._places().ring.current(due.sequence, self._clock.seconds())
            if event is None:
                replay.miss(due.sequence)
                continue
            size += len(event.encoded)
            published.append(self._publish(event, replay.order.topic))
        refused = None
        for succeeded, result in await DeferredList(published, consumeErrors=True):
            replay.done += succeeded
            refused = refused or (None if succeeded else result)
        if refused is not None:
            self._failed(refused, replay)
        return turns

    def _failed(self, failure: Failure, replay: Replay) -> None:
        error = failure.value
        if isinstance(error, Refusal):
            self._end(replay, "failed", f"{error.code} {error.message}")
            return
        _log.failure("a replay failed", failure)
        self._end(replay, "failed", "the sidecar made a mistake; its log says more")

    # Reading

    def named(self, subscription: str | None, reader: Reader) -> Replay | None:
        """Give the replay that a wait on ``subscription`` is about, None if that is no replay's name.

        :raises NotFound: there is no such replay (any more), or it is for somebody else.
        """
        if subscription is None or _ID.fullmatch(subscription) is None:
            return None
        replay = self._all.get(subscription)
        if replay is None or replay.order.to != "subscription" or reader.agent not in {None, replay.order.agent}:
            raise _no_replay(subscription)
        return replay

    # Ending

    def get(self, name: str) -> Replay:
        """Give the replay of that id, running or over.

        :raises NotFound: there is none.
        """
        if name not in self._all:
            raise _no_replay(name)
        return self._all[name]

    def cancel(self, name: str) -> Replay:
        """End a replay, if it is not over yet; what was published stays.

        :raises NotFound: there is none of that id.
        """
        replay = self.get(name)
        self._end(replay, "cancelled", "somebody ended it")
        return replay

    def _end(self, replay: Replay, state: State, reason: str | None = None) -> None:
        if not replay.is_running:
            return
        replay.state, replay.reason, replay.ended_at = state, reason, self._clock.seconds()
        replay.dues = []
        if replay.timer is not None and replay.timer.active():
            replay.timer.cancel()
        if replay.pause is not None:
            replay.pause.cancel()
        self.readers.tell_end(replay)
        ended = [other.id for other in self._all.values() if not other.is_running]
        for name in ended[: max(0, len(ended) - MOST_ENDED)]:
            del self._all[name]

    def drain(self) -> None:
        """End all replays, and begin no more."""
        self._stopping = True
        for replay in list(self._all.values()):
            self._end(replay, "cancelled", STOPPING)


def _no_replay(name: str) -> NotFound:
    return NotFound(
        f"There is no replay '{name}' for you: it was over long ago, or the sidecar has restarted since; "
        "begin another with POST /api/events/replay."
    )
