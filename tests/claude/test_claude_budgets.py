"""A real `claude` and a budget: what it takes is known while it runs, and when there is none left it is ended."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.claude.real_claude import CLAUDE, needs_claude
from tests.claude.scripted_api import ScriptedApi, Text, ToolUse, in_order
from tests.claude.test_claude_runner import PATIENCE_SECONDS, ended, spawn
from tests.system.sidecar_process import Sidecar


@pytest.fixture
def sidecar(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sidecar]:
    """A sidecar whose agents find `claude`, and have a second to end, or as long as the test says."""
    assert CLAUDE is not None
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(CLAUDE)
    made = Sidecar(tmp_path, config={"agents": {"budget_grace_seconds": getattr(request, "param", 1)}})
    made.environment["PATH"] = f"{programs}:/usr/bin:/bin"
    subprocess.run(["git", "init", "-q", "."], cwd=made.root, check=True)
    with made as found:
        yield found


def until(seen: Callable[[], Any], true: Callable[[Any], object], sidecar: Sidecar) -> Any:
    """Wait for something to be so; gives it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = seen()
        if true(found):
            return found
        assert time.monotonic() < deadline, (found, sidecar.log)
        time.sleep(0.1)


def bash(command: str) -> ToolUse:
    """Have a command run."""
    return ToolUse("Bash", {"command": command, "description": "wait"})


@needs_claude
def test_a_budget_ends_it(sidecar: Sidecar) -> None:
    """Its usage grows from turn to turn while it works; over its budget it is ended, and the next one waits."""
    go = sidecar.root / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.1; done"
    with ScriptedApi(in_order((Text("I wait."), bash(wait)), bash("sleep 60"), last=Text("Done."))) as api:
        agent_id = spawn(sidecar, api)

        def seen() -> Any:
            return sidecar.call("GET", f"/api/agents/{agent_id}")[1]

        first = until(seen, lambda agent: agent["usage"] and agent["doing"] == "using Bash", sidecar)
        tokens = first["usage"]["input_tokens"]
        assert (first["status"], first["usage"]["turns"], tokens > 100) == ("running", 1, True)
        assert first["usage"]["cost_usd_estimated"] > 0
        limit = {"tokens": int(tokens * 1.5)}
        status, budget = sidecar.call("PUT", "/api/budgets/issue/issue-1", limit)
        assert (status, budget["state"]) == (200, "ok"), budget
        go.touch()
        agent = ended(sidecar, agent_id)
    assert (agent["status"], agent["failure"]) == ("killed", "budget")
    assert agent["usage"]["turns"] >= 2  # told by SIGTERM, it may ask the model once more
    assert agent["usage"]["input_tokens"] > 2 * tokens - 1
    _, events = sidecar.call("GET", "/api/events?topic=budgets&order=asc")
    assert [event["event_type"] for event in events["events"]] == ["budget_warning", "budget_exhausted"]
    order = {"agent_type": "python-specialist", "issue_id": "issue-1", "task": "Greet."}
    status, waiting = sidecar.call("POST", "/api/agents/spawn", order)
    assert (status, waiting["status"]) == (202, "queued")
    assert "the budget of issue 'issue-1' is used up" in waiting["queued_because"]


@needs_claude
@pytest.mark.parametrize("sidecar", [60], indirect=True)
def test_it_is_told_first(sidecar: Sidecar) -> None:
    """The model reads that its budget is used up before it is ended; one that ends then has done its part."""
    go = sidecar.root / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.1; done"
    with ScriptedApi(in_order(bash(wait), last=Text("Done."))) as api:
        agent_id = spawn(sidecar, api)

        def seen() -> Any:
            return sidecar.call("GET", f"/api/agents/{agent_id}")[1]

        until(seen, lambda agent: agent["doing"] == "using Bash", sidecar)
        status, budget = sidecar.call("PUT", "/api/budgets/type/python-specialist", {"tokens": 100})
        assert (status, budget["state"]) == (200, "exhausted"), budget
        until(seen, lambda agent: agent["reason"], sidecar)
        go.touch()
        agent = ended(sidecar, agent_id)
    assert "the budget of agent type 'python-specialist' is used up" in api.turns[1].text
    assert "Commit what you have" in api.turns[1].text
    assert (agent["status"], agent["failure"]) == ("completed", None)


@needs_claude
def test_what_is_seen_is_what_is_told(sidecar: Sidecar) -> None:
    """What was counted while it ran is what it says at the end, or a little less; the estimated cost likewise."""
    with ScriptedApi(in_order((Text("word " * 200), bash("sleep 4")), last=Text("Done."))) as api:
        agent_id = spawn(sidecar, api)

        def seen() -> Any:
            return sidecar.call("GET", f"/api/agents/{agent_id}")[1]

        before = until(seen, lambda agent: agent["usage"], sidecar)["usage"]
        after = ended(sidecar, agent_id)["usage"]
    assert before["input_tokens"] == api.turns[0].tokens
    assert after["input_tokens"] == sum(turn.tokens for turn in api.turns)
    assert 150 < before["output_tokens"] < after["output_tokens"]
    assert 0 < before["cost_usd_estimated"] < after["cost_usd"]
    assert "cost_usd_estimated" not in after
