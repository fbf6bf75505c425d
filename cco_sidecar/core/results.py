"""What agents report: accepted whole, told to everybody, kept (contract section 7)."""

from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.hub import Draft
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.projects import Project
from cco_sidecar.core.shielding import shielded
from cco_sidecar.core.tasks.task import DEFAULT_ATTEMPTS, RANKS
from cco_sidecar.core.tasks.tasks import NewTask
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.workflows.definition import NextAgent
from cco_sidecar.errors import Refusal
from cco_sidecar.interfaces import IResultStore, StoredResult

_log = Logger()

RESULT_TOPIC = "results"
LIFECYCLE_TOPIC = "agents"


@frozen
class Report:
    """A result before it is stored; ``result`` is JSON text without white space."""

    agent_id: str
    agent_type: str
    issue_id: str
    status: str
    result: msgspec.Raw
    timestamp: str | None


@frozen
class Accepted:
    """A stored result; ``event`` is its ``result_stored``, None if the event log took nothing."""

    result_id: str
    storage_path: str
    next_agents: list[NextAgent]
    event: Event | None
    timestamp: str


KeyFor = Callable[[str, str, Event], KeyRecord]
"""Makes the idempotency record from the result's id, its path and its event."""


@define(eq=False)
class Results:
    """Stores results, and publishes what follows from them.

    ``started_here`` says whether the sidecar itself watches an agent: then its process, not its result, ends it;
    ``stored`` lets the registry know which result was an agent's last; ``next_agents`` asks the issue's workflow.
    """

    _clock: IReactorTime
    _store: IResultStore
    _new_id: Callable[[], str]
    _started_here: Callable[[str, str], bool]
    _stored: Callable[[str, str, str], None]
    _next_agents: Callable[[Project, Report], list[NextAgent]]

    async def accept(self, project: Project, report: Report, key_for: KeyFor | None) -> Accepted:
        """Give the result back as stored once it is on disk, with ``result_stored`` published.

        Once begun it goes on, also when the agent hangs up: a stored result is always told of.

        :raises StorageFull: the disk is full.
        :raises StorageWriteFailed: it could not be written.
        """
        return await shielded(Deferred.fromCoroutine(self._accept(project, report, key_for)))

    async def _accept(self, project: Project, report: Report, key_for: KeyFor | None) -> Accepted:
        now = self._clock.seconds()
        # Sorted by name is sorted by time.
        result_id = f"res-{int(now * 1000):013d}-{self._new_id()[:8]}"
        timestamp = report.timestamp or rfc3339(now)
        path = await self._store.store(_stored_form(project.id, result_id, timestamp, report))
        self._stored(project.id, report.agent_id, result_id)
        event = await self._announce(project, report, result_id, str(path), key_for)
        next_agents = self._next_agents(project, report)
        return Accepted(result_id, str(path), next_agents, event, timestamp)

    async def add_tasks(self, project: Project, report: Report, accepted: Accepted) -> list[str]:
        """Make a task of each agent type that comes next; gives their ids, none of those that could not be made."""
        found = []
        for following in accepted.next_agents:
            try:
                task = await project.tasks.add(_following(following, report, accepted), report.agent_id)
            except Refusal as refusal:
                # The result is safe; that nobody is given the task is said in the answer.
                _log.error("no task for {type}: {why}", type=following.agent_type, why=refusal.message)
                continue
            found.append(task.id)
        return found

    async def _announce(
        self, project: Project, report: Report, result_id: str, path: str, key_for: KeyFor | None
    ) -> Event | None:
        data = {
            "result_id": result_id,
            "agent_id": report.agent_id,
            "agent_type": report.agent_type,
            "issue_id": report.issue_id,
            "status": report.status,
        }
        key = None if key_for is None else lambda event: key_for(result_id, path, event)
        try:
            published = await project.hub.publish(_draft("result_stored", RESULT_TOPIC, report, data), key)
            if not self._started_here(project.id, report.agent_id):
                await project.hub.publish(_ending(report, result_id))
        except Refusal as refusal:
            # The result is safe; that nobody hears of it is said in the answer.
            _log.error("result {id} is stored, but its event is not: {why}", id=result_id, why=refusal.message)
            return None
        return published.event


def _following(following: NextAgent, report: Report, accepted: Accepted) -> NewTask:
    return NewTask(
        title=f"{following.agent_type} for {report.issue_id}",
        task=following.reason,
        types=[following.agent_type],
        issue_id=report.issue_id,
        priority=following.priority if following.priority in RANKS else "normal",  # type: ignore[arg-type]
        after=(),
        max_attempts=DEFAULT_ATTEMPTS,
        data=msgspec.Raw(msgspec.json.encode({"result_id": accepted.result_id, "agent_id": report.agent_id})),
    )


def _stored_form(project_id: str, result_id: str, timestamp: str, report: Report) -> StoredResult:
    body = msgspec.json.encode(
        {
            "id": result_id,
            "agent_id": report.agent_id,
            "agent_type": report.agent_type,
            "issue_id": report.issue_id,
            "project_id": project_id,
            "status": report.status,
            "timestamp": timestamp,
            "result": report.result,
        }
    )
    return StoredResult(
        result_id, report.agent_id, report.agent_type, report.issue_id, project_id, report.status, timestamp, body
    )


def _ending(report: Report, result_id: str) -> Draft:
    """Make the event that ends an agent which only its result speaks for."""
    failed = report.status == "failed"
    data = {
        "agent_id": report.agent_id,
        "agent_type": report.agent_type,
        "issue_id": report.issue_id,
        "status": "failed" if failed else "completed",
        "exit_code": None,
        "result_id": result_id,
    }
    return _draft("agent_failed" if failed else "agent_completed", LIFECYCLE_TOPIC, report, data)


def _draft(event_type: str, topic: str, report: Report, data: dict[str, Any]) -> Draft:
    return Draft.of_sidecar(event_type, topic, data, agent_type=report.agent_type, issue_id=report.issue_id)
