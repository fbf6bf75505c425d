"""A person's own `claude` is one agent: to its MCP server, to its hooks, and when its session is gone on with."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.claude.real_claude import RealClaude, needs_claude, result_of
from tests.claude.scripted_api import Answer, Asked, ScriptedApi, Text, ToolUse, in_order
from tests.cli.conftest import Asked as Seen
from tests.cli.conftest import Reply, ScriptedSidecar
from tests.system.sidecar_process import Sidecar as RealSidecar

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = {"type": "object", "properties": {}}
TOOL = {"name": "briefing", "description": "What there is to know.", "inputSchema": SCHEMA}
SAYS = "Nine others are at work."


class Sidecar(ScriptedSidecar):
    """Gives each agent a token that is its name, one MCP tool, and one sentence at a session's start."""

    def reply_to(self, asked: Seen) -> Reply:
        """Answer."""
        self.asked.append(asked)
        if asked.path == "/api/tokens":
            return Reply(201, {"token": f"token-of-{asked.body['agent_id']}"}, {})
        if asked.path == "/api/hooks/claude":
            is_start = asked.body["hook_event_name"] == "SessionStart"
            more = {"hookEventName": "SessionStart", "additionalContext": SAYS}
            return Reply(200, {"hookSpecificOutput": more} if is_start else {}, {})
        if asked.path == "/api/mcp" and "id" not in asked.body:
            return Reply(202, b"", {})
        return Reply(200, {"jsonrpc": "2.0", "id": asked.body["id"], "result": self._result(asked.body)}, {})

    def _result(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["method"] == "initialize":
            version = message["params"]["protocolVersion"]
            about = {"name": "scripted", "version": "1"}
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
        if message["method"] == "tools/list":
            return {"tools": [TOOL]}
        return {"content": [{"type": "text", "text": "You are the third of ten."}]}

    def take(self) -> tuple[list[str], set[str]]:
        """Give what came since it was asked last (hooks, and tools that were called), and who showed a token there."""
        came, self.asked = [one for one in self.asked if one.path in {"/api/hooks/claude", "/api/mcp"}], []
        what = [one.body.get("hook_event_name") or one.body["method"] for one in came]
        used = [name for name in what if "/" not in name or name == "tools/call"]
        shown = {
            one.headers["authorization"].removeprefix("Bearer token-of-")
            for one, name in zip(came, what, strict=True)
            if name in used and name != "initialize"
        }
        return [name for name in used if name != "initialize"], shown


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    found = Sidecar()
    (tmp_path / "cco").mkdir()
    (tmp_path / "cco" / "admin-token").write_text("the-admin-token")
    yield found
    found.close()


@pytest.fixture
def repository(tmp_path: Path, sidecar: Sidecar) -> Path:
    """A repository that belongs to the scripted sidecar."""
    found = tmp_path / "repository"
    found.mkdir()
    return make_repository(tmp_path, found, tmp_path / "cco", sidecar.url)


def make_repository(tmp_path: Path, found: Path, home: Path, url: str) -> Path:
    """Let `cco init` do its work; `cco` is this one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "cco").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m cco_sidecar "$@"\n')
    (programs / "cco").chmod(0o755)
    subprocess.run(["git", "init", "-q", "."], cwd=found, check=True)
    environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin", "CCO_HOME": str(home)}
    command = [sys.executable, "-m", "cco_sidecar", "init", "--sidecar-url", url]
    subprocess.run(command, cwd=found, env=environment, check=True, capture_output=True)
    return found


def turns(asked: Asked) -> Answer:
    """Call the tool once for each prompt, then say so."""
    last = asked.body["messages"][-1]["content"]
    is_answered = not isinstance(last, str) and any(block.get("type") == "tool_result" for block in last)
    return Text("I know.") if is_answered else ToolUse("mcp__cco__briefing")


@needs_claude
def test_one_claude_is_one_agent(tmp_path: Path, repository: Path, sidecar: Sidecar) -> None:
    """All that it starts shows one token; another one is another agent, and one that goes on is the one that it was."""
    with ScriptedApi(turns) as api:
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        claude = RealClaude(tmp_path / "home", api, {"PATH": path, "CCO_HOME": str(tmp_path / "cco")})
        claude.trust(repository)

        def agent_of(*options: str) -> str:
            lines = claude.ask(repository, "What is going on?", *options)
            assert result_of(lines)["result"] == "I know."
            what, shown = sidecar.take()
            begun = ["SessionStart", "UserPromptSubmit", "tools/call", "PostToolUse", "Stop", "SessionEnd"]
            assert what == begun
            (agent_id,) = shown
            return agent_id

        first = agent_of()
        assert SAYS in json.dumps(api.turns[0].body["messages"])
        second = agent_of("--continue")
        session = json.loads((tmp_path / "cco/run/persons/sessions.json").read_text())
        (known,) = [name for name, agent in session.items() if agent["agent_id"] == first]
        third = agent_of("--resume", known)
        other = agent_of()
    assert first == second == third != other
    assert not list((tmp_path / "cco/run/persons").glob("*.*.*.json"))


@needs_claude
def test_with_a_real_sidecar(tmp_path: Path) -> None:
    """What its tools keep, its hooks tell when the session is gone on with; an edit of another's file is denied."""
    with RealSidecar(tmp_path) as sidecar, ScriptedApi(in_order()) as api:
        url = f"http://127.0.0.1:{sidecar.port}"
        repository = make_repository(tmp_path, sidecar.root, sidecar.home, url)
        other = sidecar.agent_token("the-other", "main", "test-engineer")
        assert sidecar.call("POST", "/api/claims", {"resource": "taken.txt", "ttl_seconds": 60}, token=other)[0] == 201
        file = repository / "taken.txt"
        write = ToolUse("Write", {"file_path": str(file), "content": "x"}, call_id="toolu_w")
        keep = ToolUse("mcp__cco__checkpoint", {"checkpoint": {"next": "paint the door"}}, call_id="toolu_c")
        claude = RealClaude(tmp_path / "of-claude", api, {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
        claude.more["CCO_HOME"] = str(sidecar.home)
        claude.trust(repository)
        api.script = in_order(keep, write, Text("Well."), Text("Well."))
        claude.ask(repository, "Paint.", "--allowedTools", "Write")
        done, denied = api.turns[1].results["toolu_c"], api.turns[2].results["toolu_w"]
        before = len(api.turns)
        api.script = in_order(Text("I go on."), Text("I go on."))
        claude.ask(repository, "Go on.", "--continue")
    assert '"agent_id":"chief-architect-' in done
    assert "the-other" in denied
    assert not file.exists()
    # The conversation has it already; the briefing of the agent that it was has it once more.
    assert api.turns[before].text.count("paint the door") > api.turns[before - 1].text.count("paint the door")


@needs_claude
def test_without_a_sidecar(tmp_path: Path, repository: Path, sidecar: Sidecar) -> None:
    """A claude works as if there were no hooks."""
    (repository / ".mcp.json").unlink()
    settings = repository / ".claude/settings.json"
    settings.write_text(settings.read_text().replace(sidecar.url, "http://127.0.0.1:9"))
    with ScriptedApi(lambda _asked: Text("Well.")) as api:
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        claude = RealClaude(tmp_path / "home", api, {"PATH": path, "CCO_HOME": str(tmp_path / "cco")})
        claude.trust(repository)
        assert result_of(claude.ask(repository, "How are you?"))["result"] == "Well."


@needs_claude
def test_an_edit_in_doubt(tmp_path: Path, repository: Path) -> None:
    """With --on-failure deny, an edit that nobody can be asked about is not made, and the model is told why."""
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "CCO_HOME": str(tmp_path / "cco")}
    again = ["-m", "cco_sidecar", "init", "--on-failure", "deny", "--sidecar-url", "http://127.0.0.1:9"]
    subprocess.run([sys.executable, *again], cwd=repository, env=environment, check=True, capture_output=True)
    file = repository / "new.txt"
    edit = ToolUse("Write", {"file_path": str(file), "content": "x"}, call_id="toolu_w")
    answers: list[Answer] = [edit, Text("So be it.")]
    with ScriptedApi(lambda asked: answers[min(1, len(api.turns) - 1)]) as api:
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        claude = RealClaude(tmp_path / "home", api, {"PATH": path, "CCO_HOME": str(tmp_path / "cco")})
        claude.trust(repository)
        result = result_of(claude.ask(repository, "Write it.", "--allowedTools", "Write"))
    assert result["result"] == "So be it."
    assert "cco daemon start" in api.turns[1].results["toolu_w"]
    assert not file.exists()
