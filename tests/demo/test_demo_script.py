"""What the demo's agents do follows from the packaged roster."""

from cco_sidecar.core.workflows.definition import is_bad_news
from cco_sidecar.demo.script import FIRST_EVENT, chain, part_of


def test_the_chain_is_the_workflow() -> None:
    """From the start of the issue over tests, code, test run and audit to the review, each called by the one before."""
    steps = chain()
    assert [step.agent_type for step in steps] == [
        "chief-architect",
        "test-engineer",
        "tdd-coding-agent",
        "test-automator",
        "security-auditor",
        "documentation-expert",
        "code-reviewer",
    ]
    assert [step.trigger for step in steps] == [FIRST_EVENT, *(step.publishes for step in steps[:-1])]


def test_nobody_brings_bad_news() -> None:
    """The agents of the demo succeed."""
    assert [step.publishes for step in chain() if is_bad_news(step.publishes)] == []


def test_each_waits_for_what_calls_it() -> None:
    """An agent alone, which knows nothing but its type, waits for the event that the chain calls it with."""
    for step in chain():
        part = part_of(step.agent_type)
        assert step.trigger in part.waits_for
        assert part.publishes == step.publishes


def test_outside_of_all_workflows() -> None:
    """A type that no workflow starts begins at once, and so does one that the packaged roster does not have."""
    assert part_of("python-specialist") == ("python-specialist", "work", (), "implementation_complete")
    assert part_of("of-my-own") == ("of-my-own", "work", (), "work_complete")
