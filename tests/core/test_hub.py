"""The hub: events are seen once they are on disk, waits end once, and positions move when an answer was received."""

from collections.abc import Callable

import msgspec
import pytest
from twisted.internet.defer import CancelledError, Deferred

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.hub import Draft, Published
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.waiting import MOST_PER_AGENT, Answer
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import (
    EventLogUnavailable,
    InvalidParameter,
    NotFound,
    StorageFull,
    TokenExpired,
    TokenRevoked,
    TooManyPolls,
)
from tests.conftest import LoggedFailures
from tests.fakes import (
    START,
    EventHouse,
    answered,
    lose,
    numbers,
    outcome,
    published,
    receive,
    records_of,
    result_of,
)

FULL = StorageFull("The disk is full.")
REVOKED = TokenRevoked("It was revoked.")


def refusal_of(act: Callable[[], object]) -> InvalidParameter:
    with pytest.raises(InvalidParameter) as refused:
        act()
    return refused.value


# Publishing


def test_envelope() -> None:
    """An event has all that contract section 5 shows, its data byte for byte."""
    house = EventHouse()
    house.clock.advance(0.1239)
    data = {"b": [1, None, "é"], "a": 1.50}
    event = published(house.publish("done", data=data, correlation_id="c", priority="high", ttl_seconds=60)).event
    assert msgspec.json.decode(event.encoded) == {
        "event_id": "evt-00000001-1",
        "sequence": 1,
        "event_type": "done",
        "topic": "work",
        "publisher": "p1",
        "agent_type": "python-specialist",
        "project_id": "p",
        "issue_id": "i",
        "data": data,
        "correlation_id": "c",
        "references": [],
        "priority": "high",
        "ttl_seconds": 60,
        "timestamp": "2027-01-15T08:00:00.123Z",
    }
    assert b'"data":' + msgspec.json.encode(data) in event.encoded


def test_numbers() -> None:
    """Numbers begin at 1 and rise by one."""
    house = EventHouse()
    assert house.publish_many(3) == [1, 2, 3]
    assert (house.hub.sequence, house.hub.last_numbered, house.hub.published_total) == (3, 3, 3)


def test_nothing_before_the_disk() -> None:
    """Until the journal says that it is on disk, an event is nowhere to be seen."""
    house = EventHouse()
    parked = outcome(house.wait())
    house.journal.held = True
    seen = house.publish()
    assert seen == parked == []
    assert house.poll(agent="b").events == []
    assert house.hub.history.page(Selection(), None, None, 10, True).events == []
    with pytest.raises(NotFound):
        house.hub.history.get("evt-00000001-1")
    house.journal.write()
    assert numbers(answered(parked)) == [1]
    assert published(seen).notified == ("a",)
    assert house.hub.history.get("evt-00000001-1").sequence == 1


def test_refused_publish() -> None:
    """A refused event is seen by nobody, also later; what follows is fine and waiters get it."""
    house = EventHouse()
    parked = outcome(house.wait())
    house.journal.held = True
    first, second = house.publish(), house.publish()
    house.journal.refuse(FULL, 1)
    assert first == [FULL]
    house.journal.write()
    event = published(second).event
    assert numbers(answered(parked)) == [event.sequence]
    assert numbers(house.poll(agent="b")) == [event.sequence]
    assert numbers(house.restart().poll(agent="b")) == [event.sequence]
    with pytest.raises(NotFound):
        house.hub.history.get(f"evt-00000001-{event.sequence - 1}")


def test_log_unavailable() -> None:
    """While the log takes nothing, publishing is refused and reading goes on."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(1)
    house.journal.refusal = EventLogUnavailable("broken")
    assert house.publish() == [house.journal.refusal]
    assert numbers(house.poll()) == [1]
    house.journal.refusal = None
    assert numbers(house.poll("t", since="evt-00000001-1")) == []
    assert len(house.publish_many(1)) == 1


def test_publisher_hangs_up() -> None:
    """An event whose publisher hangs up while it is written is on disk, so it is seen: also by those parked."""
    house = EventHouse()
    parked = outcome(house.wait())
    house.journal.held = True
    draft_seen: list[object] = []
    publishing = _publishing(house)
    publishing.addErrback(lambda failure: draft_seen.append(failure.value))
    publishing.cancel()
    assert isinstance(draft_seen[0], CancelledError)
    house.journal.write()
    assert numbers(answered(parked)) == [1]
    assert house.hub.sequence == 1


def _publishing(house: EventHouse) -> "Deferred[Published]":
    return house.hub.publish(Draft("t", "work", "p1", None, None, msgspec.Raw(b"{}")))


def test_key_with_the_event() -> None:
    """An idempotency key is written in the event's own record, and knows the event."""
    house = EventHouse()

    def key_for(event: Event) -> KeyRecord:
        return KeyRecord("a", "r", "k", "d", 1.0, 202, msgspec.Raw(msgspec.json.encode(event.body.event_id)))

    house.publish(key_for=key_for)
    lines = [msgspec.json.decode(record) for record in house.journal.records]
    (line,) = [line for line in lines if line["k"] == "event"]
    assert line["i"]["answer"] == "evt-00000001-1"


def test_observers(logged_failures: LoggedFailures) -> None:
    """An observer hears of every event on disk; one that fails takes nothing from anybody."""
    house = EventHouse()
    heard: list[int] = []

    def broken(event: Event) -> None:
        raise RuntimeError("observer's mistake")

    house.hub.observe(broken)
    house.hub.observe(lambda event: heard.append(event.sequence))
    parked = outcome(house.wait())
    assert published(house.publish()).event.sequence == 1
    assert heard == [1]
    assert numbers(answered(parked)) == [1]
    assert len(logged_failures.flush(RuntimeError)) == 1


def test_notified() -> None:
    """The agents whose polls an event ended are named once each; the admin is no agent."""
    house = EventHouse()
    for agent in ("b", "a", None):
        outcome(house.wait(agent=agent, since="latest"))
        outcome(house.wait(agent=agent, since="latest"))
    outcome(house.wait("other", agent="c"))
    assert published(house.publish()).notified == ("b", "a")


def test_clock_back() -> None:
    """A clock that is set back gives no event a time before an older one's."""
    house = EventHouse()
    house.issues.see("i")
    first = published(house.publish()).event
    house.clock.rightNow -= 3600
    second = published(house.publish()).event
    assert second.at == first.at
    assert numbers(house.poll()) == [1, 2]


# Waiting with since


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("earliest", [1, 2, 3]),
        ("latest", []),
        ("c-00000001-0", [1, 2, 3]),
        ("c-00000001-2", [3]),
        ("evt-00000001-1", [2, 3]),
        ("c-00000001-3", []),
        (rfc3339(START), [1, 2, 3]),
        (rfc3339(START + 0.5), [2, 3]),
        (rfc3339(START + 1), [2, 3]),
        (rfc3339(START + 99), []),
        ("d-00000001-3-1", [2, 3]),
    ],
)
def test_since(since: str, expected: list[int]) -> None:
    """A wait starts after a cursor or event, at either end, or at a time."""
    house = EventHouse()
    for _ in range(3):
        house.publish()
        house.clock.advance(1)
    answer = house.poll(since=since)
    assert numbers(answer) == expected
    assert answer.timeout == (not expected)
    assert answer.delivery is None


@pytest.mark.parametrize(
    "since",
    ["yesterday", "c-00000001-4", "evt-00000001-99", "c-00000002-1", "c-00000001--1", "2027-02-30T00:00:00Z", "7"],
)
def test_bad_since(since: str) -> None:
    """What is no place in this log is refused, by name: also a place ahead of it, or in another."""
    house = EventHouse()
    house.publish_many(3)
    assert refusal_of(lambda: house.poll(since=since)).details == {"parameter": "since"}
    acked = refusal_of(lambda: house.poll(ack=since))
    assert acked.details == {"parameter": "ack"}
    assert "since" not in acked.message


def test_since_moves_nothing() -> None:
    """A wait with since neither reads nor moves the stored position."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(2)
    assert numbers(house.poll(since="c-00000001-1")) == [2]
    assert numbers(house.poll(since="latest")) == []
    assert numbers(house.poll()) == [1, 2]


def test_admin_starts_at_earliest() -> None:
    """The admin has no position: without since it is given all that is retained, every time."""
    house = EventHouse()
    house.publish_many(2)
    for _ in range(2):
        answer = house.poll(agent=None)
        assert numbers(answer) == [1, 2]
        assert answer.delivery is None


def test_limit() -> None:
    """At most so many at once; the rest is announced, and next_cursor leads to it."""
    house = EventHouse()
    house.publish_many(5)
    answer = house.poll(since="earliest", limit=2)
    assert (numbers(answer), answer.more_available) == ([1, 2], True)
    answer = house.poll(since=house.hub.cursor(answer.next_sequence), limit=3)
    assert (numbers(answer), answer.more_available) == ([3, 4, 5], False)


def test_next_sequence_passes_over() -> None:
    """An empty answer's cursor stands after all that was looked at."""
    house = EventHouse()
    house.publish_many(3, "other")
    assert house.poll(since="earliest").next_sequence == 3


def test_selection() -> None:
    """Types, topic and filter must all hold, for what is there and for what comes."""
    house = EventHouse()
    selection = Selection(frozenset({"a", "b"}), "builds", parse_filter("x:>1"))
    parked = outcome(house.wait(selection=selection, since="earliest"))
    house.publish("a", topic="builds", data={"x": 1})
    house.publish("a", topic="other", data={"x": 2})
    house.publish("c", topic="builds", data={"x": 2})
    assert parked == []
    house.publish("b", topic="builds", data={"x": 2})
    assert numbers(answered(parked)) == [4]
    assert numbers(result_of(house.wait(selection=selection, since="earliest"))) == [4]


# Waiting without since


def test_first_wait_starts_at_the_issues_mark() -> None:
    """An agent that asks late gets what was published since its issue was first seen, and nothing older."""
    house = EventHouse()
    house.publish_many(2)
    house.issues.see("i")
    house.publish_many(2)
    assert numbers(house.poll()) == [3, 4]


def test_plain_loop() -> None:
    """A loop of waits whose answers are received loses nothing and repeats nothing."""
    house = EventHouse()
    house.issues.see("i")
    got: list[int] = []
    for step in range(6):
        house.publish_many(step)
        answer = house.poll(limit=2)
        got += numbers(answer)
        if answer.events:
            receive(answer)
    while (answer := house.poll(limit=2)).events:
        got += numbers(answer)
        receive(answer)
    assert got == list(range(1, 16))


def test_lost_answer() -> None:
    """After a reset the same events are given again, with what came meanwhile."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(2)
    answer = house.poll()
    house.publish_many(1)
    lose(answer)
    assert numbers(house.poll()) == [1, 2, 3]


def test_unproven_answer() -> None:
    """Until the connection says what became of an answer, its events are given again."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(1)
    first = house.poll()
    second = house.poll()
    assert numbers(first) == numbers(second) == [1]
    receive(first)
    assert house.poll().events == []


def test_parked_and_woken() -> None:
    """A parked wait is ended by the first event that it wants; its receipt moves the position."""
    house = EventHouse()
    house.issues.see("i")
    parked = outcome(house.wait())
    house.clock.advance(2.5)
    house.publish("other")
    assert parked == []
    house.publish()
    answer = answered(parked)
    assert (numbers(answer), answer.timeout, answer.next_sequence) == ([2], False, 2)
    assert house.delays == [0.0]
    receive(answer)
    assert house.poll().events == []
    assert (len(house.hub.waiters), house.room.used, len(house.wheel)) == (0, 0, 0)


def test_timeout() -> None:
    """When time is up the answer is empty and says so; nothing stays behind."""
    house = EventHouse()
    parked = outcome(house.wait(seconds=30))
    house.publish_many(3, "other")
    house.clock.advance(29.9)
    assert parked == []
    house.clock.advance(0.1)
    answer = answered(parked)
    assert (answer.events, answer.timeout, answer.next_sequence) == ([], True, 3)
    assert (len(house.hub.waiters), house.room.used, len(house.wheel)) == (0, 0, 0)


def test_hang_up() -> None:
    """Who hangs up leaves no place taken, no timer, and no event lost."""
    house = EventHouse()
    house.issues.see("i")
    waiting = house.wait()
    ended = outcome(waiting)
    waiting.cancel()
    assert isinstance(ended[0], CancelledError)
    assert (len(house.hub.waiters), house.room.used, len(house.wheel)) == (0, 0, 0)
    assert published(house.publish()).notified == ()
    assert numbers(house.poll()) == [1]


def test_named_subscription() -> None:
    """A name has a position of its own."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(2)
    receive(house.poll(subscription="worker-1"))
    assert house.poll(subscription="worker-1").events == []
    assert numbers(house.poll(subscription="worker-2")) == [1, 2]
    assert numbers(house.poll()) == [1, 2]


def test_named_subscription_with_other_types() -> None:
    """What did not match the types waited for so far was not received: asked for later, it comes."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(2, "b")
    parked = outcome(house.wait("a", subscription="worker", seconds=5))
    house.clock.advance(5)
    assert answered(parked).timeout
    assert house.poll("a", subscription="worker").events == []
    assert numbers(house.poll("b", subscription="worker")) == [1, 2]


def test_order_of_types_is_no_name() -> None:
    """The same selection is the same subscription, however its types are ordered."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(1)
    receive(house.poll("t,u"))
    assert house.poll("u,t").events == []


def test_newer_ends_older() -> None:
    """A newer wait on a subscription ends the older: empty, no time-out, its position unmoved."""
    house = EventHouse()
    older = outcome(house.wait())
    other = outcome(house.wait(subscription="x"))
    newer = outcome(house.wait())
    assert answered(older) == Answer([], 0)
    assert other == newer == []
    house.publish()
    assert numbers(answered(newer)) == numbers(answered(other)) == [1]
    assert answered(older).events == []


def test_ack() -> None:
    """An ack settles what was received, once; what lies behind it is given."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(3)
    house.poll()
    assert numbers(house.poll(ack="c-00000001-2")) == [3]
    assert numbers(house.poll(ack="c-00000001-1")) == [3]
    assert house.poll(ack="evt-00000001-3").events == []


def test_many_subscriptions() -> None:
    """The 65th subscription of an agent is refused, and parks nothing."""
    house = EventHouse()
    for number in range(64):
        house.poll(f"t{number}")
    assert refusal_of(lambda: house.poll("one-more")).details == {"parameter": "subscription"}
    assert len(house.hub.waiters) == 0


# After a restart


@pytest.mark.parametrize("snapshot", [False, True])
def test_restart(snapshot: bool) -> None:
    """Events, numbers, ids and positions are the same after a restart."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(3)
    receive(house.poll(limit=2))
    old = house.hub.history.get("evt-00000001-3")
    again = house.restart(snapshot=snapshot)
    assert numbers(again.poll()) == [3]
    assert again.hub.history.get("evt-00000001-3").encoded == old.encoded
    assert again.hub.history.get("evt-00000001-3").at == old.at
    assert again.publish_many(1) == [4]
    assert again.hub.log_id == house.hub.log_id
    assert numbers(again.poll(since="c-00000001-2")) == [3, 4]


def test_restart_with_an_open_answer() -> None:
    """An answer that nobody vouched for before the crash comes again: twice, never not at all."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(2)
    house.poll()
    assert numbers(house.restart().poll()) == [1, 2]


def test_restart_remembers_what_retention_took() -> None:
    """After a restart a cursor that retention has passed is told so."""
    house = EventHouse(max_events=2)
    house.publish_many(5)
    again = house.restart(snapshot=True)
    answer = again.poll(since="c-00000001-1")
    assert (numbers(answer), answer.gap) == ([4, 5], True)
    assert again.hub.oldest_cursor == "c-00000001-3"


def test_damage_reuses_no_number() -> None:
    """Where damage took the newest events, their numbers are not given to others: their readers would miss those."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(3)
    receive(house.poll())
    house.journal.records = [r for r in house.journal.records if not (b'"k":"event"' in r and b'"sequence":3,' in r)]
    again = house.restart()
    assert len(again.hub.ring) == 2
    assert again.publish_many(1) == [4]
    assert numbers(again.poll()) == [4]


def test_another_log() -> None:
    """A new log has a new id: cursors of the old one are refused, not misread."""
    house = EventHouse()
    house.publish_many(1)
    other = EventHouse(log_ids=house.log_ids)
    other.publish_many(1)
    assert "another project" in refusal_of(lambda: other.poll(since="c-00000001-1")).message


# Time to live, retention, gaps


def test_ttl() -> None:
    """An event that has expired is given to nobody and found nowhere, and that is no gap."""
    house = EventHouse()
    house.issues.see("i")
    house.publish(ttl_seconds=10)
    house.publish(ttl_seconds=20)
    house.clock.advance(10)
    answer = house.poll()
    assert (numbers(answer), answer.gap) == ([2], False)
    assert [event.sequence for event in house.hub.history.page(Selection(), None, None, 9, False).events] == [2]
    with pytest.raises(NotFound):
        house.hub.history.get("evt-00000001-1")
    house.clock.advance(10)
    answer = house.poll()
    assert (numbers(answer), answer.gap, answer.timeout) == ([], False, True)


def test_retention_by_age() -> None:
    """What is past the retention time is gone, also without a publish, and a position before it learns of the gap."""
    house = EventHouse(retention_seconds=100)
    house.issues.see("i")
    house.poll()
    house.publish_many(2)
    house.clock.advance(60)
    house.publish_many(1)
    house.clock.advance(40)
    answer = house.poll()
    assert (numbers(answer), answer.gap) == ([3], True)
    receive(answer)
    assert house.poll().gap is False


def test_retention_by_count() -> None:
    """The newest so many stay."""
    house = EventHouse(max_events=3)
    house.publish_many(5)
    answer = house.poll(since="earliest")
    assert (numbers(answer), answer.gap) == ([3, 4, 5], False)
    assert house.poll(since="c-00000001-2").gap is False
    assert house.poll(since="c-00000001-1").gap is True


def test_gap_with_nothing_left() -> None:
    """A gap is told at once, without waiting for an event, and only once."""
    house = EventHouse(retention_seconds=100)
    house.issues.see("i")
    house.poll()
    house.publish_many(2)
    house.clock.advance(100)
    answer = answered(outcome(house.wait(seconds=30)))
    assert (answer.events, answer.gap, answer.timeout, answer.next_sequence) == ([], True, False, 2)
    waiting = outcome(house.wait(seconds=30))
    assert waiting == []


def test_gap_of_a_time() -> None:
    """A time before what retention took is told of the gap; one after it is not."""
    house = EventHouse(max_events=1)
    house.publish()
    house.clock.advance(10)
    house.publish()
    assert house.poll(since=rfc3339(START)).gap is True
    assert house.poll(since=rfc3339(START - 50)).gap is True
    assert house.poll(since=rfc3339(START + 1)).gap is False
    assert house.restart(snapshot=True).poll(since=rfc3339(START)).gap is True


def test_first_wait_after_retention() -> None:
    """Who waits for the first time late has reached nothing yet: no gap, also when its connection was asked before."""
    house = EventHouse(max_events=2)
    house.issues.see("i")
    house.publish_many(5)
    answer = house.poll()
    assert (numbers(answer), answer.gap) == ([4, 5], False)
    house.clock.advance(86400)
    assert house.hub.delivery_before(house.reader("late"), Selection(), "x") is None
    assert house.poll(agent="late", subscription="x").gap is False


def test_delivery_before() -> None:
    """The answer that is still on its way can be asked after, until its fate is known."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(1)
    selection = Selection(frozenset({"t"}))
    assert house.hub.delivery_before(house.reader(), selection, None) is None
    answer = house.poll()
    assert house.hub.delivery_before(house.reader(), selection, None) is answer.delivery
    kept = len(house.journal.records)
    assert house.hub.delivery_before(house.reader(), selection, "other") is None
    assert house.hub.delivery_before(house.reader("nobody"), selection, None) is None
    assert house.hub.delivery_before(house.reader(None), selection, None) is None
    assert len(house.journal.records) == kept, "asking makes no subscription"
    receive(answer)
    assert house.hub.delivery_before(house.reader(), selection, None) is None


def test_looking_is_reaching() -> None:
    """Events that a wait looked through without a match are reached: their removal is no gap."""
    house = EventHouse(max_events=2)
    house.issues.see("i")
    for _ in range(3):
        house.publish_many(2, "other")
        answer = house.poll()
        assert (answer.gap, answer.events) == (False, [])


# Polls that end otherwise


def test_agent_ends() -> None:
    """The end of an agent ends its polls and subscriptions, and nobody else's."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(1)
    receive(house.poll())
    mine, by_cursor, other = (
        outcome(house.wait()),
        outcome(house.wait(since="latest")),
        outcome(house.wait("x", agent="b")),
    )
    house.hub.end_agent("a", REVOKED)
    assert mine == by_cursor == [REVOKED]
    assert other == []
    assert house.room.used == 1
    assert numbers(house.poll()) == [1]


def test_token_ends() -> None:
    """Polls parked under a token end with it; another token's of the same agent go on."""
    house = EventHouse()
    ended = outcome(house.wait(reader=house.reader("a", "t1")))
    other = outcome(house.wait("u", reader=house.reader("a", "t2")))
    house.hub.end_polls(["t1", "t9"], REVOKED)
    assert (ended, other, house.room.used) == ([REVOKED], [], 1)


def test_token_checked_at_delivery() -> None:
    """A poll whose token died meanwhile is given no event: it is refused, and does not count as notified."""
    house = EventHouse()
    house.issues.see("i")
    parked = outcome(house.wait(reader=house.reader("a", "t1")))
    expired = TokenExpired("over")
    house.dead["t1"] = expired
    assert published(house.publish()).notified == ()
    assert parked == [expired]
    assert house.hub.delivered_total == 0
    del house.dead["t1"]
    assert numbers(house.poll()) == [1]


def test_token_checked_at_timeout_and_when_replaced() -> None:
    """Also an empty answer is for living tokens alone."""
    house = EventHouse()
    parked = outcome(house.wait(reader=house.reader("a", "t1"), seconds=5))
    replaced = outcome(house.wait("u", reader=house.reader("a", "t1")))
    house.dead["t1"] = REVOKED
    outcome(house.wait("u", reader=house.reader("a", "t2")))
    house.clock.advance(5)
    assert parked == replaced == [REVOKED]


def test_drain() -> None:
    """At the end every parked poll is answered, empty and unmoved, and none parks any more."""
    house = EventHouse()
    house.issues.see("i")
    house.publish_many(2, "other")
    parked, by_cursor = outcome(house.wait()), outcome(house.wait(since="earliest", agent="b"))
    house.hub.drain()
    assert answered(parked) == answered(by_cursor) == Answer([], 2)
    assert answered(outcome(house.wait())) == Answer([], 2)
    house.publish()
    assert numbers(house.poll()) == [3]
    assert (house.room.used, len(house.wheel)) == (0, 0)


def test_polls_of_an_agent() -> None:
    """An agent may park 32 polls; one more is refused with a time to wait, and takes no place."""
    house = EventHouse()
    waiting = [house.wait(since="latest") for _ in range(MOST_PER_AGENT)]
    endings = [outcome(one) for one in waiting]
    assert MOST_PER_AGENT == 32
    with pytest.raises(TooManyPolls) as refused:
        house.wait(since="latest")
    assert refused.value.retry_after > 0
    outcome(house.wait(since="latest", agent="b"))
    for _ in range(40):
        outcome(house.wait(since="latest", agent=None))
    waiting[0].cancel()
    assert len(endings[0]) == 1
    outcome(house.wait(since="latest"))
    assert house.room.used == 32 + 1 + 40
    house.publish()
    assert (house.room.used, len(house.wheel)) == (0, 0)


def test_polls_in_all() -> None:
    """Over all agents, the admin too, no more are parked than the settings say; what needs no place is answered."""
    house = EventHouse(most_polls=3)
    for agent in ("a", "b", None):
        outcome(house.wait(agent=agent, since="latest"))
    with pytest.raises(TooManyPolls):
        house.wait(agent=None, since="latest")
    assert house.poll(agent="c").timeout
    house.publish()
    assert numbers(house.poll(agent="c", since="earliest")) == [1]


def test_refused_poll_leaves_the_subscription_whole() -> None:
    """A wait that found no place can be tried again."""
    house = EventHouse(most_polls=1)
    house.issues.see("i")
    waiting = house.wait(agent="b", since="latest")
    outcome(waiting)
    with pytest.raises(TooManyPolls):
        house.wait()
    waiting.cancel()
    parked = outcome(house.wait())
    house.publish()
    assert numbers(answered(parked)) == [1]


# Whoever is answered may act at once


def test_answered_one_makes_another_leave() -> None:
    """The first one answered may end a second poll; the publish goes on, and the third is answered."""
    house = EventHouse()
    first = house.wait(agent="a", since="latest")
    second = house.wait(agent="b", since="latest")
    third = outcome(house.wait(agent="c", since="latest"))
    ended = outcome(second)
    first.addCallback(lambda _: second.cancel())
    assert published(house.publish()).notified == ("a", "c")
    assert isinstance(ended[0], CancelledError)
    assert numbers(answered(third)) == [1]


def test_answered_one_waits_again() -> None:
    """An agent that waits again as soon as it is answered is parked for the next event, not woken by this one."""
    house = EventHouse()
    house.issues.see("i")
    got: list[list[int]] = []

    def again(answer: Answer) -> None:
        got.append(numbers(answer))
        receive(answer)
        house.wait().addCallback(again)

    house.wait().addCallback(again)
    house.publish_many(3)
    assert got == [[1], [2], [3]]
    assert len(house.hub.waiters) == 1


def test_answered_one_replaces_a_parked_one() -> None:
    """A poll ended by a newer one while the event is handed out gets one answer, and the newer one the event."""
    house = EventHouse()
    house.issues.see("i")
    newer: list[Answer] = []

    def wait_as_b(answer: Answer) -> None:
        newer.append(result_of(house.wait(agent="b")))

    house.wait(agent="a").addCallback(wait_as_b)
    older = outcome(house.wait(agent="b"))
    published(house.publish())
    assert answered(older).events == []
    assert [numbers(answer) for answer in newer] == [[1]]


# History


def page_numbers(house: EventHouse, **more: object) -> tuple[list[int], str, bool]:
    asked: dict[str, object] = {"since": None, "until": None, "limit": 100, "newest_first": True, **more}
    selection = asked.pop("selection", Selection())
    page = house.hub.history.page(selection, **asked)  # type: ignore[arg-type]  # each is of its parameter's type
    return [event.sequence for event in page.events], page.next_cursor, page.more_available


def test_history_newest_first() -> None:
    """Page by page, newest first, everything comes once, also when more is published between the pages."""
    house = EventHouse()
    house.publish_many(7)
    got, since, more = page_numbers(house, limit=3)
    pages = [got]
    while more:
        house.publish_many(1)
        got, since, more = page_numbers(house, limit=3, since=since)
        pages.append(got)
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]
    assert page_numbers(house, limit=3, since=since)[0] == []


def test_history_oldest_first() -> None:
    """In ascending order the cursor of the last page goes on with what is published later."""
    house = EventHouse()
    house.publish_many(4)
    got, since, more = page_numbers(house, limit=3, newest_first=False)
    assert (got, more) == ([1, 2, 3], True)
    got, since, more = page_numbers(house, limit=3, newest_first=False, since=since)
    assert (got, more) == ([4], False)
    house.publish_many(1)
    assert page_numbers(house, newest_first=False, since=since)[0] == [5]


def test_history_between() -> None:
    """since and until bound it: times half open, cursors and events including the last."""
    house = EventHouse()
    for _ in range(4):
        house.publish()
        house.clock.advance(1)
    between = {"since": rfc3339(START + 1), "until": rfc3339(START + 3)}
    assert page_numbers(house, **between)[0] == [3, 2]
    assert page_numbers(house, since="c-00000001-1", until="evt-00000001-3", newest_first=False)[0] == [2, 3]
    assert page_numbers(house, since="latest")[0] == []
    assert page_numbers(house, until="latest")[0] == [4, 3, 2, 1]
    assert page_numbers(house, until=rfc3339(START + 99))[0] == [4, 3, 2, 1]
    assert page_numbers(house, until=rfc3339(START - 99))[0] == []
    paged = page_numbers(house, **between, limit=1)
    assert page_numbers(house, since=paged[1], limit=1) == ([2], "d-00000001-2-1", False)


def test_history_selection() -> None:
    """Publisher, correlation, issue and filter select."""
    house = EventHouse()
    house.publish(publisher="x", correlation_id="c1", issue_id="i1", data={"n": 1})
    house.publish(publisher="y", correlation_id="c1", issue_id="i2", data={"n": 2})
    house.publish(publisher="x", correlation_id="c2", issue_id="i2", data={"n": 3})
    assert page_numbers(house, selection=Selection(publisher="x"))[0] == [3, 1]
    assert page_numbers(house, selection=Selection(correlation_id="c1"))[0] == [2, 1]
    assert page_numbers(house, selection=Selection(issue_id="i2"))[0] == [3, 2]
    assert page_numbers(house, selection=Selection(filter=parse_filter("n:>1"), publisher="x"))[0] == [3]


@pytest.mark.parametrize("name", ["since", "until"])
def test_history_bad_place(name: str) -> None:
    """A bad place is refused by its own name."""
    house = EventHouse()
    assert refusal_of(lambda: page_numbers(house, **{name: "x"})).details == {"parameter": name}


def test_by_id() -> None:
    """An event is found by its id, nothing else is."""
    house = EventHouse()
    house.publish_many(2)
    assert house.hub.history.get("evt-00000001-2").sequence == 2
    for name in ("evt-00000001-3", "evt-00000002-1", "c-00000001-1", "evt-00000001-0", "", "evt-00000001-1x"):
        with pytest.raises(NotFound):
            house.hub.history.get(name)


def test_log_state_is_written_first() -> None:
    """A new log's id is on disk before any event that is named after it."""
    house = EventHouse()
    house.publish_many(1)
    assert house.journal.kinds() == ["log", "event"]
    assert next(records_of(house.journal, "log")) == {
        "id": "00000001",
        "sequence": 0,
        "evicted_through": 0,
        "evicted_at": 0.0,
    }


@pytest.mark.parametrize("snapshot", [False, True])
def test_times_never_go_back(snapshot: bool) -> None:
    """An event is not older than those before it, though these are gone, and the clock was set back."""
    house = EventHouse(retention_seconds=60.0)
    before = published(house.publish()).event
    house.clock.advance(100)
    house.poll()
    house.clock.advance(-200)
    after = published(house.restart(snapshot=snapshot).publish()).event
    assert after.at >= before.at


def test_events_that_may_be_lost() -> None:
    """Numbers that lost events may have had are not given again, also not after the next restart; they are places."""
    house = EventHouse()
    house.publish_many(3)
    house.hub.open(5)
    again = house.restart()
    assert again.poll(since=again.hub.cursor(8)).timeout is True
    assert published(again.publish()).event.sequence == 9
