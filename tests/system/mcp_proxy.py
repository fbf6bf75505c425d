"""A door to a sidecar for programs that cannot show a token: it puts the token into each request.

Nothing else is changed, so that what such a program sends (also a foreign Host or Origin) reaches the sidecar.
"""

import contextlib
import socket
import socketserver
import threading
from typing import Self

MOST_HEAD = 65536
PATIENCE_SECONDS = 60.0


class _Request(socketserver.BaseRequestHandler):
    """One connection, which carries one request."""

    server: "Door"

    def handle(self) -> None:
        """Carry the request there, and the answer back."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.request.recv(MOST_HEAD)
            if not piece or len(data) > MOST_HEAD:
                return
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith((b"connection:", b"authorization:"))]
        mine = [b"Connection: close", b"Authorization: Bearer " + self.server.token.encode()]
        with socket.create_connection(("127.0.0.1", self.server.sidecar_port), PATIENCE_SECONDS) as there:
            there.sendall(b"\r\n".join([first, *kept, *mine]) + b"\r\n\r\n" + rest)
            back = threading.Thread(target=_carry, args=(there, self.request))
            back.start()
            _carry(self.request, there)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes until there are no more, and tell both sides that this was all."""
    with contextlib.suppress(OSError):
        while data := source.recv(MOST_HEAD):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Door(socketserver.ThreadingTCPServer):
    """Listens on loopback, on a free port."""

    daemon_threads = True

    def __init__(self, sidecar_port: int, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.sidecar_port = sidecar_port
        self.token = token
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
