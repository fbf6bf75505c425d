"""The context service's gatherer: a process that gathers, a thread that waits for it, a bounded queue, a cache."""

import ctypes
import threading
from collections.abc import Callable
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from cco_sidecar.backends.gatherer.answers import Answers, Keep, question_of
from cco_sidecar.backends.gatherer.cache import Cleared, ContextCache
from cco_sidecar.backends.gatherer.flights import Flight
from cco_sidecar.backends.gatherer.gatherer_process import GathererProcess
from cco_sidecar.backends.gatherer.room import Worker
from cco_sidecar.core.context.request import ContextAnswer, ContextRequest
from cco_sidecar.errors import ContextFailed, TooManyRequests

_WORKER_SHARE = 2
"""What the worker keeps (texts, terms, outlines) may take half of the cache, the answers get the rest."""
_SMALL_BYTES = 1 << 18
"""An answer up to this size is compressed at once; with a larger one nobody is kept waiting for that."""


class ReactorThreads(Protocol):
    """What the gatherer needs of the reactor: its time, and a way back from a thread."""

    def seconds(self) -> float:
        """Give the time in seconds since the epoch."""

    def callFromThread(self, callable: Callable[..., object], *arguments: object) -> None:
        """Call something in the reactor's thread."""


class Gatherer(Service):
    """Gathers context off the reactor.

    One thread gives a worker one order after the other. What the kernel says did not change is answered at once. Equal
    requests share one gathering.
    """

    hits = 0
    """How many gatherings were answered from the cache."""
    misses = 0
    """How many were not."""

    def __init__(
        self,
        clock: ReactorThreads,
        *,
        cache_bytes: int,
        queue_limit: int = 64,
        new_worker: Callable[[int], Worker] = GathererProcess,
    ) -> None:
        self._clock = clock
        self._worker_bytes = cache_bytes // _WORKER_SHARE
        self._new_worker = new_worker
        self._queue_limit = queue_limit
        self._cache = ContextCache(cache_bytes - self._worker_bytes)
        self._worker = new_worker(self._worker_bytes)
        self._answers = Answers(self._cache, self._worker, clock.seconds)
        self._pool: ThreadPool | None = None
        self._flights: set[Flight] = set()
        self._joinable: dict[tuple[object, ...], Flight] = {}
        self._projects: set[str] = set()

    def startService(self) -> None:
        """Start the thread, and in it the worker."""
        super().startService()
        self._worker = self._new_worker(self._worker_bytes)
        self._answers = Answers(self._cache, self._worker, self._clock.seconds)
        self._pool = ThreadPool(0, 1, "gatherer")
        self._pool.start()
        self._pool.callInThread(self._worker.start)

    def stopService(self) -> "Deferred[None]":
        """End what runs, fail those who wait, and fire when no thread is left."""
        super().stopService()
        pool, self._pool = self._pool, None
        if pool is None:
            return succeed(None)
        for flight in self._flights:
            flight.abandoned = True
        worker, answers = self._worker, self._answers
        stopped: Deferred[None] = Deferred()

        def join() -> None:
            worker.stop()
            pool.stop()  # waits for the thread, so it has a thread itself
            worker.close()
            answers.close()
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
        ready = self._answers.ready(request)
        if ready is not None:
            self.hits += 1
            return succeed(ready)
        key = _key(request)
        flight = self._joinable.get(key)
        joined = None if flight is None else flight.join()
        if joined is not None:
            return joined
        if len(self._flights) >= self._queue_limit:
            return fail(TooManyRequests("Too many contexts are being gathered; ask again in a second.", 1.0))
        return self._depart(key, request, self._pool)

    def clear(self, project_id: str | None, issue_id: str | None = None, agent_type: str | None = None) -> Cleared:
        """Remove the cached answers that match all that is not None, and all else if nothing narrower is named."""
        cleared = self._answers.clear(project_id, issue_id, agent_type)
        freed = 0
        everything = issue_id is None and agent_type is None and (project_id is None or project_id in self._projects)
        if everything and self._pool is not None:
            self._projects.clear()
            freed, self._answers.worker_bytes = self._answers.worker_bytes, 0
            self._pool.callInThread(self._worker.forget)
        if self._pool is not None:
            self._pool.callInThread(_give_back)
        return Cleared(cleared.entries_removed, cleared.bytes_freed + freed)

    @property
    def entries(self) -> int:
        """How many answers are cached."""
        return self._answers.entries

    @property
    def size_bytes(self) -> int:
        """How many bytes the cached answers take, and the texts, terms and outlines that the worker keeps."""
        return self._answers.size_bytes + self._answers.worker_bytes

    def _depart(self, key: tuple[object, ...], request: ContextRequest, pool: ThreadPool) -> "Deferred[ContextAnswer]":
        flight = self._joinable[key] = Flight(request, self._worker.abandon)
        joined = flight.join()
        assert joined is not None  # nothing has begun it yet
        self._flights.add(flight)
        self._projects.add(request.project_id)
        pool.callInThread(self._fly, key, flight, self._answers)
        return joined

    def _fly(self, key: tuple[object, ...], flight: Flight, answers: Answers) -> None:
        keep: Keep | None = None
        outcome: ContextAnswer | Failure
        try:
            asked_ns = flight.begin()
            flight.check()
            outcome, keep = answers.answer(flight.request, asked_ns, flight.check)
            if outcome.content.size_bytes <= _SMALL_BYTES:
                keep()
                keep = None
        except Exception:  # noqa: BLE001 - whoever waits gets it
            outcome = Failure()
        flight.end()
        self._clock.callFromThread(self._land, key, flight, outcome)
        if keep is not None:
            keep()

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


def _give_back() -> None:
    """Give the memory of what was removed back to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
