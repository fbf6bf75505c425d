"""``cco events replay``: what is asked for, and watching it until its end."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

BEGIN = ("POST", "/api/events/replay")
WAIT = ("GET", "/api/events/wait/*")
END = ("DELETE", "/api/events/replay/replay-1")


def begun(to: str = "subscription") -> dict[str, Any]:
    """Make the answer to a beginning."""
    return {"replay_id": "replay-1", "to": to, "state": "running", "events": 3, "done": 0}


def waited(*sequences: int, replay: str = "running", gap: bool = False) -> dict[str, Any]:
    """Make the answer to a wait on a replay."""
    events = [{"event_id": f"e-{it}", "sequence": it, "replayed_from": f"e-{it}", "data": {}} for it in sequences]
    answer = {"events": events, "more_available": False, "next_cursor": "c", "timeout": False}
    return {**answer, "gap": gap, "replay": replay}


def ends(sidecar: "ScriptedSidecar") -> int:
    """Count how often the replay was ended."""
    return sum((it.method, it.path) == END for it in sidecar.asked)


def test_watch(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The issue's command prints events as they come, and ends with the replay, which needs no ending then."""
    sidecar.on(*BEGIN, begun(), 202)
    sidecar.on(*WAIT, waited(1, 2))
    sidecar.on(*WAIT, waited(gap=True))
    sidecar.on(*WAIT, waited(3, replay="done"))
    found = cco("events", "replay", "--correlation", "X", "--speed", "10", "--project", "web")
    assert found.exit_code == 0
    assert [json.loads(line)["replayed_from"] for line in found.stdout.splitlines()] == ["e-1", "e-2", "e-3"]
    assert "3 events" in found.stderr
    assert found.stderr.count("missing") == 1
    assert sidecar.asked[0].body == {"selection": {"correlation_id": "X"}, "speed": 10}
    assert {it.query["project"] for it in sidecar.asked} == {"web"}
    assert sidecar.asked[1].query == {"subscription": "replay-1", "timeout": "30000", "project": "web"}
    assert ends(sidecar) == 0


def test_everything(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Every option reaches the sidecar; to a topic, the answer is printed and nothing is waited for."""
    sidecar.on(*BEGIN, begun("topic"), 202)
    selected = "--type a,b --topic t --filter x:1 --publisher p --issue i --since s --until u"
    found = cco("events", "replay", *selected.split(), "--to", "topic", "--as-topic", "again")
    assert json.loads(found.stdout) == begun("topic")
    selection = {"type": "a,b", "topic": "t", "filter": "x:1", "publisher": "p", "issue": "i", "since": "s"}
    wanted = {"selection": {**selection, "until": "u"}, "to": "topic", "topic": "again"}
    assert [it.body for it in sidecar.asked] == [wanted]


def test_for_an_agent(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What an agent is to read is not read here."""
    sidecar.on(*BEGIN, begun(), 202)
    assert json.loads(cco("events", "replay", "--agent-id", "a").stdout) == begun()
    assert [it.body for it in sidecar.asked] == [{"selection": {}, "agent_id": "a"}]


def test_ended_by_somebody(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A replay that was ended elsewhere is no success."""
    sidecar.on(*BEGIN, begun(), 202)
    sidecar.on(*WAIT, waited(replay="cancelled"))
    found = cco("events", "replay")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "cancelled" in found.stderr


def test_refused(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What is wrong with the request is wrong usage; when the wait is refused, the replay is ended."""
    sidecar.refuse(*BEGIN, 400, "EVT_003", "Write a:b.")
    assert cco("events", "replay", "--filter", "a=b").exit_code == 2
    sidecar.script.clear()
    sidecar.on(*BEGIN, begun(), 202)
    sidecar.refuse(*WAIT, 404, "NOT_FOUND", "There is no replay.")
    assert cco("events", "replay").exit_code == 1
    assert ends(sidecar) == 1


def test_new_token(sidecar: "ScriptedSidecar", cco: "Cco", home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that outlives the admin's token goes on under the next; without one it is over."""
    sidecar.on(*BEGIN, begun(), 202)
    sidecar.refuse(*WAIT, 401, "AUTH_002", "Expired.")
    sidecar.on(*WAIT, waited(1))
    sidecar.refuse(*WAIT, 401, "AUTH_002", "Expired.")
    before: Callable[..., Any] = sidecar.reply_to

    def replace_token(asked: Any) -> Any:
        if asked.method == "GET":
            (home / "admin-token").write_text("next")
        return before(asked)

    monkeypatch.setattr(sidecar, "reply_to", replace_token)
    found = cco("events", "replay")
    assert (found.exit_code, len(found.stdout.splitlines())) == (4, 1)
    shown = [it.headers["authorization"] for it in sidecar.asked if (it.method, it.path) == WAIT]
    assert shown == ["Bearer the-admin-token", "Bearer next", "Bearer next"]


def test_interrupted(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the replay, too."""
    sidecar.on(*BEGIN, begun(), 202)
    sidecar.on(*WAIT, waited(1))
    sidecar.on(*END, begun())
    before: Callable[..., Any] = sidecar.reply_to

    def interrupt(asked: Any) -> Any:
        if sum(it.method == "GET" for it in sidecar.asked) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return before(asked)

    monkeypatch.setattr(sidecar, "reply_to", interrupt)
    before_test = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        ended = cco("events", "replay")
    finally:
        signal.signal(signal.SIGINT, before_test)
    assert ended.exit_code == 130
    assert ends(sidecar) == 1
