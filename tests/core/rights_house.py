"""Claims, tasks and messages with all around them, on a clock that stands still and a disk that does as it is told."""

from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cco_sidecar.core.claims.claims import Claims
from cco_sidecar.core.claims.entry import ClaimRecord, Mode
from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.events.subscriptions import Subscriptions
from cco_sidecar.core.events.waiting import PollRoom, Reader
from cco_sidecar.core.fences import Fences
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.messages.message import Delivery, Kind, Message
from cco_sidecar.core.messages.messages import Looked, Messages, NewMessage
from cco_sidecar.core.messages.news import MessageNews
from cco_sidecar.core.messages.people import People
from cco_sidecar.core.parking import Parking
from cco_sidecar.core.tasks.board import Wanted
from cco_sidecar.core.tasks.news import TaskNews
from cco_sidecar.core.tasks.task import NOTHING, Priority, Task
from cco_sidecar.core.tasks.tasks import NewTask, Tasks
from cco_sidecar.core.tenure import Holder, Tenure
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.core.wheel import TICK_SECONDS, TimerWheel
from cco_sidecar.errors import Refusal, TokenRevoked
from tests.fakes import START, MemoryJournal, numbered

GONE = TokenRevoked("The agent has ended.")
ANY = Wanted(None, None)


@define(eq=False)
class RightsHouse:
    """The claims, tasks and messages of one project; `restart` makes the next house from what is on disk."""

    clock: Clock = field(factory=Clock)
    journal: MemoryJournal = field(factory=MemoryJournal)
    ids: Callable[[], str] = field(factory=numbered)
    most_polls: int = 10_000
    started_here: set[str] = field(factory=set)
    gone: set[str] = field(factory=set)
    dead_tokens: dict[str, Refusal] = field(factory=dict)
    records: list[bytes] = field(factory=list)  # of the house before
    ledger: Ledger = field(init=False)
    book: TokenBook = field(init=False)
    room: PollRoom = field(init=False)
    hub: EventHub = field(init=False)
    letters: DeadLetters = field(init=False)
    fences: Fences = field(init=False)
    claims: Claims = field(init=False)
    tasks: Tasks = field(init=False)
    messages: Messages = field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.clock.seconds() == 0:
            self.clock.advance(START)
        clock, ledger = self.clock, Ledger(self.journal)
        self.ledger, self.room, self.fences = ledger, PollRoom(self.most_polls), Fences()
        self.book = TokenBook(clock, ledger)
        wheel = TimerWheel(clock)
        nothing: Any = lambda *_: None  # noqa: E731
        self.hub = EventHub(
            clock, ledger, "p", Subscriptions(ledger), self.room, int, Ring(1000, 86400.0), self.ids, nothing, wheel
        )
        self.letters = DeadLetters(clock, ledger, self.ids)
        tenure = Tenure(self.book, self.started_here.__contains__, self.gone.__contains__)
        rights = (self.fences, tenure, Parking(wheel, self.room), wheel)
        self.claims = Claims(clock, ledger, self.hub, *rights, "/src/shop", self.ids)
        self.tasks = Tasks(clock, ledger, *rights, TaskNews(self.hub, self.letters), self.ids)
        people = People(ledger, tenure, self._agents, self._agent, ("t", "u"), {"i", "j"}.__contains__)
        self.messages = Messages(clock, ledger, people, rights[2], wheel, MessageNews(self.hub), self.ids)
        for keeper in (self.hub, self.hub.subscriptions, self.book, self.letters, self.fences, self.claims, self.tasks):
            ledger.join(keeper)
        ledger.join(people)
        ledger.join(self.messages)
        for record in self.records:
            ledger.restore(record)
        self.hub.open()
        self.fences.open()
        self.claims.open()
        self.tasks.open()
        self.messages.open()

    def _agents(self) -> list[Holder]:
        return [Holder(agent, "t", "i", "", 0.0) for agent in sorted(self.started_here - self.gone)]

    def _agent(self, agent: str) -> Holder | None:
        return Holder(agent, "t", "i", "", 0.0) if agent in self.started_here else None

    def restart(self, *, snapshot: bool = False) -> "RightsHouse":
        """Make the next house of what is on disk; with ``snapshot``, behind older records, as segments are read."""
        records = [*self.records, *self.journal.records, *(self.ledger.snapshot() if snapshot else ())]
        return RightsHouse(
            clock=self.clock,
            ids=self.ids,
            most_polls=self.most_polls,
            started_here=self.started_here,
            gone=self.gone,
            dead_tokens=self.dead_tokens,
            records=records,
        )

    # Who asks

    def holder(self, agent: str, token: str | None = None, seconds: float = 10**6) -> Holder:
        return Holder(agent, "t", None if agent == ADMIN else "i", token or f"token of {agent}", START + seconds)

    def reader(self, agent: str, token: str | None = None) -> Reader:
        token_id = token or f"token of {agent}"
        place = None if agent == ADMIN else agent
        return Reader(place, "i", token_id, lambda: self.dead_tokens.get(token_id), place)

    # Claims

    def claim(
        self,
        agent: str,
        *resources: str,
        wait: float = 0,
        mode: Mode = "exclusive",
        ttl: int = 600,
        holder: Holder | None = None,
    ) -> "Deferred[ClaimRecord]":
        who = holder or self.holder(agent)
        wish = self.claims.wish(who, resources, mode, ttl)
        return self.claims.claim(self.reader(agent, who.token_id), wish, wait)

    @property
    def held(self) -> list[tuple[str, str]]:
        """Who has what, the oldest first."""
        return [
            (entry.agent, ",".join(one.text for one in entry.wish.resources))
            for entry in reversed(self.claims.listing())
            if entry.is_held
        ]

    @property
    def waiting(self) -> list[str]:
        """Who waits, the first first."""
        return [entry.agent for entry in reversed(self.claims.listing()) if not entry.is_held]

    # Tasks

    def add(
        self,
        title: str,
        *after: str,
        types: tuple[str, ...] = (),
        issue: str | None = None,
        priority: Priority = "normal",
        attempts: int = 3,
        by: str = "boss",
        data: msgspec.Raw = NOTHING,
        text: str | None = None,
    ) -> "Deferred[Task]":
        return self.tasks.add(NewTask(title, text or title, types, issue, priority, after, attempts, data), by)

    def take(
        self, agent: str, wait: float = 0, wanted: Wanted = ANY, seconds: int = 300, holder: Holder | None = None
    ) -> "Deferred[Task | None]":
        who = holder or self.holder(agent)
        return self.tasks.claim(self.reader(agent, who.token_id), who, wanted, seconds, wait)

    def states(self) -> dict[str, str]:
        """How each task stands, by title."""
        return {task.record.title: task.state.state for task in reversed(self.tasks.listing())}

    # Messages

    def send(
        self,
        sender: str,
        to: str,
        body: object = "hello",
        kind: Kind = "info",
        *,
        ack: bool = False,
        ttl: int = 3600,
        reply_to: str | None = None,
        correlation_id: str | None = None,
    ) -> "Deferred[Message]":
        text = msgspec.Raw(msgspec.json.encode(body))
        new = NewMessage(to, kind, text, ack, ttl, reply_to, correlation_id)
        return self.messages.send(new, self.holder(sender))

    def receive(self, agent: str, wait: float = 0, most: int = 100) -> "Deferred[list[Delivery]]":
        return self.messages.receive(self.reader(agent), agent, Looked(agent=agent), most, wait)

    # Seen

    def events(self, event_type: str) -> list[Event]:
        return [event for event in self.hub.ring.after(0) if event.body.event_type == event_type]

    def data(self, event_type: str) -> list[dict[str, Any]]:
        return [msgspec.json.decode(event.data) for event in self.events(event_type)]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and a little more: limits are kept to a tick."""
        self.clock.pump([seconds, TICK_SECONDS, 0, 0])
