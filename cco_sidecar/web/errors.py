"""The one table from refusals to HTTP (contract section 4), and the refusals that only HTTP knows."""

from cco_sidecar import errors
from cco_sidecar.errors import Refusal


class BadRequest(Refusal):
    """The bytes are no HTTP request."""

    code = "HTTP_400"


class MethodNotAllowed(Refusal):
    """The route is there, but not for this method; ``details["allowed"]`` lists those that are."""

    code = "HTTP_405"


class LengthRequired(Refusal):
    """A body is needed, and none was announced."""

    code = "HTTP_411"


class TooLarge(Refusal):
    """The body is over the cap of its route."""

    code = "HTTP_413"


class NotJSON(Refusal):
    """The content type is not JSON."""

    code = "HTTP_415"


class HeadersTooLarge(Refusal):
    """The head of the request is over its cap."""

    code = "HTTP_431"


class InternalError(Refusal):
    """A mistake of ours; the message tells nothing of it but where to look."""

    code = "INTERNAL"


STATUS: dict[type[Refusal], tuple[int, str]] = {
    BadRequest: (400, "bad_request"),
    errors.InvalidParameter: (400, "invalid_parameter"),
    errors.InvalidBody: (400, "invalid_body"),
    errors.InvalidEvent: (400, "invalid_event"),
    errors.InvalidFilter: (400, "invalid_filter"),
    errors.UnknownAgentType: (400, "unknown_agent_type"),
    errors.NoSuchAgentType: (404, "unknown_agent_type"),
    errors.Unauthenticated: (401, "unauthorized"),
    errors.TokenExpired: (401, "unauthorized"),
    errors.TokenRevoked: (401, "unauthorized"),
    errors.PermissionMissing: (403, "forbidden"),
    errors.SpawnTooDeep: (403, "forbidden"),
    errors.Foreign: (403, "forbidden"),
    errors.ForeignPublisher: (403, "forbidden"),
    errors.HostRefused: (403, "forbidden"),
    errors.OriginRefused: (403, "forbidden"),
    errors.NotFound: (404, "not_found"),
    MethodNotAllowed: (405, "method_not_allowed"),
    errors.Claimed: (409, "claimed"),
    errors.StaleFence: (409, "stale_fence"),
    errors.RecipientGone: (409, "recipient_gone"),
    LengthRequired: (411, "length_required"),
    TooLarge: (413, "too_large"),
    NotJSON: (415, "unsupported_media_type"),
    errors.IssueBusy: (409, "issue_busy"),
    errors.KeyReused: (422, "idempotency_key_reused"),
    errors.TooManyRequests: (429, "too_many_requests"),
    errors.TooManyPolls: (429, "too_many_polls"),
    HeadersTooLarge: (431, "headers_too_large"),
    InternalError: (500, "internal_error"),
    errors.ContextFailed: (500, "context_failed"),
    errors.StorageWriteFailed: (500, "storage_write_failed"),
    errors.StorageReadFailed: (500, "storage_read_failed"),
    errors.SpawnFailed: (500, "spawn_failed"),
    errors.EventLogUnavailable: (503, "event_log_unavailable"),
    errors.StorageFull: (503, "storage_full"),
}
"""Status and the ``error`` word of each refusal."""


def status_of(refusal: Refusal) -> tuple[int, str]:
    """Give the HTTP status and the ``error`` word of a refusal."""
    return STATUS[type(refusal)]
