"""Claude Code's output in words: what an agent said and did, for whoever reads the end of its log."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

MOST_SAID = 400
MOST_CALL = 200
MOST_ANSWER = 200


def legible(text: bytes, most_lines: int) -> bytes:
    """Give the last lines of a log: those in Claude Code's ``stream-json`` as what they mean, others as they are."""
    lines = [said for line in text.splitlines() for said in _in_words(line)]
    return b"".join(line + b"\n" for line in lines[-most_lines:])


def _in_words(line: bytes) -> Iterator[bytes]:
    found = _message(line)
    if found is None:
        yield line
        return
    blocks = found["message"].get("content") if isinstance(found.get("message"), dict) else None
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and (said := _block(block)):
            yield said.encode("utf-8", "replace")
    if found["type"] == "result" and found.get("is_error"):
        why = found.get("result") or found.get("errors") or found.get("subtype")
        yield _short(f"It ended with an error: {_plain(why)}", MOST_SAID).encode("utf-8", "replace")


def _message(line: bytes) -> Mapping[str, Any] | None:
    if not line.startswith(b'{"'):
        return None
    try:
        found = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.get("type") in {"system", "assistant", "user", "result"} else None


def _block(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return _short(_plain(block.get("text")), MOST_SAID)
        case "tool_use":
            return _short(f"-> {_plain(block.get('name'))} {_plain(block.get('input'))}", MOST_CALL)
        case "tool_result":
            sign = "<- error:" if block.get("is_error") else "<-"
            return _short(f"{sign} {_plain(block.get('content'))}", MOST_ANSWER)
    return ""


def _plain(value: object) -> str:
    if isinstance(value, list) and all(isinstance(part, dict) and "text" in part for part in value):
        return " ".join(str(part["text"]) for part in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
