"""One question, asked until it is answered or there is no use in asking: tokens, pauses, repetitions, refusals."""

import json
from collections.abc import Callable
from typing import Any

from cco_sidecar.client.desk import Desk
from cco_sidecar.client.errors import (
    AnswerLost,
    Conflict,
    Failed,
    NotAllowed,
    NotASidecar,
    NotFound,
    RateLimited,
    Refused,
    SidecarError,
    TimedOut,
    Unavailable,
    Unreachable,
)
from cco_sidecar.client.values import (
    MARGIN_SECONDS,
    Answer,
    Pause,
    Request,
    Send,
    Steps,
    Trouble,
    build,
)

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_PASSING = frozenset({429, 502, 503, 504})
_STATUS: dict[int, type[SidecarError]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
    503: Unavailable,
}


class _Patience:
    """When to try again, and when not any more."""

    def __init__(self, desk: Desk, seconds: float | None) -> None:
        self._desk = desk
        self._seconds = seconds
        self._began_at: float | None = None
        self._next = _FIRST_PAUSE_SECONDS

    def pause(self, error: SidecarError) -> float:
        """Give how long to wait now.

        :raises SidecarError: ``error``, for there is no time left.
        """
        now = self._desk.monotonic()
        if self._began_at is None:
            self._began_at = now
        # Jitter, or a hundred agents come back in one instant to a sidecar that has just started.
        seconds = self._next * (0.5 + 0.5 * self._desk.chance())
        self._next = min(2 * self._next, _LONGEST_PAUSE_SECONDS)
        seconds = max(seconds, error.retry_after or 0.0)
        left = self._left(now)
        if left is not None and seconds >= left:
            raise error
        if self._desk.on_retry is not None:
            self._desk.on_retry(error, seconds)
        return seconds

    def _left(self, now: float) -> float | None:
        assert self._began_at is not None
        patience = None if self._seconds is None else self._seconds - (now - self._began_at)
        limits = [it for it in (patience, self._desk.seconds_until_end()) if it is not None]
        return min(limits, default=None)


def ask(desk: Desk, request: Request | Callable[[bool], Request], *, for_ever: bool = False) -> Steps[Answer]:
    """Ask, and give the answer; it may be the result of a second or third try.

    :param request: or what makes it anew for each try, told whether an earlier answer may have been lost.
    :param for_ever: whatever the desk's patience is.
    :raises SidecarError: one of its kinds.
    """
    patience = _Patience(desk, None if for_ever else desk.patience_seconds)
    is_doubtful = False
    while True:
        yield from _renew(desk)
        asked = request if isinstance(request, Request) else request(is_doubtful)
        outcome, shown = yield from _once(desk, asked)
        if isinstance(outcome, Answer) and (outcome.status < 400 or outcome.status in asked.accept):
            return outcome
        if isinstance(outcome, Answer) and outcome.status == 401 and desk.tokens.is_other_than(shown):
            continue
        is_doubtful = is_doubtful or _may_have_been_done(outcome)
        if isinstance(outcome, Trouble) and outcome.kind == "stale" and asked.repeatable:
            continue  # the next connection is a new one
        error = error_of(outcome) if isinstance(outcome, Answer) else failure_of(desk, asked, outcome)
        if not _may_pass(asked, outcome):
            raise error
        yield Pause(patience.pause(error))


def _once(desk: Desk, request: Request) -> Steps[tuple[Answer | Trouble, str | None]]:
    """Send a request once; give what became of it, and the token that it showed."""
    token = desk.tokens.current()
    headers = {"Accept": "application/json", "User-Agent": "cco-sidecar-client", **request.headers}
    if token is not None:
        headers["Authorization"] = f"Bearer {_one_line(token)}"
    seconds = request.seconds + MARGIN_SECONDS
    left = desk.seconds_until_end()
    outcome: Answer | Trouble = yield Send(
        request._replace(headers=headers), seconds if left is None else min(seconds, left)
    )
    if isinstance(outcome, Answer):
        desk.tokens.take(outcome.headers.get("x-refreshed-token"))
    return outcome, token


def _one_line(token: str) -> str:
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise NotAllowed("The token must be one line without blanks, as the sidecar made it.")
    return token


def _renew(desk: Desk) -> Steps[None]:
    """Ask for the token's successor in time; if that fails, the token is still good for a while."""
    if not desk.tokens.is_due:
        return
    outcome, _ = yield from _once(desk, build("POST", "/api/tokens/refresh"))
    if isinstance(outcome, Answer) and outcome.status == 200:
        desk.tokens.take(str(_json(outcome).get("token", "")))


def _may_pass(request: Request, outcome: Answer | Trouble) -> bool:
    """Say whether asking again may help, and does no harm."""
    if isinstance(outcome, Answer):
        return outcome.status in _PASSING and (request.repeatable or outcome.status in {429, 503})
    return request.repeatable or outcome.kind == "unreachable"


def _may_have_been_done(outcome: Answer | Trouble) -> bool:
    """Say whether the sidecar may have answered although no answer of its own came here."""
    return outcome.status in {502, 504} if isinstance(outcome, Answer) else outcome.kind != "unreachable"


def failure_of(desk: Desk, request: Request, outcome: Trouble) -> SidecarError:
    """Make the exception for a request that was not answered."""
    if outcome.kind == "unreachable":
        return Unreachable(
            f"No sidecar answers at {desk.url} ({outcome.reason}). Start one with 'cco daemon start', or set "
            "SIDECAR_URL to where one runs.",
            details={"reason": outcome.reason},
        )
    what = f"{request.method} {request.target.partition('?')[0]}"
    if outcome.kind == "late":
        return TimedOut(
            f"{desk.url} did not answer in time ({what}). Whether it was done is not known: look, or ask again; "
            "'cco health' says how the sidecar is."
        )
    return AnswerLost(
        f"No answer from {desk.url}: {outcome.reason or 'the connection ended'} ({what}). Whether it was done is not "
        "known: look, or ask again.",
        details={"reason": outcome.reason},
    )


def error_of(answer: Answer) -> SidecarError:
    """Make the exception that an answer of 400 or more is."""
    found = _json(answer)
    after = answer.headers.get("retry-after", "")
    rest: dict[str, Any] = {
        "status": answer.status,
        "retry_after": float(after) if after.isascii() and after.isdigit() else None,
    }
    if not isinstance(found.get("message"), str) or not isinstance(found.get("code"), str):
        return _not_a_sidecar(answer, rest)
    details = found.get("details")
    kind = _STATUS.get(answer.status, Failed if answer.status >= 500 else Refused)
    return kind(
        found["message"],
        code=found["code"],
        details=details if isinstance(details, dict) else None,
        request_id=str(found.get("request_id") or ""),
        **rest,
    )


def _not_a_sidecar(answer: Answer, rest: dict[str, Any]) -> SidecarError:
    return NotASidecar(
        "What answered is not the sidecar. Look at SIDECAR_URL, and at what stands between.",
        code=f"HTTP {answer.status}",
        request_id=answer.headers.get("x-request-id", ""),
        **rest,
    )


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def object_of(answer: Answer) -> dict[str, Any]:
    """Give the JSON object that an answer is.

    :raises NotASidecar: it is none.
    """
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _not_a_sidecar(answer, {"status": answer.status})
    return found
