"""Stands for `cco` where a test is about what Claude Code does with the files of `cco init`: it notes how it is called.

``mcp`` is a server of one tool over stdio; ``hook`` says one sentence at the start of a session.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


def note(**what: object) -> None:
    """Add a line to the test's notes."""
    with Path(os.environ["STAND_IN_NOTES"]).open("a", encoding="utf-8") as notes:
        notes.write(json.dumps(what) + "\n")


def answer(asked: dict[str, Any]) -> object:
    """Give the result of a request."""
    if asked["method"] == "initialize":
        about = {"name": "stand-in", "version": "1"}
        return {
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": about,
        }
    if asked["method"] == "tools/list":
        schema = {"type": "object", "properties": {}}
        return {"tools": [{"name": "briefing", "description": "What there is to know.", "inputSchema": schema}]}
    if asked["method"] == "tools/call":
        note(called=asked["params"]["name"])
        return {"content": [{"type": "text", "text": "You are the third of ten."}]}
    return {}


def serve() -> None:
    """Answer until nobody asks any more."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer(asked)}) + "\n")
            sys.stdout.flush()


def main() -> None:
    """Be called as `cco`."""
    note(arguments=sys.argv[1:])
    if sys.argv[1] == "mcp":
        serve()
    elif sys.argv[1] == "hook" and "STAND_IN_FAILS" in os.environ:
        sys.exit(2)
    elif sys.argv[1:3] == ["hook", "session-start"]:
        more = {"hookEventName": "SessionStart", "additionalContext": "Nine others are at work."}
        sys.stdout.write(json.dumps({"hookSpecificOutput": more}))


if __name__ == "__main__":
    main()
