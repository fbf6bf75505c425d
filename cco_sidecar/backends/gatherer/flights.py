"""Gatherings under way, each shared by all who ask the same before it has begun."""

import threading
import time
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from cco_sidecar.core.context.request import ContextAnswer, ContextRequest
from cco_sidecar.errors import ContextFailed


@define(eq=False)
class Flight:
    """One gathering and those who wait for it; each has a Deferred of their own, so that one who leaves harms nobody.

    It can be joined until the thread begins to look at the project: who asks later may know of a later change.
    ``abandoned`` says that the work is in vain: nobody waits any more, or the sidecar stops. ``gave_up`` is
    called when that happens while it is worked on.
    """

    request: ContextRequest
    _gave_up: Callable[[], None] = lambda: None
    _asked_ns: int = field(default=0, init=False)
    _begun: bool = field(default=False, init=False)
    _flying: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    abandoned: bool = field(default=False, init=False)
    _waiters: "dict[Deferred[ContextAnswer], None]" = field(factory=dict, init=False)

    def join(self) -> "Deferred[ContextAnswer] | None":
        """Give a Deferred that fires with the answer, or None if it is too late; cancelling it concerns nobody else."""
        with self._lock:
            if self._begun or self.abandoned:
                return None
            self._asked_ns = time.monotonic_ns()  # the last to join may know of the newest change
        waiter: Deferred[ContextAnswer] = Deferred(self._leave)
        self._waiters[waiter] = None
        return waiter

    def begin(self) -> int:
        """Let nobody join any more, and give when the last one did (monotonic, ns); called in the thread."""
        with self._lock:
            self._begun = self._flying = True
            return self._asked_ns

    def end(self) -> None:
        """Say that the work is done; called in the thread."""
        with self._lock:
            self._flying = False

    def check(self) -> None:
        """End the work, by raising, if it is in vain; called in the thread."""
        if self.abandoned:
            raise ContextFailed("The sidecar is stopping; ask again when it is back.")

    def land(self, outcome: "ContextAnswer | Failure") -> None:
        """Give the outcome to all who wait."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if waiter.called:
                continue  # an earlier callback cancelled it
            if isinstance(outcome, Failure):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)

    def _leave(self, waiter: "Deferred[ContextAnswer]") -> None:
        self._waiters.pop(waiter, None)
        self.abandoned = not self._waiters
        with self._lock:
            if self.abandoned and self._flying:
                self._gave_up()
