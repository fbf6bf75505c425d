"""Results through the public door: stored, listed, read, pruned (contract section 7)."""

import json
from pathlib import Path
from typing import Any

from tests.web.sidecar import TIME, Answer, Client, Sidecar, unique


def store(agent: Client, status: str = "success", agent_type: str = "python-specialist", **more: object) -> Answer:
    """Store a result of the agent's own."""
    body = {
        "agent_id": agent.agent_id,
        "agent_type": agent_type,
        "issue_id": agent.issue_id,
        "project_id": "alpha",
        "result": {"status": status, **more},
    }
    return agent.post("/api/results", body)


def coder(sidecar: Sidecar, issue_id: str | None = None) -> Client:
    return sidecar.agent("python-specialist", issue_id)


def test_store(sidecar: Sidecar) -> None:
    """A result is acknowledged in the contract's fields, and lies on disk as it is read back."""
    agent = coder(sidecar)
    answer = store(agent, files_modified=["a.py"], decisions=["use säge"], deep={"n": [1, 2.50]}).ok(201)
    assert set(answer) == {"id", "stored", "storage_path", "next_agents", "event_published", "event_id", "timestamp"}
    assert (answer["stored"], answer["event_published"]) == (True, True)
    path = Path(answer["storage_path"])
    assert path == sidecar.storage / "results" / "alpha" / agent.issue_id / "python-specialist.json"
    history = path.parent / "history" / f"{answer['id']}.json"
    stored = json.loads(path.read_bytes())
    assert stored == json.loads(history.read_bytes())
    assert stored["result"]["deep"] == {"n": [1, 2.5]}
    assert TIME.fullmatch(stored["timestamp"])
    assert agent.get(f"/api/results/id/{answer['id']}").ok() == stored
    assert agent.get(f"/api/results/{agent.issue_id}/python-specialist").ok() == stored
    assert {path.stat().st_mode & 0o777, history.stat().st_mode & 0o777} == {0o600}


def test_what_follows(sidecar: Sidecar) -> None:
    """A result is published; one of an agent that the sidecar did not start ends it, well or not."""
    for status, ending, state in (
        ("success", "agent_completed", "completed"),
        ("partial", "agent_completed", "completed"),
        ("failed", "agent_failed", "failed"),
    ):
        agent = coder(sidecar)
        answer = store(agent, status).ok(201)
        stored, ended = agent.wait("*", filter=f"issue_id:{agent.issue_id}")["events"]
        assert (stored["event_type"], ended["event_type"]) == ("result_stored", ending)
        assert stored["event_id"] == answer["event_id"]
        assert stored["publisher"] == ended["publisher"] == "sidecar"
        who = {"agent_id": agent.agent_id, "agent_type": "python-specialist", "issue_id": agent.issue_id}
        assert ended["data"] == {**who, "status": state, "exit_code": None, "result_id": answer["id"]}
        assert stored["data"] == {**who, "status": status, "result_id": answer["id"]}


def test_next_agents(sidecar: Sidecar) -> None:
    """The answer says whom the workflow would start next."""
    architect = sidecar.agent("chief-architect")
    found = store(architect, agent_type="chief-architect").ok(201)["next_agents"]
    assert found
    for following in found:
        assert set(following) == {"agent_type", "priority", "reason"}


def test_nothing_is_overwritten(sidecar: Sidecar) -> None:
    """Two results of one type are both kept; the newest answers by name."""
    one = coder(sidecar)
    two = coder(sidecar, one.issue_id)
    first, second = store(one, n=1).ok(201)["id"], store(two, n=2).ok(201)["id"]
    assert one.get(f"/api/results/id/{first}").ok()["result"]["n"] == 1
    assert one.get(f"/api/results/{one.issue_id}/python-specialist").ok()["id"] == second


def test_list(sidecar: Sidecar) -> None:
    """The list is newest first, in pages, and each parameter narrows it."""
    agent = coder(sidecar)
    ids = [store(agent, status).ok(201)["id"] for status in ("success", "failed", "partial", "success", "failed")]

    def listed(**query: Any) -> Any:
        return agent.get("/api/results", **query).ok()

    page = listed(limit=2)
    got = [line["id"] for line in page["results"]]
    while page["next_cursor"]:
        page = listed(limit=2, cursor=page["next_cursor"])
        got += [line["id"] for line in page["results"]]
    assert got == ids[::-1]
    assert set(page["results"][0]) == {
        "id", "agent_id", "agent_type", "issue_id", "project_id", "status", "timestamp"
    }  # fmt: skip
    assert page["damaged"] == []
    assert [line["id"] for line in listed(status="failed")["results"]] == [ids[4], ids[1]]
    assert listed(agent_type="rust-specialist")["results"] == []
    assert len(listed(agent_type="python-specialist", issue=agent.issue_id)["results"]) == 5
    assert listed(until="2020-01-01T00:00:00Z")["results"] == []
    assert listed(since="2200-01-01T00:00:00Z")["results"] == []
    assert len(listed(since="2020-01-01T00:00:00Z")["results"]) == 5
    for query in ({"status": "done"}, {"since": "x"}, {"limit": 0}, {"limit": 1001}, {"cursor": "../x"}):
        agent.get("/api/results", **query).refused(400, "VAL_001")
    agent.get("/api/results", agent_type="no-such-type").refused(400, "AGT_002")
    assert ids[0] in {line["id"] for line in sidecar.admin.get("/api/results", limit=1000).ok()["results"]}


def test_own_timestamp(sidecar: Sidecar) -> None:
    """An agent may say when its result was made, in any zone; the store has it in UTC."""
    agent = coder(sidecar)
    body = {
        "agent_id": agent.agent_id,
        "agent_type": "python-specialist",
        "issue_id": agent.issue_id,
        "project_id": "alpha",
        "result": {"status": "success"},
        "timestamp": "2026-01-02T03:04:05+02:00",
    }
    answer = agent.post("/api/results", body).ok(201)
    assert answer["timestamp"] == "2026-01-02T01:04:05.000Z"
    agent.post("/api/results", {**body, "timestamp": "yesterday"}).refused(400, "VAL_001")


def test_what_is_no_result(sidecar: Sidecar) -> None:
    """A result is an object with a known status."""
    agent = coder(sidecar)
    sound = {"agent_id": agent.agent_id, "agent_type": "python-specialist", "issue_id": agent.issue_id}
    others: list[object] = [None, [], "done", {}, {"status": "done"}, {"status": None}, {"status": ["success"]}]
    for result in others:
        answer = agent.post("/api/results", {**sound, "result": result}).refused(400, "VAL_002")
        assert answer.json["details"]["path"].startswith("$.result")
    agent.post("/api/results", sound).refused(400, "VAL_002")
    agent.post("/api/results", {**sound, "result": {"status": "success"}, "statsu": 1}).refused(400, "VAL_002")
    assert agent.get("/api/results").ok()["results"] == []


def test_symlinks_lead_nowhere(sidecar: Sidecar, tmp_path: Path) -> None:
    """A link in the store is followed neither for writing nor for reading."""
    agent = coder(sidecar)
    store(agent).ok(201)
    issue = sidecar.storage / "results" / "alpha" / agent.issue_id
    secret = tmp_path / "secret.json"
    secret.write_bytes((issue / "python-specialist.json").read_bytes())
    (issue / "python-specialist.json").unlink()
    (issue / "python-specialist.json").symlink_to(secret)
    agent.get(f"/api/results/{agent.issue_id}/python-specialist").refused(500, "STR_002")
    before = secret.read_bytes()
    store(agent, n=2).ok(201)
    assert secret.read_bytes() == before
    assert not (issue / "python-specialist.json").is_symlink()
    other = unique("linked")
    (sidecar.storage / "results" / "alpha" / other).symlink_to(tmp_path)
    store(coder(sidecar, other)).refused(500, "STR_001")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.json"]
    (sidecar.storage / "results" / "alpha" / other).unlink()


def test_prune(sidecar: Sidecar) -> None:
    """The admin clears old results; the newest of a type stays."""
    agent = coder(sidecar)
    ids = [store(agent).ok(201)["id"] for _ in range(3)]
    assert sidecar.admin.delete("/api/results", older_than_seconds=3600).ok()["removed"] == 0
    sidecar.admin.delete("/api/results").refused(400, "VAL_001")
    assert sidecar.admin.delete("/api/results", older_than_seconds=0).ok()["removed"] >= 2
    agent.get(f"/api/results/{agent.issue_id}/python-specialist").ok()
    assert ids[0] not in {line["id"] for line in agent.get("/api/results").ok()["results"]}
