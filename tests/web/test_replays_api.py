"""Replays through the public door (contract section 5)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.sidecar import Client, Sidecar, unique

ANSWER = {
    "replay_id", "to", "state", "reason", "events", "done", "missed", "speed", "subscription", "topic", "agent_id",
    "started_at", "ended_at",
}  # fmt: skip


def begin(sidecar: Sidecar, selection: dict[str, object], **more: object) -> Any:
    return sidecar.admin.post("/api/events/replay", {"selection": selection, **more}).ok(202)


def state_of(sidecar: Sidecar, replay: Any) -> Any:
    return sidecar.admin.get(f"/api/events/replay/{replay['replay_id']}").ok()


def read(reader: Client, replay: Any) -> list[dict[str, Any]]:
    """Read a replay to its end."""
    found, state = [], "running"
    while state == "running":
        answer = reader.wait("*", subscription=replay["subscription"], timeout=5000)
        found += answer["events"]
        state = answer["replay"]
    assert state == "done"
    return found


def publish(agent: Client, *which: int, topic: str = "work") -> list[Any]:
    """Publish, and give the events as they are kept."""
    made = [agent.publish("step", topic=topic, n=n)["event_id"] for n in which]
    return [agent.get(f"/api/events/{event_id}").ok() for event_id in made]


def test_read(sidecar: Sidecar) -> None:
    """A replay gives its reader the events as they were, each marked; nobody else sees anything."""
    agent = sidecar.agent()
    events = publish(agent, 1, 2, 3)
    other = sidecar.later(agent.wait, "step", since="latest", timeout=300)
    replay = begin(sidecar, {"issue": agent.issue_id}, speed=100)
    assert set(replay) == ANSWER
    assert (replay["state"], replay["events"], replay["done"], replay["speed"]) == ("running", 3, 0, 100)
    assert read(sidecar.admin, replay) == [{**event, "replayed_from": event["event_id"]} for event in events]
    assert other.result()["timeout"]
    until_done = state_of(sidecar, replay)
    assert (until_done["done"], until_done["state"], until_done["missed"]) == (3, "done", 0)
    assert agent.get("/api/events", issue=agent.issue_id, order="asc").ok()["events"] == events


def test_publish_again(sidecar: Sidecar) -> None:
    """A replay to a topic is published for everybody, marked, with the publisher of then."""
    agent = sidecar.agent()
    events = publish(agent, 1, 2)
    replay = begin(sidecar, {"issue": agent.issue_id}, to="topic", topic="again")
    assert replay["subscription"] is None
    found: list[Any] = []
    while len(found) < 2:
        found += sidecar.admin.wait("step", topic="again", filter=f"publisher:{agent.agent_id}")["events"][len(found) :]
    own = ("event_id", "sequence", "timestamp")
    for event, again in zip(events, found, strict=True):
        assert again["replayed_from"] == event["event_id"]
        assert again["sequence"] > event["sequence"]
        new = {name: again[name] for name in own}
        assert again == {**event, **new, "topic": "again", "replayed_from": event["event_id"]}
        assert agent.get(f"/api/events/{again['event_id']}").ok() == again


def test_lifecycle_events_keep_their_publisher(sidecar: Sidecar) -> None:
    """The sidecar's own words stay its own; replayed ones can be told from those of now."""
    agent = sidecar.agent()
    body = {"agent_id": agent.agent_id, "agent_type": "chief-architect", "issue_id": agent.issue_id}
    agent.post("/api/results", {**body, "project_id": "alpha", "result": {"status": "success"}}).ok(201)
    begin(
        sidecar, {"publisher": "sidecar", "type": "result_stored", "issue": agent.issue_id}, to="topic", topic="again"
    )
    [event] = agent.wait("result_stored", since="earliest", topic="again")["events"]
    assert event["publisher"] == "sidecar"
    mine = f"issue_id:{agent.issue_id},event.publisher:sidecar"
    new = agent.get("/api/events", type="result_stored", filter=f"{mine},!event.replayed_from:*").ok()["events"]
    again = agent.get("/api/events", type="result_stored", filter=f"{mine},event.replayed_from:evt-*").ok()["events"]
    assert (len(new), again) == (1, [event])


def test_nobody_marks_events(sidecar: Sidecar) -> None:
    """A publisher cannot pass an event off as a replay."""
    body = {"topic": "t", "data": 1, "replayed_from": "evt-00000000-1"}
    sidecar.agent().post("/api/events/step", body).refused(400, "EVT_002")


def test_for_an_agent(sidecar: Sidecar) -> None:
    """The agent that is named reads it by a plain wait; another does not find it."""
    agent, other = sidecar.agent(), sidecar.agent()
    publish(agent, 1)
    replay = begin(sidecar, {"types": ["step", "other"], "issue": agent.issue_id}, agent_id=agent.agent_id)
    other.get("/api/events/wait/*", subscription=replay["subscription"]).refused(404, "NOT_FOUND")
    assert [event["data"] for event in read(agent, replay)] == [{"n": 1}]
    assert agent.get("/api/events/wait/*", subscription="replay-00000000").refused(404, "NOT_FOUND")


def test_cancel(sidecar: Sidecar) -> None:
    """Ending a replay answers its parked wait."""
    agent = sidecar.agent()
    publish(agent, 1, 2)
    replay = begin(sidecar, {"issue": agent.issue_id}, speed=0.001)
    name = {"subscription": replay["subscription"]}
    assert len(sidecar.admin.wait("*", **name)["events"]) == 1
    parked = sidecar.later(sidecar.admin.wait, "*", **name)
    sidecar.until_parked(1)
    ended = sidecar.admin.delete(f"/api/events/replay/{replay['replay_id']}").ok()
    assert (ended["state"], ended["done"], ended["events"]) == ("cancelled", 1, 2)
    assert (parked.result()["replay"], parked.result()["events"]) == ("cancelled", [])
    sidecar.admin.get("/api/events/replay/replay-00000000").refused(404, "NOT_FOUND")
    sidecar.admin.delete("/api/events/replay/replay-00000000").refused(404, "NOT_FOUND")


def test_projects(sidecar: Sidecar) -> None:
    """A replay is its project's."""
    agent = sidecar.agent(project_id="beta")
    publish(agent, 1)
    request = {"selection": {"issue": agent.issue_id}}
    replay = sidecar.admin.post("/api/events/replay", request, project="beta").ok(202)
    assert replay["events"] == 1
    sidecar.admin.get(f"/api/events/replay/{replay['replay_id']}").refused(404, "NOT_FOUND")
    sidecar.admin.get("/api/events/wait/*", subscription=replay["replay_id"]).refused(404, "NOT_FOUND")
    sidecar.admin.delete(f"/api/events/replay/{replay['replay_id']}", project="beta").ok()


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({}, "VAL_002", "$"),
        ({"selection": []}, "VAL_002", "$.selection"),
        ({"selection": {"limit": 1}}, "VAL_002", "$.selection"),
        ({"selection": {}, "to": "everybody"}, "VAL_002", "$.to"),
        ({"selection": {}, "speed": 0}, "VAL_002", "$.speed"),
        ({"selection": {}, "speed": -1}, "VAL_002", "$.speed"),
        ({"selection": {}, "speed": 1e7}, "VAL_002", "$.speed"),
        ({"selection": {}, "speed": "10"}, "VAL_002", "$.speed"),
        ({"selection": {}, "topic": "t"}, "VAL_002", "$.topic"),
        ({"selection": {}, "to": "topic", "agent_id": "a"}, "VAL_002", "$.agent_id"),
        ({"selection": {"type": "a", "types": ["b"]}}, "VAL_002", "$.selection.types"),
        ({"selection": {"types": []}}, "VAL_002", "$.selection.types"),
        ({"selection": {"types": ["a"] * 65}}, "VAL_002", "$.selection.types"),
        ({"selection": {"types": ["wait"]}}, "VAL_001", None),
        ({"selection": {"publisher": "../x"}}, "VAL_001", None),
        ({"selection": {"since": "soon"}}, "VAL_001", None),
        ({"selection": {"until": "c-00000000-1"}}, "VAL_001", None),
        ({"selection": {"filter": "a==b"}}, "EVT_003", None),
        ({"selection": {}, "to": "topic", "topic": "-"}, "VAL_001", None),
        ({"selection": {}, "agent_id": ""}, "VAL_001", None),
    ],
)
def test_wrong_requests(body: object, code: str, path: str | None, sidecar: Sidecar) -> None:
    """What is no replay is refused, with the place."""
    refused = sidecar.admin.post("/api/events/replay", body).refused(400, code)
    assert refused.json["details"].get("path") == path


def test_too_many(start: Callable[..., Sidecar]) -> None:
    """Eight at a time; the refusal says what to do."""
    sidecar = start()
    sidecar.admin.publish("step")
    names = [begin(sidecar, {})["replay_id"] for _ in range(8)]
    refused = sidecar.admin.post("/api/events/replay", {"selection": {}}).refused(429, "RATE_001")
    assert refused.json["details"]["replays"] == names
    assert int(refused.headers["Retry-After"]) > 0


def test_once(sidecar: Sidecar) -> None:
    """Under an Idempotency-Key a request that is sent again begins no second replay."""
    agent, headers = sidecar.agent(), {"Idempotency-Key": unique("key")}
    publish(agent, 1)
    body = {"selection": {"type": "step", "issue": agent.issue_id}, "to": "topic", "topic": "once"}
    answers = [sidecar.admin.request("POST", "/api/events/replay", body, headers=headers) for _ in range(2)]
    assert answers[0].ok(202)["replay_id"] == answers[1].ok(202)["replay_id"]
    agent.wait("step", topic="once", filter=f"issue_id:{agent.issue_id}", since="earliest")
    assert len(agent.get("/api/events", topic="once", issue=agent.issue_id).ok()["events"]) == 1


def test_restart(start: Callable[..., Sidecar]) -> None:
    """What was published stays, and stays marked; the replay itself is not there after a restart."""
    sidecar = start()
    sidecar.admin.publish("step", n=1)
    published = begin(sidecar, {}, to="topic")
    reading = begin(sidecar, {"type": "step"})
    marked = sidecar.admin.wait("*", filter="event.replayed_from:*")["events"]
    parked = sidecar.later(sidecar.admin.wait, "never", since="latest")
    sidecar.until_parked(1)
    sidecar.stop()
    assert parked.result()["events"] == []
    again = start()
    assert again.admin.wait("*", filter="event.replayed_from:*")["events"] == marked
    for name in (published["replay_id"], reading["replay_id"]):
        again.admin.get(f"/api/events/replay/{name}").refused(404, "NOT_FOUND")
    again.admin.get("/api/events/wait/*", subscription=reading["subscription"]).refused(404, "NOT_FOUND")
