"""Issues over HTTP: their text is kept, bounded, and what agents without a task of their own are told."""

from collections.abc import Callable

from tests.web.sidecar import Sidecar, unique


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
    assert reader.get(path).ok() == answer
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
    agents = sidecar.service.parts.agents

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
