"""Was the answer received? What a connection shows of the answers that it carries (contract section 5).

An answer with events counts as received when its connection carries another request, or when the peer closes it
cleanly after the last byte. So a connection that ends after an answer closes its own side first, lingers, and judges
by what the peer does.
"""

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cco_sidecar.core.events.subscriptions import Delivery
from cco_sidecar.web.arrival import arrival, peek

LINGER_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.02
PROBE_SECONDS = 0.2


@define(eq=False)
class Receipts:
    """The answers that one connection carries, until each is known to be received or lost."""

    _clock: IReactorTime
    _transport: Any  # a TCP connection, or a test's stand-in for one
    carried: list[Delivery] = field(factory=list)
    peer_is_done: bool = False
    _write_is_done: bool = False
    _judged: "list[Deferred[None]] | None" = None
    _lingering: IDelayedCall | None = None
    _linger_until: float = 0.0

    def carry(self, delivery: Delivery) -> None:
        """Watch over an answer that is about to be written."""
        delivery.probe = self.probe
        self.carried.append(delivery)

    def settle(self) -> None:
        """All that was carried has been received: whoever sends another request has read what came before it."""
        if self.carried:
            carried, self.carried = self.carried, []
            for delivery in carried:
                delivery.received()
        self._tell_judged()

    def lose(self) -> None:
        """Nothing that is carried has been received."""
        carried, self.carried = self.carried, []
        for delivery in carried:
            delivery.lost()
        self._tell_judged()

    def _tell_judged(self) -> None:
        judged, self._judged = self._judged, None
        for waiting in judged or ():
            waiting.callback(None)

    def half_close(self) -> bool:
        """Close our side, and the rest when the peer has shown that it has the answer; no, if nothing is carried."""
        close = getattr(self._transport, "loseWriteConnection", None)
        if not self.carried or close is None:
            return False
        self._transport.unregisterProducer()
        if not self.peer_is_done:  # else its end would be read again and again, and nothing be written
            self._transport.resumeProducing()
        if self._lingering is None:
            self._linger_until = self._clock.seconds() + LINGER_SECONDS
            self._lingering = self._clock.callLater(LINGER_SECONDS, self._stop_lingering)
        close()
        return True

    def _stop_lingering(self) -> None:
        self._lingering = None
        self.lose()
        self._transport.abortConnection()

    def write_is_done(self) -> None:
        """Every byte of ours is with the kernel, and our side is closed."""
        self._write_is_done = True
        self._judge()

    def see_out(self) -> None:
        """The peer has closed: send what is left, close, and judge by what becomes of that."""
        self.peer_is_done = True
        if not self.half_close():
            self._transport.loseConnection()
        self._judge()

    def _judge(self) -> None:
        if not (self.peer_is_done and self._write_is_done and self.carried):
            return
        verdict = arrival(self._transport)
        if verdict is None and self._clock.seconds() < self._linger_until:
            # A reset may still be on its way from a peer that closed before it read.
            self._clock.callLater(LOOK_AGAIN_SECONDS, self._judge)
            return
        if verdict:
            self.settle()
        else:
            self.lose()
        self._transport.loseConnection()

    def probe(self) -> "Deferred[None]":
        """Look at the socket now, not in the reactor's turn; on a closing connection, wait a moment for its end."""
        try:
            peeked = peek(self._transport)
        except OSError:
            self.lose()  # a reset
            peeked = None
        if peeked:
            self.settle()  # another request is there already
        elif peeked == b"" and self.carried:
            self.see_out()
        if not self.carried or self._lingering is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._stop_waiting)
        self._judged = [*(self._judged or ()), waiting]
        return waiting.addTimeout(PROBE_SECONDS, self._clock, lambda _result, _seconds: None)

    def _stop_waiting(self, waiting: "Deferred[None]") -> None:
        if self._judged is not None:
            self._judged.remove(waiting)

    def ended(self, cleanly: bool) -> None:
        """The connection is gone; unless the peer ended it cleanly, nothing was received."""
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        if cleanly:
            self.settle()
        else:
            self.lose()
