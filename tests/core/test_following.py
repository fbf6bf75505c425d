"""Streams: what is there, then what comes, in order and once; what pauses and what ends them."""

import pytest
from attrs import define, field

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.following import (
    BEAT_SECONDS,
    MOST_WAITING_BYTES,
    MOST_WAITING_EVENTS,
    STOPPING,
    TOO_SLOW,
    UNTIL_REACHED,
    Follower,
)
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.waiting import MOST_PER_AGENT
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import InvalidParameter, TokenExpired, TokenRevoked, TooManyPolls
from tests.fakes import EventHouse

REVOKED = TokenRevoked("It was revoked.")


@define(eq=False)
class Paper:
    """Writes down what a stream is given; takes ``room`` events, then pauses it."""

    house: EventHouse
    follower: Follower
    room: int = 10**9
    said: list[object] = field(factory=list)

    def event(self, cursor: str, event: Event) -> None:
        assert cursor == self.house.hub.cursor(event.sequence)
        self.said.append(event.sequence)
        self.room -= 1
        if not self.room:
            self.house.hub.followers.pause(self.follower)

    def gap(self, oldest_cursor: str) -> None:
        self.said.append(("gap", oldest_cursor))

    def beat(self) -> None:
        self.said.append("beat")

    def end(self, reason: str) -> None:
        self.said.append(("end", reason))

    def read(self, room: int = 10**9) -> None:
        """Take so many more events."""
        self.room = room
        self.house.hub.followers.resume(self.follower)


def follow(
    house: EventHouse,
    selection: Selection | None = None,
    *,
    agent: str | None = "a",
    resume: str | None = None,
    since: str | None = None,
    until: str | None = None,
    room: int = 10**9,
    seconds: float = 3600.0,
) -> Paper:
    followers = house.hub.followers
    follower = followers.open(house.reader(agent), selection or Selection(), resume=resume, since=since, until=until)
    paper = Paper(house, follower, room)
    followers.begin(follower, paper, seconds)
    return paper


def test_start() -> None:
    """Without a place a stream starts now; with one, there; Last-Event-ID beats since."""
    house = EventHouse()
    house.publish_many(3)
    second = house.hub.cursor(2)
    papers = [follow(house), follow(house, since="earliest"), follow(house, resume=second, since="earliest")]
    house.publish_many(1)
    assert [paper.said for paper in papers] == [[4], [1, 2, 3, 4], [3, 4]]


def test_only_what_is_on_disk() -> None:
    """An event is given when it is on disk, not before."""
    house = EventHouse()
    paper = follow(house)
    house.journal.held = True
    house.publish()
    assert paper.said == []
    house.journal.write()
    assert paper.said == [1]


def test_selection() -> None:
    """Only what is wanted is given, from the past and as it comes."""
    house = EventHouse()
    selection = Selection(frozenset({"t"}), filter=parse_filter("n:>1"))
    for n in (1, 2):
        house.publish(data={"n": n})
    paper = follow(house, selection, since="earliest")
    for n in (1, 2):
        house.publish(data={"n": n})
    house.publish("other", data={"n": 3})
    assert paper.said == [2, 4]


def test_seam_under_pauses() -> None:
    """However the connection takes it, all comes once and in order."""
    house = EventHouse()
    house.publish_many(5)
    paper = follow(house, since="earliest", room=2)
    house.publish_many(3)
    assert paper.said == [1, 2]
    paper.read(3)
    house.publish_many(2)
    paper.read()
    house.publish_many(1)
    assert paper.said == list(range(1, 12))


def test_gap() -> None:
    """What retention took is told, at the start and when a slow reader comes back."""
    house = EventHouse(max_events=2)
    house.publish_many(3)
    paper = follow(house, since=house.hub.cursor(0), room=1)
    assert paper.said == [("gap", house.hub.cursor(1)), 2]
    house.publish_many(3)
    paper.read()
    assert paper.said[2:] == [("gap", house.hub.cursor(4)), 5, 6]


def test_beat() -> None:
    """A sign of life comes every 15 seconds, but not into a full buffer."""
    house = EventHouse()
    paper, stuck = follow(house), follow(house, room=1)
    house.publish()
    house.clock.pump([BEAT_SECONDS] * 3)
    assert paper.said == [1, "beat", "beat", "beat"]
    assert stuck.said == [1]


def test_too_many_events() -> None:
    """Who does not read while 1,000 events come is dropped at the next; others get it."""
    house = EventHouse(max_events=5000)
    stuck, other = follow(house, room=1), follow(house)
    house.publish_many(1 + MOST_WAITING_EVENTS)
    assert stuck.said == [1]
    house.publish_many(1)
    assert stuck.said == [1, ("end", TOO_SLOW)]
    assert len(other.said) == 2 + MOST_WAITING_EVENTS
    assert house.room.used == 1


def test_too_many_bytes() -> None:
    """One large event is waited for; who has 1 MiB waiting when another comes is dropped. Reading counts anew."""
    house = EventHouse()
    stuck, reading = follow(house, room=1), follow(house, room=1)
    house.publish()
    house.publish(data="x" * MOST_WAITING_BYTES)
    assert stuck.said == reading.said == [1]
    reading.read(1)
    house.publish()
    assert (stuck.said, reading.said) == ([1, ("end", TOO_SLOW)], [1, 2])


def test_unwanted_events_do_not_wait() -> None:
    """What a stuck stream does not want is not held against it."""
    house = EventHouse(max_events=5000)
    stuck = follow(house, Selection(frozenset({"t"})), room=1)
    house.publish()
    house.publish_many(2 * MOST_WAITING_EVENTS, "other")
    stuck.read()
    house.publish()
    assert stuck.said == [1, 2 * MOST_WAITING_EVENTS + 2]


def test_token() -> None:
    """The token is asked after before each event, at its end, and when it is revoked."""
    house = EventHouse()
    first = follow(house)
    house.dead["token of a"] = REVOKED
    house.publish()
    assert first.said == [("end", "AUTH_004 It was revoked.")]
    second, third, fourth = follow(house, agent="b", seconds=5), follow(house, agent="c"), follow(house, agent="d")
    house.dead["token of b"] = TokenExpired("It has expired.")
    house.clock.advance(5)
    house.hub.end_polls(["token of c"], REVOKED)
    house.hub.end_agent("d", REVOKED)
    assert second.said == [("end", "AUTH_002 It has expired.")]
    assert third.said == fourth.said == first.said
    assert (house.room.used, house.clock.getDelayedCalls()) == (0, [])


def test_until() -> None:
    """A stream ends at a place, or at a time that may be yet to come."""
    house = EventHouse()
    house.publish_many(3)
    there = follow(house, since="earliest", until="latest", room=2)
    assert there.said == [1, 2]
    later = follow(house, until=rfc3339(house.clock.seconds() + 10))
    house.publish_many(1)
    there.read()
    assert there.said == [1, 2, 3, ("end", UNTIL_REACHED)]
    house.clock.advance(10)
    assert later.said == [4, ("end", UNTIL_REACHED)]


def test_drain() -> None:
    """Shutdown ends all streams, and begins no more."""
    house = EventHouse()
    paper = follow(house)
    house.hub.drain()
    assert paper.said == follow(house).said == [("end", STOPPING)]
    assert (house.room.used, house.clock.getDelayedCalls()) == (0, [])


def test_places() -> None:
    """Streams take the places of parked polls; one that leaves gives its place back once."""
    house = EventHouse()
    papers = [follow(house) for _ in range(MOST_PER_AGENT)]
    with pytest.raises(TooManyPolls):
        follow(house)
    for _ in range(2):
        house.hub.followers.leave(papers[0].follower)
    assert (len(house.hub.followers), house.room.used) == (MOST_PER_AGENT - 1, MOST_PER_AGENT - 1)
    house.publish()
    assert papers[0].said == []


def test_refused_places() -> None:
    """What is no place takes none."""
    house = EventHouse()
    for places in ({"resume": "c-99999999-1"}, {"since": "x"}, {"until": "x"}):
        with pytest.raises(InvalidParameter):
            follow(house, **places)  # type: ignore[arg-type]
    assert house.room.used == 0
