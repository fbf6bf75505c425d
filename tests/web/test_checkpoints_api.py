"""Checkpoints and briefings over HTTP: an agent's own, as it was written, also after a restart."""

import json
from collections.abc import Callable

import pytest

from tests.web.sidecar import Client, Sidecar, unique


def path_of(agent: Client, what: str = "checkpoint") -> str:
    return f"/api/agents/{agent.agent_id}/{what}"


@pytest.mark.parametrize("value", [{"next": ["é", None, 1.5]}, [], "text", 7, None, {}])
def test_as_it_was_written(value: object, sidecar: Sidecar) -> None:
    """Any JSON is kept, and given back; the newest counts."""
    agent = sidecar.agent()
    agent.get(path_of(agent)).refused(404, "NOT_FOUND")
    agent.request("PUT", path_of(agent), {"old": True}).ok()
    answer = agent.request("PUT", path_of(agent), json.dumps(value).encode()).ok()
    assert (answer["agent_id"], set(answer)) == (agent.agent_id, {"agent_id", "size_bytes", "updated_at"})
    got = agent.get(path_of(agent))
    assert got.ok() == value
    assert got.headers["X-Checkpoint-At"] == answer["updated_at"]
    assert sidecar.admin.get(path_of(agent)).ok() == value


def test_wrong_checkpoints(sidecar: Sidecar) -> None:
    """What is no JSON, too much, or too deep is refused, and what was there stays."""
    agent = sidecar.agent()
    agent.request("PUT", path_of(agent), {"step": 1}).ok()
    agent.request("PUT", path_of(agent), b"{").refused(400, "VAL_002")
    agent.request("PUT", path_of(agent), b"").refused(400, "VAL_002")
    agent.request("PUT", path_of(agent), b"[" * 300 + b"]" * 300).refused(400, "VAL_002")
    agent.request("PUT", path_of(agent), "x" * 262_144).refused(413, "HTTP_413")
    agent.request("PUT", path_of(agent), "x" * 262_142).ok()
    agent.request("PUT", path_of(agent), {"step": 2}, headers={"Content-Type": "text/plain"}).refused(415, "HTTP_415")
    assert agent.get(path_of(agent)).ok() == "x" * 262_142


def test_briefing(sidecar: Sidecar) -> None:
    """What the agent is, has, did and has not heard, and what the others did."""
    issue = unique("issue")
    agent, other = sidecar.agent("python-specialist", issue), sidecar.agent("test-engineer", issue)
    sidecar.admin.post(f"/api/issues/{issue}", {"title": "Fix it", "body": "soon"}).ok()
    agent.request("PUT", path_of(agent), {"next": "test"}).ok()
    name = unique("file")
    agent.post("/api/claims", {"resource": name}).ok(201)
    task = agent.post("/api/tasks", {"title": "Do it"}).ok(201)
    fence = agent.post("/api/tasks/claim").ok()["fence"]
    for who, kind in ((agent, "python-specialist"), (other, "test-engineer")):
        body = {"agent_id": who.agent_id, "agent_type": kind, "issue_id": issue}
        result = {"status": "success", "decisions": [f"by {kind}"], "files_affected": ["a.md"]}
        who.post("/api/results", {**body, "result": result}).ok(201)
    agent.wait("news", timeout=0)
    other.publish("news", n=1)
    found = agent.get(path_of(agent, "briefing")).ok()
    assert (found["agent_type"], found["issue_id"], found["project_id"]) == ("python-specialist", issue, "alpha")
    assert (found["task"], found["checkpoint"]) == ("Fix it\n\nsoon", {"next": "test"})
    assert [(one["id"], one["fence"]) for one in found["tasks"]] == [(task["id"], fence)]
    assert [one["resources"] for one in found["claims"]] == [[name]]
    assert [one["decisions"] for one in found["results"]] == [["by python-specialist"]]
    assert [one["data"] for one in found["unread_events"]] == [{"n": 1}]
    assert [(one["agent_id"], one["result"]["decisions"]) for one in found["others"]] == [
        (other.agent_id, ["by test-engineer"])
    ]
    assert [event["data"] for event in agent.wait("news", timeout=0)["events"]] == [{"n": 1}], "it is still unread"
    answer = agent.get(path_of(agent, "briefing"), format="markdown", budget_tokens=500)
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert len(answer.body) <= 1_500
    assert "## Your checkpoint" in answer.body.decode()


def test_briefing_of_an_agent_that_was_started_here(sidecar: Sidecar) -> None:
    """Its task and its state are known, to the admin as well; others of the issue without a result are named."""
    issue = unique("issue")
    spawn = {"agent_type": "python-specialist", "issue_id": issue, "runner": "idle", "task": "Round prices"}
    one, two = (sidecar.admin.post("/api/agents/spawn", spawn).ok(201)["agent_id"] for _ in range(2))
    found = sidecar.admin.get(f"/api/agents/{one}/briefing").ok()
    assert (found["task"], found["status"], found["issue_id"]) == ("Round prices", "running", issue)
    assert [(other["agent_id"], other["status"], other["result"]) for other in found["others"]] == [
        (two, "running", None)
    ]
    for agent_id in (one, two):
        sidecar.admin.delete(f"/api/agents/{agent_id}", force="true").ok()


def test_briefing_of_nobody(sidecar: Sidecar) -> None:
    """Of an agent that the sidecar knows nothing of, the admin is told just that."""
    found = sidecar.admin.get("/api/agents/nobody/briefing").ok()
    assert (found["agent_type"], found["issue_id"], found["tasks"], found["others"]) == (None, None, [], [])


@pytest.mark.parametrize("query", [{"budget_tokens": 399}, {"budget_tokens": 100_001}, {"format": "html"}])
def test_wrong_queries(query: dict[str, object], sidecar: Sidecar) -> None:
    """What is out of bounds is refused."""
    agent = sidecar.agent()
    agent.get(path_of(agent, "briefing"), **query).refused(400, "VAL_001")


def test_lasts(start: Callable[..., Sidecar]) -> None:
    """A restart changes nothing but the time."""
    first = start()
    agent = first.agent("python-specialist", "issue-1")
    agent.request("PUT", path_of(agent), {"next": "é"}).ok()
    agent.post("/api/claims", {"resource": "a.md"}).ok(201)
    agent.wait("news", timeout=0)
    agent.publish("news", n=1)
    before = agent.get(path_of(agent, "briefing")).ok()
    first.stop()
    again = Client(start(), agent.token, agent.agent_id)
    assert again.get(path_of(again)).ok() == {"next": "é"}
    after = again.get(path_of(again, "briefing")).ok()
    assert {**after, "timestamp": None} == {**before, "timestamp": None}
    assert after["unread_events"] != []
