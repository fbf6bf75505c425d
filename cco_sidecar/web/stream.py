"""A stream of Server-Sent Events on a connection (WHATWG HTML, section 9.2)."""

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.following import Follower, Followers
from cco_sidecar.web.request import SidecarRequest

EVENT_STREAM = b"text/event-stream; charset=utf-8"
RETRY_MILLISECONDS = 2000
LINGER_SECONDS = 30.0
STUCK_LINGER_SECONDS = 2.0
"""How long a connection may stay after its stream has ended: one that is being read, and one that took nothing."""

HEADERS = {b"X-Accel-Buffering": b"no", b"Connection": b"close"}


def opening(cursor: str) -> bytes:
    """Give how a stream begins; the id counts although no event comes with it, so nothing is missed after a break."""
    return f"retry: {RETRY_MILLISECONDS}\n: events follow as they come\nid: {cursor}\n\n".encode()


@implementer(IPushProducer)
@define(eq=False)
class EventStream:
    """Writes what a follower is given; the connection says when it can take no more."""

    _followers: Followers
    _follower: Follower
    _request: SidecarRequest
    _done: "Deferred[None]" = field(factory=Deferred)

    async def run(self, seconds: float) -> None:
        """Write until the stream ends; a peer that hangs up cancels it.

        :param seconds: how long the token lives.
        """
        request, clock = self._request, self._request.site.clock
        began = clock.seconds()
        request.registerProducer(self, True)
        try:
            self._followers.begin(self._follower, self, seconds)
            await self._done
        finally:
            self._followers.leave(self._follower)
            request.parked_seconds = clock.seconds() - began

    def event(self, cursor: str, event: Event) -> None:
        """Write an event; its JSON has no line break."""
        head = f"id: {cursor}\nevent: {event.body.event_type}\ndata: ".encode()
        self._request.write(head + event.encoded + b"\n\n")

    def gap(self, oldest_cursor: str) -> None:
        """Write that events are missing; the reader's place stays where it is."""
        self._request.write(f'event: gap\ndata: {{"oldest_cursor":"{oldest_cursor}"}}\n\n'.encode())

    def beat(self) -> None:
        """Write a comment, which readers pass over and proxies count as life."""
        self._request.write(b": still here\n\n")

    def end(self, reason: str) -> None:
        """Write why it ends, and end it; a connection that does not take that is cut off after a while."""
        request = self._request
        linger = STUCK_LINGER_SECONDS if self._follower.paused else LINGER_SECONDS
        request.write(b": the stream ends: " + reason.replace("\n", " ").encode() + b"\n\n")
        request.unregisterProducer()
        request.site.clock.callLater(linger, request.channel.cut_off)
        self._done.callback(None)

    def pauseProducing(self) -> None:
        """The connection's buffer is full."""
        self._followers.pause(self._follower)

    def resumeProducing(self) -> None:
        """The connection's buffer is empty."""
        self._followers.resume(self._follower)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._followers.leave(self._follower)
