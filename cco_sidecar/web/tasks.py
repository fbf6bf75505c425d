"""Tasks over HTTP: add, take, checkpoint, complete, give back (contract section 10)."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from attrs import define
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.events.waiting import Reader
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.identifiers import identifier
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.tasks.board import Wanted
from cco_sidecar.core.tasks.task import DEFAULT_ATTEMPTS, NOTHING, Priority, State, Task
from cco_sidecar.core.tasks.tasks import NewTask
from cco_sidecar.core.tenure import holder_of
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import Claims as TokenClaims
from cco_sidecar.errors import InvalidBody
from cco_sidecar.web.codec import Reply, compact
from cco_sidecar.web.routing import Call, ProjectQuery, idempotent

MOST_TITLE = 512
MOST_TASK = 64 * 1024
MOST_JSON = 64 * 1024
MOST_CHECKPOINT = 256 * 1024
MOST_WAIT = 300_000
TITLE_CUT = 120
ANY = "*"

Name = Annotated[str, Meta(max_length=128)]
Names = Annotated[list[str], Meta(max_length=64)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
Fence = Annotated[int, Meta(ge=0)]


class TaskRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is to do, for whom, and after what; ``title`` or ``task`` must be there."""

    title: Annotated[str, Meta(min_length=1, max_length=MOST_TITLE)] | None = None
    task: Annotated[str, Meta(min_length=1, max_length=MOST_TASK)] | None = None
    agent_type: str | None = None
    types: Names | None = None
    issue_id: str | None = None
    priority: Priority = "normal"
    data: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)  # the description cannot show a default
    after: Names = []
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = DEFAULT_ATTEMPTS


class TaskLine(msgspec.Struct):
    """A task and how it stands; ``agent_id`` has it, or had it last."""

    id: str
    title: str
    state: State
    priority: Priority
    types: list[str]
    issue_id: str | None
    project_id: str
    attempts: int
    max_attempts: int
    waits_for: list[str]
    added_by: str
    added_at: str
    agent_id: str | None
    agent_type: str | None
    leased_at: str | None
    lease_expires_at: str | None
    ended_at: str | None
    reason: str | None


class TaskAnswer(TaskLine):
    """A task, whole."""

    task: str
    after: list[str]
    data: Any
    result: Any
    checkpoint: Any


class TasksAnswer(msgspec.Struct):
    """Tasks, the newest first; ``open`` is how many of the project are not over."""

    tasks: list[TaskLine]
    open: int


class TasksQuery(ProjectQuery):
    """Which tasks."""

    state: State | None = None
    type: Name | None = None
    issue: Name | None = None
    agent: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class TakeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which task to take: of these agent types, and of this issue; ``*`` is any."""

    types: Names | None = None
    issue: str | None = None
    lease_seconds: Seconds = 300


class TakeQuery(ProjectQuery):
    """How long to wait for a task (milliseconds)."""

    wait: Annotated[int, Meta(ge=0, le=MOST_WAIT)] = 0


class TakeAnswer(msgspec.Struct):
    """A task that is the agent's until ``expires_at``; ``checkpoint`` is how far the one before it came."""

    task: TaskAnswer
    lease_id: str
    fence: int
    expires_at: str
    checkpoint: Any


class TaskCheckpointRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How far the agent has come; without ``checkpoint`` the lease is renewed, no more."""

    fence: Fence
    checkpoint: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    lease_seconds: Seconds | None = None


class CompleteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """That the task is done, and what came of it."""

    fence: Fence
    result: msgspec.Raw = msgspec.field(default_factory=lambda: NOTHING)


class GiveBackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """That the agent does not go on with the task, and why."""

    fence: Fence
    reason: Annotated[str, Meta(max_length=1024)] | None = None


@define(eq=False)
class TasksAPI:
    """Parse, delegate, encode; ``reader_of`` tells who waits."""

    _clock: IReactorTime
    _reader_of: Callable[[TokenClaims], Reader]
    _roster: Roster

    async def add(self, call: Call[ProjectQuery, TaskRequest]) -> Reply:
        """Add a task."""
        new, project = self._new(call.body, call.holder), call.project

        async def work(record: Any) -> Answered:
            key = None if record is None else lambda task: record(201, _whole(project.id, task))
            task = await project.tasks.add(new, call.holder.sub, key)
            return Answered(201, msgspec.json.encode(_whole(project.id, task)))

        answered = await idempotent(call, project, work)
        return Reply(answered.body, answered.status)

    def _new(self, body: TaskRequest, claims: TokenClaims) -> NewTask:
        text = body.task or body.title
        if text is None:
            raise InvalidBody("Say what is to do: 'task', or 'title', or both.", path="$.task")
        if body.agent_type is not None and body.types is not None:
            raise InvalidBody("Give 'agent_type', or 'types' for several, not both.", path="$.types")
        types = [body.agent_type] if body.agent_type is not None else list(body.types or ())
        own = None if claims.is_admin else claims.issue_id
        return NewTask(
            title=body.title or _title(text),
            task=text,
            types=[self._roster.get(name).type for name in dict.fromkeys(types)],
            issue_id=own if body.issue_id is None else identifier(body.issue_id, "issue_id"),
            priority=body.priority,
            after=list(dict.fromkeys(identifier(name, "after") for name in body.after)),
            max_attempts=body.max_attempts,
            data=_bounded(body.data, "data", MOST_JSON),
        )

    async def list(self, call: Call[TasksQuery, None]) -> Reply:
        """List tasks."""
        query, tasks = call.query, call.project.tasks
        if query.type is not None:
            self._roster.get(query.type)
        issue = None if query.issue is None else identifier(query.issue, "issue")
        agent = None if query.agent is None else identifier(query.agent, "agent")
        found = tasks.listing(query.state, query.type, issue, agent)
        return Reply(TasksAnswer([_line(call.project.id, task) for task in found[: query.limit]], tasks.open_tasks))

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Show one task."""
        return Reply(_whole(call.project.id, call.project.tasks.get(call.path["task_id"])))

    async def take(self, call: Call[TakeQuery, TakeRequest]) -> Reply:
        """Take a task, now or when there is one."""
        claims, asked_at = call.holder, self._clock.seconds()
        wanted = self._wanted(call.body, claims)
        # Not longer than the token: the time limit then finds it expired, and says so.
        seconds = min(call.query.wait / 1000, claims.exp - asked_at)
        try:
            task = await call.project.tasks.claim(
                self._reader_of(claims), holder_of(claims), wanted, call.body.lease_seconds, seconds
            )
        finally:
            if call.query.wait:
                call.request.parked_seconds = self._clock.seconds() - asked_at
        if task is None or task.state.lease is None:
            return Reply(b"", 204)
        lease, whole = task.state.lease, _whole(call.project.id, task)
        return Reply(TakeAnswer(whole, lease.id, lease.fence, rfc3339(lease.expires_at), whole.checkpoint))

    def _wanted(self, body: TakeRequest, claims: TokenClaims) -> Wanted:
        """Read what is wanted: if nothing is said, an agent's own type and issue, and for the admin anything."""
        if body.types is None:
            types = None if claims.is_admin else frozenset({claims.agent_type})
        elif ANY in body.types:
            types = None
        else:
            types = frozenset(self._roster.get(name).type for name in body.types)
        if body.issue is None:
            return Wanted(types, None if claims.is_admin else claims.issue_id)
        return Wanted(types, None if body.issue == ANY else identifier(body.issue, "issue"))

    async def checkpoint(self, call: Call[ProjectQuery, TaskCheckpointRequest]) -> Reply:
        """Keep how far the agent has come, and renew its lease."""
        body = call.body
        is_given = bool(bytes(body.checkpoint))
        text = _bounded(body.checkpoint, "checkpoint", MOST_CHECKPOINT) if is_given else None
        tasks, holder = call.project.tasks, holder_of(call.holder)
        task = await tasks.checkpoint(holder, call.path["task_id"], body.fence, text, body.lease_seconds)
        return Reply(_line(call.project.id, task))

    async def complete(self, call: Call[ProjectQuery, CompleteRequest]) -> Reply:
        """Complete a task."""
        result = _bounded(call.body.result, "result", MOST_JSON)
        tasks, holder = call.project.tasks, holder_of(call.holder)
        task = await tasks.complete(holder, call.path["task_id"], call.body.fence, result)
        return Reply(_line(call.project.id, task))

    async def release(self, call: Call[ProjectQuery, GiveBackRequest]) -> Reply:
        """Give a task back."""
        tasks, holder = call.project.tasks, holder_of(call.holder)
        task = await tasks.release(holder, call.path["task_id"], call.body.fence, call.body.reason)
        return Reply(_line(call.project.id, task))

    async def cancel(self, call: Call[ProjectQuery, None]) -> Reply:
        """Cancel a task."""
        task = await call.project.tasks.cancel(holder_of(call.holder), call.path["task_id"])
        return Reply(_line(call.project.id, task))


def _title(text: str) -> str:
    line = text.strip().split("\n", 1)[0].strip() or text.strip() or "…"
    return line if len(line) <= TITLE_CUT else f"{line[:TITLE_CUT]}…"


def _bounded(raw: msgspec.Raw, name: str, most: int) -> msgspec.Raw:
    text = compact(raw, f"$.{name}")
    if len(bytes(text)) > most:
        raise InvalidBody(
            f"{name} is larger than {most} bytes of JSON: put it into a file of the project, and name that.",
            path=f"$.{name}",
        )
    return text


def _line(project_id: str, task: Task) -> TaskLine:
    return TaskLine(**_fields(project_id, task))


def _whole(project_id: str, task: Task) -> TaskAnswer:
    record = task.record
    return TaskAnswer(
        **_fields(project_id, task),
        task=record.task,
        after=record.after,
        data=record.data,
        result=task.state.result,
        checkpoint=None if task.checkpoint is None else task.checkpoint.checkpoint,
    )


def _fields(project_id: str, task: Task) -> dict[str, Any]:
    record, state = task.record, task.state
    lease = state.lease
    is_leased = lease is not None and state.state == "leased"
    return {
        "id": record.id,
        "title": record.title,
        "state": state.state,
        "priority": record.priority,
        "types": record.types,
        "issue_id": record.issue_id,
        "project_id": project_id,
        "attempts": state.attempts,
        "max_attempts": record.max_attempts,
        "waits_for": sorted(task.left),
        "added_by": record.added_by,
        "added_at": rfc3339(record.added_at),
        "agent_id": None if lease is None else lease.holder.agent_id,
        "agent_type": None if lease is None else lease.holder.agent_type,
        "leased_at": None if lease is None else rfc3339(lease.since),
        "lease_expires_at": rfc3339(lease.expires_at) if lease is not None and is_leased else None,
        "ended_at": None if state.ended_at is None else rfc3339(state.ended_at),
        "reason": state.reason,
    }
