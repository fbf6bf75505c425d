"""Events through the public door: publish, wait, look back (contract section 5)."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.web.sidecar import TIME, Client, Sidecar, unique

PUBLISH_ANSWER = {
    "event_id", "sequence", "cursor", "published", "subscribers_notified", "subscriber_count",
    "topic", "ttl_seconds", "timestamp",
}  # fmt: skip
EVENT = {
    "event_id", "sequence", "event_type", "topic", "publisher", "agent_type", "project_id", "issue_id", "data",
    "correlation_id", "references", "priority", "ttl_seconds", "timestamp",
}  # fmt: skip
WAIT_ANSWER = {"events", "more_available", "next_cursor", "timeout", "gap", "timestamp"}


def names(answer: Any) -> list[str]:
    return [event["event_type"] for event in answer["events"]]


def mine(agent: Client) -> str:
    """Give the filter that finds an agent's own events."""
    return f"publisher:{agent.agent_id}"


def test_publish_and_wait(sidecar: Sidecar) -> None:
    """What is published is what is read, an agent's own events included, in the fields of the contract."""
    agent = sidecar.agent("python-specialist")
    body = {
        "topic": "tests",
        "data": {"deep": [1, 2.5, None, True, {"text": 'ünï "quoted" \u2028'}]},
        "correlation_id": "corr-1",
        "ttl_seconds": 60,
        "priority": "high",
        "references": ["evt-x"],
        "publisher": agent.agent_id,
        "event_type": "tests_done",
    }
    answer = agent.post("/api/events/tests_done", body).ok(202)
    assert set(answer) == PUBLISH_ANSWER
    assert (answer["published"], answer["topic"], answer["ttl_seconds"]) == (True, "tests", 60)
    waited = agent.wait("tests_done")
    assert set(waited) == WAIT_ANSWER
    assert waited["next_cursor"] == answer["cursor"]
    [event] = waited["events"]
    assert set(event) == EVENT
    assert TIME.fullmatch(event["timestamp"])
    sent = {name: body[name] for name in body if name in EVENT}
    same = {name: answer[name] for name in ("event_id", "sequence", "timestamp")}
    who = {"agent_type": "python-specialist", "project_id": "alpha", "issue_id": agent.issue_id}
    assert event == {**sent, **same, **who}
    assert agent.get(f"/api/events/{answer['event_id']}").ok() == event


@pytest.mark.parametrize(
    "text",
    [b"null", b'"text"', b"[]", b"0", b"-0.0", b"123456789012345678901234567890", b"1.10", b"1e300", b'{"a":1,"a":2}'],
)
def test_data_is_any_json(text: bytes, sidecar: Sidecar) -> None:
    """Data comes out as the text that went in: no number loses digits."""
    agent = sidecar.agent()
    agent.post("/api/events/exact", b'{"topic": "t", "data":  ' + text + b"}").ok(202)
    assert b'"data":' + text + b"," in agent.get("/api/events/wait/exact").body


@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_data_is_nested_so_deep(start: bytes, end: bytes, sidecar: Sidecar) -> None:
    """Data may be nested 200 deep, and no deeper, however deep Python itself stands when it reads them."""
    many = 200 // (start.count(b"[") + start.count(b"{"))
    for depth, status in ((many, 202), (many + 1, 400)):
        body = b'{"topic":"t","data":' + start * depth + b'"[["' + end * depth + b"}"
        assert sidecar.admin.post("/api/events/deep", body).status == status
        assert sidecar.admin.post("/api/events/deep?", body).status == status, "by way of the pipeline"


def test_defaults(sidecar: Sidecar) -> None:
    """What a publisher leaves out has the contract's defaults; a correlation id may come in a header."""
    agent = sidecar.agent()
    headers = {"X-Correlation-ID": "corr-7"}
    agent.request("POST", "/api/events/plain", {"topic": "t", "data": {}}, headers=headers).ok(202)
    [event] = agent.wait("plain")["events"]
    assert (event["ttl_seconds"], event["priority"], event["references"]) == (86400, "normal", [])
    assert event["correlation_id"] == "corr-7"


def test_parked(sidecar: Sidecar) -> None:
    """A parked poll is answered by the first event that it wants, and the publisher hears who was told."""
    publisher = sidecar.agent()
    readers = [sidecar.agent(issue_id=publisher.issue_id) for _ in range(3)]
    parked = [sidecar.later(reader.wait, "wanted", filter="ok:true") for reader in readers]
    others = sidecar.later(readers[0].wait, "wanted", filter="ok:false")
    sidecar.until_parked(4)
    assert publisher.publish("unwanted", ok=True)["subscriber_count"] == 0
    assert publisher.publish("wanted", ok="maybe")["subscriber_count"] == 0
    told = publisher.publish("wanted", ok=True)
    assert sorted(told["subscribers_notified"]) == sorted(reader.agent_id for reader in readers)
    assert told["subscriber_count"] == 3
    for future in parked:
        assert [event["event_id"] for event in future.result()["events"]] == [told["event_id"]]
    publisher.publish("wanted", ok=False)
    assert len(others.result()["events"]) == 1


def test_types_topic_filter(sidecar: Sidecar) -> None:
    """A wait names one type, several or all; topic and filter narrow it."""
    agent = sidecar.agent()
    for event_type, topic, level in (("a", "one", 1), ("b", "one", 2), ("c", "two", 3)):
        agent.publish(event_type, topic=topic, level=level)
    fresh = "earliest"
    narrowed: dict[str, dict[str, Any]] = {
        "a": {},
        "a,c": {},
        "*": {"topic": "one"},
        "b,c": {"filter": f"level:>=3,{mine(agent)}"},
    }
    found = {
        types: names(agent.wait(types, since=fresh, **{"filter": mine(agent), **query}))
        for types, query in narrowed.items()
    }
    assert found["a"] == ["a"]
    assert found["a,c"] == ["a", "c"]
    assert found["*"] == ["a", "b"]
    assert found["b,c"] == ["c"]
    agent.get("/api/events/wait/a,,b").refused(400, "VAL_001")
    agent.get("/api/events/wait/a,b ".replace(" ", "%20")).refused(400, "VAL_001")
    agent.get("/api/events/wait/" + ",".join(f"t{n}" for n in range(65))).refused(400, "VAL_001")


def test_limit(sidecar: Sidecar) -> None:
    """A wait gives at most ``limit`` events, the oldest first, and says that there are more."""
    agent = sidecar.agent()
    for n in range(5):
        agent.publish("many", n=n)
    first = agent.wait("many", limit=2)
    second = agent.wait("many", limit=3)
    assert [event["data"]["n"] for event in first["events"] + second["events"]] == [0, 1, 2, 3, 4]
    assert (first["more_available"], second["more_available"]) == (True, False)
    on = agent.wait("many", since=first["next_cursor"], limit=1000)
    assert [event["data"]["n"] for event in on["events"]] == [2, 3, 4]
    for limit in (0, 1001, -1):
        agent.get("/api/events/wait/many", limit=limit).refused(400, "VAL_001")


def test_timeout(sidecar: Sidecar) -> None:
    """A poll without an event ends when its time is up, at once for 0; the limits of time are kept."""
    agent = sidecar.agent()
    answer = agent.wait("never", timeout=0)
    assert (answer["events"], answer["timeout"], answer["gap"], answer["more_available"]) == ([], True, False, False)
    began = time.monotonic()
    assert agent.wait("never", timeout=150)["timeout"]
    assert 0.14 < time.monotonic() - began < 2
    for timeout in (-1, 300_001, 1.5, "soon"):
        agent.get("/api/events/wait/never", timeout=timeout).refused(400, "VAL_001")


def test_since(sidecar: Sidecar) -> None:
    """``since`` is a cursor, an event's id, a word or a time; every other thing is refused."""
    agent = sidecar.agent()
    one, two = (agent.publish("place", n=n) for n in (1, 2))
    for since in (one["cursor"], one["event_id"]):
        assert [e["event_id"] for e in agent.wait("place", since=since)["events"]] == [two["event_id"]]
    assert agent.wait("place", since="latest", timeout=0)["events"] == []
    for since in ("earliest", "2020-01-01T00:00:00Z", one["timestamp"]):
        assert len(agent.wait("place", since=since, filter=mine(agent))["events"]) == 2
    assert agent.wait("place", since="2200-01-01T00:00:00Z", timeout=0)["events"] == []
    ahead = one["cursor"].rpartition("-")[0] + "-999999999"
    for since in ("yesterday", "", "c-1", ahead, "2026-13-01T00:00:00Z", "-1"):
        agent.get("/api/events/wait/place", since=since, timeout=0).refused(400, "VAL_001")


def test_gap(start: Callable[..., Sidecar]) -> None:
    """Who comes back after retention took what it had not read is told so, and where to go on."""
    sidecar = start(events={"max_events": 5})
    agent = sidecar.agent()
    cursor = agent.publish("n0")["cursor"]
    agent.wait("*")
    assert agent.wait("*", timeout=0)["events"] == []
    for n in range(1, 9):
        agent.publish(f"n{n}")
    for query in ({"since": cursor}, {}):
        answer = agent.wait("*", **query)
        assert answer["gap"]
        oldest = agent.wait("*", since=answer["oldest_cursor"])
        assert (oldest["gap"], names(oldest)) == (False, ["n4", "n5", "n6", "n7", "n8"])
    late = sidecar.agent(issue_id=agent.issue_id).wait("*")
    assert (late["gap"], len(late["events"])) == (False, 5)
    agent.get(f"/api/events/{cursor.replace('c-', 'evt-')}").refused(404, "NOT_FOUND")


# History


@pytest.fixture
def history(sidecar: Sidecar) -> Callable[[], tuple[Client, list[Any]]]:
    """Publish ten events, five of them about odd numbers; called in the test's thread."""

    def publish() -> tuple[Client, list[Any]]:
        agent = sidecar.agent()
        made = []
        for n in range(10):
            body = {"topic": unique("topic"), "data": {"n": n}, "correlation_id": f"{agent.agent_id}-{n % 3}"}
            made.append(agent.post(f"/api/events/{'odd' if n % 2 else 'even'}", body).ok(202))
        return agent, made

    return publish


def test_history_both_ways(history: Callable[[], tuple[Client, list[Any]]]) -> None:
    """History is newest first, or oldest first; ``next_cursor`` goes on in the same order to the end."""
    agent, made = history()
    ids = [event["event_id"] for event in made]
    for order, expected in (("desc", ids[::-1]), ("asc", ids)):
        got: list[str] = []
        query: dict[str, Any] = {"order": order, "limit": 3, "publisher": agent.agent_id}
        for _ in range(20):
            page = agent.get("/api/events", **query).ok()
            got += [event["event_id"] for event in page["events"]]
            query["since"] = page["next_cursor"]
            if not page["more_available"]:
                break
        assert got == expected
    newest = agent.get("/api/events", limit=1).ok()
    assert [event["event_id"] for event in newest["events"]] == ids[-1:]


def test_history_selects(history: Callable[[], tuple[Client, list[Any]]]) -> None:
    """Each parameter narrows the selection."""
    agent, made = history()

    def found(**query: Any) -> list[int]:
        query = {"order": "asc", "publisher": agent.agent_id, **query}
        return [event["data"]["n"] for event in agent.get("/api/events", **query).ok()["events"]]

    assert found(type="odd") == [1, 3, 5, 7, 9]
    assert found(type="odd,even") == list(range(10))
    assert found(topic=made[4]["topic"]) == [4]
    assert found(filter="n:>7|n:<1") == [0, 8, 9]
    assert found(correlation_id=f"{agent.agent_id}-0") == [0, 3, 6, 9]
    assert found(issue=agent.issue_id) == list(range(10))
    assert found(issue="another") == []
    assert found(publisher="another") == []
    assert found(since=made[6]["cursor"]) == [7, 8, 9]
    assert found(since=made[6]["event_id"], until=made[8]["cursor"]) == [7, 8]
    assert found(until=made[0]["timestamp"]) == [] or made[0]["timestamp"] == made[9]["timestamp"]
    for query in ({"limit": 1001}, {"limit": 0}, {"order": "up"}, {"since": "x"}, {"until": "x"}):
        agent.get("/api/events", **query).refused(400, "VAL_001")


def test_restart(start: Callable[..., Sidecar]) -> None:
    """What was published is there after a restart, with its ids, for the one who had not read it and for history."""
    sidecar = start()
    agent = sidecar.agent()
    made = [agent.publish("kept", n=n) for n in range(3)]
    with sidecar.connection() as connection:
        agent.ask(connection, "GET", "/api/events/wait/kept", limit=1).ok()
        agent.ask(connection, "GET", "/health").ok()
    sidecar.stop()
    agent = Client(start(), agent.token, agent.agent_id, agent.issue_id)
    assert [event["event_id"] for event in agent.wait("kept")["events"]] == [event["event_id"] for event in made[1:]]
    assert len(agent.get("/api/events", type="kept").ok()["events"]) == 3
    assert agent.wait("kept", since=made[0]["cursor"], limit=1)["events"][0]["sequence"] == made[1]["sequence"]
    assert agent.publish("kept")["sequence"] > made[2]["sequence"]


def test_topics_of_a_type(start: Callable[..., Sidecar], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A type with a list of topics publishes on no other."""
    roster = tmp_path_factory.mktemp("roster") / "roster.json"
    roster.write_text('{"codingAgents": [{"type": "narrow", "topics": ["tests"]}, {"type": "free"}]}')
    sidecar = start(sidecar={"roster": str(roster)})
    sidecar.agent("narrow").publish("done", topic="tests")
    sidecar.agent("narrow").post("/api/events/done", {"topic": "other", "data": 1}).refused(403, "AUTH_003")
    sidecar.agent("free").publish("done", topic="other")
