"""The domain's refusals: each has the code of contract section 4 and a sentence that says what to do."""

from typing import ClassVar


class Refusal(Exception):
    """Something was asked that is not done; ``message`` is for the one who asked, ``details`` for their program."""

    code: ClassVar[str]

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidParameter(Refusal):
    """An identifier or a query parameter is not of its form."""

    code = "VAL_001"


class InvalidBody(Refusal):
    """The body is not JSON, or not what the route takes; ``details["path"]`` is the JSON path."""

    code = "VAL_002"


class KeyReused(Refusal):
    """An Idempotency-Key came again with another body."""

    code = "VAL_003"


class IssueBusy(Refusal):
    """A run is at work on the issue, and another was asked for."""

    code = "VAL_004"


class NotFound(Refusal):
    """There is nothing by that name."""

    code = "NOT_FOUND"


class Unauthenticated(Refusal):
    """The token is missing or not ours."""

    code = "AUTH_001"


class TokenExpired(Refusal):
    """The token was good once."""

    code = "AUTH_002"


class PermissionMissing(Refusal):
    """The token does not carry the permission that this needs."""

    code = "AUTH_003"


class SpawnTooDeep(PermissionMissing):
    """An agent so deep in the tree of spawns may not have children."""


class TokenRevoked(Refusal):
    """The token was revoked, or its agent is gone."""

    code = "AUTH_004"


class Foreign(Refusal):
    """It belongs to another issue, agent or project."""

    code = "AUTH_005"


class HostRefused(Refusal):
    """The Host header names a machine that the sidecar was not told to serve (DNS rebinding)."""

    code = "SEC_001"


class OriginRefused(Refusal):
    """A web page of another origin sent the request."""

    code = "SEC_002"


class EventLogUnavailable(Refusal):
    """The event log takes nothing at the moment."""

    code = "EVT_001"


class InvalidEvent(Refusal):
    """It is JSON, but not an event."""

    code = "EVT_002"


class InvalidFilter(Refusal):
    """The filter does not parse; ``details`` has ``position`` and, where there is one, ``suggestion``."""

    code = "EVT_003"


class ForeignPublisher(Refusal):
    """``publisher`` names somebody else than the token does."""

    code = "EVT_004"


class ContextFailed(Refusal):
    """The context could not be gathered."""

    code = "CTX_001"


class StorageWriteFailed(Refusal):
    """A write did not reach the disk."""

    code = "STR_001"


class StorageReadFailed(Refusal):
    """What is stored cannot be read."""

    code = "STR_002"


class StorageFull(Refusal):
    """The disk is full: nothing was accepted, reads go on."""

    code = "STR_003"


class SpawnFailed(Refusal):
    """The agent's process could not be started; ``details["reason"]`` says why."""

    code = "AGT_001"


class UnknownAgentType(Refusal):
    """A body names an agent type that the roster does not have."""

    code = "AGT_002"


class NoSuchAgentType(UnknownAgentType):
    """A path names an agent type that the roster does not have."""


class Claimed(Refusal):
    """Another agent has claimed it; ``details`` say who, since when, and until when."""

    code = "CLM_001"


class StaleFence(Refusal):
    """The lease is over, and the task may be another's by now; ``details`` say how it stands."""

    code = "TSK_001"


class RecipientGone(Refusal):
    """Nobody lives who could get the message; ``details["agents"]`` are those who go on with the work, if any."""

    code = "MSG_001"


class TooManyRequests(Refusal):
    """The agent's token bucket is empty, or so much of a kind is under way already; ``retry_after`` is in seconds."""

    code = "RATE_001"

    def __init__(self, message: str, retry_after: float, **details: object) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class TooManyPolls(TooManyRequests):
    """The agent, or the sidecar as a whole, has too many parked polls."""

    code = "RATE_002"
