"""How issues and the runs of workflows for them are shown (contract section 9)."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.agent_work import summed
from cco_sidecar.core.projects import Project
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.workflows.definition import Workflow
from cco_sidecar.core.workflows.run import FINAL, RUNNING, Attempt, Run
from cco_sidecar.core.workflows.telling import what_to_do
from cco_sidecar.interfaces import ResultEntry

NEW = "new"
"""The status of an issue for which no workflow was started."""


class IssueAnswer(msgspec.Struct):
    """An issue; ``first_seen`` is when a token or an agent first named it, ``updated_at`` when its text was written."""

    issue_id: str
    project_id: str
    title: str
    body: str
    first_seen: str | None
    updated_at: str | None


class RunAnswer(msgspec.Struct):
    """A run of a workflow: ``status`` is ``running``, ``escalated`` (a person is wanted), ``done`` or ``stopped``."""

    run_id: str
    issue_id: str
    project_id: str
    status: str
    workflow: str
    runner: str
    task: str
    started_by: str
    started_at: str
    ended_at: str | None
    status_url: str


class PhaseAgent(msgspec.Struct):
    """An agent of a phase. ``state`` is the workflow's view (``running``, ``completed``, ``failed``, ``stopped``).

    ``status`` is the process's, null before there is one; ``queued_because`` is what it waits for in the queue;
    ``error`` says why it failed, or what was odd.
    """

    agent_id: str
    agent_type: str
    rule: str
    round: int
    attempt: int
    state: str
    status: str | None
    queued_because: str | None
    exit_code: int | None
    result_id: str | None
    published: Sequence[str]
    error: str | None
    started_at: str | None
    ended_at: str | None


class PhaseAnswer(msgspec.Struct):
    """A phase: ``state`` is ``waiting``, ``running``, ``completed``, ``escalated``, ``stopped`` or ``skipped``."""

    phase: str
    state: str
    rounds: int
    agents: list[PhaseAgent]


class RoundAnswer(msgspec.Struct):
    """A rule that fired, for the ``round``-th time of at most ``max_rounds``, on these events."""

    rule: str
    phase: str
    round: int
    max_rounds: int | None
    events: Sequence[str]
    at: str


class EscalationAnswer(msgspec.Struct):
    """Something a person has to look at, and what can be done; not ``open`` once the run went on."""

    why: str
    phase: str
    rule: str
    agent_id: str | None
    message: str
    what_to_do: list[str]
    open: bool
    at: str


class IssueAgent(msgspec.Struct):
    """An agent that works, or has worked, on the issue, whoever started it (``parent``)."""

    agent_id: str
    agent_type: str
    parent: str
    status: str
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    result_id: str | None
    usage: dict[str, float] | None


class IssueState(IssueAnswer):
    """An issue with all that was done for it: its newest run, and the agents and results of all time.

    ``status`` is ``new`` before the first run, and what is of a run is null or empty then. ``cost`` sums up what the
    agents reported of their usage; null if none did.
    """

    status: str
    run_id: str | None
    workflow: str | None
    runner: str | None
    task: str | None
    started_by: str | None
    started_at: str | None
    ended_at: str | None
    phases: list[PhaseAnswer]
    rounds: list[RoundAnswer]
    escalations: list[EscalationAnswer]
    agents: list[IssueAgent]
    results: list[ResultEntry]
    cost: dict[str, float] | None


class IssueLine(msgspec.Struct):
    """An issue in a list; ``phase`` is where its run is, or where it ended."""

    issue_id: str
    project_id: str
    title: str
    status: str
    run_id: str | None
    workflow: str | None
    phase: str | None
    agents_running: int
    agents_total: int
    started_at: str | None
    ended_at: str | None
    first_seen: str | None


class IssuesAnswer(msgspec.Struct):
    """Issues, those last begun or named first."""

    issues: list[IssueLine]


def issue_answer(project: Project, issue_id: str) -> IssueAnswer:
    """Show an issue's text."""
    seen, text = project.issues.find(issue_id), project.texts.find(issue_id)
    return IssueAnswer(
        issue_id=issue_id,
        project_id=project.id,
        title="" if text is None else text.title,
        body="" if text is None else text.body,
        first_seen=None if seen is None else rfc3339(seen.first_seen),
        updated_at=None if text is None else rfc3339(text.at),
    )


def run_answer(project: Project, run: Run, url: str) -> RunAnswer:
    """Show a run, without what it consists of."""
    return RunAnswer(
        run_id=run.run_id,
        issue_id=run.issue_id,
        project_id=project.id,
        status=run.status,
        workflow=run.workflow,
        runner=run.runner,
        task=run.task,
        started_by=run.parent,
        started_at=rfc3339(run.started_at),
        ended_at=_time(run.ended_at),
        status_url=f"{url}/api/issues/{run.issue_id}",
    )


def issue_state(
    project: Project,
    issue_id: str,
    workflow: Workflow | None,
    agents: Sequence[Agent],
    results: list[ResultEntry],
    *,
    usage_of: Callable[[Agent], dict[str, float] | None],
    why_waits: Callable[[str], str | None],
) -> IssueState:
    """Show an issue whole.

    :param workflow: that of its run, as the roster has it now; None if there is no run or no such workflow.
    """
    run, text = project.runs.find(issue_id), issue_answer(project, issue_id)
    known = {agent.agent_id: agent for agent in agents}
    return IssueState(
        **msgspec.structs.asdict(text),
        status=NEW if run is None else run.status,
        run_id=None if run is None else run.run_id,
        workflow=None if run is None else run.workflow,
        runner=None if run is None else run.runner,
        task=None if run is None else run.task,
        started_by=None if run is None else run.parent,
        started_at=None if run is None else rfc3339(run.started_at),
        ended_at=None if run is None else _time(run.ended_at),
        phases=[] if run is None else [_phase(run, name, known, why_waits) for name in _phases(run, workflow)],
        rounds=[] if run is None else _rounds(run, workflow),
        escalations=[] if run is None else _escalations(run),
        agents=[_line(agent, usage_of(agent)) for agent in agents],
        results=results,
        cost=summed(map(usage_of, agents)),
    )


def issue_line(project: Project, issue_id: str) -> IssueLine:
    """Show an issue in one line."""
    run, seen, text = project.runs.find(issue_id), project.issues.find(issue_id), project.texts.find(issue_id)
    return IssueLine(
        issue_id=issue_id,
        project_id=project.id,
        title="" if text is None else text.title,
        status=NEW if run is None else run.status,
        run_id=None if run is None else run.run_id,
        workflow=None if run is None else run.workflow,
        phase=None if run is None else _where(run),
        agents_running=0 if run is None else len(run.live),
        agents_total=0 if run is None else len(run.attempts),
        started_at=None if run is None else rfc3339(run.started_at),
        ended_at=None if run is None else _time(run.ended_at),
        first_seen=None if seen is None else rfc3339(seen.first_seen),
    )


def _line(agent: Agent, usage: dict[str, float] | None) -> IssueAgent:
    return IssueAgent(
        agent_id=agent.agent_id,
        agent_type=agent.agent_type,
        parent=agent.parent,
        status=agent.status,
        started_at=_time(agent.started_at),
        ended_at=_time(agent.ended_at),
        exit_code=agent.exit_code,
        result_id=agent.result_id,
        usage=usage,
    )


def _where(run: Run) -> str | None:
    if run.live:
        return run.firings[run.live[-1].firing].phase
    return run.firings[-1].phase if run.firings else None


def _phases(run: Run, workflow: Workflow | None) -> Iterable[str]:
    """Give the workflow's phases, and after them those of the run that the roster has no more."""
    ahead = () if workflow is None else workflow.phases
    return dict.fromkeys((*ahead, *(firing.phase for firing in run.firings)))


def _phase(run: Run, name: str, known: dict[str, Agent], why_waits: Callable[[str], str | None]) -> PhaseAnswer:
    places = [number for number, firing in enumerate(run.firings) if firing.phase == name]
    attempts = [attempt for attempt in run.attempts if attempt.firing in places]
    agents = [_agent(run, it, known.get(it.agent_id), why_waits(it.agent_id)) for it in attempts]
    return PhaseAnswer(name, _phase_state(run, name, attempts), len(places), agents)


def _phase_state(run: Run, name: str, attempts: Sequence[Attempt]) -> str:
    states = {attempt.state for attempt in attempts}
    if any(trouble.phase == name for trouble in run.troubles):
        return "escalated"
    if RUNNING in states:
        return "running"
    if "stopped" in states:
        return "stopped"
    if attempts:
        return "completed"
    return "skipped" if run.status in FINAL else "waiting"


def _agent(run: Run, attempt: Attempt, agent: Agent | None, queued_because: str | None) -> PhaseAgent:
    firing = run.firings[attempt.firing]
    return PhaseAgent(
        agent_id=attempt.agent_id,
        agent_type=attempt.agent_type,
        rule=firing.rule,
        round=firing.round,
        attempt=attempt.number,
        state=attempt.state,
        status=None if agent is None else agent.status,
        queued_because=queued_because,
        exit_code=None if agent is None else agent.exit_code,
        result_id=attempt.result_id or (None if agent is None else agent.result_id),
        published=attempt.news,
        error=attempt.error or None,
        started_at=None if agent is None else _time(agent.started_at),
        ended_at=None if agent is None else _time(agent.ended_at),
    )


def _rounds(run: Run, workflow: Workflow | None) -> list[RoundAnswer]:
    most = {} if workflow is None else {rule.name: rule.most_rounds for rule in workflow.rules}
    return [
        RoundAnswer(it.rule, it.phase, it.round, most.get(it.rule), it.events, rfc3339(it.at)) for it in run.firings
    ]


def _escalations(run: Run) -> list[EscalationAnswer]:
    return [
        EscalationAnswer(
            it.why, it.phase, it.rule, it.agent_id, it.message, what_to_do(run, it), it.open, rfc3339(it.at)
        )
        for it in run.escalations
    ]


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
