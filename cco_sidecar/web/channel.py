"""HTTP/1.1 as twisted.web speaks it, with what it leaves open bounded: research and reasons in docs/architecture.md."""

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from cco_sidecar.core.events.subscriptions import Delivery
from cco_sidecar.errors import Refusal
from cco_sidecar.web.codec import raw_refusal
from cco_sidecar.web.errors import BadRequest, HeadersTooLarge
from cco_sidecar.web.request import SidecarRequest

if TYPE_CHECKING:
    from cco_sidecar.web.connection import Connection
    from cco_sidecar.web.site import SidecarSite

IDLE_SECONDS = 75
HEADER_SECONDS = 10
BODY_SECONDS = 30
BODY_BYTES_PER_SECOND = 100_000
MOST_HEADERS = 100
MOST_LENGTH_DIGITS = 20
"""As many as the largest number of 64 bits has."""

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)


class SidecarChannel(HTTPChannel):
    """Reads requests off a connection, with deadlines and JSON refusals."""

    transport: Any  # a TCP connection, or a test's stand-in for one
    totalHeadersSize = 16384
    maxHeaders = MOST_HEADERS
    _deadline: IDelayedCall | None = None
    _ended = False

    def __init__(self, site: "SidecarSite", connection: "Connection") -> None:
        super().__init__()
        self.site = self.factory = site
        self._connection = connection
        self.requestFactory = self._make_request  # type: ignore[assignment]  # a factory is a class or a function
        self.callLater = site.clock.callLater  # type: ignore[method-assign,assignment]  # TimeoutMixin's own seam
        self.timeOut = IDLE_SECONDS

    def _make_request(self, channel: "SidecarChannel", queued: int = 0) -> SidecarRequest:
        request = SidecarRequest(channel, False, parsePOSTFormSubmission=False)
        request.site = self.site
        return request

    @property
    def request_path(self) -> bytes:
        """The path of the request that is being read."""
        path: bytes = self._path
        return path.partition(b"?")[0]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being read, done or written: no byte is held that belongs to a request.

        A channel that has timed out is not: it has a call to end the connection with, which it must itself take back.
        """
        return not (
            self.requests
            or self._handlingRequest
            or self._buffer
            or self._deadline
            or self._ended
            or self._abortingCall
        )

    def carry(self, delivery: Delivery) -> None:
        """Watch over an answer that the request in hand is about to be given."""
        self._connection.receipts.carry(delivery)

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
        """Take no Transfer-Encoding but chunked; twisted.web passes over ``identity``, where others stop.

        Nor a length that is no number to Python, which reads at most so many digits.
        """
        is_strange = header == b"Transfer-Encoding" and data.lower() != b"chunked"
        if is_strange or (header == b"Content-Length" and len(data) > MOST_LENGTH_DIGITS):
            return bool(self._failChooseTransferDecoder())
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def allHeadersReceived(self) -> None:
        """The head is whole: whoever sends another request has read the answer before it."""
        self._connection.receipts.settle()
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

    def requestDone(self, request: Request) -> None:
        """The answer is written; on a closing connection, wait to see how the peer takes it."""
        if self.site.draining and not self._connection.receipts.carried:
            self.persistent = 0
        super().requestDone(request)

    def loseConnection(self) -> None:
        """Close; with an answer on its way, our side first, and the rest when the peer has shown that it has it."""
        if not self._connection.receipts.half_close():
            super().loseConnection()

    def retire(self) -> None:
        """Leave the connection to others, having nothing in hand."""
        self.setTimeout(None)
        self._set_deadline(None)
        self.transport.unregisterProducer()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._set_deadline(None)
        super().connectionLost(reason)

    def cut_off(self) -> None:
        """End the connection now, read or not."""
        self._connection.cut_off()
