"""Who does what in the demo, read from the packaged roster; standard library only, for agents have to start fast."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROSTER = Path(__file__).resolve().parent.parent / "data" / "roster.json"
WORKFLOW = "tdd"
FIRST_EVENT = "issue_started"


class Part(NamedTuple):
    """What a scripted agent does: ``waits_for`` any of these event types (empty: it begins at once)."""

    agent_type: str
    phase: str
    waits_for: tuple[str, ...]
    publishes: str


class Step(NamedTuple):
    """A link of the chain: on ``trigger``, an agent of that type does ``task`` and publishes ``publishes``."""

    agent_type: str
    phase: str
    trigger: str
    publishes: str
    task: str


def part_of(agent_type: str) -> Part:
    """Give the part of an agent type: what calls it is what any packaged workflow starts it on.

    A type that no workflow starts waits for nothing.
    """
    rules = [rule for workflow in _roster()["workflows"] for rule in workflow["rules"] if agent_type in rule["spawn"]]
    waits_for = dict.fromkeys(event for rule in rules for event in rule["on"]["types"])
    phase = rules[0]["phase"] if rules else "work"
    return Part(agent_type, phase, tuple(waits_for), _good_news(agent_type))


def chain() -> list[Step]:
    """Follow the workflow from its first event, through the good news of each agent, to its end."""
    return list(_follow(_workflow(), FIRST_EVENT))


def _follow(rules: list[dict[str, Any]], event: str) -> Iterator[Step]:
    seen: set[str] = set()
    while rule := next((rule for rule in rules if event in rule["on"]["types"]), None):
        agent_type = rule["spawn"][0]
        if agent_type in seen:
            return
        seen.add(agent_type)
        step = Step(agent_type, rule["phase"], event, _good_news(agent_type), rule["task"])
        yield step
        event = step.publishes


def _workflow() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = next(each for each in _roster()["workflows"] if each["name"] == WORKFLOW)["rules"]
    return rules


def _good_news(agent_type: str) -> str:
    """Give the first event type that the agent type publishes: the roster has good news before bad."""
    found = _published_by().get(agent_type)
    return found[0] if found else "work_complete"


@cache
def _published_by() -> dict[str, list[str]]:
    categories = [value for key, value in _roster().items() if key != "workflows"]
    entries = [entry for value in categories for entry in (value if isinstance(value, list) else [value])]
    return {entry["type"]: entry.get("publishes", []) for entry in entries}


@cache
def _roster() -> dict[str, Any]:
    roster: dict[str, Any] = json.loads(ROSTER.read_bytes())
    return roster
