"""What `cco init` writes is what a real `claude` reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.claude import stand_in
from tests.claude.real_claude import RealClaude, needs_claude, result_of
from tests.claude.scripted_api import ScriptedApi, Text, ToolUse, in_order

URL = "http://127.0.0.1:4567"


def make_repository(directory: Path) -> Path:
    """Make a repository and let `cco init` do its work; the `cco` that Claude Code finds later is the stand-in."""
    found = directory / "repository"
    programs = directory / "bin"
    found.mkdir()
    programs.mkdir()
    program = programs / "cco"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in.__file__} "$@"\n')
    program.chmod(0o755)
    subprocess.run(["git", "init", "-q", "."], cwd=found, check=True)
    environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin", "CCO_HOME": str(directory / "cco")}
    command = [sys.executable, "-m", "cco_sidecar", "init", "--sidecar-url", URL]
    subprocess.run(command, cwd=found, env=environment, check=True, capture_output=True)
    return found


def claude_in(directory: Path, api: ScriptedApi) -> RealClaude:
    """Give a claude whose PATH has the stand-in."""
    path = f"{directory / 'bin'}:/usr/bin:/bin"
    return RealClaude(directory / "home", api, {"PATH": path, "STAND_IN_NOTES": str(directory / "notes")})


@needs_claude
def test_a_fresh_claude_sees_the_tools_and_runs_the_hooks(tmp_path: Path) -> None:
    """After one yes to the folder: the server's tool is called without a question, each hook at its time."""
    repository = make_repository(tmp_path)
    missing = ToolUse("Read", {"file_path": str(repository / "nothing.txt")})
    with ScriptedApi(in_order(ToolUse("mcp__cco__briefing", call_id="toolu_b"), missing, Text("I know."))) as api:
        claude = claude_in(tmp_path, api)
        claude.more["ENABLE_TOOL_SEARCH"] = "true"  # as it is by itself, on a person's machine
        claude.trust(repository)
        result = result_of(claude.ask(repository, "What is going on?"))
    assert result["result"] == "I know."
    assert result["permission_denials"] == []
    first, second, _ = api.turns
    assert "mcp__cco__briefing" in first.tools
    assert "Nine others are at work." in first.text
    assert "`claim` the files before you edit them" in first.text
    assert second.results["toolu_b"] == "You are the third of ten."
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    asked = [note["arguments"] for note in notes if "arguments" in note]
    assert {tuple(arguments[-2:]) for arguments in asked} == {("--sidecar-url", URL)}
    hooks = [arguments[1] for arguments in asked if arguments[0] == "hook"]
    assert [hook for hook in hooks if hook != "session-end"] == [
        "session-start",
        "user-prompt-submit",
        "post-tool-use",
        "post-tool-use-failure",
        "stop",
    ]


@needs_claude
def test_a_spawned_agent_passes_the_hooks_by(tmp_path: Path) -> None:
    """It has hooks of its own."""
    repository = make_repository(tmp_path)
    with ScriptedApi(in_order(Text("Hello."))) as api:
        claude = claude_in(tmp_path, api)
        claude.more["AGENT_ID"] = "agent-1"
        claude.trust(repository)
        assert result_of(claude.ask(repository, "Hello?"))["result"] == "Hello."
    assert "hook" not in (tmp_path / "notes").read_text()


@needs_claude
def test_a_hook_that_fails_blocks_nothing(tmp_path: Path) -> None:
    """Exit 2 of `cco hook`, as an older one gives that does not know the event, does not stop a person's work."""
    repository = make_repository(tmp_path)
    with ScriptedApi(in_order(ToolUse("mcp__cco__briefing", call_id="toolu_b"), Text("I know."))) as api:
        claude = claude_in(tmp_path, api)
        claude.more["STAND_IN_FAILS"] = "1"
        claude.trust(repository)
        assert result_of(claude.ask(repository, "What is going on?"))["result"] == "I know."
    assert len(api.turns) == 2


@needs_claude
def test_mcp_list(tmp_path: Path) -> None:
    """`claude mcp list` finds the server well."""
    repository = make_repository(tmp_path)
    with ScriptedApi(in_order()) as api:
        claude = claude_in(tmp_path, api)
        claude.trust(repository)
        done = claude.run(repository, "mcp", "list")
    [line] = [line for line in done.stdout.splitlines() if line.startswith("cco:")]
    assert "Connected" in line
