"""What was measured: response times, rates, the reactor's lag; nothing here is made up."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from cco_sidecar.web.tallies import Tally, counter, histogram

WINDOW_SECONDS = 60.0
MOST_SAMPLES = 10_000
LAG_EVERY_SECONDS = 0.25


@frozen
class Performance:
    """The last minute, as ``/status`` shows it; times are in milliseconds."""

    avg_response_time_ms: float
    p95_response_time_ms: float
    p99_response_time_ms: float
    requests_per_second: float
    errors_per_minute: int
    reactor_lag_ms: float


@define(eq=False)
class Measurements(Collector):
    """Counts requests and deliveries, and watches how late the reactor is."""

    _clock: IReactorTime
    registry: CollectorRegistry = field(factory=CollectorRegistry)
    deliveries: Tally = field(factory=Tally)
    """How long after its publish each event was given to parked polls, the disk included."""
    _requests: dict[tuple[str, int], int] = field(factory=dict)
    _durations: dict[str, Tally] = field(factory=dict)
    _webhooks: dict[str, int] = field(factory=dict)
    _lag: Tally = field(factory=Tally)
    _samples: "deque[tuple[float, float, bool]]" = field(factory=lambda: deque(maxlen=MOST_SAMPLES))
    _lags: "deque[float]" = field(factory=lambda: deque(maxlen=int(WINDOW_SECONDS / LAG_EVERY_SECONDS)))
    _started_at: float = 0.0
    _expected_at: float = 0.0
    _watch: LoopingCall = field(init=False)
    _watching: "Deferred[LoopingCall] | None" = None

    def __attrs_post_init__(self) -> None:
        self.registry.register(self)
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

    def answered(self, route: str, status: int, at: float, seconds: float) -> None:
        """Count an answer; ``at`` is in seconds since the epoch, ``seconds`` without parked time."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        durations = self._durations.get(route)
        if durations is None:
            durations = self._durations[route] = Tally()
        durations.observe(seconds)
        self._samples.append((at, seconds, status >= 500))

    def delivered(self, seconds: float, readers: int) -> None:
        """Count the answers of so many parked polls."""
        self.deliveries.observe(seconds, readers)

    def webhook_attempted(self, outcome: str) -> None:
        """Count what an attempt to deliver to a webhook came to."""
        self._webhooks[outcome] = self._webhooks.get(outcome, 0) + 1

    @property
    def avg_delivery_time_ms(self) -> float:
        """How long a delivery took, on average, since the start."""
        count = self.deliveries.count
        return _ms(self.deliveries.sum / count) if count else 0.0

    def collect(self) -> Iterable[Metric]:
        """Give what was counted to Prometheus."""
        yield counter(
            "sidecar_requests",
            "Answered requests.",
            ["route", "status"],
            (((route, str(status)), count) for (route, status), count in self._requests.items()),
        )
        yield histogram(
            "sidecar_request_duration_seconds",
            "Time from a whole request to its answer, without the time a poll was parked.",
            ["route"],
            (((route,), tally) for route, tally in self._durations.items()),
        )
        yield histogram(
            "sidecar_event_delivery_seconds",
            "Time from a publish to the answer of a parked poll, the disk included.",
            [],
            iter([((), self.deliveries)]),
        )
        yield counter(
            "sidecar_webhook_deliveries",
            "Attempts to deliver to webhooks.",
            ["outcome"],
            (((outcome,), count) for outcome, count in self._webhooks.items()),
        )
        yield histogram("sidecar_reactor_lag_seconds", "How late the reactor was.", [], iter([((), self._lag)]))

    def performance(self) -> Performance:
        """Look back over the last minute."""
        now = self._clock.seconds()
        recent = [sample for sample in self._samples if sample[0] > now - WINDOW_SECONDS]
        times = sorted(seconds for _, seconds, _ in recent)
        window = max(1.0, min(WINDOW_SECONDS, now - self._started_at))
        return Performance(
            avg_response_time_ms=_ms(sum(times) / len(times)) if times else 0.0,
            p95_response_time_ms=_ms(_percentile(times, 0.95)),
            p99_response_time_ms=_ms(_percentile(times, 0.99)),
            requests_per_second=round(len(recent) / window, 3),
            errors_per_minute=sum(failed for _, _, failed in recent),
            reactor_lag_ms=_ms(max(self._lags, default=0.0)),
        )


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
