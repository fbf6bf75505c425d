"""A whole sidecar in this process, and clients that talk to it over real sockets.

Tests of this directory are clients: each runs in a thread of its own (see conftest.py) and may block, while the
reactor serves in the main thread. Whatever a client is answered is held against the contract at once, in `Answer`.
"""

import http.client
import io
import json
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from attrs import define, field, frozen
from jsonschema import Draft202012Validator
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.ground import Ground, claim
from cco_sidecar.service import SidecarService
from cco_sidecar.settings import Settings, load

_log = Logger()
T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long a test waits for what ought to come at once."""

PYTHON = [sys.executable, "-I", "-S", "-c"]
RUNNERS: dict[str, Any] = {
    "missing": {"command": ["/nowhere/no-such-program"]},
    "brief": {"command": [*PYTHON, "print('one\\ntwo\\nthree')"]},
    "idle": {"command": [*PYTHON, "import signal; print('ready', flush=True); signal.pause()"]},
    "loud": {"command": [*PYTHON, "for n in range(300_000): print('line', n)"]},
    "failing": {"command": [*PYTHON, "raise SystemExit(3)"]},
    "hooked": {"command": [*PYTHON, "import json, os; print(json.dumps(dict(os.environ)))", "{settings_file}"]},
    "told": {"command": [*PYTHON, "import json, os; print(json.dumps(dict(os.environ)))"]},
}
"""Programs that agents of the tests run as."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
ENVELOPE = {"error", "message", "code", "details", "timestamp", "request_id"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

_numbers = count(1)


def _cannot_go(failure: Failure) -> None:
    _log.failure("the sidecar could not start", failure)


def unique(what: str) -> str:
    """Make a name that no other test uses."""
    return f"{what}-{next(_numbers)}"


def until(true: Callable[[], object], what: str) -> None:
    """Wait, with a deadline, for something that happens in another thread or process."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.002)


@frozen
class Answer:
    """An answer, whole; what the contract asks of every one is checked as it is made."""

    method: str
    path: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __attrs_post_init__(self) -> None:
        for name, value in SECURITY_HEADERS.items():
            assert self.headers.get_all(name) == [value], f"{name} on {self.status}"
        assert self.headers["Cache-Control"] in {"no-store", "private"}
        assert self.headers["X-Request-ID"]
        if self.status >= 400 and self.method != "HEAD" and self.path not in {"/health", "/readyz"}:
            self._check_envelope()

    def _check_envelope(self) -> None:
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        # JSON-RPC has an envelope of its own, and the contract's in it.
        said = self.json["error"]["data"] if "jsonrpc" in self.json else self.json
        assert set(said) >= ENVELOPE if "jsonrpc" in self.json else set(said) == ENVELOPE
        assert TIME.fullmatch(said["timestamp"])
        assert said["request_id"] == self.headers["X-Request-ID"]
        assert isinstance(said["details"], dict)
        assert len(said["message"]) > 10
        for secret in ("Traceback", "site-packages", ".py", "eyJ"):
            assert secret not in said["message"]

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.json["code"])

    def refused(self, status: int, code: str) -> "Answer":
        """Insist on a refusal."""
        assert (self.status, self.body and self.json.get("code")) == (status, code), self.body
        return self

    def ok(self, status: int = 200) -> Any:
        """Insist on success; gives the decoded body."""
        assert self.status == status, self.body
        return self.json


@define(eq=False)
class Client:
    """Somebody who calls the API, each time on a connection of its own that is closed after the answer was read."""

    sidecar: "Sidecar"
    token: str | None
    agent_id: str = ""
    issue_id: str = ""

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """Ask, and read the whole answer; ``body`` is bytes or what JSON can hold."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sidecar.port, timeout=PATIENCE_SECONDS)
        try:
            return self.ask(connection, method, path, body, headers=headers, **query)
        finally:
            connection.close()

    def ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """Ask on a connection that may be kept."""
        sent = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if content is not None:
            sent["Content-Type"] = "application/json"
        connection.request(method, self._target(path, query), content, {**sent, **(headers or {})})
        response = connection.getresponse()
        answer = Answer(method, path, response.status, response.headers, response.read())
        self.sidecar.description.check(answer, path)
        return answer

    def _target(self, path: str, query: Mapping[str, object]) -> str:
        return f"{path}?{urlencode(query)}" if query else path

    def get(self, path: str, **query: Any) -> Answer:
        """GET."""
        return self.request("GET", path, **query)

    def post(self, path: str, body: object = None, **query: Any) -> Answer:
        """POST JSON."""
        return self.request("POST", path, body, **query)

    def delete(self, path: str, **query: Any) -> Answer:
        """DELETE."""
        return self.request("DELETE", path, **query)

    def publish(self, event_type: str, topic: str = "work", **data: object) -> Any:
        """Publish an event; gives the answer."""
        return self.post(f"/api/events/{event_type}", {"topic": topic, "data": data}).ok(202)

    def wait(self, types: str, **query: Any) -> Any:
        """Wait for events; gives the answer."""
        return self.get(f"/api/events/wait/{types}", **query).ok()

    def raw(self, method: str, path: str, body: bytes = b"", *lines: str) -> bytes:
        """Give the bytes of a request, for tests that send them themselves."""
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}", *lines]
        if body:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*head, "", ""]).encode() + body


class _Reader(io.BufferedReader):
    """What a socket says, for one answer after the other: http.client closes it after each, and must not."""

    def close(self) -> None:
        """Stay open."""

    def makefile(self, _mode: str) -> "_Reader":
        """Be the file that http.client makes of a socket; a new one each time would take the next answer with it."""
        return self


class Wire:
    """A bare socket to the sidecar."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._reader = _Reader(socket.SocketIO(self.socket, "rb"))

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def answer(self, method: str = "GET", path: str = "") -> Answer:
        """Read one answer; what follows on the connection stays unread."""
        response = http.client.HTTPResponse(self._reader, method=method)  # type: ignore[arg-type]
        response.begin()
        return Answer(method, path, response.status, response.headers, response.read())

    def rest(self) -> bytes:
        """Read to the end; a reset is an end, too."""
        parts = []
        try:
            while part := self._reader.read1():
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def reset(self) -> None:
        """Close so that the peer gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close as a program does that ends."""
        self.socket.close()


@define(eq=False)
class Description:
    """The OpenAPI document, as a measure for real answers."""

    document: dict[str, Any]
    _validators: dict[str, Draft202012Validator] = field(factory=dict)

    @cached_property
    def _routes(self) -> list[tuple[str, re.Pattern[str], dict[str, Any]]]:
        routes = []
        for path, operations in self.document["paths"].items():
            # A word beats a parameter: fewer parameters first.
            pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
            routes += [(method.upper(), pattern, operation) for method, operation in operations.items()]
        return sorted(routes, key=lambda route: route[1].pattern.count("[^/]+"))

    def check(self, answer: Answer, path: str) -> None:
        """Hold a JSON answer against the schema of its route."""
        if not self.document or answer.method == "HEAD" or "Content-Encoding" in answer.headers:
            return
        if not answer.body or not answer.headers["Content-Type"].startswith("application/json"):
            return
        found = next((r[2] for r in self._routes if r[0] == answer.method and r[1].fullmatch(path)), None)
        if found is None or answer.status == 503:
            return
        responses = found["responses"]
        response = responses["default"] if answer.status >= 400 else next(iter(responses.values()))
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        if schema is not None:
            self._validator(schema).validate(answer.json)

    def _validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        name = json.dumps(schema)
        if name not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[name] = Draft202012Validator(whole)
        return self._validators[name]


@define(eq=False)
class Sidecar:
    """A running sidecar, as its clients see it, and (for faults) from within."""

    settings: Settings
    ground: Ground
    service: SidecarService
    description: Description = field(factory=lambda: Description({}))
    admin: Client = field(init=False)
    over: bool = False
    _pool: ThreadPoolExecutor = field(factory=lambda: ThreadPoolExecutor(128))

    @classmethod
    def claimed(cls, directory: Path, config: Mapping[str, Any] | None = None) -> "Sidecar":
        """Make one on a directory of its own, with two projects; the reactor starts it (``service.startService``)."""
        roots = [directory / "alpha", directory / "beta"]
        for root in roots:
            root.mkdir(exist_ok=True)
            (root / "main.py").write_text("print('hello')\n")
        (directory / "config.json").write_text(json.dumps(config or {}))
        flags = {
            "port": "0",
            "storage": str(directory / "storage"),
            "config": str(directory / "config.json"),
            "project_root": [f"{root.name}={root}" for root in roots],
        }
        environ = {"CCO_HOME": str(directory / "home"), "HOME": str(directory)}
        settings = load(flags, environ, directory)
        ground = claim(settings)
        service = SidecarService(reactor, ground)
        # A start that fails ends the process by way of the reactor; this reactor is all tests'.
        service._cannot_go = _cannot_go  # type: ignore[method-assign]
        return cls(settings, ground, service)

    def meet(self) -> "Sidecar":
        """Wait until it serves, and take the admin's token; from a client's thread."""
        until(lambda: self.service._ready, "that it serves")
        self.admin = Client(self, None)
        self.admin.get("/readyz").ok()
        self.admin.token = (self.settings.home / "admin-token").read_text().strip()
        self.description = Description(self.admin.get("/api/openapi.json").ok())
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.service._ground.url.rpartition(":")[2])

    @property
    def storage(self) -> Path:
        """Where it keeps things."""
        return self.settings.storage

    def agent(self, agent_type: str = "chief-architect", issue_id: str | None = None, **more: object) -> Client:
        """Make a new agent, by a token; on an issue of its own if none is named."""
        issue_id = issue_id or unique("issue")
        project = {"project_id": more.pop("project_id")} if "project_id" in more else {}
        body = {"agent_type": agent_type, "issue_id": issue_id, **project, **more}
        made = self.admin.post("/api/tokens", body).ok(201)
        return Client(self, made["token"], made["agent_id"], issue_id)

    def anyone(self, token: str | None = None) -> Client:
        """Make a client with a token of the test's own making, or none."""
        return Client(self, token)

    def wire(self) -> Wire:
        """Open a bare socket."""
        return Wire(self.port)

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        """Open a connection that is kept for several requests."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            yield connection
        finally:
            connection.close()

    def later(self, work: Callable[..., T], *args: object, **more: object) -> "Future[T]":
        """Do something in another thread: a poll that parks."""
        return self._pool.submit(work, *args, **more)

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in the reactor's thread."""

        def now() -> Any:
            return work()

        result: T = blockingCallFromThread(cast(IReactorFromThreads, reactor), now)
        return result

    @property
    def parked(self) -> int:
        """How many polls are parked now, as everybody can see."""
        return int(self.admin.get("/status").ok()["events"]["active_subscriptions"])

    def until_parked(self, many: int) -> None:
        """Wait until exactly so many polls are parked."""
        room = self.service.parts.base.polls
        until(lambda: room.used == many, f"{many} parked polls, not {room.used}")

    def stop(self) -> None:
        """End it as a signal would; from a client's thread."""
        done: Future[None] = Future()

        def begin() -> None:
            self.service.stopService().addBoth(lambda _: done.set_result(None))

        self.inside(begin)
        done.result(PATIENCE_SECONDS)
        self.let_go()

    def let_go(self) -> None:
        """Give back what a second sidecar on the same directory would need; after the service has stopped."""
        self.over = True
        os.close(self.ground.storage_lock)
        self._pool.shutdown(wait=False, cancel_futures=True)
