"""A limit, an overload or an expired login, with a real `claude`: the agents wait behind one breaker, and go on."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from tests.claude.real_claude import CLAUDE, DUMMY_KEY, needs_claude
from tests.claude.scripted_api import Answer, Asked, ScriptedApi, Text, ToolUse, Trouble
from tests.system.sidecar_process import Sidecar

PATIENCE_SECONDS = 60.0
QUICK = {"breaker": {"first_wait_seconds": 1, "most_wait_seconds": 2, "login_wait_seconds": 600}}


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar whose agents find `claude`, and which tries soon whether it is over."""
    assert CLAUDE is not None
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(CLAUDE)
    made = Sidecar(tmp_path, config=QUICK)
    made.environment["PATH"] = f"{programs}:/usr/bin:/bin"
    subprocess.run(["git", "init", "-q", "."], cwd=made.root, check=True)
    with made as found:
        yield found


@define(eq=False)
class Wall:
    """A model that lets each agent begin, and then refuses everybody while there is a ``trouble``."""

    trouble: Trouble | None
    first: Answer | None = field(factory=lambda: ToolUse("Bash", {"command": "echo begun >> begun.txt"}))
    turns: list[str] = field(factory=list)

    def __call__(self, asked: Asked) -> Answer:
        found = re.search(r"You are the agent (agent-\w+)", asked.text)
        if not asked.is_turn or found is None:
            return Text("ok")
        self.turns.append(found[1])
        if self.first is not None and self.turns.count(found[1]) == 1:
            return self.first
        return self.trouble or Text(f"Done by {found[1]}.")


def spawn(sidecar: Sidecar, api: ScriptedApi) -> dict[str, Any]:
    """Start an agent, all on one account."""
    environment = {
        "ANTHROPIC_BASE_URL": api.url,
        "ANTHROPIC_API_KEY": DUMMY_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "ENABLE_TOOL_SEARCH": "false",
        "CLAUDE_CODE_MAX_RETRIES": "1",
    }
    asked = {"agent_type": "python-specialist", "issue_id": "issue-1", "task": "Greet.", "environment": environment}
    status, answer = sidecar.call("POST", "/api/agents/spawn", asked)
    assert status in {201, 202}, answer
    return dict(answer)


def until(what: Callable[[], Any], sidecar: Sidecar) -> Any:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, sidecar.log
        time.sleep(0.1)
    return found


def agents(sidecar: Sidecar) -> list[dict[str, Any]]:
    return list(sidecar.call("GET", "/api/agents")[1]["agents"])


def account(sidecar: Sidecar) -> dict[str, Any]:
    _, answer = sidecar.call("GET", "/api/accounts")
    assert len(answer["accounts"]) == 1
    return dict(answer["accounts"][0])


def events(sidecar: Sidecar, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in sidecar.call("GET", f"/api/events?type={kind}")[1]["events"]]


def all_completed(sidecar: Sidecar) -> bool:
    return all(agent["status"] == "completed" for agent in agents(sidecar))


@needs_claude
def test_a_wall_of_529(sidecar: Sidecar) -> None:
    """Three agents are stopped in their work: one tries, then all go on with their conversations; none has failed."""
    wall = Wall(Trouble(529))
    with ScriptedApi(wall) as api:
        ids = {spawn(sidecar, api)["agent_id"] for _ in range(3)}
        until(lambda: all(agent["parkings"] for agent in agents(sidecar)), sidecar)
        parked = account(sidecar)
        assert (parked["failure"], parked["running"] + parked["parked"]) == ("overloaded", 3)
        assert parked["parked"] >= 2
        assert DUMMY_KEY not in str(parked)
        waiting = next(agent for agent in agents(sidecar) if agent["status"] == "queued")
        assert "529" in waiting["reason"]
        assert parked["account"] in waiting["queued_because"]
        before = len(wall.turns)
        until(lambda: account(sidecar)["tries"] >= 3, sidecar)
        tried = wall.turns[before:]
        assert tried == sorted(tried, key=tried.index)  # one agent after the other, never two at once
        wall.trouble = None
        until(lambda: all_completed(sidecar), sidecar)
    assert {agent["agent_id"] for agent in agents(sidecar)} == ids
    assert (sidecar.root / "begun.txt").read_text() == "begun\n" * 3  # nobody began again
    for agent_id in ids:
        last = next(asked for asked in reversed(api.turns) if agent_id in asked.text)
        assert last.text.count("You were interrupted") == 1  # who tried in vain left nothing in it
        assert "begun.txt" in last.text
    for agent in agents(sidecar):
        assert (agent["failure"], agent["reason"], agent["queued_because"]) == (None, None, None)
        assert agent["usage"]["turns"] >= 2
        assert agent["result_id"] is not None
    assert events(sidecar, "agent_failed") == []
    assert len(events(sidecar, "agent_spawned")) == 3
    (told,) = events(sidecar, "account_parked")
    assert (told["account"], told["failure"]) == (parked["account"], "overloaded")
    (over,) = until(lambda: events(sidecar, "account_resumed"), sidecar)
    assert (over["account"], over["state"]) == (parked["account"], "closed")


@needs_claude
def test_an_expired_login(sidecar: Sidecar) -> None:
    """It parks who is stopped and who is spawned then, also over a restart; a person has it tried again."""
    wall = Wall(Trouble(401), first=None)
    with ScriptedApi(wall) as api:
        first = spawn(sidecar, api)["agent_id"]
        until(lambda: agents(sidecar)[0]["parkings"], sidecar)
        second = spawn(sidecar, api)
        assert second["queued"]
        assert "log in again" in second["queued_because"]
        (told,) = until(lambda: events(sidecar, "account_parked"), sidecar)
        assert "/login" in told["what_to_do"]
        sidecar.stop()
        sidecar.start()
        parked = account(sidecar)
        assert (parked["state"], parked["failure"], parked["waiting"]) == ("open", "login", 2)
        wall.trouble = None
        status, _ = sidecar.call("POST", f"/api/accounts/{parked['account']}/resume")
        assert status == 200
        until(lambda: all_completed(sidecar), sidecar)
    assert {agent["agent_id"] for agent in agents(sidecar)} == {first, second["agent_id"]}
    assert events(sidecar, "agent_failed") == []


@needs_claude
def test_a_lost_conversation(sidecar: Sidecar) -> None:
    """Who cannot go on where it was begins from the beginning."""
    wall = Wall(Trouble(401))
    with ScriptedApi(wall) as api:
        spawn(sidecar, api)
        until(lambda: agents(sidecar)[0]["parkings"], sidecar)
        shutil.rmtree(sidecar.directory / ".claude" / "projects")
        wall.trouble = None
        sidecar.call("POST", f"/api/accounts/{account(sidecar)['account']}/resume")
        until(lambda: all_completed(sidecar), sidecar)
    assert "You were interrupted" not in api.turns[-1].text
    assert agents(sidecar)[0]["parkings"] == 1
