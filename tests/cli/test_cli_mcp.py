"""``cco mcp``: lines in, requests to the sidecar, lines out; and whose they are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cco_sidecar.cli.place import project_of

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
PONG = {"jsonrpc": "2.0", "id": 1, "result": {}}


def lines(*messages: object) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in messages)


def said(cco: "Cco", *messages: object, token: str | None = "mine") -> list[dict[str, Any]]:
    """Give what a run of these messages prints, by id."""
    found = cco("mcp", *(() if token is None else ("--token", token)), text=lines(*messages))
    assert found.exit_code == 0, found.output
    return sorted((json.loads(line) for line in found.stdout.splitlines()), key=lambda one: str(one.get("id")))


def test_carries_messages(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A request is posted as it is, with the token; notifications are answered with nothing."""
    sidecar.on("POST", "/api/mcp", PONG)
    pong, wrong = said(cco, PING, "", "{")
    assert (pong, wrong["id"], wrong["error"]["code"]) == (PONG, None, -32700)
    (asked,) = [one for one in sidecar.asked if one.path == "/api/mcp"]
    assert (asked.body, asked.headers["authorization"]) == (PING, "Bearer mine")
    assert "text/event-stream" in asked.headers["accept"]
    assert "mcp-protocol-version" not in asked.headers


def test_notifications(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    sidecar.on("POST", "/api/mcp", b"", 202)
    assert said(cco, {"jsonrpc": "2.0", "method": "notifications/initialized"}) == []
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    assert said(cco, cancelled) == []
    assert [one.body["method"] for one in sidecar.asked] == ["notifications/initialized"]


def test_headers_of_the_newer_era(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What the message says is said in headers, too, also where those cannot hold it."""
    sidecar.on("POST", "/api/mcp", PONG)
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    said(cco, {**PING, "method": "tools/call", "params": {"name": "é", "_meta": meta}})
    headers = sidecar.asked[-1].headers
    assert (headers["mcp-protocol-version"], headers["mcp-method"]) == ("2026-07-28", "tools/call")
    assert headers["mcp-name"] == "=?base64?w6k=?="


def test_streams(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Each event of a stream is a line; comments are for the connection alone."""
    beat = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
    body = f": hello\n\nevent: message\ndata: {json.dumps(beat)}\n\ndata: {json.dumps(PONG)}\n\n".encode()
    sidecar.on("POST", "/api/mcp", body, 200, **{"Content-Type": "text/event-stream; charset=utf-8"})
    assert said(cco, PING) == [PONG, beat]


def test_refusals(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What the sidecar refuses as on every route becomes an error of the protocol, and names what to do."""
    sidecar.refuse("POST", "/api/mcp", 429, "RATE_001", "Too many requests: wait.")
    (answer,) = said(cco, PING)
    assert (answer["id"], answer["error"]["message"]) == (1, "Too many requests: wait.")
    assert answer["error"]["data"]["code"] == "RATE_001"


def test_a_person_acts_as_an_agent(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token of one's own the admin's gets one; when that ends, another for the same agent."""
    sidecar.on("POST", "/api/tokens", {"token": "first", "agent_id": "a-1"}, 201)
    sidecar.on("POST", "/api/tokens", {"token": "second", "agent_id": "a-1"}, 201)
    sidecar.refuse("POST", "/api/mcp", 401, "AUTH_002", "This token has expired.")
    sidecar.on("POST", "/api/mcp", PONG)
    monkeypatch.setenv("CCO_ISSUE", "issue-7")
    assert said(cco, PING, token=None) == [PONG]
    tokens = [one.body for one in sidecar.asked if one.path == "/api/tokens"]
    agent_id = tokens[0]["agent_id"]
    assert agent_id.startswith("chief-architect-")
    assert tokens == [{"agent_type": "chief-architect", "issue_id": "issue-7", "agent_id": agent_id}] * 2
    shown = [one.headers["authorization"] for one in sidecar.asked if one.path == "/api/mcp"]
    assert shown == ["Bearer first", "Bearer second"]


def test_no_sidecar(cco: "Cco") -> None:
    """Each request says how to start one; the client stays connected, and can ask again."""
    for token in ("--token", "mine"), ():
        found = cco("mcp", "--sidecar-url", "http://127.0.0.1:9", *token, text=lines(PING))
        assert "cco daemon start" in json.loads(found.stdout)["error"]["message"]


def test_a_token_that_is_refused_to_a_person(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The answer has the sidecar's words and its error."""
    sidecar.refuse("POST", "/api/tokens", 400, "VAL_001", "issue_id is wrong.")
    (answer,) = said(cco, PING, token=None)
    assert answer["error"]["message"] == "issue_id is wrong."
    assert answer["error"]["data"]["code"] == "VAL_001"


def test_project_of_a_directory(tmp_path: Path) -> None:
    """The innermost that holds it; none if the config file names none or is wrong."""
    file = tmp_path / "config.json"
    environ = {"CCO_CONFIG": str(file)}
    assert project_of(tmp_path, environ) is None
    file.write_text(json.dumps({"projects": {"outer": str(tmp_path), "inner": str(tmp_path / "a"), "b": "/nowhere"}}))
    assert project_of(tmp_path / "a" / "deep", environ) == "inner"
    assert project_of(tmp_path / "c", environ) == "outer"
    assert project_of(Path("/"), environ) is None
    file.write_text('{"projects": []}')
    assert project_of(tmp_path, environ) is None
