"""Issues over HTTP: their text is kept, bounded, and what agents without a task of their own are told."""

from collections.abc import Callable
from typing import Any

from tests.web.sidecar import PYTHON, RUNNERS, Client, Sidecar, unique, until


def test_keep_and_give(sidecar: Sidecar) -> None:
    """Who may start agents for an issue describes it; its agents read it."""
    agent = sidecar.agent("chief-architect")
    path = f"/api/issues/{agent.issue_id}"
    before = agent.get(path).ok()
    assert (before["title"], before["body"], before["updated_at"]) == ("", "", None)
    assert before["first_seen"] is not None
    given = {"title": "Prices must not be negative", "body": "See shop.py.\n"}
    answer = agent.post(path, given).ok()
    assert set(answer) == {"issue_id", "project_id", "title", "body", "first_seen", "updated_at"}
    assert {**given, "issue_id": agent.issue_id, "project_id": "alpha"}.items() <= answer.items()
    reader = sidecar.agent("python-specialist", agent.issue_id)
    assert answer.items() <= reader.get(path).ok().items()
    assert agent.post(path, {"title": "Other"}).ok()["body"] == ""


def test_an_issue_that_nobody_works_on(sidecar: Sidecar) -> None:
    """The admin may describe an issue before anybody is on it; one that nobody named is not found."""
    path = f"/api/issues/{unique('issue')}"
    sidecar.admin.get(path).refused(404, "NOT_FOUND")
    assert sidecar.admin.post(path, {"title": "T"}).ok()["first_seen"] is None
    assert sidecar.admin.get(path).ok()["title"] == "T"
    sidecar.admin.get(path, project="beta").refused(404, "NOT_FOUND")


def test_bounds(sidecar: Sidecar) -> None:
    """A title is there and short, a body is no book, and nothing else is taken."""
    path = f"/api/issues/{unique('issue')}"
    sidecar.admin.post(path, {"title": "t" * 512, "body": "b" * 65_536}).ok()
    wrong: list[object] = [
        {}, {"title": ""}, {"title": "t" * 513}, {"title": "t", "body": "b" * 65_537}, {"title": 1},
        {"title": "t", "bdoy": ""}, [], "t",
    ]  # fmt: skip
    for body in wrong:
        sidecar.admin.post(path, body).refused(400, "VAL_002")


def test_lasts(start: Callable[..., Sidecar]) -> None:
    """It is there after a restart."""
    first = start()
    first.admin.post("/api/issues/issue-1", {"title": "Kept", "body": "whole"}).ok()
    first.stop()
    assert start().admin.get("/api/issues/issue-1").ok()["body"] == "whole"


def test_task_of_an_agent(sidecar: Sidecar) -> None:
    """An agent that is given no task has the issue's text as its task; without that, its role."""
    issue = unique("issue")
    spawn = {"agent_type": "python-specialist", "issue_id": issue, "runner": "idle"}
    agents = sidecar.service.parts.fleet.agents

    def task(**more: object) -> str:
        agent_id = sidecar.admin.post("/api/agents/spawn", {**spawn, **more}).ok(201)["agent_id"]
        found = sidecar.inside(lambda: agents.task_of("alpha", agent_id))
        sidecar.admin.delete(f"/api/agents/{agent_id}", force="true").ok()
        return found

    role = task()
    assert role and "Fix" not in role
    sidecar.admin.post(f"/api/issues/{issue}", {"title": "Fix it", "body": "soon"}).ok()
    assert task() == "Fix it\n\nsoon"
    assert task(task="Other") == "Other"


# Workflows


def ended(client: Client, issue: str) -> Any:
    """Wait until an issue's run is over, and give the issue."""
    until(lambda: client.get(f"/api/issues/{issue}").ok()["status"] != "running", f"the end of {issue}")
    return client.get(f"/api/issues/{issue}").ok()


def test_a_run(sidecar: Sidecar) -> None:
    """A workflow is started, its agents fail, a person is called; all of it can be seen, and stopped for good."""
    issue = unique("issue")
    path = f"/api/issues/{issue}"
    sidecar.admin.post(path, {"title": "Mend it"}).ok()
    assert sidecar.admin.get(path).ok()["status"] == "new"
    run = sidecar.admin.post(f"{path}/start", {"workflow": "tdd", "runner": "failing"}).ok(201)
    assert (run["status"], run["workflow"], run["task"], run["started_by"]) == ("running", "tdd", "Mend it", "admin")
    found = ended(sidecar.admin, issue)
    assert found["run_id"] == run["run_id"]
    assert found["status"] == "escalated"
    assert [(it["phase"], it["state"]) for it in found["phases"]][:2] == [
        ("architecture", "escalated"), ("tests", "waiting"),
    ]  # fmt: skip
    first, second = found["phases"][0]["agents"]
    assert (first["attempt"], second["attempt"], second["exit_code"], second["state"]) == (1, 2, 3, "failed")
    assert second["error"].startswith("it ended with exit code 3")
    assert [it["rule"] for it in found["rounds"]] == ["architecture"]
    assert {it["agent_id"] for it in found["agents"]} == {first["agent_id"], second["agent_id"]}
    (trouble,) = found["escalations"]
    assert (trouble["why"], trouble["open"]) == ("failed", True)
    assert trouble["what_to_do"]
    events = sidecar.admin.get("/api/events", issue=issue, type="escalation_required").ok()["events"]
    assert [(it["publisher"], it["data"]["run_id"]) for it in events] == [("sidecar", run["run_id"])]
    lines = sidecar.admin.get("/api/issues", status="escalated").ok()["issues"]
    assert lines[0]["issue_id"] == issue
    assert (lines[0]["phase"], lines[0]["agents_total"], lines[0]["title"]) == ("architecture", 2, "Mend it")
    assert sidecar.admin.post(f"{path}/stop").ok()["status"] == "stopped"
    again = sidecar.admin.post(f"{path}/start", {"workflow": "tdd", "runner": "idle"}).ok(201)
    assert again["run_id"] != run["run_id"]
    sidecar.admin.post(f"{path}/stop", force="true").ok()


def test_start_and_stop(sidecar: Sidecar) -> None:
    """An architect starts and stops its own issue; the same start again is the same run; a stop ends its agents."""
    agent = sidecar.agent("chief-architect")
    path = f"/api/issues/{agent.issue_id}"
    run = agent.post(f"{path}/start", {"runner": "idle", "task": "x"}).ok(201)
    assert run["workflow"] == "default"
    assert agent.post(f"{path}/start", {"runner": "idle", "task": "x"}).ok(200)["run_id"] == run["run_id"]
    refused = agent.post(f"{path}/start", {"runner": "idle", "task": "x", "workflow": "tdd"}).refused(409, "VAL_004")
    assert refused.json["details"] == {"run_id": run["run_id"], "workflow": "default", "different": ["workflow"]}
    until(lambda: agent.get("/api/agents", issue=agent.issue_id, status="running").ok()["agents"], "the agent")
    assert agent.post(f"{path}/stop", force="true").ok()["status"] == "stopped"
    found = agent.get(path).ok()
    assert [it["status"] for it in found["agents"]] == ["killed"]
    assert found["phases"][0]["state"] == "stopped"
    assert agent.post(f"{path}/stop").ok()["status"] == "stopped"


def test_what_can_be_started(sidecar: Sidecar) -> None:
    """What is not there is refused with what is meant; nothing has to be said at all."""
    path = f"/api/issues/{unique('issue')}"
    wrong = sidecar.admin.post(f"{path}/start", {"workflow": "tddd"}).refused(400, "VAL_002")
    assert "did you mean 'tdd'?" in wrong.json["message"]
    wrong = sidecar.admin.post(f"{path}/start", {"runner": "dmo"}).refused(400, "VAL_002")
    assert "did you mean 'demo'?" in wrong.json["message"]
    bodies: list[object] = [{"task": ""}, {"task": "t" * 65_537}, {"workflow": 1}, {"taks": "x"}, []]
    for body in bodies:
        sidecar.admin.post(f"{path}/start", body).refused(400, "VAL_002")
    sidecar.admin.get(path).refused(404, "NOT_FOUND")
    sidecar.admin.post(f"{path}/stop").refused(404, "NOT_FOUND")
    sidecar.admin.get("/api/issues", status="dnoe").refused(400, "VAL_001")


def test_start_without_a_body(start: Callable[..., Sidecar]) -> None:
    """A start needs no body: the default workflow, the default runner, the issue's name."""
    sidecar = start(agents={"runners": {**RUNNERS, "claude": RUNNERS["idle"]}})
    run = sidecar.admin.post("/api/issues/issue-1/start").ok(201)
    assert (run["workflow"], run["runner"], run["task"]) == ("default", "claude", "Work on the issue issue-1.")
    sidecar.admin.post("/api/issues/issue-1/stop", force="true").ok()


def test_lists_are_an_agents_own(sidecar: Sidecar) -> None:
    """An agent's list has its own issue alone; the admin's has all of the project, the newest first."""
    one, other = sidecar.agent(), sidecar.agent()
    assert [it["issue_id"] for it in one.get("/api/issues").ok()["issues"]] == [one.issue_id]
    names = [it["issue_id"] for it in sidecar.admin.get("/api/issues", limit=1000).ok()["issues"]]
    assert {one.issue_id, other.issue_id} <= set(names)
    assert len(names) == len(set(names))
    assert one.issue_id not in str(sidecar.admin.get("/api/issues", project="beta").ok())
    assert len(sidecar.admin.get("/api/issues", limit=1).ok()["issues"]) == 1


def test_next_agents_follow_the_run(sidecar: Sidecar) -> None:
    """Who comes next after a result is said by the workflow that is run for the issue."""
    agent = sidecar.agent("chief-architect")
    sidecar.admin.post(f"/api/issues/{agent.issue_id}/start", {"workflow": "default", "runner": "idle"}).ok(201)
    body = {"agent_id": agent.agent_id, "agent_type": "chief-architect", "issue_id": agent.issue_id}
    stored = agent.post("/api/results", {**body, "result": {"status": "success"}}).ok(201)
    assert [it["agent_type"] for it in stored["next_agents"]] == ["fullstack-developer"]
    sidecar.admin.post(f"/api/issues/{agent.issue_id}/stop", force="true").ok()


def test_resumes_after_a_restart(start: Callable[..., Sidecar]) -> None:
    """A run goes on in the next life of the sidecar: what is published then makes its rules fire."""
    first = start(agents={"runners": RUNNERS})
    first.admin.post("/api/issues/issue-1/start", {"workflow": "tdd", "runner": "idle"}).ok(201)
    until(lambda: first.admin.get("/api/agents", status="running").ok()["agents"], "the architect")
    first.stop()
    second = start(agents={"runners": RUNNERS})
    second.admin.publish("architecture_defined", issue_id="issue-1")
    until(lambda: len(second.admin.get("/api/agents", issue="issue-1").ok()["agents"]) == 2, "the tests' engineer")
    found = second.admin.get("/api/issues/issue-1").ok()
    assert [it["rule"] for it in found["rounds"]] == ["architecture", "tests-first"]
    second.admin.post("/api/issues/issue-1/stop", force="true").ok()


def test_a_retry_is_told_why(start: Callable[..., Sidecar]) -> None:
    """The task of a second try has how the first one ended, and the last lines of its log, secrets taken out."""
    secret = "ghp_" + "a1B2" * 9
    program = f"print('no tests in shop.py, {secret}'); raise SystemExit(7)"
    sidecar = start(agents={"runners": {"crashing": {"command": [*PYTHON, program]}}})
    sidecar.admin.post("/api/issues/issue-1/start", {"workflow": "tdd", "runner": "crashing", "task": "Mend"}).ok(201)
    first, second = ended(sidecar.admin, "issue-1")["phases"][0]["agents"]
    task = sidecar.inside(lambda: sidecar.service.parts.fleet.agents.task_of("alpha", second["agent_id"]))
    assert task.startswith("This is try 2 of 2. Your task: ")
    assert f"The agent before you, {first['agent_id']}, failed: it ended with exit code 7" in task
    assert "no tests in shop.py, [REDACTED:" in task
    assert secret not in task
