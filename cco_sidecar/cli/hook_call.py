"""What `cco hook` does: a hook of Claude Code becomes a request, and the answer is printed.

It runs at every tool call of a person's `claude`, which waits for it. So it imports neither click nor anything heavy,
`cco_sidecar.cli` takes a short way to it, and what the sidecar has no use for, as a tool's whole answer, stays here.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, TextIO

from cco_sidecar.cli.asking import Answer, Trouble, ask
from cco_sidecar.cli.person import Agent, Person, who
from cco_sidecar.client.server import parse_server

EVENTS = {
    "session-start": "SessionStart",
    "user-prompt-submit": "UserPromptSubmit",
    "pre-tool-use": "PreToolUse",
    "post-tool-use": "PostToolUse",
    "post-tool-use-failure": "PostToolUseFailure",
    "pre-compact": "PreCompact",
    "stop": "Stop",
    "session-end": "SessionEnd",
}
POLICIES = ("allow", "deny")
MOST_INPUT_BYTES = 64 << 20
ANSWER_SECONDS = 2.0
BRIEFING_SECONDS = 8.0
"""How long all of it may take at a session's start, which brings the briefing; Claude Code gives up after 10 s."""

_LONGEST_TEXT = 8192
_MOST_FIELDS = 64
_NOT_SENT = {"prompt", "tool_input", "tool_response"}
_PATHS = ("file_path", "notebook_path")
_GOES_ON = {"clear", "resume"}
"""Why a session ends whose `claude` goes on with another one."""


class Call(NamedTuple):
    """How it was called: for which event, and what the options say."""

    event: str
    url: str | None = None
    token: str | None = None
    on_failure: str = "allow"


def short_way(arguments: Sequence[str], environ: Mapping[str, str]) -> Call | None:
    """Read the arguments as `cco init` writes them; None if there is anything else about them, which click reads."""
    event, options = arguments[0] if arguments else "", arguments[1:]
    found = dict(zip(options[::2], options[1::2], strict=False))
    is_plain = len(found) * 2 == len(options) and found.keys() <= {"--sidecar-url", "--on-failure"}
    call = Call(event, found.get("--sidecar-url"), None, found.get("--on-failure", "allow"))
    if not is_plain or event not in EVENTS or call.on_failure not in POLICIES or "_CCO_COMPLETE" in environ:
        return None
    try:
        parse_server(call.url or environ.get("CCO_SIDECAR_URL") or environ.get("SIDECAR_URL") or "localhost")
    except ValueError:
        return None
    return None if sys.stdin.isatty() else call


def run(call: Call, environ: Mapping[str, str], lines: BinaryIO, out: TextIO, err: TextIO) -> int:
    """Carry the hook's input from ``lines`` to the sidecar, its answer to ``out``; give the exit code: 0, or 1.

    With ``on_failure`` ``deny``, an edit that the sidecar can't be asked about is denied. Otherwise nothing is held up
    by what fails, and it is said once: whoever works without a sidecar must not be told so at every tool call.
    """
    deadline = time.monotonic() + (BRIEFING_SECONDS if call.event == "session-start" else ANSWER_SECONDS)
    asker: Agent | Person | None = None
    hook: Mapping[str, Any] = {}
    try:
        hook = _read(call, lines)
        asker = who(call.url, call.token, environ, lambda: deadline - time.monotonic(), hook.get("session_id"))
        answer = _carry(hook, asker, deadline)
    except Trouble as trouble:
        what = str(trouble) if asker is None else asker.explain(trouble)
        if call.on_failure == "deny" and call.event == "pre-tool-use":
            out.write(json.dumps(_denial(what)) + "\n")
            return 0
        if not _is_to_be_told(call, trouble, asker):
            return 0
        err.write(f"cco hook {call.event}: {what}\n")
        return 1
    finally:
        if isinstance(asker, Person) and call.event == "session-end" and hook.get("reason") not in _GOES_ON:
            asker.leave()
    out.write(answer.text.decode("utf-8", "replace").strip() + "\n")
    return 0


def _read(call: Call, lines: BinaryIO) -> dict[str, Any]:
    """Read what Claude Code says, as far as the sidecar needs it."""
    text = lines.read(MOST_INPUT_BYTES + 1)
    try:
        found = json.loads(text) if len(text) <= MOST_INPUT_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Trouble("input", "What is on stdin is not the JSON that Claude Code gives to a hook.")
    event = found.setdefault("hook_event_name", EVENTS[call.event])
    if event != EVENTS[call.event]:
        raise Trouble("input", f"What is on stdin is of the event {str(event)[:64]}, not of {EVENTS[call.event]}.")
    texts = {name: value for name, value in found.items() if name not in _NOT_SENT and _is_small(value)}
    hook = dict(list(texts.items())[:_MOST_FIELDS])
    if not isinstance(hook.get("session_id", ""), str):
        del hook["session_id"]
    tool_input = found.get("tool_input")
    if isinstance(tool_input, dict):
        hook["tool_input"] = {name: tool_input[name] for name in _PATHS if _is_small(tool_input.get(name))}
    return hook


def _is_small(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST_TEXT)


def _carry(hook: Mapping[str, Any], asker: Agent | Person, deadline: float) -> Answer:
    if isinstance(asker, Person) and "session_id" in hook:
        asker.attend(hook["session_id"], is_resumed=hook.get("source") == "resume")
    answer = _post(hook, asker, asker.token(), deadline)
    if answer.successor:
        asker.take(answer.successor)
    if isinstance(asker, Person):
        asker.went_well()
    return answer


def _post(hook: Mapping[str, Any], asker: Agent | Person, token: str, deadline: float) -> Answer:
    def post(shown: str) -> Answer:
        left = max(0.1, deadline - time.monotonic())
        return ask(asker.place.server, "POST", "/api/hooks/claude", shown, hook, seconds=left)

    try:
        return post(token)
    except Trouble as trouble:
        if trouble.status != 401:
            raise
    return post(asker.token(token))  # of a sidecar that has other keys by now, perhaps


def _is_to_be_told(call: Call, trouble: Trouble, asker: Agent | Person | None) -> bool:
    is_news = asker.is_news(trouble.kind) if isinstance(asker, Person) else True
    return is_news or call.event == "session-start"


def _denial(what: str) -> dict[str, object]:
    reason = (
        "The sidecar could not be asked whether another agent is at work on this file, and here no edit goes without "
        f"that (--on-failure deny). {what.rstrip('.')}. Until then do not edit; if a person is there, tell them."
    )
    output = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
    return {"hookSpecificOutput": output}


def main(call: Call) -> None:
    """Run it, and end the process without the interpreter's own tidying, which takes as long as a request."""
    code = run(call, os.environ, sys.stdin.buffer, sys.stdout, sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
