"""A budget with real processes, and a sidecar that is killed in between: told, held back, ended, going on."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.sidecar_process import Sidecar

COUNTED = Path(__file__).with_name("counted_agent.py")
RUNNER = {"command": [sys.executable, "-I", str(COUNTED)], "first_request_seconds": 0, "output": "stream-json"}
PATIENCE_SECONDS = 20.0


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar with the runner, and a short grace."""
    config = {"agents": {"runners": {"counted": RUNNER}, "budget_grace_seconds": 3}}
    with Sidecar(tmp_path, config=config) as found:
        yield found
        for agent in found.call("GET", "/api/agents")[1]["agents"]:
            found.call("DELETE", f"/api/agents/{agent['agent_id']}?force=true")


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def get(sidecar: Sidecar, path: str) -> Any:
    """Ask for something that there is."""
    status, answer = sidecar.call("GET", path)
    assert status == 200, answer
    return answer


def spawn(sidecar: Sidecar) -> Any:
    """Start an agent, or queue it."""
    body = {"agent_type": "python-specialist", "issue_id": "issue-1", "runner": "counted"}
    status, answer = sidecar.call("POST", "/api/agents/spawn", body)
    assert status in {201, 202}, answer
    return answer


def let_take(sidecar: Sidecar, agent: Any, tokens: int) -> None:
    """Let an agent have taken so many tokens in all."""
    made = sidecar.root / "made"
    made.write_text(str(tokens))
    made.rename(sidecar.root / f"go-{agent['agent_id']}")


def told(sidecar: Sidecar) -> list[tuple[str, float]]:
    """Give what was published of budgets, and how much was spent then."""
    events = get(sidecar, "/api/events?topic=budgets&order=asc")["events"]
    return [(event["event_type"], event["data"]["spent"]) for event in events]


def test_a_budget_is_kept(sidecar: Sidecar) -> None:
    """Warned of at 80 %; used up: told, ended, the next held back; raised: it goes on. Nothing is forgotten."""
    status, _ = sidecar.call("PUT", "/api/budgets/issue/issue-1", {"tokens": 1000})
    assert status == 200
    agent = spawn(sidecar)
    let_take(sidecar, agent, 850)
    until(lambda: told(sidecar) == [("budget_warning", 850)], "the warning")

    sidecar.kill()
    sidecar.start()
    assert get(sidecar, f"/api/agents/{agent['agent_id']}")["usage"]["input_tokens"] == 850
    budget = get(sidecar, "/api/budgets/issue/issue-1")
    assert (budget["state"], budget["spent"]["tokens"], budget["fraction"]) == ("warned", 850, 0.85)

    let_take(sidecar, agent, 1100)
    until(lambda: told(sidecar) == [("budget_warning", 850), ("budget_exhausted", 1100)], "that it is used up")
    waiting = spawn(sidecar)
    assert (waiting["queued"], waiting["status"]) == (True, "queued")
    assert "the budget of issue 'issue-1' is used up (1,100 tokens of 1,000 tokens)" in waiting["queued_because"]
    (message,) = get(sidecar, f"/api/messages?agent={agent['agent_id']}")["messages"]
    assert (message["from"], message["kind"]) == ("sidecar", "steer")
    assert "Commit what you have" in message["body"]

    sidecar.kill()
    sidecar.start()
    until(lambda: get(sidecar, f"/api/agents/{agent['agent_id']}")["status"] == "killed", "its end")
    ended = get(sidecar, f"/api/agents/{agent['agent_id']}")
    assert (ended["failure"], ended["exit_code"], ended["usage"]["input_tokens"]) == ("budget", -15, 1100)
    assert len(get(sidecar, f"/api/messages?agent={agent['agent_id']}")["messages"]) == 1
    held = get(sidecar, f"/api/agents/{waiting['agent_id']}")
    assert (held["status"], held["queued_because"]) == ("queued", waiting["queued_because"])

    status, raised = sidecar.call("PUT", "/api/budgets/issue/issue-1", {"tokens": 5000})
    assert (status, raised["state"], raised["spent"]["tokens"]) == (200, "ok", 1100)
    until(lambda: get(sidecar, f"/api/agents/{waiting['agent_id']}")["status"] == "running", "that it goes on")
    let_take(sidecar, waiting, 400)
    until(lambda: get(sidecar, "/api/budgets/issue/issue-1")["spent"]["tokens"] == 1500, "that both count")
    assert get(sidecar, "/api/issues/issue-1")["cost"]["input_tokens"] == 1500
    assert len(told(sidecar)) == 2
