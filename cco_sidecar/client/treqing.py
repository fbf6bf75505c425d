"""Requests over treq, with a time limit and a largest answer."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from cco_sidecar.client.values import MOST_ANSWER_BYTES, Answer, Send, Trouble


async def send(reactor: Any, http: Any, url: str, step: Send) -> Answer | Trouble:
    """Do a step: ask what stands behind ``url``, and give what became of it."""
    asked = Deferred.fromCoroutine(_ask(reactor, http, url, step))
    is_late: list[bool] = []

    def give_up() -> None:
        is_late.append(True)
        asked.cancel()

    timer = reactor.callLater(step.seconds, give_up)
    try:
        return await asked
    except Exception as error:
        # Being cancelled looks like all sorts of things by the time it comes out of an HTTP client.
        if is_late:
            return Trouble("late")
        if _was_cancelled(error):
            raise CancelledError from error
        if not isinstance(error, _TROUBLES):
            raise
        return _trouble(error)
    finally:
        if timer.active():
            timer.cancel()


async def _ask(reactor: Any, http: Any, url: str, step: Send) -> Answer:
    request = step.request
    response = await http.request(
        request.method,
        f"{url}{request.target}",
        headers=Headers({name: [value] for name, value in request.headers.items()}),
        data=request.body,
        allow_redirects=False,
        unbuffered=True,
        reactor=reactor,
    )
    headers = {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
    body = _Body()
    response.deliverBody(body)
    return Answer(response.code, headers, await body.whole)


class _Body(Protocol):
    """Takes a body, up to a size."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0
        self.whole: Deferred[bytes] = Deferred(lambda _: self._hang_up())

    def dataReceived(self, data: bytes) -> None:
        """Take a piece."""
        self._size += len(data)
        if self._size <= MOST_ANSWER_BYTES:
            self._parts.append(data)
        elif not self.whole.called:
            self.whole.errback(_TooLarge(f"the answer is larger than {MOST_ANSWER_BYTES >> 20} MiB"))
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give it."""
        if self.whole.called:
            return
        if reason.check(ResponseDone):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class _TooLarge(Exception):
    """What comes is larger than any answer of the sidecar."""


_TROUBLES = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    OSError,
    PotentialDataLoss,
    RequestTransmissionFailed,
    ResponseFailed,
    _TooLarge,
)


def _was_cancelled(error: BaseException | None) -> bool:
    inner: Sequence[Failure] = getattr(error, "reasons", ())
    return isinstance(error, CancelledError) or any(_was_cancelled(one.value) for one in inner)


def _trouble(error: BaseException) -> Trouble:
    inner: Sequence[Failure] = getattr(error, "reasons", ())
    if len(inner) == 1 and isinstance(inner[0].value, Exception):
        error = inner[0].value
    if isinstance(error, (ConnectError, DNSLookupError)):
        return Trouble("unreachable", str(error).rstrip("."))
    return Trouble("broken", str(error).rstrip(".") or type(error).__name__)
