"""What was measured: response times, rates, the reactor's lag; nothing here is made up."""

import time
from collections import deque
from typing import Any

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry, Counter, Histogram
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

WINDOW_SECONDS = 60.0
MOST_SAMPLES = 10_000
LAG_EVERY_SECONDS = 0.25
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@frozen
class _Sample:
    at: float
    seconds: float
    error: bool


@frozen
class Performance:
    """The last minute, as ``/status`` shows it; times are in milliseconds."""

    avg_response_time_ms: float
    p95_response_time_ms: float
    p99_response_time_ms: float
    requests_per_second: float
    errors_per_minute: int
    reactor_lag_ms: float


@define(eq=False, slots=False)
class Measurements:
    """Counts requests and deliveries, and watches how late the reactor is."""

    _clock: IReactorTime
    registry: CollectorRegistry = field(factory=CollectorRegistry)
    _samples: "deque[_Sample]" = field(factory=lambda: deque(maxlen=MOST_SAMPLES))
    _lags: "deque[float]" = field(factory=lambda: deque(maxlen=int(WINDOW_SECONDS / LAG_EVERY_SECONDS)))
    _started_at: float = 0.0
    _expected_at: float = 0.0
    _watch: LoopingCall = field(init=False)
    _watching: "Deferred[LoopingCall] | None" = None
    delivery_seconds: float = 0.0
    deliveries: int = 0

    def __attrs_post_init__(self) -> None:
        registry = self.registry
        self._requests = Counter("sidecar_requests", "Answered requests.", ["route", "status"], registry=registry)
        self._durations = Histogram(
            "sidecar_request_duration_seconds",
            "Time from a whole request to its answer, without the time a poll was parked.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._deliveries = Histogram(
            "sidecar_event_delivery_seconds",
            "Time from a publish to the answer of a parked poll, the disk included.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._lag = Histogram(
            "sidecar_reactor_lag_seconds", "How late the reactor was.", buckets=_BUCKETS, registry=registry
        )
        self._webhooks = Counter(
            "sidecar_webhook_deliveries", "Attempts to deliver to webhooks.", ["outcome"], registry=registry
        )
        self._started_at = self._clock.seconds()
        self._watch = LoopingCall(self._look)
        self._watch.clock = self._clock

    def start(self) -> None:
        """Begin to watch the reactor."""
        self._expected_at = time.monotonic()
        self._watching = self._watch.start(LAG_EVERY_SECONDS, now=True)

    def stop(self) -> "Deferred[Any]":
        """Stop watching; fires when it has stopped."""
        if self._watch.running:
            self._watch.stop()
        return self._watching if self._watching is not None else succeed(None)

    def _look(self) -> None:
        # A monotonic clock: a wall clock that is set would look like lag.
        now = time.monotonic()
        late = max(0.0, now - self._expected_at)
        self._expected_at = now + LAG_EVERY_SECONDS
        self._lags.append(late)
        self._lag.observe(late)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer; ``seconds`` is without parked time."""
        self._requests.labels(route, str(status)).inc()
        self._durations.labels(route).observe(seconds)
        self._samples.append(_Sample(self._clock.seconds(), seconds, status >= 500))

    def delivered(self, seconds: float) -> None:
        """Count the answer of a parked poll."""
        self._deliveries.observe(seconds)
        self.delivery_seconds += seconds
        self.deliveries += 1

    def webhook_attempted(self, outcome: str) -> None:
        """Count what an attempt to deliver to a webhook came to."""
        self._webhooks.labels(outcome).inc()

    @property
    def avg_delivery_time_ms(self) -> float:
        """How long a delivery took, on average, since the start."""
        return round(1000 * self.delivery_seconds / self.deliveries, 3) if self.deliveries else 0.0

    def performance(self) -> Performance:
        """Look back over the last minute."""
        now = self._clock.seconds()
        recent = [sample for sample in self._samples if sample.at > now - WINDOW_SECONDS]
        times = sorted(sample.seconds for sample in recent)
        window = max(1.0, min(WINDOW_SECONDS, now - self._started_at))
        return Performance(
            avg_response_time_ms=_ms(sum(times) / len(times)) if times else 0.0,
            p95_response_time_ms=_ms(_percentile(times, 0.95)),
            p99_response_time_ms=_ms(_percentile(times, 0.99)),
            requests_per_second=round(len(recent) / window, 3),
            errors_per_minute=sum(sample.error for sample in recent),
            reactor_lag_ms=_ms(max(self._lags, default=0.0)),
        )


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
