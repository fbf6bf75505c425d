"""Tells of tasks that are over: an event for everybody, and a dead letter where it took too many attempts."""

from collections.abc import Iterable

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.event import SIDECAR
from cco_sidecar.core.events.hub import Draft, EventHub, Published
from cco_sidecar.core.tasks.task import Task
from cco_sidecar.errors import Refusal

_log = Logger()

TOPIC = "tasks"
EVENTS = {"completed": "task_completed", "failed": "task_failed"}


@define(eq=False)
class TaskNews:
    """Publishes `task_completed` and `task_failed`; one that was cancelled makes no noise."""

    _hub: EventHub
    _letters: DeadLetters

    def tell(self, task: Task) -> None:
        """Publish what became of a task."""
        event_type = EVENTS.get(task.state.state)
        if event_type is not None:
            told = self._hub.publish(_draft(event_type, task))
            told.addCallback(self._bury, task).addErrback(_untold, task.id)

    def _bury(self, published: Published, task: Task) -> "Deferred[None] | None":
        state = task.state
        if state.state != "failed" or state.attempts < task.record.max_attempts:
            return None
        return self._letters.bury(
            source="task",
            webhook_id="",
            event=published.event.encoded,
            reason=state.reason or "failed",
            attempts=state.attempts,
            first_attempt_at=None,
            last_attempt_at=None if state.lease is None else state.lease.since,
        )

    def open(self, tasks: Iterable[Task]) -> None:
        """Publish, after recovery, what an earlier sidecar had no time to; what retention took was told."""
        told: set[str] = set()
        for event in self._hub.ring.after(0):
            if event.body.publisher == SIDECAR and event.body.event_type in EVENTS.values():
                told.update(event.fields().texts("task_id"))
        for task in tasks:
            ended_at = task.state.ended_at
            if ended_at is not None and task.id not in told and ended_at > self._hub.ring.evicted_at:
                self.tell(task)


def _draft(event_type: str, task: Task) -> Draft:
    record, state = task.record, task.state
    data = {
        "task_id": record.id,
        "title": record.title,
        "issue_id": record.issue_id,
        "types": record.types,
        "attempts": state.attempts,
        "agent_id": None if state.lease is None else state.lease.holder.agent_id,
        "reason": state.reason,
        "result": state.result,
    }
    return Draft.of_sidecar(
        event_type,
        TOPIC,
        data,
        agent_type=None if state.lease is None else state.lease.holder.agent_type,
        issue_id=record.issue_id,
    )


def _untold(failure: Failure, task_id: str) -> None:
    failure.trap(Refusal)
    _log.warn("nobody hears that the task {id} is over: {why}", id=task_id, why=failure.getErrorMessage())
