"""A small blocking HTTP/1.1 client: one request a connection, deadlines, bounded answers.

The standard library's costs 24 ms to import, as much as all else that `cco` does at start. No proxy is ever used.
"""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0
_SEND_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 << 20
_MAX_HEAD_BYTES = 64 << 10
_MAX_HEADERS = 200


class UnreachableError(Exception):
    """Nobody answers there."""


class TimedOutError(Exception):
    """The answer did not come in time."""


class BrokenError(Exception):
    """What came is no whole HTTP answer."""


class Server(NamedTuple):
    """Where requests go; ``prefix`` is the path below which the sidecar is, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """Give host and port as a ``Host`` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Give the URL without ``/api`` and without a slash at its end."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_server(url: str) -> Server:
    """Read the sidecar's URL; a trailing ``/api`` is taken off.

    :raises ValueError: it is none.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or not _is_clean(url):
        raise ValueError(url)
    if parts.username is not None:
        raise ValueError(url)
    prefix = parts.path.rstrip("/").removesuffix("/api").rstrip("/")
    default_port = 443 if parts.scheme == "https" else 80
    return Server(parts.scheme, parts.hostname, parts.port or default_port, prefix)


def _is_clean(text: str) -> bool:
    return text.isprintable() and " " not in text


class Stream:
    """An answer whose body is still coming."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: Iterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.pieces = pieces

    def body(self) -> bytes:
        """Give the whole body.

        :raises BrokenError: it is too large, or was cut off.
        :raises TimedOutError: it did not come in time.
        """
        found = bytearray()
        for piece in self.pieces:
            found += piece
            if len(found) > MAX_ANSWER_BYTES:
                raise BrokenError(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
        return bytes(found)


class Request(NamedTuple):
    """A request; ``target`` is path and query, escaped; ``seconds`` is how long it may take (None: for ever)."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    seconds: float | None


@contextmanager
def send(server: Server, request: Request) -> Iterator[Stream]:
    """Send a request and give the answer when its head is there; the connection is closed in the end.

    :raises UnreachableError: nobody answers there.
    :raises BrokenError: the answer is none, or ended early.
    :raises TimedOutError: time is up.
    """
    deadline = None if request.seconds is None else time.monotonic() + request.seconds
    with closing(_connect(server)) as connection:
        reader = _Reader(connection, deadline)
        _write(connection, server, request)
        status, headers = _head(reader)
        yield Stream(status, headers, _pieces(reader, request.method, status, headers))


def _connect(server: Server) -> socket.socket:
    deadline = time.monotonic() + CONNECT_SECONDS
    trouble: OSError | None = None
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
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
    reason = "no answer in 5 s" if isinstance(trouble, TimeoutError) else getattr(trouble, "strerror", None)
    raise UnreachableError(reason or str(trouble)) from trouble


def _secure(connection: socket.socket, server: Server) -> socket.socket:
    if server.scheme == "http":
        return connection
    import ssl

    return ssl.create_default_context().wrap_socket(connection, server_hostname=server.host)


def _write(connection: socket.socket, server: Server, request: Request) -> None:
    lines = [
        f"{request.method} {server.prefix}{request.target} HTTP/1.1",
        f"Host: {server.authority}",
        "Connection: close",
    ]
    if request.body is not None:
        lines.append(f"Content-Length: {len(request.body)}")
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    connection.settimeout(_SEND_SECONDS)
    try:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (request.body or b""))
    except TimeoutError as error:
        raise TimedOutError from error
    except OSError:
        return  # the sidecar may have refused before it had it all: its answer says why


class _Reader:
    """Reads lines and lengths from a connection until a deadline."""

    def __init__(self, connection: socket.socket, deadline: float | None) -> None:
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""

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
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimedOutError
        self._connection.settimeout(left)
        try:
            return self._connection.recv(1 << 16)
        except TimeoutError as error:
            raise TimedOutError from error
        except OSError as error:
            raise BrokenError(f"the connection broke ({error.strerror or error})") from error


def _head(reader: _Reader) -> tuple[int, dict[str, str]]:
    status = 100
    headers: dict[str, str] = {}
    while 100 <= status < 200:  # 100 Continue and its like come before the answer
        words = reader.line().split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise BrokenError("what answers there does not speak HTTP")
        status = int(words[1])
        headers = {}
        for _ in range(_MAX_HEADERS):
            if not (line := reader.line()):
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        else:
            raise BrokenError("the answer has too many headers")
    return status, headers


def _pieces(reader: _Reader, method: str, status: int, headers: Mapping[str, str]) -> Iterator[bytes]:
    if method == "HEAD" or status in {204, 304}:
        return iter(())
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _chunks(reader)
    length = headers.get("content-length")
    if length is None:
        return iter(reader.some, b"")
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
        if length == 0:
            while reader.line():
                pass
            return
        yield from _exactly(reader, length)
        reader.line()
