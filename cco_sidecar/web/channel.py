"""The HTTP/1.1 connection: what twisted.web leaves open is bounded here, and here is seen whether an answer arrived.

Bounds and reasons: research on twisted.web's defaults, docs/architecture.md "Connections". When an answer of a wait
counts as received: contract section 5.
"""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from cco_sidecar.core.events.subscriptions import Delivery
from cco_sidecar.errors import Refusal
from cco_sidecar.web.arrival import arrival, peek
from cco_sidecar.web.codec import raw_refusal, write_refusal
from cco_sidecar.web.errors import BadRequest, HeadersTooLarge, TooLarge

IDLE_SECONDS = 75
HEADER_SECONDS = 10
BODY_SECONDS = 30
BODY_BYTES_PER_SECOND = 100_000
DRAIN_BYTES = 8 * 1024 * 1024
DRAIN_SECONDS = 2
LINGER_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.02
PROBE_SECONDS = 0.2
MOST_HEADERS = 100

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)


class SidecarRequest(Request):
    """A request whose body stays in memory, below the cap of its route."""

    site: "SidecarSite"
    channel: "SidecarChannel"
    arrived: float = 0.0
    parked_seconds: float = 0.0
    content: Any
    request_id: str = ""
    correlation_id: str | None = None
    route: str = "unrouted"
    agent: str | None = None
    allowance: Any = None
    successor: str | None = None
    _most_bytes = 0
    _got_bytes = 0
    oversized = False
    _giving_up: IDelayedCall | None = None

    def gotLength(self, length: int | None) -> None:
        """Prepare for the body; twisted.web would spool it to a file."""
        self.arrived = self.site.clock.seconds()
        self.content = BytesIO()
        self._most_bytes = self.site.most_body_bytes(self.channel.request_path)
        if length is not None and length > self._most_bytes:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body, or throw it away when there is too much."""
        self._got_bytes += len(data)
        if self._got_bytes > self._most_bytes and not self.oversized:
            self._refuse_body()
        if not self.oversized:
            self.content.write(data)
        elif self._got_bytes > self._most_bytes + DRAIN_BYTES:
            self._give_up()

    def _refuse_body(self) -> None:
        self.oversized = True
        self.content = BytesIO()
        # Read on for a while: a peer that is still sending would get a reset instead of the answer.
        self._giving_up = self.site.clock.callLater(DRAIN_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self.stop_draining()
        self.channel.refuse(self.too_large())

    def stop_draining(self) -> None:
        """Forget the time limit of an oversized body."""
        if self._giving_up is not None and self._giving_up.active():
            self._giving_up.cancel()
        self._giving_up = None

    def too_large(self) -> Refusal:
        """Make the refusal of an oversized body."""
        return TooLarge(
            f"The body is larger than the {self._most_bytes} bytes that this route takes: send less, "
            "or put large data into a file of the project and name it.",
            most_bytes=self._most_bytes,
        )

    def getHeader(self, key: Any) -> Any:
        """Give a header in the key's type; for text, twisted.web would fail at bytes that are not UTF-8."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        value = super().getHeader(key.encode("ascii"))
        return None if value is None else value.decode("utf-8", "replace")

    def process(self) -> None:
        """Check what holds for every request, then route it."""
        self.stop_draining()
        self.site.admit(self)

    def route_on(self) -> None:
        """Hand the request to the resource tree."""
        super().process()

    def pause(self, seconds: float) -> "Deferred[None]":
        """Fire after a while."""
        return deferLater(self.site.clock, seconds)

    def connectionLost(self, reason: Failure) -> None:
        """The peer is gone before the answer."""
        self.stop_draining()
        super().connectionLost(reason)


@implementer(IHalfCloseableProtocol)
class SidecarChannel(HTTPChannel):
    """A connection with deadlines, JSON refusals, and a watch over the answers it carries."""

    site: "SidecarSite"
    transport: Any  # a TCP connection, or a test's stand-in for one
    totalHeadersSize = 16384
    maxHeaders = MOST_HEADERS
    _deadline: IDelayedCall | None = None
    _lingering: IDelayedCall | None = None
    _linger_until = 0.0
    _peer_is_done = False
    _write_is_done = False
    _ended = False

    def __init__(self) -> None:
        super().__init__()
        self._carried: list[Delivery] = []
        self._judged: list[Deferred[None]] = []

    # Deadlines and refusals

    @property
    def request_path(self) -> bytes:
        """The path of the request that is being read."""
        path: bytes = self._path
        return path.partition(b"?")[0]

    def connectionMade(self) -> None:
        """Begin; the first request must come whole in time."""
        super().connectionMade()
        self.site.channels.add(self)
        self._set_deadline(HEADER_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first ones of a request start its clock."""
        if self._deadline is None and not self._handlingRequest:
            self._set_deadline(HEADER_SECONDS)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the head; folded headers are refused (they read differently in different servers)."""
        if line[:1] in (b" ", b"\t") and hasattr(self, "_command"):
            self._respondToBadRequestAndDisconnect()
            return
        super().lineReceived(line)

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        """Take no Transfer-Encoding but chunked; twisted.web passes over ``identity``, where others stop."""
        if header == b"Transfer-Encoding" and data.lower() != b"chunked":
            return bool(self._failChooseTransferDecoder())
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def allHeadersReceived(self) -> None:
        """The head is whole: whoever sends another request has read the answer before it."""
        self.settle_carried()
        self._to_origin_form()
        length = self.length or 0
        self._set_deadline(BODY_SECONDS + length / BODY_BYTES_PER_SECOND)
        request = self.requests[-1]
        if request.requestHeaders.hasHeader(b"Expect") and length > self.site.most_body_bytes(self.request_path):
            # The peer waits for our word before it sends the body: say no instead.
            request.requestHeaders.removeHeader(b"Expect")
            super().allHeadersReceived()
            self.refuse(request.too_large())
            return
        super().allHeadersReceived()

    def _to_origin_form(self) -> None:
        """Take a whole URL for its path; its host counts in place of the Host header (RFC 9112 section 3.2.2)."""
        absolute = _ABSOLUTE.fullmatch(self._path)
        if absolute is not None:
            self.requests[-1].requestHeaders.setRawHeaders(b"Host", [absolute[1]])
            self._path = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]

    def allContentReceived(self) -> None:
        """The request is whole."""
        self._set_deadline(None)
        super().allContentReceived()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.callLater(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        """A header line is longer than all headers may be."""
        self.refuse(HeadersTooLarge("The request's headers are too large: at most 16 KiB in all."))

    def _respondToBadRequestAndDisconnect(self) -> None:
        too_many = self._receivedHeaderCount > self.maxHeaders or self._receivedHeaderSize > self.totalHeadersSize
        if too_many:
            self.refuse(HeadersTooLarge("The request's headers are too large: at most 16 KiB and 100 in all."))
        else:
            self.refuse(BadRequest("This is not an HTTP/1.1 request as RFC 9112 has it."))

    def refuse(self, refusal: Refusal) -> None:
        """Answer without a request that could be routed, and hang up."""
        if self._ended:
            return
        self._ended = True
        self._set_deadline(None)
        self.setRawMode()
        self._handlingRequest = True  # whatever still comes is not read as a request
        self.transport.write(raw_refusal(refusal, self.site.clock.seconds(), self.site.new_request_id()))
        self.transport.loseConnection()

    # Was the answer received?

    def carry(self, delivery: Delivery) -> None:
        """Watch over an answer that the request in hand is about to be given."""
        delivery.probe = self._probe
        self._carried.append(delivery)

    def settle_carried(self) -> None:
        """All that was carried has been received."""
        carried, self._carried = self._carried, []
        for delivery in carried:
            delivery.received()
        self._tell_judged()

    def _lose_carried(self) -> None:
        carried, self._carried = self._carried, []
        for delivery in carried:
            delivery.lost()
        self._tell_judged()

    def _tell_judged(self) -> None:
        judged, self._judged = self._judged, []
        for waiting in judged:
            waiting.callback(None)

    def requestDone(self, request: Request) -> None:
        """The answer is written; on a closing connection, wait to see how the peer takes it."""
        if self.site.draining and not self._carried:
            self.persistent = 0
        super().requestDone(request)

    def loseConnection(self) -> None:
        """Close; with an answer on its way, our side first, and the rest when the peer has shown that it has it."""
        half_closing = getattr(self.transport, "loseWriteConnection", None)
        if not self._carried or half_closing is None:
            super().loseConnection()
            return
        self.transport.unregisterProducer()
        if not self._peer_is_done:  # else its end would be read again and again, and nothing be written
            self.transport.resumeProducing()
        self._linger()
        half_closing()

    def _linger(self) -> None:
        if self._lingering is None:
            self._linger_until = self.site.clock.seconds() + LINGER_SECONDS
            self._lingering = self.callLater(LINGER_SECONDS, self._stop_lingering)

    def _stop_lingering(self) -> None:
        self._lingering = None
        self._lose_carried()
        self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Every byte of ours is with the kernel."""
        self._write_is_done = True
        self._judge()

    def readConnectionLost(self) -> None:
        """The peer sends nothing more: it has closed, or never will read the answer."""
        if self._carried and not self.requests:
            self._see_out()
        else:
            self._peer_is_done = True
            self._carried, carried = [], self._carried
            for delivery in carried:
                delivery.lost()
            self.transport.loseConnection()

    def _see_out(self) -> None:
        """The peer has closed: send what is left, close, and judge by what becomes of that."""
        self._peer_is_done = True
        self.loseConnection()
        self._judge()

    def _judge(self) -> None:
        if not (self._peer_is_done and self._write_is_done and self._carried):
            return
        verdict = arrival(self.transport)
        if verdict is None and self.site.clock.seconds() < self._linger_until:
            # A reset may still be on its way from a peer that closed before it read.
            self.callLater(LOOK_AGAIN_SECONDS, self._judge)
            return
        if verdict:
            self.settle_carried()
        else:
            self._lose_carried()
        self.transport.loseConnection()

    def _probe(self) -> "Deferred[None]":
        """Look at the socket now, not in the reactor's turn; on a closing connection, wait a moment for its end."""
        try:
            peeked = peek(self.transport)
        except OSError:
            self._lose_carried()  # a reset
            peeked = None
        if peeked:
            self.settle_carried()  # another request is there already
        elif peeked == b"" and self._carried:
            self._see_out()
        if not self._carried or self._lingering is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._judged.remove)
        self._judged.append(waiting)
        return waiting.addTimeout(PROBE_SECONDS, self.site.clock, lambda _result, _seconds: None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; unless the peer ended it cleanly, nothing was received."""
        self.site.channels.discard(self)
        self._set_deadline(None)
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        # Without half-close (tests in memory) a clean end is all there is to see.
        clean = reason.check(ConnectionDone) and not hasattr(self.transport, "socket") and not self.requests
        if clean:
            self.settle_carried()
        else:
            self._lose_carried()
        super().connectionLost(reason)

    def cut_off(self) -> None:
        """End the connection now, read or not."""
        if self in self.site.channels:
            self.transport.abortConnection()

    def drain(self) -> None:
        """Close now if nothing is going on; else after the answer in hand, or once it has been received."""
        if not self.requests and not self._carried:
            self.transport.loseConnection()


class SidecarSite(Site):
    """The listening side: builds channels, and admits requests.

    ``admit`` says why a request is refused before it is routed; ``log_request`` hears of each that was answered.
    """

    draining = False

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        *,
        new_request_id: Callable[[], str],
        most_body_bytes: Callable[[bytes], int],
        admit: Callable[[SidecarRequest], Refusal | None],
        log_request: Callable[[SidecarRequest], None],
    ) -> None:
        super().__init__(resource, timeout=IDLE_SECONDS, reactor=clock)
        self.displayTracebacks = False
        self.clock = clock
        self.new_request_id = new_request_id
        self.most_body_bytes = most_body_bytes
        self._admit = admit
        self._log_request = log_request
        self.channels: set[SidecarChannel] = set()

    def buildProtocol(self, addr: IAddress | None) -> SidecarChannel:  # type: ignore[override]
        """Make a connection's protocol: HTTP/1.1 and nothing else."""
        channel = SidecarChannel()
        channel.site = self
        channel.factory = self
        channel.requestFactory = self._make_request  # type: ignore[assignment]  # a factory is a class or a function
        channel.callLater = self.clock.callLater  # type: ignore[method-assign,assignment]  # TimeoutMixin's own seam
        channel.timeOut = IDLE_SECONDS
        return channel

    def _make_request(self, channel: SidecarChannel, queued: int = 0) -> SidecarRequest:
        request = SidecarRequest(channel, False, parsePOSTFormSubmission=False)
        request.site = self
        return request

    def admit(self, request: SidecarRequest) -> None:
        """Route a request, or refuse it."""
        refusal = self._admit(request)
        if refusal is None and request.oversized:
            refusal = request.too_large()
        if refusal is None:
            request.route_on()
            return
        write_refusal(request, refusal)
        request.finish()

    def log(self, request: SidecarRequest) -> None:  # type: ignore[override]
        """Hear of an answered request."""
        self._log_request(request)

    def startFactory(self) -> None:
        """Begin; twisted.web's access log is not wanted."""

    def stopFactory(self) -> None:
        """End."""

    def drain(self) -> None:
        """Keep no connection open longer than its answers need."""
        self.draining = True
        for channel in list(self.channels):
            channel.drain()
