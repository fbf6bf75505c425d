"""A sidecar in memory that runs workflows, and the world outside it: processes that live on when it is killed."""

import random
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from cco_sidecar.core.admission import Admission
from cco_sidecar.core.agent_lives import AgentHooks
from cco_sidecar.core.agent_parking import ParkingLimits
from cco_sidecar.core.agent_rows import Agent, LastWords
from cco_sidecar.core.agent_signs import AllSigns
from cco_sidecar.core.agent_work import Work
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.breaker import Breakers, Waits
from cco_sidecar.core.budgets.budgets import Budgets
from cco_sidecar.core.budgets.news import BudgetNews
from cco_sidecar.core.budgets.spending import Spending
from cco_sidecar.core.budgets.steward import Steward
from cco_sidecar.core.crash_loops import CrashLoops
from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.event import SIDECAR, Event
from cco_sidecar.core.events.hub import Draft, EventHub
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.events.subscriptions import Subscriptions
from cco_sidecar.core.events.waiting import PollRoom
from cco_sidecar.core.idempotency import Answered, Idempotency
from cco_sidecar.core.issue_texts import IssueTexts
from cco_sidecar.core.issues import Issues
from cco_sidecar.core.ledger import KeyRecord, Ledger
from cco_sidecar.core.messages.messages import NewMessage
from cco_sidecar.core.projects import Project
from cco_sidecar.core.roster import Roster, parse_roster
from cco_sidecar.core.tenure import Holder
from cco_sidecar.core.token_book import Epoch, TokenBook
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.core.workflows.engine import Engine
from cco_sidecar.core.workflows.judging import Ending
from cco_sidecar.core.workflows.orders import StartOrder
from cco_sidecar.core.workflows.run import RUNNING, Attempt, Run
from cco_sidecar.core.workflows.runs import Runs
from cco_sidecar.errors import Refusal
from cco_sidecar.interfaces import Ended, IAgentLauncher, IJournal, Launched, LaunchOrder, Look
from tests.core.agents_fakes import launched
from tests.fakes import outcome

HANG_SECONDS = 6.0
GRACE_SECONDS = 60.0
GOOD = ("hello", "result", "news", "exit 0")


def packaged() -> Roster:
    return parse_roster((resources.files("cco_sidecar.data") / "roster.json").read_bytes(), source="packaged")


@implementer(IJournal)
@define(eq=False)
class MortalJournal:
    """Keeps records, of which it acknowledges so many; with the next the sidecar dies: nothing happens any more."""

    records: list[bytes] = field(factory=list)
    left: int | None = None
    acknowledges_last: bool = False
    dead: bool = False
    refusal: Refusal | None = None
    trouble: str | None = None
    size_bytes: int = 0

    def append(self, record: bytes) -> "Deferred[None]":
        if self.refusal is not None:
            return fail(self.refusal)
        if self.dead:
            return Deferred()
        self.records.append(record)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.dead = True  # it is on disk, and nobody has heard of it
                return Deferred()
        return succeed(None)

    def note(self, record: bytes) -> None:
        if not self.dead and self.refusal is None:
            self.records.append(record)

    def flush(self) -> "Deferred[None]":
        return succeed(None)


@define(eq=False)
class Process:
    """A scripted agent: what it still has to do; ``ended`` once it is over."""

    agent_id: str
    agent_type: str
    issue_id: str
    todo: list[str]
    began: float
    ended: Ended | None = None


@implementer(IAgentLauncher)
@define(eq=False)
class World:
    """All processes there ever were. Each agent's script follows from its name, so that every life of it is the same.

    :param script: gives an agent's script: ``hello``, ``result [STATUS]``, ``news``, ``publish TYPE``, ``exit CODE``,
        ``hang``.
    """

    clock: Clock
    script: Callable[[Agent], Sequence[str]]
    processes: dict[str, Process] = field(factory=dict)
    listeners: dict[str, Callable[[str, Ended], None]] = field(factory=dict)
    stopped: list[str] = field(factory=list)
    agents: dict[str, Agent] = field(factory=dict)
    news: dict[str, tuple[str, ...]] = field(factory=dict)
    usage: dict[str, dict[str, float]] = field(factory=dict)
    """What processes printed that they have taken; it stays in their logs."""

    def launch(self, order: LaunchOrder, ended: Callable[[str, Ended], None]) -> "Deferred[Launched]":
        assert order.agent_id not in self.processes, "an agent was started twice"
        agent = self.agents[order.agent_id]
        process = Process(
            agent.agent_id, agent.agent_type, agent.issue_id, list(self.script(agent)), self.clock.seconds()
        )
        self.processes[order.agent_id] = process
        self.listeners[order.agent_id] = ended
        return succeed(launched(len(self.processes)))

    def adopt(self, agent_id: str, launched: Launched, ended: Callable[[str, Ended], None]) -> None:
        self.listeners[agent_id] = ended

    def find(self, agent_id: str) -> "Deferred[Launched | None]":
        numbers = {name: number for number, name in enumerate(self.processes, 1)}
        return succeed(launched(numbers[agent_id]) if agent_id in numbers else None)

    def forget(self, agent_id: str) -> "Deferred[None]":
        return succeed(None)

    def look(self, agent_id: str) -> "Deferred[Look | None]":
        return succeed(None)

    def stop(self, agent_id: str, grace_seconds: float) -> "Deferred[None]":
        self.stopped.append(agent_id)
        self.end(self.processes[agent_id], -15)
        return succeed(None)

    def log_path(self, agent_id: str) -> Path:
        return Path(f"/logs/{agent_id}.log")

    def end(self, process: Process, exit_code: int, timed_out: bool = False) -> None:
        """Let a process end; the sidecar hears of it at `tell`."""
        if process.ended is None:
            process.ended = Ended(exit_code, self.clock.seconds(), timed_out)

    def tell(self) -> None:
        """Let the sidecar that lives now hear of the ends that it has not heard of."""
        for agent_id, listener in list(self.listeners.items()):
            ended = self.processes[agent_id].ended
            if ended is not None:
                del self.listeners[agent_id]
                listener(agent_id, ended)

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes.values() if process.ended is None]


@define(eq=False)
class FlowHouse:
    """One life of a sidecar; `restart` gives the next, on the same records and the same world."""

    world: World
    roster: Roster
    records: list[bytes] = field(factory=list)
    left: int | None = None
    run_ids: "Iterator[int]" = field(factory=lambda: count(1))
    places: int = 100
    queue: int = 1000
    retention_seconds: float = 86400.0
    waiting: "Deferred[None] | None" = None
    """What a start of an agent waits for."""
    journal: MortalJournal = field(init=False)
    project: Project = field(init=False)
    agents: Agents = field(init=False)
    engine: Engine = field(init=False)
    steward: Steward = field(init=False)
    messages: list[tuple[str, str]] = field(factory=list, init=False)
    """Whom the sidecar wrote to, and what."""

    def __attrs_post_init__(self) -> None:
        clock = self.world.clock
        for agent_type in self.roster.types.values():
            self.world.news.setdefault(agent_type.type, agent_type.publishes)
        self.journal = MortalJournal(list(self.records))
        ledger = Ledger(self.journal)
        issues = Issues(clock, ledger, lambda: hub.sequence)
        hub = EventHub(
            clock, ledger, "p", Subscriptions(ledger), PollRoom(10), issues.mark,
            Ring(10_000, self.retention_seconds), lambda: "00000001", lambda *_: None, TimerWheel(clock),
        )  # fmt: skip
        letters, keys = DeadLetters(clock, ledger, lambda: "x"), Idempotency(clock)
        none: Any = None  # nothing here has to do with webhooks, claims, tasks, checkpoints or messages
        budgets = Budgets(clock, ledger, Spending(lambda agent: self.agents.work.usage_of(agent)))  # noqa: PLW0108
        runs, texts, book = Runs(ledger), IssueTexts(clock, ledger), TokenBook(clock, ledger, Epoch())
        kept = (
            ledger,
            hub,
            issues,
            book,
            keys,
            letters,
            none,
            texts,
            none,
            none,
            none,
            none,
            runs,
            none,
            budgets,
            none,
        )
        self.project = Project("p", Path("/p"), *kept)
        hooks = AgentHooks(
            keep=lambda *_: succeed(None),
            prepare=self._prepare,
            announce=self._announce,
            gone=lambda agent: None,
            log_tail=succeed,
            last_words=self._last_words,
        )
        admission = Admission(self.places, self.queue, withheld=lambda agent_id: self.steward.withheld(agent_id))  # noqa: PLW0108
        loops = CrashLoops(0, 1, 1, lambda: 0.0)
        breakers = Breakers(clock, Waits(), lambda: 0.0)
        limits = ParkingLimits()
        self.agents = Agents(
            lambda: None, clock, lambda: "nobody", self.world, admission, hooks, AllSigns(), loops, breakers, limits
        )
        for keeper in (hub, hub.subscriptions, issues, keys, letters, runs, texts, book):
            ledger.join(keeper)
        self.agents.add_project("p", ledger, budgets.spending)
        ledger.join(budgets)
        news: Any = BudgetNews(hub, keys, self)  # type: ignore[arg-type]  # it only sends
        self.steward = Steward(clock, self.agents, {"p": (budgets, news)}, GRACE_SECONDS)
        self.engine = Engine(
            clock, self.project, self.agents, self.roster, self._details, lambda: f"{next(self.run_ids):08x}"
        )
        for record in self.records:
            ledger.restore(record)
        self.journal.left = self.left
        hub.open()
        self.agents.readopt()
        self.engine.open()
        self.settle()

    def send(self, new: NewMessage, sender: Holder, key: Callable[[Any], KeyRecord]) -> "Deferred[Any]":
        """Take a message, as far as that is done here: it is kept, under its key."""
        assert sender.agent_id == SIDECAR
        self.messages.append((new.to, msgspec.json.decode(new.body)))
        sent = Mock()
        sent.record.id = f"msg-{len(self.messages)}"
        return self.project.ledger.record("test-message", None, key(sent)).addCallback(lambda _: sent)

    @property
    def dead(self) -> bool:
        return self.journal.dead

    def restart(self, left: int | None = None, snapshot: bool = False, roster: Roster | None = None) -> "FlowHouse":
        """Kill it, and give the next life; with ``snapshot`` its state comes from one."""
        self.engine.close()
        self.agents.close()
        self.journal.dead = True
        self.world.listeners.clear()
        records = self.journal.records
        if snapshot:
            events = [record for record in records if record.startswith(b'{"k":"event"')]
            records = [*events, *self.project.ledger.snapshot()]
        return FlowHouse(
            self.world, roster or self.roster, list(records), left, self.run_ids, self.places, self.queue,
            self.retention_seconds,
        )  # fmt: skip

    def settle(self) -> None:
        """Let everything be done that needs no time."""
        clock = self.world.clock
        self.world.tell()
        while any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()):
            clock.advance(0)
            self.world.tell()

    def start(
        self, issue_id: str = "i", workflow: str = "tdd", task: str = "Do it", runner: str = "demo"
    ) -> list[object]:
        """Start a run; gives a list that gets the outcome."""
        seen: list[object] = []
        order = StartOrder(issue_id, workflow, runner, task, "admin", 3600.0)
        outcome_of = outcome(self.engine.start(order))
        self.settle()
        seen.extend(outcome_of)
        return seen

    def stop(self, issue_id: str = "i") -> list[object]:
        seen = outcome(self.engine.stop(issue_id, 30.0))
        self.settle()
        return list(seen)

    def run(self, issue_id: str = "i") -> Run:
        found = self.project.runs.find(issue_id)
        assert found is not None
        return found

    def publish(
        self, event_type: str, data: object = None, publisher: str = "admin", issue_id: str | None = None, key: str = ""
    ) -> bool:
        """Publish, under a key if one is given; say whether it was acknowledged."""
        draft = Draft(event_type, "t", publisher, None, issue_id, msgspec.Raw(msgspec.json.encode(data)))
        if not key:
            return bool(outcome(self.project.hub.publish(draft)))

        async def work(record: Callable[[int, object], object]) -> Answered:
            await self.project.hub.publish(draft, lambda event: record(202, event.body.event_id))  # type: ignore[arg-type, return-value]  # as the web does it
            return Answered(202, b"null")

        return bool(outcome(Deferred.fromCoroutine(self.project.keys.once((publisher, "events", key), key, work))))

    def events(self, event_type: str) -> list[Event]:
        return [event for event in self.project.hub.ring.after(0) if event.body.event_type == event_type]

    def tick(self, seconds: float = 1.0) -> None:
        """Let every process do its next thing."""
        for process in self.world.alive:
            self._do(process)
            self.settle()
        self.world.clock.advance(seconds)
        self.settle()

    def _do(self, process: Process) -> None:
        word, _, rest = process.todo[0].partition(" ")
        key = f"{process.agent_id} {len(process.todo)}"
        done = True
        if word == "result":
            done = self._store(process, rest or "success", key)
        elif word == "publish":
            done = self.publish(rest, {}, process.agent_id, process.issue_id, key)
        elif word == "news":
            for event in self.world.news[process.agent_type][:1]:
                done = self.publish(event, {}, process.agent_id, process.issue_id, key)
        elif word == "exit":
            self.world.end(process, int(rest))
        elif word == "hang":
            done = False
            if self.world.clock.seconds() - process.began >= HANG_SECONDS:
                self.world.end(process, -9, timed_out=True)
        if done and not self.dead:
            process.todo.pop(0)

    def _store(self, process: Process, status: str, key: str) -> bool:
        result_id = f"res-{process.agent_id}"
        data = {"result_id": result_id, "agent_id": process.agent_id, "status": status, "issue_id": process.issue_id}
        self.agents.result_stored("p", process.agent_id, result_id)
        return self.publish("result_stored", data, SIDECAR, process.issue_id, key)

    def _prepare(self, agent: Agent) -> "Deferred[LaunchOrder]":
        self.world.agents[agent.agent_id] = agent
        order = LaunchOrder(agent.agent_id, ["true"], {}, Path("/"), agent.timeout_seconds)
        return succeed(order) if self.waiting is None else self.waiting.addCallback(lambda _: order)

    def look(self) -> None:
        """Hear what the agents have taken, and look after their budgets, as the service does every few seconds."""
        for agent in self.agents.home("p").rows.live:
            if agent.agent_id in self.world.usage:
                self.agents.work.note(agent.agent_id, Work(dict(self.world.usage[agent.agent_id])))
        self.steward.check()
        self.settle()

    def _last_words(self, agent: Agent) -> "Deferred[LastWords | None] | None":
        usage = self.world.usage.get(agent.agent_id)
        return None if usage is None else succeed(LastWords(dict(usage)))

    def _announce(self, event_type: str, agent: Agent) -> "Deferred[object]":
        told = (event for event in self.events(event_type) if event.body.publisher == SIDECAR)
        if any(agent.agent_id in event.fields().texts("agent_id") for event in told):
            return succeed(None)
        data = {"agent_id": agent.agent_id, "agent_type": agent.agent_type, "status": agent.status}
        data |= {"exit_code": agent.exit_code, "result_id": agent.result_id}  # type: ignore[dict-item]  # JSON
        data |= {"failure": agent.failure, "reason": agent.reason} if agent.failure else {}
        raw = msgspec.Raw(msgspec.json.encode(data))
        draft = Draft(event_type, "agents", SIDECAR, agent.agent_type, agent.issue_id, raw)
        return self.project.hub.publish(draft).addCallback(lambda published: published)

    def _details(self, attempt: Attempt, ending: Ending) -> "Deferred[str]":
        return succeed(f"the log of {ending.agent_id}")


def flawed(seed: int, share: float = 0.2) -> Callable[[Agent], Sequence[str]]:
    """Give scripts of agents that crash, hang or lie, each with a probability of ``share`` in all."""

    def script(agent: Agent) -> Sequence[str]:
        dice = random.Random(f"{seed} {agent.agent_id}")
        if dice.random() >= share:
            return GOOD
        return dice.choice([
            ("hello", "exit 1"), ("hello", "result", "exit 3"), ("hello", "result", "news", "exit 1"),
            ("hello", "hang"), ("hello", "result", "news", "hang"), ("news", "exit 1"),
            ("exit 0",), ("hello", "result", "exit 0"), ("hello", "news", "exit 0"), ("result failed", "exit 0"),
        ])  # fmt: skip

    return script


def play(house: FlowHouse, left: Iterator[int] | None = None, most: int = 3000) -> FlowHouse:
    """Let the world go on until the run is over; a sidecar that dies is started again, with what ``left`` gives."""
    for _ in range(most):
        if house.dead:
            house = house.restart(None if left is None else next(left, None))
        elif house.run().status != RUNNING and not house.world.alive:
            return house
        else:
            house.tick()
    raise AssertionError(f"it is stuck: {house.run()}")


def told(house: FlowHouse) -> list[tuple[str, int]]:
    """Give the rules that fired, with their rounds."""
    return [(firing.rule, firing.round) for firing in house.run().firings]
