"""``cco claims`` and ``cco task``: what they send, what they print, how they end."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

CLAIM = {"id": "clm-1", "fence": 1, "resources": ["src/**", "name:db"], "mode": "exclusive", "agent_id": "a"}
TASK = {"id": "task-1", "title": "Do it", "state": "ready", "types": ["t"], "attempts": 0}


def test_claims_add(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What is given is sent, seconds as milliseconds; the id is what a script wants."""
    sidecar.on("POST", "/api/claims", CLAIM, 201)
    assert json.loads(cco("claims", "add", "src/**").stdout) == CLAIM
    assert sidecar.asked[-1].body == {"resources": ["src/**"], "mode": "exclusive"}
    assert sidecar.asked[-1].query == {}
    words = ("a", "name:db", "--shared", "--ttl", "60", "--wait", "5", "--project", "p", "--format", "text")
    assert cco("claims", "add", *words).stdout == "clm-1\n"
    assert sidecar.asked[-1].body == {"resources": ["a", "name:db"], "mode": "shared", "ttl_seconds": 60}
    assert sidecar.asked[-1].query == {"wait": "5000", "project": "p"}
    assert cco("claims", "add").exit_code == 2
    assert cco("claims", "add", "a", "--wait", "301").exit_code == 2


def test_claims_add_refused(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What another has is a failure that says so."""
    sidecar.refuse("POST", "/api/claims", 409, "CLM_001", "'a' is claimed by 'worker-1'.")
    found = cco("claims", "add", "a")
    assert found.exit_code == 1
    assert "worker-1" in found.stderr


def test_claims_list_and_release(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Held ones and waiting ones in one list; any may be released."""
    waiting = {"resources": ["src/a"], "mode": "shared", "agent_id": "b", "since": "now"}
    sidecar.on("GET", "/api/claims", {"claims": [CLAIM], "waiting": [waiting]})
    sidecar.on("DELETE", "/api/claims/clm-1", {"id": "clm-1", "released": True})
    options = ("--agent", "a", "--issue", "i", "--resource", "src/x", "--limit", "5", "--format", "csv")
    lines = cco("claims", "list", *options).stdout.splitlines()
    assert lines[1].startswith('clm-1,"[""src/**"", ""name:db""]",exclusive,a,')
    assert lines[2].startswith(',"[""src/a""]",shared,b,')
    assert sidecar.asked[-1].query == {"agent": "a", "issue": "i", "resource": "src/x", "limit": "5"}
    assert json.loads(cco("claims", "release", "clm-1").stdout)["released"] is True


def test_task_add(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What is given is sent, and nothing else."""
    sidecar.on("POST", "/api/tasks", TASK, 201)
    assert json.loads(cco("task", "add", "Do it").stdout) == TASK
    assert sidecar.asked[-1].body == {"title": "Do it"}
    options = "--type t --type u --issue i --priority high --after x --after y --max-attempts 2 --idempotency-key k"
    words = (*options.split(), "--data", '{"n": 1}', "--input", "-", "--format", "text")
    assert cco("task", "add", "Do it", *words, text="All of it").stdout == "task-1\n"
    assert sidecar.asked[-1].body == {
        "title": "Do it", "task": "All of it", "types": ["t", "u"], "issue_id": "i", "priority": "high",
        "after": ["x", "y"], "max_attempts": 2, "data": {"n": 1},
    }  # fmt: skip
    assert sidecar.asked[-1].headers["idempotency-key"] == "k"
    assert cco("task", "add", "Do it", "--task", "a", "--input", "-").exit_code == 2
    assert cco("task", "add", "Do it", "--data", "{").exit_code == 2


def test_task_list_show_cancel(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The usual three."""
    sidecar.on("GET", "/api/tasks", {"tasks": [TASK], "open": 1})
    sidecar.on("GET", "/api/tasks/task-1", TASK)
    sidecar.on("DELETE", "/api/tasks/task-1", {**TASK, "state": "cancelled"})
    options = "--state ready --type t --issue i --agent a --limit 3 --format csv"
    assert cco("task", "list", *options.split()).stdout.splitlines()[1].startswith("task-1,Do it,ready,")
    asked = {"state": "ready", "type": "t", "issue": "i", "agent": "a", "limit": "3"}
    assert sidecar.asked[-1].query == asked
    assert json.loads(cco("task", "show", "task-1").stdout) == TASK
    assert json.loads(cco("task", "cancel", "task-1").stdout)["state"] == "cancelled"
