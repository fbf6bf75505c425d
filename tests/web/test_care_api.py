"""What a fleet sees of agents that do not work, and of too many of them (contract section 8)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.web.sidecar import PYTHON, RUNNERS, TIME, Client, Sidecar, unique, until
from tests.web.test_agents_api import ended, spawn, told

BEATS = """
import os, signal, urllib.request
url = os.environ["SIDECAR_URL"] + "/agents/" + os.environ["AGENT_ID"] + "/heartbeat"
headers = {"Authorization": "Bearer " + open(os.environ["JWT_TOKEN_FILE"]).read()}
urllib.request.urlopen(urllib.request.Request(url, b"", headers, method="POST"))
signal.pause()
"""
CARED_FOR = {**RUNNERS, "beats": {"command": [*PYTHON, BEATS]}, "left alone": {"command": ["sleep", "60"]}}
CARED_FOR["alone"] = {**CARED_FOR.pop("left alone"), "first_request_seconds": 0}


def child_of(sidecar: Sidecar, answer: dict[str, object]) -> Client:
    """Be a spawned agent."""
    environ = Path(f"/proc/{answer['process_id']}/environ").read_bytes().split(b"\0")
    token = next(each for each in environ if each.startswith(b"JWT_TOKEN=")).partition(b"=")[2]
    return Client(sidecar, token.decode(), str(answer["agent_id"]), str(answer["issue_id"]))


def test_never_asks(start: Callable[..., Sidecar]) -> None:
    """An agent that makes no request is reported, started again once, and then failed, with the end of its log."""
    sidecar = start(agents={"runners": CARED_FOR, "first_request_seconds": 1})
    working, alone = spawn(sidecar.admin, "beats"), spawn(sidecar.admin, "alone")
    answer = spawn(sidecar.admin, "idle", environment={"A": "b"})
    agent_id = answer["agent_id"]
    line = ended(sidecar.admin, agent_id)
    assert (line["status"], line["restarts"], line["condition"]) == ("failed", 1, "stalled")
    assert line["reason"] == "it made no request within 1 s of its start, twice"
    assert line["log_tail"] == "ready\nready\n"
    assert TIME.fullmatch(line["condition_since"])
    assert line["process_id"] != answer["process_id"]
    events = told(sidecar.admin, agent_id)
    assert [event["event_type"] for event in events] == [
        "agent_spawned",
        "agent_stalled",
        "agent_stalled",
        "agent_failed",
    ]
    assert [event["data"]["action"] for event in events[1:3]] == ["restarted", "given up"]
    assert events[3]["data"]["log_tail"] == "ready\nready\n"
    assert {event["publisher"] for event in events} == {"sidecar"}
    for other in (working, alone):
        seen = sidecar.admin.get(f"/api/agents/{other['agent_id']}").ok()
        assert (seen["status"], seen["condition"], seen["restarts"]) == ("running", None, 0)
    beat = sidecar.admin.get(f"/api/agents/{working['agent_id']}").ok()
    assert TIME.fullmatch(beat["last_heartbeat_at"])
    assert TIME.fullmatch(beat["last_request_at"])


def test_second_start_has_all_it_needs(start: Callable[..., Sidecar]) -> None:
    """An agent that is started again finds its environment, and a token that is good."""
    first = "import os, signal\nif not os.path.exists('began'):\n    open('began', 'w').close()\n    signal.pause()\n"
    runner = {"command": [*PYTHON, first + BEATS + "print(os.environ['A'])"]}
    sidecar = start(agents={"runners": {"late": runner}, "first_request_seconds": 1})
    agent_id = spawn(sidecar.admin, "late", environment={"A": "b"})["agent_id"]

    def beats() -> object:
        return sidecar.admin.get(f"/api/agents/{agent_id}").ok()["last_heartbeat_at"]

    until(beats, "a heartbeat of the second")
    line = sidecar.admin.get(f"/api/agents/{agent_id}").ok()
    assert (line["status"], line["restarts"]) == ("running", 1)
    until(lambda: not sidecar.admin.get(f"/api/agents/{agent_id}").ok()["condition"], "that all is well")


def test_goes_in_circles(start: Callable[..., Sidecar]) -> None:
    """The same answer again and again is reported, on the fast path and beside it; waiting is no circle."""
    sidecar = start(agents={"runners": CARED_FOR, "loop_requests": 5, "first_request_seconds": 1})
    answer = spawn(sidecar.admin, "idle")
    agent = child_of(sidecar, answer)
    path = f"/api/agents/{agent.agent_id}"
    for _ in range(10):
        agent.wait("nothing", timeout=0)
    assert sidecar.admin.get(path).ok()["condition"] is None
    for _ in range(5):
        agent.get("/api/events/no-such-event").refused(404, "NOT_FOUND")
    until(lambda: sidecar.admin.get(path).ok()["condition"] == "looping", "the report")
    assert sidecar.admin.get(path).ok()["reason"] == (
        "it asked GET /api/events/no-such-event 5 times in a row and was answered 404"
    )

    def reports() -> list[Any]:
        return list(sidecar.admin.get("/api/events", type="agent_looping").ok()["events"])

    until(reports, "the event")
    [event] = reports()
    assert (event["data"]["agent_id"], event["data"]["action"]) == (agent.agent_id, "reported")
    agent.publish("progress")
    until(lambda: sidecar.admin.get(path).ok()["condition"] is None, "that all is well")
    assert sidecar.admin.get(path).ok()["status"] == "running"


def test_silent(start: Callable[..., Sidecar]) -> None:
    """An agent that does nothing for long is reported, and left alone."""
    sidecar = start(agents={"runners": CARED_FOR, "silent_seconds": 1})
    agent_id = spawn(sidecar.admin, "beats")["agent_id"]
    path = f"/api/agents/{agent_id}"
    until(lambda: sidecar.admin.get(path).ok()["condition"] == "stalled", "the report")
    assert sidecar.admin.get(path).ok()["status"] == "running"


def test_crash_loop(start: Callable[..., Sidecar]) -> None:
    """Who fails again and again is started later, and the answer says why."""
    sidecar = start(agents={"runners": RUNNERS, "crash_loop_failures": 2, "first_backoff_seconds": 2})
    boss = sidecar.agent("chief-architect")
    for _ in range(2):
        ended(boss, spawn(boss, "failing")["agent_id"])
    waiting = spawn(boss, "failing")
    assert (waiting["status"], waiting["queued"]) == ("queued", True)
    assert "failed on its issue again and again" in waiting["queued_because"]
    assert spawn(boss, "brief", issue_id=boss.issue_id, agent_type="rust-pro")["status"] == "running"
    assert ended(boss, waiting["agent_id"])["status"] == "failed"


def test_caps(start: Callable[..., Sidecar]) -> None:
    """Each cap makes agents wait, and only those it is about; the depth refuses."""
    sidecar = start(
        agents={"runners": RUNNERS, "max_per_type": 2, "max_per_parent": 1, "max_depth": 2, "max_per_project": 4}
    )
    boss = sidecar.agent("chief-architect", unique("issue"))
    child = spawn(boss, "idle", agent_type="chief-architect")
    assert spawn(boss, "idle")["queued_because"] == f"1 agents of its parent '{boss.agent_id}' run already"
    refused = child_of(sidecar, child).post(
        "/api/agents/spawn", {"agent_type": "rust-pro", "issue_id": boss.issue_id, "runner": "idle"}
    )
    assert refused.refused(403, "AUTH_003").json["details"] == {"depth": 3, "max_depth": 2}
    kinds = [spawn(sidecar.admin, "idle", agent_type=kind) for kind in ("rust-pro", "rust-pro", "rust-pro")]
    assert [each["status"] for each in kinds] == ["running", "running", "queued"]
    assert kinds[2]["queued_because"] == "2 agents of its type 'rust-pro' run already"
    assert spawn(sidecar.admin, "idle", agent_type="test-automator")["status"] == "running"
    more = spawn(sidecar.admin, "idle", agent_type="test-automator")
    assert more["queued_because"] == "4 agents of its project 'alpha' run already"
    assert spawn(sidecar.admin, "idle", project_id="beta")["status"] == "running"
