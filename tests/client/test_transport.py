"""The small HTTP client against answers byte by byte."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from cco_sidecar.client import transport
from cco_sidecar.client.server import Server, parse_server
from cco_sidecar.client.transport import BrokenError, Pool, StaleError, TimedOutError, UnreachableError
from cco_sidecar.client.values import Request


@contextmanager
def answering(answer: bytes, host: str = "127.0.0.1", *, keep_open: bool = False) -> Iterator[Server]:
    """Listen, answer one request with these bytes, and close (or not, until the test is over)."""
    is_over = threading.Event()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(answer)
            if keep_open:
                is_over.wait(10)

    with socket.create_server((host, 0), family=family) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield Server("http", host, listening.getsockname()[1], "")
        is_over.set()
        thread.join()


def got(server: Server, *, method: str = "GET", seconds: float | None = 5.0) -> tuple[int, bytes]:
    """Give status and body."""
    with closing(Pool(server)) as pool, pool.send(Request(method, "/"), {}, seconds) as stream:
        return stream.status, stream.body()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", (200, b"hi")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, b"")),
        (b"HTTP/1.0 404 No\n\nto the end", (404, b"to the end")),
        (b"HTTP/1.1 204\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\ncontent-length: 1\r\n\r\nx", (201, b"x")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=1\r\nhi\r\n3\r\n ho\r\n0\r\nLast: x\r\n\r\n",
            (200, b"hi ho"),
        ),
    ],
)
def test_answers(answer: bytes, expected: tuple[int, bytes]) -> None:
    """Bodies by length, by chunks and to the end of the connection are read."""
    with answering(answer) as server:
        assert got(server) == expected


def test_head_has_no_body() -> None:
    """The answer to HEAD has a length but no body."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") as server:
        assert got(server, method="HEAD") == (200, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ncut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        b"HTTP/1.1 200 OK\r\nX: cut",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 18),
    ],
)
def test_broken(answer: bytes) -> None:
    """An answer that is none, or is cut off, is never taken for a whole one."""
    with answering(answer) as server, pytest.raises(BrokenError):
        got(server)


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has a largest size."""
    monkeypatch.setattr(transport, "MOST_ANSWER_BYTES", 10)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 11) as server, pytest.raises(BrokenError):
        got(server)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"])
def test_deadline(answer: bytes) -> None:
    """The deadline holds for the head and for the body."""
    with answering(answer, keep_open=True) as server, pytest.raises(TimedOutError):
        got(server, seconds=0.1)


def test_streaming() -> None:
    """A body can be read while it comes."""
    with (
        answering(b"HTTP/1.1 200 OK\r\n\r\nfirst", keep_open=True) as server,
        Pool(server).send(Request("GET", "/"), {}, None) as stream,
    ):
        assert next(stream.pieces) == b"first"


def test_ipv6() -> None:
    """IPv6 addresses work, in brackets."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "::1") as server:
        assert got(parse_server(f"http://[::1]:{server.port}")) == (200, b"")


def test_unreachable() -> None:
    """A refused connection and a name that is none are told apart from broken answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(UnreachableError):
        got(Server("http", "127.0.0.1", port, ""))
    with pytest.raises(UnreachableError):
        got(Server("http", "a" * 300, port, ""))


def test_early_refusal_of_a_large_body() -> None:
    """A sidecar that refuses before it has read the whole body is still heard."""
    answer = b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno"
    request = Request("POST", "/", b"x" * (1 << 20))
    with answering(answer) as server, Pool(server).send(request, {}, 5.0) as stream:
        assert (stream.status, stream.body()) == (413, b"no")


def test_parse_server() -> None:
    """URLs are taken apart; what is below a path stays below it."""
    assert parse_server("https://example.org/cco/api/") == Server("https", "example.org", 443, "/cco")
    assert parse_server("http://h") == Server("http", "h", 80, "")
    assert parse_server("localhost:3001") == Server("http", "localhost", 3001, "")
    assert parse_server("http://[::1]:5").authority == "[::1]:5"


@contextmanager
def serving(*answers: bytes) -> Iterator[tuple[Server, list[int]]]:
    """Listen; answer requests in turn, and after b"" close. Gives how many requests each connection has had."""
    had: list[int] = []
    left = list(answers)

    def serve(listening: socket.socket) -> None:
        while left:
            connection, _ = listening.accept()
            had.append(0)
            with connection:
                while left and connection.recv(1 << 16):
                    had[-1] += 1
                    if not (answer := left.pop(0)):
                        break
                    connection.sendall(answer)
                    if left and not left[0]:
                        left.pop(0)
                        break

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield Server("http", "127.0.0.1", listening.getsockname()[1], ""), had
        left.clear()
        with socket.create_connection(listening.getsockname()):
            pass
        thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def ask(pool: Pool) -> bytes:
    """Ask once, and read it all."""
    with pool.send(Request("GET", "/"), {}, 5.0) as stream:
        return stream.body()


def test_connections_are_kept() -> None:
    """One request after the other uses the same connection, whatever the form of the body."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    with serving(OK, chunked, b"HTTP/1.1 304 Same\r\n\r\n", OK) as (server, had), closing(Pool(server)) as pool:
        assert [ask(pool) for _ in range(4)] == [b"hi", b"hi", b"", b"hi"]
        assert had == [4]


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"more than was said",
    ],
)
def test_connections_that_cannot_be_kept(last: bytes) -> None:
    """After an answer that ends the connection, or says more than it should, the next request has a new one."""
    with serving(last, OK) as (server, had), closing(Pool(server)) as pool:
        ask(pool)
        pool_is_empty = not pool._idle
        assert pool_is_empty
        assert had == [1]


def test_half_read_answer_is_not_kept() -> None:
    """What was not read to its end would be the beginning of the next answer."""
    with serving(OK) as (server, _), closing(Pool(server)) as pool:
        with pool.send(Request("GET", "/"), {}, 5.0):
            pass
        assert not pool._idle


def test_answer_on_its_way_is_not_kept() -> None:
    """So it is with a body that has not come yet."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    with answering(head, keep_open=True) as server, closing(Pool(server)) as pool:
        with pool.send(Request("GET", "/"), {}, 5.0):
            pass
        assert not pool._idle


def test_closed_meanwhile() -> None:
    """A kept connection that the other end has closed is not used again."""
    with serving(OK, b"", OK) as (server, had), closing(Pool(server)) as pool:
        ask(pool)
        (kept,) = pool._idle
        while not kept.is_stale():
            pass
        assert ask(pool) == b"hi"
        assert had == [1, 1]


def test_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it closes just then, that is told apart from an answer that was cut off."""
    with serving(OK, b"", OK) as (server, _), closing(Pool(server)) as pool:
        ask(pool)
        monkeypatch.setattr(type(pool._idle[0]), "is_stale", lambda _: False)
        with pytest.raises(StaleError):
            ask(pool)
        assert ask(pool) == b"hi"


def test_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sidecar ends idle connections: before that they are not used any more."""
    with serving(OK, OK) as (server, had), closing(Pool(server)) as pool:
        ask(pool)
        monkeypatch.setattr(transport, "_KEPT_SECONDS", -1.0)
        assert pool._idle[0].is_stale()
        assert had == [1]


def test_fresh() -> None:
    """A stream has a connection of its own."""
    with serving(OK, b"", OK) as (server, had), closing(Pool(server)) as pool:
        ask(pool)
        with pool.send(Request("GET", "/"), {}, None, is_fresh=True) as stream:
            assert stream.body() == b"hi"
        assert had == [1, 1]


def test_another_server() -> None:
    """When the sidecar has come back elsewhere, nothing is kept of where it was."""
    with serving(OK) as (server, _), serving(OK) as (other, had), closing(Pool(server)) as pool:
        ask(pool)
        pool.server = other
        assert not pool._idle
        ask(pool)
        assert had == [1]


def test_close_ends_what_waits() -> None:
    """Closing the pool ends a request that is waiting in another thread, and lets no other begin."""
    with answering(b"", keep_open=True) as server:
        pool = Pool(server)
        threading.Timer(0.05, pool.close).start()
        began = time.monotonic()
        with pytest.raises(BrokenError):
            ask(pool)
        assert time.monotonic() - began < 4
        with pytest.raises(BrokenError, match="closed"):
            ask(pool)


def test_many_idle_are_not_kept() -> None:
    """However many threads there were, a few connections are kept."""
    with serving(*[OK] * 20) as (server, _):
        pool = Pool(server)
        connections = [pool._take(is_fresh=False) for _ in range(12)]
        for connection in connections:
            pool._put_back(connection, keep=True)
        assert len(pool._idle) == transport.MOST_IDLE
        pool.close()
        assert not pool._idle


def test_connecting_takes_no_longer_than_asked() -> None:
    """Whoever has little time is not kept by one who takes no connection any more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=r"no answer in 0\.2 s"):
            got(Server("http", "127.0.0.1", address[1], ""), seconds=0.2)
        assert time.monotonic() - began < 2
        for one in waiting:
            one.close()
