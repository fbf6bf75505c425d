"""Agents through the public door: spawned, watched, read, killed (contract section 8)."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.web.sidecar import RUNNERS, TIME, Client, Sidecar, unique, until

SPAWN_ANSWER = {
    "agent_id", "agent_type", "issue_id", "status", "spawned", "queued", "queued_because", "process_id",
    "context_injected", "status_url", "webhook_url", "timestamp",
}  # fmt: skip
AGENT_LINE = {
    "agent_id", "agent_type", "issue_id", "project_id", "status", "process_id", "started_at", "ended_at", "exit_code",
    "result_id", "usage", "doing", "failure", "parent", "restarts", "condition", "condition_since", "reason",
    "queued_because", "last_request_at", "last_heartbeat_at", "log_tail", "account", "parkings",
    "parked_since",
}  # fmt: skip


def spawn(who: Client, runner: str = "brief", **more: object) -> Any:
    """Spawn an agent; gives the answer."""
    issue_id = who.issue_id or unique("issue")
    body = {"agent_type": "python-specialist", "issue_id": issue_id, "runner": runner, **more}
    answer = who.post("/api/agents/spawn", body)
    assert answer.status in {201, 202}, answer.body
    assert b"eyJ" not in answer.body, "a child's token is nobody else's"
    return answer.json


def ended(who: Client, agent_id: str) -> Any:
    """Wait until an agent has ended; gives its line."""
    until(lambda: who.get(f"/api/agents/{agent_id}").ok()["ended_at"], f"the end of {agent_id}")
    return who.get(f"/api/agents/{agent_id}/status").ok()


def log(who: Client, agent_id: str, **query: object) -> str:
    answer = who.get(f"/api/agents/{agent_id}/logs", **query)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    return answer.body.decode()


def told(who: Client, agent_id: str) -> list[Any]:
    """Give what the sidecar published about an agent, once its end is among it."""
    found: list[Any] = []

    def complete() -> bool:
        query = {"filter": f"agent_id:{agent_id}", "publisher": "sidecar", "order": "asc"}
        found[:] = who.get("/api/events", **query).ok()["events"]
        return any(event["event_type"] in {"agent_completed", "agent_failed"} for event in found)

    until(complete, f"the end of {agent_id} in the events")
    return found


def test_life(sidecar: Sidecar) -> None:
    """A spawned agent runs, is told of at its start and end, and can be read afterwards."""
    boss = sidecar.agent("chief-architect")
    answer = spawn(boss)
    assert set(answer) == SPAWN_ANSWER
    assert (answer["spawned"], answer["queued"]) == (True, False)
    assert (answer["agent_type"], answer["issue_id"]) == ("python-specialist", boss.issue_id)
    assert isinstance(answer["process_id"], int)
    assert answer["status_url"] == f"http://127.0.0.1:{sidecar.port}/api/agents/{answer['agent_id']}/status"
    assert TIME.fullmatch(answer["timestamp"])
    line = ended(boss, answer["agent_id"])
    assert set(line) == AGENT_LINE
    assert (line["status"], line["exit_code"], line["project_id"]) == ("completed", 0, "alpha")
    assert line["process_id"] == answer["process_id"]
    assert line["started_at"] <= line["ended_at"]
    spawned, completed = told(boss, answer["agent_id"])
    assert (spawned["event_type"], completed["event_type"]) == ("agent_spawned", "agent_completed")
    assert completed["data"] == {
        "agent_id": answer["agent_id"],
        "agent_type": "python-specialist",
        "issue_id": boss.issue_id,
        "status": "completed",
        "exit_code": 0,
        "result_id": None,
    }
    assert log(boss, answer["agent_id"]) == "one\ntwo\nthree\n"
    assert log(boss, answer["agent_id"], tail=2) == "two\nthree\n"
    assert log(boss, answer["agent_id"], tail=0) == ""
    assert log(boss, answer["agent_id"], follow="true") == "one\ntwo\nthree\n"


def test_failure(sidecar: Sidecar) -> None:
    """An agent that ends badly has failed, once, with its exit code."""
    agent_id = spawn(sidecar.admin, "failing")["agent_id"]
    assert ended(sidecar.admin, agent_id)["status"] == "failed"
    events = told(sidecar.admin, agent_id)
    assert [event["event_type"] for event in events] == ["agent_spawned", "agent_failed"]
    assert events[-1]["data"]["exit_code"] == 3


def test_missing_program(sidecar: Sidecar) -> None:
    """A program that cannot be executed is said at once, and the agent has failed."""
    body = {"agent_type": "python-specialist", "issue_id": unique("issue"), "runner": "missing"}
    details = sidecar.admin.post("/api/agents/spawn", body).refused(500, "AGT_001").json["details"]
    assert "/nowhere/no-such-program" in json.dumps(details)
    assert ended(sidecar.admin, details["agent_id"])["status"] == "failed"


def test_environment(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent has the environment of the contract, what the spawn added, and nothing of the sidecar's own."""
    monkeypatch.setenv("SECRET_OF_THE_SIDECAR", "x")
    boss = sidecar.agent("chief-architect")
    agent_id = spawn(boss, "told", task="do -- it", environment={"MODE": "fast", "EMPTY": ""})["agent_id"]
    ended(boss, agent_id)
    found = json.loads(log(boss, agent_id))
    inherited = {name for name in ("PATH", "HOME", "LANG", "TMPDIR", "TERM") if name in os.environ}
    inherited |= {name for name in os.environ if name in {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}}
    inherited |= {name for name in os.environ if name in {"CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}}
    own = {
        "AGENT_ID": agent_id,
        "AGENT_TYPE": "python-specialist",
        "ISSUE_ID": boss.issue_id,
        "PROJECT_ID": "alpha",
        "PROJECT_ROOT": str(sidecar.settings.projects["alpha"]),
        "TASK": "do -- it",
        "SIDECAR_URL": f"http://127.0.0.1:{sidecar.port}/api",
        "MODE": "fast",
        "EMPTY": "",
    }
    assert {name: found[name] for name in own} == own
    python_adds = {"LC_CTYPE"}
    assert set(found) - python_adds == inherited | set(own) | {"JWT_TOKEN", "JWT_TOKEN_FILE", "CONTEXT_FILE"}
    sidecar.anyone(found["JWT_TOKEN"]).get("/api/agents").refused(401, "AUTH_004")
    until(lambda: not os.path.exists(found["JWT_TOKEN_FILE"]), "the token's file gone")


@pytest.mark.parametrize(
    "environment",
    [
        *({name: "x"} for name in ("AGENT_ID", "JWT_TOKEN", "SIDECAR_URL", "PROJECT_ROOT", "PATH", "HOME")),
        *({name: "x"} for name in ("LD_PRELOAD", "LD_X", "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS", "BASH_ENV")),
        *({name: "x"} for name in ("", "A=B", "A B", "1A", "A\0", "ä")),
        {"FINE": "a\0b"},
        {"FINE": 7},
        {f"N{n}": "x" for n in range(100)},
    ],
    ids=lambda environment: ascii(next(iter(environment))),
)
def test_refused_environment(environment: dict[str, object], sidecar: Sidecar) -> None:
    """Names that the sidecar sets, and names that would make other code run, cannot be asked for."""
    body = {"agent_type": "python-specialist", "issue_id": "i", "runner": "brief", "environment": environment}
    sidecar.admin.post("/api/agents/spawn", body).refused(400, "VAL_002")


def test_what_is_no_spawn(sidecar: Sidecar) -> None:
    """A command never comes from a request, and what a spawn cannot have is refused."""
    sound = {"agent_type": "python-specialist", "issue_id": "i", "runner": "brief"}
    for wrong in (
        {"command": ["id"]},
        {"runner": "breif"},
        {"runner": "/bin/sh"},
        {"priority": "urgent"},
        {"timeout_seconds": 0},
        {"task": 7},
    ):
        answer = sidecar.admin.post("/api/agents/spawn", {**sound, **wrong}).refused(400, "VAL_002")
        assert answer.json["details"]["path"]
    near = sidecar.admin.post("/api/agents/spawn", {**sound, "runner": "breif"})
    assert "did you mean 'brief'" in near.json["message"]


@pytest.mark.parametrize("force", ["true", "false"])
def test_kill(force: str, sidecar: Sidecar) -> None:
    """A kill answers when the process is gone; its token is dead, and its polls with it."""
    boss = sidecar.agent("chief-architect")
    answer = spawn(boss, "idle")
    child = _token_of(answer["process_id"])
    agent = sidecar.anyone(child)
    agent.get("/api/agents").ok()
    parked = sidecar.later(agent.get, "/api/events/wait/never")
    sidecar.until_parked(1)
    line = boss.delete(f"/api/agents/{answer['agent_id']}", force=force, timeout_seconds=5).ok()
    assert line["status"] == "killed"
    expected = -signal.SIGKILL if force == "true" else -signal.SIGTERM
    assert line["exit_code"] == expected
    assert not psutil.pid_exists(answer["process_id"])
    assert parked.result().code == "AUTH_004"
    agent.get("/api/agents").refused(401, "AUTH_004")
    agent.post("/api/tokens/refresh").refused(401, "AUTH_004")
    last = told(boss, answer["agent_id"])[-1]
    assert (last["event_type"], last["data"]["status"]) == ("agent_failed", "killed")
    assert boss.delete(f"/api/agents/{answer['agent_id']}").ok() == line


def _token_of(pid: int) -> str:
    return psutil.Process(pid).environ()["JWT_TOKEN"]


def test_rights_of_a_child(sidecar: Sidecar) -> None:
    """A spawned agent may read its own log and beat its own heart, not its sister's; it finds its token and context."""
    boss = sidecar.agent("chief-architect")
    mine, other = spawn(boss, "idle"), spawn(boss, "idle")
    environ = psutil.Process(mine["process_id"]).environ()
    agent = sidecar.anyone(environ["JWT_TOKEN"])
    until(lambda: log(agent, mine["agent_id"]) == "ready\n", "its first line")
    beat = agent.post(f"/api/agents/{mine['agent_id']}/heartbeat").ok()
    assert (set(beat), beat["agent_id"]) == ({"agent_id", "timestamp"}, mine["agent_id"])
    agent.post(f"/api/agents/{other['agent_id']}/heartbeat").refused(403, "AUTH_005")
    agent.get(f"/api/agents/{other['agent_id']}/logs").refused(403, "AUTH_005")
    agent.delete(f"/api/agents/{other['agent_id']}").refused(403, "AUTH_005")
    agent.post("/api/agents/spawn", {"agent_type": "rust-pro", "issue_id": boss.issue_id}).refused(403, "AUTH_003")
    with open(environ["JWT_TOKEN_FILE"]) as file:
        assert file.read() == environ["JWT_TOKEN"]
    assert os.stat(environ["JWT_TOKEN_FILE"]).st_mode & 0o777 == 0o600
    assert mine["context_injected"]
    with open(environ["CONTEXT_FILE"]) as file:
        assert json.load(file)["issue_id"] == boss.issue_id
    assert agent.delete(f"/api/agents/{mine['agent_id']}", force="true").ok()["status"] == "killed"
    boss.delete(f"/api/agents/{other['agent_id']}", force="true").ok()


def test_long_log(sidecar: Sidecar) -> None:
    """A log is given whole, however many pieces it is read in; its tail is its end."""
    answer = spawn(sidecar.admin, "loud")
    ended(sidecar.admin, answer["agent_id"])
    lines = [f"line {number}" for number in range(300_000)]
    assert log(sidecar.admin, answer["agent_id"]).splitlines() == lines
    assert log(sidecar.admin, answer["agent_id"], tail=2).splitlines() == lines[-2:]


def test_follow(sidecar: Sidecar) -> None:
    """Following a log gives what is there, what comes, and ends with the agent."""
    answer = spawn(sidecar.admin, "idle")
    wire = sidecar.wire()
    wire.send(sidecar.admin.raw("GET", f"/api/agents/{answer['agent_id']}/logs?follow=true"))
    head = wire.socket.recv(10_000)
    while b"ready\n" not in head:
        head += wire.socket.recv(10_000)
    assert b"200 OK" in head
    sidecar.admin.delete(f"/api/agents/{answer['agent_id']}", force="true").ok()
    while not head.endswith(b"0\r\n\r\n"):
        part = wire.socket.recv(10_000)
        assert part, "the stream ended without its end"
        head += part


def test_list(sidecar: Sidecar) -> None:
    """The list is newest first, and each parameter narrows it."""
    boss = sidecar.agent("chief-architect")
    ids = [spawn(boss)["agent_id"], spawn(boss, "failing", agent_type="rust-pro")["agent_id"]]
    for agent_id in ids:
        ended(boss, agent_id)

    def listed(**query: object) -> list[str]:
        found = boss.get("/api/agents", issue=boss.issue_id, **query).ok()["agents"]
        assert all(set(line) == AGENT_LINE for line in found)
        return [line["agent_id"] for line in found]

    assert listed() == ids[::-1]
    assert listed(limit=1) == ids[1:]
    assert listed(status="completed") == ids[:1]
    assert listed(type="rust-pro") == ids[1:]
    assert listed(status="lost") == []
    boss.get("/api/agents", type="rust-por").refused(400, "AGT_002")
    boss.get("/api/agents", status="done").refused(400, "VAL_001")


def test_queue(start: Callable[..., Sidecar]) -> None:
    """Over the cap agents wait their turn, by priority, and one that waits can be killed."""
    sidecar = start(agents={"max_concurrent": 1, "runners": RUNNERS})
    running = spawn(sidecar.admin, "idle")
    waiting = [spawn(sidecar.admin, "idle", priority=priority) for priority in ("low", "normal", "high", "normal")]
    for answer in waiting:
        assert (answer["status"], answer["queued"], answer["spawned"]) == ("queued", True, False)
        assert answer["queued_because"] == "all 1 places are taken"
        assert answer["process_id"] is None
    low, normal, high, given_up = (answer["agent_id"] for answer in waiting)
    assert sidecar.admin.delete(f"/api/agents/{given_up}").ok()["status"] == "killed"
    order = []
    now = running["agent_id"]
    for _ in range(3):
        sidecar.admin.delete(f"/api/agents/{now}", force="true").ok()
        until(lambda: sidecar.admin.get("/api/agents", status="running").ok()["agents"], "the next one")
        [line] = sidecar.admin.get("/api/agents", status="running").ok()["agents"]
        now = line["agent_id"]
        order.append(now)
    assert order == [high, normal, low]


def test_result_of_a_child(sidecar: Sidecar) -> None:
    """A spawned agent's end follows from its process, not from its result; the end names the result."""
    boss = sidecar.agent("chief-architect")
    answer = spawn(boss, "idle")
    agent = Client(sidecar, _token_of(answer["process_id"]), answer["agent_id"], boss.issue_id)
    body = {
        "agent_id": agent.agent_id,
        "agent_type": "python-specialist",
        "issue_id": agent.issue_id,
        "project_id": "alpha",
        "result": {"status": "success"},
    }
    result_id = agent.post("/api/results", body).ok(201)["id"]
    assert boss.get(f"/api/agents/{agent.agent_id}").ok()["status"] == "running"
    assert boss.get("/api/events", type="agent_completed", issue=boss.issue_id).ok()["events"] == []
    boss.delete(f"/api/agents/{agent.agent_id}", force="true").ok()
    assert told(boss, agent.agent_id)[-1]["data"]["result_id"] == result_id
    assert boss.get(f"/api/agents/{agent.agent_id}").ok()["result_id"] == result_id
