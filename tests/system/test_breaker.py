"""A whole fleet behind one breaker, with real processes and a sidecar that is killed meanwhile."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.sidecar_process import Sidecar

PATIENCE_SECONDS = 30.0
FLEET = 12
PROGRAM = str(Path(__file__).with_name("limited_agent.py"))


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    """While it is there, the model's servers answer nobody."""
    path = tmp_path / "wall"
    path.write_text("529")
    return path


@pytest.fixture
def sidecar(tmp_path: Path, wall: Path) -> Iterator[Sidecar]:
    """A sidecar whose agents are stand-ins for Claude Code."""
    runner = {
        "command": [sys.executable, PROGRAM, str(wall)],
        "resume": [sys.executable, PROGRAM, str(wall), "{session_id}"],
        "output": "stream-json",
        "first_request_seconds": 0,
    }
    breaker = {"first_wait_seconds": 1, "most_wait_seconds": 2, "resume_per_minute": 0}
    with Sidecar(tmp_path, config={"agents": {"runners": {"limited": runner}}, "breaker": breaker}) as found:
        yield found


def spawn(sidecar: Sidecar, key: str = "sk-dummy") -> dict[str, Any]:
    body = {"agent_type": "python-specialist", "issue_id": "issue-1", "runner": "limited", "timeout_seconds": 20}
    status, answer = sidecar.call("POST", "/api/agents/spawn", {**body, "environment": {"ANTHROPIC_API_KEY": key}})
    assert status in {201, 202}, answer
    return dict(answer)


def agents(sidecar: Sidecar) -> list[dict[str, Any]]:
    return list(sidecar.call("GET", "/api/agents")[1]["agents"])


def accounts(sidecar: Sidecar) -> list[dict[str, Any]]:
    return list(sidecar.call("GET", "/api/accounts")[1]["accounts"])


def events(sidecar: Sidecar, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in sidecar.call("GET", f"/api/events?type={kind}")[1]["events"]]


def until(what: Callable[[], Any], sidecar: Sidecar) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, sidecar.log
        time.sleep(0.05)
    return found


def test_wall(sidecar: Sidecar, wall: Path) -> None:
    """All are parked, the sidecar is killed and comes back, one is killed; then all others end well, as themselves."""
    ids = [spawn(sidecar)["agent_id"] for _ in range(FLEET)]
    until(lambda: sum(agent["status"] == "queued" for agent in agents(sidecar)) >= FLEET - 1, sidecar)
    (account,) = accounts(sidecar)
    assert (account["failure"], account["running"] + account["waiting"]) == ("overloaded", FLEET)
    assert account["running"] <= 1
    assert sum(agent["parkings"] for agent in agents(sidecar)) < 2 * FLEET  # not each of them tried
    claim = {"resource": "src/**", "ttl_seconds": 600}
    token = sidecar.agent_token(ids[0], agent_type="python-specialist")
    assert sidecar.call("POST", "/api/claims", claim, token)[0] == 201  # it is not gone
    sidecar.kill()
    sidecar.start()
    late = spawn(sidecar)
    assert late["queued"]
    assert account["account"] in late["queued_because"]
    assert spawn(sidecar, "sk-another")["queued"] is False
    until(lambda: len(events(sidecar, "account_parked")) == 2, sidecar)
    began = time.monotonic()
    parked = next(agent for agent in agents(sidecar) if agent["status"] == "queued")
    status, killed = sidecar.call("DELETE", f"/api/agents/{parked['agent_id']}")
    assert (status, killed["status"]) == (200, "killed")
    assert time.monotonic() - began < 5
    assert len(sidecar.call("GET", "/api/claims")[1]["claims"]) == (parked["agent_id"] != ids[0])
    wall.unlink()
    until(lambda: all(agent["ended_at"] for agent in agents(sidecar)), sidecar)
    others = [agent for agent in agents(sidecar) if agent["agent_id"] != parked["agent_id"]]
    assert [agent for agent in others if agent["status"] != "completed"] == []
    assert len(others) == FLEET + 1
    for agent in others:
        log = (sidecar.storage / "logs" / "agents" / f"{agent['agent_id']}.log").read_text()
        sessions = {line.split('"session_id": "')[1][:36] for line in log.splitlines() if "session_id" in line}
        assert len(sessions) == 1  # it went on with its conversation
        assert agent["parkings"] == 0 or log.count('"init"') == agent["parkings"] + 1
    assert [data["agent_id"] for data in events(sidecar, "agent_failed")] == [parked["agent_id"]]
    assert len(until(lambda: events(sidecar, "account_resumed"), sidecar)) >= 1
    assert "sk-dummy" not in sidecar.log
    stored = [path for path in sidecar.storage.rglob("*") if path.is_file() and b"sk-dummy" in path.read_bytes()]
    assert stored == []


def test_login(sidecar: Sidecar, wall: Path) -> None:
    """Nobody tries before a person says so."""
    wall.write_text("401")
    agent_id = spawn(sidecar)["agent_id"]
    until(lambda: agents(sidecar)[0]["parkings"], sidecar)
    (account,) = accounts(sidecar)
    assert (account["state"], account["failure"], account["parked"]) == ("open", "login", 1)
    wall.unlink()
    name = account["account"]
    assert sidecar.call("POST", "/api/accounts/key-none/resume")[0] == 404
    assert sidecar.call("POST", f"/api/accounts/{name}/resume", token=sidecar.agent_token("a"))[0] == 403
    status, account = sidecar.call("POST", f"/api/accounts/{name}/resume")
    assert (status, account["state"], account["probe"]) == (200, "half_open", agent_id)
    until(lambda: agents(sidecar)[0]["status"] == "completed", sidecar)
    assert accounts(sidecar) == []


def test_workflow(sidecar: Sidecar, wall: Path) -> None:
    """A workflow waits for an agent that is parked: that is no end of it, and no try of the rule."""
    status, answer = sidecar.call("POST", "/api/issues/issue-2/start", {"task": "Do it.", "runner": "limited"})
    assert status == 201, answer
    (agent,) = until(lambda: [agent for agent in agents(sidecar) if agent["parkings"] >= 3], sidecar)
    _, issue = sidecar.call("GET", "/api/issues/issue-2")
    assert (issue["status"], issue["escalations"]) == ("running", [])
    (attempt,) = issue["phases"][0]["agents"]
    assert (attempt["agent_id"], attempt["attempt"], attempt["state"]) == (agent["agent_id"], 1, "running")
    wall.unlink()
    until(lambda: sidecar.call("GET", f"/api/agents/{agent['agent_id']}")[1]["status"] == "completed", sidecar)
