"""A storage as a sidecar leaves it, made by hand."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cco_sidecar.backends.segments import frame, segment_name

PROJECT = "p"
ISSUE = "issue-1"
END = b'{"k":"end","b":null}'


def event(number: int, text: str = "x") -> bytes:
    """Make an event's record."""
    return msgspec.json.encode({"k": "event", "b": {"sequence": number, "data": {"text": text}}})


def segment(first: int, mark: int, records: Sequence[bytes], end: bytes = END) -> bytes:
    """Make a segment's bytes: a snapshot, and what came after it."""
    lines = [b'{"k":"begin","b":{"mark":%d}}' % mark, b'{"k":"log","b":{"id":"l"}}', end, *records]
    return b"".join(frame(number, record) for number, record in enumerate(lines, first))


def result(result_id: str, agent_type: str = "coder", text: str = "fine") -> bytes:
    """Make a result's file."""
    head = {
        "id": result_id,
        "agent_id": "a-1",
        "agent_type": agent_type,
        "issue_id": ISSUE,
        "project_id": PROJECT,
        "status": "success",
        "timestamp": "2027-01-15T08:00:00.000Z",
    }
    return msgspec.json.encode({**head, "result": {"status": "success", "text": text}})


def put(path: Path, content: bytes) -> Path:
    """Write a private file below private directories."""
    for directory in [it for it in reversed(path.parents) if not it.exists()]:
        directory.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def make_storage(storage: Path) -> Path:
    """Make a sound storage: two segments, two results of one type and one of another, a log."""
    log = storage / "events" / PROJECT
    put(log / segment_name(1), segment(1, 0, [event(1), event(2)]))
    put(log / segment_name(6), segment(6, 2, [event(3), event(4)]))
    issue = storage / "results" / PROJECT / ISSUE
    put(issue / "history" / "res-0000000000001-aaaaaaaa.json", result("res-0000000000001-aaaaaaaa", text="older"))
    newest = result("res-0000000000002-bbbbbbbb")
    put(issue / "history" / "res-0000000000002-bbbbbbbb.json", newest)
    put(issue / "coder.json", newest)
    other = result("res-0000000000003-cccccccc", "tester")
    put(issue / "history" / "res-0000000000003-cccccccc.json", other)
    put(issue / "tester.json", other)
    put(storage / "logs" / "agents" / "agent-1.log", b"said something\n")
    put(storage / "context-cache" / "anything", b"goes")
    return storage


def content_of(storage: Path) -> dict[str, bytes]:
    """Give every file of a storage but the cache, by its path."""
    found = {}
    for directory, _, names in os.walk(storage):
        for name in names:
            path = Path(directory, name)
            if path.relative_to(storage).parts[0] != "context-cache":
                found[str(path.relative_to(storage))] = path.read_bytes()
    return found
