"""The hub against a plain model: whatever happens in whatever order, nothing is lost and nothing comes twice.

What an agent may be given follows from four facts alone: which events are on disk and when they end, what retention
has removed, where the agent's issue was first seen, and which of its answers were received.
"""

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from twisted.internet.defer import Deferred

from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.waiting import Answer
from cco_sidecar.errors import StorageFull
from tests.fakes import EventHouse, numbers, outcome, published

TYPES = ("x", "y")
AGENTS = ("a", "b")
FULL = StorageFull("The disk is full.")
MAX_EVENTS = 8
RETENTION = 120.0

agents = st.sampled_from(AGENTS)
wants = st.sampled_from([("x",), ("y",), None])
names = st.sampled_from([None, "worker"])


@define(frozen=True)
class Fact:
    """An event on disk, as the model knows it."""

    sequence: int
    event_type: str
    at: float
    ends: float


@define(eq=False)
class Place:
    """A subscription, as the model knows it: what the agent has, and how far it was told that there is nothing."""

    first: int
    received: int = 0
    passed: dict[tuple[str, ...] | None, int] = field(factory=dict)

    def start(self, types: tuple[str, ...] | None) -> int:
        return max(self.first, self.received, self.passed.get(types, 0))


@define(eq=False)
class Poll:
    """A wait that is parked."""

    agent: str
    types: tuple[str, ...] | None
    place: Place | None
    waiting: "Deferred[Answer]"
    ending: "list[Answer | BaseException]"
    start: int
    until: float


@define(eq=False)
class Given:
    """An answer with events whose fate is open."""

    answer: Answer
    place: Place
    house: EventHouse


class HubMachine(RuleBasedStateMachine):
    """Agents that wait and are answered, publishers, a clock, a disk that may be full, and crashes."""

    given = Bundle("given")
    cursors = Bundle("cursors")

    @initialize()
    def begin(self) -> None:
        """Make a house whose issue was seen before everything."""
        self.house = EventHouse(max_events=MAX_EVENTS, retention_seconds=RETENTION)
        self.house.issues.see("i")
        self.facts: list[Fact] = []
        self.numbers_seen: set[int] = set()
        self.gone = 0
        self.places: dict[tuple[str, object], Place] = {}
        self.polls: list[Poll] = []

    # The model

    def _retain(self) -> None:
        now = self.house.clock.seconds()
        kept = [fact for fact in self.facts if fact.sequence > self.gone]
        while len(kept) > MAX_EVENTS or (kept and kept[0].at + RETENTION <= now):
            self.gone = kept.pop(0).sequence

    def _wanted(self, types: tuple[str, ...] | None, after: int) -> list[int]:
        now = self.house.clock.seconds()
        return [
            fact.sequence
            for fact in self.facts
            if fact.sequence > max(after, self.gone) and fact.ends > now and (types is None or fact.event_type in types)
        ]

    def _last(self) -> int:
        return self.house.hub.sequence

    def _place(self, agent: str, types: tuple[str, ...] | None, name: str | None) -> Place:
        key = (agent, name if name is not None else types)
        if key not in self.places:
            self.places[key] = Place(self.gone)
        return self.places[key]

    # Publishing

    @rule(event_type=st.sampled_from(TYPES), ttl=st.sampled_from([5, 50, 86400]), target=cursors)
    def publish(self, event_type: str, ttl: int) -> int:
        """An event on disk ends exactly the polls that want it."""
        at = self.house.clock.seconds()
        done = published(self.house.publish(event_type, ttl_seconds=ttl))
        event = done.event
        assert event.sequence not in self.numbers_seen
        assert not self.numbers_seen or event.sequence > max(self.numbers_seen)
        self.numbers_seen.add(event.sequence)
        self.facts.append(Fact(event.sequence, event_type, at, at + ttl))
        self._retain()
        woken = [poll for poll in self.polls if poll.types is None or event_type in poll.types]
        assert set(done.notified) == {poll.agent for poll in woken}
        for poll in woken:
            (answer,) = poll.ending
            assert isinstance(answer, Answer)
            assert (numbers(answer), answer.gap, answer.timeout) == ([event.sequence], False, False)
            if answer.delivery is not None:
                answer.delivery.lost()  # its fate is settled by the rules that wait
        self.polls = [poll for poll in self.polls if poll not in woken]
        return event.sequence

    @rule(event_type=st.sampled_from(TYPES))
    def publish_on_a_full_disk(self, event_type: str) -> None:
        """A refused event is seen by nobody."""
        self.house.journal.held = True
        seen = self.house.publish(event_type)
        assert seen == []
        self.house.journal.refuse(FULL)
        self.house.journal.held = False
        assert seen == [FULL]

    # Waiting

    @rule(
        agent=agents, types=wants, name=names, limit=st.integers(1, 4), seconds=st.sampled_from([0, 20]), target=given
    )
    def wait(self, agent: str, types: tuple[str, ...] | None, name: str | None, limit: int, seconds: int) -> object:
        """A wait without since goes on where the last received answer ended."""
        return self._wait(agent, types, name, limit, seconds)

    def _wait(self, agent: str, types: tuple[str, ...] | None, name: str | None, limit: int, seconds: int) -> object:
        self._retain()
        place = self._place(agent, types, name)
        start = place.start(types)
        older = [poll for poll in self.polls if poll.place is place]
        waiting = self.house.wait(
            agent=agent,
            subscription=name,
            limit=limit,
            seconds=seconds,
            selection=Selection(None if types is None else frozenset(types)),
        )
        ending = outcome(waiting)
        for poll in older:
            (answer,) = poll.ending
            assert isinstance(answer, Answer)
            assert (answer.events, answer.next_sequence) == ([], poll.start)
            self.polls.remove(poll)
        return self._check(Poll(agent, types, place, waiting, ending, start, 0), limit, seconds)

    @rule(agent=agents, types=wants, name=names, limit=st.integers(1, 4))
    def read_all(self, agent: str, types: tuple[str, ...] | None, name: str | None, limit: int) -> None:
        """A plain loop of waits, all of them received, gives everything once."""
        while isinstance(one := self._wait(agent, types, name, limit, 0), Given):
            self._receive(one)

    @rule(agent=agents, types=wants, cursor=cursors, limit=st.integers(1, 4), seconds=st.sampled_from([0, 20]))
    def wait_since(self, agent: str, types: tuple[str, ...] | None, cursor: int, limit: int, seconds: int) -> None:
        """A wait with since has no place of its own."""
        self._retain()
        waiting = self.house.wait(
            agent=agent,
            since=self.house.hub.cursor(cursor),
            limit=limit,
            seconds=seconds,
            selection=Selection(None if types is None else frozenset(types)),
        )
        self._check(Poll(agent, types, None, waiting, outcome(waiting), cursor, 0), limit, seconds)

    def _check(self, poll: Poll, limit: int, seconds: int) -> object:
        wanted = self._wanted(poll.types, poll.start)
        gap = poll.start < self.gone
        if not wanted and not gap and seconds:
            assert poll.ending == []
            poll.until = self.house.clock.seconds() + seconds
            poll.start = self._last()
            self._pass_over(poll)
            self.polls.append(poll)
            return multiple()
        (answer,) = poll.ending
        assert isinstance(answer, Answer)
        assert numbers(answer) == wanted[:limit]
        assert answer.more_available == (len(wanted) > limit)
        assert answer.gap == gap
        assert answer.timeout == (not wanted and not gap)
        assert answer.next_sequence == (wanted[:limit][-1] if wanted else max(poll.start, self._last()))
        if not wanted:
            self._pass_over(poll)
            return multiple()
        if poll.place is None:
            assert answer.delivery is None
            return multiple()
        return Given(answer, poll.place, self.house)

    def _pass_over(self, poll: Poll) -> None:
        if poll.place is not None:
            poll.place.passed = {poll.types: max(poll.place.start(poll.types), self._last())}

    # What becomes of answers and polls

    @rule(one=consumes(given))
    def receive(self, one: Given) -> None:
        """The connection proves that the answer arrived: none of its events is given again."""
        self._receive(one)

    def _receive(self, one: Given) -> None:
        assert one.answer.delivery is not None
        one.answer.delivery.received()
        if one.house is self.house:  # no connection outlives the sidecar
            one.place.received = max(one.place.received, one.answer.next_sequence)

    @rule(one=consumes(given))
    def lose(self, one: Given) -> None:
        """The connection breaks: nothing has moved."""
        assert one.answer.delivery is not None
        one.answer.delivery.lost()

    @rule(number=st.integers(0, 20))
    def hang_up(self, number: int) -> None:
        """A peer that leaves takes its poll with it."""
        if self.polls:
            poll = self.polls.pop(number % len(self.polls))
            poll.waiting.cancel()
            assert len(poll.ending) == 1

    @rule(seconds=st.sampled_from([1, 7, 30, 130]))
    def time_passes(self, seconds: int) -> None:
        """Polls whose time is up are answered, empty; events end; retention takes the old."""
        self.house.clock.advance(seconds)
        now = self.house.clock.seconds()
        for poll in [poll for poll in self.polls if poll.until <= now]:
            (answer,) = poll.ending
            assert answer == Answer([], self._last(), timeout=True)
            self._pass_over(poll)
            self.polls.remove(poll)

    @rule(agent=agents)
    def agent_ends(self, agent: str) -> None:
        """Polls and places of an agent end with it."""
        self.house.hub.end_agent(agent, FULL)
        for poll in [poll for poll in self.polls if poll.agent == agent]:
            assert poll.ending == [FULL]
            self.polls.remove(poll)
        for key in [key for key in self.places if key[0] == agent]:
            del self.places[key]

    @rule(snapshot=st.booleans(), drained=st.booleans())
    def restart(self, snapshot: bool, drained: bool) -> None:
        """After a restart, from records or from a snapshot, everything stands where it stood."""
        if drained:
            self.house.hub.drain()
            for poll in self.polls:
                (answer,) = poll.ending
                assert isinstance(answer, Answer)
                assert (answer.events, answer.next_sequence, answer.timeout) == ([], poll.start, False)
        before = self.house.hub.sequence
        for call in list(self.house.clock.getDelayedCalls()):
            call.cancel()
        self.house = self.house.restart(snapshot=snapshot)
        self._retain()
        assert self.house.hub.sequence >= max(self.numbers_seen, default=0)
        assert self.house.hub.sequence >= before or not snapshot
        self.polls = []
        for (_, name), place in self.places.items():
            if snapshot and (name is None or isinstance(name, tuple)):
                # What was looked through without a match is written down with a snapshot only, and as a position.
                place.received = max(place.received, place.passed.get(name, 0))
            place.passed = {}

    # Always

    @invariant()
    def parked_as_the_model_says(self) -> None:
        """No poll is parked, and no timer runs, that the model does not know of."""
        if hasattr(self, "polls"):
            assert len(self.house.hub.waiters) == self.house.room.used == len(self.polls)
            assert len(self.house.wheel) == len(self.polls)
            assert all(poll.ending == [] for poll in self.polls)

    @invariant()
    def history_is_what_is_retained(self) -> None:
        """Both orders show the same: every event on disk that retention and time have left."""
        if hasattr(self, "facts"):
            self._retain()
            for newest_first in (True, False):
                page = self.house.hub.history(Selection(), None, None, 1000, newest_first)
                shown = [event.sequence for event in page.events]
                assert shown == sorted(self._wanted(None, 0), reverse=newest_first)


HubMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestHub = HubMachine.TestCase
