"""The context service's gatherer: a few threads of its own, a bounded queue, a cache."""

import threading
from collections.abc import Callable
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from cco_sidecar.backends.gatherer.cache import Cleared, ContextCache
from cco_sidecar.backends.gatherer.flights import Flight
from cco_sidecar.backends.gatherer.gathering import Gathering, question_of
from cco_sidecar.backends.gatherer.git import Git
from cco_sidecar.backends.gatherer.index import TermIndex
from cco_sidecar.backends.gatherer.looks import Looks
from cco_sidecar.backends.gatherer.outlines import OutlineCache
from cco_sidecar.backends.gatherer.parser_process import ParserProcess
from cco_sidecar.core.context.outline.shape import Outline
from cco_sidecar.core.context.request import ContextAnswer, ContextRequest
from cco_sidecar.errors import ContextFailed, TooManyRequests

_INDEX_SHARE = 4
"""The terms of files may take a quarter of the cache, the answers get the rest."""
_OUTLINES_SHARE = 16
"""What part of the cache outlines may take."""


class ReactorThreads(Protocol):
    """What the gatherer needs of the reactor: its time, and a way back from a thread."""

    def seconds(self) -> float:
        """Give the time in seconds since the epoch."""

    def callFromThread(self, callable: Callable[..., object], *arguments: object) -> None:
        """Call something in the reactor's thread."""


class Gatherer(Service):
    """Gathers context off the reactor.

    Its threads are its own (one is best: more only take the interpreter's lock from the reactor). It answers from its
    cache only what a look at the project shows to be true still. Equal requests share one gathering.
    """

    hits = 0
    """How many gatherings were answered from the cache."""
    misses = 0
    """How many were not."""

    def __init__(self, clock: ReactorThreads, *, cache_bytes: int, threads: int = 1, queue_limit: int = 64) -> None:
        self._clock = clock
        index_bytes, outline_bytes = cache_bytes // _INDEX_SHARE, cache_bytes // _OUTLINES_SHARE
        self._cache = ContextCache(cache_bytes - index_bytes - outline_bytes)
        self._index = TermIndex(index_bytes)
        self._parser = ParserProcess()
        self._outlines = OutlineCache(outline_bytes, self._parse)
        self._threads = threads
        self._queue_limit = queue_limit
        self._git = Git()
        self._looks = Looks()
        self._pool: ThreadPool | None = None
        self._flights: set[Flight] = set()
        self._joinable: dict[tuple[object, ...], Flight] = {}

    def startService(self) -> None:
        """Start the threads."""
        super().startService()
        self._git = Git()
        self._parser = ParserProcess()
        self._pool = ThreadPool(0, self._threads, "gatherer")
        self._pool.start()

    def stopService(self) -> "Deferred[None]":
        """End what runs, fail those who wait, and fire when no thread is left."""
        super().stopService()
        pool, self._pool = self._pool, None
        if pool is None:
            return succeed(None)
        for flight in self._flights:
            flight.abandoned = True
        self._git.stop()
        self._parser.stop()
        stopped: Deferred[None] = Deferred()

        def join() -> None:
            pool.stop()  # waits for the threads, so it has a thread itself
            self._parser.close()
            self._clock.callFromThread(stopped.callback, None)

        threading.Thread(target=join, name="gatherer-stop", daemon=True).start()
        return stopped

    def gather(self, request: ContextRequest) -> "Deferred[ContextAnswer]":
        """Fire with the context; cancelling it leaves others who asked the same unharmed.

        :raises ContextFailed: the project cannot be read; the message says why.
        :raises TooManyRequests: as many gatherings are waiting as may.
        """
        if self._pool is None:
            return fail(ContextFailed("The context service is not running; ask again when the sidecar is up."))
        key = _key(request)
        flight = self._joinable.get(key)
        joined = None if flight is None else flight.join()
        if joined is not None:
            return joined
        if len(self._flights) >= self._queue_limit:
            return fail(TooManyRequests("Too many contexts are being gathered; ask again in a second.", 1.0))
        return self._depart(key, request, self._pool)

    def clear(self, project_id: str | None, issue_id: str | None = None, agent_type: str | None = None) -> Cleared:
        """Remove the cached answers that match all that is not None, and the index if nothing narrower is named."""
        cleared = self._cache.clear(project_id, issue_id, agent_type)
        freed = self._index.clear() if issue_id is None and agent_type is None else 0
        return Cleared(cleared.entries_removed, cleared.bytes_freed + freed)

    @property
    def entries(self) -> int:
        """How many answers are cached."""
        return self._cache.entries

    @property
    def size_bytes(self) -> int:
        """How many bytes the cached answers, the index and the outlines take."""
        return self._cache.size_bytes + self._index.size_bytes + self._outlines.size_bytes

    def _depart(self, key: tuple[object, ...], request: ContextRequest, pool: ThreadPool) -> "Deferred[ContextAnswer]":
        flight = self._joinable[key] = Flight(request)
        joined = flight.join()
        assert joined is not None  # nothing has begun it yet
        self._flights.add(flight)
        pool.callInThreadWithCallback(
            lambda _, outcome: self._clock.callFromThread(self._land, key, flight, outcome), self._fly, flight
        )
        return joined

    def _fly(self, flight: Flight) -> ContextAnswer:
        asked_ns = flight.begin()
        flight.check()
        gathering = Gathering(
            flight.request,
            self._cache,
            self._index,
            self._git,
            self._looks,
            self._outlines,
            asked_ns,
            self._clock.seconds,
            flight.check,
        )
        return gathering.answer()

    def _parse(self, language: str, text: str) -> Outline | None:
        return self._parser.parse(language, text)

    def _land(self, key: tuple[object, ...], flight: Flight, outcome: "ContextAnswer | Failure") -> None:
        self._flights.discard(flight)
        if self._joinable.get(key) is flight:
            del self._joinable[key]
        if isinstance(outcome, ContextAnswer) and flight.request.inquiry is None:
            self.hits += outcome.cache_hit
            self.misses += not outcome.cache_hit
        flight.land(outcome)


def _key(request: ContextRequest) -> tuple[object, ...]:
    """Name a request; the roster entry counts by identity, which the flight keeps alive."""
    return (
        question_of(request),
        request.project_root,
        id(request.agent_type),
        request.refresh,
        request.results_version,
        request.inquiry,
    )
