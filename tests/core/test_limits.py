"""Limits: a token bucket per agent, against a plain model."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from cco_sidecar.core import limits
from cco_sidecar.core.limits import Allowance, RateLimit, RateLimiter
from cco_sidecar.errors import TooManyRequests

CODING = RateLimit(per_minute=300, burst=60)


def refused(limiter: RateLimiter, agent: str, limit: RateLimit) -> TooManyRequests:
    with pytest.raises(TooManyRequests) as refusal:
        limiter.take(agent, limit)
    return refusal.value


def test_burst() -> None:
    """A full bucket gives as many as it holds at once, and then no more."""
    clock = Clock()
    limiter = RateLimiter(clock)
    taken = [limiter.take("a", CODING).remaining for _ in range(60)]
    assert taken == list(range(59, -1, -1))
    refusal = refused(limiter, "a", CODING)
    assert refusal.code == "RATE_001"
    assert refusal.retry_after == 1
    assert refusal.details == {"limit": 60, "remaining": 0, "reset": 12}


def test_refill() -> None:
    """It refills evenly, to its size and no further."""
    clock = Clock()
    limiter = RateLimiter(clock)
    for _ in range(60):
        limiter.take("a", CODING)
    clock.advance(0.2)
    assert limiter.take("a", CODING) == Allowance(60, 0, 13)
    refused(limiter, "a", CODING)
    clock.advance(3600)
    assert limiter.take("a", CODING).remaining == 59


def test_agents_apart() -> None:
    """One agent's haste is nobody else's."""
    limiter = RateLimiter(Clock())
    for _ in range(60):
        limiter.take("p/a", CODING)
    refused(limiter, "p/a", CODING)
    assert limiter.take("p/b", CODING).remaining == 59


def test_clock_back() -> None:
    """A clock that is set back drains no bucket, and does not stop it from filling."""
    clock = Clock()
    clock.advance(10_000)
    limiter = RateLimiter(clock)
    for _ in range(59):
        limiter.take("a", CODING)
    clock.rightNow -= 3600
    assert limiter.take("a", CODING).remaining == 0
    clock.advance(0.2)
    assert limiter.take("a", CODING).remaining == 0


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many agents come, the memory for them is bounded."""
    limiter = RateLimiter(Clock())
    for number in range(limits.MOST_BUCKETS + 10):
        limiter.take(f"a{number}", CODING)
    assert len(limiter._buckets) == limits.MOST_BUCKETS


@given(
    st.integers(1, 600),
    st.integers(1, 100),
    st.lists(st.floats(0, 90, allow_nan=False), max_size=200),
)
def test_model(per_minute: int, burst: int, steps: list[float]) -> None:
    """In no stretch of time does anybody get more than burst and what flowed in; whoever waits as told is served."""
    clock = Clock()
    limiter = RateLimiter(clock)
    limit = RateLimit(per_minute, burst)
    granted: list[float] = []
    for step in steps:
        clock.advance(step)
        try:
            allowance = limiter.take("a", limit)
        except TooManyRequests as refusal:
            assert refusal.retry_after >= 1
            clock.advance(refusal.retry_after + 1e-6)
            allowance = limiter.take("a", limit)
        granted.append(clock.seconds())
        assert 0 <= allowance.remaining < burst
        assert allowance.limit == burst
        assert allowance.reset >= math.floor(clock.seconds())
    for first, begin in enumerate(granted):
        for last in range(first, len(granted)):
            assert last - first + 1 <= burst + (granted[last] - begin) * per_minute / 60 + 1e-3
