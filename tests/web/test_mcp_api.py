"""MCP over HTTP: a whole sidecar, asked as clients of both eras ask."""

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
import msgspec
import pytest

from cco_sidecar.web.mcp.messages import CAPABILITIES_KEY, VERSION_KEY
from cco_sidecar.web.mcp.tools import BY_NAME
from cco_sidecar.web.root import route_table
from tests.web.sidecar import Answer, Client, Sidecar, unique, until

MODERN = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}
ALL = [
    "get_context",
    "publish_event",
    "wait_for_event",
    "list_events",
    "store_result",
    "claim",
    "checkpoint",
    "briefing",
]


def post(client: Client, method: str, params: Mapping[str, Any] | None = None, **headers: str) -> Answer:
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": method}
    if params is not None:
        body["params"] = params
    return client.request(
        "POST", "/api/mcp", body, headers={name.replace("_", "-"): it for name, it in headers.items()}
    )


def legacy(client: Client, method: str, **params: Any) -> Any:
    answer = post(client, method, params).ok()
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer["result"]


def modern(client: Client, method: str, **params: Any) -> Answer:
    name = params.get("name") or params.get("uri")
    more = {} if name is None else {"Mcp_Name": name}
    return post(
        client, method, {**params, "_meta": MODERN}, MCP_Protocol_Version="2026-07-28", Mcp_Method=method, **more
    )


def tool(client: Client, name: str, **arguments: Any) -> Any:
    found = legacy(client, "tools/call", name=name, arguments=arguments)
    assert not found.get("isError"), found
    return found.get("structuredContent") or found["content"][0]["text"]


def failed(client: Client, name: str, **arguments: Any) -> tuple[str, str]:
    """Give the code and the sentence of a tool's error."""
    found = legacy(client, "tools/call", name=name, arguments=arguments)
    assert found["isError"] is True
    said = found["structuredContent"]
    assert found["content"] == [{"type": "text", "text": f"{said['message']} ({said['code']})"}]
    return said["code"], said["message"]


def test_handshake(sidecar: Sidecar) -> None:
    """The older era: the version that was asked for, or the newest; no session is begun."""
    agent = sidecar.agent()
    answer = post(agent, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {}})
    assert "Mcp-Session-Id" not in answer.headers
    found = answer.ok()["result"]
    assert (found["protocolVersion"], found["serverInfo"]["name"]) == ("2025-06-18", "cco-sidecar")
    assert found["capabilities"] == {"tools": {}, "resources": {}}
    assert legacy(agent, "initialize", protocolVersion="2026-07-28")["protocolVersion"] == "2025-11-25"
    assert legacy(agent, "ping") == {}
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert agent.post("/api/mcp", body).status == 202
    assert agent.post("/api/mcp", {"jsonrpc": "2.0", "id": 1, "result": {}}).status == 202
    assert agent.get("/api/mcp").refused(405, "HTTP_405").headers["Allow"] == "POST"
    agent.delete("/api/mcp").refused(405, "HTTP_405")


def test_stateless(sidecar: Sidecar) -> None:
    """The newer era: every request by itself, every result marked, and what was removed is not there."""
    agent = sidecar.agent()
    found = modern(agent, "server/discover").ok()["result"]
    assert (found["resultType"], found["supportedVersions"], found["cacheScope"]) == (
        "complete",
        ["2026-07-28"],
        "private",
    )
    assert modern(agent, "tools/list").ok()["result"]["resultType"] == "complete"
    for method in ("ping", "initialize", "logging/setLevel", "no/such"):
        answer = modern(agent, method)
        assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (404, -32601, 7)
    assert post(agent, "no/such").ok()["error"]["code"] == -32601
    assert modern(agent, "tools/call", name="claims", arguments={}).json["error"]["message"].endswith("'claim'?")


def test_malformed(sidecar: Sidecar) -> None:
    """A body that is no message is answered in JSON-RPC, with the contract's error in its data."""
    agent = sidecar.agent()
    for body, code in ((b"{", -32700), (b"[]", -32600), (b"{}", -32600)):
        answer = agent.request("POST", "/api/mcp", body)
        assert (answer.status, answer.json["error"]["code"]) == (400, code)
        assert answer.json["error"]["data"]["code"] == "VAL_002"
    agent.request("POST", "/api/mcp", b"{}", headers={"Content-Type": "text/plain"}).refused(415, "HTTP_415")
    agent.request("POST", "/api/mcp", b"{}", headers={"Origin": "http://evil.example"}).refused(403, "SEC_002")
    assert "error" in post(agent, "tools/call", {"arguments": {}}).ok()
    assert "error" in post(agent, "resources/read", {"uri": 7}).ok()


def test_tools_of_a_token(sidecar: Sidecar) -> None:
    """A token sees the tools that it may use, and a call of another is refused."""
    names = [one["name"] for one in legacy(sidecar.agent(), "tools/list")["tools"]]
    assert names == [*ALL, "spawn_agent"]
    coder = sidecar.agent("python-specialist")
    assert [one["name"] for one in legacy(coder, "tools/list")["tools"]] == ALL
    bare = sidecar.agent("python-specialist", permissions=[])
    listed = {one["name"] for one in legacy(bare, "tools/list")["tools"]}
    assert listed == {"wait_for_event", "list_events", "claim", "checkpoint", "briefing"}
    assert failed(coder, "spawn_agent", agent_type="test-engineer")[0] == "AUTH_003"
    assert failed(bare, "publish_event", event_type="a", topic="b", data=1)[0] == "AUTH_003"


def test_arguments_are_named_as_over_http() -> None:
    """Each argument is one of the route's, of the path, or one that docs/mcp.md explains."""
    from unittest.mock import Mock

    routes = {f"{route.method} {route.path}": route for route in route_table(Mock())}
    own = {"claim": {"renew", "release"}, "checkpoint": {"checkpoint"}}
    names = {
        "get_context": "GET /api/context/<issue_id>/<agent_type>",
        "publish_event": "POST /api/events/<event_type>",
        "list_events": "GET /api/events",
        "store_result": "POST /api/results",
        "claim": "POST /api/claims",
        "briefing": "GET /api/agents/<agent_id>/briefing",
        "spawn_agent": "POST /api/agents/spawn",
    }
    for name, route_name in names.items():
        route = routes[route_name]
        known = {it.encode_name for it in msgspec.structs.fields(route.query)} | own.get(name, set())
        if route.body is not None:
            known |= {it.encode_name for it in msgspec.structs.fields(route.body)}
        assert [it for it in BY_NAME[name].properties if it not in known and f"<{it}>" not in route.path] == []


def test_events(sidecar: Sidecar) -> None:
    """What one publishes another waits for; a position is kept, and the cursor is in the answer."""
    agent, other, kind = sidecar.agent(), sidecar.agent(), unique("mcp_event")
    assert tool(agent, "wait_for_event", event_type=kind, timeout=0)["timeout"] is True
    published = tool(other, "publish_event", event_type=kind, topic="work", data={"n": 1}, priority=None)
    found = tool(agent, "wait_for_event", event_type=kind, timeout=5000)
    assert [event["data"] for event in found["events"]] == [{"n": 1}]
    assert found["next_cursor"] == published["cursor"]
    assert tool(agent, "wait_for_event", event_type=kind, timeout=0)["events"] == []
    again = tool(agent, "wait_for_event", event_type=kind, timeout=0, since="earliest", filter="n:>0")
    assert len(again["events"]) == 1
    assert [one["event_id"] for one in tool(agent, "list_events", type=kind)["events"]] == [published["event_id"]]
    code, said = failed(agent, "list_events", event_types=kind)
    assert (code, "did you mean" in said or "it takes" in said) == ("VAL_001", True)
    assert failed(agent, "publish_event", event_type=kind, topic="a b", data=1)[0] == "VAL_001"
    assert failed(agent, "publish_event", event_type=kind, topic="a")[0] == "VAL_001"
    assert failed(agent, "wait_for_event", event_type=kind, filter="a==1")[0] == "EVT_003"
    assert "240000" in failed(agent, "wait_for_event", event_type=kind, timeout=240_001)[1]
    assert failed(agent, "wait_for_event", event_type=[kind])[0] == "VAL_001"


def test_a_long_wait_gives_signs_of_life(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stream there is progress for a client that asked for it, a comment for another, and then the response."""
    monkeypatch.setattr("cco_sidecar.web.mcp.streaming.BEAT_SECONDS", 0.05)
    agent = sidecar.agent()
    accept = {"Accept": "application/json, text/event-stream"}
    params: dict[str, Any] = {"name": "wait_for_event", "arguments": {"event_type": unique("never"), "timeout": 300}}
    for meta in ({"progressToken": "mine"}, {}):
        body = {"jsonrpc": "2.0", "id": "w", "method": "tools/call", "params": {**params, "_meta": meta}}
        answer = agent.request("POST", "/api/mcp", body, headers=accept)
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        data = [line for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        *beats, last = (json.loads(line.removeprefix("data: ")) for line in data)
        assert (last["id"], last["result"]["structuredContent"]["timeout"]) == ("w", True)
        if meta:
            steps = [beat["params"]["progress"] for beat in beats]
            assert len(steps) >= 3
            assert steps == sorted(set(steps))
            assert {beat["params"]["progressToken"] for beat in beats} == {"mine"}
        else:
            assert (beats, answer.body.count(b": still here") >= 3) == ([], True)


def test_hanging_up_frees_the_wait(sidecar: Sidecar) -> None:
    """A client that goes away leaves no poll behind, on a stream or not."""
    agent = sidecar.agent()
    before = sidecar.service.parts.base.polls.used
    for accept in ("application/json", "text/event-stream"):
        params = {"name": "wait_for_event", "arguments": {"event_type": unique("never"), "timeout": 60_000}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {"Authorization": f"Bearer {agent.token}", "Content-Type": "application/json", "Accept": accept}
        connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=10)
        connection.request("POST", "/api/mcp", body, headers)
        until(lambda: sidecar.service.parts.base.polls.used == before + 1, "that the wait is parked")
        connection.close()
        until(lambda: sidecar.service.parts.base.polls.used == before, "that its place is free")


def test_work(sidecar: Sidecar) -> None:
    """Claims, checkpoints, briefings, results and context: the same as over HTTP."""
    issue = unique("issue")
    agent, other = sidecar.agent("python-specialist", issue), sidecar.agent("python-specialist", issue)
    path = unique("file")
    held = tool(agent, "claim", resources=[path], ttl_seconds=60)
    code, said = failed(other, "claim", resource=path)
    assert (code, agent.agent_id in said) == ("CLM_001", True)
    assert tool(agent, "claim", renew=held["id"], ttl_seconds=90)["ttl_seconds"] == 90
    assert failed(agent, "claim", release=held["id"], resource=path)[0] == "VAL_002"
    assert failed(agent, "claim", resource=path, wait=240_001)[0] == "VAL_001"
    assert tool(agent, "claim", release=held["id"])["released"] is True
    assert tool(other, "claim", resource=path, wait=10)["agent_id"] == other.agent_id

    assert failed(agent, "checkpoint")[0] == "NOT_FOUND"
    tool(agent, "checkpoint", checkpoint={"next": 1})
    assert tool(agent, "checkpoint") == agent.get(f"/api/agents/{agent.agent_id}/checkpoint").ok() == {"next": 1}
    assert "## Your checkpoint" in tool(agent, "briefing", budget_tokens=500)

    stored = tool(agent, "store_result", result={"status": "success", "decisions": ["x"]})
    assert agent.get(f"/api/results/id/{stored['id']}").ok()["agent_id"] == agent.agent_id
    assert failed(agent, "store_result", result={"status": "fine"})[0] == "VAL_002"
    assert failed(agent, "store_result", result={"status": "success"}, agent_id="other")[0] == "VAL_001"

    context = tool(agent, "get_context", task="prices", budget_tokens=2000)
    assert context.startswith(f"# Context of python-specialist on {issue}")
    assert len(context.encode()) <= 6000
    assert failed(agent, "get_context", issue_id="another")[0] == "AUTH_005"
    assert failed(agent, "get_context", agent_type="no-such-type")[0] == "AGT_002"


def test_admin_is_no_agent(sidecar: Sidecar) -> None:
    for name, arguments in (("store_result", {"result": {"status": "success"}}), ("checkpoint", {}), ("briefing", {})):
        assert "cco mcp" in failed(sidecar.admin, name, **arguments)[1]
    assert "issue_id" in failed(sidecar.admin, "get_context")[1]


def test_spawn(sidecar: Sidecar) -> None:
    """An agent is started on the own issue; what cannot be started says why."""
    agent = sidecar.agent()
    spawned = tool(agent, "spawn_agent", agent_type="python-specialist", runner="brief", task="Be brief")
    assert sidecar.admin.get(f"/api/agents/{spawned['agent_id']}").ok()["issue_id"] == agent.issue_id
    assert failed(agent, "spawn_agent", agent_type="python-specialist", runner="missing")[0] == "AGT_001"
    assert failed(agent, "spawn_agent", agent_type="python-specialist", issue_id="another")[0] == "AUTH_005"


def test_resources(sidecar: Sidecar) -> None:
    """Events and results by URI; what is not there, or not for this token, is an error and never empty."""
    issue = unique("issue")
    agent = sidecar.agent("python-specialist", issue)
    event = agent.publish(unique("shown"))["event_id"]
    stored = tool(agent, "store_result", result={"status": "success", "mark": issue})["id"]
    uris = [one["uri"] for one in legacy(agent, "resources/list")["resources"]]
    assert {f"cco://events/{event}", f"cco://results/{stored}"} <= set(uris)
    for uri in (f"cco://results/{stored}", f"cco://results/{issue}/python-specialist"):
        (content,) = legacy(agent, "resources/read", uri=uri)["contents"]
        assert (content["uri"], json.loads(content["text"])["result"]["mark"]) == (uri, issue)
    (content,) = legacy(agent, "resources/read", uri=f"cco://events/{event}")["contents"]
    assert json.loads(content["text"])["event_id"] == event
    assert len(legacy(agent, "resources/templates/list")["resourceTemplates"]) == 3

    gone = modern(agent, "resources/read", uri="cco://events/evt-none-1")
    assert (gone.status, gone.json["error"]["code"]) == (400, -32602)
    assert gone.json["error"]["data"]["uri"] == "cco://events/evt-none-1"
    for uri in ("file:///etc/passwd", "cco://results/../../etc", "cco://results/a/b/c", "cco://x"):
        assert post(agent, "resources/read", {"uri": uri}).ok()["error"]["code"] == -32002
    foreign = modern(sidecar.agent(), "resources/read", uri=f"cco://results/{stored}")
    assert (foreign.status, foreign.json["error"]["data"]["code"]) == (403, "AUTH_005")
    bare = sidecar.agent("python-specialist", issue, permissions=[])
    assert all(one["uri"].startswith("cco://events/") for one in legacy(bare, "resources/list")["resources"])


def test_headers_of_the_message_are_not_the_tools(sidecar: Sidecar) -> None:
    """How the message is to be answered does not change what a tool says; an Idempotency-Key counts for it."""
    agent = sidecar.agent()
    event = {"event_type": unique("once"), "topic": "t", "data": 1}
    asked = [
        post(agent, "tools/call", {"name": "publish_event", "arguments": event}, Idempotency_Key="k").ok()["result"]
        for _ in range(2)
    ]
    assert asked[0] == asked[1]
    listing = {"name": "list_events", "arguments": {"type": event["event_type"]}}
    accept = {"Accept": "application/cloudevents-batch+json", "Accept_Encoding": "gzip", "If_None_Match": "*"}
    found = post(agent, "tools/call", listing, **accept).ok()["result"]["structuredContent"]
    assert len(found["events"]) == 1
    context = post(agent, "tools/call", {"name": "get_context"}, **accept).ok()["result"]
    assert context["content"][0]["text"].startswith("# Context")


def test_a_token_that_ends_ends_the_wait(sidecar: Sidecar) -> None:
    """Whoever waits under a token that is revoked is told, at once."""
    agent = sidecar.agent()
    before = sidecar.service.parts.base.polls.used
    waiting = sidecar.later(failed, agent, "wait_for_event", event_type=unique("never"), timeout=9000)
    until(lambda: sidecar.service.parts.base.polls.used == before + 1, "that the wait is parked")
    jti = jwt.decode(str(agent.token), options={"verify_signature": False})["jti"]
    began = time.monotonic()
    sidecar.admin.delete(f"/api/tokens/{jti}").ok()
    assert waiting.result(10)[0] == "AUTH_004"
    assert time.monotonic() - began < 5
    post(agent, "ping").refused(401, "AUTH_004")


def test_messages_come_with_results(sidecar: Sidecar) -> None:
    """What others have written comes beside a tool's result, three at a time, and the next call proves it seen."""
    issue = unique("issue")
    first, second = (sidecar.agent(issue_id=issue) for _ in range(2))
    ids = [
        first.post("/api/messages", {"to": second.agent_id, "body": body, "ack": not number}).ok(201)["id"]
        for number, body in enumerate(["use AKIA" + "Z7Q2M4N6P8R3T5V9", "b" * 9_000, {"c": 1}, "d"])
    ]

    def states() -> list[str]:
        return [first.get(f"/api/messages/{one}").ok()["state"] for one in ids]

    whole = legacy(second, "tools/call", name="list_events", arguments={})
    content = whole["content"]
    assert len(content) == 2
    said = content[1]["text"]
    # Claude Code shows a model the structured content alone.
    assert whole["structuredContent"] == {**json.loads(content[0]["text"]), "messages_for_you": said}
    assert said.startswith("3 messages for you")
    assert f"info from `{first.agent_id}` (chief-architect), `{ids[0]}`: use [REDACTED:aws-access-key-id]" in said
    assert f"cco msg done {ids[0]}" in said
    assert f"cco msg trace {ids[1]}" in said
    assert len(said) < 5_000
    assert '{"c":1}' in said
    assert states() == ["offered", "offered", "offered", "queued"]
    found = legacy(second, "tools/call", name="claim", arguments={"resource": ".."})  # also with what goes wrong
    assert found["isError"]
    assert "`: d" in found["content"][1]["text"]
    assert states() == ["seen", "seen", "seen", "offered"]
    legacy(second, "tools/call", name="list_events", arguments={})
    assert states()[3] == "seen"
