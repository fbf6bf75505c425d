"""Replays: which events come again, when their turn is, to whom, and what ends them."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.hub import Draft
from cco_sidecar.core.events.replay import LONGEST_GAP_SECONDS, SLICE_BYTES, SLICE_EVENTS, Replay, ReplayOrder, paced
from cco_sidecar.core.events.replays import LIFETIME_SECONDS, MOST_ENDED, MOST_EVENTS, MOST_RUNNING, STOPPING, TOO_LONG
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.waiting import Answer
from cco_sidecar.errors import (
    InvalidBody,
    InvalidParameter,
    NotFound,
    StorageFull,
    TokenRevoked,
    TooManyPolls,
    TooManyRequests,
)
from tests.conftest import LoggedFailures
from tests.fakes import EventHouse, answered, lose, numbers, outcome, receive, result_of

FULL = StorageFull("The disk is full.")
REVOKED = TokenRevoked("It was revoked.")


def beginning(house: EventHouse, selection: Selection | None = None, **order: Any) -> "Deferred[Replay]":
    wanted = ReplayOrder(selection or Selection(), **order)
    return Deferred.fromCoroutine(house.hub.replays.begin(wanted))


def begin(house: EventHouse, selection: Selection | None = None, **order: Any) -> Replay:
    return result_of(beginning(house, selection, **order))


def waiting(house: EventHouse, replay: Replay, **more: Any) -> "Deferred[Answer]":
    asked: dict[str, Any] = {"types": None, "agent": None, "subscription": replay.id, **more}
    return house.wait(**asked)


def poll(house: EventHouse, replay: Replay, **more: Any) -> Answer:
    return result_of(waiting(house, replay, seconds=0, **more))


def spaced(house: EventHouse, *gaps: float) -> None:
    """Publish an event, and one more after each gap."""
    house.publish()
    for gap in gaps:
        house.clock.advance(gap)
        house.publish()


def published_again(house: EventHouse) -> list[Event]:
    return [event for event in house.hub.ring.after(0) if event.is_replay]


def origins(house: EventHouse) -> list[object]:
    return [event.body.replayed_from for event in published_again(house)]


# The pace


def test_paced() -> None:
    """Each event has the distance of then, divided by the speed; a long silence is cut short; without a speed, none."""
    found = [(1, 100.0), (4, 110.0), (5, 110.0), (9, 5000.0)]
    assert [due.after for due in paced(found, 1)] == [0, 10, 10, 10 + LONGEST_GAP_SECONDS]
    assert [due.after for due in paced(found, 10)] == [0, 1, 1, 1 + LONGEST_GAP_SECONDS]
    assert [due.after for due in paced(found, 1000)] == pytest.approx([0, 0.01, 0.01, 4.9])
    assert [due.after for due in paced(found, None)] == [0, 0, 0, 0]
    assert [due.sequence for due in paced(found, 1)] == [1, 4, 5, 9]


@given(
    st.lists(st.floats(0, 1e10), max_size=30).map(sorted),
    st.one_of(st.none(), st.floats(0.001, 1e6)),
)
def test_paced_in_order(times: list[float], speed: float | None) -> None:
    """No turn comes before an earlier one, nor more than the longest gap after it, and none before the beginning."""
    turns = [due.after for due in paced(list(enumerate(times)), speed)]
    assert turns == sorted(turns)
    assert turns[:1] in ([], [0.0])
    assert all(after - before <= LONGEST_GAP_SECONDS + 1e-6 for before, after in pairwise(turns))


# To a topic


def test_to_a_topic() -> None:
    """Each event is published anew: own number and time, the same in all else, and marked."""
    house = EventHouse()
    draft = Draft(
        "done", "work", "sidecar", "rust-specialist", "i-7", msgspec.Raw(b'{"b":1.50,"a":[null]}'),
        "corr", ["evt-x"], "high", 600,
    )  # fmt: skip
    first = result_of(house.hub.publish(draft)).event
    house.clock.advance(5)
    replay = begin(house, to="topic")
    house.clock.advance(0)
    again = house.hub.history.get("evt-00000001-2")
    before, after = msgspec.json.decode(first.encoded), msgspec.json.decode(again.encoded)
    own = {"event_id": "evt-00000001-2", "sequence": 2, "timestamp": "2027-01-15T08:00:05.000Z"}
    assert after == {**before, **own, "replayed_from": "evt-00000001-1"}
    assert b'"data":{"b":1.50,"a":[null]}' in again.encoded
    assert (replay.state, replay.total, replay.done, replay.missed) == ("done", 1, 1, 0)


def test_topic_of_its_own() -> None:
    """A topic can stand in for each event's own, so that those who wait for the old one are not disturbed."""
    house = EventHouse()
    house.publish(topic="work")
    begin(house, to="topic", topic="again")
    house.clock.advance(0)
    assert [event.body.topic for event in published_again(house)] == ["again"]


def test_topic_pace() -> None:
    """Events are published at the distances of then, divided by the speed."""
    house = EventHouse()
    spaced(house, 10, 0, 30)
    begin(house, to="topic", speed=10)
    when = []
    for eighth in range(40):
        house.clock.advance(0.125 if eighth else 0)
        when.append(len(published_again(house)))
    assert when == [1] * 8 + [3] * 24 + [4] * 8


def test_topic_in_slices() -> None:
    """As fast as the log takes them: a slice at a time, the next when the one before is on disk."""
    house = EventHouse()
    house.publish_many(SLICE_EVENTS + 5)
    house.journal.held = True
    replay = begin_slowly(house, to="topic")
    assert len(house.journal.waiting) == SLICE_EVENTS
    assert replay.done == 0
    house.journal.write()
    house.clock.advance(0)
    assert (replay.done, len(house.journal.waiting)) == (SLICE_EVENTS, 5)
    house.journal.write()
    assert (replay.state, replay.done) == ("done", SLICE_EVENTS + 5)
    assert origins(house) == [f"evt-00000001-{n}" for n in range(1, SLICE_EVENTS + 6)]


def begin_slowly(house: EventHouse, **order: Any) -> Replay:
    """Begin a replay of more than a slice: looking for its events takes turns of the reactor."""
    begun = outcome(beginning(house, **order))
    while not begun:
        house.clock.advance(0)
    assert isinstance(begun[0], Replay)
    return begun[0]


def test_replays_are_not_replayed() -> None:
    """However often it is done: each event comes once."""
    house = EventHouse()
    house.publish_many(2)
    for _ in range(2):
        begin(house, to="topic")
        house.clock.advance(0)
    assert origins(house) == ["evt-00000001-1", "evt-00000001-2"] * 2


def test_observers_do_not_act_twice() -> None:
    """Whoever acts on events is not told of replays, unless it wants them; streams give them."""
    house = EventHouse()
    acting: list[int] = []
    watching: list[int] = []
    house.hub.observe(lambda event: acting.append(event.sequence))
    house.hub.observe(lambda event: watching.append(event.sequence), replays=True)
    house.publish()
    begin(house, to="topic")
    house.clock.advance(0)
    assert (acting, watching) == ([1], [1, 2])


def test_parked_polls_get_what_is_published_again() -> None:
    """To everybody who waits, a replay to a topic is events like others; a filter can tell them apart."""
    house = EventHouse()
    house.publish()
    anything = outcome(house.wait(since="latest"))
    marked = outcome(house.wait(agent="b", since="latest", selection=Selection(filter=parse_filter("replayed_from:*"))))
    new = outcome(house.wait(since="latest", selection=Selection(filter=parse_filter("!event.replayed_from:*"))))
    begin(house, to="topic")
    house.clock.advance(0)
    assert numbers(answered(anything)) == numbers(answered(marked)) == [2]
    assert new == []
    house.publish()
    assert numbers(answered(new)) == [3]


def test_the_mark_survives() -> None:
    """After a restart a replayed event is one still, and the replay is not there any more."""
    house = EventHouse()
    house.publish()
    replay = begin(house, to="topic")
    house.clock.advance(0)
    again = house.restart()
    assert origins(again) == ["evt-00000001-1"]
    with pytest.raises(NotFound):
        again.hub.replays.get(replay.id)


def test_the_log_refuses() -> None:
    """When the log takes nothing, the replay ends with the reason; what was published counts."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, to="topic", speed=1)
    house.clock.advance(0)
    house.journal.refusal = FULL
    house.clock.advance(10)
    assert (replay.state, replay.done, replay.reason) == ("failed", 1, "STR_003 The disk is full.")
    assert house.clock.getDelayedCalls() == []


def test_a_mistake_of_ours(logged_failures: LoggedFailures, monkeypatch: pytest.MonkeyPatch) -> None:
    """What should not happen is in the log, and the replay is not left running."""
    house = EventHouse()
    house.publish()
    monkeypatch.setattr(house.hub.replays, "_publish", lambda *_: 1 / 0)
    replay = begin(house, to="topic")
    house.clock.advance(0)
    assert replay.state == "failed"
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_cancel_between_events() -> None:
    """Nothing is published after a replay was ended; ending it again changes nothing."""
    house = EventHouse()
    spaced(house, 10, 10)
    replay = begin(house, to="topic", speed=1)
    house.clock.advance(10)
    assert house.hub.replays.cancel(replay.id) is replay
    house.hub.replays.cancel(replay.id)
    assert (replay.state, replay.done, len(published_again(house))) == ("cancelled", 2, 2)
    assert house.clock.getDelayedCalls() == []


def test_cancel_while_the_disk_is_busy() -> None:
    """What is on its way to the disk is counted still, and nothing follows it."""
    house = EventHouse()
    house.publish_many(SLICE_EVENTS + 1)
    house.journal.held = True
    replay = begin_slowly(house, to="topic")
    house.hub.replays.cancel(replay.id)
    house.journal.write()
    house.clock.advance(0)
    assert (replay.state, replay.done, house.journal.waiting) == ("cancelled", SLICE_EVENTS, [])


# To one reader


def test_to_a_reader() -> None:
    """Each event comes as it was, marked with its own id, at its turn; nothing is published."""
    house = EventHouse()
    spaced(house, 10, 30)
    records = len(house.journal.records)
    replay = begin(house, speed=10)
    first = poll(house, replay)
    [event] = first.events
    original = msgspec.json.decode(house.hub.history.get("evt-00000001-1").encoded)
    assert msgspec.json.decode(event.encoded) == {**original, "replayed_from": "evt-00000001-1"}
    assert (first.replay, first.more_available, first.timeout) == ("running", False, False)
    receive(first)
    parked = outcome(waiting(house, replay))
    house.clock.advance(0.9)
    assert parked == []
    house.clock.advance(0.1)
    receive(answered(parked))
    assert numbers(answered(parked)) == [2]
    house.clock.advance(3)
    last = poll(house, replay)
    assert (numbers(last), last.replay, replay.state) == ([3], "done", "running")
    receive(last)
    assert (replay.state, replay.done, replay.total) == ("done", 3, 3)
    assert poll(house, replay).replay == "done"
    assert len(house.journal.records) == records
    assert house.clock.getDelayedCalls() == []


def test_the_first_wait_begins() -> None:
    """However late the reader comes, it sees the pace from the first event on."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1)
    house.clock.advance(3600)
    first = poll(house, replay)
    assert numbers(first) == [1]
    receive(first)
    assert poll(house, replay).timeout


def test_lost_answers() -> None:
    """What did not arrive is given again; what was acknowledged by cursor is not."""
    house = EventHouse()
    house.publish_many(3)
    replay = begin(house)
    answer = poll(house, replay, limit=2)
    assert (numbers(answer), answer.more_available) == ([1, 2], True)
    lose(answer)
    assert numbers(poll(house, replay, limit=2)) == [1, 2]
    assert numbers(poll(house, replay, ack=house.hub.cursor(2))) == [3]
    assert replay.done == 2


def test_delivery_on_its_way() -> None:
    """The answer before can be asked after, as on any subscription."""
    house = EventHouse()
    house.publish()
    replay = begin(house, agent="a")
    answer = poll(house, replay, agent="a")
    reader = house.reader("a")
    assert house.hub.delivery_before(reader, Selection(), replay.id) is answer.delivery
    receive(answer)
    assert house.hub.delivery_before(reader, Selection(), replay.id) is None


def test_for_whom() -> None:
    """The admin and the agent that was named may read it; to everybody else it is not there."""
    house = EventHouse()
    house.publish()
    replay = begin(house, agent="a")
    topic = begin(house, to="topic")
    for name, agent in ((replay.id, "b"), ("replay-ffffffff", "a"), ("replay-ffffffff", None), (topic.id, None)):
        with pytest.raises(NotFound):
            house.poll(None, agent=agent, subscription=name)
        with pytest.raises(NotFound):
            house.hub.delivery_before(house.reader(agent), Selection(), name)
    assert numbers(poll(house, replay, agent="a")) == numbers(poll(house, replay)) == [1]
    assert house.poll(None, agent="b", subscription="replay-mine").replay is None


def test_live_events_do_not_disturb() -> None:
    """A wait on a replay is not woken by what is published, and others are not by the replay."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    parked, other = outcome(waiting(house, replay)), outcome(house.wait(None, since="latest"))
    house.publish("new")
    assert parked == []
    assert numbers(answered(other)) == [3]
    house.clock.advance(10)
    assert numbers(answered(parked)) == [2]


def test_selection_of_the_wait() -> None:
    """What the reader does not want is passed over, and what is over so is over."""
    house = EventHouse()
    for event_type in ("a", "b", "a", "b", "b"):
        house.publish(event_type)
    replay = begin(house)
    answer = poll(house, replay, types="a")
    assert (numbers(answer), answer.replay) == ([1, 3], "done")
    receive(answer)
    assert (replay.state, replay.done) == ("done", 5)
    unwanted = begin(house)
    answer = poll(house, unwanted, types="c")
    assert (answer.events, answer.replay, unwanted.state) == ([], "done", "done")


def test_long_look() -> None:
    """A reader who wants little does not hold the reactor: it is looked on in slices."""
    house = EventHouse()
    house.publish_many(3 * SLICE_EVENTS)
    house.publish("rare")
    replay = begin_slowly(house)
    parked = outcome(waiting(house, replay, types="rare"))
    assert parked == []
    house.clock.advance(0)
    assert numbers(answered(parked)) == [3 * SLICE_EVENTS + 1]


def test_large_events() -> None:
    """Also of large events no more is read, or published, at a time than a slice may have."""
    house = EventHouse()
    for _ in range(4):
        house.publish(data="x" * (SLICE_BYTES // 2))
    replay = begin_slowly(house, speed=1_000_000)
    answer = poll(house, replay)
    assert (numbers(answer), answer.more_available) == ([1, 2], True)
    house.journal.held = True
    begin_slowly(house, to="topic")
    assert len(house.journal.waiting) == 2


def test_given_events_are_counted() -> None:
    """What a reader is given counts as delivered, but nobody was made to wait for it."""
    house = EventHouse()
    house.publish_many(2)
    poll(house, begin(house))
    assert (house.hub.delivered_total, house.delays) == (2, [])


def test_time_is_up() -> None:
    """A wait whose turn does not come in time is answered empty, and the pace goes on."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    parked = outcome(waiting(house, replay, seconds=4))
    house.clock.advance(4)
    answer = answered(parked)
    assert (answer.events, answer.timeout, answer.replay) == ([], True, "running")
    parked = outcome(waiting(house, replay, seconds=30))
    house.clock.advance(6)
    assert numbers(answered(parked)) == [2]


def test_one_wait_at_a_time() -> None:
    """A newer wait ends the older, which is given nothing."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    older, newer = outcome(waiting(house, replay)), outcome(waiting(house, replay))
    assert (answered(older).events, answered(older).replay) == ([], "running")
    house.clock.advance(10)
    assert numbers(answered(newer)) == [2]


def test_no_since() -> None:
    """A replay is no place in the log."""
    house = EventHouse()
    house.publish()
    replay = begin(house)
    for wrong in ({"since": "earliest"}, {"ack": "c-ffffffff-1"}):
        with pytest.raises(InvalidParameter):
            poll(house, replay, **wrong)


@pytest.mark.parametrize("ttl", [False, True], ids=["retention", "ttl"])
def test_gone_before_its_turn(ttl: bool) -> None:
    """What is no longer kept when its turn comes is counted; retention's part is told as a gap, once."""
    house = EventHouse(max_events=3)
    house.publish(ttl_seconds=60 if ttl else 86400)
    house.publish_many(2)
    replay = begin(house)
    if ttl:
        house.clock.advance(60)
    else:
        house.publish()
    answer = poll(house, replay)
    assert (numbers(answer), answer.gap, replay.missed) == ([2, 3], not ttl, 1)
    lose(answer)
    receive(poll(house, replay))
    assert (replay.state, replay.done, replay.missed) == ("done", 3, 1)


def test_all_is_gone() -> None:
    """A reader who comes when nothing is left is told of the gap and of the end in one answer, also when parked."""
    house = EventHouse(max_events=2)
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    parked = outcome(waiting(house, replay))
    house.publish_many(2)
    house.clock.advance(10)
    answer = answered(parked)
    assert (answer.events, answer.gap, answer.replay, answer.timeout) == ([], True, "done", False)
    assert (replay.state, replay.missed) == ("done", 1)


def test_gap_alone_is_told_once() -> None:
    """A gap without an event does not come again and again."""
    house = EventHouse(max_events=3)
    house.publish_many(2)
    house.clock.advance(10)
    house.publish()
    replay = begin(house, speed=1)
    house.publish_many(2)
    first = poll(house, replay)
    assert (first.events, first.gap) == ([], True)
    assert poll(house, replay).timeout
    house.clock.advance(10)
    assert numbers(poll(house, replay)) == [3]


def test_gone_before_publishing() -> None:
    """A replay to a topic leaves out what is gone, and counts it."""
    house = EventHouse(max_events=2)
    spaced(house, 10)
    replay = begin(house, to="topic", speed=1)
    house.clock.advance(0)
    house.publish_many(2)
    house.clock.advance(10)
    assert (replay.state, replay.done, replay.missed) == ("done", 1, 1)


@pytest.mark.parametrize("how", ["cancel", "drain"])
def test_end_of_a_parked_wait(how: str) -> None:
    """When the replay is ended, the wait is answered, empty."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    parked = outcome(waiting(house, replay))
    if how == "cancel":
        house.hub.replays.cancel(replay.id)
    else:
        house.hub.drain()
    assert (answered(parked).events, answered(parked).replay) == ([], "cancelled")
    assert house.clock.getDelayedCalls() == []


def test_lifetime() -> None:
    """A replay that nobody reads is given up after a day."""
    house = EventHouse()
    house.publish()
    replay = begin(house)
    house.clock.advance(LIFETIME_SECONDS)
    assert (replay.state, replay.reason) == ("cancelled", TOO_LONG)
    assert poll(house, replay).replay == "cancelled"


def test_hang_up() -> None:
    """A reader that hangs up leaves nothing parked; its replay waits for the next."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    parked = waiting(house, replay)
    seen = outcome(parked)
    assert house.room.used == 1
    parked.cancel()
    assert isinstance(seen[0], CancelledError)
    assert house.room.used == 0
    house.clock.advance(10)
    assert numbers(poll(house, replay)) == [2]


@pytest.mark.parametrize("how", ["token", "agent", "expired"])
def test_tokens_that_end(how: str) -> None:
    """A wait ends with its token or its agent, and gives nothing any more."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1, agent="a")
    receive(poll(house, replay, agent="a"))
    parked = outcome(waiting(house, replay, agent="a"))
    others = outcome(house.wait(None, agent="b", since="latest"))
    if how == "token":
        house.hub.end_polls(["token of a"], REVOKED)
    elif how == "agent":
        house.hub.end_agent("a", REVOKED)
    else:
        house.dead["token of a"] = REVOKED
        house.clock.advance(10)
    assert (parked, others) == ([REVOKED], [])
    house.clock.advance(10)
    assert numbers(poll(house, replay)) == [2]


def test_a_token_that_died_unseen() -> None:
    """The end of a replay is no news for one whose token no longer counts."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1, agent="a")
    receive(poll(house, replay, agent="a"))
    parked = outcome(waiting(house, replay, agent="a"))
    house.dead["token of a"] = REVOKED
    house.hub.replays.cancel(replay.id)
    assert (parked, house.room.used) == ([REVOKED], 0)


def test_others_stay() -> None:
    """The end of one token, or one agent, is nothing to other readers."""
    house = EventHouse()
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    parked = outcome(waiting(house, replay))
    house.hub.end_polls(["token of a"], REVOKED)
    house.hub.end_agent("a", REVOKED)
    assert parked == []


def test_late_receipts() -> None:
    """An older answer's receipt that comes last takes nothing back, and leaves the newer answer on its way."""
    house = EventHouse()
    house.publish_many(3)
    replay = begin(house)
    older = poll(house, replay, limit=1)
    newer = poll(house, replay, limit=2)
    receive(older)
    assert replay.place.offered is newer.delivery
    receive(newer)
    receive(older)
    assert numbers(poll(house, replay)) == [3]


def test_places() -> None:
    """A wait on a replay takes a place as every parked poll does."""
    house = EventHouse(most_polls=1)
    spaced(house, 10)
    replay = begin(house, speed=1)
    receive(poll(house, replay))
    house.wait("never", agent="b")
    with pytest.raises(TooManyPolls):
        waiting(house, replay)
    assert poll(house, replay).timeout


# Beginning and bounds


def test_selection_and_bounds_in_time() -> None:
    """The selection is the history's; what is published later is no part of it."""
    house = EventHouse()
    spaced(house, 10, 10, 10)
    house.publish("other", correlation_id="c", topic="x", publisher="p2", issue_id="i2")
    house.publish(ttl_seconds=1)
    house.clock.advance(1)

    def selected(selection: Selection | None = None, **more: Any) -> list[int]:
        replay = begin(house, selection, **more)
        found = [due.sequence for due in replay.dues]
        house.hub.replays.cancel(replay.id)
        return found

    assert selected() == [1, 2, 3, 4, 5]
    for selection in (
        Selection(frozenset({"other"})),
        Selection(correlation_id="c"),
        Selection(topic="x"),
        Selection(publisher="p2"),
        Selection(issue_id="i2"),
        Selection(filter=parse_filter("event_type:oth*")),
    ):
        assert selected(selection) == [5]
    assert selected(since=house.hub.cursor(1), until=house.hub.cursor(3)) == [2, 3]
    assert selected(since="2027-01-15T08:00:10Z", until="2027-01-15T08:00:30Z") == [2, 3]
    assert selected(since="latest") == []
    with pytest.raises(InvalidParameter):
        begin(house, since="c-ffffffff-1")
    with pytest.raises(InvalidParameter):
        begin(house, until="yesterday")


def test_nothing_selected() -> None:
    """A replay of nothing is over at once."""
    replay = begin(EventHouse())
    assert (replay.state, replay.total) == ("done", 0)


def test_published_later_is_no_part() -> None:
    """Also what comes while the events are looked for is left out."""
    house = EventHouse()
    house.publish_many(SLICE_EVENTS)
    begun = outcome(beginning(house))
    assert begun == []
    house.publish()
    house.clock.advance(0)
    assert isinstance(begun[0], Replay)
    assert begun[0].total == SLICE_EVENTS


def test_too_many_events() -> None:
    """More than a replay may have are refused, and the place is free again."""
    house = EventHouse(max_events=MOST_EVENTS + 1)
    house.publish_many(MOST_EVENTS + 1)
    for _ in range(MOST_RUNNING + 1):
        begun = outcome(beginning(house))
        while not begun:
            house.clock.advance(0)
        assert isinstance(begun[0], InvalidBody)
        assert begun[0].details == {"path": "$.selection"}
    assert begin_slowly(house, since=house.hub.cursor(1)).total == MOST_EVENTS


def test_too_many_running() -> None:
    """So many at a time; the refusal names them, and one that ends makes room."""
    house = EventHouse()
    house.publish()
    running = [begin(house) for _ in range(MOST_RUNNING)]
    with pytest.raises(TooManyRequests) as refused:
        begin(house)
    assert refused.value.details["replays"] == [replay.id for replay in running]
    house.hub.replays.cancel(running[3].id)
    begin(house)


def test_those_that_look_still_count() -> None:
    """A replay whose events are still looked for has its place; who hangs up gives it back."""
    house = EventHouse()
    house.publish_many(SLICE_EVENTS)
    begun = [beginning(house) for _ in range(MOST_RUNNING)]
    with pytest.raises(TooManyRequests):
        begin(house, since="latest")
    seen = outcome(begun[0])
    begun[0].cancel()
    assert isinstance(seen[0], CancelledError)
    assert begin(house, since="latest").state == "done"
    house.clock.advance(0)


def test_ended_while_it_looks() -> None:
    """A replay that is ended while its events are looked for does not begin."""
    house = EventHouse()
    house.publish_many(SLICE_EVENTS)
    begun = [outcome(beginning(house, to="topic")) for _ in range(MOST_RUNNING)]
    with pytest.raises(TooManyRequests) as refused:
        begin(house)
    names = refused.value.details["replays"]
    assert isinstance(names, list)
    house.hub.replays.cancel(names[0])
    house.hub.drain()
    house.clock.advance(0)
    assert [replay.state for [replay] in begun if isinstance(replay, Replay)] == ["cancelled"] * MOST_RUNNING
    assert (published_again(house), house.clock.getDelayedCalls()) == ([], [])


def test_those_that_are_over() -> None:
    """The newest that are over can be asked after; older ones are forgotten, running ones never."""
    house = EventHouse()
    house.publish()
    kept = begin(house)
    over = [begin(house, since="latest") for _ in range(MOST_ENDED + 3)]
    for replay in over[:3]:
        with pytest.raises(NotFound):
            house.hub.replays.get(replay.id)
    assert [house.hub.replays.get(replay.id) for replay in (kept, *over[3:])] == [kept, *over[3:]]


def test_drain() -> None:
    """When the sidecar stops, replays end, and what is begun then is over at once."""
    house = EventHouse()
    spaced(house, 10)
    topic, reader = begin(house, to="topic", speed=1), begin(house)
    house.hub.drain()
    assert {topic.reason, reader.reason} == {STOPPING}
    late = begin(house)
    assert (late.state, late.reason) == ("cancelled", STOPPING)
    assert house.clock.getDelayedCalls() == []
