"""Work that goes on when the one who asked for it hangs up: what was begun on disk must be finished in memory."""

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.errors import Refusal

_log = Logger()
_T = TypeVar("_T")


def shielded(work: "Deferred[_T]") -> "Deferred[_T]":
    """Fire as ``work`` does; cancelling what is given does not cancel ``work``."""
    asked: Deferred[_T] = Deferred()

    def failed(failure: Failure) -> None:
        if asked.called and failure.check(Refusal) is None:
            _log.failure("work failed that nobody waits for any more", failure)
        asked.errback(failure)

    work.addCallbacks(asked.callback, failed)
    return asked
