"""What an agent's log says in the end, in words."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.backends.agents.legible import MOST_ANSWER, MOST_SAID, legible

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def lines(*messages: object) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def said(*blocks: object, kind: str = "assistant") -> dict[str, object]:
    return {"type": kind, "message": {"role": kind, "content": list(blocks)}, "session_id": "s"}


def test_what_claude_says_and_does() -> None:
    """Words, calls and answers, each on one short line; what is for programs is left out."""
    log = lines(
        {"type": "system", "subtype": "init", "tools": ["Bash"]},
        said(
            {"type": "text", "text": "I look\nat it."}, {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}
        ),
        said({"type": "tool_result", "content": "a\nb", "is_error": False}, kind="user"),
        said({"type": "tool_result", "content": [{"type": "text", "text": "x" * 999}], "is_error": True}, kind="user"),
        said({"type": "text", "text": "API Error: 400 boom"}),
        {"type": "result", "is_error": True, "result": "API Error: 400 boom", "usage": {"input_tokens": 1}},
    )
    found = legible(log, 99).decode().splitlines()
    assert found[:3] == ["I look at it.", '-> Bash {"command": "ls"}', "<- a b"]
    assert found[3].startswith("<- error: xxx")
    assert len(found[3]) == MOST_ANSWER
    assert found[4:] == ["API Error: 400 boom", "It ended with an error: API Error: 400 boom"]
    assert legible(log, 2).decode().splitlines() == found[-2:]


def test_what_others_write_stays() -> None:
    """Also JSON that is not Claude Code's, and half a line."""
    log = b'Traceback:\n{"level": "info", "type": "log"}\nssage":{"content":[]}}\n{"type": "assis\n'
    assert legible(log, 9) == log


@given(st.lists(JSON, max_size=4), st.sampled_from(["system", "assistant", "user", "result"]), JSON)
def test_any_values(blocks: list[object], kind: str, other: object) -> None:
    """Whatever stands there, each line is short, and none is lost that is not JSON."""
    text = lines({**said(*blocks, kind=kind), "is_error": other, "result": other}, {"type": kind, "message": other})
    for line in legible(text + b"end\n", 50).decode().splitlines()[:-1]:
        assert len(line) <= MOST_SAID
    assert legible(text + b"end\n", 50).endswith(b"end\n")
