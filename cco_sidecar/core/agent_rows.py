"""What is known of each agent of a project, kept in the ledger."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

import msgspec
from attrs import define, evolve, field, frozen

from cco_sidecar.core.ledger import Record
from cco_sidecar.errors import NotFound
from cco_sidecar.interfaces import Launched

QUEUED, STARTING, RUNNING = "queued", "starting", "running"
COMPLETED, FAILED, KILLED, LOST = "completed", "failed", "killed", "lost"
STATUSES = (QUEUED, STARTING, RUNNING, COMPLETED, FAILED, KILLED, LOST)
LIVE = frozenset({STARTING, RUNNING})
TERMINAL = frozenset({COMPLETED, FAILED, KILLED, LOST})

BUDGET = "budget"
"""The failure of one that was ended because a budget was used up."""

MOST_ENDED = 10_000
_TASK_KEPT = 1_000
"""How much of the task of an agent that ended is kept, in characters."""


@frozen
class SpawnOrder:
    """What is asked of a spawn, complete and checked.

    :param parent: the agent that asks, or ``admin``.
    :param depth: 1 if no agent asks, else one more than that agent's.
    :param environment: added names and values; they may be secrets and are never in the ledger.
    :param context_requirements: handed on as it came.
    :param agent_id: the agent's id, where it is known beforehand; asked for again, nothing is started again.
    """

    agent_type: str
    issue_id: str
    project_id: str
    parent: str
    task: str
    runner: str
    timeout_seconds: float
    priority: str = "normal"
    environment: Mapping[str, str] = field(factory=dict)
    context_requirements: object = None
    agent_id: str | None = None


@frozen
class LastWords:
    """What an agent's output said about the work of its newest process, as `Agent` has it.

    :param answered: whether a model answered it.
    :param session_id: names the conversation, to go on with it; empty if there is none.
    :param session_lost: it was to go on with a conversation that there is not.
    :param resets_at: when the limit that it met ends, in seconds since the epoch, if that was said.
    :param retry_after: how many seconds it was last told to wait.
    """

    usage: dict[str, float]
    failure: str = ""
    reason: str = ""
    answered: bool = False
    session_id: str = ""
    session_lost: bool = False
    resets_at: float | None = None
    retry_after: float | None = None


@frozen
class Agent:
    """An agent as it is now; times are seconds since the epoch.

    :param exit_code: negative for a signal, None while it runs or when it cannot be known.
    :param started_at: of its process; of the newest one, if it was started again.
    :param announced: the type of the last lifecycle event that was published about it.
    :param environment_names: those asked for at the spawn; their values are not in the ledger.
    :param depth: 1 if no agent spawned it, else one more than its parent's.
    :param condition: ``stalled`` or ``looping`` while it seems to be so, since ``condition_at``; ``reason`` says what
        was seen. ``told_at`` is the ``condition_at`` that was published last.
    :param restart_due: its process is being ended to start it again; ``giving_up``: for good, as failed.
    :param log_tail: the last lines of its log, if it was given up.
    :param usage: what its work took, by what was counted.
    :param failure: what its program says it failed of (``rate_limited``, ``login``, …), or what it is parked for;
        ``reason`` has its words. ``budget``: it was ended because a budget was used up.
    :param account: who its model's provider counts it for (`cco_sidecar.core.breaker`); empty if nobody knows.
    :param session_id: the conversation that its next process goes on with.
    :param parkings: how often its account stopped it; ``parked_at`` since when it waits for that to be over, and
        ``parked_seconds`` how long it did before.
    :param over_budget: which one, once it was told to come to an end, at ``over_budget_at``.
    :param earlier_seconds: how long its processes ran before the newest one.
    """

    agent_id: str
    agent_type: str
    issue_id: str
    project_id: str
    parent: str
    task: str
    runner: str
    priority: str
    timeout_seconds: float
    created_at: float
    status: str = QUEUED
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    timed_out: bool = False
    kill_requested: bool = False
    result_id: str | None = None
    usage: dict[str, float] | None = None
    launched: Launched | None = None
    announced: str = ""
    environment_names: tuple[str, ...] = ()
    context_requirements: object = None
    depth: int = 1
    first_request_at: float | None = None
    condition: str = ""
    condition_at: float | None = None
    told_at: float | None = None
    reason: str = ""
    restarts: int = 0
    restart_due: bool = False
    giving_up: bool = False
    log_tail: str = ""
    failure: str = ""
    account: str = ""
    session_id: str = ""
    parkings: int = 0
    parked_at: float | None = None
    parked_seconds: float = 0.0
    over_budget: str = ""
    over_budget_at: float | None = None
    earlier_seconds: float = 0.0

    @property
    def is_ending(self) -> bool:
        """Whether its end was decided on: its token is dead, and it is not started again."""
        return self.kill_requested or self.giving_up

    @property
    def attempt_at(self) -> str:
        """Name what it is one try of."""
        return f"{self.project_id}/{self.agent_type}/{self.issue_id}"

    @property
    def process_id(self) -> int | None:
        """The agent's own process, once it was started."""
        return None if self.launched is None else self.launched.agent.pid

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in TERMINAL

    @property
    def seconds(self) -> float | None:
        """How long it ran, if it ran and ended."""
        if self.started_at is None or self.ended_at is None:
            return self.earlier_seconds or None
        return self.earlier_seconds + max(0.0, self.ended_at - self.started_at)

    @property
    def seconds_left(self) -> float:
        """How long its next process may run."""
        return max(1.0, self.timeout_seconds - self.earlier_seconds)

    @property
    def is_parked(self) -> bool:
        """Whether it waits for its account."""
        return self.status == QUEUED and self.parked_at is not None

    def seconds_until(self, now: float) -> float:
        """Say how long it has run in all, started again or not."""
        if self.started_at is None:
            return self.earlier_seconds
        ended_at = now if self.ended_at is None else self.ended_at
        return self.earlier_seconds + max(0.0, ended_at - self.started_at)


class Audience(Protocol):
    """Whoever keeps count of a project's agents, also of those whose rows are dropped."""

    def put(self, agent: Agent) -> None:
        """Hear how an agent is now; also during recovery, and more than once."""

    def dropped(self, agent: Agent) -> None:
        """Hear that the row of an agent, which ended long ago, is not kept any more."""


class Nobody:
    """No audience."""

    def put(self, agent: Agent) -> None:
        """Do nothing."""

    def dropped(self, agent: Agent) -> None:
        """Do nothing."""


@define
class Totals:
    """Counts of all agents there ever were; ``failed`` has the killed and lost ones, too, ``timed`` those that ran."""

    spawned: int = 0
    completed: int = 0
    failed: int = 0
    timed: int = 0
    seconds: float = 0.0

    def add_ended(self, agent: Agent) -> None:
        """Count the end of an agent."""
        self.completed += agent.status == COMPLETED
        self.failed += agent.status != COMPLETED
        if agent.seconds is not None:
            self.timed += 1
            self.seconds += agent.seconds


@frozen
class AgentTotals:
    """The agents' part of ``/status``; ``by_type`` counts the active ones."""

    active: int
    completed: int
    failed: int
    spawned_total: int
    by_type: Mapping[str, int]
    avg_execution_time_ms: float


@define(eq=False)
class AgentRows:
    """The agents of one project, oldest first; of those that ended only the newest are kept.

    The keeper (`cco_sidecar.core.ledger.Keeper`) of the project's agents; ``changed`` hears of every change of a row,
    the audience of what it is.
    """

    _changed: Callable[[], None] = lambda: None
    _audience: Audience = field(factory=Nobody)
    kinds: tuple[str, ...] = field(default=("agent", "agent-totals"), init=False)
    _most_ended: int = MOST_ENDED
    _rows: dict[str, Agent] = field(factory=dict)
    _live: dict[str, None] = field(factory=dict)
    _ended: dict[str, None] = field(factory=dict)
    _totals: Totals = field(factory=Totals)

    def __iter__(self) -> Iterator[Agent]:
        return iter(list(self._rows.values()))

    @property
    def totals(self) -> Totals:
        """Counts of all agents there ever were."""
        return self._totals

    @property
    def live(self) -> Sequence[Agent]:
        """Those that have, or are about to have, a process."""
        return [self._rows[agent_id] for agent_id in self._live]

    def put(self, agent: Agent) -> None:
        """Keep the agent as it is now."""
        self._changed()
        agent_id = agent.agent_id
        before = self._rows.get(agent_id)
        self._totals.spawned += before is None
        self._live.pop(agent_id, None)
        if agent.status in LIVE:
            self._live[agent_id] = None
        if agent.ended:
            agent = evolve(agent, task=agent.task[:_TASK_KEPT])
            self._ended[agent_id] = None
            if before is None or not before.ended:
                self._totals.add_ended(agent)
        self._rows[agent_id] = agent
        self._audience.put(agent)
        self._drop()

    def _drop(self) -> None:
        while len(self._ended) > self._most_ended:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._audience.dropped(self._rows.pop(oldest))

    def remove(self, agent_id: str) -> None:
        """Forget an agent that was not accepted."""
        if self._rows.pop(agent_id, None) is not None:
            self._totals.spawned -= 1

    def get(self, agent_id: str) -> Agent:
        """Look an agent up.

        :raises NotFound: there is none by that id.
        """
        agent = self._rows.get(agent_id)
        if agent is None:
            raise NotFound(f"There is no agent {agent_id!r} in this project.", agent_id=agent_id)
        return agent

    def find(self, agent_id: str) -> Agent | None:
        """Look an agent up; None when there is none."""
        return self._rows.get(agent_id)

    def select(self, status: str | None, agent_type: str | None, issue_id: str | None, limit: int) -> list[Agent]:
        """List agents, newest first."""
        found = (
            agent
            for agent in reversed(self._rows.values())
            if (status is None or agent.status == status)
            and (agent_type is None or agent.agent_type == agent_type)
            and (issue_id is None or agent.issue_id == issue_id)
        )
        return list(islice(found, limit))

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Apply a record."""
        if kind == "agent":
            self.put(msgspec.json.decode(body, type=Agent))
        else:
            self._totals = msgspec.json.decode(body, type=Totals)

    def snapshot(self) -> Iterable[Record]:
        """Give the agents, and last the counts: those have what was dropped, and what the agents before added."""
        for agent in self:
            yield "agent", agent
        yield "agent-totals", evolve(self._totals)  # as they are now


def totals_of(projects: Iterable[AgentRows]) -> AgentTotals:
    """Count over several projects."""
    spawned = completed = failed = timed = 0
    seconds = 0.0
    active: Counter[str] = Counter()
    for rows in projects:
        spawned += rows.totals.spawned
        completed += rows.totals.completed
        failed += rows.totals.failed
        timed += rows.totals.timed
        seconds += rows.totals.seconds
        active.update(agent.agent_type for agent in rows.live)
    average = round(1000 * seconds / timed, 3) if timed else 0.0
    return AgentTotals(active.total(), completed, failed, spawned, dict(active), average)
