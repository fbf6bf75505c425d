"""Starts the agents that a run asks for: each once, whatever crashes, and never silently not at all; ends them."""

from collections.abc import Callable, Mapping

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.agent_rows import Agent, SpawnOrder
from cco_sidecar.core.agents import GRACE_SECONDS, Agents
from cco_sidecar.core.workflows.definition import Rule, Workflow
from cco_sidecar.core.workflows.pauses import Pauses
from cco_sidecar.core.workflows.run import RUNNING, Attempt, Run
from cco_sidecar.errors import EventLogUnavailable, Refusal, SpawnFailed, StorageFull, TooManyRequests

_log = Logger()

MOST_TRIES = 30
PAUSE_SECONDS = 10.0
"""A full queue is waited for some five minutes; a full disk, for as long as it is full."""


@define(eq=False)
class Spawner:
    """Starts agents of one project's runs, under names known beforehand, and ends them.

    :param find_run: the run of that id and issue, as it is now, if it still is the issue's newest.
    :param refused: called with the run, the agent's id and the reason when an agent cannot be started.
    """

    _agents: Agents
    _project_id: str
    _types: Mapping[str, object]
    _pauses: Pauses
    _find_run: Callable[[str, str], Run | None]
    _refused: Callable[[Run, str, str], None]
    _under_way: set[str] = field(factory=set)

    def see_to(self, run: Run, workflow: Workflow) -> None:
        """Start all that was recorded and is not there yet."""
        if run.status != RUNNING:
            return
        for attempt in run.live:
            if attempt.agent_id in self._under_way or self._is_there(attempt.agent_id):
                continue
            self._under_way.add(attempt.agent_id)
            Deferred.fromCoroutine(self._start(run, workflow, attempt)).addBoth(self._started, attempt.agent_id)

    def end(self, run: Run, grace_seconds: float) -> "Deferred[None]":
        """Fire when the agents of a run are gone, and those whom they have started for its issue."""
        theirs = {attempt.agent_id for attempt in run.attempts}
        agents = self._agents.listing(self._project_id, issue_id=run.issue_id, limit=1_000_000)
        for agent in reversed(agents):  # oldest first: a parent comes before its children
            if agent.parent in theirs:
                theirs.add(agent.agent_id)
        gone = [self._kill(agent, grace_seconds) for agent in agents if agent.agent_id in theirs and not agent.ended]
        return DeferredList(gone).addCallback(lambda _: None)

    def _kill(self, agent: Agent, grace_seconds: float) -> "Deferred[Agent | None]":
        return self._agents.kill(self._project_id, agent.agent_id, grace_seconds).addErrback(
            lambda failure: _log.failure("an agent of a stopped run could not be ended", failure)
        )

    def _is_there(self, agent_id: str) -> bool:
        return self._agents.find(self._project_id, agent_id) is not None

    def _started(self, outcome: object, agent_id: str) -> None:
        self._under_way.discard(agent_id)
        if isinstance(outcome, Failure) and outcome.check(CancelledError) is None:
            _log.failure("an agent of a workflow could not be started", outcome, agent=agent_id)

    async def _start(self, run: Run, workflow: Workflow, attempt: Attempt) -> None:
        rule = workflow.rule(run.firings[attempt.firing].rule)
        reason = self._why_not(run, rule, attempt)
        if reason is None and rule is not None:
            reason = await self._insist(run, order(run, rule, attempt, self._project_id))
        if reason is not None:
            self._refused(run, attempt.agent_id, reason)

    def _why_not(self, run: Run, rule: Rule | None, attempt: Attempt) -> str | None:
        if rule is None:
            return f"the roster's workflow '{run.workflow}' has no rule '{run.firings[attempt.firing].rule}' any more"
        if attempt.agent_type not in self._types:
            return f"the roster has no agent type '{attempt.agent_type}' any more"
        return None

    async def _insist(self, run: Run, wanted: SpawnOrder) -> str | None:
        """Start an agent; give the reason if that cannot be."""
        assert wanted.agent_id is not None
        tries = 0
        while self._wanted(run, wanted.agent_id):
            try:
                agent = await self._agents.spawn(wanted)
            except Refusal as refusal:
                tries += isinstance(refusal, TooManyRequests)
                if self._pauses.closed or self._is_there(wanted.agent_id):
                    return None  # it has a row: its end will be told like any other's
                if tries >= MOST_TRIES or not _may_pass(refusal):
                    return refusal.message
                _log.warn("agent {agent} has to wait: {why}", agent=wanted.agent_id, why=refusal.message)
                await self._pauses.pause(PAUSE_SECONDS)
            else:
                self._end_if_stopped(run, agent)
                return None
        return None

    def _wanted(self, run: Run, agent_id: str) -> bool:
        now = self._find_run(run.run_id, run.issue_id)
        attempt = None if now is None else now.attempt(agent_id)
        return attempt is not None and attempt.state == RUNNING

    def _end_if_stopped(self, run: Run, agent: Agent) -> None:
        if not self._wanted(run, agent.agent_id) and not agent.ended:
            self._kill(agent, GRACE_SECONDS)


def _may_pass(refusal: Refusal) -> bool:
    """Say whether to try again later."""
    if isinstance(refusal, SpawnFailed):
        return refusal.details.get("reason") == "stopping"
    return isinstance(refusal, (TooManyRequests, StorageFull, EventLogUnavailable))


def order(run: Run, rule: Rule, attempt: Attempt, project_id: str) -> SpawnOrder:
    """Make the spawn of an attempt: the same whenever it is made."""
    return SpawnOrder(
        agent_type=attempt.agent_type,
        issue_id=run.issue_id,
        project_id=project_id,
        parent=run.parent,
        task=_task(run, rule, attempt),
        runner=run.runner,
        timeout_seconds=rule.timeout_seconds or run.timeout_seconds,
        priority=rule.priority,
        agent_id=attempt.agent_id,
    )


def _task(run: Run, rule: Rule, attempt: Attempt) -> str:
    task = rule.task.format(task=run.task, issue_id=run.issue_id)
    if attempt.number == 1:
        return task
    before = run.tries(attempt)[attempt.number - 2]
    number = 1 + run.failures(before)
    # First, for what does not fit is cut at the end.
    return (
        f"This is try {number} of {1 + rule.retries}. The agent before you, {before.agent_id}, failed: "
        f"{before.error}\n\nYour task: {task}"
    )
