"""Results over HTTP: store, list, read, prune (contract section 7)."""

from typing import Annotated, Any, Literal

import msgspec
from attrs import define
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.identifiers import identifier
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.results import Accepted, KeyFor, Report, Results
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.times import rfc3339, seconds_of
from cco_sidecar.core.tokens import Claims
from cco_sidecar.errors import Foreign, InvalidBody, InvalidParameter
from cco_sidecar.interfaces import IResultStore, ResultEntry
from cco_sidecar.web.codec import Reply, compact
from cco_sidecar.web.routing import Call, ProjectQuery, idempotent

MOST_BYTES = 16 * 1024 * 1024
STATUSES = ("success", "failed", "partial")

Name = Annotated[str, Meta(max_length=128)]


class ResultRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A result as its agent sends it; ``result`` is any JSON object with a ``status``.

    ``next_as_tasks`` makes a task of each agent type that comes next.
    """

    agent_id: str
    agent_type: str
    issue_id: str
    result: msgspec.Raw
    project_id: str | None = None
    timestamp: Name | None = None
    next_as_tasks: bool = False


class _Status(msgspec.Struct):
    status: Literal["success", "failed", "partial"]


class NextAgentAnswer(msgspec.Struct):
    """An agent type that the workflow would start next, and why."""

    agent_type: str
    priority: str
    reason: str


class StoreAnswer(msgspec.Struct):
    """What became of a result; ``tasks`` are those that ``next_as_tasks`` made."""

    id: str
    stored: bool
    storage_path: str
    next_agents: list[NextAgentAnswer]
    event_published: bool
    event_id: str | None
    timestamp: str
    tasks: list[str] | msgspec.UnsetType = msgspec.UNSET


class ListQuery(ProjectQuery):
    """Which results; ``cursor`` goes on where a page ended."""

    issue: Name | None = None
    agent_type: Name | None = None
    status: Literal["success", "failed", "partial"] | None = None
    since: Name | None = None
    until: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Name | None = None


class ListAnswer(msgspec.Struct):
    """Results, newest first; ``damaged`` names files that cannot be read."""

    results: list[ResultEntry]
    next_cursor: str | None
    damaged: list[str]


class StoredObject(msgspec.Struct):
    """A result as it is stored."""

    id: str
    agent_id: str
    agent_type: str
    issue_id: str
    project_id: str
    status: str
    timestamp: str
    result: dict[str, Any]


class PruneQuery(ProjectQuery, kw_only=True):
    """Which results are old."""

    older_than_seconds: Annotated[int, Meta(ge=0)]


class PruneAnswer(msgspec.Struct):
    """How many results were removed."""

    removed: int
    timestamp: str


@define(eq=False)
class ResultsAPI:
    """Parse, delegate, encode."""

    _clock: IReactorTime
    _results: Results
    _store: IResultStore
    _projects: Projects
    _roster: Roster

    async def store(self, call: Call[ProjectQuery, ResultRequest]) -> Reply:
        """Store a result."""
        project = self._identity(call)
        report = self._report(call.body)

        async def work(record: Any) -> Answered:
            def key_for(result_id: str, path: str, event: Event) -> KeyRecord:
                made: KeyRecord = record(201, self._answer(Accepted(result_id, path, [], event, rfc3339(event.at))))
                return made

            key: KeyFor | None = None if record is None else key_for
            accepted = await self._results.accept(project, report, key)
            answer = self._answer(accepted)
            if call.body.next_as_tasks:
                answer.tasks = await self._results.add_tasks(project, report, accepted)
            return Answered(201, msgspec.json.encode(answer))

        answered = await idempotent(call, project, work)
        return Reply(answered.body, answered.status)

    def _identity(self, call: Call[ProjectQuery, ResultRequest]) -> Project:
        body, claims = call.body, call.holder
        project_id = call.project.id if body.project_id is None else body.project_id
        for name in ("agent_id", "agent_type", "issue_id"):
            identifier(getattr(body, name), name)
        identifier(project_id, "project_id")
        self._roster.get(body.agent_type)
        if claims.is_admin:
            return self._projects.get(project_id)
        self._check_same(body, project_id, claims)
        return call.project

    def _check_same(self, body: ResultRequest, project_id: str, claims: Claims) -> None:
        pairs = (
            ("agent_id", body.agent_id, claims.sub),
            ("agent_type", body.agent_type, claims.agent_type),
            ("issue_id", body.issue_id, claims.issue_id),
            ("project_id", project_id, claims.project_id),
        )
        for name, given, own in pairs:
            if given != own:
                raise Foreign(f"{name} must be the token's own, '{own}'.", path=f"$.{name}")

    def _report(self, body: ResultRequest) -> Report:
        result = compact(body.result, "$.result")
        try:
            status = msgspec.json.decode(result, type=_Status).status
        except msgspec.ValidationError:
            raise InvalidBody(
                "result must be a JSON object whose 'status' is 'success', 'failed' or 'partial'.",
                path="$.result.status",
            ) from None
        timestamp = None if body.timestamp is None else rfc3339(seconds_of(body.timestamp, "timestamp"))
        return Report(body.agent_id, body.agent_type, body.issue_id, status, result, timestamp)

    def _answer(self, accepted: Accepted) -> StoreAnswer:
        return StoreAnswer(
            id=accepted.result_id,
            stored=True,
            storage_path=accepted.storage_path,
            next_agents=[NextAgentAnswer(n.agent_type, n.priority, n.reason) for n in accepted.next_agents],
            event_published=accepted.event is not None,
            event_id=None if accepted.event is None else accepted.event.body.event_id,
            timestamp=accepted.timestamp,
        )

    async def list(self, call: Call[ListQuery, None]) -> Reply:
        """List results, newest first."""
        query = call.query
        issue = _scope(call.holder, None if query.issue is None else identifier(query.issue, "issue"))
        if query.agent_type is not None:
            self._roster.get(query.agent_type)
        after = None if query.cursor is None else identifier(query.cursor, "cursor")
        wanted = _Wanted(query)
        listing = await self._store.listing(call.project.id, issue)
        found = [entry for entry in listing.entries if wanted.takes(entry) and (after is None or entry.id < after)]
        page = found[: query.limit]
        return Reply(
            ListAnswer(
                results=page,
                next_cursor=page[-1].id if len(found) > len(page) else None,
                damaged=list(listing.damaged[:1000]),
            )
        )

    async def newest(self, call: Call[ProjectQuery, None]) -> Reply:
        """Give the newest result of a type."""
        return Reply(await self._store.newest(call.project.id, call.path["issue_id"], call.path["agent_type"]))

    async def by_id(self, call: Call[ProjectQuery, None]) -> Reply:
        """Give a result by its id."""
        text = await self._store.by_id(call.project.id, call.path["result_id"])
        _scope(call.holder, msgspec.json.decode(text, type=_Issue).issue_id)
        return Reply(text)

    async def prune(self, call: Call[PruneQuery, None]) -> Reply:
        """Remove old results; the newest of each type stays."""
        now = self._clock.seconds()
        removed = await self._store.prune(call.project.id, now - call.query.older_than_seconds)
        return Reply(PruneAnswer(removed, rfc3339(now)))


class _Issue(msgspec.Struct):
    issue_id: str


def _scope(claims: Claims, issue_id: str | None) -> str | None:
    """Give the issue whose results may be read: an agent's own, or what the admin asks for.

    :raises Foreign: an agent asks for another's.
    """
    if claims.is_admin:
        return issue_id
    if issue_id is not None and issue_id != claims.issue_id:
        raise Foreign(f"This token reads the results of the issue '{claims.issue_id}' alone.")
    return claims.issue_id


class _Wanted:
    """The conditions of a listing."""

    def __init__(self, query: ListQuery) -> None:
        self._type = query.agent_type
        self._status = query.status
        self._since = None if query.since is None else seconds_of(query.since, "since")
        self._until = None if query.until is None else seconds_of(query.until, "until")

    def takes(self, entry: ResultEntry) -> bool:
        if self._type is not None and entry.agent_type != self._type:
            return False
        if self._status is not None and entry.status != self._status:
            return False
        if self._since is None and self._until is None:
            return True
        try:
            at = seconds_of(entry.timestamp, "timestamp")
        except InvalidParameter:
            return True  # a hand-made file: shown rather than hidden
        return (self._since is None or at >= self._since) and (self._until is None or at < self._until)
