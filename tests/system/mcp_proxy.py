"""A door to a sidecar's MCP route for programs that cannot show a token: it puts the token into each request.

Nothing else is changed, so that what such a program sends (also a foreign Host or Origin) reaches the sidecar.
"""

from twisted.internet.protocol import ClientFactory, Factory, Protocol

MOST_HEAD = 65536


class _There(Protocol):
    """The sidecar's side of a request."""

    def __init__(self, here: "_Here") -> None:
        self._here = here

    def connectionMade(self) -> None:
        self._here.there = self
        self._here.pass_on()

    def dataReceived(self, data: bytes) -> None:
        self._here.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:
        self._here.transport.loseConnection()


class _Here(Protocol):
    """The client's side of a request; a connection carries one."""

    there: _There | None = None

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._data = b""
        self._has_head = False

    def connectionMade(self) -> None:
        factory = ClientFactory()
        factory.buildProtocol = lambda _: _There(self)  # type: ignore[method-assign]
        self._door.reactor.connectTCP("127.0.0.1", self._door.sidecar_port, factory)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        self.pass_on()

    def pass_on(self) -> None:
        """Send what is there, once its head is whole."""
        if self.there is None:
            return
        if not self._has_head:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            self._has_head = True
            first, *lines = head.split(b"\r\n")
            kept = [line for line in lines if not line.lower().startswith((b"connection:", b"authorization:"))]
            mine = [b"Connection: close", b"Authorization: Bearer " + self._door.token.encode()]
            self._data = b"\r\n".join([first, *kept, *mine]) + b"\r\n\r\n" + rest
        data, self._data = self._data, b""
        self.there.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:
        if self.there is not None:
            self.there.transport.loseConnection()


class Door(Factory):
    """Listens on loopback, on a free port."""

    def __init__(self, reactor: object, sidecar_port: int, token: str) -> None:
        self.reactor: object = reactor
        self.sidecar_port = sidecar_port
        self.token = token

    def buildProtocol(self, addr: object) -> Protocol:
        return _Here(self)
