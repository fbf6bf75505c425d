"""A few threads for short pieces of work that must not hold up the reactor: compression, reading logs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from cco_sidecar.errors import TooManyRequests

_T = TypeVar("_T")

MOST_WAITING = 256
THREADS = 2
MOST_LOG_BYTES = 1024 * 1024


@define(eq=False, slots=False)
class Workers(Service):
    """Runs work in threads of its own; refuses when too much waits."""

    _reactor: IReactorFromThreads
    _pool: ThreadPool = field(factory=lambda: ThreadPool(0, THREADS, name="workers"))
    _waiting: int = 0

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._pool.start()

    def stopService(self) -> "Deferred[None]":
        """Fire when no thread is left; joined in the reactor's own pool, for a thread may still be at work."""
        super().stopService()
        reactor_pool = self._reactor.getThreadPool()  # type: ignore[attr-defined]  # IReactorThreads, on any real one
        done: Deferred[None] = deferToThreadPool(self._reactor, reactor_pool, self._pool.stop)
        return done

    def run(self, work: Callable[[], _T]) -> "Deferred[_T]":
        """Fire with what ``work`` gives.

        :raises TooManyRequests: too much is waiting.
        """
        if self._waiting >= MOST_WAITING:
            raise TooManyRequests("The sidecar has too much to do at the moment: try again in a second.", 1)
        self._waiting += 1
        return deferToThreadPool(self._reactor, self._pool, work).addBoth(self._done)

    def _done(self, result: _T) -> _T:
        self._waiting -= 1
        return result


def read_log(path: Path, tail: int | None, offset: int) -> tuple[bytes, int]:
    """Read a log from an offset, or its last so many lines; at most 1 MiB. Gives text and the offset after it. Blocks.

    A log that was rotated, and so is shorter than the offset, is read from its beginning.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", offset
    with os.fdopen(handle, "rb") as file:
        size = os.fstat(handle).st_size
        if tail is not None:
            file.seek(max(0, size - MOST_LOG_BYTES))
            lines = file.read(MOST_LOG_BYTES).splitlines(keepends=True)
            return b"".join(lines[-tail:] if tail else []), size
        file.seek(offset if offset <= size else 0)
        text = file.read(MOST_LOG_BYTES)
        return text, file.tell()
