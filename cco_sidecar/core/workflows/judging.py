"""What became of an agent's work, judged from facts alone: how its process ended, what it stored and published."""

import msgspec
from attrs import frozen

from cco_sidecar.core.agent_rows import BUDGET, COMPLETED, KILLED, LOST, Agent
from cco_sidecar.core.events.event import SIDECAR, Event
from cco_sidecar.core.workflows.definition import Workflow, is_bad_news
from cco_sidecar.core.workflows.run import Attempt, Run

ENDINGS = frozenset({"agent_completed", "agent_failed"})


@frozen
class Ending:
    """How an agent's process ended; ``over_budget`` names the budget that it was told to end for."""

    agent_id: str
    status: str
    exit_code: int | None
    timed_out: bool = False
    result_id: str | None = None
    over_budget: str = ""

    @classmethod
    def of(cls, agent: Agent) -> "Ending":
        """Take it from the registry."""
        return cls(agent.agent_id, agent.status, agent.exit_code, agent.timed_out, agent.result_id, agent.over_budget)


class _EndingData(msgspec.Struct):
    agent_id: str
    status: str
    exit_code: int | None = None
    result_id: str | None = None
    failure: str = ""
    reason: str = ""


def ending_of(run: Run, event: Event) -> Ending | None:
    """Give the ending that an event tells of, if it is that of an agent of the run which counts as running."""
    if event.body.publisher != SIDECAR or event.body.event_type not in ENDINGS:
        return None
    try:
        data = msgspec.json.decode(event.data, type=_EndingData)
    except msgspec.ValidationError:
        return None
    attempt = run.attempt(data.agent_id)
    if attempt is None or attempt not in run.live:
        return None
    over_budget = data.reason if data.failure == BUDGET else ""
    return Ending(data.agent_id, data.status, data.exit_code, result_id=data.result_id, over_budget=over_budget)


def failure(workflow: Workflow, attempt: Attempt, ending: Ending) -> str:
    """Say why an attempt has failed; "" if it did its part.

    Whoever published what a rule took has done its part, however it ended: the next phase is at work, and trying again
    would do everything twice. Else it has to have ended well, with a result, and with one of the events that the
    workflow waits for from its type; a type with a verdict to give has to give one.
    """
    if attempt.counted:
        return ""
    reason = _shortcoming(workflow, attempt, ending)
    return f"it had to end: {ending.over_budget}" if reason and ending.over_budget else reason


def _shortcoming(workflow: Workflow, attempt: Attempt, ending: Ending) -> str:
    if ending.status != COMPLETED:
        return how_it_ended(ending)
    if attempt.result_id is None and ending.result_id is None:
        return "it ended with exit code 0 and stored no result"
    if attempt.result_status == "failed":
        return "its result says that it failed"
    return _missing(workflow, attempt)


def _missing(workflow: Workflow, attempt: Attempt) -> str:
    publishes = workflow.publishes.get(attempt.agent_type, ())
    awaited = workflow.awaited(attempt.agent_type)
    good = [event for event in awaited if not is_bad_news(event)]
    enough = awaited if good else publishes
    if awaited and not set(attempt.news) & set(enough):
        return f"it ended with exit code 0 and published none of {', '.join(enough)}"
    if attempt.result_status == "partial" and not attempt.news:
        return "its result says that only a part is done"
    return ""


def oddity(attempt: Attempt, ending: Ending) -> str:
    """Say what was odd about an attempt that did its part; "" if nothing was."""
    if ending.status != COMPLETED:
        return f"it published {', '.join(attempt.news)}; then {how_it_ended(ending)}"
    if attempt.result_id is None and ending.result_id is None:
        return "it stored no result"
    return ""


def how_it_ended(ending: Ending) -> str:
    """Say it in words."""
    if ending.timed_out:
        return "it was ended because its time was up"
    if ending.status == KILLED:
        return "it was killed"
    if ending.status == LOST:
        return "its process was lost, and nobody knows how it ended"
    if ending.exit_code is None:
        return "it could not be started"
    if ending.exit_code < 0:
        return f"it was ended by signal {-ending.exit_code}"
    return f"it ended with exit code {ending.exit_code}"
