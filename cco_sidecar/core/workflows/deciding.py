"""What follows for a run: from an event, from an agent's end, from silence. Pure: the engine records it, then acts."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from attrs import define, field

from cco_sidecar.core.events.event import SIDECAR, Event
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.filters import Filter
from cco_sidecar.core.workflows.definition import SIDECAR_EVENTS, Rule, Workflow, is_bad_news, next_agents
from cco_sidecar.core.workflows.judging import Ending, failure, oddity
from cco_sidecar.core.workflows.run import (
    DONE,
    ESCALATED,
    FINAL,
    MOST_AGENTS,
    MOST_ERROR,
    RUNNING,
    Begun,
    Effect,
    Escalated,
    Finished,
    Fired,
    Heard,
    Joined,
    Reported,
    Retried,
    Run,
    Settled,
    apply,
)

STARTED_EVENT, RESULT_EVENT = "issue_started", "result_stored"


class _Data(msgspec.Struct):
    run_id: object = None
    agent_id: object = None
    result_id: object = None
    status: object = None


@define(eq=False)
class _Turn:
    """The run while it takes one event, and what followed until now."""

    run: Run
    at: float
    effects: list[Effect] = field(factory=list)

    def add(self, effect: Effect) -> None:
        self.run = apply(self.run, effect, self.at)
        self.effects.append(effect)

    def escalate(self, wanted: Escalated) -> None:
        """Call for a person, once for the same thing."""
        same = (wanted.why, wanted.rule, wanted.agent_id)
        if not any((it.why, it.rule, it.agent_id) == same for it in self.run.troubles):
            self.add(wanted)


def after_event(run: Run, workflow: Workflow, event: Event, at: float) -> tuple[Effect, ...]:
    """Give what follows from an event of the run's issue, but for the end of an agent (`after_end`)."""
    if run.status in FINAL:
        return ()
    turn, body = _Turn(run, at), event.body
    is_ours = body.publisher == SIDECAR
    if is_ours and body.event_type == STARTED_EVENT:
        if _data(event).run_id != run.run_id:
            return ()
        turn.add(Begun())
    elif not run.begun:
        return ()
    if is_ours and body.event_type == RESULT_EVENT:
        _report(turn, event)
    counted = _match(turn, workflow, event)
    attempt = None if is_ours else run.attempt(body.publisher)
    if attempt is not None and attempt in run.live:
        known = {*workflow.publishes.get(attempt.agent_type, ()), *workflow.awaited(attempt.agent_type)}
        if counted or body.event_type in known:
            turn.add(Heard(attempt.agent_id, body.event_type, counted))
    return tuple(turn.effects)


def after_end(run: Run, workflow: Workflow, ending: Ending, details: str, at: float) -> tuple[Effect, ...]:
    """Give what follows from the end of one of the run's agents.

    :param details: what else is known of it, for the one who tries next: the last lines of its log.
    """
    attempt = run.attempt(ending.agent_id)
    if attempt is None or run.status in FINAL or attempt not in run.live:
        return ()
    turn = _Turn(run, at)
    reason = failure(workflow, attempt, ending)
    if not reason:
        turn.add(Settled(attempt.agent_id, completed=True, error=oddity(attempt, ending)))
        return tuple(turn.effects)
    error = f"{reason}\n{details}".strip()
    # Whom a budget has ended did not fail: the next one waits until there is a budget again.
    turn.add(Settled(attempt.agent_id, completed=False, error=error, excused=bool(ending.over_budget)))
    firing = run.firings[attempt.firing]
    rule = workflow.rule(firing.rule)
    retries = 0 if rule is None else rule.retries
    failures = turn.run.failures(attempt)
    if failures <= retries and len(run.attempts) < MOST_AGENTS:
        turn.add(Retried(attempt.agent_id))
    else:
        what = f"{attempt.agent_type} failed {_times(failures)}; the last time {error}"
        turn.escalate(Escalated("failed", firing.rule, firing.phase, what[:MOST_ERROR], attempt.agent_id))
    return tuple(turn.effects)


def after_refusal(run: Run, agent_id: str, reason: str, at: float) -> tuple[Effect, ...]:
    """Give what follows when an agent cannot be started at all."""
    attempt = run.attempt(agent_id)
    if attempt is None or run.status in FINAL or attempt not in run.live:
        return ()
    turn = _Turn(run, at)
    firing = run.firings[attempt.firing]
    turn.add(Settled(agent_id, completed=False, error=reason))
    what = f"{attempt.agent_type} could not be started: {reason}"
    turn.escalate(Escalated("spawn", firing.rule, firing.phase, what, agent_id, firing.events[0]))
    return tuple(turn.effects)


def after_silence(run: Run, workflow: Workflow, at: float) -> tuple[Effect, ...]:
    """Give what follows when all events are taken and everything due was published: nothing, while agents live."""
    if run.status != RUNNING or run.live:
        return ()
    turn = _Turn(run, at)
    if not workflow.rules:
        gone = f"the roster has no workflow '{run.workflow}' any more"
        turn.escalate(Escalated("workflow", "", _last_phase(run), gone))
    elif not run.troubles and not is_complete(run, workflow):
        turn.escalate(Escalated("stuck", "", _last_phase(run), _why_stuck(run, workflow)))
    turn.add(Finished(ESCALATED if turn.run.troubles else DONE))
    return tuple(turn.effects)


def is_complete(run: Run, workflow: Workflow) -> bool:
    """Say whether a run, in which nobody is at work, has come to an end of its workflow.

    It has, when what fires last has fired, its agents completed, none of them with bad news; and when no join that
    never fired has a part of what it waits for.
    """
    if any(not run.rounds(rule) for rule, _event, _id in run.joined):
        return False
    ends = last_rules(workflow)
    last = [number for number, firing in enumerate(run.firings) if firing.rule in ends]
    if not last:
        return False
    final = {}
    for attempt in run.attempts:
        if attempt.firing == last[-1]:
            final[attempt.index] = attempt  # the last try
    return all(it.state == "completed" and not any(map(is_bad_news, it.news)) for it in final.values())


def last_rules(workflow: Workflow) -> frozenset[str]:
    """Give the rules after whose success nobody comes; if there are none, those of the last phase."""
    ends = frozenset(
        rule.name
        for rule in workflow.rules
        if any(not next_agents(workflow, agent_type, "success") for agent_type in rule.spawn)
    )
    phase = workflow.phases[-1]
    return ends or frozenset(rule.name for rule in workflow.rules if rule.phase == phase)


def _match(turn: _Turn, workflow: Workflow, event: Event) -> bool:
    """Let every rule that waits for the event fire, or note it; say whether any did."""
    matched = [rule for rule in workflow.rules if _takes(rule, event)]
    for rule in matched:
        events = _complete(turn, rule, event)
        if events:
            _fire(turn, rule, events)
    return bool(matched)


def _takes(rule: Rule, event: Event) -> bool:
    body = event.body
    if body.event_type not in rule.on.types:
        return False
    if body.event_type in SIDECAR_EVENTS and body.publisher != SIDECAR:
        return False
    return rule.on.filter is None or _filter(rule.on.filter).matches_fields(event.fields())


def _complete(turn: _Turn, rule: Rule, event: Event) -> tuple[str, ...]:
    """Give the events that the rule fires on; () while it waits for others."""
    body = event.body
    wanted = frozenset(rule.on.types)
    if not rule.on.all or len(wanted) == 1:
        return (body.event_id,)
    have = turn.run.joined_of(rule.name)
    if {*have, body.event_type} >= wanted:
        return tuple({**have, body.event_type: body.event_id}.values())
    if body.event_type not in have:
        turn.add(Joined(rule.name, body.event_type, body.event_id))
    return ()


def _fire(turn: _Turn, rule: Rule, events: tuple[str, ...]) -> None:
    run = turn.run
    if run.rounds(rule.name) >= rule.most_rounds:
        message = f"the rule '{rule.name}' has fired {_times(rule.most_rounds)}, its most, and is called again"
        turn.escalate(Escalated("rounds", rule.name, rule.phase, message, event_id=events[-1]))
    elif len(run.attempts) + len(rule.spawn) > MOST_AGENTS:
        message = f"the run has started {len(run.attempts)} agents; {MOST_AGENTS} is the most"
        turn.escalate(Escalated("agents", rule.name, rule.phase, message, event_id=events[-1]))
    else:
        turn.add(Fired(rule.name, rule.phase, events, rule.spawn))


def _report(turn: _Turn, event: Event) -> None:
    data = _data(event)
    if isinstance(data.agent_id, str) and isinstance(data.result_id, str):
        attempt = turn.run.attempt(data.agent_id)
        if attempt is not None and attempt in turn.run.live:
            turn.add(Reported(data.agent_id, data.result_id, str(data.status)))


def _data(event: Event) -> _Data:
    try:
        return msgspec.json.decode(event.data, type=_Data)
    except msgspec.ValidationError:
        return _Data()


@lru_cache(maxsize=1024)
def _filter(text: str) -> Filter:
    return parse_filter(text)


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _last_phase(run: Run) -> str:
    return run.firings[-1].phase if run.firings else ""


def _why_stuck(run: Run, workflow: Workflow) -> str:
    """Say what was seen last, and what is waited for."""
    if not run.firings:
        return "no rule of the workflow fired at its beginning: one has to wait for issue_started"
    half = next((rule for rule in workflow.rules if run.joined_of(rule.name) and not run.rounds(rule.name)), None)
    if half is not None:
        have = run.joined_of(half.name)
        missing = [event for event in half.on.types if event not in have]
        return f"the rule '{half.name}' has {', '.join(have)}; nobody is at work who could publish {', '.join(missing)}"
    news: Sequence[str] = [event for attempt in run.attempts for event in attempt.news]
    last = f"the last news was {news[-1]}" if news else "no agent published anything"
    return f"nobody is at work any more, {last}, and no rule follows from it, though the workflow is not at its end"
