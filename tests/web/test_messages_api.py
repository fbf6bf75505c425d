"""Messages over HTTP: from one agent to another, with proof that they arrived."""

import jwt
import pytest

from tests.web.sidecar import Answer, Client, Sidecar, unique


def send(agent: Client, to: str, body: object = "hello", **more: object) -> dict[str, object]:
    made: dict[str, object] = agent.post("/api/messages", {"to": to, "body": body, **more}).ok(201)
    return made


def receive(agent: Client, wait: int = 0) -> list[dict[str, object]]:
    found: list[dict[str, object]] = agent.get("/api/messages", wait=wait).ok()["messages"]
    return found


def ack(agent: Client, message: dict[str, object], state: str = "seen") -> Answer:
    return agent.post(f"/api/messages/{message['id']}/ack", {"state": state})


def pair(sidecar: Sidecar) -> tuple[Client, Client]:
    one = sidecar.agent("python-specialist")
    return one, sidecar.agent("test-engineer", one.issue_id)


def test_the_whole_life(sidecar: Sidecar) -> None:
    """Sent, received, acknowledged, replied to; the sender sees each step."""
    one, two = pair(sidecar)
    made = send(one, two.agent_id, {"do": ["é", None]}, kind="request", ack=True, correlation_id="c-1")
    assert (made["from"], made["from_type"], made["issue_id"]) == (one.agent_id, "python-specialist", one.issue_id)
    assert (made["state"], made["body"]) == ("queued", {"do": ["é", None]})
    assert two.get("/api/messages", unread="true").ok()["unread"] == 1, "looking moves nothing"
    [given] = receive(two)
    assert (given["id"], given["state"], given["body"]) == (made["id"], "offered", made["body"])
    assert (given["agent_id"], given["offers"]) == (two.agent_id, 1)
    assert receive(two) == []
    assert two.post(f"/api/messages/{made['id']}/ack").ok()["state"] == "seen"
    reply = send(two, one.agent_id, "done", reply_to=made["id"])
    assert (reply["correlation_id"], receive(one)[0]["reply_to"]) == ("c-1", made["id"])
    traced = one.get(f"/api/messages/{made['id']}").ok()
    [delivery] = traced["deliveries"]
    assert (traced["state"], delivery["state"], delivery["agent_type"]) == ("done", "done", "test-engineer")
    assert None not in {delivery["offered_at"], delivery["seen_at"], delivery["ended_at"]}
    assert (delivery["again_at"], delivery["reason"]) == (None, None)
    sent = one.get("/api/messages", box="sent").ok()["messages"]
    assert [(line["id"], line["agent_id"], line["state"]) for line in sent] == [(made["id"], two.agent_id, "done")]


def test_waiting(sidecar: Sidecar) -> None:
    """A parked request is answered by the message that comes, and is empty when time is up."""
    one, two = pair(sidecar)
    assert receive(two, 60) == []
    waiting = sidecar.later(receive, two, 10_000)
    sidecar.until_parked(1)
    made = send(one, f"agent:{two.agent_id}", kind="steer")
    assert [line["id"] for line in waiting.result(5)] == [made["id"]]
    sidecar.until_parked(0)


def test_to_many(sidecar: Sidecar) -> None:
    """To an issue: all who have a token for it, but the sender; to nobody: what to do instead."""
    one, two = pair(sidecar)
    three = sidecar.agent("python-specialist", one.issue_id)
    made = send(one, f"issue:{one.issue_id}")
    assert {line["agent_id"] for line in made["deliveries"]} == {two.agent_id, three.agent_id}  # type: ignore[attr-defined]
    alone = sidecar.agent("rust-specialist")
    gone = alone.post("/api/messages", {"to": str(alone.issue_id), "body": 1}).refused(409, "MSG_001").json
    assert (gone["error"], gone["details"]) == ("recipient_gone", {"agents": []})
    alone.post("/api/messages", {"to": unique("nobody"), "body": 1}).refused(404, "NOT_FOUND")


def test_a_dead_recipient(sidecar: Sidecar) -> None:
    """A revoked token ends its agent: what is on its way is dead, the sender hears of it, more is refused."""
    one, two = pair(sidecar)
    other = sidecar.agent("test-engineer", one.issue_id)
    made = send(one, two.agent_id)
    jti = jwt.decode(str(two.token), options={"verify_signature": False})["jti"]
    waiting = sidecar.later(one.wait, "message_dead", timeout=10_000, filter=f"message_id:{made['id']}")
    sidecar.until_parked(1)
    sidecar.admin.delete(f"/api/tokens/{jti}").ok()
    [event] = waiting.result(5)["events"]
    assert event["data"]["agent_id"] == two.agent_id
    assert event["data"]["reason"] == f"'{two.agent_id}' has ended"
    gone = one.post("/api/messages", {"to": two.agent_id, "body": 1}).refused(409, "MSG_001").json
    assert gone["details"]["agents"] == [other.agent_id]


def test_sent_once(sidecar: Sidecar) -> None:
    """The same key sends once; another body under it is refused."""
    one, two = pair(sidecar)
    headers = {"Idempotency-Key": unique("key")}
    body = {"to": two.agent_id, "body": "once"}
    first, second = (one.request("POST", "/api/messages", body, headers=headers).ok(201) for _ in range(2))
    assert first == second
    assert len(receive(two)) == 1
    one.request("POST", "/api/messages", {**body, "body": "twice"}, headers=headers).refused(422, "VAL_003")


def test_whose(sidecar: Sidecar) -> None:
    """Others' messages are others'; the person at the machine sees all, and moves nothing."""
    one, two = pair(sidecar)
    three = sidecar.agent("python-specialist", one.issue_id)
    made = send(one, two.agent_id)
    three.get(f"/api/messages/{made['id']}").refused(403, "AUTH_005")
    ack(three, made).refused(403, "AUTH_005")
    ack(one, made).refused(403, "AUTH_005")
    three.get("/api/messages", agent=two.agent_id).refused(403, "AUTH_005")
    three.get("/api/messages", box="all").refused(403, "AUTH_005")
    admin = sidecar.admin
    assert [line["id"] for line in admin.get("/api/messages", agent=two.agent_id).ok()["messages"]] == [made["id"]]
    lines = admin.get("/api/messages", box="all", sender=one.agent_id).ok()["messages"]
    assert [line["id"] for line in lines] == [made["id"]]
    admin.get("/api/messages", agent=two.agent_id, wait=0).refused(400, "VAL_001")
    assert receive(two)[0]["offers"] == 1
    one.get("/api/messages", box="sent", sender=two.agent_id).refused(400, "VAL_001")


def test_to_the_person(sidecar: Sidecar) -> None:
    """An agent can ask the person at the machine, and is answered."""
    one, _ = pair(sidecar)
    asked = send(one, "admin", "which one?", kind="request")
    found = sidecar.admin.get("/api/messages", wait=0, sender=one.agent_id).ok()["messages"]
    assert [line["id"] for line in found] == [asked["id"]]
    send(sidecar.admin, one.agent_id, "the first", reply_to=asked["id"], kind="steer")
    assert receive(one)[0]["from"] == "admin"


def test_briefing(sidecar: Sidecar) -> None:
    """What an agent has not seen is in its briefing, with the orders first, and is not seen by that."""
    one, two = pair(sidecar)
    send(one, two.agent_id, "for your information")
    made = send(one, two.agent_id, {"stop": "now"}, kind="steer")
    path = f"/api/agents/{two.agent_id}/briefing"
    found = two.get(path).ok()["messages"]
    assert [(line["kind"], line["body"]) for line in found] == [
        ("steer", {"stop": "now"}),
        ("info", "for your information"),
    ]
    text = two.get(path, format="markdown").body.decode()
    assert f"- steer from `{one.agent_id}`" in text
    assert str(made["id"]) in text
    assert two.get(f"/api/messages/{made['id']}").ok()["state"] == "queued"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"to": ""}, "VAL_002"),
        ({"to": "a b"}, "VAL_001"),
        ({"to": "x" * 200}, "VAL_002"),
        ({"kind": "shout"}, "VAL_002"),
        ({"body": "x" * 16_383}, "VAL_002"),
        ({"ttl_seconds": 0}, "VAL_002"),
        ({"ttl_seconds": 604_801}, "VAL_002"),
        ({"reply_to": "../x"}, "VAL_001"),
        ({"from": "admin"}, "VAL_002"),
    ],
)
def test_refused(more: dict[str, object], code: str, sidecar: Sidecar) -> None:
    """Each bound has its refusal, and nobody says who they are."""
    one, two = pair(sidecar)
    one.post("/api/messages", {"to": two.agent_id, "body": "x", **more}).refused(400, code)
    assert receive(two) == []


def test_a_full_inbox(sidecar: Sidecar) -> None:
    """At fifty it is full."""
    one, two = pair(sidecar)
    for number in range(50):
        send(one, two.agent_id, number)
    full = one.post("/api/messages", {"to": two.agent_id, "body": 50}).refused(429, "RATE_001")
    assert full.json["details"]["agents"] == [two.agent_id]
    assert full.headers["Retry-After"] is not None
    assert [line["body"] for line in receive(two)] == list(range(50))


def test_an_agent_that_is_killed(sidecar: Sidecar) -> None:
    """What a spawned agent has not seen when it ends is dead; until then it can be written to by its type, too."""
    boss = sidecar.agent()
    asked = {"agent_type": "rust-specialist", "issue_id": boss.issue_id, "runner": "idle"}
    spawned = boss.post("/api/agents/spawn", asked).ok(201)["agent_id"]
    made = [send(boss, to) for to in (spawned, f"issue:{boss.issue_id}")]
    assert [line["agent_id"] for one in made for line in one["deliveries"]] == [spawned] * 2  # type: ignore[attr-defined]
    boss.delete(f"/api/agents/{spawned}", force="true").ok()
    for one in made:
        [delivery] = boss.get(f"/api/messages/{one['id']}").ok()["deliveries"]
        assert (delivery["state"], delivery["reason"]) == ("dead", f"'{spawned}' has ended")
    boss.post("/api/messages", {"to": spawned, "body": 1}).refused(409, "MSG_001")
