"""The hub against a plain model: whatever happens in whatever order, nothing is lost and nothing comes twice.

What an agent may be given follows from a few facts alone: which events are on disk and when they end, what retention
has removed, where the agent's issue was first seen, and which of its answers were received. The model knows those, and
compares whole lists. What a crash may lose or keep it looks up afterwards, and holds against what may be.
"""

from contextlib import ExitStack
from typing import Any
from unittest import mock

import msgspec
from attrs import define, field, frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cco_sidecar.core import idempotency
from cco_sidecar.core.events import fanout
from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.following import Follower
from cco_sidecar.core.events.hub import Published
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.waiting import Answer
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import EventLogUnavailable, KeyReused, StorageFull, TokenRevoked
from tests.fakes import EventHouse, Storage, numbers, outcome

TYPES = ("x", "y", "z")
AGENTS = ("a", "b", "c")
LATE = "c"  # its issue is seen with its first wait
REVOKED = TokenRevoked("It was revoked.")
GONE = TokenRevoked("Its agent is gone.")
MAX_EVENTS = 8
MAX_BYTES = 5000
RETENTION = 120.0
SLICE = 2
KEY_SECONDS = 240.0
MOST_IN_FLIGHT = 4
MOST_POLLS = 24
RARELY = 5  # steps, or most of an example is restarts
PAD = 1500


@frozen
class Want:
    """What a reader wants, in the hub's words and in the model's."""

    types: tuple[str, ...] | None = None
    topic: str | None = None
    color: str | None = None
    least: int | None = None

    @property
    def selection(self) -> Selection:
        terms = [] if self.color is None else [f"color:{self.color}"]
        if self.least is not None:
            terms.append(f"n:>={self.least}")
        types = None if self.types is None else frozenset(self.types)
        return Selection(types, self.topic, parse_filter(",".join(terms)) if terms else None)

    def takes(self, fact: "Fact") -> bool:
        return (
            (self.types is None or fact.event_type in self.types)
            and self.topic in {None, fact.topic}
            and self.color in {None, fact.color}
            and (self.least is None or fact.n >= self.least)
        )


WANTS = (
    Want(("x",)),
    Want(("y",)),
    Want(("x", "y")),
    Want(),
    Want(topic="work"),
    Want(("x",), color="red"),
    Want(color="red", least=2),
    Want(("x", "z"), "rest", least=1),
)


@frozen
class Fact:
    """An event on disk, as the model knows it."""

    sequence: int
    event_type: str
    topic: str
    color: str
    n: int
    size: int
    at: float
    ends: float


@define(eq=False)
class Place:
    """A subscription, as the model knows it: what the agent has, and how far it was told that there is nothing.

    ``safe`` is what is on disk of it for sure; None while it may be that nothing is.
    """

    first: int
    received: int = 0
    passed: tuple[Want | None, int] = (None, 0)
    safe: int | None = None

    def start(self, want: Want) -> int:
        return max(self.first, self.received, self.passed[1] if self.passed[0] == want else 0)

    def most(self) -> int:
        return max(self.first, self.received, self.passed[1])


@define(eq=False)
class Poll:
    """A wait; ``claimed`` is the event that ends it when its turn comes."""

    agent: str | None
    token: str
    want: Want
    place: Place | None
    waiting: "Deferred[Answer]"
    ending: "list[Answer | BaseException]"
    start: int
    until: float = 0.0
    claimed: int | None = None


@define(eq=False)
class Given:
    """An answer with events whose fate is open."""

    answer: Answer
    place: Place
    house: EventHouse


@define(eq=False)
class Flight:
    """An event that somebody publishes, until he knows what became of it."""

    tag: int
    began: float
    key: str | None = None
    body: int = 0
    published: Published | None = None
    seen: "list[Any]" = field(factory=list)


@define(eq=False)
class Key:
    """An idempotency key with its answer; ``over`` says that there was a moment when its time was up."""

    body: int
    event_id: str
    first: float
    last: float
    over: bool = False


@define(eq=False)
class Stream:
    """A stream, what it was given, and what it should have been given; ``closed`` says that there is no more."""

    house: EventHouse
    follower: Follower
    token: str
    want: Want
    position: int
    said: list[object] = field(factory=list)
    expected: list[object] = field(factory=list)
    paused: bool = False
    closed: bool = False

    def event(self, cursor: str, event: Event) -> None:
        assert cursor == self.house.hub.cursor(event.sequence)
        self.said.append(event.sequence)

    def gap(self, oldest_cursor: str) -> None:
        self.said.append(oldest_cursor)

    def beat(self) -> None:
        """It lives."""

    def end(self, reason: str) -> None:
        assert self.closed, reason


class TurningClock(Clock):
    """A clock that can let the reactor come round once."""

    def turn(self) -> None:
        """Make the calls that are due; what they ask for comes with the next turn."""
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


agents = st.sampled_from(AGENTS)
wants = st.sampled_from(WANTS)
names = st.sampled_from([None, None, "worker"])
limits = st.integers(1, 4)
picks = st.integers(0, 50)
patience = st.sampled_from([0, 20, 200])


class HubMachine(RuleBasedStateMachine):
    """Agents that wait, publishers, streams, a clock, a disk that may be slow or full, and crashes."""

    def make_storage(self) -> Storage:
        """Give the storage that all lives stand on."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Make a house whose issue was seen before everything."""
        self.patches = ExitStack()
        self.patches.enter_context(mock.patch.object(fanout, "SLICE", SLICE))
        self.patches.enter_context(mock.patch.object(idempotency, "KEPT_SECONDS", KEY_SECONDS))
        self.house = EventHouse(
            MAX_EVENTS, RETENTION, storage=self.make_storage(), clock=TurningClock(), most_bytes=MAX_BYTES
        )
        self.house.issues.see("i")
        self.house.storage.settle()
        self.facts: list[Fact] = []
        self.last = 0  # the newest number that readers know of
        self.gone = 0
        self.gone_at = 0.0
        self.cursors = [0]
        self.nobody_is_before_them = True  # those whose turn to be answered is still to come
        self.tags = 0
        self.age = 0  # of this life, in steps
        self.flying: list[Flight] = []
        self.keys: dict[str, Key] = {}
        self.full = self.may_refuse = False
        self.marks = {"i": 0}
        self.safe_marks = {"i"}
        self.lives = dict.fromkeys(AGENTS, 0)
        self.places: dict[tuple[str, str], Place] = {}
        self.ghosts: dict[tuple[str, str], list[Place]] = {}  # whose end may not be on disk yet
        self.polls: list[Poll] = []
        self.open: list[Given] = []
        self.streams: list[Stream] = []

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.storage.crash()
            self.patches.close()

    # The model

    @property
    def now(self) -> float:
        return self.house.clock.seconds()

    def _gone(self, gone: int) -> tuple[int, float]:
        """Say what retention removes, if that is gone already; and when the last of that was."""
        at, kept = self.gone_at, [fact for fact in self.facts if fact.sequence > gone]
        while (
            len(kept) > MAX_EVENTS
            or sum(fact.size for fact in kept) > MAX_BYTES
            or (kept and kept[0].at + RETENTION <= self.now)
        ):
            gone, at = kept[0].sequence, kept[0].at
            kept.pop(0)
        return gone, at

    def _retain(self) -> None:
        self.gone, self.gone_at = self._gone(self.gone)

    def _wanted(self, want: Want, after: int) -> list[int]:
        return [
            fact.sequence
            for fact in self.facts
            if fact.sequence > max(after, self.gone) and fact.ends > self.now and want.takes(fact)
        ]

    def _issue(self, agent: str) -> str:
        return "late" if agent == LATE else "i"

    def _place(self, agent: str, want: Want, name: str | None) -> Place:
        mark = self.marks.setdefault(self._issue(agent), self.last)
        key = (agent, name or want.selection.key)
        if key not in self.places:
            self.places[key] = Place(max(mark, self.gone))
        return self.places[key]

    def _token(self, agent: str | None) -> str:
        return "admin" if agent is None else f"{agent} {self.lives[agent]}"

    def _all_is_on_disk(self) -> None:
        for place in self.places.values():
            place.safe = max(place.first, place.received)
        self.ghosts.clear()
        self.safe_marks = set(self.marks)

    # Publishing

    def _publish(self, event_type: str, data: dict[str, object], key: str | None = None, **more: Any) -> Flight:
        self.tags += 1
        flight = Flight(self.tags, self.now, key)
        draft = self.house.draft(event_type, data={**data, "tag": self.tags}, **more)
        if key is None:
            flight.seen = outcome(self.house.hub.publish(draft))
        else:
            flight.body = int(str(data["n"]))
            flight.seen = outcome(Deferred.fromCoroutine(self._once(flight, draft)))
        self.flying.append(flight)
        return flight

    async def _once(self, flight: Flight, draft: Any) -> Answered:
        house = self.house

        async def work(record: Any) -> Answered:
            flight.began = house.clock.seconds()
            published = await house.hub.publish(draft, lambda event: record(202, event.body.event_id))
            flight.published = published
            return Answered(202, msgspec.json.encode(published.event.body.event_id))

        return await house.keys.once(("a", "publish", flight.key or ""), str(flight.body), work)

    @precondition(lambda self: len(self.flying) < MOST_IN_FLIGHT)
    @rule(
        event_type=st.sampled_from(TYPES),
        topic=st.sampled_from(["work", "rest"]),
        color=st.sampled_from(["red", "blue"]),
        n=st.integers(0, 3),
        ttl=st.sampled_from([5, 50, 86400]),
        pad=st.sampled_from([0, 0, 0, PAD]),
        settled=st.sampled_from([True, True, True, False]),
    )
    def publish(  # noqa: PLR0917 - each is drawn
        self, event_type: str, topic: str, color: str, n: int, ttl: int, pad: int, settled: bool
    ) -> None:
        """An event is seen once it is on disk, and ends exactly the polls that want it."""
        data = {"color": color, "n": n, "pad": "-" * pad}
        self._publish(event_type, data, topic=topic, ttl_seconds=ttl)
        if settled:
            self._settle()
        self._land()

    @rule(events=st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from(["red", "blue"])), min_size=2, max_size=7))
    def publish_some(self, events: list[tuple[str, str]]) -> None:
        """One after the other, as most are."""
        for event_type, color in events:
            self.publish(event_type, "work", color, len(events) % 4, 86400, 0, settled=True)

    @precondition(lambda self: len(self.flying) < 2)
    @rule(events=st.lists(st.sampled_from(TYPES), min_size=2, max_size=3), settled=st.booleans())
    def publish_together(self, events: list[str], settled: bool) -> None:
        """Several are on their way to the disk at the same time."""
        for event_type in events:
            self._publish(event_type, {"color": "red", "n": 2})
        if settled:
            self._settle()
        self._land()

    @precondition(lambda self: len(self.flying) < MOST_IN_FLIGHT)
    @rule(key=st.sampled_from(["k1", "k2"]), body=st.integers(0, 1), settled=st.booleans())
    def publish_once(self, key: str, body: int, settled: bool) -> None:
        """The same key gives the same event; with another body it is refused."""
        known, pending = self.keys.get(key), any(flight.key == key for flight in self.flying)
        flight = self._publish("x", {"color": "red", "n": body}, key)
        at_once = bool(flight.seen) and flight.published is None
        if known is None or pending or known.last + KEY_SECONDS <= self.now:
            assert not at_once
        elif not known.over:
            assert at_once
        if settled:
            self._settle()
        self._land()

    def _land(self) -> None:
        """Take note of what has become of the events in flight."""
        landed = [flight for flight in self.flying if flight.seen]
        self.flying = [flight for flight in self.flying if not flight.seen]
        shown = [(flight.published or flight.seen[0], flight) for flight in landed if not _not_published(flight)]
        shown.sort(key=lambda pair: pair[0].event.sequence)
        free = self.nobody_is_before_them
        for published, flight in shown:
            self._shown(published, flight)
        for flight in filter(_not_published, landed):
            self._not_shown(flight)
        if len(shown) == 1 and free:
            # The first have been answered already.
            claimed = [poll for poll in self.polls if poll.claimed]
            assert all(poll.ending for poll in claimed[:SLICE])
        if sum(1 for poll in self.polls if poll.claimed) > SLICE:
            self.nobody_is_before_them = False
        self._answered()

    def _shown(self, published: Published, flight: Flight) -> None:
        fact = self._fact(published.event)
        self._retain()
        if flight.key is not None:
            self.keys[flight.key] = Key(
                flight.body,
                published.event.body.event_id,
                min(flight.began, self.now),
                max(flight.began, self.now),
            )
        woken = [poll for poll in self.polls if poll.claimed is None and poll.want.takes(fact)]
        for poll in woken:
            poll.claimed = fact.sequence
        woken_agents = {poll.agent for poll in woken if poll.agent}
        sure = {poll.agent for poll in woken if poll.agent and poll.token not in self.house.dead}
        assert sure <= set(published.notified) <= woken_agents
        assert len(set(published.notified)) == len(published.notified)
        for stream in self.streams:
            if not stream.closed and not stream.paused:
                stream.position = fact.sequence
                stream.expected += [fact.sequence] * stream.want.takes(fact)

    def _fact(self, event: Event) -> Fact:
        body, data = event.body, msgspec.json.decode(event.data)
        assert event.sequence > self.last
        assert not self.facts or event.at >= self.facts[-1].at
        assert event.expires_at == event.at + body.ttl_seconds
        self.last = event.sequence
        fact = Fact(
            event.sequence,
            body.event_type,
            body.topic,
            data["color"],
            data["n"],
            len(event.encoded),
            event.at,
            event.expires_at,
        )
        self.facts.append(fact)
        self.cursors.append(fact.sequence)
        return fact

    def _not_shown(self, flight: Flight) -> None:
        (ending,) = flight.seen
        if isinstance(ending, KeyReused | Answered):
            key = self.keys[flight.key or ""]
            same = key.body == flight.body
            assert same == isinstance(ending, Answered)
            if isinstance(ending, Answered):
                # Of one that retention took at once nobody has seen the name.
                assert key.event_id in {"", msgspec.json.decode(ending.body)}
            return
        assert isinstance(ending, StorageFull | EventLogUnavailable)
        assert self.may_refuse

    def _answered(self) -> None:
        """Look at the polls that an event was to end; first come, first served."""
        claimed = [poll for poll in self.polls if poll.claimed]
        claimed.sort(key=lambda poll: poll.claimed or 0)
        open_before = False
        for poll in claimed:
            open_before = open_before or not poll.ending
            if not poll.ending:
                continue
            assert not open_before, "one who came later was answered before"
            assert poll.claimed is not None
            answer = self._ending(poll, [poll.claimed], poll.claimed)
            if answer is not None and poll.place is not None:
                self.open.append(Given(answer, poll.place, self.house))
            self.polls.remove(poll)

    def _ending(self, poll: Poll, events: list[int], following: int, *, timeout: bool = False) -> Answer | None:
        """Check how a poll ended; None if its token was dead."""
        (answer,) = poll.ending
        if poll.token in self.house.dead:
            assert answer is REVOKED
            return None
        assert isinstance(answer, Answer)
        assert (numbers(answer), answer.next_sequence, answer.timeout) == (events, following, timeout)
        assert not answer.gap
        assert not answer.more_available
        assert (answer.delivery is not None) == bool(events and poll.place is not None)
        self.cursors.append(following)
        return answer

    # The disk

    def _settle(self) -> None:
        self.house.storage.settle()
        self._land()
        if not self.full:
            self.may_refuse = False
            self._all_is_on_disk()

    @rule()
    def disk_works(self) -> None:
        """All that is under way is done."""
        self._settle()

    @rule(steps=st.integers(1, 4))
    def disk_works_a_little(self, steps: int) -> None:
        """Some of it is done."""
        for _ in range(steps):
            self.house.storage.step()
            self._land()

    @precondition(lambda self: self.age > RARELY)
    @rule()
    def disk_is_full(self) -> None:
        """From now on it refuses, after some bytes."""
        self.full = self.may_refuse = True
        self.house.storage.fill()

    @precondition(lambda self: self.flying and not self.full)
    @rule()
    def disk_is_full_for_a_moment(self) -> None:
        """What it was just asked to write is refused, what comes behind that is not."""
        self.may_refuse = True
        self.house.storage.fill()
        self.house.storage.step()
        self.house.storage.heal()
        self._land()

    @precondition(lambda self: self.full)
    @rule()
    def disk_has_room(self) -> None:
        """All goes on, and what was only noted is written after all."""
        self.full = False
        self.house.storage.heal()
        self._settle()

    @rule(settled=st.booleans())
    def new_segment(self, settled: bool) -> None:
        """A snapshot is begun."""
        self.house.storage.rotate()
        if settled:
            self._settle()

    # Waiting

    def _wait(
        self, poll_of: tuple[str, Want, str | None], limit: int, seconds: int, ack: int | None = None
    ) -> Given | None:
        agent, want, name = poll_of
        self._retain()
        place = self._place(agent, want, name)
        if ack is not None:
            place.received = max(place.received, ack)
        start = place.start(want)
        older = [poll for poll in self.polls if poll.place is place]
        token = self._token(agent)
        waiting = self.house.wait(
            reader=self.house.reader(agent, token, self._issue(agent)),
            selection=want.selection,
            subscription=name,
            limit=limit,
            seconds=seconds,
            ack=None if ack is None else self.house.hub.cursor(ack),
        )
        ending = outcome(waiting)
        for poll in older:
            self._ending(poll, [], poll.start)
            self.polls.remove(poll)
        return self._check(
            Poll(agent, token, want, place, waiting, ending, start), limit, seconds, gap=start < self.gone
        )

    def _check(self, poll: Poll, limit: int, seconds: int, *, gap: bool) -> Given | None:
        wanted = self._wanted(poll.want, poll.start)
        if not wanted and not gap and seconds:
            assert poll.ending == []
            poll.until = self.now + seconds
            poll.start = max(poll.start, self.last)
            self._pass_over(poll)
            self.polls.append(poll)
            return None
        (answer,) = poll.ending
        assert isinstance(answer, Answer)
        assert numbers(answer) == wanted[:limit]
        assert answer.more_available == (len(wanted) > limit)
        assert answer.gap == gap
        assert answer.timeout == (not wanted and not gap)
        assert answer.next_sequence == (wanted[:limit][-1] if wanted else max(poll.start, self.last))
        self.cursors.append(answer.next_sequence)
        if not wanted:
            self._pass_over(poll)
            return None
        if poll.place is None:
            assert answer.delivery is None
            return None
        return Given(answer, poll.place, self.house)

    def _pass_over(self, poll: Poll) -> None:
        if poll.place is not None:
            poll.place.passed = (poll.want, max(poll.place.start(poll.want), self.last))

    @precondition(lambda self: len(self.polls) < MOST_POLLS)
    @rule(
        agent=agents,
        want=wants,
        name=names,
        limit=limits,
        seconds=patience,
        ack=st.sampled_from([None] * 4 + [0, 5]),
        back=picks,
    )
    def wait(  # noqa: PLR0917 - each is drawn
        self, agent: str, want: Want, name: str | None, limit: int, seconds: int, ack: int | None, back: int
    ) -> None:
        """A wait without since goes on where the last received answer ended, or where it says that it does."""
        if ack is not None:
            ack = max(0, self.last - back % (ack + 1))
        given = self._wait((agent, want, name), limit, seconds, ack)
        if given is not None:
            self.open.append(given)

    @precondition(lambda self: len(self.polls) < MOST_POLLS - 8)
    @rule(
        want=wants,
        size=st.integers(3, 8),
        seconds=patience,
        woken=st.booleans(),
        then=st.sampled_from([None, None, 30]),
    )
    def crowd(self, want: Want, size: int, seconds: int, woken: bool, then: int | None) -> None:
        """Many wait for the same, and are woken slice by slice; the time may be up before the last ones' turn."""
        for number in range(size):
            agent = AGENTS[number % len(AGENTS)]
            if number % 2:
                self.wait(agent, want, f"worker {number}", 2, seconds, None, 0)
            else:
                self.wait_since(agent, want, "latest", 0, 2, seconds)
        if woken:
            self.publish(want.types[0] if want.types else "x", want.topic or "work", "red", 3, 86400, 0, settled=True)
        if then is not None:
            self.time_passes(then)

    @rule(agent=agents, want=wants, name=names, limit=limits)
    def read_all(self, agent: str, want: Want, name: str | None, limit: int) -> None:
        """A plain loop of waits, all of them received, gives everything once."""
        while (one := self._wait((agent, want, name), limit, 0)) is not None:
            self._receive(one)

    @precondition(lambda self: len(self.polls) < MOST_POLLS)
    @rule(
        agent=st.sampled_from([*AGENTS, None]),
        want=wants,
        since=st.sampled_from(["cursor", "event", "earliest", "latest", "time"]),
        pick=picks,
        limit=limits,
        seconds=patience,
    )
    def wait_since(  # noqa: PLR0917 - each is drawn
        self, agent: str | None, want: Want, since: str, pick: int, limit: int, seconds: int
    ) -> None:
        """A wait with since has no place of its own."""
        self._retain()
        text, start, gap = self._since(since, pick)
        token = self._token(agent)
        reader = self.house.reader(agent, token, self._issue(agent or "a"))
        waiting = self.house.wait(reader=reader, since=text, selection=want.selection, limit=limit, seconds=seconds)
        self._check(Poll(agent, token, want, None, waiting, outcome(waiting), start), limit, seconds, gap=gap)

    def _since(self, since: str, pick: int) -> tuple[str, int, bool]:
        """Give a place in the hub's words, the number it stands for, and whether retention took what comes after it."""
        if since == "earliest":
            return since, self.gone, False
        if since == "latest":
            return since, self.last, False
        if since == "time":
            at = self.now - pick * 3
            older = [fact.sequence for fact in self.facts if fact.sequence > self.gone and fact.at < at]
            return rfc3339(at), max(older, default=self.gone), at <= self.gone_at
        number = self.cursors[-1 - pick % len(self.cursors)]
        name = self.house.hub.cursor(number)
        return name if since == "cursor" else name.replace("c-", "evt-", 1), number, number < self.gone

    # What becomes of answers and polls

    @precondition(lambda self: self.open)
    @rule(pick=picks)
    def receive(self, pick: int) -> None:
        """The connection proves that the answer arrived: none of its events is given again."""
        self._receive(self.open.pop(pick % len(self.open)))

    def _receive(self, one: Given) -> None:
        assert one.answer.delivery is not None
        one.answer.delivery.received()
        if one.house is self.house:  # no connection outlives the sidecar
            one.place.received = max(one.place.received, one.answer.next_sequence)

    @precondition(lambda self: self.open)
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        """The connection breaks: nothing has moved."""
        one = self.open.pop(pick % len(self.open))
        assert one.answer.delivery is not None
        one.answer.delivery.lost()

    @precondition(lambda self: self.polls)
    @rule(pick=picks)
    def hang_up(self, pick: int) -> None:
        """A peer that leaves takes its poll with it, also when it was about to be answered."""
        poll = self.polls.pop(pick % len(self.polls))
        poll.waiting.cancel()
        assert len(poll.ending) == 1

    @rule()
    def turn(self) -> None:
        """The reactor comes round: so many more are answered as are in a slice."""
        before = len(self.polls)
        self.house.clock.turn()  # type: ignore[attr-defined]  # it is a TurningClock
        self._answered()
        assert before - len(self.polls) <= SLICE

    @rule(seconds=st.sampled_from([0, 1, 5, 30, 50, 120]))
    def time_passes(self, seconds: int) -> None:
        """Polls whose time is up are answered, empty; events end; retention takes the old."""
        self.house.clock.advance(seconds)
        self._answered()
        assert not any(poll.claimed for poll in self.polls)
        self.nobody_is_before_them = True
        for poll in [poll for poll in self.polls if poll.until <= self.now]:
            self._ending(poll, [], self.last, timeout=True)
            self._pass_over(poll)
            self.polls.remove(poll)

    @rule(seconds=st.sampled_from([3, 40, 200]))
    def clock_is_set_back(self, seconds: int) -> None:
        """Somebody sets the clock: what is over in the hub's eyes may not be over any more."""
        self.house.clock.advance(0)
        self._answered()
        self.house.clock.advance(-seconds)

    @precondition(lambda self: self.age > RARELY)
    @rule(agent=agents)
    def agent_ends(self, agent: str) -> None:
        """Polls, streams and places of an agent end with it."""
        for stream in self.streams:
            stream.closed = stream.closed or stream.follower.reader.agent == agent
        self.house.hub.end_agent(agent, GONE)
        for poll in [poll for poll in self.polls if poll.agent == agent]:
            assert poll.ending == [GONE]
            self.polls.remove(poll)
        for key in [key for key in self.places if key[0] == agent]:
            self.ghosts.setdefault(key, []).append(self.places.pop(key))

    @rule(agent=agents, told=st.booleans())
    def token_dies(self, agent: str, told: bool) -> None:
        """Under a dead token nothing is given any more, whether the hub is told or finds out when it would answer."""
        token = self._token(agent)
        self.lives[agent] += 1
        self.house.dead[token] = REVOKED
        for stream in self.streams:
            stream.closed = stream.closed or stream.token == token
        if told:
            self.house.hub.end_polls([token], REVOKED)
            for poll in [poll for poll in self.polls if poll.token == token]:
                assert poll.ending == [REVOKED]
                self.polls.remove(poll)

    # Streams

    @precondition(lambda self: len(self.streams) < 3)
    @rule(agent=agents, want=wants, since=st.sampled_from([None, "earliest", "cursor"]), pick=picks)
    def stream_begins(self, agent: str, want: Want, since: str | None, pick: int) -> None:
        """A stream gives what is there after its place, then what comes."""
        self._retain()
        text, position, _ = self._since(since or "latest", pick)
        token = self._token(agent)
        followers = self.house.hub.followers
        reader = self.house.reader(agent, token, self._issue(agent))
        follower = followers.open(reader, want.selection, resume=None, since=text if since else None, until=None)
        stream = Stream(self.house, follower, token, want, position)
        followers.begin(follower, stream, 1e9)
        self._catch_up(stream)
        self.streams.append(stream)

    def _catch_up(self, stream: Stream) -> None:
        if stream.position < self.gone:
            stream.expected.append(self.house.hub.cursor(self.gone))
        stream.expected += self._wanted(stream.want, stream.position)
        stream.position = max(stream.position, self.last)

    @precondition(lambda self: self.streams)
    @rule(pick=picks)
    def stream_stops_or_goes_on(self, pick: int) -> None:
        """A connection that takes nothing for a while is given the rest when it takes something again."""
        stream = self.streams[pick % len(self.streams)]
        if stream.closed:
            return
        stream.paused = not stream.paused
        if stream.paused:
            self.house.hub.followers.pause(stream.follower)
        else:
            self.house.hub.followers.resume(stream.follower)
            self._catch_up(stream)

    @precondition(lambda self: self.streams)
    @rule(pick=picks)
    def stream_leaves(self, pick: int) -> None:
        """Its peer is gone."""
        stream = self.streams.pop(pick % len(self.streams))
        self.house.hub.followers.leave(stream.follower)
        assert stream.said == stream.expected

    # Looking back

    @rule(
        want=wants,
        since=st.sampled_from(["cursor", "event", "earliest", "time"]),
        pick=picks,
        limit=limits,
        newest_first=st.booleans(),
    )
    def history(self, want: Want, since: str, pick: int, limit: int, newest_first: bool) -> None:
        """Page after page gives all that is there, once."""
        self._retain()
        text, start, _ = self._since(since, pick)
        wanted, shown, more = self._wanted(want, start), [], True
        while more:
            page = self.house.hub.history.page(want.selection, text, None, limit, newest_first)
            shown += [event.sequence for event in page.events]
            text, more = page.next_cursor, page.more_available
            assert len(page.events) == limit or not more
        assert shown == sorted(wanted, reverse=newest_first)

    # The end of a life

    @precondition(lambda self: self.age > RARELY)
    @rule(kept=st.sampled_from([0.0, 0.3, 0.6, 1.0]))
    def crash(self, kept: float) -> None:
        """What was acknowledged is there afterwards; of the rest there may be a beginning."""
        self._next_life(self.house.storage.crash(0.0 if self.full else kept), orderly=False)

    @precondition(lambda self: self.age > RARELY)
    @rule()
    def restart(self) -> None:
        """All is there afterwards; polls have been answered, empty, and streams ended."""
        for stream in self.streams:
            stream.closed = True
        self.house.hub.drain()
        for poll in self.polls:
            self._ending(poll, [], poll.start)
        self.polls = []
        storage = self.house.storage.close()
        self._land()
        assert self.flying == []
        self._next_life(storage, orderly=not self.may_refuse)

    def _next_life(self, storage: Storage, *, orderly: bool) -> None:
        self.full = self.may_refuse = False
        self.age = 0
        self.nobody_is_before_them = True
        self.polls, self.streams = [], []
        for call in list(self.house.clock.getDelayedCalls()):
            call.cancel()
        self.house = self.house.on(storage)
        self._find_events()
        self._find_marks(orderly=orderly)
        self._find_places(orderly=orderly)

    def _find_events(self) -> None:
        hub, flying = self.house.hub, {flight.tag: flight for flight in self.flying}
        assert hub.sequence >= self.last
        gone = hub.ring.evicted_through
        lost_sight = gone > self.last
        found = []
        for event in hub.ring.after(self.last):
            flight = flying.pop(msgspec.json.decode(event.data)["tag"])
            found.append(flight)
            self._fact(event)
            if flight.key is not None:
                assert flight.key not in self.keys or self.keys[flight.key].over
                self.keys[flight.key] = Key(flight.body, event.body.event_id, flight.began, flight.began)
        plain = [flight for flight in self.flying if flight.key is None]
        survived = [flight for flight in found if flight.key is None]
        assert lost_sight or survived == plain[: len(survived)]
        for flight in flying.values():
            if lost_sight and flight.key is not None:
                # It may have been there, and retention took it at once.
                self.keys[flight.key] = Key(flight.body, "", 0.0, flight.began, over=True)
        self.flying = []
        # A clock that was set back gives events back that were removed for their age, unless a segment went with them.
        least, _ = self._gone(0)
        most, _ = self._gone(self.gone)
        assert lost_sight or least <= gone <= most
        self.gone, self.last = gone, hub.sequence
        self.gone_at = hub.ring.evicted_at
        known = [fact.at for fact in self.facts if fact.sequence == gone]
        assert not gone or not known or self.gone_at == known[0]

    def _find_marks(self, *, orderly: bool) -> None:
        for issue, mark in list(self.marks.items()):
            kept = self.house.issues._seen.get(issue)
            if kept is None:
                assert issue not in self.safe_marks
                assert not orderly
                del self.marks[issue]
            else:
                assert kept.mark == mark
        self.safe_marks = set(self.marks)

    def _find_places(self, *, orderly: bool) -> None:
        places, self.places = self.places, {}
        for agent, mine in self.house.hub.subscriptions._of_agent.items():
            for name, subscription in mine.items():
                key = (agent, name)
                may_be = [places[key]] if key in places else []
                if not orderly:
                    may_be += self.ghosts.get(key, [])
                least = [max(place.first, place.received) if orderly else place.safe or 0 for place in may_be]
                assert min(least) <= subscription.position <= max(place.most() for place in may_be)
                at = subscription.position
                self.places[key] = Place(at, at, safe=at)
        for key in places.keys() - self.places.keys():
            assert places[key].safe is None
            assert not orderly
        self.ghosts.clear()

    # Always

    @invariant()
    def parked_as_the_model_says(self) -> None:
        """No poll is parked, and no timer runs, that the model does not know of."""
        if not hasattr(self, "house"):
            return
        self.age += 1
        hub = self.house.hub
        assert len(hub.waiters) == len(self.polls)
        assert len(self.house.wheel) == len(self.polls)
        assert self.house.room.used == len(self.polls) + len(hub.followers)
        assert all(poll.ending == [] for poll in self.polls)
        for key in self.keys.values():
            key.over = key.over or key.first + KEY_SECONDS <= self.now

    @invariant()
    def all_see_the_same(self) -> None:
        """History shows every event on disk that retention and time have left; so do the streams."""
        if not hasattr(self, "house"):
            return
        self._retain()
        hub = self.house.hub
        for newest_first in (True, False):
            page = hub.history.page(Selection(), None, None, 1000, newest_first)
            shown = [event.sequence for event in page.events]
            assert shown == sorted(self._wanted(WANTS[3], 0), reverse=newest_first)
        assert hub.sequence == self.last
        assert hub.oldest_cursor == hub.cursor(self.gone)
        for stream in self.streams:
            assert stream.said == stream.expected


def _not_published(flight: Flight) -> bool:
    """Say whether nothing new came of it: it was refused, or was there before."""
    return flight.published is None and not isinstance(flight.seen[0], Published)
