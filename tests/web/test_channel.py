"""The HTTP/1.1 connection: what is no request, what is too much or too slow, and who may knock."""

import http.client
import json
from collections.abc import Callable

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from cco_sidecar.web.site import SWEEP_SECONDS, SidecarSite
from tests.web.sidecar import Sidecar

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/events/x HTTP/1.1\r\nHost: localhost\r\n"

NO_REQUESTS = {
    "a word": b"hello\r\n\r\n",
    "no version": b"GET /health\r\nHost: localhost\r\n\r\n",
    "another version": b"GET /health HTTP/3.0\r\nHost: localhost\r\n\r\n",
    "two spaces": b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a control character in the path": b"GET /he\0alth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method of other letters": b"G\xc3\x84T /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "length and identity": POST + b"Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +5\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length of other digits": POST + "Content-Length: ٢\r\n\r\n{}".encode(),
    "a length of thousands of digits": POST + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\n{}",
    "an unknown encoding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "two encodings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a signed chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    "a chunk without its end": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
    "a space before the colon": HEAD + b"X-Name : 1\r\n\r\n",
    "no colon": HEAD + b"X-Name\r\n\r\n",
    "no name": HEAD + b": 1\r\n\r\n",
    "a NUL in a value": HEAD + b"X-Name: a\0b\r\n\r\n",
    "a CR in a value": HEAD + b"X-Name: a\rb\r\n\r\n",
    "a folded line": HEAD + b"X-Name: a\r\n b\r\n\r\n",
    "a folded first line": b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
}


@pytest.mark.parametrize("what", NO_REQUESTS)
def test_no_request(what: str, sidecar: Sidecar) -> None:
    """What servers might read differently is answered 400, in the contract's form, and the connection ends."""
    wire = sidecar.wire()
    wire.send(NO_REQUESTS[what] + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = wire.answer().refused(400, "HTTP_400")
    assert answer.headers["Connection"] == "close"
    assert wire.rest() == b""


TOO_LARGE_HEADS = {
    "a long value": HEAD + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n",
    "a long line without an end": HEAD + b"X-Long: " + b"a" * 20_000,
    "a long path": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many headers": HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(150)) + b"\r\n",
    "many long headers": HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 900) for number in range(30)) + b"\r\n",
}


@pytest.mark.parametrize("what", TOO_LARGE_HEADS)
def test_head_too_large(what: str, sidecar: Sidecar) -> None:
    """A head over its cap is answered 431, and the connection ends."""
    wire = sidecar.wire()
    wire.send(TOO_LARGE_HEADS[what])
    wire.answer().refused(431, "HTTP_431")
    assert wire.rest() == b""


def test_limits_hold_for_each_request(sidecar: Sidecar) -> None:
    """The caps are a request's, not a connection's."""
    wire = sidecar.wire()
    for _ in range(5):
        wire.send(HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 100) for number in range(90)) + b"\r\n")
        wire.answer().ok()


# Bodies


def test_over_size_with_length(sidecar: Sidecar) -> None:
    """A client that sends all of a body that is too large can read the answer, and go on."""
    wire = sidecar.wire()
    wire.send(sidecar.admin.raw("POST", "/api/events/x", b'"' + b"a" * 3_000_000 + b'"', "X-Request-ID: big-1"))
    answer = wire.answer().refused(413, "HTTP_413")
    assert answer.headers["X-Request-ID"] == "big-1"
    assert answer.json["details"]["most_bytes"] == 1024 * 1024
    wire.send(HEAD + b"\r\n")
    wire.answer().ok()


def test_over_size_in_chunks(sidecar: Sidecar) -> None:
    """The same for a body whose length nobody told."""
    wire = sidecar.wire()
    wire.send(sidecar.admin.raw("POST", "/api/events/x", b"", "Transfer-Encoding: chunked"))
    for _ in range(30):
        wire.send(b"%x\r\n%s\r\n" % (50_000, b"a" * 50_000))
    wire.send(b"0\r\n\r\n")
    wire.answer().refused(413, "HTTP_413")


def test_far_too_large(sidecar: Sidecar) -> None:
    """A body without an end is not drained for ever, and the answer is there to be read."""
    wire = sidecar.wire()
    wire.send(sidecar.admin.raw("POST", "/api/events/x", b"", "Content-Length: 1000000000"))
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        for _ in range(10_000):
            wire.send(b"a" * 100_000)


def test_expect(sidecar: Sidecar) -> None:
    """Who asks before sending is told to send, or at once that it is too much."""
    wire = sidecar.wire()
    body = json.dumps({"topic": "t", "data": 1}).encode()
    head = sidecar.admin.raw("POST", "/api/events/expected", body, "Expect: 100-continue")[: -len(body)]
    wire.send(head)
    assert wire.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(body)
    wire.answer().ok(202)
    wire.send(sidecar.admin.raw("POST", "/api/events/x", b"", "Expect: 100-continue", "Content-Length: 9999999"))
    wire.answer().refused(413, "HTTP_413")
    assert wire.rest() == b""


def test_large_result(sidecar: Sidecar) -> None:
    """A result may have 16 MiB where other bodies have 1."""
    agent = sidecar.agent()
    result = {"status": "success", "text": "a" * 15_000_000}
    body = {"agent_id": agent.agent_id, "agent_type": "chief-architect", "issue_id": agent.issue_id, "result": result}
    stored = agent.post("/api/results", body).ok(201)
    assert agent.get(f"/api/results/id/{stored['id']}").ok()["result"] == result


def test_chunked_body(sidecar: Sidecar) -> None:
    """A body in chunks is a body; an empty one is empty."""
    wire = sidecar.wire()
    head = sidecar.admin.raw("POST", "/api/events/chunked", b"", "Transfer-Encoding: chunked")
    wire.send(head + b'8\r\n{"topic"\r\n13;ext=1\r\n:"t","data":[1, 2]}\r\n0\r\n\r\n')
    assert wire.answer().ok(202)["topic"] == "t"
    wire.send(head + b"0\r\n\r\n")
    wire.answer().refused(400, "VAL_002")


# Methods and pipelines


def test_head_method(sidecar: Sidecar) -> None:
    """HEAD gives the head of GET, no body, and leaves the connection in order."""
    wire = sidecar.wire()
    wire.send(HEAD.replace(b"GET", b"HEAD") + b"\r\n")
    answer = wire.answer("HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 100
    wire.send(HEAD + b"\r\n")
    wire.answer().ok()
    assert sidecar.admin.request("HEAD", "/api/agents/nobody").status == 404


@pytest.mark.parametrize("method", ["FOO", "OPTIONS", "TRACE", "CONNECT", "PATCH"])
def test_other_methods(method: str, sidecar: Sidecar) -> None:
    """Methods that a route does not have are named in the refusal's Allow."""
    answer = sidecar.anyone().request(method, "/health").refused(405, "HTTP_405")
    assert answer.headers["Allow"] == "GET"
    sidecar.anyone().request(method, "/api/agents").refused(401, "AUTH_001")
    sidecar.admin.request(method, "/api/events/wait/x").refused(405, "HTTP_405")


def test_pipeline(sidecar: Sidecar) -> None:
    """Requests sent in one go are answered one after the other, the slow one in its place."""
    wire = sidecar.wire()
    body = b'{"topic":"t","data":1}'
    wire.send(
        sidecar.admin.raw("GET", "/api/agents", b"", "X-Request-ID: a")
        + sidecar.admin.raw("POST", "/api/events/piped", body, "X-Request-ID: b")
        + sidecar.admin.raw("GET", "/api/events?type=piped", b"", "X-Request-ID: c")
        + sidecar.admin.raw("GET", "/nowhere", b"", "X-Request-ID: d")
    )
    reader = wire.socket.makefile("rb")
    got = []
    for _ in range(4):
        status = int(reader.readline().split()[1])
        headers = http.client.parse_headers(reader)
        text = reader.read(int(headers["Content-Length"]))
        got.append((status, headers["X-Request-ID"]))
        if headers["X-Request-ID"] == "c":
            assert [event["event_type"] for event in json.loads(text)["events"]] == ["piped"]
    assert got == [(200, "a"), (202, "b"), (200, "c"), (404, "d")]


def test_one_request_in_many_pieces(sidecar: Sidecar) -> None:
    """How the bytes are cut makes no difference."""
    wire = sidecar.wire()
    for byte in sidecar.admin.raw("POST", "/api/events/cut", b'{"topic":"t","data":1}'):
        wire.send(bytes([byte]))
    wire.answer().ok(202)


def test_old_and_closing_clients(sidecar: Sidecar) -> None:
    """HTTP/1.0 and ``Connection: close`` end with their answer."""
    for request in (b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n", HEAD + b"Connection: close\r\n\r\n"):
        wire = sidecar.wire()
        wire.send(request)
        wire.answer().ok()
        assert wire.rest() == b""


# Host and Origin


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True),
        ("LocalHost:80", True),
        ("127.0.0.1:{port}", True),
        ("[::1]:{port}", True),
        ("[::1]", True),
        ("::1", False),
        ("[::1", False),
        ("[::1]x", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:{port}", False),
        ("localhost:port", False),
        ("localhost@evil.example", False),
        ("", False),
        ("192.168.1.1", False),
        ("localhost\xa0", False),
        ("\x85localhost", False),
        ("localhost:\xb2", False),
    ],
)
def test_host(host: str, served: bool, sidecar: Sidecar) -> None:
    """Only names that the sidecar was told to serve are served, whatever the port; on open routes, too."""
    wire = sidecar.wire()
    wire.send(f"GET /health HTTP/1.1\r\nHost: {host.format(port=sidecar.port)}\r\n\r\n".encode("latin-1"))
    answer = wire.answer()
    assert (answer.status == 200) is served
    if not served:
        answer.refused(403, "SEC_001")


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil"], ["evil", "localhost"]])
def test_no_host_or_two(hosts: list[str], sidecar: Sidecar) -> None:
    """No Host, and two, are none."""
    wire = sidecar.wire()
    wire.send("\r\n".join(["GET /health HTTP/1.1", *(f"Host: {host}" for host in hosts), "", ""]).encode())
    wire.answer().refused(403, "SEC_001")


def test_absolute_form(sidecar: Sidecar) -> None:
    """A URL in place of a path is a request, too (RFC 9112 3.2.2), and its host is the one that counts."""
    wire = sidecar.wire()
    for form in ("http://localhost:{port}/health", "http://127.0.0.1/health?", "HTTP://LOCALHOST/health"):
        wire.send(f"GET {form.format(port=sidecar.port)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert wire.answer().ok()["service"] == "orchestration-sidecar"
    wire.send(sidecar.admin.raw("GET", "http://localhost/api/events?limit=1"))
    wire.answer().ok()
    wire.send(b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wire.answer().refused(403, "SEC_001")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:{port}", True),
        ("https://localhost:{port}", True),
        ("HTTP://LOCALHOST:{port}", True),
        ("http://localhost:1", False),
        ("http://localhost", False),
        ("http://127.0.0.1:{port}", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("http://localhost:{port}.evil.example", False),
    ],
)
def test_origin(origin: str, allowed: bool, sidecar: Sidecar) -> None:
    """A page may call only what it came from."""
    headers = {"Host": f"localhost:{sidecar.port}", "Origin": origin.format(port=sidecar.port)}
    answer = sidecar.admin.request("GET", "/api/agents", headers=headers)
    assert answer.status == 200 if allowed else answer.refused(403, "SEC_002")


def test_allowed_names(start: Callable[..., Sidecar]) -> None:
    """Hosts and origins named in the settings are let in, and no others."""
    sidecar = start(sidecar={"allowed_hosts": ["cco.example"], "allowed_origins": ["https://ui.example"]})
    sidecar.admin.request("GET", "/health", headers={"Host": "CCO.example:8443"}).ok()
    sidecar.admin.request("GET", "/health", headers={"Host": "x.cco.example"}).refused(403, "SEC_001")
    sidecar.admin.request("GET", "/health", headers={"Origin": "https://ui.example"}).ok()
    sidecar.admin.request("GET", "/health", headers={"Origin": "http://ui.example"}).refused(403, "SEC_002")


# Deadlines, in memory and with a clock


class Page(Resource):
    isLeaf = True

    def render(self, request: object) -> bytes:
        return b"ok"


class Line:
    """A connection in memory, and the clock it goes by."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.site = SidecarSite(
            Page(),
            self.clock,
            new_request_id=lambda: "made",
            most_body_bytes=lambda _: 1000,
            admit=lambda _: None,
            log_request=lambda _: None,
        )
        self.connection = self.site.buildProtocol(None)
        self.transport = StringTransport()
        self.connection.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    @property
    def gone(self) -> bool:
        return self.transport.disconnecting

    def lasts(self, seconds: float, dribble: bytes = b"") -> float | None:
        """Let time pass, with a byte each second; gives when the connection was ended."""
        started = self.clock.seconds()
        for number in range(int(seconds)):
            if self.gone:
                return self.clock.seconds() - started
            if number < len(dribble):
                self.send(dribble[number : number + 1])
            self.clock.advance(1)
        return None


def test_no_first_byte() -> None:
    """A connection that says nothing is ended after 10 s."""
    assert Line().lasts(30) == 10


def test_slow_head() -> None:
    """A head must come whole within 10 s, however it dribbles."""
    line = Line()
    assert line.lasts(60, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Name: and so on\r\n") == 10


def test_slow_body() -> None:
    """A body must come whole in the time that its length allows."""
    line = Line()
    line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n")
    ended = line.lasts(100, b"a" * 100)
    assert ended is not None
    assert 30 <= ended <= 31


def test_slow_second_request() -> None:
    """The next request's clock starts with its first byte; before it the connection may idle for 75 s."""
    line = Line()
    line.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert line.transport.value().endswith(b"ok")
    assert line.lasts(60) is None
    line.send(b"G")
    assert line.lasts(60) == 10
    idle = Line()
    idle.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert idle.lasts(100) == 75


def test_over_size_and_silent() -> None:
    """Who announces too much and sends nothing has the answer after 2 s."""
    line = Line()
    line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n")
    assert line.lasts(10) == 2
    assert line.transport.value().startswith(b"HTTP/1.1 413 ")
    line.transport.loseConnection()
    line.clock.advance(100)


def test_nothing_remains() -> None:
    """A connection that ends leaves no timer behind."""
    whole, oversized = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n"
    for data in (b"", b"GET /", whole, oversized):
        line = Line()
        line.send(data)
        line.connection.connectionLost()
        line.clock.advance(SWEEP_SECONDS)
        assert line.clock.getDelayedCalls() == []
