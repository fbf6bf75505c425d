"""Claude Code as an agent: the private files that it is started with, and what its output says when it has ended.

Claude Code is started with ``--output-format stream-json``: a line of JSON for each message, the last one a summary.
"""

import json
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from attrs import frozen

from cco_sidecar.core.agent_rows import LastWords

MOST_READ_BYTES = 4 * 1024 * 1024
"""The summary stands at the end: of a longer output no more is read."""
MOST_REASON = 500
HOOK_KEY_VARIABLE = "CCO_HOOK_KEY"
HOOK_SECONDS = 5
START_SECONDS = 15
ASKED = ("UserPromptSubmit", "PostToolUse", "PostToolUseFailure", "PreCompact", "Stop")
EDITS = ("Edit", "Write", "MultiEdit", "NotebookEdit")

_TOKENS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_tokens": "cacheReadInputTokens",
    "cache_creation_tokens": "cacheCreationInputTokens",
}
_OF_MESSAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_creation_tokens": "cache_creation_input_tokens",
}
_ENDS = {"error_max_turns": "max_turns", "error_max_budget_usd": "max_budget"}
_LOGIN = (401, 403)


@frozen
class Said(LastWords):
    """What an agent's output says about its work.

    ``usage`` has tokens, turns and, if it came to its end, ``cost_usd``. ``failure`` is empty, or ``rate_limited``,
    ``overloaded`` and ``login``, which are not its own fault, or ``max_turns``, ``max_budget``, ``error``.

    :param text: what it said last, if it did what it was to do.
    """

    text: str | None = None


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
    return json.dumps({"mcpServers": {"cco": server}}).encode()


def settings_file(python: str, url: str, *, may_fail: bool) -> bytes:
    """Give the file of settings: what is allowed, for nobody is there to be asked, and the hooks.

    A hook over HTTP that fails blocks nothing, whatever its status says: so where no edit may go unasked, a program
    asks. A session's start knows programs alone.

    :param url: the sidecar's; written out, for Claude Code fills in no variables there.
    :param may_fail: an edit that the sidecar could not be asked about goes on.
    """
    allowed = ["mcp__cco", "Bash", "Edit", "Write", "NotebookEdit", "Read", "Glob", "Grep", "Task", "Skill"]
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
        "PreToolUse": [{"matcher": "|".join(EDITS), "hooks": [before_edit]}],
        **{event: [{"hooks": [ask]}] for event in ASKED},
    }
    return json.dumps({"permissions": {"allow": allowed}, "hooks": hooks}).encode()


def last_words(log: Path) -> Said | None:
    """Read what the last run of an agent said; None when its output holds nothing of the kind."""
    run: list[Mapping[str, Any]] = []
    for line in _lines(log):
        if line.get("subtype") == "init":
            run = []  # it was started again
        run.append(line)
    if not run:
        return None
    summary = next((line for line in reversed(run) if line.get("type") == "result"), None)
    return _so_far(run) if summary is None else _at_the_end(summary)


def _lines(log: Path) -> Iterator[Mapping[str, Any]]:
    try:
        handle = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with open(handle, "rb") as opened:
        opened.seek(max(0, os.fstat(handle).st_size - MOST_READ_BYTES))
        text = opened.read(MOST_READ_BYTES)
    for line in text.splitlines():
        if not line.startswith(b'{"'):
            continue  # half a line, or what somebody else wrote
        try:
            found = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            continue
        if isinstance(found.get("type"), str):
            yield found


def _so_far(run: list[Mapping[str, Any]]) -> Said | None:
    """Sum up the messages of a run that was cut off; a message may have several lines."""
    said = [line.get("message") for line in run if line["type"] == "assistant"]
    by_id = {str(message.get("id")): message.get("usage") for message in said if isinstance(message, dict)}
    total: Counter[str] = Counter()
    for usage in by_id.values():
        total.update(_counts(usage, _OF_MESSAGE))
    return Said({**_whole(total), "turns": float(len(by_id))}) if by_id else None


def _at_the_end(summary: Mapping[str, Any]) -> Said:
    total: Counter[str] = Counter()
    models = summary.get("modelUsage")
    for usage in models.values() if isinstance(models, dict) else ():
        total.update(_counts(usage, _TOKENS))
    usage = {
        **_whole(total),
        "turns": _number(summary.get("num_turns")),
        "cost_usd": _number(summary.get("total_cost_usd")),
    }
    said = summary.get("result")
    text = said if isinstance(said, str) else ""
    if not summary.get("is_error"):
        return Said(usage, text=text or None)
    errors = summary.get("errors")
    reason = text or "; ".join(map(str, errors if isinstance(errors, list) else ()))
    return Said(usage, failure=_failure(summary, text), reason=reason[:MOST_REASON])


def _failure(summary: Mapping[str, Any], text: str) -> str:
    status = summary.get("api_error_status")
    if status == 429:
        return "rate_limited"
    if isinstance(status, int) and status >= 500:
        return "overloaded"
    if status in _LOGIN or (status is None and "/login" in text):
        return "login"
    return _ENDS.get(str(summary.get("subtype")), "error")


def _counts(usage: object, names: Mapping[str, str]) -> dict[str, float]:
    return {ours: _number(usage.get(theirs)) for ours, theirs in names.items()} if isinstance(usage, dict) else {}


def _whole(total: Mapping[str, float]) -> dict[str, float]:
    return {name: float(total.get(name, 0.0)) for name in _TOKENS}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0.0
