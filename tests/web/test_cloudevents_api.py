"""CloudEvents over HTTP: published by content type, read by Accept (contract section 5, structured mode)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.sidecar import Answer, Client, Sidecar, unique
from tests.web.test_cloudevents import WHOLE, conform

ONE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


def publish(agent: Client, event_type: str = "done", **change: object) -> Answer:
    """Publish a CloudEvent with an id of its own, or as it is changed."""
    headers = {"Content-Type": f"{ONE}; charset=utf-8"}
    body = {**WHOLE, "id": unique("ce"), **change}
    return agent.request("POST", f"/api/events/{event_type}", body, headers=headers)


def read(agent: Client, path: str, accept: str, **query: Any) -> Answer:
    return agent.request("GET", path, headers={"Accept": accept}, **query)


def events_of(agent: Client) -> list[Any]:
    answer: list[Any] = agent.get("/api/events", publisher=agent.agent_id, order="asc").ok()["events"]
    return answer


def test_there_and_back(sidecar: Sidecar) -> None:
    """A CloudEvent is an event like others, and can be read as one again, with what was its own."""
    agent = sidecar.agent("python-specialist")
    own: dict[str, Any] = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "sampled": True}
    made = publish(agent, **own, correlationid="c-1", ttlseconds=60).ok(202)
    assert (made["topic"], made["ttl_seconds"], made["published"]) == ("tests", 60, True)
    [plain] = events_of(agent)
    assert plain["extensions"] == own
    assert (plain["publisher"], plain["data"], plain["correlation_id"]) == (agent.agent_id, {"count": 3}, "c-1")
    answer = read(agent, f"/api/events/{made['event_id']}", ONE)
    assert answer.headers["Content-Type"] == f"{ONE}; charset=utf-8"
    found = answer.ok()
    conform(found)
    assert found == {
        "specversion": "1.0",
        "id": made["event_id"],
        "source": f"/projects/alpha/agents/{agent.agent_id}",
        "type": "done",
        "subject": "tests",
        "time": made["timestamp"],
        "datacontenttype": "application/json",
        "sequence": f"{made['sequence']:020}",
        "agenttype": "python-specialist",
        "issueid": agent.issue_id,
        "correlationid": "c-1",
        "priority": "normal",
        "ttlseconds": 60,
        **own,
        "data": {"count": 3},
    }


def test_extensions_can_be_filtered(sidecar: Sidecar) -> None:
    """What a CloudEvent brought along is a field of the event."""
    agent = sidecar.agent()
    publish(agent, partitionkey="a")
    publish(agent, partitionkey="b")
    agent.publish("done")
    found = agent.wait("done", since="earliest", filter=f"event.extensions.partitionkey:b,publisher:{agent.agent_id}")
    assert [event["extensions"] for event in found["events"]] == [{"partitionkey": "b"}]


def test_extensions_outlive_replay_and_restart(start: Callable[..., Sidecar]) -> None:
    """They lie on disk with the event, and a replayed event has them."""
    sidecar = start()
    publish(sidecar.admin, partitionkey="a").ok(202)
    sidecar.stop()
    sidecar = start()
    sidecar.admin.post("/api/events/replay", {"selection": {}, "to": "topic", "topic": "again"}).ok(202)
    [again] = sidecar.admin.wait("done", topic="again")["events"]
    assert again["extensions"] == {"partitionkey": "a"}
    found = read(sidecar.admin, f"/api/events/{again['event_id']}", ONE).ok()
    assert (found["partitionkey"], found["replayedfrom"]) == ("a", again["replayed_from"])


def test_source_and_id_are_the_key(sidecar: Sidecar) -> None:
    """The same CloudEvent is published once; another under its name is refused; a header's key beats both."""
    agent, name = sidecar.agent(), unique("ce")
    first, second = (publish(agent, id=name) for _ in range(2))
    assert (first.status, first.body) == (second.status, second.body) == (202, first.body)
    publish(agent, id=name, data=2).refused(422, "VAL_003")
    publish(agent, "other", id=name, type="other").refused(422, "VAL_003")
    assert len(events_of(agent)) == 1
    publish(agent, id=name, source="/elsewhere").ok(202)
    publish(sidecar.agent(), id=name).ok(202)
    headers = {"Content-Type": ONE, "Idempotency-Key": unique("key")}
    for _ in range(2):
        agent.request("POST", "/api/events/done", {**WHOLE, "id": name}, headers=headers).ok(202)
    assert len(events_of(agent)) == 3


def test_once_across_a_restart(start: Callable[..., Sidecar]) -> None:
    """The name of a CloudEvent is kept with it."""
    sidecar = start()
    first = publish(sidecar.admin, id="once").ok(202)
    sidecar.stop()
    again = start()
    assert publish(again.admin, id="once").ok(202)["event_id"] == first["event_id"]
    publish(again.admin, id="once", data=2).refused(422, "VAL_003")
    assert len(again.admin.get("/api/events").ok()["events"]) == 1


def test_refused_is_not_kept(sidecar: Sidecar) -> None:
    """A CloudEvent that was refused may come again, mended."""
    agent, name = sidecar.agent(), unique("ce")
    publish(agent, id=name, subject="-").refused(400, "EVT_002")
    publish(agent, id=name).ok(202)


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"", "VAL_002", "$"),
        (b"{", "VAL_002", "$"),
        (b"[]", "EVT_002", "$"),
        (b"null", "EVT_002", "$"),
        (b'{"topic": "t", "data": 1}', "EVT_002", "$"),
        ({**WHOLE, "specversion": "0.3"}, "EVT_002", "$.specversion"),
        ({**WHOLE, "type": "other"}, "EVT_002", "$.type"),
        ({**WHOLE, "data_base64": "AA=="}, "EVT_002", "$.data_base64"),
        ({**WHOLE, "eventTime": "x"}, "EVT_002", "$.eventTime"),
        (b'{"specversion":"1.0","id":"1","source":"/x","type":"done","subject":"t","data":1e999}', "VAL_002", "$.data"),
        (b'{"specversion":"1.0","id":"1","source":"/x","type":"done","subject":"t","x":1e999}', "EVT_002", "$.x"),
    ],
)
def test_refused(body: object, code: str, path: str, sidecar: Sidecar) -> None:
    """What is no CloudEvent is refused with the place, and nothing is published."""
    agent = sidecar.agent()
    answer = agent.request("POST", "/api/events/done", body, headers={"Content-Type": ONE})
    assert answer.refused(400, code).json["details"]["path"] == path
    assert events_of(agent) == []


def test_other_forms(sidecar: Sidecar) -> None:
    """A batch is refused with what to do; other types as ever; the plain form stays what it was."""
    agent = sidecar.agent()
    for kind, body in ((BATCH, [WHOLE]), ("application/cloudevents+xml", WHOLE), ("text/plain", WHOLE)):
        headers = {"Content-Type": kind}
        agent.request("POST", "/api/events/done", body, headers=headers).refused(415, "HTTP_415")
    agent.post("/api/events/done", WHOLE).refused(400, "EVT_002")
    body = {"topic": "t", "data": 1}
    agent.request("POST", "/api/events/done", body, headers={"Content-Type": ONE.upper()}).refused(400, "EVT_002")
    agent.post("/api/events/done", {**body, "extensions": {}}).refused(400, "EVT_002")
    agent.post("/api/events/done", {**body, "key": "x"}).refused(400, "EVT_002")


def test_who_may(sidecar: Sidecar) -> None:
    """A CloudEvent needs the permission that an event needs."""
    publish(sidecar.agent(permissions=[])).refused(403, "AUTH_003")
    publish(sidecar.anyone()).refused(401, "AUTH_001")


def test_batches(sidecar: Sidecar) -> None:
    """Lists are bare batches when asked for so, with what belongs to them in headers."""
    agent = sidecar.agent()
    for number in range(3):
        agent.publish("done", n=number)
    query: dict[str, Any] = {"publisher": agent.agent_id, "order": "asc", "limit": 2}
    plain = agent.get("/api/events", **query).ok()
    answer = read(agent, "/api/events", BATCH, **query)
    assert answer.headers["Content-Type"] == f"{BATCH}; charset=utf-8"
    assert [event["id"] for event in answer.ok()] == [event["event_id"] for event in plain["events"]]
    for event in answer.json:
        conform(event)
    assert (answer.headers["X-Next-Cursor"], answer.headers["X-More-Available"]) == (plain["next_cursor"], "true")
    rest = read(agent, "/api/events", BATCH, **query, since=answer.headers["X-Next-Cursor"])
    assert [event["data"]["n"] for event in rest.ok()] == [2]
    assert rest.headers["X-More-Available"] == "false"


def test_wait_for_a_batch(sidecar: Sidecar) -> None:
    """A wait gives a batch, too; its position moves as ever, and nothing is an empty batch."""
    agent = sidecar.agent()
    parked = sidecar.later(read, agent, "/api/events/wait/done", BATCH)
    sidecar.until_parked(1)
    made = agent.publish("done", n=1)
    answer = parked.result()
    assert [event["id"] for event in answer.ok()] == [made["event_id"]]
    told = {name: answer.headers[f"X-{name}"] for name in ("Next-Cursor", "Timeout", "Gap", "More-Available")}
    assert told == {"Next-Cursor": made["cursor"], "Timeout": "false", "Gap": "false", "More-Available": "false"}
    assert answer.headers["X-Oldest-Cursor"] is None
    nothing = read(agent, "/api/events/wait/done", BATCH, timeout=0)
    assert (nothing.ok(), nothing.headers["X-Timeout"]) == ([], "true")


def test_gap_of_a_batch(start: Callable[..., Sidecar]) -> None:
    """That events are missing is told in a header, with where to go on."""
    sidecar = start(events={"max_events": 1})
    cursors = [sidecar.admin.publish("done")["cursor"] for _ in range(3)]
    answer = read(sidecar.admin, "/api/events/wait/done", BATCH, since=cursors[0])
    assert (answer.headers["X-Gap"], answer.headers["X-Oldest-Cursor"]) == ("true", cursors[1])


def test_replay_as_a_batch(sidecar: Sidecar) -> None:
    """A replay can be read as CloudEvents; its state is a header."""
    agent = sidecar.agent()
    made = agent.publish("done")
    replay = sidecar.admin.post("/api/events/replay", {"selection": {"issue": agent.issue_id}}).ok(202)
    answer = read(sidecar.admin, "/api/events/wait/*", BATCH, subscription=replay["subscription"])
    assert answer.headers["X-Replay"] == "done"
    assert [event["replayedfrom"] for event in answer.ok()] == [made["event_id"]]


def test_default_form(sidecar: Sidecar) -> None:
    """Whoever does not clearly prefer CloudEvents gets what was always given, to the byte; errors stay errors."""
    agent = sidecar.agent()
    made = agent.publish("done")
    path = f"/api/events/{made['event_id']}"
    plain = agent.get(path)
    for accept in ("*/*", f"application/json, {ONE}", f"{ONE};q=0.5, */*", f"{ONE};q=0", BATCH):
        answer = read(agent, path, accept)
        assert (answer.body, answer.headers["Content-Type"]) == (plain.body, plain.headers["Content-Type"])
    assert read(agent, "/api/events", ONE).headers["Content-Type"] == plain.headers["Content-Type"]
    read(agent, "/api/events/evt-00000000-1", ONE).refused(404, "NOT_FOUND")


def test_described(sidecar: Sidecar) -> None:
    """The description names the forms where they are."""
    paths = sidecar.description.document["paths"]
    taken = paths["/api/events/{event_type}"]["post"]["requestBody"]["content"]
    assert taken[ONE]["schema"] == {"$ref": "#/components/schemas/CloudEvent"}
    given = paths["/api/events/{event_id}"]["get"]["responses"]["200"]["content"]
    assert given[ONE] == taken[ONE]
    for path in ("/api/events", "/api/events/wait/{types}"):
        several = paths[path]["get"]["responses"]["200"]["content"][BATCH]["schema"]
        assert several == {"type": "array", "items": {"$ref": "#/components/schemas/CloudEvent"}}
