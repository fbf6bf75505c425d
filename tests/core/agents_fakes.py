"""Doors for tests of the agents: a launcher whose processes end when told, and a journal in memory."""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from cco_sidecar.core.admission import Admission
from cco_sidecar.core.agent_care import AgentCare, Patience
from cco_sidecar.core.agent_lives import AgentHooks
from cco_sidecar.core.agent_parking import ParkingLimits
from cco_sidecar.core.agent_rows import Agent, LastWords, SpawnOrder
from cco_sidecar.core.agent_signs import AllSigns
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.breaker import Breakers, Waits
from cco_sidecar.core.crash_loops import CrashLoops
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.errors import Refusal, SpawnFailed
from cco_sidecar.interfaces import Ended, IAgentLauncher, IJournal, Launched, LaunchOrder, Look, ProcessIdentity


@implementer(IJournal)
@define(eq=False)
class MemoryJournal:
    """Keeps records; appends wait while `held`, and are refused while there is a `refusal`."""

    records: list[bytes] = field(factory=list)
    refusal: Refusal | None = None
    held: bool = False
    waiting: "list[tuple[bytes, Deferred[None]]]" = field(factory=list)
    trouble: str | None = None
    size_bytes: int = 0

    def append(self, record: bytes) -> "Deferred[None]":
        if self.refusal is not None:
            return fail(self.refusal)
        if self.held:
            acknowledged: Deferred[None] = Deferred()
            self.waiting.append((record, acknowledged))
            return acknowledged
        self.records.append(record)
        return succeed(None)

    def release(self) -> None:
        """Write what waits."""
        self.held = False
        waiting, self.waiting = self.waiting, []
        for record, acknowledged in waiting:
            self.records.append(record)
            acknowledged.callback(None)

    def note(self, record: bytes) -> None:
        if self.refusal is None:
            self.records.append(record)

    def flush(self) -> "Deferred[None]":
        return succeed(None)


@implementer(IAgentLauncher)
@define(eq=False)
class FakeLauncher:
    """Starts nothing; `end` ends what it would have started."""

    trouble: Refusal | None = None
    held: bool = False
    orders: list[LaunchOrder] = field(factory=list)
    adopted: list[str] = field(factory=list)
    stops: list[tuple[str, float]] = field(factory=list)
    forgotten: list[str] = field(factory=list)
    found: dict[str, Launched] = field(factory=dict)
    looks: dict[str, Look] = field(factory=dict)
    ended: dict[str, Callable[[str, Ended], None]] = field(factory=dict)
    starting: "dict[str, Deferred[Launched]]" = field(factory=dict)
    stopping: "dict[str, list[Deferred[None]]]" = field(factory=dict)

    def launch(self, order: LaunchOrder, ended: Callable[[str, Ended], None]) -> "Deferred[Launched]":
        if self.trouble is not None:
            return fail(self.trouble)
        self.orders.append(order)
        self.ended[order.agent_id] = ended
        if self.held:
            self.starting[order.agent_id] = Deferred()
            return self.starting[order.agent_id]
        return succeed(launched(len(self.orders)))

    def adopt(self, agent_id: str, launched: Launched, ended: Callable[[str, Ended], None]) -> None:
        self.adopted.append(agent_id)
        self.ended[agent_id] = ended

    def stop(self, agent_id: str, grace_seconds: float) -> "Deferred[None]":
        self.stops.append((agent_id, grace_seconds))
        gone: Deferred[None] = Deferred()
        self.stopping.setdefault(agent_id, []).append(gone)
        return gone

    def log_path(self, agent_id: str) -> Path:
        return Path(f"/logs/{agent_id}.log")

    def find(self, agent_id: str) -> "Deferred[Launched | None]":
        return succeed(self.found.get(agent_id))

    def forget(self, agent_id: str) -> "Deferred[None]":
        self.forgotten.append(agent_id)
        return succeed(None)

    def look(self, agent_id: str) -> "Deferred[Look | None]":
        return succeed(self.looks.get(agent_id))

    def end(self, agent_id: str, exit_code: int | None, at: float = 100.0, timed_out: bool = False) -> None:
        """Let the process end."""
        self.ended.pop(agent_id)(agent_id, Ended(exit_code, at, timed_out))
        for gone in self.stopping.pop(agent_id, ()):
            gone.callback(None)


def launched(number: int) -> Launched:
    return Launched(ProcessIdentity("boot", 1000 + number, 5), ProcessIdentity("boot", 2000 + number, 4))


@define(eq=False)
class House:
    """Agents with all that surrounds them; `restart` makes the next one from what the journal holds."""

    places: int = 2
    queue: int = 1_000
    caps: Mapping[str, int] = field(factory=dict)
    per_minute: int = 0
    depth: int = 0
    patience: Patience = field(factory=lambda: Patience(60, 900, 1800, 100))
    journal: MemoryJournal = field(factory=MemoryJournal)
    launcher: FakeLauncher = field(factory=FakeLauncher)
    clock: Clock = field(factory=Clock)
    said: list[tuple[str, str, str]] = field(factory=list)
    steps: list[str] = field(factory=list)
    kept: dict[str, Mapping[str, str]] = field(factory=dict)
    unprepared: Refusal | Exception | None = None
    unpublished: Refusal | None = None
    words: "Deferred[LastWords | None] | None" = None
    numbers: "count[int]" = field(factory=lambda: count(1))
    parked: set[str] = field(factory=set)
    waits: Waits = field(factory=lambda: Waits(30, 300, 600, 0))
    limits: ParkingLimits = field(factory=ParkingLimits)
    breakers: Breakers = field(init=False)
    agents: Agents = field(init=False)
    care: AgentCare = field(init=False)
    ledger: Ledger = field(init=False)

    def __attrs_post_init__(self) -> None:
        hooks = AgentHooks(
            keep=self._keep,
            prepare=self._prepare,
            announce=self._announce,
            gone=lambda agent: self.steps.append(f"gone {agent.agent_id}"),
            log_tail=lambda agent_id: succeed(f"the last line of {agent_id}"),
            last_words=lambda _: self.words,
            account_of=lambda _, environment: environment.get("ACCOUNT", ""),
        )
        self.ledger = Ledger(self.journal)
        self.breakers = Breakers(self.clock, self.waits, lambda: 0.0)
        self.breakers.keep_in(self.ledger)
        loops = CrashLoops(3, 1, 300, lambda: 0.0)
        admission = Admission(self.places, self.queue, self.caps, self.per_minute, loops.held_until, self.breakers)
        self.agents = Agents(
            lambda: None,
            self.clock,
            lambda: f"a{next(self.numbers)}",
            self.launcher,
            admission,
            hooks,
            AllSigns(),
            loops,
            self.breakers,
            self.limits,
            self.depth,
        )
        self.agents.add_project("p", self.ledger)
        self.care = AgentCare(
            self.clock,
            self.agents,
            lambda _: self.patience,
            self.launcher.look,
            lambda agent: agent.agent_id in self.parked,
        )

    def restart(self, snapshot: bool = False) -> "House":
        """Recover into a new house, from the records or from a snapshot of the state."""
        records = list(self.ledger.snapshot()) if snapshot else list(self.journal.records)
        house = House(
            self.places,
            self.queue,
            self.caps,
            self.per_minute,
            self.depth,
            self.patience,
            MemoryJournal(records),
            waits=self.waits,
            limits=self.limits,
            clock=self.clock,
            numbers=self.numbers,
        )
        for record in records:
            house.ledger.restore(record)
        return house

    def spawn(self, priority: str = "normal", **more: object) -> list[object]:
        """Spawn, and give a list that gets the agent, or the refusal."""
        values: dict[str, object] = {
            "agent_type": "python-specialist",
            "issue_id": "i",
            "task": "do it",
            "parent": "admin",
            **more,
        }
        order = SpawnOrder(
            project_id="p",
            runner="demo",
            timeout_seconds=60.0,
            priority=priority,
            **values,  # type: ignore[arg-type]  # each is of its field's type
        )
        return outcome(self.agents.spawn(order))

    def kill(self, agent_id: str, grace: float = 30.0) -> list[object]:
        """Kill, and give a list that gets the agent, or the refusal."""
        return outcome(self.agents.kill("p", agent_id, grace))

    def status(self, agent_id: str) -> str:
        return self.agents.get("p", agent_id).status

    def _keep(self, agent: Agent, environment: Mapping[str, str]) -> "Deferred[None]":
        self.kept[agent.agent_id] = environment
        return succeed(None)

    def _prepare(self, agent: Agent) -> "Deferred[LaunchOrder]":
        self.steps.append(f"prepare {agent.agent_id}")
        if self.unprepared is not None:
            return fail(self.unprepared)
        return succeed(LaunchOrder(agent.agent_id, ["true"], {}, Path("/"), agent.timeout_seconds))

    def _announce(self, event_type: str, agent: Agent) -> "Deferred[object]":
        if self.unpublished is not None:
            return fail(self.unpublished)
        self.said.append((event_type, agent.agent_id, agent.status))
        return succeed(None)


def outcome(deferred: "Deferred[Agent]") -> list[object]:
    """Give a list that gets the result, or the exception."""
    seen: list[object] = []
    deferred.addCallbacks(seen.append, lambda failure: seen.append(failure.value))
    return seen


NO_PROGRAM = SpawnFailed("The agent could not be started: x: No such file or directory.", reason="x: No such file")
