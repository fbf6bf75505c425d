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
    idempotency_key: str | None = None,
) -> Steps[Json]:
    """Send a message to an agent, an agent type or an issue.

    :param kind: ``info``, ``request`` or ``steer``.
    """
    sent = {"to": to, "kind": kind, "body": body, **given({"ack": ack})}
    return (yield from post_json(desk, route("api", "messages"), sent, idempotency_key))


def list_messages(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List messages."""
    return (yield from get_json(desk, route("api", "messages"), selection))


def get_message(desk: Desk, /, message_id: str) -> Steps[Json]:
    """Give a message, and how far it is: ``queued``, ``offered``, ``seen``, then ``done``, ``expired`` or ``dead``."""
    return (yield from get_json(desk, route("api", "messages", message_id)))
