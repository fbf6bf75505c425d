"""The same request sent twice does its work once (contract section 4, Idempotency-Key)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.sidecar import Answer, Client, Sidecar, unique

EVENT: dict[str, object] = {"topic": "t", "data": {"n": 1}}


def send(agent: Client, key: str, path: str, body: object, **query: Any) -> Answer:
    return agent.request("POST", path, body, headers={"Idempotency-Key": key}, **query)


def result(agent: Client, **more: object) -> dict[str, object]:
    who = {"agent_id": agent.agent_id, "agent_type": "chief-architect", "issue_id": agent.issue_id}
    return {**who, "project_id": "alpha", "result": {"status": "success"}, **more}


def spawn(agent: Client) -> dict[str, object]:
    return {"agent_type": "python-specialist", "issue_id": agent.issue_id, "runner": "brief"}


Request = Callable[[Client], tuple[str, dict[str, object]]]
Count = Callable[[Client], int]


def _events(agent: Client) -> int:
    return len(agent.get("/api/events", type="once", publisher=agent.agent_id).ok()["events"])


def _results(agent: Client) -> int:
    told = agent.get("/api/events", type="result_stored", issue=agent.issue_id).ok()["events"]
    stored = agent.get("/api/results").ok()["results"]
    assert len(told) == len(stored)
    return len(stored)


def _agents(agent: Client) -> int:
    return len(agent.get("/api/agents", issue=agent.issue_id).ok()["agents"])


KINDS: list[tuple[Request, Count]] = [
    (lambda _: ("/api/events/once", EVENT), _events),
    (lambda agent: ("/api/results", result(agent)), _results),
    (lambda agent: ("/api/agents/spawn", spawn(agent)), _agents),
]
NAMES = ["publish", "results", "spawn"]


@pytest.mark.parametrize(("request_of", "count"), KINDS, ids=NAMES)
def test_once(request_of: Request, count: Count, sidecar: Sidecar) -> None:
    """The second answer is the first one's, byte for byte, and nothing happened twice."""
    agent, key = sidecar.agent(), unique("key")
    path, body = request_of(agent)
    first, second = (send(agent, key, path, body) for _ in range(2))
    assert first.status in {201, 202}
    assert (second.status, second.body) == (first.status, first.body)
    assert count(agent) == 1
    send(agent, unique("key"), path, body)
    assert count(agent) == 2


@pytest.mark.parametrize(("request_of", "count"), KINDS, ids=NAMES)
def test_once_at_once(request_of: Request, count: Count, sidecar: Sidecar) -> None:
    """A duplicate in flight waits for the first."""
    agent, key = sidecar.agent(), unique("key")
    path, body = request_of(agent)
    answers = [sidecar.later(send, agent, key, path, body) for _ in range(10)]
    assert len({(future.result().status, future.result().body) for future in answers}) == 1
    assert count(agent) == 1


@pytest.mark.parametrize(("request_of", "count"), KINDS, ids=NAMES)
def test_other_body(request_of: Request, count: Count, sidecar: Sidecar) -> None:
    """A key that was used for something else is refused, also while the first is in flight."""
    agent, key = sidecar.agent(), unique("key")
    path, body = request_of(agent)
    send(agent, key, path, body)
    change = {"/api/results": {"timestamp": "2026-01-01T00:00:00Z"}, "/api/agents/spawn": {"task": "another"}}
    send(agent, key, path, {**body, **change.get(path, {"data": 2})}).refused(422, "VAL_003")
    assert count(agent) == 1


def test_whose_key(sidecar: Sidecar) -> None:
    """Keys are an agent's and a route's: the same word elsewhere is another key."""
    one, other, key = sidecar.agent(), sidecar.agent(), unique("key")
    bodies = {
        send(one, key, "/api/events/once", EVENT).ok(202)["event_id"],
        send(other, key, "/api/events/once", EVENT).ok(202)["event_id"],
    }
    assert len(bodies) == 2
    send(one, key, "/api/results", result(one)).ok(201)
    send(one, key, "/api/events/twice", EVENT).refused(422, "VAL_003")


def test_refusals_are_not_kept(sidecar: Sidecar) -> None:
    """A request that was refused may come again under its key, mended."""
    agent, key = sidecar.agent(), unique("key")
    send(agent, key, "/api/events/once", {"topic": "t"}).refused(400, "EVT_002")
    send(agent, key, "/api/events/once", {**EVENT, "topic": "-"}).refused(400, "VAL_001")
    send(agent, key, "/api/events/once", EVENT).ok(202)


@pytest.mark.parametrize("key", ["", "a" * 256, "k\u00e4y\u0080"])
def test_bad_keys(key: str, sidecar: Sidecar) -> None:
    """A key is 1 to 255 printable characters."""
    agent = sidecar.agent()
    headers = {"Idempotency-Key": key}
    agent.request("POST", "/api/events/once", EVENT, headers=headers).refused(400, "VAL_001")


def test_across_a_restart(start: Callable[..., Sidecar]) -> None:
    """A key lasts as long as what was done under it."""
    sidecar = start()
    agent, key = sidecar.agent(), unique("key")
    path, body = "/api/results", result(agent)
    event = send(agent, key, "/api/events/once", EVENT).ok(202)
    stored = send(agent, key, path, body).ok(201)
    sidecar.stop()
    again = start()
    agent = Client(again, agent.token, agent.agent_id, agent.issue_id)
    repeated = send(agent, key, "/api/events/once", EVENT).ok(202)
    assert {**repeated, "subscribers_notified": []} == {**event, "subscribers_notified": []}
    assert send(agent, key, path, body).ok(201)["id"] == stored["id"]
    send(agent, key, "/api/events/once", {**EVENT, "data": 2}).refused(422, "VAL_003")
    assert (_events(agent), _results(agent)) == (1, 1)


def test_admin_in_another_project_across_a_restart(start: Callable[..., Sidecar]) -> None:
    """The key is remembered where the work was done, however the project was named."""
    sidecar = start()
    key, body = unique("key"), result(Client(sidecar, None, "somebody", "issue-1"), project_id="beta")
    stored = send(sidecar.admin, key, "/api/results", body).ok(201)
    assert send(sidecar.admin, key, "/api/results", body).ok(201)["id"] == stored["id"]
    sidecar.stop()
    again = start()
    assert send(again.admin, key, "/api/results", body).ok(201)["id"] == stored["id"]
    assert len(again.admin.get("/api/results", project="beta").ok()["results"]) == 1
