"""Claude Code as an agent: the private files that it is started with."""

import json


def servers_file(python: str) -> bytes:
    """Give the file of MCP servers: ours alone, over stdio, for that takes each hour's token from the token's file.

    Over HTTP, Claude Code 2.1 asks a ``headersHelper`` once, and goes on with that token after it is answered 401.
    """
    server = {"type": "stdio", "command": python, "args": ["-P", "-m", "cco_sidecar", "mcp"]}
    return json.dumps({"mcpServers": {"cco": server}}).encode()


def settings_file() -> bytes:
    """Give the file of settings: nobody is there to be asked, so what an agent needs is allowed beforehand."""
    allowed = ["mcp__cco", "Bash", "Edit", "Write", "NotebookEdit", "Read", "Glob", "Grep", "Task", "Skill"]
    return json.dumps({"permissions": {"allow": allowed}}).encode()
