"""``cco events``: publish, list, and the loop of waits that loses nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar


def event(sequence: int, **more: Any) -> dict[str, Any]:
    """Make an event as the sidecar gives it."""
    return {"event_id": f"e-{sequence}", "sequence": sequence, "event_type": "done", "topic": "t", "data": {}, **more}


def waited(*sequences: int, cursor: str, gap: bool = False) -> dict[str, Any]:
    """Make the answer to a wait."""
    events = [event(it) for it in sequences]
    return {"events": events, "more_available": False, "next_cursor": cursor, "timeout": not events, "gap": gap}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keep the pauses of the loop instead of making them."""
    found: list[float] = []
    monkeypatch.setattr("cco_sidecar.client.Client.pause", lambda self, seconds: found.append(seconds))
    return found


def test_publish_of_the_faq(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The FAQ's publish sends its data as JSON."""
    sidecar.on("POST", "/api/events/custom_event", {"event_id": "e-1", "published": True}, 202)
    data = '{"message": "checkpoint reached"}'
    found = cco("events", "publish", "--type", "custom_event", "--topic", "coordination", "--data", data)
    assert json.loads(found.stdout)["published"] is True
    assert sidecar.asked[0].body == {"topic": "coordination", "data": {"message": "checkpoint reached"}}


def test_publish_with_everything(sidecar: "ScriptedSidecar", cco: "Cco", tmp_path: Path) -> None:
    """Every option reaches the sidecar; data may come from a file, and may be null."""
    sidecar.on("POST", "/api/events/x", {}, 202)
    (tmp_path / "data.json").write_text("null")
    options = "--topic t --correlation-id c --ttl 60 --priority high --idempotency-key k --project web"
    assert (
        cco("events", "publish", "--type", "x", *options.split(), "--input", str(tmp_path / "data.json")).exit_code == 0
    )
    asked = sidecar.asked[0]
    assert asked.body == {"topic": "t", "data": None, "correlation_id": "c", "ttl_seconds": 60, "priority": "high"}
    assert (asked.headers["idempotency-key"], asked.query) == ("k", {"project": "web"})
    assert cco("events", "publish", "--type", "x", "--topic", "t", "--input", "-", text="[1]").exit_code == 0
    assert sidecar.asked[1].body["data"] == [1]


@pytest.mark.parametrize("data", [["--data", "{'a': 1}"], [], ["--data", "1", "--input", "-"], ["--input", "none"]])
def test_publish_usage(sidecar: "ScriptedSidecar", cco: "Cco", data: list[str]) -> None:
    """Data that is no JSON, or is not there, is wrong usage."""
    assert cco("events", "publish", "--type", "x", "--topic", "t", *data).exit_code == 2
    assert sidecar.asked == []


def test_list(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The list's options are the history's parameters."""
    answer = {"events": [event(1)], "next_cursor": "c", "more_available": False}
    sidecar.on("GET", "/api/events", answer)
    options = "--topic t --type done --since s --limit 50 --filter a:b --order asc --correlation-id c --issue i"
    found = cco("events", "list", *options.split())
    assert json.loads(found.stdout) == answer
    expected = {"topic": "t", "type": "done", "since": "s", "limit": "50", "filter": "a:b"}
    assert sidecar.asked[0].query == {**expected, "order": "asc", "correlation_id": "c", "issue": "i"}
    assert cco("events", "list").exit_code == 0
    assert sidecar.asked[1].query == {}


def test_subscribe_once(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The first events end the wait; each is one line of JSON."""
    sidecar.on("GET", "/api/events/wait/done,failed", waited(4, 5, cursor="5"))
    found = cco("events", "subscribe", "done,failed", "--filter", "issue_id:i", "--topic", "t", "--limit", "7")
    assert found.exit_code == 0
    assert [json.loads(line)["sequence"] for line in found.stdout.splitlines()] == [4, 5]
    asked = sidecar.asked[0]
    assert 29000 < int(asked.query.pop("timeout")) <= 30000
    assert asked.query == {"since": "latest", "filter": "issue_id:i", "topic": "t", "limit": "7"}


def test_subscribe_timed_out(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Time that is up is said by the exit code, with nothing on stdout."""
    sidecar.on("GET", "/api/events/wait/*", waited(cursor="5"))
    found = cco("events", "subscribe", "*", "--timeout", "0", "--since", "earliest")
    assert (found.exit_code, found.stdout) == (124, "")
    assert sidecar.asked[0].query == {"since": "earliest", "timeout": "0"}


def test_subscribe_wrong_filter(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A wrong filter is wrong usage, also when waiting for ever."""
    sidecar.refuse("GET", "/api/events/wait/x", 400, "EVT_003", "Write issue_id:issue-123.")
    for more in ([], ["--continuous"]):
        found = cco("events", "subscribe", "x", "--filter", "issue_id==issue-123", *more)
        assert found.exit_code == 2
        assert "Write issue_id:issue-123." in found.stderr


def test_continuous(sidecar: "ScriptedSidecar", cco: "Cco", pauses: list[float]) -> None:
    """The position is fetched first, and each wait goes on where the answer before ended."""
    path = "/api/events/wait/done"
    sidecar.on("GET", path, waited(cursor="10"))
    sidecar.on("GET", path, waited(11, 12, cursor="12"))
    sidecar.on("GET", path, waited(cursor="12"))
    sidecar.on("GET", path, waited(13, cursor="13", gap=True))
    found = cco("events", "subscribe", "done", "--continuous", "--limit", "3")
    assert found.exit_code == 0
    assert [json.loads(line)["sequence"] for line in found.stdout.splitlines()] == [11, 12, 13]
    assert [(it.query["since"], it.query["limit"]) for it in sidecar.asked] == [
        ("latest", "3"),
        ("10", "3"),
        ("12", "1"),
        ("12", "1"),
    ]
    timeouts = [int(it.query["timeout"]) for it in sidecar.asked]
    assert timeouts[0] == 0
    assert all(29_000 < it <= 30_000 for it in timeouts[1:])
    assert "missing" in found.stderr
    assert pauses == []


def test_continuous_through_a_restart(sidecar: "ScriptedSidecar", cco: "Cco", pauses: list[float]) -> None:
    """While the sidecar is away it is asked again, more and more slowly, from the same position."""
    path = "/api/events/wait/done"
    sidecar.on("GET", path, waited(cursor="10"))
    for _ in range(7):
        sidecar.on("GET", path, b"", 502)
    sidecar.refuse("GET", path, 429, "RATE_001", "Slowly.", Retry_After="7")
    sidecar.on("GET", path, waited(11, cursor="11"))
    found = cco("events", "subscribe", "done", "--continuous", "--limit", "1")
    assert found.exit_code == 0
    assert {it.query["since"] for it in sidecar.asked[1:]} == {"10"}
    assert all(it / 2 <= pause <= it for it, pause in zip([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], pauses, strict=False))
    assert pauses[7:] == [7]
    assert found.stderr.count("Trying again") == 1
    assert found.stderr.count("answers again") == 1


def test_continuous_without_a_sidecar(cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no sidecar was to begin with, waiting for one is of no use."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CCO_SIDECAR_URL", f"http://127.0.0.1:{found.getsockname()[1]}")
        ended = cco("events", "subscribe", "done", "--continuous")
    assert ended.exit_code == 3


def test_continuous_with_a_new_token(
    sidecar: "ScriptedSidecar", cco: "Cco", home: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the token has ended, its successor is read from the file; without one it is over."""
    path = "/api/events/wait/done"
    sidecar.on("GET", path, waited(cursor="10"))
    sidecar.refuse("GET", path, 401, "AUTH_002", "Expired.")
    sidecar.on("GET", path, waited(11, cursor="11"))
    sidecar.refuse("GET", path, 401, "AUTH_004", "Revoked.")

    before: Callable[..., Any] = sidecar.reply_to

    def replace_token(asked: Any) -> Any:
        if len(sidecar.asked) == 1:
            (home / "admin-token").write_text("next")
        return before(asked)

    monkeypatch.setattr(sidecar, "reply_to", replace_token)
    found = cco("events", "subscribe", "done", "--continuous")
    assert found.exit_code == 4
    shown = [it.headers["authorization"] for it in sidecar.asked]
    assert shown == ["Bearer the-admin-token", "Bearer the-admin-token", "Bearer next", "Bearer next"]
    assert len(found.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("csv", "sequence,timestamp,event_type"),
        ("yaml", "---\nevent_id: e-4\n"),
        ("table", "2026  done  t  a  {"),
    ],
)
def test_formats(sidecar: "ScriptedSidecar", cco: "Cco", wanted: str, expected: str) -> None:
    """Events can be read along in each format."""
    answer = {**waited(cursor="4"), "events": [event(4, timestamp="2026", publisher="a")]}
    sidecar.on("GET", "/api/events/wait/done", answer)
    assert cco("events", "subscribe", "done", "--format", wanted).stdout.startswith(expected)
