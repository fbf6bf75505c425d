"""What happened in a demo, and whether all of it did."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from cco_sidecar.demo.script import FIRST_EVENT, Step

Json = Mapping[str, Any]

BEFORE_ITS_EVENT = ("context_loaded", "work_started", "result_stored")
"""Events that every agent causes, each once and in this order, before the one that it is called for."""
SUBJECTS = frozenset({"agent_spawned", "agent_completed", "agent_failed", "result_stored"})
"""Events that the sidecar publishes about an agent, which their data names."""


@define
class Story:
    """What was seen from outside; agents and results by agent type, events in their order.

    :param spawned: the answers to the spawns.
    :param files: the stored results as they lie on disk.
    :param requests: how often each route was answered, by route and status.
    :param parked: how many polls were parked when the first event was published.
    :param late: the types that were spawned after the event they wait for.
    :param left_over: processes that were still there at the end.
    """

    steps: Sequence[Step]
    spawned: dict[str, Json] = field(factory=dict)
    agents: dict[str, Json] = field(factory=dict)
    events: list[Json] = field(factory=list)
    results: dict[str, Json] = field(factory=dict)
    paths: dict[str, Path] = field(factory=dict)
    files: dict[str, Json] = field(factory=dict)
    requests: dict[tuple[str, str], float] = field(factory=dict)
    parked: int = 0
    late: frozenset[str] = frozenset()
    left_over: list[str] = field(factory=list)

    @property
    def early(self) -> list[str]:
        """The types that wait from the beginning."""
        return [step.agent_type for step in self.steps if step.agent_type not in self.late]

    def about(self, agent_type: str) -> list[Json]:
        """Give what an agent published, and what the sidecar published about it."""
        agent_id = self.spawned.get(agent_type, {}).get("agent_id")
        return [event for event in self.events if agent_id is not None and subject_of(event) == agent_id]


def subject_of(event: Json) -> str:
    """Give the id of the agent that an event tells of."""
    return str(event["data"]["agent_id"] if event["event_type"] in SUBJECTS else event["publisher"])


def missing(story: Story) -> list[str]:
    """Say what did not happen, a line each; nothing if all of it did."""
    return [*_chain(story), *(line for step in story.steps for line in _agent(story, step)), *_whole(story)]


def _chain(story: Story) -> Iterator[str]:
    expected = [FIRST_EVENT, *(step.publishes for step in story.steps)]
    found = [event["event_type"] for event in story.events if event["event_type"] in expected]
    counted = Counter(found)
    for event_type in expected:
        if counted[event_type] != 1:
            yield f"{event_type} was published {counted[event_type]} times, not once"
    if set(found) == set(expected) and found != expected and len(found) == len(expected):
        yield f"the chain is out of order: {', '.join(found)}"


def _agent(story: Story, step: Step) -> Iterator[str]:
    name = step.agent_type
    agent = story.agents.get(name)
    if agent is None:
        yield f"{name} was not spawned"
        return
    if (agent["status"], agent["exit_code"]) != ("completed", 0):
        yield f"{name} is {agent['status']} with exit code {agent['exit_code']}, not completed with 0"
    wanted = [*BEFORE_ITS_EVENT, step.publishes, "agent_completed"]
    about = [event["event_type"] for event in story.about(name)]
    if about.count("agent_spawned") != 1:
        yield f"{name}: agent_spawned was published {about.count('agent_spawned')} times, not once"
    # The process may be quicker than the news of its start.
    found = [event_type for event_type in about if event_type != "agent_spawned"]
    if found != wanted:
        yield f"{name}: its events are {', '.join(found) or 'none'}; they should be {', '.join(wanted)}"
    yield from _wake(story, step)
    yield from _result(story, step)


def _wake(story: Story, step: Step) -> Iterator[str]:
    name = step.agent_type
    start = next((event["data"] for event in story.about(name) if event["event_type"] == "work_started"), None)
    if start is None:
        return  # said already
    caller = start.get("called_by", {}).get("event_type")
    if caller != step.trigger:
        yield f"{name} was called by {caller}, not by {step.trigger}"
    if name in story.early and not start.get("parked"):
        yield f"{name} was not woken from a parked poll"


def _result(story: Story, step: Step) -> Iterator[str]:
    name = step.agent_type
    stored = story.results.get(name)
    if stored is None:
        yield f"{name}: its result cannot be read"
        return
    if stored != story.files.get(name):
        yield f"{name}: its result on disk is not the one that is served"
    result = stored["result"]
    if result["status"] != "success":
        yield f"{name}: its result is {result['status']}: {result.get('summary')}"
        return
    context = result["context"]
    if not context["files"]:
        yield f"{name}: no file was in its context"
    if not context["not_modified"]:
        yield f"{name}: its second request for the context was not answered 'not modified'"
    if not context["injected"]:
        yield f"{name}: it found no context at its start"
    before = [each.agent_type for each in story.steps[: story.steps.index(step)]]
    if context["earlier"] != before:
        yield f"{name}: its context had results of {', '.join(context['earlier']) or 'nobody'}, not of those before it"


def _whole(story: Story) -> Iterator[str]:
    if story.parked < len(story.early):
        yield f"{story.parked} polls were parked before the start, not {len(story.early)}"
    # Each agent reads it again when it is called; whether that is a 200 depends on what has changed by then.
    for status in ("200", "304"):
        count = sum(
            number for (route, code), number in story.requests.items() if "/api/context/" in route and code == status
        )
        if count < len(story.steps):
            yield f"{count:.0f} requests for a context were answered {status}, not one from each agent"
    yield from (f"still there: {process}" for process in story.left_over)
