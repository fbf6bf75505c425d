"""Workflows: which agents follow on which events (contract section 9)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
from attrs import field, frozen

from cco_sidecar.core.events.event import SIDECAR
from cco_sidecar.core.events.filter_parser import parse_filter

PRIORITIES = ("high", "normal", "low")

PLACEHOLDERS = ("task", "issue_id")
"""What a task template may name in braces."""

MOST_RULES = 64
USUAL_ROUNDS = 3

SIDECAR_EVENTS = frozenset({
    *("issue_started", "issue_completed", "issue_stopped", "escalation_required"),
    *("agent_spawned", "agent_completed", "agent_failed", "result_stored"),
    *("agent_stalled", "agent_looping"),
})  # fmt: skip
"""What the sidecar itself says of issues and agents: rules believe nobody else that says it."""

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Few = msgspec.Meta(min_length=1, max_length=16)

_BAD_NEWS = frozenset({"failed", "failing", "failure", "rejected", "refused"})


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rule waits for: an event of one of ``types`` that ``filter`` lets through; with ``all``, one of each."""

    types: Annotated[tuple[_Word, ...], _Few]
    filter: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    all: bool = False


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On an event, spawn agents; ``task`` is a template that may name ``{task}`` and ``{issue_id}``.

    The rule fires at most ``max_rounds`` times in a run (`USUAL_ROUNDS`, if it does not say); each agent that fails is
    tried ``retries`` times more. ``timeout_seconds`` ends an agent that hangs (None: as for every agent).
    """

    name: _Word
    phase: _Word
    on: Trigger
    spawn: Annotated[tuple[_Word, ...], _Few]
    task: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)] = "{task}"
    priority: str = "normal"
    max_rounds: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=7 * 86400)] | None = None

    @property
    def most_rounds(self) -> int:
        """How often it fires in a run."""
        return USUAL_ROUNDS if self.max_rounds is None else self.max_rounds


@frozen
class Workflow:
    """Rules, and what each agent type of the roster publishes, so that the rules can be followed ahead of time."""

    name: str
    title: str
    rules: tuple[Rule, ...]
    publishes: Mapping[str, tuple[str, ...]] = field(repr=False, eq=False)

    def rule(self, name: str) -> Rule | None:
        """Give the rule of that name; None if there is none (any more)."""
        return next((rule for rule in self.rules if rule.name == name), None)

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases, in the order of the rules."""
        return tuple(dict.fromkeys(rule.phase for rule in self.rules))

    def awaited(self, agent_type: str) -> tuple[str, ...]:
        """Give the events which that type publishes and some rule waits for."""
        wanted = {event for rule in self.rules for event in rule.on.types} - SIDECAR_EVENTS
        return tuple(event for event in self.publishes.get(agent_type, ()) if event in wanted)


@frozen
class NextAgent:
    """An agent type that comes next, and a sentence that says why."""

    agent_type: str
    priority: str
    reason: str


def is_bad_news(event_type: str) -> bool:
    """Say whether an event of that type tells of a failure: its last word is ``failed``, ``failing``, ``rejected``…"""
    return re.split(r"[._-]", event_type)[-1].lower() in _BAD_NEWS


def next_agents(workflow: Workflow, agent_type: str, status: str) -> list[NextAgent]:
    """Say who comes after an agent of that type has stored a result: most urgent first, each type once.

    It follows from the rules and from what the type publishes: its good news after ``success``, its bad news after
    ``failed`` (or the same agent type again, where no rule takes the news), the same agent type again after
    ``partial``; and from what the sidecar itself tells of the agent (``agent_completed``, ``result_stored``…).
    A type that the roster no longer has, and any other status, is followed by nobody.
    """
    if agent_type not in workflow.publishes or status not in _WAYS:
        return []
    found = sorted(_WAYS[status](workflow, agent_type), key=lambda candidate: PRIORITIES.index(candidate.priority))
    once: dict[str, NextAgent] = {}
    for candidate in found:
        once.setdefault(candidate.agent_type, candidate)
    return list(once.values())


def _after_success(workflow: Workflow, agent_type: str) -> Iterator[NextAgent]:
    good = [event for event in workflow.publishes[agent_type] if not is_bad_news(event)]
    yield from _after_news(workflow, good, f"{agent_type} succeeded and publishes")
    yield from _after_lifecycle(workflow, agent_type, {"agent_completed": "completed", "result_stored": "success"})


def _after_failure(workflow: Workflow, agent_type: str) -> Iterator[NextAgent]:
    bad = [event for event in workflow.publishes[agent_type] if is_bad_news(event)]
    followers = list(_after_news(workflow, bad, f"{agent_type} failed and publishes"))
    yield from followers or _retries(workflow, agent_type)
    yield from _after_lifecycle(workflow, agent_type, {"agent_failed": "failed", "result_stored": "failed"})


def _after_part(workflow: Workflow, agent_type: str) -> Iterator[NextAgent]:
    rule = next(_rules_that_spawn(workflow, agent_type), None)
    reason = f"{agent_type} has done a part of its work: the same agent type goes on with the rest."
    yield NextAgent(agent_type, rule.priority if rule else "normal", reason)
    yield from _after_lifecycle(workflow, agent_type, {"result_stored": "partial"})


def _retries(workflow: Workflow, agent_type: str) -> Iterator[NextAgent]:
    rule = next((rule for rule in _rules_that_spawn(workflow, agent_type) if rule.retries), None)
    if rule is not None:
        tries = "once more" if rule.retries == 1 else f"up to {rule.retries} times more"
        reason = f"{agent_type} failed: the rule '{rule.name}' lets it be tried {tries}."
        yield NextAgent(agent_type, rule.priority, reason)


def _rules_that_spawn(workflow: Workflow, agent_type: str) -> Iterator[Rule]:
    return (rule for rule in workflow.rules if agent_type in rule.spawn)


def _after_news(workflow: Workflow, events: Sequence[str], because: str) -> Iterator[NextAgent]:
    """Follow the events that the agent itself publishes; their data is not known beforehand, so no filter decides."""
    for rule in workflow.rules:
        event = next((event for event in events if event in rule.on.types), None)
        if event is not None:
            yield from _spawned(rule, f"{because} {event}", _conditions(rule, event, unsure=True))


def _after_lifecycle(workflow: Workflow, agent_type: str, told: Mapping[str, str]) -> Iterator[NextAgent]:
    """Follow what the sidecar tells of the agent: event types and the ``status`` in their data, so filters decide."""
    for rule in workflow.rules:
        for event, status in told.items():
            if event in rule.on.types and lets_through(rule, event, {"agent_type": agent_type, "status": status}):
                because = f"the sidecar publishes {event} about {agent_type}"
                yield from _spawned(rule, because, _conditions(rule, event, unsure=False))


def lets_through(rule: Rule, event_type: str, data: Mapping[str, str]) -> bool:
    """Say whether the rule's filter takes what the sidecar says of an agent: its ``agent_type`` and ``status``."""
    if rule.on.filter is None:
        return True
    envelope = {"event_type": event_type, "publisher": SIDECAR, "agent_type": data["agent_type"]}
    return parse_filter(rule.on.filter).matches(envelope, data)


def _conditions(rule: Rule, event_type: str, *, unsure: bool) -> str:
    conditions = []
    others = [other for other in rule.on.types if other != event_type]
    if rule.on.all and others:
        conditions.append(f"once {' and '.join(others)} came, too")
    if rule.on.filter is not None and unsure:
        conditions.append(f"if the event matches {rule.on.filter}")
    return f", {', and '.join(conditions)}" if conditions else ""


def _spawned(rule: Rule, because: str, conditions: str) -> Iterator[NextAgent]:
    reason = f"{because}: the rule '{rule.name}' (phase {rule.phase}) follows{conditions}."
    return (NextAgent(spawned, rule.priority, reason) for spawned in rule.spawn)


_WAYS = {"success": _after_success, "failed": _after_failure, "partial": _after_part}
