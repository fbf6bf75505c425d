"""Reading a replay: one reader at a time is given the events whose turn has come, until it has them all."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice

from attrs import define, evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.replay import SLICE_BYTES, SLICE_EVENTS, TIMER_SECONDS, Due, Replay, State
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.starting import Log
from cco_sidecar.core.events.subscriptions import Delivery
from cco_sidecar.core.events.waiting import Answer, Reader, Waiter, Waiters
from cco_sidecar.errors import InvalidParameter, Refusal


@define(eq=False)
class ReplayReaders:
    """The waits on replays: parked beside those on the log, and woken by time alone.

    ``gave`` hears of every event given; ``end`` is called when a reader has received a replay whole.
    """

    _clock: IReactorTime
    _waiters: Waiters
    _places: Callable[[], Log]
    _gave: Callable[[Event, bool], None]
    _end: Callable[[Replay, State], None]

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
        waiter = Waiter(reader, selection, replay.place.start(selection.key), False, replay.place)
        deadline = self._clock.seconds() + seconds
        answer, pause = self._look(replay, waiter, limit)
        if answer is None and seconds > 0:
            again = partial(self._look_again, replay=replay, limit=limit, deadline=deadline)
            parked = self._waiters.park(waiter, min(pause, seconds), again)
            replay.place.parked = waiter
            return parked
        return succeed(self._handed(replay, answer or _time_is_up(replay, waiter)))

    def _look_again(self, waiter: Waiter, replay: Replay, limit: int, deadline: float) -> None:
        if not self._waiters.can_answer(waiter):
            return
        answer, pause = self._look(replay, waiter, limit)
        left = deadline - self._clock.seconds()
        if answer is None and left > 0:
            again = partial(self._look_again, replay=replay, limit=limit, deadline=deadline)
            waiter.timer = self._clock.callLater(min(pause, left), again, waiter)
            return
        replay.place.parked = None  # it is told here, also if this is the end of the replay
        self._waiters.release(waiter, self._handed(replay, answer or _time_is_up(replay, waiter)))

    def _look(self, replay: Replay, waiter: Waiter, limit: int) -> tuple[Answer | None, float]:
        """Give what is due to the reader; if that is nothing yet, None and how long until it is worth looking again."""
        if not replay.is_running:
            return _nothing(replay, waiter.start), 0.0
        elapsed = self._clock.seconds() - (replay.began or 0.0) + TIMER_SECONDS
        events, gap, following = self._due(replay, waiter, limit, elapsed)
        if not events:
            replay.place.pass_over(waiter.selection.key, waiter.start)
        if events or gap or following is None:
            more = following is not None and following.after <= elapsed
            state: State = "running" if following is not None else "done"
            return Answer(events, waiter.start, more, gap=gap, replay=state), 0.0
        return None, max(0.0, following.after - elapsed)

    def _due(self, replay: Replay, waiter: Waiter, limit: int, elapsed: float) -> tuple[list[Event], bool, Due | None]:
        """Give what is due and wanted, as far as a slice goes; whether retention took some; and what comes after."""
        places, now = self._places(), self._clock.seconds()
        events: list[Event] = []
        gap, size, passed_over = False, 0, 0
        for due in islice(replay.dues, replay.index_after(waiter.start), None):
            if len(events) == limit or size >= SLICE_BYTES or passed_over == SLICE_EVENTS or due.after > elapsed:
                return events, gap, due
            waiter.start = due.sequence
            event = places.ring.current(due.sequence, now)
            if event is not None and waiter.selection.matches(event):
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
            self._gave(event, False)
        if answer.events:
            delivery = Delivery(replay.place, answer.next_sequence, partial(self._received, replay))
            replay.place.offered = delivery
            return evolve(answer, delivery=delivery)
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
        if replay.place.parked is not None:
            self._waiters.release(replay.place.parked, _nothing(replay, replay.place.parked.start))

    def end_tokens(self, token_ids: Iterable[str], refusal: Refusal) -> None:
        """End the waits under these tokens; the replays go on."""
        ended = frozenset(token_ids)
        for waiter in self._waiters.parked():
            if waiter.reader.token_id in ended:
                self._waiters.refuse(waiter, refusal)

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """End the waits of an agent that is gone; the admin may still read its replays."""
        for waiter in self._waiters.parked():
            if waiter.reader.agent == agent:
                self._waiters.refuse(waiter, refusal)


def _nothing(replay: Replay, position: int) -> Answer:
    return Answer([], position, replay=replay.state)


def _time_is_up(replay: Replay, waiter: Waiter) -> Answer:
    return Answer([], waiter.start, timeout=True, replay=replay.state)
