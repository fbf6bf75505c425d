"""Posting to webhooks: a name is resolved once, every address of it checked, and one of those connected to.

So there is nothing between the check and the connection that a name server could use (DNS rebinding). ``Host``, SNI and
the certificate stay the name's. No redirect is followed, no proxy is used, nothing is kept between two messages.
"""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.ssl import VerificationError, optionsForClientTLS
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, RequestTransmissionFailed, ResponseFailed
from twisted.web.http import stringToDatetime
from twisted.web.http_headers import Headers
from zope.interface import implementer

from cco_sidecar.backends.webhooks.connecting import Pinned, Plain, TLSOptions, read_away
from cco_sidecar.core.webhooks.addresses import AddressPolicy
from cco_sidecar.interfaces import IWebhookSender, Message, Receipt, Target

_log = Logger()

MOST_ADDRESSES = 4
"""How many addresses of a name are tried, one after the other."""
USER_AGENT = "cco-sidecar-webhooks"

Resolve = Callable[[str, int], "Deferred[Sequence[str]]"]
"""Gives the addresses of a host; fails with DNSLookupError."""


@implementer(IWebhookSender)
@define(eq=False)
class WebhookSender:
    """Posts messages, each within ``seconds``, to addresses that the policy allows."""

    _reactor: Any
    _policy: AddressPolicy
    _seconds: float
    _resolve: Resolve
    _tls: TLSOptions = field(default=optionsForClientTLS)

    def refusal(self, target: Target) -> "Deferred[str | None]":
        """See `IWebhookSender.refusal`."""
        return Deferred.fromCoroutine(self._refusal(target))

    async def _refusal(self, target: Target) -> str | None:
        looked = self._resolve(target.host, target.port)
        looked.addTimeout(self._seconds, self._reactor)
        try:
            why_not = self._policy.refusal(target.host, await looked)
        except (DNSLookupError, TimeoutError):
            return None  # it is looked up again for each message
        return None if why_not is None else _how_to_allow(why_not)

    def send(self, message: Message) -> "Deferred[Receipt]":
        """See `IWebhookSender.send`."""
        sent = Deferred.fromCoroutine(self._send(message))
        is_late: list[bool] = []

        def give_up() -> None:
            is_late.append(True)
            sent.cancel()

        timer = self._reactor.callLater(self._seconds, give_up)

        def came(result: Receipt | Failure) -> Receipt:
            if timer.active():
                timer.cancel()
            if isinstance(result, Receipt):
                return result
            # Being cancelled looks like all sorts of things by the time it comes out of an HTTP client.
            if is_late:
                return Receipt(None, f"no answer came in {self._seconds:g} s")
            if _was_cancelled(result):
                raise CancelledError
            return Receipt(None, _reason(result))

        return sent.addBoth(came)

    async def _send(self, message: Message) -> Receipt:
        target = message.target
        addresses = await self._resolve(target.host, target.port)
        why_not = self._policy.refusal(target.host, addresses)
        if why_not is not None:
            return Receipt(None, _how_to_allow(why_not))
        endpoints = Pinned(self._reactor, addresses[:MOST_ADDRESSES], self._seconds, self._tls)
        try:
            return await self._post(message, endpoints)
        finally:
            endpoints.let_go()

    async def _post(self, message: Message, endpoints: Pinned) -> Receipt:
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        client = HTTPClient(Plain(Agent.usingEndpointFactory(self._reactor, endpoints, pool)))
        headers = Headers({name: [value] for name, value in message.headers.items()})
        headers.setRawHeaders("Content-Type", ["application/json"])
        headers.setRawHeaders("User-Agent", [USER_AGENT])
        response = await client.post(
            message.target.url,
            data=message.body,
            headers=headers,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        await read_away(response)
        return Receipt(response.code, None, self._retry_after(response.headers.getRawHeaders(b"Retry-After")))

    def _retry_after(self, values: Sequence[bytes] | None) -> float | None:
        text = (values or [b""])[0].strip()
        if text.isdigit() and len(text) < 10:
            return float(text)
        try:
            return float(stringToDatetime(text) - self._reactor.seconds())
        except (ValueError, IndexError, OverflowError):
            return None


def _how_to_allow(why_not: str) -> str:
    return f"{why_not}; if that is right, allow it in the settings (webhooks.allowed_networks)"


_REASONS: Sequence[tuple[type[BaseException], str]] = (
    (VerificationError, "TLS failed: the certificate is not that name's"),
    (SSL.Error, "TLS failed: the certificate is not trusted, or the receiver speaks no TLS"),
    (ConnectionClosed, "the connection ended before the answer"),
)


def _was_cancelled(failure: Failure) -> bool:
    inner: Sequence[Failure] = getattr(failure.value, "reasons", ())
    return failure.check(CancelledError) is not None or any(_was_cancelled(one) for one in inner)


def _reason(failure: Failure) -> str:
    """Say in a sentence why no answer came; what nobody has thought of goes into the log."""
    known = _known(failure)
    if known is None:
        _log.failure("a webhook got no answer", failure)
    return known or "no answer came; the sidecar's log says more"


def _known(failure: Failure) -> str | None:
    error: Any = failure.value
    if isinstance(error, DNSLookupError):
        return f"the name has no address ({error.args[0] if error.args else 'it could not be looked up'})"
    if isinstance(error, ConnectError):
        return f"no connection ({error.osError or error})"
    if isinstance(error, (ResponseFailed, RequestTransmissionFailed)):
        default = "what came is no HTTP answer" if isinstance(error, ResponseFailed) else None
        return next(filter(None, map(_known, error.reasons)), default)
    return next((sentence for kind, sentence in _REASONS if isinstance(error, kind)), None)
