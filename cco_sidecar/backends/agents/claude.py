"""Claude Code as an agent: the private files that it is started with."""

import json
import shlex
from collections.abc import Mapping

from cco_sidecar.core.hooks.tools import ALL_OF_OURS, EDITS, OURS, SERVER

HOOK_KEY_VARIABLE = "CCO_HOOK_KEY"
HOOK_SECONDS = 5
START_SECONDS = 15
ASKED = ("UserPromptSubmit", "PostToolUse", "PostToolUseFailure", "PreCompact", "Stop")


def servers_file(python: str) -> bytes:
    """Give the file of MCP servers: ours alone, over stdio, for that takes each hour's token from the token's file.

    Over HTTP, Claude Code 2.1 asks a ``headersHelper`` once, and goes on with that token after it is answered 401.
    Without ``alwaysLoad`` it waits 2 s at most for a server, and a model that is asked before then begins without our
    tools; with it, until ``MCP_CONNECT_TIMEOUT_MS``. The tools are then no matter of its tool search either.
    """
    server = {
        "type": "stdio",
        "command": python,
        "args": ["-P", "-m", "cco_sidecar", "mcp"],
        "alwaysLoad": True,
    }
    return json.dumps({"mcpServers": {SERVER: server}}).encode()


def settings_file(python: str, url: str, *, may_fail: bool) -> bytes:
    """Give the file of settings: what is allowed, for nobody is there to be asked, and the hooks.

    A hook over HTTP that fails blocks nothing, whatever its status says: so where no edit may go unasked, a program
    asks. A session's start knows programs alone.

    :param url: the sidecar's; written out, for Claude Code fills in no variables there.
    :param may_fail: an edit that the sidecar could not be asked about goes on.
    """
    allowed = [ALL_OF_OURS, "Bash", "Edit", "Write", "NotebookEdit", "Read", "Glob", "Grep", "Task", "Skill"]
    ask = {
        "type": "http",
        "url": f"{url}/api/hooks/claude",
        "headers": {"Authorization": f"Bearer ${HOOK_KEY_VARIABLE}"},
        "allowedEnvVars": [HOOK_KEY_VARIABLE],
        "timeout": HOOK_SECONDS,
    }
    program = f"{shlex.quote(python)} -P -m cco_sidecar hook"
    before_edit: Mapping[str, object] = ask
    if not may_fail:
        # Exit 2 denies, too: for a program that cannot even say no.
        command = f"{program} pre-tool-use --on-failure deny || exit 2"
        before_edit = {"type": "command", "command": command, "timeout": HOOK_SECONDS}
    begin = {"type": "command", "command": f"{program} session-start", "timeout": START_SECONDS}
    hooks: dict[str, list[Mapping[str, object]]] = {
        "SessionStart": [{"hooks": [begin]}],
        # Before our own tools, too: only a hook says which calls are those of a sub-agent.
        "PreToolUse": [
            {"matcher": "|".join(EDITS), "hooks": [before_edit]},
            {"matcher": f"{OURS}.*", "hooks": [ask]},
        ],
        **{event: [{"hooks": [ask]}] for event in ASKED},
    }
    return json.dumps({"permissions": {"allow": allowed}, "hooks": hooks}).encode()
