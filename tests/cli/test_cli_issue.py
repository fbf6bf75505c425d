"""``cco issue``: starting, listing, stopping, and watching a run until its end."""

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

ISSUE = "/api/issues/i"
RUN = {"run_id": "run-1", "issue_id": "i", "status": "running", "workflow": "tdd"}


def agent(state: str, status: str | None, **more: object) -> dict[str, Any]:
    """Make an agent of a phase."""
    usual = {"agent_id": "agent-1", "agent_type": "chief-architect", "rule": "plan", "round": 1, "attempt": 1}
    return {**usual, "state": state, "status": status, "published": [], "error": None, "queued_because": None, **more}


def issue(status: str, *agents: dict[str, Any], **more: object) -> dict[str, Any]:
    """Make an issue with a run."""
    phases = [
        {"phase": "plan", "state": "running", "rounds": 1, "agents": list(agents)},
        {"phase": "review", "state": "waiting", "rounds": 0, "agents": []},
    ]
    text = {"issue_id": "i", "title": "Mend it", "body": ""}
    return {**text, "status": status, "workflow": "tdd", "phases": phases, "escalations": [], **more}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait between two looks; gives how long it would have been."""
    pauses: list[float] = []
    monkeypatch.setattr("cco_sidecar.cli.issue_watch.time.sleep", pauses.append)
    return pauses


def test_start(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What is given is sent, and nothing else."""
    sidecar.on("POST", f"{ISSUE}/start", RUN, 201)
    assert json.loads(cco("issue", "start", "i").stdout) == RUN
    assert sidecar.asked[-1].body == {}
    options = ("--task", "Do it", "--workflow", "tdd", "--runner", "demo", "--project", "web")
    assert cco("issue", "start", "i", *options).exit_code == 0
    assert sidecar.asked[-1].body == {"task": "Do it", "workflow": "tdd", "runner": "demo"}
    assert sidecar.asked[-1].query == {"project": "web"}


def test_refused(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A busy issue is wrong usage, as the sidecar sees it, and its words are shown."""
    sidecar.refuse("POST", f"{ISSUE}/start", 409, "VAL_004", "stop it first, or wait for its end")
    found = cco("issue", "start", "i")
    assert found.exit_code == 2
    assert "stop it first" in found.stderr


def test_list(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Issues are listed, a line each."""
    line = {"issue_id": "i", "status": "running", "workflow": "tdd", "phase": "plan", "title": "Mend it"}
    sidecar.on("GET", "/api/issues", {"issues": [line]})
    found = cco("issue", "list", "--status", "running", "--limit", "3", "--format", "table")
    assert found.stdout.splitlines()[1].split() == ["i", "running", "tdd", "plan", "Mend", "it"]
    assert sidecar.asked[-1].query == {"status": "running", "limit": "3"}


def test_stop(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """How gently reaches the sidecar."""
    sidecar.on("POST", f"{ISSUE}/stop", {**RUN, "status": "stopped"})
    assert json.loads(cco("issue", "stop", "i").stdout)["status"] == "stopped"
    assert sidecar.asked[-1].query == {}
    cco("issue", "stop", "i", "--force", "--timeout", "3")
    assert sidecar.asked[-1].query == {"force": "true", "timeout_seconds": "3"}


def test_show(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """An issue with a run is a line for each agent, and one for a phase without; JSON is all of it."""
    sidecar.on("GET", ISSUE, issue("running", agent("running", "running")))
    rows = [line.split() for line in cco("issue", "show", "i", "--format", "table").stdout.splitlines()[1:]]
    assert rows == [["plan", "running", "1", "chief-architect", "1", "running", "agent-1"], ["review", "waiting"]]
    assert json.loads(cco("issue", "show", "i").stdout)["phases"][1]["phase"] == "review"
    assert cco("issue", "show", "i", "--format", "text").stdout == "Mend it\n"


def test_watch(sidecar: "ScriptedSidecar", cco: "Cco", no_pauses: list[float]) -> None:
    """Into a pipe, watching prints a line for each change, once, and ends with the run."""
    for status in ("queued", "running", "running"):
        sidecar.on("GET", ISSUE, issue("running", agent("running", status)))
    sidecar.on("GET", ISSUE, issue("done", agent("completed", "completed", published=["planned"])))
    found = cco("issue", "show", "i", "-w", "--interval", "0.5")
    assert found.exit_code == 0
    who = "plan round 1: chief-architect agent-1 try 1"
    assert found.stdout.splitlines() == [f"{who} queued", f"{who} running", f"{who} completed", "i done"]
    assert no_pauses == [0.5, 0.5, 0.5]


def test_watch_of_a_run_that_needs_a_person(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """It ends with 1 and says why; what is over is not waited for."""
    trouble = {"phase": "plan", "message": "it\x1b[31m failed", "open": True}
    over = {"phase": "plan", "message": "long ago", "open": False}
    failed = agent("failed", "failed", error="exit code 3\nlast line")
    sidecar.on("GET", ISSUE, issue("escalated", failed, escalations=[trouble, over]))
    found = cco("issue", "show", "i", "--watch")
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "plan round 1: chief-architect agent-1 try 1 failed (exit code 3 last line)",
        "escalated: plan: it\\u001b[31m failed",
        "i escalated",
    ]
    sidecar.script.clear()
    sidecar.on("GET", ISSUE, {**issue("new"), "phases": []})
    assert cco("issue", "show", "i", "--watch").exit_code == 0


def test_watch_as_json(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """With --format json it is the issue, whenever it has changed."""
    for state in (issue("running"), issue("running"), issue("stopped")):
        sidecar.on("GET", ISSUE, state)
    found = cco("issue", "show", "i", "-w", "--format", "json")
    assert found.exit_code == 1
    assert [json.loads(line)["status"] for line in found.stdout.splitlines()] == ["running", "stopped"]


def test_watch_on_a_terminal(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it is a table of phases and agents, and what calls for a person below it."""
    monkeypatch.setattr("cco_sidecar.cli.issue_watch.is_terminal", lambda: True)
    trouble = {"phase": "", "message": "stuck", "open": True}
    sidecar.on("GET", ISSUE, issue("running", agent("running", None)))
    waiting = agent("running", "queued", attempt=2, queued_because="no budget is left")
    state = issue("escalated", agent("failed", "failed"), waiting, escalations=[trouble])
    sidecar.on("GET", ISSUE, state)
    found = cco("issue", "show", "i", "-w")
    assert found.exit_code == 1
    rows = [line.split() for line in found.stdout.splitlines()]
    assert ["i", "tdd", "escalated"] in rows
    assert "… plan: chief-architect waits: no budget is left" in found.stdout
    assert ["plan", "running", "1", "chief-architect", "1", "failed", "agent-1"] in rows
    assert ["1", "chief-architect", "2", "queued", "agent-1"] in rows
    assert ["review", "waiting"] in rows
    assert ["!", "workflow:", "stuck"] in rows
