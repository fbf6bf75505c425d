"""A run of a workflow for an issue: its state, and the fold that makes it of what was recorded.

A `Step` is one record of the journal: what followed from one event, all of it, so that an event is taken whole or not
at all, and never twice (``through``). Whatever acts (starts agents, publishes) acts on the state, after the record.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

RUNNING, ESCALATED, DONE, STOPPED = "running", "escalated", "done", "stopped"
STATUSES = (RUNNING, ESCALATED, DONE, STOPPED)
FINAL = frozenset({DONE, STOPPED})

MOST_AGENTS = 256
"""How many agents a run may start, retries included, whatever its rules say."""
MOST_ESCALATIONS = 64
MOST_NEWS = 16
MOST_ERROR = 4_000

Why = Literal["failed", "rounds", "agents", "spawn", "stuck", "workflow"]


class Firing(msgspec.Struct, frozen=True):
    """A rule that fired, on these events; ``round`` counts the rule's own firings from 1."""

    rule: str
    phase: str
    round: int
    events: tuple[str, ...]
    at: float


class Attempt(msgspec.Struct, frozen=True):
    """An agent that a firing asked for: place ``index`` of the firing, ``number`` counts the tries for it from 1.

    ``state`` is ``running`` (from the record on, before the process), ``completed``, ``failed`` or ``stopped``;
    ``error`` says why it failed, or what was odd. ``news`` are the events that it published; ``counted`` says that a
    rule took one. ``excused`` is one that failed of no fault of its own: a budget was used up.
    """

    agent_id: str
    agent_type: str
    firing: int
    index: int
    number: int
    state: str = RUNNING
    error: str = ""
    news: tuple[str, ...] = ()
    counted: bool = False
    result_id: str | None = None
    result_status: str = ""
    excused: bool = False


class Escalation(msgspec.Struct, frozen=True):
    """Something that a person has to look at; not ``open`` any more once the run went on nevertheless."""

    why: Why
    rule: str
    phase: str
    message: str
    at: float
    agent_id: str | None = None
    event_id: str | None = None
    open: bool = True


class Run(msgspec.Struct, frozen=True):
    """A run as it is now. ``through`` is the last event that anything followed from; ``joined`` what joins have.

    ``mark`` is the event before its beginning; ``told`` names what was published about it.
    """

    run_id: str
    issue_id: str
    workflow: str
    runner: str
    task: str
    parent: str
    started_at: float
    mark: int
    timeout_seconds: float
    status: str = RUNNING
    begun: bool = False
    through: int = 0
    ended_at: float | None = None
    firings: tuple[Firing, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    joined: tuple[tuple[str, str, str], ...] = ()  # rule, event type, event id
    escalations: tuple[Escalation, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def live(self) -> Sequence[Attempt]:
        """The agents that are not known to have ended."""
        return [attempt for attempt in self.attempts if attempt.state == RUNNING]

    def attempt(self, agent_id: object) -> Attempt | None:
        """Give the attempt of that agent, if it is one of this run."""
        return next((attempt for attempt in self.attempts if attempt.agent_id == agent_id), None)

    def tries(self, attempt: Attempt) -> Sequence[Attempt]:
        """Give all attempts at the same place."""
        return [it for it in self.attempts if (it.firing, it.index) == (attempt.firing, attempt.index)]

    def failures(self, attempt: Attempt) -> int:
        """Say how often the same has failed by its own fault, up to and with that attempt."""
        return sum(it.state == "failed" and not it.excused for it in self.tries(attempt)[: attempt.number])

    def rounds(self, rule: str) -> int:
        """Say how often a rule has fired."""
        return sum(firing.rule == rule for firing in self.firings)

    def joined_of(self, rule: str) -> dict[str, str]:
        """Give the events that a join has already, by type."""
        return {event: event_id for name, event, event_id in self.joined if name == rule}

    @property
    def troubles(self) -> Sequence[Escalation]:
        """What a person still has to look at."""
        return [escalation for escalation in self.escalations if escalation.open]


# What can follow from an event


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The run's own beginning was seen: from here on events count."""


class Joined(msgspec.Struct, frozen=True, tag=True):
    """A rule that waits for several events has one of them."""

    rule: str
    event_type: str
    event_id: str


class Fired(msgspec.Struct, frozen=True, tag=True):
    """A rule fires: its agents are to be started."""

    rule: str
    phase: str
    events: tuple[str, ...]
    agent_types: tuple[str, ...]


class Heard(msgspec.Struct, frozen=True, tag=True):
    """An agent of the run published something that matters."""

    agent_id: str
    event_type: str
    counted: bool


class Reported(msgspec.Struct, frozen=True, tag=True):
    """An agent of the run stored a result."""

    agent_id: str
    result_id: str
    status: str


class Settled(msgspec.Struct, frozen=True, tag=True):
    """An agent of the run is over, and what became of its work is judged."""

    agent_id: str
    completed: bool
    error: str = ""
    excused: bool = False


class Retried(msgspec.Struct, frozen=True, tag=True):
    """Another agent is to be started in the place of one that failed."""

    agent_id: str


class Escalated(msgspec.Struct, frozen=True, tag=True):
    """A person has to look at something."""

    why: Why
    rule: str
    phase: str
    message: str
    agent_id: str | None = None
    event_id: str | None = None


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The run has ended so; one that is escalated goes on when an event makes a rule fire."""

    status: str


class Told(msgspec.Struct, frozen=True, tag=True):
    """What is due under that name was published."""

    key: str


Effect = Begun | Joined | Fired | Heard | Reported | Settled | Retried | Escalated | Finished | Told


class Step(msgspec.Struct, frozen=True):
    """A record: what followed, together, from event number ``through`` (0: from none)."""

    run_id: str
    issue_id: str
    at: float
    through: int
    effects: tuple[Effect, ...]


def fold(run: Run, step: Step) -> Run:
    """Give the run after a step; one that it has had already changes nothing."""
    if step.run_id != run.run_id or (step.through and step.through <= run.through):
        return run
    for effect in step.effects:
        run = apply(run, effect, step.at)
    return replace(run, through=max(run.through, step.through))


def apply(run: Run, effect: Effect, at: float) -> Run:
    """Give the run after one effect; after the end of a run nothing has an effect but what is told of it."""
    if isinstance(effect, Told):
        return run if effect.key in run.told else replace(run, told=(*run.told, effect.key))
    if run.status in FINAL:
        return run
    if isinstance(effect, Fired):
        return _fired(run, effect, at)
    if isinstance(effect, Finished):
        return _finished(run, effect.status, at)
    if isinstance(effect, (Begun, Joined, Escalated)):
        return _noted(run, effect, at)
    return _of_agent(run, effect)


def _noted(run: Run, effect: Begun | Joined | Escalated, at: float) -> Run:
    if isinstance(effect, Begun):
        return replace(run, begun=True)
    if isinstance(effect, Joined):
        return replace(run, joined=(*run.joined, (effect.rule, effect.event_type, effect.event_id)))
    escalation = Escalation(effect.why, effect.rule, effect.phase, effect.message, at, effect.agent_id, effect.event_id)
    return replace(run, escalations=(*run.escalations, escalation)[:MOST_ESCALATIONS])


def _fired(run: Run, effect: Fired, at: float) -> Run:
    if run.status == ESCALATED:
        over = tuple(replace(escalation, open=False) for escalation in run.escalations)
        run = replace(run, status=RUNNING, ended_at=None, escalations=over)
    firing = Firing(effect.rule, effect.phase, run.rounds(effect.rule) + 1, effect.events, at)
    place = len(run.firings)
    attempts = [
        Attempt(agent_name(run.run_id, firing.rule, firing.round, index, 1), agent_type, place, index, 1)
        for index, agent_type in enumerate(effect.agent_types)
    ]
    return replace(
        run,
        firings=(*run.firings, firing),
        attempts=(*run.attempts, *attempts),
        joined=tuple(each for each in run.joined if each[0] != effect.rule),
    )


def _finished(run: Run, status: str, at: float) -> Run:
    attempts = run.attempts
    if status == STOPPED:
        attempts = tuple(replace(it, state=STOPPED) if it.state == RUNNING else it for it in attempts)
    return replace(run, status=status, ended_at=at, attempts=attempts)


def _of_agent(run: Run, effect: Heard | Reported | Settled | Retried) -> Run:
    attempt = run.attempt(effect.agent_id)
    if attempt is None:
        return run
    if isinstance(effect, Retried):
        if attempt is not run.tries(attempt)[-1] or attempt.state == RUNNING:
            return run
        return replace(run, attempts=(*run.attempts, _next_try(run, attempt)))
    if attempt.state != RUNNING:
        return run
    if isinstance(effect, Heard):
        news = dict.fromkeys((*attempt.news, effect.event_type))
        changed = replace(attempt, news=tuple(news)[:MOST_NEWS], counted=attempt.counted or effect.counted)
    elif isinstance(effect, Reported):
        changed = replace(attempt, result_id=effect.result_id, result_status=effect.status)
    else:
        state = "completed" if effect.completed else "failed"
        changed = replace(attempt, state=state, error=effect.error[:MOST_ERROR], excused=effect.excused)
    return replace(run, attempts=tuple(changed if it is attempt else it for it in run.attempts))


def _next_try(run: Run, failed: Attempt) -> Attempt:
    firing, number = run.firings[failed.firing], failed.number + 1
    agent_id = agent_name(run.run_id, firing.rule, firing.round, failed.index, number)
    return Attempt(agent_id, failed.agent_type, failed.firing, failed.index, number)


def agent_name(run_id: str, rule: str, round_: int, index: int, number: int) -> str:
    """Name an agent before it is started: who asks for it twice gets it once."""
    text = f"{run_id} {rule} {round_} {index} {number}"
    return f"agent-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def shortened(run: Run) -> Run:
    """Give a run that is over with less text: there may be many of them."""
    attempts = tuple(replace(it, error=it.error[:200]) if len(it.error) > 200 else it for it in run.attempts)
    return replace(run, task=run.task[:1000], attempts=attempts)
