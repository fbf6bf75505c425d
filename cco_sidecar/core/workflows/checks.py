"""What is wrong with a workflow as a whole: rules that go round for ever, events that were misspelt."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

from cco_sidecar.core.workflows.definition import SIDECAR_EVENTS, Rule, lets_through

Publishes = Mapping[str, tuple[str, ...]]

_SLIP = 0.85
"""How like a known event an unknown one must be to count as a slip: people and programs publish events of their own."""

_ENDINGS = {
    "agent_spawned": ("running",),
    "agent_completed": ("completed",),
    "agent_failed": ("failed", "killed", "lost"),
    "result_stored": ("success", "failed", "partial"),
}


def misspelt(rule: Rule, publishes: Publishes) -> Iterator[tuple[int, str, str]]:
    """Give the place, the word and the right spelling of each event that nobody publishes, but for one very like it."""
    known = {event for events in publishes.values() for event in events} | SIDECAR_EVENTS
    for place, event in enumerate(rule.on.types):
        if event in known:
            continue
        near = difflib.get_close_matches(event, known, n=1, cutoff=_SLIP)
        if near:
            yield place, event, near[0]


def endless(rules: Sequence[Rule], publishes: Publishes) -> tuple[str, ...]:
    """Give the names of rules that call each other in a circle, none of which says ``max_rounds``; () if none do."""
    free = [rule for rule in rules if rule.max_rounds is None]
    calls = {rule.name: [other.name for other in free if _calls(rule, other, publishes)] for rule in free}
    done: set[str] = set()
    for name in calls:
        circle = _circle(name, calls, [], done)
        if circle:
            return circle
    return ()


def _circle(name: str, calls: Mapping[str, list[str]], way: list[str], done: set[str]) -> tuple[str, ...]:
    if name in way:
        return tuple(way[way.index(name) :])
    if name in done:
        return ()
    for other in calls[name]:
        circle = _circle(other, calls, [*way, name], done)
        if circle:
            return circle
    done.add(name)
    return ()


def _calls(rule: Rule, other: Rule, publishes: Publishes) -> bool:
    """Say whether what the agents of ``rule`` do can make ``other`` fire."""
    wanted = set(other.on.types)
    for agent_type in rule.spawn:
        if wanted & set(publishes.get(agent_type, ())) - SIDECAR_EVENTS:
            return True
        for event, statuses in _ENDINGS.items():
            data = [{"agent_type": agent_type, "status": status} for status in statuses]
            if event in wanted and any(lets_through(other, event, each) for each in data):
                return True
    return False
