"""Workflows: who comes next, as it follows from the rules and from what each type publishes."""

from importlib import resources
from typing import Any

import pytest

from cco_sidecar.core.roster import Roster, parse_roster
from cco_sidecar.core.workflows.definition import NextAgent, Rule, Trigger, Workflow, is_bad_news, next_agents

PUBLISHES = {
    "planner": ("plan_ready",),
    "builder": ("built", "build_failed"),
    "checker": ("checked", "check_rejected"),
    "mender": ("built",),
    "guest": (),
}


def flow(*rules: Rule) -> Workflow:
    return Workflow("flow", "Flow", rules, PUBLISHES)


def rule(on: str, *spawn: str, **more: Any) -> Rule:
    trigger = Trigger(tuple(on.split()), filter=more.pop("filter", None), all=more.pop("all", False))
    return Rule(name=f"on-{on.split(maxsplit=1)[0]}", phase="work", on=trigger, spawn=spawn, **more)


def names(found: list[NextAgent]) -> list[str]:
    return [one.agent_type for one in found]


def packaged() -> Roster:
    return parse_roster((resources.files("cco_sidecar.data") / "roster.json").read_bytes(), source="packaged")


def test_success_follows_the_good_news() -> None:
    """After a success come those who wait for what the type publishes, but not for its failures."""
    found = next_agents(flow(rule("built", "checker"), rule("build_failed", "mender")), "builder", "success")
    assert names(found) == ["checker"]
    assert "built" in found[0].reason
    assert "on-built" in found[0].reason


def test_failure_follows_the_bad_news() -> None:
    """After a failure come those who wait for the failing event, and no retry."""
    rules = flow(rule("plan_ready", "builder"), rule("built", "checker"), rule("build_failed", "mender"))
    assert names(next_agents(rules, "builder", "failed")) == ["mender"]


def test_failure_without_a_rule_is_tried_again() -> None:
    """A failed agent whose failure no rule takes is tried again, if the rule that spawns it lets it."""
    (again,) = next_agents(flow(rule("plan_ready", "builder", retries=2, priority="high")), "builder", "failed")
    assert (again.agent_type, again.priority) == ("builder", "high")
    assert "up to 2 times more" in again.reason
    assert next_agents(flow(rule("plan_ready", "builder", retries=0)), "builder", "failed") == []
    assert next_agents(flow(rule("built", "checker")), "builder", "failed") == []


def test_partial_goes_on() -> None:
    """After a part, the same type goes on, whether or not a rule spawned it."""
    rules = flow(rule("plan_ready", "builder", priority="high"))
    assert [(one.agent_type, one.priority) for one in next_agents(rules, "builder", "partial")] == [("builder", "high")]
    assert [(one.agent_type, one.priority) for one in next_agents(rules, "guest", "partial")] == [("guest", "normal")]


def test_most_urgent_first_and_once() -> None:
    """The most urgent comes first, equal ones in the order of the rules, and a type stands once, most urgent."""
    rules = flow(
        rule("built", "guest", "checker", priority="low"),
        rule("built", "planner"),
        rule("built", "checker", priority="high"),
    )
    found = next_agents(rules, "builder", "success")
    assert [(one.agent_type, one.priority) for one in found] == [
        ("checker", "high"),
        ("planner", "normal"),
        ("guest", "low"),
    ]


def test_conditions_are_told() -> None:
    """What else must come, and what the event must match, is in the reason."""
    rules = flow(rule("built checked", "planner", all=True, filter="size:>3"))
    (found,) = next_agents(rules, "builder", "success")
    assert "once checked came, too" in found.reason
    assert "if the event matches size:>3" in found.reason


@pytest.mark.parametrize(
    ("status", "event"),
    [("success", "agent_completed"), ("failed", "agent_failed"), ("partial", "result_stored")],
)
def test_lifecycle_events(status: str, event: str) -> None:
    """A rule on what the sidecar tells of every agent follows for any type."""
    assert "mender" in names(next_agents(flow(rule(event, "mender")), "guest", status))


def test_lifecycle_filter_decides() -> None:
    """A filter on the agent's type or status lets a lifecycle rule follow for those agents alone."""
    rules = flow(rule("agent_completed", "mender", filter="agent_type:builder"))
    assert names(next_agents(rules, "builder", "success")) == ["mender"]
    assert next_agents(rules, "planner", "success") == []
    by_status = flow(rule("result_stored", "mender", filter="status:failed"))
    assert next_agents(by_status, "guest", "success") == []
    assert names(next_agents(by_status, "guest", "failed")) == ["mender"]


def test_unknown_type_and_status() -> None:
    """A type that the roster does not have, or a status that is none, is followed by nobody."""
    rules = flow(rule("agent_completed result_stored", "mender"))
    assert next_agents(rules, "stranger", "partial") == []
    assert next_agents(rules, "builder", "odd") == []


@pytest.mark.parametrize(
    ("event", "bad"),
    [
        ("tests_failing", True),
        ("agent.failed", True),
        ("review-rejected", True),
        ("failed_over_complete", False),
        ("tests_passing", False),
    ],
)
def test_bad_news(event: str, bad: bool) -> None:
    """An event tells of a failure if its last word says so."""
    assert is_bad_news(event) is bad


def test_packaged_workflows() -> None:
    """There are two packaged workflows, and both begin with the architect when an issue starts."""
    workflows = packaged().workflows
    assert set(workflows) == {"tdd", "default"}
    for workflow in workflows.values():
        first = workflow.rules[0]
        assert (first.on.types, first.spawn) == (("issue_started",), ("chief-architect",))


def successes(workflow: Workflow) -> list[str]:
    """Follow a packaged workflow from success to success until nobody comes next."""
    chain = ["chief-architect"]
    while following := next_agents(workflow, chain[-1], "success"):
        assert len(following) == 1
        assert following[0].agent_type not in chain
        chain.append(following[0].agent_type)
    return chain


def test_tdd_chain() -> None:
    """Followed from success to success, tdd leads from the architecture to the review, and ends there."""
    assert successes(packaged().workflows["tdd"]) == [
        "chief-architect",
        "test-engineer",
        "tdd-coding-agent",
        "test-automator",
        "security-auditor",
        "documentation-expert",
        "code-reviewer",
    ]


@pytest.mark.parametrize("critic", ["test-automator", "security-auditor", "code-reviewer"])
def test_tdd_rounds(critic: str) -> None:
    """Whoever finds the work wanting in tdd sends it back to be mended, first of all."""
    (found,) = next_agents(packaged().workflows["tdd"], critic, "failed")
    assert (found.agent_type, found.priority) == ("tdd-coding-agent", "high")


def test_tdd_takes_in_other_coders() -> None:
    """Work of a specialist whom the architect called in is tested like any other."""
    assert names(next_agents(packaged().workflows["tdd"], "python-specialist", "success")) == ["test-automator"]


def test_default_chain() -> None:
    """The default workflow plans, builds, tests and reviews."""
    assert successes(packaged().workflows["default"]) == [
        "chief-architect",
        "fullstack-developer",
        "test-automator",
        "code-reviewer",
    ]
