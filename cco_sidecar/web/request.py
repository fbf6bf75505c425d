"""A request as twisted.web makes it, with a bound on its body and with what the pipeline notes down about it."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.server import Request

from cco_sidecar.errors import Refusal
from cco_sidecar.web.errors import TooLarge

if TYPE_CHECKING:
    from cco_sidecar.web.channel import SidecarChannel
    from cco_sidecar.web.site import SidecarSite

DRAIN_BYTES = 8 * 1024 * 1024
DRAIN_SECONDS = 2


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
        self.arrived = self.site.clock.seconds()  # it is whole: how long its sender took is not our time
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
