"""What agents ask for to work beside each other (contract section 10), in the way of `calls`."""

from collections.abc import Mapping, Sequence
from typing import Any

from cco_sidecar.client.asking import ask, object_of
from cco_sidecar.client.bodies import agent_path, get_json, get_markdown, given, post_again, post_json, posted
from cco_sidecar.client.desk import Desk
from cco_sidecar.client.errors import Conflict, NotFound
from cco_sidecar.client.values import Json, Steps, build, route
from cco_sidecar.client.waits import slices


def claim(
    desk: Desk,
    /,
    resources: str | Sequence[str],
    ttl_seconds: int = 600,
    *,
    mode: str = "exclusive",
    wait: int | None = None,
    idempotency_key: str | None = None,
) -> Steps[Json]:
    """Claim paths, globs or ``name:anything``: all of them, or none.

    :param mode: ``exclusive`` or ``shared``.
    :param wait: queue for so many milliseconds while another has it.
    :return: ``{id, fence, expires_at}``; the fence grows with every claim.
    :raises Conflict: another has it; ``details`` say who, since and until when.
    """
    names = [resources] if isinstance(resources, str) else list(resources)
    body = {"resources": names, "ttl_seconds": ttl_seconds, "mode": mode}
    refused: Conflict | None = None
    for milliseconds in slices(desk, wait):
        try:
            return (yield from post_json(desk, route("api", "claims"), body, idempotency_key, milliseconds))
        except Conflict as conflict:
            refused = conflict
    assert refused is not None  # there is at least one slice
    raise refused


def renew(desk: Desk, /, claim_id: str, ttl_seconds: int | None = None) -> Steps[Json]:
    """Keep a claim for so long from now, or as long as before."""
    return (yield from post_again(desk, route("api", "claims", claim_id, "renew"), given({"ttl_seconds": ttl_seconds})))


def release(desk: Desk, /, claim_id: str) -> Steps[None]:
    """Give a claim back; one that is gone already is no error."""
    try:
        yield from ask(desk, build("DELETE", route("api", "claims", claim_id)))
    except NotFound:
        return


def list_claims(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List the claims of the project."""
    return (yield from get_json(desk, route("api", "claims"), selection))


def add_task(desk: Desk, /, task: Mapping[str, Any], *, idempotency_key: str | None = None) -> Steps[Json]:
    """Put a task where workers find it."""
    return (yield from post_json(desk, route("api", "tasks"), dict(task), idempotency_key))


def claim_task(
    desk: Desk,
    /,
    types: str | Sequence[str] | None = None,
    *,
    issue: str | None = None,
    lease_seconds: int = 300,
    wait: int | None = None,
    idempotency_key: str | None = None,
) -> Steps[Json | None]:
    """Take the next task; None if there is none, within ``wait`` milliseconds.

    :return: ``{task, lease_id, fence, checkpoint}``; the checkpoint is that of whoever had it before.
    """
    names = [types] if isinstance(types, str) else None if types is None else list(types)
    body = {"lease_seconds": lease_seconds, **given({"types": names, "issue": issue})}
    for milliseconds in slices(desk, wait):
        asked = posted(desk, route("api", "tasks", "claim"), body, idempotency_key, milliseconds)
        answer = yield from ask(desk, asked)
        if answer.status != 204:
            return object_of(answer)
    return None


def list_tasks(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List tasks."""
    return (yield from get_json(desk, route("api", "tasks"), selection))


def get_task(desk: Desk, /, task_id: str) -> Steps[Json]:
    """Give a task, whole, and how it stands."""
    return (yield from get_json(desk, route("api", "tasks", task_id)))


def checkpoint(
    desk: Desk, /, task_id: str, fence: int, checkpoint: object = None, *, lease_seconds: int | None = None
) -> Steps[Json | None]:
    """Keep how far a task is, for whoever goes on with it, and renew the lease; without ``checkpoint`` only that.

    :raises Conflict: the lease has ended (``TSK_001``): the task is somebody else's by now.
    """
    return (
        yield from _on_task(desk, task_id, "checkpoint", _on(fence, checkpoint=checkpoint, lease_seconds=lease_seconds))
    )


def complete(desk: Desk, /, task_id: str, fence: int, result: object = None) -> Steps[Json | None]:
    """Say that a task is done; raises as `checkpoint`."""
    return (yield from _on_task(desk, task_id, "complete", _on(fence, result=result)))


def release_task(desk: Desk, /, task_id: str, fence: int, reason: str | None = None) -> Steps[Json | None]:
    """Give a task back undone, with its checkpoint, and say why; raises as `checkpoint`."""
    return (yield from _on_task(desk, task_id, "release", _on(fence, reason=reason)))


def _on(fence: int, **options: object) -> Json:
    return {"fence": fence, **given(options)}


def _on_task(desk: Desk, task_id: str, verb: str, body: Mapping[str, Any]) -> Steps[Json | None]:
    answer = yield from ask(desk, posted(desk, route("api", "tasks", task_id, verb), body, None))
    return object_of(answer) if answer.body else None


def save_checkpoint(desk: Desk, /, data: object) -> Steps[Json | None]:
    """Keep what the agent needs to go on after a restart or a compaction: at most 256 KiB of JSON."""
    answer = yield from ask(desk, build("PUT", f"{agent_path(desk, None)}/checkpoint", body=data))
    return object_of(answer) if answer.body else None


def load_checkpoint(desk: Desk, /) -> Steps[Any]:
    """Give what was kept last; None if nothing was."""
    try:
        answer = yield from ask(desk, build("GET", f"{agent_path(desk, None)}/checkpoint"))
    except NotFound:
        return None
    return answer.json() if answer.body else None


def briefing(desk: Desk, /, budget_tokens: int | None = None) -> Steps[Json]:
    """Give what the agent needs to go on: task, checkpoint, results, unread events and messages, claims, the others."""
    return (yield from get_json(desk, f"{agent_path(desk, None)}/briefing", {"budget_tokens": budget_tokens}))


def briefing_markdown(desk: Desk, /, budget_tokens: int | None = None) -> Steps[str]:
    """Give the briefing as Markdown, for a prompt."""
    query = {"budget_tokens": budget_tokens, "format": "markdown"}
    return (yield from get_markdown(desk, f"{agent_path(desk, None)}/briefing", query))


def send_message(
    desk: Desk,
    /,
    to: str,
    body: object,
    *,
    kind: str = "info",
    ack: bool | None = None,
    ttl_seconds: int | None = None,
    reply_to: str | None = None,
    correlation_id: str | None = None,
    idempotency_key: str | None = None,
) -> Steps[Json]:
    """Send a message to an agent, or to all who live of an agent type or on an issue.

    :param kind: ``info``, ``request`` or ``steer``.
    :param ack: whether you want to hear that it was done, not only that it was seen.
    :param reply_to: the message that this one answers; that one is done then.
    :return: the message, with its ``id`` and the ``state`` of each of its ``deliveries``.
    :raises Conflict: nobody lives who could get it (``MSG_001``).
    :raises NotFound: there is nobody of that name.
    """
    options = given({"ack": ack, "ttl_seconds": ttl_seconds, "reply_to": reply_to, "correlation_id": correlation_id})
    sent = {"to": to, "kind": kind, "body": body, **options}
    return (yield from post_json(desk, route("api", "messages"), sent, idempotency_key))


def receive_messages(desk: Desk, /, wait: int = 0, **selection: str | int | None) -> Steps[list[Json]]:
    """Give the messages that are new to you, within ``wait`` milliseconds; none if none comes.

    Say of each that you have it (`acknowledge_message`); else it is given again after a minute.
    """
    for milliseconds in slices(desk, wait):
        query = {**selection, "wait": milliseconds or 0}
        seconds = 60.0 + (milliseconds or 0) / 1000
        asked = build("GET", route("api", "messages"), query=query, seconds=seconds)
        found: list[Json] = object_of((yield from ask(desk, asked)))["messages"]
        if found:
            return found
    return []


def acknowledge_message(desk: Desk, /, message_id: str, state: str = "seen") -> Steps[Json]:
    """Say that a message was ``seen``, or that what it asks for is ``done``."""
    return (yield from post_again(desk, route("api", "messages", message_id, "ack"), {"state": state}))


def list_messages(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List messages to you, or with ``box="sent"`` from you; looking moves nothing."""
    return (yield from get_json(desk, route("api", "messages"), selection))


def get_message(desk: Desk, /, message_id: str) -> Steps[Json]:
    """Give a message, and how far it is: ``queued``, ``offered``, ``seen``, then ``done``, ``expired`` or ``dead``."""
    return (yield from get_json(desk, route("api", "messages", message_id)))
