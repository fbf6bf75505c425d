"""What can go wrong when the sidecar is asked for something; each text says what to do next."""

from collections.abc import Mapping
from typing import Any


class SidecarError(Exception):
    """A call that did not do what it was for.

    :param code: the contract's code (``AUTH_002``, …); empty where nothing answered.
    :param details: what a program needs to know of it.
    :param status: the HTTP status; 0 where nothing answered.
    :param retry_after: after how many seconds trying again may help, if the sidecar said so.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        details: Mapping[str, Any] | None = None,
        request_id: str = "",
        status: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details: Mapping[str, Any] = details or {}
        self.request_id = request_id
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Give the message, and behind it what to look for in the sidecar's log."""
        reference = ", ".join(it for it in (self.code, self.request_id and f"request {self.request_id}") if it)
        return f"{self.message} ({reference})" if reference else self.message


class NotConfigured(SidecarError):
    """There is no token, or something that a call needs was neither given nor is in the environment."""


class Closed(SidecarError):
    """The client was closed, perhaps while this call waited."""


class Unreachable(SidecarError):
    """Nobody answers there; nothing was done."""


class AnswerLost(Unreachable):
    """The connection ended before the answer: nobody knows whether it was done."""


class TimedOut(SidecarError):
    """No answer came in time."""


class NotASidecar(SidecarError):
    """Something answers, but not as the sidecar does."""


class NotAllowed(SidecarError):
    """The token is not good (any more), or not for this (401, 403)."""


class Refused(SidecarError):
    """What was asked for is wrong, and stays so when it is asked again (400 and the like)."""


class NotFound(Refused):
    """There is nothing by that name (404)."""


class Conflict(Refused):
    """Somebody else has it, or had it since (409); ``details`` say who and until when."""


class ClaimLost(Conflict):
    """A claim ended while it was held: what was done since may clash with somebody else's work."""


class RateLimited(SidecarError):
    """Too many requests, or too many waits at a time (429)."""


class Failed(SidecarError):
    """The sidecar could not do it (500 and above)."""


class Unavailable(Failed):
    """The sidecar cannot do it just now (503): nothing was accepted."""
