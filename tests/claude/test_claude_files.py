"""The private files of a spawned agent, read by a real `claude`."""

import sys
from pathlib import Path

from cco_sidecar.backends.agents.claude import servers_file
from cco_sidecar.backends.agents.runners import packaged_runners
from tests.claude import stand_in
from tests.claude.real_claude import RealClaude, needs_claude, result_of
from tests.claude.scripted_api import ScriptedApi, Text, ToolUse, in_order


@needs_claude
def test_the_first_turn_has_the_tools(tmp_path: Path) -> None:
    """Also if the server is slow, as when ten start at once, and also if `claude` searches for tools."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\nsleep 3\nexec {sys.executable} {stand_in.__file__} mcp\n")
    slow.chmod(0o755)
    servers = tmp_path / "servers.json"
    servers.write_bytes(servers_file(str(slow)))
    more = {**packaged_runners()["claude"].env, "ENABLE_TOOL_SEARCH": "true", "STAND_IN_NOTES": str(tmp_path / "notes")}
    with ScriptedApi(in_order(ToolUse("mcp__cco__briefing", call_id="toolu_b"), Text("I know."))) as api:
        claude = RealClaude(tmp_path / "home", api, more)
        options = ["--strict-mcp-config", "--mcp-config", str(servers), "--allowedTools", "mcp__cco"]
        result = result_of(claude.ask(tmp_path, "What is going on?", *options))
    assert "mcp__cco__briefing" in api.turns[0].tools
    assert api.turns[1].results["toolu_b"] == "You are the third of ten."
    assert result["result"] == "I know."
