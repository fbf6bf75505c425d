"""Agents over HTTP: spawn, look, read logs, kill (contract section 8)."""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec
from attrs import define
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.agent_rows import QUEUED, STATUSES, Agent, SpawnOrder
from cco_sidecar.core.agents import GRACE_SECONDS, Agents
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.identifiers import identifier, nearest
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.roster import AgentType, Roster
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import Foreign, InvalidBody, InvalidParameter
from cco_sidecar.web.codec import Reply, Stream
from cco_sidecar.web.request import SidecarRequest
from cco_sidecar.web.routing import Call, ProjectQuery, audit, idempotent

MOST_TASK = 64 * 1024
MOST_TIMEOUT_SECONDS = 7 * 86400
FOLLOW_SECONDS = 0.3
TEXT = b"text/plain; charset=utf-8"

Name = Annotated[str, Meta(max_length=128)]


class SpawnRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to start; the command comes from the runner, never from here."""

    agent_type: str
    issue_id: str
    task: Annotated[str, Meta(max_length=MOST_TASK)] | None = None
    project_id: str | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    environment: dict[str, str] = {}
    context_requirements: Any = None
    runner: Name | None = None
    timeout_seconds: Annotated[int, Meta(ge=1, le=MOST_TIMEOUT_SECONDS)] | None = None


class SpawnAnswer(msgspec.Struct):
    """The agent that was started or queued; never its token."""

    agent_id: str
    agent_type: str
    issue_id: str
    status: str
    spawned: bool
    queued: bool
    queued_because: str | None
    process_id: int | None
    context_injected: bool
    status_url: str
    webhook_url: str
    timestamp: str


class AgentLine(msgspec.Struct):
    """An agent as it is now."""

    agent_id: str
    agent_type: str
    issue_id: str
    project_id: str
    status: str
    process_id: int | None
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    result_id: str | None
    usage: dict[str, float] | None
    doing: str | None
    failure: str | None
    account: str | None
    parkings: int
    parked_since: str | None
    parent: str
    restarts: int
    condition: str | None
    condition_since: str | None
    reason: str | None
    queued_because: str | None
    last_request_at: str | None
    last_heartbeat_at: str | None
    log_tail: str | None


class AgentsAnswer(msgspec.Struct):
    """Agents, newest first."""

    agents: list[AgentLine]


class AgentsQuery(ProjectQuery):
    """Which agents."""

    status: Name | None = None
    type: Name | None = None
    issue: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class LogsQuery(ProjectQuery):
    """How much of the log: the last so many lines, and what still comes."""

    tail: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    follow: bool = False


class KillQuery(ProjectQuery):
    """How gently."""

    force: bool = False
    timeout_seconds: Annotated[int, Meta(ge=0, le=3600)] = int(GRACE_SECONDS)


class HeartbeatAnswer(msgspec.Struct):
    """The agent was heard."""

    agent_id: str
    timestamp: str


ReadLog = Callable[[str, int | None, int], "Deferred[tuple[bytes, int]]"]
"""Reads an agent's log: the last so many lines (None: all), or what comes after an offset; gives text and offset."""


@define(eq=False)
class AgentsAPI:
    """Parse, delegate, encode."""

    _clock: IReactorTime
    _agents: Agents
    _roster: Roster
    _projects: Projects
    _runners: Collection[str]
    _default_runner: str
    _default_timeout_seconds: int
    _check_environment: Callable[[Mapping[str, str]], None]
    _read_log: ReadLog
    _has_context: Callable[[str], bool]
    _url: str

    async def spawn(self, call: Call[ProjectQuery, SpawnRequest]) -> Reply:
        """Start an agent, or queue it."""
        order = self._order(call)
        project = self._projects.get(order.project_id)
        project.issues.see(order.issue_id)

        async def work(record: Any) -> Answered:
            key = None if record is None else lambda agent: record(201, self._answer(agent))
            agent = await self._agents.spawn(order, key)
            audit(call.request, "agent spawned", target=agent.agent_id, type=agent.agent_type, runner=agent.runner)
            status = 202 if agent.status == QUEUED else 201
            return Answered(status, msgspec.json.encode(self._answer(agent)))

        answered = await idempotent(call, project, work)
        return Reply(answered.body, answered.status)

    def _order(self, call: Call[ProjectQuery, SpawnRequest]) -> SpawnOrder:
        body, claims = call.body, call.holder
        kind = self._roster.get(body.agent_type)
        issue_id = identifier(body.issue_id, "issue_id")
        project = self._project(call)
        if not claims.is_admin and issue_id != claims.issue_id:
            raise Foreign(f"This token spawns agents for its own issue alone, '{claims.issue_id}'.")
        self._check_environment(body.environment)
        return SpawnOrder(
            agent_type=kind.type,
            issue_id=issue_id,
            project_id=project.id,
            parent=claims.sub,
            task=body.task or project.texts.text_of(issue_id)[:MOST_TASK] or _task_of(kind),
            runner=known_runner(body.runner, self._runners, self._default_runner),
            timeout_seconds=body.timeout_seconds or self._default_timeout_seconds,
            priority=body.priority,
            environment=body.environment,
            context_requirements=body.context_requirements,
        )

    def _project(self, call: Call[ProjectQuery, SpawnRequest]) -> Project:
        if call.body.project_id is None:
            return call.project
        named = identifier(call.body.project_id, "project_id")
        if not call.holder.is_admin and named != call.project.id:
            raise Foreign(f"This token is for the project '{call.project.id}' alone.")
        return self._projects.get(named)

    def _answer(self, agent: Agent) -> SpawnAnswer:
        url = f"{self._url}/api/agents/{agent.agent_id}"
        return SpawnAnswer(
            agent_id=agent.agent_id,
            agent_type=agent.agent_type,
            issue_id=agent.issue_id,
            status=agent.status,
            spawned=agent.status != QUEUED,
            queued=agent.status == QUEUED,
            queued_because=self._agents.why_waits(agent.agent_id),
            process_id=agent.process_id,
            context_injected=self._has_context(agent.agent_id),
            status_url=f"{url}/status",
            webhook_url=f"{self._url}/api/events/agent_completed",
            timestamp=rfc3339(self._clock.seconds()),
        )

    async def list(self, call: Call[AgentsQuery, None]) -> Reply:
        """List agents, newest first."""
        query = call.query
        if query.status is not None and query.status not in STATUSES:
            raise InvalidParameter(f"status must be one of {', '.join(STATUSES)}.", parameter="status")
        if query.type is not None:
            self._roster.get(query.type)
        if query.issue is not None:
            identifier(query.issue, "issue")
        found = self._agents.listing(call.project.id, query.status, query.type, query.issue, query.limit)
        return Reply(AgentsAnswer([self._line(agent) for agent in found]))

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Show one agent."""
        return Reply(self._line(self._agents.get(call.project.id, call.path["agent_id"])))

    async def logs(self, call: Call[LogsQuery, None]) -> Reply:
        """Give what an agent wrote."""
        agent = self._owned(call)
        query = call.query
        text, offset = await self._read_log(agent.agent_id, query.tail, 0)
        if query.tail is not None and not query.follow:
            return Reply(text, content_type=TEXT)
        return Stream(
            text, content_type=TEXT, more=lambda request: self._write_on(request, agent, offset, query.follow)
        )

    async def _write_on(self, request: SidecarRequest, agent: Agent, offset: int, follow: bool) -> None:
        """Write the rest of a log, and what still comes until the agent has ended; ends with the peer."""
        while True:
            # Asked before reading: what was written before the end is read after it.
            ended = self._agents.get(agent.project_id, agent.agent_id).ended
            text, offset = await self._read_log(agent.agent_id, None, offset)
            if text:
                request.write(text)
            elif ended or not follow:
                return
            else:
                await request.pause(FOLLOW_SECONDS)

    async def heartbeat(self, call: Call[ProjectQuery, None]) -> Reply:
        """Hear from an agent that it works."""
        agent_id = call.path["agent_id"]
        if not call.holder.is_admin and call.holder.sub != agent_id:
            raise Foreign("An agent speaks for itself alone.")
        now = self._clock.seconds()
        if call.holder.sub == agent_id:
            self._agents.signs.beat(agent_id, now)
        return Reply(HeartbeatAnswer(agent_id, rfc3339(now)))

    async def kill(self, call: Call[KillQuery, None]) -> Reply:
        """End an agent with all its descendants; answers when it is gone."""
        agent = self._owned(call)
        audit(call.request, "agent killed", target=agent.agent_id)
        grace = 0 if call.query.force else call.query.timeout_seconds
        return Reply(self._line(await self._agents.kill(agent.project_id, agent.agent_id, grace)))

    def _owned(self, call: Call[Any, None]) -> Agent:
        """Give the agent, if the holder is it, or spawned it, or is the admin."""
        agent = self._agents.get(call.project.id, call.path["agent_id"])
        if call.holder.is_admin or call.holder.sub in {agent.agent_id, agent.parent}:
            return agent
        raise Foreign(f"Only '{agent.agent_id}' itself, the agent that spawned it, and the admin may do this.")

    def _line(self, agent: Agent) -> AgentLine:
        signs, work = self._agents.signs.of(agent.agent_id), self._agents.work.of(agent.agent_id)
        return AgentLine(
            agent_id=agent.agent_id,
            agent_type=agent.agent_type,
            issue_id=agent.issue_id,
            project_id=agent.project_id,
            status=agent.status,
            process_id=agent.process_id,
            started_at=_time(agent.started_at),
            ended_at=_time(agent.ended_at),
            exit_code=agent.exit_code,
            result_id=agent.result_id,
            usage=self._agents.work.usage_of(agent),
            doing=None if work is None else work.doing or None,
            failure=agent.failure or None,
            account=agent.account or None,
            parkings=agent.parkings,
            parked_since=_time(agent.parked_at),
            parent=agent.parent,
            restarts=agent.restarts,
            condition=agent.condition or None,
            condition_since=_time(agent.condition_at),
            reason=agent.reason or agent.over_budget or None,
            queued_because=self._agents.why_waits(agent.agent_id),
            last_request_at=None if signs is None else _time(signs.asked_at),
            last_heartbeat_at=None if signs is None else _time(signs.beat_at),
            log_tail=agent.log_tail or None,
        )


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)


def known_runner(name: str | None, runners: Collection[str], default: str) -> str:
    """Give the runner of that name, or the default one.

    :raises InvalidBody: there is none.
    """
    if name is None:
        return default
    if name not in runners:
        meant = nearest(name, runners)
        known = ", ".join(sorted(runners))
        hint = f"did you mean '{meant}'?" if meant else f"there are {known}."
        raise InvalidBody(f"There is no runner '{name[:64]}': {hint}", path="$.runner")
    return name


def _task_of(kind: AgentType) -> str:
    return kind.role or f"Work on this issue as {kind.name}."
