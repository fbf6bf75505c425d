"""The scripted agent by itself, against a sidecar that answers as told."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cco_sidecar.client import NotAllowed, SidecarError
from cco_sidecar.demo import agent
from cco_sidecar.demo.agent import CALLED_WITHIN_SECONDS, REQUESTS_SECONDS, ScriptedAgent

Answer = tuple[int, Mapping[str, Any]]

CONTEXT = {
    "context": {
        "relevant_files": [{"path": "a.py", "content": "x\ny\n"}],
        "previous_agent_outputs": [{"agent_type": "chief-architect", "result_id": "res-1"}],
    }
}
CALL = {"event_id": "evt-1", "event_type": "architecture_defined", "sequence": 7, "timestamp": "2026-01-01T00:00:00Z"}


class FakeSidecar:
    """Answers on loopback, and notes each request as ``METHOD path`` with its body."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.tokens: list[str | None] = []
        self.troubles: dict[str, list[Answer]] = {}
        self.events: list[Mapping[str, Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.answer(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Be silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        body = json.loads(handler.rfile.read(length)) if length else None
        what = f"{handler.command} {handler.path.partition('?')[0].removeprefix('/api')}"
        self.requests.append((what, body))
        self.tokens.append(handler.headers["Authorization"])
        status, found = self.usual(what, handler.headers["If-None-Match"])
        if self.troubles.get(what):
            status, found = self.troubles[what].pop(0)
        text = b"" if status == 304 else json.dumps(found).encode()
        handler.send_response(status)
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def usual(self, what: str, etag: str | None) -> Answer:
        if what.startswith("GET /context/"):
            return (304, {}) if etag == '"one"' else (200, CONTEXT)
        if what.startswith("GET /events/wait/"):
            return 200, {"events": self.events}
        if what == "POST /results":
            return 201, {"id": "res-9", "storage_path": "/there"}
        return 202, {"sequence": 1}

    def said(self, what: str) -> list[Any]:
        """Give the bodies of the requests that went there."""
        return [body for each, body in self.requests if each == what]


@pytest.fixture
def sidecar() -> Iterator[FakeSidecar]:
    """Serve until the test ends."""
    fake = FakeSidecar()
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    fake.server.shutdown()
    thread.join()
    fake.server.server_close()


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agents not play at working."""
    monkeypatch.setattr(agent, "WORK_SECONDS", 0.0)


def environ(sidecar: FakeSidecar, tmp_path: Path, agent_type: str) -> dict[str, str]:
    (tmp_path / "token").write_text("renewed\n")
    (tmp_path / "context").write_text(json.dumps({"issue_id": "i-1", "agent_type": agent_type}))
    return {
        "AGENT_ID": "a-1",
        "AGENT_TYPE": agent_type,
        "ISSUE_ID": "i-1",
        "PROJECT_ID": "p",
        "TASK": "do it",
        "SIDECAR_URL": sidecar.url,
        "JWT_TOKEN": "first",
        "JWT_TOKEN_FILE": str(tmp_path / "token"),
        "CONTEXT_FILE": str(tmp_path / "context"),
    }


def test_called(sidecar: FakeSidecar, tmp_path: Path) -> None:
    """Called by the event that it waits for, it reads its context anew, stores a result and publishes its event."""
    sidecar.events = [CALL]
    ScriptedAgent(environ(sidecar, tmp_path, "test-engineer"), time.monotonic()).work()
    (report,) = sidecar.said("POST /results")
    assert report["result"] == {
        "status": "success",
        "summary": "tests: looked through 2 lines of a.py.",
        "decisions": ["tests: begin with a.py"],
        "files_affected": ["a.py"],
        "context": {
            "files": 1,
            "bytes": len(json.dumps(CONTEXT)),
            "earlier": ["chief-architect"],
            "not_modified": True,
            "injected": True,
        },
        "called_by": "evt-1",
    }
    assert sidecar.said("POST /events/tests_written")[0]["data"]["result_id"] == "res-9"
    assert len(sidecar.said("GET /context/i-1/test-engineer")) == 3
    assert set(sidecar.tokens) == {"Bearer renewed"}


def test_alone(sidecar: FakeSidecar, tmp_path: Path) -> None:
    """A type that no workflow starts waits for nobody."""
    ScriptedAgent(environ(sidecar, tmp_path, "python-specialist"), time.monotonic()).work()
    assert not [what for what, _ in sidecar.requests if what.startswith("GET /events/")]
    assert len(sidecar.said("POST /events/implementation_complete")) == 1


def test_not_called(sidecar: FakeSidecar, tmp_path: Path) -> None:
    """An agent that nobody calls in time says so in a partial result, and does not claim to have done anything."""
    began = time.monotonic() - CALLED_WITHIN_SECONDS + 0.3
    ScriptedAgent(environ(sidecar, tmp_path, "test-engineer"), began).work()
    (report,) = sidecar.said("POST /results")
    assert report["result"]["status"] == "partial"
    assert "nobody published architecture_defined" in report["result"]["summary"]
    assert sidecar.said("POST /events/tests_written") == []


def test_tries_again(sidecar: FakeSidecar, tmp_path: Path) -> None:
    """What is refused for the moment is asked again."""
    sidecar.troubles["POST /results"] = [(503, {}), (429, {})]
    ScriptedAgent(environ(sidecar, tmp_path, "python-specialist"), time.monotonic()).work()
    assert len(sidecar.said("POST /results")) == 3


def test_refused(sidecar: FakeSidecar, tmp_path: Path) -> None:
    """What is refused for good ends the agent, with the sidecar's reason; nothing is published after it."""
    sidecar.troubles["POST /results"] = [(403, {"code": "AUTH_003", "message": "no"})]
    with pytest.raises(NotAllowed, match=r"no \(AUTH_003\)"):
        ScriptedAgent(environ(sidecar, tmp_path, "python-specialist"), time.monotonic()).work()
    assert sidecar.said("POST /events/implementation_complete") == []


def test_nobody_answers(sidecar: FakeSidecar, tmp_path: Path) -> None:
    """Without a sidecar it gives up when its time is over."""
    given = {**environ(sidecar, tmp_path, "python-specialist"), "SIDECAR_URL": "http://127.0.0.1:1/api"}
    with pytest.raises(SidecarError, match="No sidecar answers"):
        ScriptedAgent(given, time.monotonic() - REQUESTS_SECONDS + 0.3).work()
