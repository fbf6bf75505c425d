"""The words that `cco init` writes for a model and for a person."""

import re
from collections.abc import Sequence

MARK = "<!-- written by `cco init`; `cco init --remove` takes it out -->"
"""Whoever takes this line out of a file makes the file their own."""

GUIDE = """\
## Working with other agents (cco)

Several agents may work on this repository at once. The MCP server `cco` (tools `mcp__cco__…`) is how they coordinate:

- `briefing` first, and again after a compaction: what your task is, what others did, what waits for you.
- `claim` the files before you edit them; an edit of what another agent claimed is denied.
- `publish_event` when something is done that others wait for; `wait_for_event` instead of sleeping or polling.
- `store_result` before you end: what is not stored, nobody after you knows.
"""

SKILL = f"""\
---
name: cco
description: >-
  How to coordinate with the other agents of this repository through the cco sidecar - claims on files, events,
  results, checkpoints. Use when several agents work at once, when an edit was denied, when waiting for another agent,
  and before ending.
---
{MARK}

# Coordinating through the sidecar

All of it goes through the MCP server `cco`. Every call answers at once, but `wait_for_event`.

1. **Begin** with `briefing`: task, checkpoint, claims, unread events, what the other agents of the issue did.
   `get_context` gives the files that matter, within a budget of tokens.
2. **Before editing**, `claim` the paths (relative to the root; globs are fine). An answer `CLM_001` names the holder
   and until when: work on something else, or wait for the event `agent_completed`. Do not try the same edit again.
3. **While working**, `checkpoint` what you would need if you forgot everything now: next step, decisions, questions.
4. **To wait**, `wait_for_event` with the event's type, and with the cursor that the answer before gave as `since`.
   `timeout: true` is no error: call it again, or do something else meanwhile. Never sleep in a shell instead.
5. **To tell**, `publish_event` with a type that says what happened (`tests_ready`), a topic, and data to filter by.
6. **At the end**, `store_result` with `status` (`success`, `partial`, `failed`), what you decided and what you changed.

If the tools are not there, the sidecar does not run: `cco daemon start`, then start `claude` again.
`cco status`, `cco agent list` and `cco claims list` show a person the same.
"""

IGNORED = """\
.claude/settings.local.json
.cco/
"""


def agent_file(name: str, role: str, model: str, capabilities: Sequence[str]) -> str:
    """Give a sub-agent's file in Claude Code's form, of an agent type of the roster."""
    able = ", ".join(capabilities)
    return f"""\
---
name: {name}
description: {_quoted(role)}
model: {model}
---
{MARK}

You are the {name} of this repository. {role}

What you are good at: {able}.

Other agents may work beside you. Coordinate through the MCP server `cco`: `briefing` first, `claim` files before you
edit them, `publish_event` for what others wait for, and `store_result` before you end.
"""


def _quoted(text: str) -> str:
    """Give a text as a string of YAML."""
    plain = " ".join(text.split())
    if re.fullmatch(r"[A-Za-z][\w ,.;()'/-]*", plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
