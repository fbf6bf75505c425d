"""When a message is sent again: later and later, at a random moment, so that a receiver is not hit by all at once."""

from collections.abc import Callable

from attrs import frozen

MOST_RETRY_AFTER_SECONDS = 3600.0
"""How long a receiver may ask us to stay away."""


@frozen
class Retries:
    """Exponential backoff with full jitter; after ``max_attempts`` a message is a dead letter."""

    max_attempts: int = 8
    first_seconds: float = 5.0
    most_seconds: float = 900.0

    def wait(self, attempts: int, random: Callable[[], float]) -> float:
        """Give how many seconds to wait after so many attempts; ``random`` gives numbers from 0 to 1."""
        # The exponent is bounded: 2.0**attempts would overflow long before anybody waits that long.
        return random() * min(self.most_seconds, self.first_seconds * 2.0 ** min(attempts - 1, 64))
