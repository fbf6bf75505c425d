"""Connections to receivers: only to addresses that were checked, and only so many bytes come back on them."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from zope.interface import implementer

MOST_ANSWER_BYTES = 64 * 1024
"""How much of an answer is read, its head included; nobody looks at its body."""

TLSOptions = Callable[[str], IOpenSSLClientConnectionCreator]
"""Gives what checks a server's certificate against its name."""


@implementer(IAgentEndpointFactory)
@define(eq=False)
class Pinned:
    """Connects to the addresses that were checked, whatever the URL says; the name in it counts for TLS alone."""

    _reactor: Any
    _addresses: Sequence[str]
    _seconds: float
    _tls: TLSOptions
    _connections: "list[_BoundedProtocol]" = field(factory=list)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Give the endpoint of the checked addresses."""
        return _Bounded([self._endpoint(address, uri) for address in self._addresses], self._connections.append)

    def let_go(self) -> None:
        """Leave no connection behind, whatever the other side thinks of that."""
        for connection in self._connections:
            connection.abortConnection()

    def _endpoint(self, address: str, uri: URI) -> IStreamClientEndpoint:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        timeout = self._seconds / len(self._addresses)
        endpoint: IStreamClientEndpoint = kind(self._reactor, address, uri.port, timeout=timeout)
        if uri.scheme == b"https":
            name = uri.host.decode("ascii").strip("[]").removesuffix(".")
            endpoint = wrapClientTLS(self._tls(name), endpoint)
        return endpoint


@implementer(IStreamClientEndpoint)
@define(eq=False)
class _Bounded:
    """The first of several endpoints that there is a connection to; on it, so many bytes come and no more."""

    _endpoints: Sequence[IStreamClientEndpoint]
    _made: "Callable[[_BoundedProtocol], None]"

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":
        """Connect; fires with the protocol, as the agent knows it."""
        factory = WrappingFactory(protocolFactory)
        factory.protocol = _BoundedProtocol
        factory.noisy = False
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: WrappingFactory) -> Any:
        *others, last = self._endpoints
        for endpoint in others:
            try:
                return await self._connected(endpoint, factory)
            except ConnectError:
                continue
        return await self._connected(last, factory)

    async def _connected(self, endpoint: IStreamClientEndpoint, factory: WrappingFactory) -> Any:
        wrapper: Any = await endpoint.connect(factory)
        self._made(wrapper)
        return wrapper.wrappedProtocol


class _BoundedProtocol(ProtocolWrapper):
    received = 0

    def dataReceived(self, data: bytes) -> None:
        """Hang up on whoever says too much."""
        self.received += len(data)
        if self.received > MOST_ANSWER_BYTES:
            self.abortConnection()
        else:
            super().dataReceived(data)


@implementer(IAgent)
@define(eq=False)
class Plain:
    """Hides that an answer is compressed: nobody looks at it, and unpacking it could take any amount of memory."""

    _agent: IAgent

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> "Deferred[IResponse]":
        """Ask, and take the encoding off the answer's head."""

        def plain(response: IResponse) -> IResponse:
            response.headers.removeHeader(b"Content-Encoding")
            return response

        return self._agent.request(method, uri, headers, bodyProducer).addCallback(plain)


class _Away(Protocol):
    """Throws a body away; how it ends does not matter, for the answer's status is known."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        if not self.done.called:
            self.done.callback(None)


async def read_away(response: Any) -> None:
    """Read an answer to its end, or until time is up."""
    away = _Away()
    response.deliverBody(away)
    try:
        await away.done
    except CancelledError:
        return  # the status is known, and that is all that counts; who stops us altogether does not look at it
