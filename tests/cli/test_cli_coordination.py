"""``cco claims``, ``cco task`` and ``cco msg``: what they send, what they print, how they end."""

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


MESSAGE = {
    "id": "msg-1", "from": "admin", "to": "a", "kind": "info", "body": "hi", "state": "queued",
    "deliveries": [{"agent_id": "a", "state": "queued", "offers": 0}],
}  # fmt: skip


def test_msg_send(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A text, a JSON value, or a file: one of them; what is given is sent, and nothing else."""
    sidecar.on("POST", "/api/messages", MESSAGE, 201)
    assert json.loads(cco("msg", "send", "a", "hi").stdout) == MESSAGE
    assert sidecar.asked[-1].body == {"to": "a", "body": "hi"}
    options = "--kind steer --ack --ttl 60 --reply-to msg-0 --correlation-id c --idempotency-key k --project p"
    words = (*options.split(), "--input", "-", "--format", "text")
    assert cco("msg", "send", "type:t", *words, text="All of it").stdout == "msg-1\n"
    assert sidecar.asked[-1].body == {
        "to": "type:t", "body": "All of it", "kind": "steer", "ack": True, "ttl_seconds": 60, "reply_to": "msg-0",
        "correlation_id": "c",
    }  # fmt: skip
    assert sidecar.asked[-1].headers["idempotency-key"] == "k"
    cco("msg", "send", "a", "--json", "null")
    assert sidecar.asked[-1].body == {"to": "a", "body": None}
    assert cco("msg", "send", "a").exit_code == 2
    assert cco("msg", "send", "a", "hi", "--json", "1").exit_code == 2


def test_msg_send_refused(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """That nobody gets it is a failure that says so."""
    sidecar.refuse("POST", "/api/messages", 409, "MSG_001", "The agent 'a' has ended.")
    found = cco("msg", "send", "a", "hi")
    assert (found.exit_code, "has ended" in found.stderr) == (1, True)


def test_msg_inbox(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Looking moves nothing; what was waited for and printed was seen."""
    sidecar.on("GET", "/api/messages", {"agent_id": "admin", "messages": [MESSAGE], "unread": 1})
    sidecar.on("POST", "/api/messages/msg-1/ack", MESSAGE)
    options = "--agent a --unread --limit 3 --format csv"
    assert cco("msg", "inbox", *options.split()).stdout.splitlines()[1].startswith("msg-1,queued,info,admin,a,")
    assert sidecar.asked[-1].query == {"agent": "a", "unread": "true", "limit": "3"}
    cco("msg", "inbox", "--sent")
    assert sidecar.asked[-1].query == {"box": "sent"}
    cco("msg", "inbox", "--all")
    assert sidecar.asked[-1].query == {"box": "all"}
    assert json.loads(cco("msg", "inbox", "--wait", "2").stdout)["unread"] == 1
    assert sidecar.asked[-2].query == {"wait": "2000"}
    assert (sidecar.asked[-1].path, sidecar.asked[-1].body) == ("/api/messages/msg-1/ack", {"state": "seen"})
    for wrong in ("--sent --all", "--wait 1 --sent", "--wait 1 --agent a"):
        assert cco("msg", "inbox", *wrong.split()).exit_code == 2


def test_msg_done_and_trace(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The word that it is done, and how far it is with each."""
    sidecar.on("POST", "/api/messages/msg-1/ack", {**MESSAGE, "state": "done"})
    sidecar.on("GET", "/api/messages/msg-1", MESSAGE)
    assert json.loads(cco("msg", "done", "msg-1").stdout)["state"] == "done"
    assert sidecar.asked[-1].body == {"state": "done"}
    assert cco("msg", "trace", "msg-1", "--format", "csv").stdout.splitlines()[1].startswith("a,,queued,0,")
