"""The demo succeeds only if every step happened: whatever is missing is named."""

from collections.abc import Callable
from typing import Any

import pytest

from cco_sidecar.demo.script import FIRST_EVENT, Step, chain
from cco_sidecar.demo.story import Story, missing

CONTEXT_ROUTE = "GET /api/context/<issue_id>/<agent_type>"


def event(event_type: str, publisher: str, **data: Any) -> dict[str, Any]:
    return {"event_type": event_type, "publisher": publisher, "data": data}


def events_of(step: Step, late: bool) -> list[dict[str, Any]]:
    agent = f"id-{step.agent_type}"
    called = {"event_type": step.trigger}
    return [
        event("context_loaded", agent),
        event("work_started", agent, called_by=called, parked=not late),
        event("result_stored", "sidecar", agent_id=agent),
        event(step.publishes, agent),
        event("agent_completed", "sidecar", agent_id=agent),
    ]


def whole_story() -> Story:
    """Make a story in which nothing is missing."""
    steps = chain()
    late = frozenset({steps[-1].agent_type})
    story = Story(steps, late=late, parked=len(steps) - 1)
    story.events = [event("agent_spawned", "sidecar", agent_id=f"id-{step.agent_type}") for step in steps]
    story.events.append(event(FIRST_EVENT, "admin"))
    for number, step in enumerate(steps):
        name = step.agent_type
        story.events += events_of(step, name in late)
        story.spawned[name] = {"agent_id": f"id-{name}"}
        story.agents[name] = {"status": "completed", "exit_code": 0}
        earlier = [each.agent_type for each in steps[:number]]
        context = {"files": 3, "not_modified": True, "injected": True, "earlier": earlier}
        story.results[name] = story.files[name] = {"result": {"status": "success", "context": context}}
    story.requests = {(CONTEXT_ROUTE, "200"): 2.0 * len(steps), (CONTEXT_ROUTE, "304"): 1.0 * len(steps)}
    return story


def test_nothing_is_missing() -> None:
    """A story with every step has no gap."""
    assert missing(whole_story()) == []


@pytest.mark.parametrize("number", range(len(whole_story().events)))
def test_each_event_counts(number: int) -> None:
    """Whichever event is missing, or comes twice, it is noticed."""
    story = whole_story()
    gone = story.events.pop(number)
    assert missing(story) != [], gone
    story.events[number:number] = [gone, gone]
    assert missing(story) != [], gone


def test_order_counts() -> None:
    """Events of the chain that come in another order are noticed."""
    story = whole_story()
    first, second = story.steps[0], story.steps[1]
    positions = [
        next(index for index, it in enumerate(story.events) if it["event_type"] == step.publishes)
        for step in (first, second)
    ]
    one, other = positions
    story.events[one], story.events[other] = story.events[other], story.events[one]
    assert any("out of order" in gap for gap in missing(story))


def _not_parked(story: Story) -> None:
    start = next(it for it in story.about("test-engineer") if it["event_type"] == "work_started")
    start["data"]["parked"] = False


def _context(name: str, value: object) -> Callable[[Story], None]:
    def change(story: Story) -> None:
        story.results["test-engineer"]["result"]["context"][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda story: story.agents.update({"test-engineer": {"status": "failed", "exit_code": 1}}), "is failed with"),
        (lambda story: story.agents.pop("test-engineer"), "test-engineer was not spawned"),
        (lambda story: story.results.pop("test-engineer"), "result cannot be read"),
        (lambda story: story.files.update({"test-engineer": {}}), "on disk is not"),
        (lambda story: story.results["test-engineer"]["result"].update(status="partial"), "its result is partial"),
        (lambda story: setattr(story, "parked", 1), "1 polls were parked"),
        (lambda story: setattr(story, "left_over", ["process 9"]), "still there: process 9"),
        (lambda story: story.requests.pop((CONTEXT_ROUTE, "304")), "0 requests for a context were answered 304"),
        (_not_parked, "not woken from a parked poll"),
        (_context("files", 0), "no file"),
        (_context("not_modified", False), "'not modified'"),
        (_context("injected", False), "no context at its start"),
        (_context("earlier", []), "not of those before it"),
    ],
)
def test_each_step_counts(change: Callable[[Story], None], said: str) -> None:
    """Whatever else did not happen is said, and nothing but that."""
    story = whole_story()
    change(story)
    assert [gap for gap in missing(story) if said not in gap] == []
    assert missing(story) != []
