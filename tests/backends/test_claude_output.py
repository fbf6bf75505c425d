"""What Claude Code's output says, read from the agent's log as it is found there."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.backends.agents.claude import MOST_READ_BYTES, Said, last_words, settings_file

INIT = {"type": "system", "subtype": "init", "session_id": "s"}
MODEL = {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 3, "cacheCreationInputTokens": 2}
DONE = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "api_error_status": None,
    "num_turns": 4,
    "result": "All green.",
    "total_cost_usd": 0.25,
    "modelUsage": {"big": MODEL, "small": MODEL},
}
USAGE = {
    "input_tokens": 20.0,
    "output_tokens": 10.0,
    "cache_read_tokens": 6.0,
    "cache_creation_tokens": 4.0,
    "turns": 4.0,
    "cost_usd": 0.25,
}


def test_settings() -> None:
    """Every hook goes to the sidecar; where no edit may go unasked, a program asks that says no when it fails."""
    url = "http://127.0.0.1:3001"
    open_ones = json.loads(settings_file("/usr/bin/python 3", url, may_fail=True))["hooks"]
    closed = json.loads(settings_file("/usr/bin/python 3", url, may_fail=False))["hooks"]
    assert {event for event, [group] in open_ones.items() if group["hooks"][0]["type"] == "command"} == {"SessionStart"}
    assert set(open_ones) == set(closed) == {*open_ones} | {"PreToolUse", "PostToolUse", "Stop", "PreCompact"}
    [ask] = open_ones["PreToolUse"][0]["hooks"]
    assert ask["url"] == f"{url}/api/hooks/claude"
    assert ask["headers"] == {"Authorization": "Bearer $CCO_HOOK_KEY"}
    assert ask["allowedEnvVars"] == ["CCO_HOOK_KEY"]
    [program] = closed["PreToolUse"][0]["hooks"]
    assert program["command"] == "'/usr/bin/python 3' -P -m cco_sidecar hook pre-tool-use --on-failure deny || exit 2"
    assert "NotebookEdit" in closed["PreToolUse"][0]["matcher"]


def message(number: int, tokens: int) -> dict[str, Any]:
    """One line of an assistant's message."""
    usage = {"input_tokens": tokens, "output_tokens": 1}
    return {"type": "assistant", "message": {"id": f"msg_{number}", "usage": usage, "content": []}}


def said(path: Path, *lines: object, before: bytes = b"") -> Said | None:
    """Read a log of these lines."""
    log = path / "agent.log"
    log.write_bytes(before + b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return last_words(log)


def test_success(tmp_path: Path) -> None:
    """The summary has it all; the usage of all models counts."""
    assert said(tmp_path, INIT, message(1, 7), DONE) == Said(USAGE, text="All green.")


@pytest.mark.parametrize(
    ("more", "failure", "reason"),
    [
        ({"api_error_status": 529, "result": "API Error: 529"}, "overloaded", "API Error: 529"),
        ({"api_error_status": 500, "result": "x"}, "overloaded", "x"),
        ({"api_error_status": 429, "result": "Request rejected"}, "rate_limited", "Request rejected"),
        ({"api_error_status": 401, "result": "Failed to authenticate."}, "login", "Failed to authenticate."),
        ({"result": "Not logged in · Please run /login"}, "login", "Not logged in · Please run /login"),
        ({"subtype": "error_max_turns", "result": None, "errors": ["Too many"]}, "max_turns", "Too many"),
        ({"subtype": "error_max_budget_usd", "result": None, "errors": ["A", "B"]}, "max_budget", "A; B"),
        ({"api_error_status": 400, "result": "no"}, "error", "no"),
        ({"subtype": "error_during_execution", "result": None}, "error", ""),
    ],
)
def test_failure(tmp_path: Path, more: dict[str, Any], failure: str, reason: str) -> None:
    """What is not the agent's own fault is told apart; its text is no result."""
    assert said(tmp_path, INIT, {**DONE, "is_error": True, **more}) == Said(USAGE, failure=failure, reason=reason)


def test_cut_off(tmp_path: Path) -> None:
    """Of one that was killed, the messages that it had are counted, each once; half a line is no line."""
    log = tmp_path / "agent.log"
    found = said(tmp_path, INIT, message(1, 7), message(1, 7), message(2, 8))
    log.write_bytes(log.read_bytes() + b'{"type": "assis')
    assert last_words(log) == found
    assert found is not None
    assert (found.usage["input_tokens"], found.usage["turns"], found.text) == (15.0, 2.0, None)
    assert "cost_usd" not in found.usage


def test_started_again(tmp_path: Path) -> None:
    """Only the last start counts."""
    assert said(tmp_path, INIT, DONE, INIT) is None
    found = said(tmp_path, INIT, DONE, INIT, message(1, 7))
    assert found is not None
    assert found.text is None


def test_other_output(tmp_path: Path) -> None:
    """What others wrote between the lines is passed over, and of a long output its end is enough."""
    noise = b"warning\n{}\n[1]\n" + b'{"type": 3}\n{"type"\n' + b"x" * MOST_READ_BYTES + b"\n"
    assert said(tmp_path, DONE, before=noise) == Said(USAGE, text="All green.")
    assert said(tmp_path, before=noise) is None
    assert last_words(tmp_path / "missing") is None


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), lambda it: st.dictionaries(st.text(), it)))
def test_any_values(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """Whatever the fields hold, it is read, and the numbers are finite."""
    line = dict.fromkeys(DONE, value) | {"type": "result"}
    odd = {"type": "assistant", "message": {"id": str(value), "usage": value}}
    for lines in ([line], [odd], [{**line, "is_error": True}], [{**line, "modelUsage": {"m": {"inputTokens": value}}}]):
        found = said(tmp_path_factory.getbasetemp(), INIT, *lines)
        assert found is None or all(0 <= number < 1e15 for number in found.usage.values())
