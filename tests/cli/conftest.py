"""A sidecar that answers as scripted, on a real loopback socket, and the `cco` command pointed at it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from click.testing import CliRunner, Result

from cco_sidecar.cli.root import cli


class Asked(NamedTuple):
    """A request as the sidecar saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """An answer; ``body`` is bytes or what JSON can hold."""

    status: int
    body: Any
    headers: dict[str, str]


class ScriptedSidecar:
    """Gives the replies of ``script`` in turn (the last one for ever), and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: dict[str, list[Reply]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def on(self, method: str, path: str, body: Any, status: int = 200, **headers: str) -> None:
        """Add a reply to those to ``method`` and ``path``."""
        self.script.setdefault(f"{method} {path}", []).append(Reply(status, body, headers))

    def refuse(self, method: str, path: str, status: int, code: str, message: str, **headers: str) -> None:
        """Add an error answer as the contract has it."""
        body = {"error": "no", "message": message, "code": code, "details": {}, "timestamp": "", "request_id": "req-7"}
        self.on(method, path, body, status, **headers)

    def reply_to(self, asked: Asked) -> Reply:
        """Keep the request and give its reply."""
        self.asked.append(asked)
        replies = self.script.get(f"{asked.method} {asked.path}")
        if replies is None:
            return Reply(404, {"message": f"There is no {asked.method} {asked.path}.", "code": "NOT_FOUND"}, {})
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sidecar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = json.loads(body) if body else None
                reply = sidecar.reply_to(Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, asked))
                text = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"Content_Type": "application/json", **reply.headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler


Cco = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty CCO_HOME, in an environment without settings."""
    import os

    for name in os.environ:
        if name.startswith(("CCO_", "CLAUDE")) or name in {
            "SIDECAR_URL",
            "JWT_TOKEN",
            "JWT_TOKEN_FILE",
            "PROJECT_ROOT",
        }:
            monkeypatch.delenv(name)
    for name in ("AGENT_ID", "AGENT_TYPE", "ISSUE_ID", "PROJECT_ID", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    found = tmp_path / "home"
    found.mkdir()
    monkeypatch.setenv("CCO_HOME", str(found))
    monkeypatch.setenv("HOME", str(tmp_path))
    return found


@pytest.fixture
def cco(home: Path) -> Cco:
    """Give a function that runs `cco` with its arguments."""
    runner = CliRunner()

    def run(*arguments: str, text: str | None = None) -> Result:
        return runner.invoke(cli, arguments, input=text, prog_name="cco", catch_exceptions=False)

    return run


@pytest.fixture
def sidecar(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedSidecar]:
    """Give a scripted sidecar that `cco` finds, with the admin's token at hand."""
    found = ScriptedSidecar()
    (home / "admin-token").write_text("the-admin-token\n")
    monkeypatch.setenv("CCO_SIDECAR_URL", found.url)
    yield found
    found.close()
