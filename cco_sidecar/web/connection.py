"""A connection: its bytes go to the fast path while that takes them, and to twisted.web's channel otherwise.

The channel, which weighs more than all the rest of a connection, is made with the first request that needs it.
"""

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from cco_sidecar.web.channel import HEADER_SECONDS, IDLE_SECONDS, SidecarChannel
from cco_sidecar.web.receipts import Receipts
from cco_sidecar.web.sending import can_send_at_once, has_unsent, send_at_once

if TYPE_CHECKING:
    from cco_sidecar.web.site import SidecarSite

NEVER = float("inf")
HOLD_SECONDS = 1.0
MOST_AHEAD = 16384
"""So many bytes of a next request are read while one is in hand; as in `HTTPChannel`."""


class InHand(Protocol):
    """A request that the fast path is answering."""

    def hung_up(self) -> None:
        """The peer is gone."""


class FastPath(Protocol):
    """Answers what it is made for, and takes nothing else."""

    def take(self, connection: "Connection", data: bytes) -> bool | None:
        """Begin to answer the one whole request that ``data`` is.

        None if it begins one of its own whose body has not come yet, False if it is anything else.
        """


@implementer(IProtocol, IHalfCloseableProtocol)
class Connection:
    """The protocol of a connection; at most one of ``in_hand`` and ``channel`` is there."""

    __slots__ = ("_ahead", "_held", "_sends_at_once", "channel", "ends_at", "in_hand", "receipts", "site", "transport")

    def __init__(self, site: "SidecarSite") -> None:
        self.site = site
        self.transport: Any = None
        self.channel: SidecarChannel | None = None
        self.in_hand: InHand | None = None
        self.receipts: Receipts
        self.ends_at = NEVER  # its time limit, in seconds since the epoch; `SidecarSite` looks each second
        self._ahead = b""  # came while a request was in hand
        self._held = b""  # a request of the fast path's, but for some of its body
        self._sends_at_once = False

    # The transport's side

    def makeConnection(self, transport: Any) -> None:
        """Begin; the first request must come in time."""
        self.transport = transport
        self.receipts = Receipts(self.site.clock, transport)
        self.site.remember(self)
        no_delay = getattr(transport, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        self._sends_at_once = can_send_at_once(transport)
        self.ends_at = self.site.clock.seconds() + HEADER_SECONDS

    def connectionMade(self) -> None:
        """Nothing is left to do; part of `IProtocol`."""

    def logPrefix(self) -> str:
        """Name connections in Twisted's log."""
        return "cco-sidecar"

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""
        if self.in_hand is not None:
            self._keep_for_later(data)
            return
        channel = self.channel
        if channel is not None and not channel.is_idle:
            channel.dataReceived(data)
            return
        data = self._held + data if self._held else data
        fast = self.site.fast_path
        taken = False if fast is None else fast.take(self, data)
        self._held = b""
        if taken is None:
            self._hold(data)
        elif not taken:
            self._give_to_channel(data)

    def _hold(self, data: bytes) -> None:
        """Wait a moment for the body: many clients send it in a packet of its own, at once after the head."""
        self.receipts.settle()
        self._held = data
        self._let_channel_go()
        self.ends_at = self.site.clock.seconds() + HOLD_SECONDS

    def _give_to_channel(self, data: bytes) -> None:
        if self.channel is None:
            self._make_channel()
        assert self.channel is not None
        self.channel.dataReceived(data)

    def _give_up_holding(self) -> None:
        data, self._held = self._held, b""
        self._give_to_channel(data)

    def _make_channel(self) -> None:
        self.ends_at = NEVER
        self.channel = SidecarChannel(self.site, self)
        self.channel.makeConnection(self.transport)

    def _keep_for_later(self, data: bytes) -> None:
        self._ahead += data
        if len(self._ahead) > MOST_AHEAD:
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The peer sends nothing more: it has closed, or never will read the answer."""
        if self.receipts.carried and not self.is_busy:
            self.receipts.see_out()
            return
        self.receipts.peer_is_done = True
        self.receipts.lose()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Every byte of ours is with the kernel."""
        self.receipts.write_is_done()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.site.forget(self)
        # Without half-close (tests in memory) a clean end is all there is to see.
        cleanly = bool(reason.check(ConnectionDone)) and not hasattr(self.transport, "socket") and not self.is_busy
        self.receipts.ended(cleanly)
        in_hand, self.in_hand = self.in_hand, None
        if in_hand is not None:
            in_hand.hung_up()
        if self.channel is not None:
            self.channel.connectionLost(reason)

    # The fast path's side

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.in_hand is not None or (self.channel is not None and bool(self.channel.requests))

    def begin(self, in_hand: InHand) -> None:
        """The fast path has taken a request: the channel, which is idle, is let go."""
        self.in_hand = in_hand
        self.ends_at = NEVER
        self._let_channel_go()

    def _let_channel_go(self) -> None:
        if self.channel is not None:
            self.channel.retire()
            self.channel = None

    @property
    def has_unsent(self) -> bool:
        """Whether something that was written is still waiting for the peer."""
        return self._sends_at_once and has_unsent(self.transport)

    def answer(self, data: bytes, now: float) -> None:
        """Send the whole answer to the request in hand, and go on to the next."""
        self.in_hand = None
        if self._sends_at_once:
            send_at_once(self.transport, data)
        else:
            self.transport.write(data)
        if self.site.draining and not self.receipts.carried:
            self.transport.loseConnection()
            return
        self.ends_at = now + IDLE_SECONDS
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            self.transport.resumeProducing()
            self.dataReceived(ahead)

    # Ends

    def drain(self) -> None:
        """Close now if nothing is going on; else after the answer in hand, or once it has been received."""
        if self._held:
            self._give_up_holding()
        if not self.is_busy and not self.receipts.carried:
            self.transport.loseConnection()

    def cut_off(self) -> None:
        """End the connection now, read or not."""
        if self in self.site.connections:
            self.transport.abortConnection()

    def out_of_time(self) -> None:
        """End the connection: it has been silent too long; what was held is the channel's, which has its own limits."""
        self.ends_at = NEVER
        if self._held:
            self._give_up_holding()
            return
        if not self.receipts.half_close():
            self.transport.loseConnection()
