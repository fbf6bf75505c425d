"""Counters and histograms that cost next to nothing to count with; Prometheus reads them when it asks.

prometheus-client's own take a lock and look up their labels at each count, several microseconds a request: as much as
a good part of a publish.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from attrs import define, field
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""The upper bounds of all histograms here."""


@define(eq=False)
class Tally:
    """How often something took how long, in seconds."""

    counts: list[int] = field(factory=lambda: [0] * (len(SECONDS) + 1))
    sum: float = 0.0

    @property
    def count(self) -> int:
        """How often."""
        return sum(self.counts)

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count something that took so long, so many times."""
        self.counts[bisect_left(SECONDS, seconds)] += times
        self.sum += seconds * times

    def buckets(self) -> list[tuple[str, float]]:
        """Give the counts as Prometheus has them: each bucket holds those below it."""
        total, buckets = 0, []
        for bound, count in zip((*(repr(bound) for bound in SECONDS), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


def histogram(name: str, text: str, labels: Sequence[str], tallies: Iterator[tuple[tuple[str, ...], Tally]]) -> Metric:
    """Make Prometheus' form of tallies by their labels."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, tally in tallies:
        family.add_metric(values, tally.buckets(), tally.sum)
    made: Metric = family
    return made


def counter(name: str, text: str, labels: Sequence[str], counts: Iterator[tuple[tuple[str, ...], int]]) -> Metric:
    """Make Prometheus' form of counts by their labels."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts:
        family.add_metric(values, count)
    made: Metric = family
    return made
