"""Doors in memory, and houses built on them: the disk answers when the test says so."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from cco_sidecar.backends.recovery import everything
from cco_sidecar.core.events.event import Event, Priority
from cco_sidecar.core.events.hub import Draft, EventHub, Published
from cco_sidecar.core.events.ring import MOST_BYTES, Ring
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.subscriptions import Delivery, Subscriptions
from cco_sidecar.core.events.waiting import Answer, PollRoom, Reader
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.issues import Issues
from cco_sidecar.core.ledger import KeyRecord, Ledger, Snapshot
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import EventLogUnavailable, NotFound, Refusal, StorageFull
from cco_sidecar.interfaces import IJournal, IResultStore, ResultEntry, ResultListing, StoredResult

T = TypeVar("T")

START = 1_800_000_000.0
"""When the clocks of tests begin: 2027-01-15T08:00:00Z."""


def outcome(deferred: "Deferred[T]") -> "list[T | BaseException]":
    """Give a list that gets the result, or the exception, as soon as there is one."""
    seen: list[T | BaseException] = []
    deferred.addCallbacks(seen.append, lambda failure: seen.append(failure.value))
    return seen


def result_of(deferred: "Deferred[T]") -> T:
    """Give the result of what has fired already; raise what it failed with."""
    seen = outcome(deferred)
    assert seen, "it has not fired"
    if isinstance(seen[0], BaseException):
        raise seen[0]
    return seen[0]


def numbered(prefix: str = "") -> Callable[[], str]:
    """Give a source of ids: 00000001, 00000002, …"""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers):08x}"


@implementer(IJournal)
@define(eq=False)
class MemoryJournal:
    """Keeps records; while `held`, what comes waits for `write` or `refuse`; a `refusal` meets what comes."""

    records: list[bytes] = field(factory=list)
    held: bool = False
    refusal: Refusal | None = None
    waiting: "list[tuple[bytes, Deferred[None] | None]]" = field(factory=list)
    trouble: str | None = None
    size_bytes: int = 0
    idle: "list[Deferred[None]]" = field(factory=list)

    def append(self, record: bytes) -> "Deferred[None]":
        if self.refusal is not None:
            return fail(self.refusal)
        done: Deferred[None] = Deferred()
        self._take(record, done)
        return done

    def note(self, record: bytes) -> None:
        if self.refusal is None:
            self._take(record, None)

    def _take(self, record: bytes, done: "Deferred[None] | None") -> None:
        self.waiting.append((record, done))
        if not self.held:
            self.write()

    def write(self, most: int | None = None) -> None:
        """Write what waits, or the first so many."""
        batch, self.waiting = self.waiting[:most], self.waiting[len(self.waiting) if most is None else most :]
        self.records.extend(record for record, _ in batch)
        if batch:
            self.trouble = None
        for _, done in batch:
            if done is not None:
                done.callback(None)
        self._tell_idle()

    def refuse(self, refusal: Refusal, most: int | None = None) -> None:
        """Let the write of what waits fail; what nobody waits for goes with the next."""
        batch, rest = self.waiting[:most], self.waiting[len(self.waiting) if most is None else most :]
        self.waiting = [*((record, done) for record, done in batch if done is None), *rest]
        self.trouble = refusal.message
        for _, done in batch:
            if done is not None:
                done.errback(refusal)
        self._tell_idle()

    def flush(self) -> "Deferred[None]":
        if not self.waiting:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self.idle.append(done)
        return done

    def _tell_idle(self) -> None:
        if self.waiting:
            return
        idle, self.idle = self.idle, []
        for done in idle:
            done.callback(None)

    def close(self) -> None:
        """Write what waits, and take nothing more."""
        self.write()
        self.refusal = EventLogUnavailable("It is closed.")

    def kinds(self) -> list[str]:
        """Give the kinds of all records, in order."""
        return [msgspec.json.decode(record)["k"] for record in self.records]


class Storage(Protocol):
    """Where a log lies, for one life of the sidecar; the next life has the storage that `crash` or `close` gives.

    Nothing is written until the test says so.
    """

    def open(self, snapshot: Callable[[], Snapshot], mark: Callable[[], int], horizon: Callable[[], int]) -> IJournal:
        """Give the journal; see `FileJournal` for what it is given."""

    def recover(self, apply: Callable[[bytes], None], lasts: Callable[[bytes], bool] = everything) -> None:
        """Give the records of the earlier lives to ``apply``, and begin to take new ones.

        Of what a later snapshot supersedes, only what ``lasts`` need be given.
        """

    def step(self) -> bool:
        """Let the next thing be done that is under way; False if there is nothing."""

    def settle(self) -> None:
        """Let everything be done that is under way; unless the disk is full, all that was noted is on it then."""

    def fill(self) -> None:
        """Let the disk be full: what it is asked to write it refuses."""

    def heal(self) -> None:
        """Let there be room again."""

    def rotate(self) -> None:
        """Begin to write the state as it is now."""

    def crash(self, kept: float = 0.0) -> "Storage":
        """End at once; of what was being written then, so much is on disk (0: nothing, 1: all)."""

    def close(self) -> "Storage":
        """End in good order."""


@define(eq=False)
class MemoryStorage:
    """Keeps a log in a `MemoryJournal`."""

    records: list[bytes] = field(factory=list)
    held: bool = False
    """Whether nothing is written until the test says so."""
    journal: MemoryJournal = field(init=False)
    _full: bool = False
    _snapshot: Callable[[], Iterable[bytes]] = list
    _horizon: Callable[[], int] = int

    def open(self, snapshot: Callable[[], Snapshot], mark: Callable[[], int], horizon: Callable[[], int]) -> IJournal:
        self.journal = MemoryJournal(list(self.records), self.held)
        self._snapshot, self._horizon = snapshot, horizon
        return self.journal

    def recover(self, apply: Callable[[bytes], None], lasts: Callable[[bytes], bool] = everything) -> None:
        for record in self.records:
            apply(record)

    def step(self) -> bool:
        if self._full:
            first = next((number for number, (_, done) in enumerate(self.journal.waiting, 1) if done is not None), 0)
            if first:
                self.journal.refuse(StorageFull("The disk is full."), first)
            return bool(first)
        if not self.journal.waiting:
            return False
        self.journal.write()
        return True

    def settle(self) -> None:
        while self.step():
            pass

    def fill(self) -> None:
        self._full = True

    def heal(self) -> None:
        self._full = False

    def rotate(self) -> None:
        if not self._full:
            horizon = self._horizon()
            events = [record for record in self.journal.records if _event_number(record) > horizon]
            self.journal.records = [*events, *self._snapshot()]

    def crash(self, kept: float = 0.0) -> "MemoryStorage":
        waiting = [] if self._full else self.journal.waiting[: round(len(self.journal.waiting) * kept)]
        return MemoryStorage([*self.journal.records, *(record for record, _ in waiting)], self.held)

    def close(self) -> "MemoryStorage":
        self.settle()
        self.journal.close()
        return MemoryStorage(list(self.journal.records), self.held)


def _event_number(record: bytes) -> int:
    """Give an event's number; 0 for what is none."""
    if not record.startswith(b'{"k":"event"'):
        return 0
    body = msgspec.json.decode(record)["b"]
    return int(body["sequence"] if isinstance(body, dict) else body)


@implementer(IReactorFromThreads)
@define(eq=False)
class ThreadsReactor:
    """A reactor that does nothing but take up what threads hand over, when a test waits for it."""

    _calls: "SimpleQueue[tuple[Callable[..., object], tuple[object, ...], dict[str, object]]]" = field(
        factory=SimpleQueue
    )

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self._calls.put((callable, args, kwargs))

    def getThreadPool(self) -> ThreadPool:
        raise AssertionError("nothing of ours uses the reactor's own threads here")

    def step(self) -> None:
        """Take up the next thing that a thread hands over."""
        call, args, kwargs = self._calls.get(timeout=20)
        call(*args, **kwargs)

    def result_of(self, deferred: "Deferred[T]") -> T:
        """Wait for a Deferred; raise what it fails with."""
        seen = outcome(deferred)
        while not seen:
            self.step()
        if isinstance(seen[0], BaseException):
            raise seen[0]
        return seen[0]


@implementer(IResultStore)
@define(eq=False)
class MemoryResults:
    """Keeps results; while `held`, a store waits; a `refusal` meets every call."""

    kept: list[StoredResult] = field(factory=list)
    refusal: Refusal | None = None
    held: bool = False
    waiting: "list[tuple[StoredResult, Deferred[Path]]]" = field(factory=list)

    def store(self, result: StoredResult) -> "Deferred[Path]":
        if self.refusal is not None:
            return fail(self.refusal)
        done: Deferred[Path] = Deferred()
        self.waiting.append((result, done))
        if not self.held:
            self.write()
        return done

    def write(self) -> None:
        """Store what waits."""
        batch, self.waiting = self.waiting, []
        for result, done in batch:
            self.kept.append(result)
            done.callback(Path("/results", result.project_id, result.issue_id, f"{result.agent_type}.json"))

    def listing(self, project_id: str, issue_id: str | None) -> "Deferred[ResultListing]":
        found = [r for r in self._of(project_id) if issue_id in {None, r.issue_id}]
        entries = [
            ResultEntry(r.result_id, r.agent_id, r.agent_type, r.issue_id, r.project_id, r.status, r.timestamp)
            for r in reversed(found)
        ]
        return succeed(ResultListing(entries, []))

    def newest(self, project_id: str, issue_id: str, agent_type: str) -> "Deferred[bytes]":
        return self._last([r for r in self._of(project_id) if (r.issue_id, r.agent_type) == (issue_id, agent_type)])

    def by_id(self, project_id: str, result_id: str, issue_id: str | None = None) -> "Deferred[bytes]":
        found = [r for r in self._of(project_id) if r.result_id == result_id and issue_id in {None, r.issue_id}]
        return self._last(found)

    def prune(self, project_id: str, before: float) -> "Deferred[int]":
        gone = self._of(project_id)
        self.kept = [r for r in self.kept if r not in gone]
        return succeed(len(gone))

    def _of(self, project_id: str) -> list[StoredResult]:
        return [result for result in self.kept if result.project_id == project_id]

    def _last(self, found: list[StoredResult]) -> "Deferred[bytes]":
        return succeed(found[-1].body) if found else fail(NotFound("there is no such result"))


@define(eq=False)
class EventHouse:
    """A hub with all that surrounds it; `restart` makes the next one from what the journal holds."""

    max_events: int = 1000
    retention_seconds: float = 86400.0
    most_polls: int = 1000
    storage: Storage = field(factory=MemoryStorage)
    clock: Clock = field(factory=Clock)
    log_ids: Callable[[], str] = field(factory=numbered)
    dead: dict[str, Refusal] = field(factory=dict)  # token id -> why it no longer counts
    most_bytes: int = MOST_BYTES
    delays: list[float] = field(factory=list)
    ledger: Ledger = field(init=False)
    keys: Idempotency = field(init=False)
    issues: Issues = field(init=False)
    room: PollRoom = field(init=False)
    wheel: TimerWheel = field(init=False)
    hub: EventHub = field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.clock.seconds() == 0:
            self.clock.advance(START)
        journal = self.storage.open(
            lambda: self.ledger.snapshot(),  # noqa: PLW0108 - there is no ledger yet
            lambda: self.hub.last_numbered,
            lambda: self.hub.ring.evicted_through,
        )
        self.ledger = Ledger(journal)
        self.keys = Idempotency(self.clock)
        self.issues = Issues(self.clock, self.ledger, lambda: self.hub.sequence)
        self.room = PollRoom(self.most_polls)
        self.wheel = TimerWheel(self.clock)
        self.hub = EventHub(
            self.clock,
            self.ledger,
            "p",
            Subscriptions(self.ledger),
            self.room,
            self.issues.mark,
            Ring(self.max_events, self.retention_seconds, self.most_bytes),
            self.log_ids,
            lambda seconds, readers: self.delays.extend([seconds] * readers),
            self.wheel,
        )
        for keeper in (self.hub, self.hub.subscriptions, self.issues, self.keys):
            self.ledger.join(keeper)
        self.storage.recover(self.ledger.restore, self.ledger.lasts)
        self.hub.open()

    @property
    def journal(self) -> MemoryJournal:
        """The journal, where it is one in memory."""
        assert isinstance(self.storage, MemoryStorage)
        return self.storage.journal

    def restart(self, *, snapshot: bool = False) -> "EventHouse":
        """Recover into a new house what is on disk; with ``snapshot``, from one that stands behind the events."""
        if snapshot:
            self.storage.rotate()
        return self.on(self.storage.crash())

    def on(self, storage: Storage) -> "EventHouse":
        """Make the next house, on what this one has left."""
        return EventHouse(
            self.max_events,
            self.retention_seconds,
            self.most_polls,
            storage,
            self.clock,
            self.log_ids,
            self.dead,
            self.most_bytes,
        )

    def reader(self, agent: str | None = "a", token: str | None = None, issue: str = "i") -> Reader:
        token_id = token or f"token of {agent}"
        return Reader(agent, issue, token_id, lambda: self.dead.get(token_id), agent)

    def draft(
        self,
        event_type: str = "t",
        *,
        data: object = None,
        topic: str = "work",
        publisher: str = "p1",
        ttl_seconds: int = 86400,
        issue_id: str | None = "i",
        correlation_id: str | None = None,
        priority: Priority = "normal",
    ) -> Draft:
        """Make an event that is not numbered yet."""
        return Draft(
            event_type,
            topic,
            publisher,
            "python-specialist",
            issue_id,
            msgspec.Raw(msgspec.json.encode(data)),
            correlation_id,
            ttl_seconds=ttl_seconds,
            priority=priority,
        )

    def publish(
        self,
        event_type: str = "t",
        *,
        data: object = None,
        topic: str = "work",
        publisher: str = "p1",
        ttl_seconds: int = 86400,
        issue_id: str | None = "i",
        correlation_id: str | None = None,
        priority: Priority = "normal",
        key_for: Callable[[Event], KeyRecord] | None = None,
    ) -> "list[Published | BaseException]":
        """Publish, and give a list that gets the outcome."""
        draft = self.draft(
            event_type,
            data=data,
            topic=topic,
            publisher=publisher,
            ttl_seconds=ttl_seconds,
            issue_id=issue_id,
            correlation_id=correlation_id,
            priority=priority,
        )
        return outcome(self.hub.publish(draft, key_for))

    def publish_many(self, number: int, event_type: str = "t") -> list[int]:
        """Publish so many, and give their sequences."""
        return [published(self.publish(event_type)).event.sequence for _ in range(number)]

    def wait(
        self,
        types: str | None = "t",
        *,
        agent: str | None = "a",
        since: str | None = None,
        subscription: str | None = None,
        ack: str | None = None,
        limit: int = 100,
        seconds: float = 30.0,
        reader: Reader | None = None,
        selection: Selection | None = None,
    ) -> "Deferred[Answer]":
        """Wait for one type, or for any (None)."""
        wanted = selection or Selection(None if types is None else frozenset(types.split(",")))
        return self.hub.wait(
            reader or self.reader(agent),
            wanted,
            since=since,
            subscription=subscription,
            ack=ack,
            limit=limit,
            seconds=seconds,
        )

    def poll(
        self,
        types: str | None = "t",
        *,
        agent: str | None = "a",
        since: str | None = None,
        subscription: str | None = None,
        ack: str | None = None,
        limit: int = 100,
    ) -> Answer:
        """Wait no time at all."""
        return result_of(
            self.wait(types, agent=agent, since=since, subscription=subscription, ack=ack, limit=limit, seconds=0)
        )


def published(seen: "list[Published | BaseException]") -> Published:
    """Give what a publish that went well gave."""
    assert len(seen) == 1, seen
    assert isinstance(seen[0], Published), seen
    return seen[0]


def answered(seen: "list[Answer | BaseException]") -> Answer:
    """Give what a wait that went well gave."""
    assert len(seen) == 1, seen
    assert isinstance(seen[0], Answer), seen
    return seen[0]


def numbers(answer: Answer) -> list[int]:
    """Give the sequences of an answer's events."""
    return [event.sequence for event in answer.events]


def receive(answer: Answer) -> None:
    """Let the connection prove that the answer arrived."""
    assert isinstance(answer.delivery, Delivery)
    answer.delivery.received()


def lose(answer: Answer) -> None:
    """Let the connection break before the answer arrived."""
    assert isinstance(answer.delivery, Delivery)
    answer.delivery.lost()


def records_of(journal: MemoryJournal, kind: str) -> Iterator[object]:
    """Give the bodies of all records of a kind."""
    for record in journal.records:
        line = msgspec.json.decode(record)
        if line["k"] == kind:
            yield line["b"]
