"""Waking: the index finds exactly those whom a look at every poll would find; a crowd is answered in slices."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.fanout import SLICE
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.interest import InterestIndex
from cco_sidecar.core.events.selection import MOST_KEYS, Selection
from cco_sidecar.core.events.waiting import Answer, Waiter
from cco_sidecar.errors import TokenRevoked
from tests.fakes import EventHouse, answered, numbers, outcome, published

FILTERS = (
    *("k:1", "k:2", "data.k:1", "event.topic:red", "topic:red", "k:1,m:x", "k:1|m:x", "!k:1", "k:*", "k:>1", "m:x*"),
    *("(k:1|k:2),m:y", "!(k:1|m:x)", "k:1|k:*", "event_type:a", "publisher:p1", "k:null", "k:true"),
)

values = st.sampled_from([1, 2, "1", "x", "xy", "y", None, True, [1, 2], ["x", {"k": 1}]])
data = st.dictionaries(st.sampled_from(["k", "m", "topic", "publisher"]), values, max_size=3)
selections = st.builds(
    Selection,
    types=st.sampled_from([None, frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"})]),
    topic=st.sampled_from([None, None, "red", "blue"]),
    filter=st.sampled_from([None, *(parse_filter(text) for text in FILTERS)]),
)


def event_of(house: EventHouse, event_type: str, topic: str, data: object) -> Event:
    return published(house.publish(event_type, topic=topic, data=data)).event


def poll(house: EventHouse, selection: Selection, number: int) -> Waiter:
    return Waiter(house.reader(), selection, 0, False, None, selection.index_keys, number)


@given(st.lists(selections, max_size=12), st.lists(st.tuples(st.sampled_from("abc"), data), max_size=4), st.data())
@settings(max_examples=400)
def test_index_against_scan(wanted: list[Selection], events: list[tuple[str, Any]], draw: st.DataObject) -> None:
    """Whatever is parked and gone again, an event finds the polls that match it, each once, in the order they came."""
    house, index = EventHouse(), InterestIndex()
    parked = [poll(house, selection, number) for number, selection in enumerate(wanted)]
    for waiter in parked:
        index.add(waiter)
    for event_type, body in events:
        event = event_of(house, event_type, draw.draw(st.sampled_from(["red", "blue"])), body)
        assert index.wanting(event) == [waiter for waiter in parked if waiter.selection.matches(event)]
        if parked:
            index.remove(parked.pop(draw.draw(st.integers(0, len(parked) - 1))))
    for waiter in parked:
        index.remove(waiter)
        index.remove(waiter)
    assert (index._polls, index._fields) == ({}, {})


def test_a_value_finds_its_polls_alone() -> None:
    """A filter that names a value is not even asked about other values."""
    house, index = EventHouse(), InterestIndex()
    asked: list[str] = []

    class Watched(Selection):
        def matches_fields(self, event: Any, fields: Any) -> bool:
            asked.append(self.key)
            return super().matches_fields(event, fields)

    for number in range(100):
        index.add(poll(house, Watched(frozenset("a"), filter=parse_filter(f"k:{number}")), number))
    (found,) = index.wanting(event_of(house, "a", "red", {"k": 42}))
    assert found.selection.key == "a * k:42"
    assert asked == ["a * k:42"]


def test_a_wide_selection_is_filed_under_its_types() -> None:
    """Types times values beyond a bound would cost more in the index than they save."""
    many = frozenset(f"t{number}" for number in range(MOST_KEYS))
    wide = Selection(many, filter=parse_filter("k:1|k:2"))
    assert {key[1:] for key in wide.index_keys} == {(None, None)}
    assert len(wide.index_keys) == MOST_KEYS
    assert len(Selection(frozenset({"a"}), filter=parse_filter("k:1|k:2")).index_keys) == 2


def crowd(house: EventHouse, many: int) -> "list[list[Answer | BaseException]]":
    """Park so many polls, 20 of each agent, each on a subscription of its own."""
    return [outcome(house.wait(agent=f"agent-{n // 20}", subscription=f"s{n}")) for n in range(many)]


def test_a_crowd_is_answered_in_slices() -> None:
    """One event to a thousand polls lets the reactor do other things in between; nobody is left out."""
    house = EventHouse()
    parked = crowd(house, 3 * SLICE + 10)
    seen_by_others: list[int] = []
    house.clock.callLater(0, lambda: seen_by_others.append(sum(bool(ending) for ending in parked)))
    told = published(house.publish())
    assert sum(bool(ending) for ending in parked) == SLICE
    house.clock.pump([0, 0, 0, 0])
    assert seen_by_others == [SLICE]
    assert [numbers(answered(ending)) for ending in parked] == [[1]] * len(parked)
    assert len(told.notified) == len({f"agent-{n // 20}" for n in range(len(parked))})
    assert house.delays == [0.0] * len(parked)


def test_while_a_crowd_waits_its_turn() -> None:
    """Between claim and answer a poll can still hang up, time out or lose its token; and takes one event alone."""
    house = EventHouse()
    waits = [house.wait(agent=f"agent-{n // 20}", subscription=f"s{n}", seconds=1.0) for n in range(2 * SLICE + 4)]
    parked = [outcome(waiting) for waiting in waits]
    house.publish()
    assert house.clock.getDelayedCalls()
    last, before, third = len(parked) - 1, len(parked) - 2, len(parked) - 3
    waits[last].cancel()
    gone = last // 20
    house.dead[f"token of agent-{gone}"] = TokenRevoked("gone")
    house.hub._time_is_up(next(iter(house.hub.waiters.parked())))  # its time is up while it is about to be answered
    second = published(house.publish())
    assert second.notified == ()
    house.clock.pump([0, 0, 0, 0])
    assert isinstance(parked[last][0], CancelledError)
    assert isinstance(parked[before][0], TokenRevoked)
    assert isinstance(parked[third][0], TokenRevoked)
    assert {tuple(numbers(answered(ending))) for ending in parked[: gone * 20]} == {(1,)}
    assert len(house.hub.waiters) == house.room.used == len(house.wheel) == 0


def test_stopping_while_a_crowd_waits_its_turn() -> None:
    """Whoever was not answered yet is answered empty, its position unmoved, and gets the event after the restart."""
    house = EventHouse()
    parked = crowd(house, SLICE + 5)
    house.publish()
    house.hub.drain()
    assert numbers(answered(parked[0])) == [1]
    assert numbers(answered(parked[-1])) == []
    again = house.restart()
    assert numbers(again.poll(agent=f"agent-{(SLICE + 4) // 20}", subscription=f"s{SLICE + 4}")) == [1]


def test_text_of_events_is_shared() -> None:
    """All whom one event wakes are given the same list: what is made of it can be made once."""
    house = EventHouse()
    first, second = outcome(house.wait(agent="a")), outcome(house.wait(agent="b"))
    house.publish(data=msgspec.Raw(b"1"))
    assert answered(first).events is answered(second).events
