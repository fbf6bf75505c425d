"""Budgets and the usage of running agents over HTTP (contract section 8)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.web.sidecar import TIME, Client, Sidecar, unique, until

COUNTED = Path(__file__).parents[1] / "system" / "counted_agent.py"
RUNNERS: dict[str, Any] = {
    "counted": {"command": [sys.executable, "-I", str(COUNTED)], "first_request_seconds": 0, "output": "stream-json"},
    "silent": {"command": ["sleep", "60"], "first_request_seconds": 0},
}
SPENT = {"tokens": 0, "usd": 0.0, "usd_estimated": 0.0, "seconds": 0.0}


def put(client: Client, kind: str, name: str, body: dict[str, object]) -> Any:
    """Set a budget."""
    return client.request("PUT", f"/api/budgets/{kind}/{name}", body).ok()


def spawn(sidecar: Sidecar, issue: str, runner: str = "counted", status: int = 201) -> Any:
    """Start an agent."""
    body = {"agent_type": "python-specialist", "issue_id": issue, "runner": runner}
    return sidecar.admin.post("/api/agents/spawn", body).ok(status)


def let_take(sidecar: Sidecar, agent: Any, tokens: int, end: str = "") -> None:
    """Let an agent have taken so many tokens in all."""
    target = sidecar.settings.projects["alpha"] / f"go-{agent['agent_id']}"
    made = target.with_name(unique("made"))
    made.write_text(f"{tokens} {end}")
    made.rename(target)


def test_set_show_list_remove(sidecar: Sidecar) -> None:
    """What is set is shown, with nothing spent; it is changed, and removed."""
    issue, admin = unique("issue"), sidecar.admin
    made = put(admin, "issue", issue, {"tokens": 1000, "usd": 2.5})
    assert TIME.fullmatch(made.pop("set_at"))
    assert made == {
        "kind": "issue", "id": issue, "project_id": "alpha", "state": "ok", "spent": SPENT, "fraction": 0.0,
        "limits": {"tokens": 1000, "usd": 2.5, "seconds": None}, "nearest": "tokens",
        "since": None, "warned_at": None, "exhausted_at": None,
    }  # fmt: skip
    changed = put(admin, "issue", issue, {"seconds": 60, "reset": True})
    assert (changed["limits"], changed["nearest"]) == ({"tokens": None, "usd": None, "seconds": 60}, "seconds")
    assert TIME.fullmatch(changed["since"])
    assert admin.get(f"/api/budgets/issue/{issue}").ok() == changed
    put(admin, "type", "rust-specialist", {"usd": 1})
    put(admin, "project", "beta", {"tokens": 5})
    listed = admin.get("/api/budgets").ok()["budgets"]
    assert [(it["kind"], it["id"]) for it in listed if it["id"] in {issue, "beta", "rust-specialist"}] == [
        ("issue", issue),
        ("type", "rust-specialist"),
    ]
    assert [it["id"] for it in admin.get("/api/budgets", project="beta").ok()["budgets"]] == ["beta"]
    assert admin.get("/api/budgets/project/beta").ok()["project_id"] == "beta"
    gone = admin.delete(f"/api/budgets/issue/{issue}").ok()
    assert gone == {"kind": "issue", "id": issue, "removed": True}
    refused = admin.get(f"/api/budgets/issue/{issue}").refused(404, "NOT_FOUND")
    assert f"cco budget set issue {issue}" in refused.json["message"]
    admin.delete(f"/api/budgets/issue/{issue}").refused(404, "NOT_FOUND")
    for name in ("type/rust-specialist", "project/beta"):
        admin.delete(f"/api/budgets/{name}").ok()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"reset": True}, "$"),
        ({"tokens": 0}, "$.tokens"),
        ({"tokens": 1.5}, "$.tokens"),
        ({"tokens": 10**16}, "$.tokens"),
        ({"usd": 0}, "$.usd"),
        ({"usd": 1e10}, "$.usd"),
        ({"seconds": -1}, "$.seconds"),
        ({"token": 1}, "$"),
    ],
)
def test_refused_bodies(sidecar: Sidecar, body: dict[str, object], path: str) -> None:
    """A budget limits something, by a number that makes sense."""
    answer = sidecar.admin.request("PUT", "/api/budgets/issue/i", body).refused(400, "VAL_002")
    assert answer.json["details"]["path"] == path


def test_refused_names(sidecar: Sidecar) -> None:
    """There are three kinds; a type is one of the roster, a project's budget is that project's own."""
    admin, body = sidecar.admin, {"tokens": 1}
    admin.request("PUT", "/api/budgets/agent/x", body).refused(400, "VAL_001")
    admin.request("PUT", "/api/budgets/type/python-specialst", body).refused(404, "AGT_002")
    admin.request("PUT", "/api/budgets/project/gamma", body).refused(404, "NOT_FOUND")
    admin.request("PUT", "/api/budgets/project/beta", body, project="alpha").refused(403, "AUTH_005")
    sidecar.agent().get("/api/budgets/project/beta").refused(403, "AUTH_005")


def test_others_issues(sidecar: Sidecar) -> None:
    """An agent sees the budgets that it takes from, and no other issue's."""
    agent, other = sidecar.agent(), unique("issue")
    put(sidecar.admin, "issue", agent.issue_id, {"tokens": 7})
    put(sidecar.admin, "issue", other, {"tokens": 7})
    seen = [it["id"] for it in agent.get("/api/budgets").ok()["budgets"] if it["kind"] == "issue"]
    assert seen == [agent.issue_id]
    agent.get(f"/api/budgets/issue/{agent.issue_id}").ok()
    agent.get(f"/api/budgets/issue/{other}").refused(403, "AUTH_005")


def test_usage_while_it_runs(start: Callable[..., Sidecar]) -> None:
    """An agent's usage grows while it works, in its row, its issue and its budget; at the end all agree."""
    sidecar, issue = start(agents={"runners": RUNNERS}), unique("issue")
    put(sidecar.admin, "issue", issue, {"tokens": 10_000})
    agent = spawn(sidecar, issue)

    def seen() -> Any:
        return sidecar.admin.get(f"/api/agents/{agent['agent_id']}").ok()

    assert seen()["usage"] is None
    for tokens in (100, 250):
        let_take(sidecar, agent, tokens)
        until(lambda: (seen()["usage"] or {}).get("input_tokens") == tokens, "that it is counted")  # noqa: B023 - at once
        assert (seen()["status"], seen()["doing"]) == ("running", "using Bash")
        usage = seen()["usage"]
        assert usage["cost_usd_estimated"] == pytest.approx(tokens / 1e6)
        assert sidecar.admin.get(f"/api/issues/{issue}").ok()["cost"] == usage
        (listed,) = sidecar.admin.get("/api/agents", issue=issue).ok()["agents"]
        assert listed["usage"] == usage
        spent = sidecar.admin.get(f"/api/budgets/issue/{issue}").ok()["spent"]
        assert (spent["tokens"], spent["usd"], spent["usd_estimated"]) == (tokens, tokens / 1e6, tokens / 1e6)
        assert spent["seconds"] > 0
    let_take(sidecar, agent, 300, "end")
    until(lambda: seen()["status"] == "completed", "its end")
    usage = seen()["usage"]
    assert (usage["input_tokens"], usage["turns"], usage["cost_usd"]) == (300, 3, 300 / 1e6)
    assert "cost_usd_estimated" not in usage
    assert seen()["doing"] is None
    assert sidecar.admin.get(f"/api/issues/{issue}").ok()["cost"] == usage
    spent = sidecar.admin.get(f"/api/budgets/issue/{issue}").ok()["spent"]
    assert (spent["tokens"], spent["usd"], spent["usd_estimated"]) == (300, 300 / 1e6, 0.0)


def test_seconds_of_any_runner(start: Callable[..., Sidecar]) -> None:
    """Time is counted of whatever runs; when it is up, the next waits, and who runs is ended after the grace."""
    sidecar, issue = start(agents={"runners": RUNNERS, "budget_grace_seconds": 1}), unique("issue")
    put(sidecar.admin, "issue", issue, {"seconds": 1})
    agent = spawn(sidecar, issue, "silent")
    sidecar.admin.wait("budget_exhausted", timeout=8000)
    told = sidecar.admin.get(f"/api/agents/{agent['agent_id']}").ok()
    assert told["reason"].startswith(f"the budget of issue '{issue}' is used up (")
    waiting = spawn(sidecar, issue, "silent", 202)
    assert waiting["queued_because"].startswith(f"the budget of issue '{issue}' is used up (")
    sidecar.admin.post(f"/api/issues/{issue}/start", {"runner": "silent"}).ok(201)

    def of_workflow() -> Any:
        return sidecar.admin.get(f"/api/issues/{issue}").ok()["phases"][0]["agents"]

    until(lambda: of_workflow() and of_workflow()[0]["status"] == "queued", "that the workflow waits")
    assert of_workflow()[0]["queued_because"] == waiting["queued_because"]
    (failed,) = sidecar.admin.wait("agent_failed", timeout=8000)["events"]
    assert (failed["data"]["agent_id"], failed["data"]["failure"]) == (agent["agent_id"], "budget")
    assert failed["data"]["status"] == "killed"
    sidecar.admin.post("/api/messages", {"to": "sidecar", "body": "Thanks."}).refused(404, "NOT_FOUND")
    sidecar.admin.delete(f"/api/budgets/issue/{issue}").ok()
    assert sidecar.admin.get(f"/api/agents/{waiting['agent_id']}").ok()["status"] in {"starting", "running"}
