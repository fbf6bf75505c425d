"""What is kept up while something else is done: a claim that is renewed, a heartbeat. When to do what, and no I/O."""

from collections.abc import Callable
from typing import Any

from cco_sidecar.client.errors import ClaimLost, Conflict, NotAllowed, NotFound, SidecarError
from cco_sidecar.client.values import Json

HEARTBEAT_SECONDS = 30.0
_RENEWALS_A_LIFE = 3


class Held:
    """A claim that is held and renews itself.

    :param asked_at: when it was asked for, on the monotonic clock: it ends no sooner than ``ttl_seconds`` later.
    """

    def __init__(self, claim: Json, ttl_seconds: float, asked_at: float, monotonic: Callable[[], float]) -> None:
        self.id = str(claim["id"])
        self.fence: Any = claim.get("fence")
        self.expires_at: Any = claim.get("expires_at")
        self.error: SidecarError | None = None
        self._ttl_seconds = ttl_seconds
        self._monotonic = monotonic
        self._until = asked_at + ttl_seconds

    @property
    def every_seconds(self) -> float:
        """How often it is renewed: so that one that fails leaves time for another."""
        return self._ttl_seconds / _RENEWALS_A_LIFE

    @property
    def is_lost(self) -> bool:
        """Whether it has ended, or may have: then somebody else may have it."""
        return self.error is not None or self._monotonic() >= self._until

    def check(self) -> None:
        """Ask this before each write that relies on the claim.

        :raises ClaimLost: it has ended.
        """
        if self.is_lost:
            why = "" if self.error is None else f" {self.error}"
            raise ClaimLost(
                f"The claim {self.id} ended while it was held.{why} Claim again, and look at what has changed since.",
                code="CLM_001",
                details={"id": self.id, "fence": self.fence},
            ) from self.error

    def renewed(self, answer: Json, asked_at: float) -> None:
        """Take note of a renewal that was asked for then."""
        self.expires_at = answer.get("expires_at", self.expires_at)
        self._until = asked_at + self._ttl_seconds

    def failed(self, error: SidecarError) -> bool:
        """Take note of a renewal that failed; says whether to go on trying."""
        if isinstance(error, (Conflict, NotAllowed, NotFound)):
            self.error = error
        return not self.is_lost


def goes_on(error: SidecarError) -> bool:
    """Say whether a heartbeat that failed so is worth another."""
    return not isinstance(error, (NotAllowed, NotFound))


def warn_of_gap() -> None:
    """Say in the log that events are missing."""
    import logging

    logging.getLogger("cco_sidecar.client").warning("events are missing: they were not kept until they were asked for")
