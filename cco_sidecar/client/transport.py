"""A small blocking HTTP/1.1 client: kept connections, deadlines, bounded answers.

The standard library's costs 24 ms to import, as much as all else that `cco` does at start, and cannot be called off
from another thread. No proxy is ever used.
"""

import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cco_sidecar.client.server import Server
from cco_sidecar.client.values import MOST_ANSWER_BYTES, Request

CONNECT_SECONDS = 5.0
MOST_IDLE = 8
_KEPT_SECONDS = 60.0  # the sidecar itself ends an idle connection after 75 s
_SEND_SECONDS = 30.0
_MAX_HEAD_BYTES = 64 << 10
_MAX_HEADERS = 200


class UnreachableError(Exception):
    """Nobody answers there."""


class TimedOutError(Exception):
    """The answer did not come in time."""


class BrokenError(Exception):
    """What came is no whole HTTP answer."""


class StaleError(BrokenError):
    """A connection that had been kept ended before anything of the answer came."""


class Stream:
    """An answer whose body is still coming; ``is_framed`` if its end can be told without the connection's."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: Iterator[bytes], is_framed: bool) -> None:
        self.status = status
        self.headers = headers
        self.pieces = self._counted(pieces)
        self.is_framed = is_framed
        self.is_whole = False

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield from pieces
        self.is_whole = True

    def body(self) -> bytes:
        """Give the whole body.

        :raises BrokenError: it is too large, or was cut off.
        :raises TimedOutError: it did not come in time.
        """
        found = bytearray()
        for piece in self.pieces:
            found += piece
            if len(found) > MOST_ANSWER_BYTES:
                raise BrokenError(f"the answer is larger than {MOST_ANSWER_BYTES >> 20} MiB")
        return bytes(found)


class Pool:
    """Connections to one sidecar, for any number of threads: each request has one for itself, and leaves it after it.

    :param server: may be set to another one; what is kept is closed then.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self.is_closed = False

    @property
    def server(self) -> Server:
        """Where requests go."""
        return self._server

    @server.setter
    def server(self, server: Server) -> None:
        with self._lock:
            if server == self._server:
                return
            self._server = server
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def send(
        self, request: Request, headers: Mapping[str, str], seconds: float | None, *, is_fresh: bool = False
    ) -> Iterator[Stream]:
        """Send a request and give the answer when its head is there.

        :param headers: besides those of the request.
        :param is_fresh: on a new connection.
        :param seconds: how long all of it may take; None is for ever.
        :raises UnreachableError: nobody answers there.
        :raises BrokenError: the answer is none, or ended early.
        :raises TimedOutError: time is up.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        connection = self._take(is_fresh, seconds)
        stream: Stream | None = None
        try:
            stream = connection.exchange(request, headers, deadline)
            yield stream
        finally:
            self._put_back(connection, stream is not None and connection.may_be_kept(stream))

    def close(self) -> None:
        """Close all connections; whoever waits on one of them finds it broken."""
        with self._lock:
            self.is_closed = True
            idle, self._idle = self._idle, []
            for connection in self._busy:
                connection.abort()
        for connection in idle:
            connection.close()

    def _take(self, is_fresh: bool, seconds: float | None = None) -> "_Connection":
        while True:
            with self._lock:
                if self.is_closed:
                    raise BrokenError("the client is closed")
                connection = self._idle.pop() if self._idle and not is_fresh else None
                if connection is not None:
                    self._busy.add(connection)
                server = self._server
            if connection is None:
                return self._connect(server, seconds)
            if not connection.is_stale():
                return connection
            self._put_back(connection, keep=False)

    def _connect(self, server: Server, seconds: float | None) -> "_Connection":
        within = CONNECT_SECONDS if seconds is None else min(seconds, CONNECT_SECONDS)
        connection = _Connection(_connect(server, within), server)
        with self._lock:
            if not self.is_closed:
                self._busy.add(connection)
                return connection
        connection.close()
        raise BrokenError("the client is closed")

    def _put_back(self, connection: "_Connection", keep: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if keep and not self.is_closed and connection.server == self._server and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()


class _Connection:
    """One connection; one request at a time."""

    def __init__(self, opened: socket.socket, server: Server) -> None:
        self._socket = opened
        self._reader = _Reader(opened)
        self._is_used = False
        self._used_at = time.monotonic()
        self.server = server

    def exchange(self, request: Request, headers: Mapping[str, str], deadline: float | None) -> Stream:
        """Send a request and read the head of its answer."""
        was_used, self._is_used = self._is_used, True
        self._write(request, headers)
        self._reader.deadline = deadline
        try:
            self._reader.begin()
        except BrokenError as error:
            if was_used:
                raise StaleError(str(error)) from error
            raise
        version, status, found = _head(self._reader)
        pieces = _pieces(self._reader, request.method, status, found)
        closes = version != b"HTTP/1.1" or "close" in found.get("connection", "").lower()
        if pieces is None:
            return Stream(status, found, iter(self._reader.some, b""), is_framed=False)
        return Stream(status, found, pieces, is_framed=not closes)

    def _write(self, request: Request, headers: Mapping[str, str]) -> None:
        lines = [
            f"{request.method} {self.server.prefix}{request.target} HTTP/1.1",
            f"Host: {self.server.authority}",
        ]
        lines += [f"{name}: {value}" for name, value in {**headers, **request.headers}.items()]
        if request.body is not None:
            lines.append(f"Content-Length: {len(request.body)}")
        self._socket.settimeout(_SEND_SECONDS)
        try:
            # In one piece: the sidecar's fast path takes what arrives whole.
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (request.body or b""))
        except TimeoutError as error:
            raise TimedOutError from error
        except OSError:
            return  # the sidecar may have refused before it had it all: its answer says why

    def may_be_kept(self, stream: Stream) -> bool:
        """Say whether another request may follow, as far as this end can know."""
        self._used_at = time.monotonic()
        return stream.is_whole and stream.is_framed and self._reader.is_empty

    def is_stale(self) -> bool:
        """Say whether it has been kept for too long, or the other end has something to say (that it closes)."""
        try:
            readable = select.select([self._socket], [], [], 0)[0]
        except (OSError, ValueError):
            return True
        return bool(readable) or time.monotonic() - self._used_at > _KEPT_SECONDS

    def abort(self) -> None:
        """End it under whoever reads from it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class _Reader:
    """Reads lines and lengths from a connection until a deadline (on the monotonic clock; None: for ever)."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.deadline: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all that came was read."""
        return not self._buffer

    def begin(self) -> None:
        """Wait for the first bytes of an answer.

        :raises BrokenError: the connection ended before them.
        """
        self._buffer = self._buffer or self._receive()
        if not self._buffer:
            raise BrokenError("the connection was closed before the answer")

    def some(self, at_most: int = 1 << 16) -> bytes:
        """Give what is there next; nothing at the end."""
        if not self._buffer:
            self._buffer = self._receive()
        found, self._buffer = self._buffer[:at_most], self._buffer[at_most:]
        return found

    def line(self) -> bytes:
        """Give the next line without its end."""
        while b"\n" not in self._buffer:
            more = self._receive()
            if not more or len(self._buffer) > _MAX_HEAD_BYTES:
                raise BrokenError("the connection was closed before the answer")
            self._buffer += more
        found, _, self._buffer = self._buffer.partition(b"\n")
        return found.rstrip(b"\r")

    def _receive(self) -> bytes:
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimedOutError
        self._connection.settimeout(left)
        try:
            return self._connection.recv(1 << 16)
        except TimeoutError as error:
            raise TimedOutError from error
        except OSError as error:
            raise BrokenError(f"the connection broke ({error.strerror or error})") from error


def _connect(server: Server, seconds: float) -> socket.socket:
    deadline = time.monotonic() + seconds
    trouble: OSError | None = None
    # Of text, Python makes a name as DNS has it, for which it first imports tables of Unicode.
    host = server.host.encode() if server.host.isascii() else server.host
    try:
        found = socket.getaddrinfo(host, server.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(max(0.1, deadline - time.monotonic()))
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _secure(connection, server)
            except OSError as error:
                connection.close()
                trouble = error
    except (OSError, UnicodeError) as error:
        raise UnreachableError(getattr(error, "strerror", None) or str(error)) from error
    reason = f"no answer in {seconds:g} s" if isinstance(trouble, TimeoutError) else getattr(trouble, "strerror", None)
    raise UnreachableError(reason or str(trouble)) from trouble


def _secure(connection: socket.socket, server: Server) -> socket.socket:
    if server.scheme == "http":
        return connection
    import ssl

    return ssl.create_default_context().wrap_socket(connection, server_hostname=server.host)


def _head(reader: _Reader) -> tuple[bytes, int, dict[str, str]]:
    version, status = b"", 100
    headers: dict[str, str] = {}
    while 100 <= status < 200:  # 100 Continue and its like come before the answer
        words = reader.line().split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise BrokenError("what answers there does not speak HTTP")
        version, status = words[0], int(words[1])
        headers = {}
        for _ in range(_MAX_HEADERS):
            if not (line := reader.line()):
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        else:
            raise BrokenError("the answer has too many headers")
    return version, status, headers


def _pieces(reader: _Reader, method: str, status: int, headers: Mapping[str, str]) -> Iterator[bytes] | None:
    """Give what reads the body; None if it goes on to the end of the connection."""
    if method == "HEAD" or status in {204, 304}:
        return iter(())
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _chunks(reader)
    length = headers.get("content-length")
    if length is None:
        return None
    if not length.isdigit():
        raise BrokenError("the answer's length is no number")
    return _exactly(reader, int(length))


def _exactly(reader: _Reader, length: int) -> Iterator[bytes]:
    while length > 0:
        piece = reader.some(min(length, 1 << 16))
        if not piece:
            raise BrokenError("the answer was cut off")
        length -= len(piece)
        yield piece


def _chunks(reader: _Reader) -> Iterator[bytes]:
    while True:
        size = reader.line().partition(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError:
            raise BrokenError("the answer's chunks are damaged") from None
        if length < 0:
            raise BrokenError("the answer's chunks are damaged")
        if length == 0:
            while reader.line():
                pass
            return
        yield from _exactly(reader, length)
        reader.line()
