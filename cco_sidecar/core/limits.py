"""How often an agent may ask: a token bucket per agent (contract section 3)."""

import math

from attrs import define, field, frozen
from cachetools import LRUCache
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.errors import TooManyRequests

MOST_BUCKETS = 10_000
_WHOLE = 1 - 1e-5  # seconds since the epoch are not exact to the last bit: who waited as told must be served


@frozen
class RateLimit:
    """A bucket that holds ``burst`` requests and gains ``per_minute`` of them a minute."""

    per_minute: int
    burst: int


@frozen
class Allowance:
    """What is left after a request: all that the ``X-RateLimit-*`` headers say.

    ``reset`` is the time, in seconds since the epoch, when the bucket will be full again.
    """

    limit: int
    remaining: int
    reset: int


@define(eq=False)
class _Bucket:
    level: float
    at: float


@define(eq=False)
class RateLimiter:
    """Counts each agent's requests against the limit of its type."""

    _clock: IReactorTime
    _buckets: "LRUCache[str, _Bucket]" = field(factory=lambda: LRUCache(MOST_BUCKETS))

    def take(self, agent: str, limit: RateLimit) -> Allowance:
        """Take one request from the agent's bucket.

        :param agent: a name that is unique over all projects.
        :raises TooManyRequests: it is empty; ``details`` has ``allowance``'s numbers.
        """
        now = self._clock.seconds()
        bucket = self._buckets.get(agent)
        if bucket is None:
            bucket = _Bucket(limit.burst, now)
            self._buckets[agent] = bucket
        rate = limit.per_minute / 60
        # A clock set back must not drain the bucket.
        bucket.level = min(limit.burst, bucket.level + max(0.0, now - bucket.at) * rate)
        bucket.at = now
        if bucket.level < _WHOLE:
            wait = max(1, math.ceil((_WHOLE - bucket.level) / rate))
            raise TooManyRequests(
                f"This agent may ask {limit.per_minute} times a minute, {limit.burst} at once: "
                f"wait {wait} s (Retry-After), and prefer one long wait over many short ones.",
                retry_after=wait,
                limit=limit.burst,
                remaining=0,
                reset=self._full_at(bucket, limit),
            )
        bucket.level = max(0.0, bucket.level - 1)
        return Allowance(limit.burst, int(bucket.level), self._full_at(bucket, limit))

    def _full_at(self, bucket: _Bucket, limit: RateLimit) -> int:
        return math.ceil(bucket.at + (limit.burst - bucket.level) * 60 / limit.per_minute)
