"""Reading a replay: one reader at a time is given the events whose turn has come, until it has them all."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.replay import SLICE_BYTES, SLICE_EVENTS, TIMER_SECONDS, Due, Replay, State
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.starting import Log
from cco_sidecar.core.events.subscriptions import Delivery
from cco_sidecar.core.events.waiting import Answer, PollRoom, Reader
from cco_sidecar.errors import InvalidParameter, Refusal


@define(eq=False)
class ReplayWait:
    """A wait on a replay; everything through ``start`` was looked at. ``deadline`` is in seconds since the epoch."""

    reader: Reader
    selection: Selection
    start: int
    limit: int
    deadline: float
    done: "Deferred[Answer] | None" = None
    timer: IDelayedCall | None = None


@define(eq=False)
class ReplayReaders:
    """The waits on replays: no event wakes them, but time alone, and a replay has one at most.

    ``gave`` hears of every event given; ``end`` is called when a reader has received a replay whole.
    """

    _clock: IReactorTime
    _room: PollRoom
    _places: Callable[[], Log]
    _gave: Callable[[Event, int, bool], None]
    _end: Callable[[Replay, State], None]
    _parked: dict[Replay, ReplayWait] = field(factory=dict)

    def wait(
        self,
        replay: Replay,
        reader: Reader,
        selection: Selection,
        *,
        since: str | None,
        ack: str | None,
        limit: int,
        seconds: float,
    ) -> "Deferred[Answer]":
        """Fire with what is due and was not received yet, at once or when its turn comes; the first wait begins it.

        :param ack: a cursor up to which the reader has everything.
        :raises InvalidParameter: ``ack`` is no place in this log, or ``since`` is given.
        :raises TooManyPolls: nothing is due yet, and there is no place to park.
        """
        if since is not None:
            raise InvalidParameter("A replay keeps its own place: leave 'since' out.", parameter="since")
        if ack is not None:
            self._settle(replay, self._places().after(ack, "ack").after)
        self.tell_end(replay)  # the older wait's: one at a time
        if replay.began is None:
            replay.began = self._clock.seconds()
        start = replay.place.start(selection.key)
        wait = ReplayWait(reader, selection, start, limit, self._clock.seconds() + seconds)
        answer, pause = self._look(replay, wait)
        if answer is None and seconds > 0:
            return self._park(replay, wait, min(pause, seconds))
        return succeed(self._handed(replay, answer or _time_is_up(replay, wait)))

    def _park(self, replay: Replay, wait: ReplayWait, seconds: float) -> "Deferred[Answer]":
        self._room.enter(wait.reader.place)
        self._parked[replay] = wait
        wait.timer = self._clock.callLater(seconds, self._look_again, replay, wait)
        wait.done = Deferred(lambda _: self._leave(replay, wait))
        return wait.done

    def _leave(self, replay: Replay, wait: ReplayWait) -> None:
        if self._parked.get(replay) is not wait:
            return
        del self._parked[replay]
        self._room.leave(wait.reader.place)
        if wait.timer is not None and wait.timer.active():
            wait.timer.cancel()

    def _look_again(self, replay: Replay, wait: ReplayWait) -> None:
        refusal = wait.reader.refused()
        if refusal is not None:
            self._refuse(replay, wait, refusal)
            return
        answer, pause = self._look(replay, wait)
        left = wait.deadline - self._clock.seconds()
        if answer is None and left > 0:
            wait.timer = self._clock.callLater(min(pause, left), self._look_again, replay, wait)
            return
        self._leave(replay, wait)  # first: this may be the end of the replay
        assert wait.done is not None
        wait.done.callback(self._handed(replay, answer or _time_is_up(replay, wait)))

    def _refuse(self, replay: Replay, wait: ReplayWait, refusal: Refusal) -> None:
        self._leave(replay, wait)
        assert wait.done is not None
        wait.done.errback(refusal)

    def _look(self, replay: Replay, wait: ReplayWait) -> tuple[Answer | None, float]:
        """Give what is due to the reader; if that is nothing yet, None and how long until it is worth looking again."""
        if not replay.is_running:
            return _nothing(replay, wait.start), 0.0
        elapsed = self._clock.seconds() - (replay.began or 0.0) + TIMER_SECONDS
        events, gap, following = self._due(replay, wait, elapsed)
        if not events:
            replay.place.pass_over(wait.selection.key, wait.start)
        if events or gap or following is None:
            more = following is not None and following.after <= elapsed
            state: State = "running" if following is not None else "done"
            return Answer(events, wait.start, more, gap=gap, replay=state), 0.0
        return None, max(0.0, following.after - elapsed)

    def _due(self, replay: Replay, wait: ReplayWait, elapsed: float) -> tuple[list[Event], bool, Due | None]:
        """Give what is due and wanted, as far as a slice goes; whether retention took some; and what comes after."""
        places, now = self._places(), self._clock.seconds()
        events: list[Event] = []
        gap, size, passed_over = False, 0, 0
        for due in islice(replay.dues, replay.index_after(wait.start), None):
            is_slice = size >= SLICE_BYTES or passed_over == SLICE_EVENTS
            if len(events) == wait.limit or is_slice or due.after > elapsed:
                return events, gap, due
            wait.start = due.sequence
            event = places.ring.current(due.sequence, now)
            if event is not None and wait.selection.matches(event):
                events.append(event.as_replay())
            else:
                passed_over += 1
            if event is None:
                replay.miss(due.sequence)
                gap = gap or due.sequence <= places.ring.evicted_through
            else:
                size += len(event.encoded)
        return events, gap, None

    def _handed(self, replay: Replay, answer: Answer) -> Answer:
        """Give the answer with the delivery that it is; what has no event in it needs not be received."""
        for event in answer.events:
            self._gave(event, 1, False)
        if answer.events:
            delivery = Delivery(replay.place, answer.next_sequence, partial(self._received, replay))
            replay.place.offered = delivery
            return msgspec.structs.replace(answer, delivery=delivery)
        if answer.replay == "done":
            self._settle(replay, answer.next_sequence)
        return answer

    def _received(self, replay: Replay, delivery: Delivery) -> None:
        if replay.place.offered is delivery:
            replay.place.offered = None
        self._settle(replay, delivery.through)

    def _settle(self, replay: Replay, through: int) -> None:
        replay.place.position = max(replay.place.position, through)
        if replay.is_running:
            replay.done = replay.index_after(replay.place.position)
            if replay.done == replay.total:
                self._end(replay, "done")

    def tell_end(self, replay: Replay) -> None:
        """Answer the wait that is parked, if there is one: there is nothing more for it."""
        wait = self._parked.get(replay)
        if wait is None:
            return
        refusal = wait.reader.refused()
        if refusal is not None:
            self._refuse(replay, wait, refusal)
            return
        self._leave(replay, wait)
        assert wait.done is not None
        wait.done.callback(_nothing(replay, wait.start))

    def end_tokens(self, token_ids: Iterable[str], refusal: Refusal) -> None:
        """End the waits under these tokens; the replays go on."""
        ended = frozenset(token_ids)
        for replay, wait in list(self._parked.items()):
            if wait.reader.token_id in ended:
                self._refuse(replay, wait, refusal)

    def end_refused(self) -> None:
        """End the waits under tokens that are no good any more."""
        for replay, wait in list(self._parked.items()):
            refusal = wait.reader.refused()
            if refusal is not None:
                self._refuse(replay, wait, refusal)

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """End the waits of an agent that is gone; the admin may still read its replays."""
        for replay, wait in list(self._parked.items()):
            if wait.reader.agent == agent:
                self._refuse(replay, wait, refusal)


def _nothing(replay: Replay, position: int) -> Answer:
    return Answer([], position, replay=replay.state)


def _time_is_up(replay: Replay, wait: ReplayWait) -> Answer:
    return Answer([], wait.start, timeout=True, replay=replay.state)
