"""Webhooks and dead letters over HTTP (contract section 5)."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from attrs import define
from msgspec import Meta

from cco_sidecar.core.dead_letters import DeadLetter, DeadLetters, Lost
from cco_sidecar.core.identifiers import identifier
from cco_sidecar.core.projects import Project
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.webhooks.signing import read_secret, write_secret
from cco_sidecar.core.webhooks.webhook import SelectionBody, Webhook
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, ProjectQuery, audit

Name = Annotated[str, Meta(max_length=128)]


class WebhookRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Where events go, which ones, and the secret that signs them (``whsec_…``; made, if it is not given)."""

    url: Annotated[str, Meta(max_length=4096)]
    selection: SelectionBody = SelectionBody()
    secret: Annotated[str, Meta(max_length=256)] | None = None


class WebhookAnswer(msgspec.Struct):
    """A webhook and how it does; what is counted is counted since the start of the sidecar.

    ``state`` is ``active``, ``failing`` (its last attempt failed), ``disabled`` or ``paused`` (``reason`` says why);
    everything up to ``position`` is settled, ``pending`` events are on their way or wait.
    """

    id: str
    url: str
    selection: SelectionBody
    created_at: str
    state: str
    reason: str | None
    position: str
    pending: int
    delivered: int
    expired: int
    dead_letters: int
    consecutive_failures: int
    last_success_at: str | None
    last_failure_at: str | None
    last_failure: str | None


class NewWebhookAnswer(WebhookAnswer):
    """A new webhook, with the secret that is never shown again."""

    secret: str


class WebhooksAnswer(msgspec.Struct):
    """All webhooks of the project."""

    webhooks: list[WebhookAnswer]


class WebhookGoneAnswer(msgspec.Struct):
    """The webhook that is no more."""

    id: str
    deleted: bool


class TestAnswer(msgspec.Struct):
    """What the receiver said; ``error`` says why it is no success."""

    delivered: bool
    status: int | None
    error: str | None
    duration_ms: float


class RedeliverRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to deliver again: dead letters (all of the webhook, if none is named), or everything after ``since``."""

    dead_letters: Annotated[list[Name], Meta(min_length=1, max_length=1000)] | None = None
    since: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class RedeliverAnswer(msgspec.Struct):
    """How many dead letters, or the place after which all comes again; ``gap`` says that retention took some of it."""

    id: str
    dead_letters: int
    cursor: str | None
    gap: bool


class DeadLettersQuery(ProjectQuery):
    """Whose, and how many."""

    webhook: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ClearLettersQuery(ProjectQuery):
    """Which; without both, all."""

    webhook: Name | None = None
    id: Name | None = None


class DeadLetterAnswer(msgspec.Struct):
    """What could not be delivered; ``event`` is null where retention took it first, and ``lost`` says which.

    ``source`` is ``webhook`` (then ``webhook_id`` is there) or ``workflow`` (then ``run_id`` and ``rule`` are).
    """

    id: str
    source: str
    webhook_id: str | None
    run_id: str | None
    rule: str | None
    reason: str
    attempts: int
    first_attempt_at: str | None
    last_attempt_at: str | None
    dead_at: str
    event: dict[str, Any] | None
    lost: Lost | None


class DeadLettersAnswer(msgspec.Struct):
    """Dead letters, the newest first; ``total`` is how many there are, ``pushed_out`` how many newer ones displaced."""

    dead_letters: list[DeadLetterAnswer]
    total: int
    pushed_out: int


class RemovedAnswer(msgspec.Struct):
    """How many are gone."""

    removed: int


@define(eq=False)
class WebhooksAPI:
    """Parse, delegate, encode; ``new_secret`` makes the bytes of one."""

    _new_secret: Callable[[], bytes]

    async def add(self, call: Call[ProjectQuery, WebhookRequest]) -> Reply:
        """Register a webhook."""
        body, project = call.body, call.project
        secret = self._new_secret() if body.secret is None else read_secret(body.secret)
        webhook = await project.webhooks.add(body.url, body.selection, secret)
        audit(call.request, "webhook registered", webhook=webhook.id, to=webhook.record.origin)
        return Reply({**_shown(project, webhook), "secret": write_secret(secret)}, 201)

    async def list(self, call: Call[ProjectQuery, None]) -> Reply:
        """List webhooks."""
        project = call.project
        return Reply({"webhooks": [_shown(project, webhook) for webhook in project.webhooks.listing()]})

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Show one webhook."""
        return Reply(_shown(call.project, call.project.webhooks.get(call.path["webhook_id"])))

    async def remove(self, call: Call[ProjectQuery, None]) -> Reply:
        """Remove a webhook."""
        webhook_id = call.path["webhook_id"]
        await call.project.webhooks.remove(webhook_id)
        audit(call.request, "webhook removed", webhook=webhook_id)
        return Reply(WebhookGoneAnswer(webhook_id, deleted=True))

    async def test(self, call: Call[ProjectQuery, None]) -> Reply:
        """Send a test message now."""
        tested = await call.project.webhooks.test(call.path["webhook_id"])
        call.request.parked_seconds = tested.seconds  # the receiver's time, not ours
        milliseconds = round(tested.seconds * 1000, 1)
        return Reply(TestAnswer(tested.delivered, tested.status, tested.error, milliseconds))

    async def redeliver(self, call: Call[ProjectQuery, RedeliverRequest]) -> Reply:
        """Deliver again."""
        webhook_id = call.path["webhook_id"]
        again = await call.project.webhooks.redeliver(webhook_id, call.body.dead_letters, call.body.since)
        return Reply(RedeliverAnswer(webhook_id, again.dead_letters, again.cursor, again.gap), 202)

    async def dead_letters(self, call: Call[DeadLettersQuery, None]) -> Reply:
        """List dead letters."""
        letters, query = call.project.dead_letters, call.query
        found = letters.listing(query.webhook)
        body = {
            "dead_letters": [_letter(letter) for letter in found[: query.limit]],
            "total": len(found),
            "pushed_out": letters.pushed_out,
        }
        return Reply(body)

    async def clear(self, call: Call[ClearLettersQuery, None]) -> Reply:
        """Remove dead letters."""
        found = _chosen(call.project.dead_letters, call.query)
        if found:
            await call.project.dead_letters.remove(found)
        audit(call.request, "dead letters removed", count=len(found))
        return Reply(RemovedAnswer(len(found)))


def _chosen(letters: DeadLetters, query: ClearLettersQuery) -> "list[DeadLetter]":
    if query.id is None:
        return letters.listing(query.webhook)
    letter = letters.get(identifier(query.id, "id"))
    return [letter] if query.webhook in {None, letter.webhook_id} else []


def _shown(project: Project, webhook: Webhook) -> dict[str, object]:
    attempted, reason = webhook.attempted, project.webhooks.why_off(webhook)
    return {
        "id": webhook.id,
        "url": webhook.record.origin if webhook.key is None else webhook.key.target.url,
        "selection": webhook.record.selection,
        "created_at": rfc3339(webhook.record.created_at),
        "state": _state(webhook),
        "reason": reason,
        "position": project.hub.cursor(webhook.position),
        "pending": webhook.pending,
        "delivered": attempted.delivered,
        "expired": attempted.expired,
        "dead_letters": len(project.dead_letters.listing(webhook.id)),
        "consecutive_failures": attempted.consecutive_failures,
        "last_success_at": _time(attempted.last_success_at),
        "last_failure_at": _time(attempted.last_failure_at),
        "last_failure": attempted.last_failure,
    }


def _state(webhook: Webhook) -> str:
    if webhook.record.disabled is not None:
        return "disabled"
    if webhook.key is None:
        return "paused"
    return "failing" if webhook.attempted.consecutive_failures else "active"


def _letter(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "source": letter.source,
        "webhook_id": letter.webhook_id or None,
        "run_id": letter.run_id or None,
        "rule": letter.rule or None,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_attempt_at": _time(letter.first_attempt_at),
        "last_attempt_at": _time(letter.last_attempt_at),
        "dead_at": rfc3339(letter.dead_at),
        "event": letter.event,
        "lost": letter.lost,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
