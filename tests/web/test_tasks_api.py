"""Tasks over HTTP: each has one winner, comes back when it is not done, and lasts."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.web.sidecar import Answer, Client, Sidecar, unique

RACERS = 64


def add(agent: Client, **more: object) -> dict[str, object]:
    made: dict[str, object] = agent.post("/api/tasks", {"title": unique("task"), **more}).ok(201)
    return made


def take(agent: Client, wait: int = 0, **more: object) -> Answer:
    return agent.post("/api/tasks/claim", more, wait=wait)


def test_the_whole_life(sidecar: Sidecar) -> None:
    """Added, taken, checkpointed, given back, taken with the checkpoint, completed."""
    boss, worker = sidecar.agent(), sidecar.agent("python-specialist")
    made = add(boss, task="Do\nit", data={"file": "a"}, agent_type="python-specialist", issue_id=worker.issue_id)
    assert (made["state"], made["types"], made["task"], made["data"]) == (
        "ready", ["python-specialist"], "Do\nit", {"file": "a"},
    )  # fmt: skip
    given = take(worker, lease_seconds=60).ok()
    assert set(given) == {"task", "lease_id", "fence", "expires_at", "checkpoint"}
    assert (given["task"]["id"], given["checkpoint"]) == (made["id"], None)
    path, fence = f"/api/tasks/{made['id']}", given["fence"]
    line = worker.post(f"{path}/checkpoint", {"fence": fence, "checkpoint": {"step": 2}}).ok()
    assert (line["state"], line["agent_id"]) == ("leased", worker.agent_id)
    line = worker.post(f"{path}/release", {"fence": fence, "reason": "tired"}).ok()
    assert (line["state"], line["reason"], line["lease_expires_at"]) == ("ready", "tired", None)
    stale = worker.post(f"{path}/complete", {"fence": fence}).refused(409, "TSK_001").json
    assert (stale["error"], stale["details"]["state"]) == ("stale_fence", "ready")
    other = sidecar.agent("python-specialist", worker.issue_id)
    given = take(other).ok()
    assert (given["checkpoint"], given["task"]["attempts"]) == ({"step": 2}, 2)
    assert given["fence"] > fence
    other.post(f"{path}/complete", {"fence": given["fence"], "result": {"ok": True}}).ok()
    shown = boss.get(path).ok()
    assert (shown["state"], shown["result"], shown["agent_id"]) == ("completed", {"ok": True}, other.agent_id)
    event = boss.wait("task_completed", filter=f"task_id:{made['id']}", since="earliest")["events"][0]
    assert (event["publisher"], event["topic"], event["data"]["result"]) == ("sidecar", "tasks", {"ok": True})


def test_what_an_agent_is_given(sidecar: Sidecar) -> None:
    """Without a word it gets what is for its type, or any, on its issue, or none; with a word, what it asks for."""
    worker = sidecar.agent("python-specialist")
    boss = sidecar.agent("chief-architect", worker.issue_id)
    rust = add(boss, types=["rust-specialist"])
    elsewhere = add(sidecar.agent(), types=["python-specialist"])
    assert take(worker).status == 204
    mine = add(boss)
    assert mine["issue_id"] == worker.issue_id
    assert take(worker).ok()["task"]["id"] == mine["id"]
    assert take(worker, types=["rust-specialist"]).ok()["task"]["id"] == rust["id"]
    assert take(worker, issue=elsewhere["issue_id"]).ok()["task"]["id"] == elsewhere["id"]
    anything = add(boss, types=["rust-specialist"])
    assert take(worker, types=["*"], issue="*").ok()["task"]["id"] == anything["id"]


def test_without_a_body(sidecar: Sidecar) -> None:
    """The least of a request takes a task, and an empty answer is empty."""
    worker = sidecar.agent()
    answer = worker.post("/api/tasks/claim")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (204, b"", None)
    made = add(worker)
    assert worker.post("/api/tasks/claim").ok()["task"]["id"] == made["id"]


def test_waiting(sidecar: Sidecar) -> None:
    """A parked claim is answered by the task that comes, or is empty when time is up; hanging up loses nothing."""
    worker = sidecar.agent()
    began = time.monotonic()
    assert take(worker, wait=150).status == 204
    assert time.monotonic() - began >= 0.14
    gone = sidecar.wire()
    gone.send(worker.raw("POST", "/api/tasks/claim?wait=10000", b"{}"))
    sidecar.until_parked(1)
    waiting = sidecar.later(take, worker, 10_000)
    sidecar.until_parked(2)
    gone.reset()
    sidecar.until_parked(1)
    made = add(worker)
    assert waiting.result(5).ok()["task"]["id"] == made["id"]


def test_an_expired_lease(sidecar: Sidecar) -> None:
    """It goes to who waits, and after so many attempts to the dead letters."""
    issue = unique("issue")
    first, second = (sidecar.agent(issue_id=issue) for _ in range(2))
    made = add(first, max_attempts=2)
    take(first, lease_seconds=1).ok()
    given = take(second, wait=5_000, lease_seconds=1).ok()
    assert given["task"]["attempts"] == 2
    event = first.wait("task_failed", since="earliest", filter=f"task_id:{made['id']}", timeout=5_000)["events"][0]
    assert "attempt 2 of 2" in event["data"]["reason"]
    assert take(first).status == 204
    letters = sidecar.admin.get("/api/events/dead-letters").ok()["dead_letters"]
    [letter] = [one for one in letters if one["event"]["event_id"] == event["event_id"]]
    assert (letter["source"], letter["attempts"]) == ("task", 2)


def test_ends_with_the_process(sidecar: Sidecar) -> None:
    """The tasks of an agent that the sidecar started are free the moment it is gone."""
    issue = unique("issue")
    spawn = {"agent_type": "python-specialist", "issue_id": issue, "runner": "idle"}
    agent_id = sidecar.admin.post("/api/agents/spawn", spawn).ok(201)["agent_id"]
    made = add(sidecar.agent(issue_id=issue))
    take(sidecar.agent("python-specialist", issue, agent_id=agent_id)).ok()
    heir = sidecar.later(take, sidecar.agent(issue_id=issue), 10_000)
    sidecar.until_parked(1)
    sidecar.admin.delete(f"/api/agents/{agent_id}", force="true").ok()
    given = heir.result(5).ok()["task"]
    assert (given["id"], given["attempts"]) == (made["id"], 2)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"title": ""}, {"title": "t" * 513}, {"task": "t" * 65_537}, {"title": "t", "priority": "urgent"},
        {"title": "t", "agent_type": "python-specialist", "types": ["rust-specialist"]},
        {"title": "t", "max_attempts": 0},
        {"title": "t", "after": ["task-none"]}, {"title": "t", "data": "x" * 65_537}, {"title": "t", "needs": []},
        {"title": "t", "after": ["task"] * 65},
    ],
)  # fmt: skip
def test_wrong_tasks(body: dict[str, object], sidecar: Sidecar) -> None:
    """What is no task is refused, with its place."""
    answer = sidecar.agent().post("/api/tasks", body).refused(400, "VAL_002")
    assert answer.json["details"]["path"].startswith("$")


def test_wrong_words(sidecar: Sidecar) -> None:
    """So is everything else that is not of its form."""
    agent = sidecar.agent()
    agent.post("/api/tasks", {"title": "t", "types": ["no-such-type"]}).refused(400, "AGT_002")
    take(agent, types=["no-such-type"]).refused(400, "AGT_002")
    take(agent, lease_seconds=0).refused(400, "VAL_002")
    take(agent, wait=-1).refused(400, "VAL_001")
    agent.get("/api/tasks", state="done").refused(400, "VAL_001")
    agent.get("/api/tasks/task-none").refused(404, "NOT_FOUND")
    path = f"/api/tasks/{add(agent)['id']}"
    fence = take(agent).ok()["fence"]
    for what in ("checkpoint", "complete", "release"):
        agent.post(f"{path}/{what}", {}).refused(400, "VAL_002")
        agent.post(f"{path}/{what}", {"fence": "x"}).refused(400, "VAL_002")
    agent.post(f"{path}/checkpoint", {"fence": fence, "checkpoint": "x" * 262_144}).refused(400, "VAL_002")
    agent.post(f"{path}/complete", {"fence": fence, "result": "x" * 65_536}).refused(400, "VAL_002")


def test_listing(sidecar: Sidecar) -> None:
    """By state, type, issue and agent; long texts are in the task itself alone."""
    agent = sidecar.agent()
    first = add(agent, task="long", agent_type="rust-specialist", priority="high")
    second = add(agent, after=[first["id"]])
    found = agent.get("/api/tasks", issue=agent.issue_id).ok()
    assert [line["id"] for line in found["tasks"]] == [second["id"], first["id"]]
    assert found["tasks"][0]["waits_for"] == [first["id"]]
    assert "task" not in found["tasks"][0]
    assert found["open"] >= 2

    def ids(**query: object) -> list[object]:
        return [line["id"] for line in agent.get("/api/tasks", issue=agent.issue_id, **query).ok()["tasks"]]

    assert ids(state="waiting") == [second["id"]]
    assert ids(type="python-specialist") == [second["id"]]
    assert ids(agent=agent.agent_id) == []
    assert ids(limit=1) == [second["id"]]
    agent.delete(f"/api/tasks/{first['id']}").ok()
    assert ids(state="cancelled") == [first["id"]]
    assert "cancelled" in agent.get(f"/api/tasks/{second['id']}").ok()["reason"]


def test_idempotency_key(sidecar: Sidecar) -> None:
    """The same request with the same key adds one task."""
    agent, body = sidecar.agent(), {"title": unique("task")}
    answers = [agent.request("POST", "/api/tasks", body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].ok(201) == answers[1].ok(201)
    assert len(agent.get("/api/tasks", issue=agent.issue_id).ok()["tasks"]) == 1
    agent.request("POST", "/api/tasks", {"title": "x"}, headers={"Idempotency-Key": "k"}).refused(422, "VAL_003")


def test_next_agents_become_tasks(sidecar: Sidecar) -> None:
    """If it is wanted, each agent type that would come next has a task; else none."""
    agent = sidecar.agent("chief-architect")
    body = {
        "agent_id": agent.agent_id,
        "agent_type": "chief-architect",
        "issue_id": agent.issue_id,
        "result": {"status": "success"},
    }
    plain = agent.post("/api/results", body).ok(201)
    assert plain["next_agents"]
    assert "tasks" not in plain
    assert agent.get("/api/tasks", issue=agent.issue_id).ok()["tasks"] == []
    answer = agent.post("/api/results", {**body, "next_as_tasks": True}).ok(201)
    tasks = [agent.get(f"/api/tasks/{name}").ok() for name in answer["tasks"]]
    assert [task["types"] for task in tasks] == [[one["agent_type"]] for one in answer["next_agents"]]
    assert [task["priority"] for task in tasks] == [one["priority"] for one in answer["next_agents"]]
    assert {task["data"]["result_id"] for task in tasks} == {answer["id"]}
    follower = sidecar.agent(tasks[0]["types"][0], agent.issue_id)
    assert take(follower).ok()["task"]["id"] == tasks[0]["id"]


def test_lasts(start: Callable[..., Sidecar]) -> None:
    """After a restart the lease goes on; who waits is answered, empty, at the stop."""
    first = start()
    agent, other = first.agent(issue_id="issue-1"), first.agent(issue_id="issue-1")
    made = add(agent)
    given = take(agent).ok()
    path = f"/api/tasks/{made['id']}"
    agent.post(f"{path}/checkpoint", {"fence": given["fence"], "checkpoint": [1, "é"]}).ok()
    before = agent.get(path).ok()
    waiting = first.later(take, other, 10_000)
    first.until_parked(1)
    first.stop()
    assert waiting.result(5).status == 204
    second = start()
    again = Client(second, agent.token)
    assert again.get(path).ok() == before
    again.post(f"{path}/complete", {"fence": given["fence"]}).ok()
    add(again)
    assert take(again).ok()["fence"] > given["fence"]


def one_winner(sidecar: Sidecar, rounds: int) -> int:
    """Let 64 agents reach for one task at the same time, again and again; gives how many tasks had one winner."""
    issue = unique("race")
    agents = [sidecar.agent(issue_id=issue) for _ in range(RACERS)]
    boss = agents[0]
    won = 0
    with ThreadPoolExecutor(RACERS) as pool:
        for number in range(rounds):
            waits = number % 4 == 3  # parked beforehand, else all at once
            barrier = Barrier(RACERS)

            def reach(agent: Client, barrier: Barrier = barrier, waits: bool = waits) -> Answer:
                if not waits:
                    barrier.wait(10)
                return take(agent, wait=10_000 if waits else 0)

            made = {} if waits else add(boss)
            futures = [pool.submit(reach, agent) for agent in agents]
            if waits:
                sidecar.until_parked(RACERS)
                tasks = [add(boss) for _ in range(RACERS)]
                given = [future.result(20).ok()["task"]["id"] for future in futures]
                assert sorted(given) == sorted(str(task["id"]) for task in tasks), "each had one of its own"
            else:
                answers = [future.result(20) for future in futures]
                assert sorted(answer.status for answer in answers) == [200] + [204] * (RACERS - 1)
                [winner] = [answer.json for answer in answers if answer.status == 200]
                assert winner["task"]["id"] == made["id"]
            for line in boss.get("/api/tasks", issue=issue, state="leased", limit=1000).ok()["tasks"]:
                sidecar.admin.delete(f"/api/tasks/{line['id']}").ok()
            won += 1
    return won


def test_one_winner(sidecar: Sidecar) -> None:
    """Of 64 that reach for a task at once, one has it; of 64 that wait for 64, each has one."""
    assert one_winner(sidecar, 8) == 8


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_one_winner_a_thousand_times(sidecar: Sidecar) -> None:
    """The same, long."""
    assert one_winner(sidecar, 1000) == 1000
