"""The packaged runner `claude`, with a real sidecar and a real `claude`: what its work took, and what came of it."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.claude.real_claude import CLAUDE, DUMMY_KEY, needs_claude
from tests.claude.scripted_api import ScriptedApi, Text, ToolUse, Trouble, in_order
from tests.system.sidecar_process import Sidecar

PATIENCE_SECONDS = 60.0


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar whose agents find `claude`; what stops one is its end."""
    assert CLAUDE is not None
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(CLAUDE)
    made = Sidecar(tmp_path, config={"breaker": {"max_parkings": 0}})
    made.environment["PATH"] = f"{programs}:/usr/bin:/bin"
    subprocess.run(["git", "init", "-q", "."], cwd=made.root, check=True)
    with made as found:
        yield found


def spawn(sidecar: Sidecar, api: ScriptedApi, **more: str) -> str:
    """Start an agent whose model is the script."""
    environment = {
        "ANTHROPIC_BASE_URL": api.url,
        "ANTHROPIC_API_KEY": DUMMY_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "ENABLE_TOOL_SEARCH": "false",
        **more,
    }
    asked = {"agent_type": "python-specialist", "issue_id": "issue-1", "task": "Greet.", "environment": environment}
    status, answer = sidecar.call("POST", "/api/agents/spawn", asked)
    assert status == 201, answer
    return str(answer["agent_id"])


def ended(sidecar: Sidecar, agent_id: str) -> dict[str, Any]:
    """Give the agent when it has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        _, agent = sidecar.call("GET", f"/api/agents/{agent_id}")
        if agent["ended_at"] is not None:
            return dict(agent)
        assert time.monotonic() < deadline, sidecar.log
        time.sleep(0.1)


@needs_claude
def test_the_final_text_becomes_the_result(sidecar: Sidecar) -> None:
    """It edits without a question, under its type's model; usage and result are there when its end is told."""
    write = ToolUse("Write", {"file_path": str(sidecar.root / "greeting.txt"), "content": "hello"}, call_id="toolu_w")
    # It wants to end twice: at first it is held back, for it has stored no result.
    with ScriptedApi(in_order(write, Text("Done."), Text("I greeted the world."))) as api:
        agent = ended(sidecar, spawn(sidecar, api))
    assert (agent["status"], agent["failure"]) == ("completed", None)
    assert (sidecar.root / "greeting.txt").read_text() == "hello"
    assert "You are the agent" in api.turns[0].text
    assert "haiku" in api.turns[0].body["model"] or "sonnet" in api.turns[0].body["model"]
    usage = agent["usage"]
    assert usage["turns"] == 3
    assert usage["input_tokens"] > 100
    assert usage["cost_usd"] > 0
    _, result = sidecar.call("GET", f"/api/results/id/{agent['result_id']}")
    assert result["result"] == {"status": "success", "summary": "I greeted the world.", "source": "final_text"}
    _, events = sidecar.call("GET", "/api/events/wait/agent_completed?since=earliest")
    assert events["events"][0]["data"]["result_id"] == agent["result_id"]
    _, issue = sidecar.call("GET", "/api/issues/issue-1")
    assert issue["cost"] == usage
    files = [path for path in (sidecar.home / "run").rglob("*") if path.name.startswith(agent["agent_id"])]
    assert [path.name for path in files if "claude" in path.parts] == []


@needs_claude
@pytest.mark.parametrize(("status", "failure"), [(529, "overloaded"), (429, "rate_limited"), (401, "login")])
def test_what_is_not_its_own_fault(sidecar: Sidecar, status: int, failure: str) -> None:
    """It is told apart, also in the event; the error's text is no result."""
    with ScriptedApi(lambda _: Trouble(status)) as api:
        agent = ended(sidecar, spawn(sidecar, api, CLAUDE_CODE_MAX_RETRIES="1"))
    assert (agent["status"], agent["failure"], agent["result_id"]) == ("failed", failure, None)
    assert str(status) in agent["reason"]
    _, events = sidecar.call("GET", "/api/events/wait/agent_failed?since=earliest")
    assert events["events"][0]["data"]["failure"] == failure


@needs_claude
def test_killed_in_its_work(sidecar: Sidecar) -> None:
    """What it took so far is counted, and nothing is stored for it."""
    with ScriptedApi(in_order(ToolUse("Bash", {"command": "sleep 60"}))) as api:
        agent_id = spawn(sidecar, api)
        deadline = time.monotonic() + PATIENCE_SECONDS
        log = sidecar.storage / "logs" / "agents" / f"{agent_id}.log"
        while not log.exists() or "sleep 60" not in log.read_text():
            assert time.monotonic() < deadline, sidecar.log
            time.sleep(0.1)
        status, _ = sidecar.call("DELETE", f"/api/agents/{agent_id}?timeout_seconds=5")
        assert status == 200
        agent = ended(sidecar, agent_id)
    assert (agent["status"], agent["result_id"]) == ("killed", None)
    assert agent["usage"]["input_tokens"] > 100
