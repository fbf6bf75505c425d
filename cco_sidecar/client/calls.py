"""Everything that an agent can ask for, each as a function that says step by step what to do.

The clients are made of these: `Client` does the steps and blocks, `twisted.Client` does them in the reactor's turns.
What a call takes, gives and means is said here once. ``timeout`` and ``wait`` are in milliseconds, as in the contract.

Every call that must not be done twice carries an Idempotency-Key, made once for the call: it may be sent again when an
answer is lost.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cco_sidecar.client.asking import Desk, Kept, ask, object_of
from cco_sidecar.client.errors import Conflict, NotConfigured, NotFound
from cco_sidecar.client.values import Answer, Event, Json, Query, Request, Steps, build, route
from cco_sidecar.client.waiting import Events, Standing, Wanted, types_of
from cco_sidecar.client.waits import slices
from cco_sidecar.client.waits import wait as wait_at

GATHER_SECONDS = 120.0
"""How long a context may take to be gathered."""

_MOST_CONTEXTS = 4


class Context(Json):
    """What the sidecar says of the project (contract section 6).

    :param etag: names the state that it tells of.
    :param is_unchanged: it is the one that was given before; the sidecar did not send it again.
    :param size_bytes: of its JSON.
    """

    def __init__(self, body: Mapping[str, Any], etag: str, is_unchanged: bool, size_bytes: int) -> None:
        super().__init__(body)
        self.etag = etag
        self.is_unchanged = is_unchanged
        self.size_bytes = size_bytes


def request(
    desk: Desk,
    /,
    method: str,
    path: str,
    *,
    query: Query | None = None,
    body: object = None,
    idempotency_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 60.0,
    repeatable: bool | None = None,
    accept: tuple[int, ...] = (),
) -> Steps[Answer]:
    """Ask for anything: ``path`` begins with ``/api`` and is escaped; for what has no call of its own.

    :param seconds: how long the sidecar may take.
    :param repeatable: whether it may be sent again when its answer was lost; all but a ``POST`` without a key is.
    :param accept: statuses of 400 and more that are answers, too.
    """
    made = build(
        method,
        path,
        query=query,
        body=body,
        key=idempotency_key,
        headers=headers,
        seconds=seconds,
        repeatable=repeatable,
        accept=accept,
    )
    return (yield from ask(desk, made))


def health(desk: Desk, /) -> Steps[Json]:
    """Say how the sidecar is; an unhealthy one answers, too."""
    return object_of((yield from ask(desk, build("GET", "/health", accept=(503,)))))


# Events


def publish_event(
    desk: Desk,
    /,
    event_type: str,
    topic: str,
    data: object = None,
    *,
    correlation_id: str | None = None,
    ttl_seconds: int | None = None,
    priority: str | None = None,
    references: Sequence[str] | None = None,
    idempotency_key: str | None = None,
) -> Steps[Json]:
    """Publish an event; when this returns, it is on disk.

    :param data: what JSON can hold.
    :param priority: ``low``, ``normal`` or ``high``.
    """
    options = {
        "correlation_id": correlation_id,
        "ttl_seconds": ttl_seconds,
        "priority": priority,
        "references": None if references is None else list(references),
    }
    body = {"topic": topic, "data": data, **_given(options)}
    return (yield from _post(desk, route("api", "events", event_type), body, idempotency_key))


def wait_for_event(
    desk: Desk,
    /,
    types: str | Sequence[str],
    timeout: int = 30_000,
    *,
    filter: str | None = None,
    topic: str | None = None,
    since: str | None = None,
    subscription: str | None = None,
    limit: int | None = None,
    project: str | None = None,
) -> Steps[Events]:
    """Wait until an event comes; gives it, and those that came with it, or nothing when time is up.

    Without ``since`` it goes on where the agent's last wait for the same ended, also that of an earlier process: a loop
    of waits loses nothing and repeats nothing.

    :param types: one, several (a list, or with commas), or ``*``.
    :param timeout: in milliseconds; longer than the sidecar's 300,000 is made of several waits.
    :param since: after this cursor, event id or time instead, or ``earliest`` or ``latest``.
    :param subscription: a name for the place; parallel workers of one agent need one each.
    """
    wanted = Wanted(types_of(types), filter, topic, subscription, project)
    standing = desk.standing(wanted) if since is None else Standing(since)
    return (yield from wait_at(desk, wanted, standing, timeout, limit))


def list_events(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """Look back.

    :param selection: ``type``, ``topic``, ``filter``, ``publisher``, ``correlation_id``, ``issue``, ``since``,
        ``until``, ``limit``, ``order``.
    :return: ``{events, next_cursor, more_available}``; the newest come first, unless ``order="asc"``.
    """
    return (yield from _get(desk, route("api", "events"), selection))


def get_event(desk: Desk, /, event_id: str) -> Steps[Event]:
    """Give one event."""
    found: Any = yield from _get(desk, route("api", "events", event_id))
    event: Event = found
    return event


# Context and results


def get_context(
    desk: Desk,
    /,
    issue_id: str | None = None,
    agent_type: str | None = None,
    *,
    task: str | None = None,
    budget_bytes: int | None = None,
    refresh: bool | None = None,
) -> Steps[Context]:
    """Give what the sidecar knows of the project, for the agent's own issue and type if no other is named.

    It is sent only if it has changed since this client had it.
    """
    query = {"task": task, "budget_bytes": budget_bytes, "refresh": refresh}
    asked = build("GET", _context_path(desk, issue_id, agent_type), query=query, seconds=GATHER_SECONDS)
    kept = desk.contexts.get(asked.target)
    if kept is not None:
        asked = asked._replace(headers={"If-None-Match": kept.etag})
    answer = yield from ask(desk, asked)
    if answer.status == 304 and kept is not None:
        return Context(json.loads(kept.body), kept.etag, is_unchanged=True, size_bytes=len(kept.body))
    etag = answer.headers.get("etag", "")
    found = Context(object_of(answer), etag, is_unchanged=False, size_bytes=len(answer.body))
    if etag:
        _keep(desk, asked.target, Kept(etag, answer.body))
    return found


def _keep(desk: Desk, target: str, kept: Kept) -> None:
    # Two threads may do this at once: nothing here fails if the other has been quicker.
    desk.contexts.pop(target, None)
    desk.contexts[target] = kept
    while len(desk.contexts) > _MOST_CONTEXTS:
        desk.contexts.pop(next(iter(list(desk.contexts))), None)


def get_context_markdown(
    desk: Desk,
    /,
    issue_id: str | None = None,
    agent_type: str | None = None,
    *,
    task: str | None = None,
    budget_tokens: int | None = None,
) -> Steps[str]:
    """Give the context as Markdown, for a prompt."""
    query = {"task": task, "budget_tokens": budget_tokens, "format": "markdown"}
    return (yield from _get_markdown(desk, _context_path(desk, issue_id, agent_type), query))


def store_result(
    desk: Desk, /, result: Mapping[str, Any], *, timestamp: str | None = None, idempotency_key: str | None = None
) -> Steps[Json]:
    """Report: ``result`` has a ``status`` (``success``, ``failed`` or ``partial``) and whatever else there is to tell.

    When this returns, it is on disk; the answer has its ``id`` and who comes next (``next_agents``).
    """
    body = {**_whole_identity(desk), "result": dict(result), **_given({"timestamp": timestamp})}
    return (yield from _post(desk, route("api", "results"), body, idempotency_key))


def list_results(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List results: ``issue``, ``agent_type``, ``status``, ``since``, ``until``, ``limit``, ``cursor``."""
    return (yield from _get(desk, route("api", "results"), selection))


def get_result(desk: Desk, /, agent_type: str, issue_id: str | None = None) -> Steps[Json]:
    """Give the newest result of an agent type.

    :raises NotFound: there is none yet.
    """
    issue = _own(desk.identity.issue_id, issue_id, "issue_id")
    return (yield from _get(desk, route("api", "results", issue, agent_type)))


def get_result_by_id(desk: Desk, /, result_id: str) -> Steps[Json]:
    """Give one result."""
    return (yield from _get(desk, route("api", "results", "id", result_id)))


# Agents


def spawn_agent(
    desk: Desk,
    /,
    agent_type: str,
    task: str | None = None,
    *,
    issue_id: str | None = None,
    priority: str | None = None,
    environment: Mapping[str, str] | None = None,
    context_requirements: object = None,
    runner: str | None = None,
    timeout_seconds: int | None = None,
    idempotency_key: str | None = None,
) -> Steps[Json]:
    """Start an agent, on the own issue if no other is named; it may be ``queued`` first."""
    options = {
        "task": task,
        "priority": priority,
        "environment": None if environment is None else dict(environment),
        "context_requirements": context_requirements,
        "runner": runner,
        "timeout_seconds": timeout_seconds,
    }
    issue = _own(desk.identity.issue_id, issue_id, "issue_id")
    body = {"agent_type": agent_type, "issue_id": issue, **_given(options)}
    return (yield from _post(desk, route("api", "agents", "spawn"), body, idempotency_key))


def list_agents(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List agents: ``status``, ``type``, ``issue``, ``limit``."""
    return (yield from _get(desk, route("api", "agents"), selection))


def get_agent(desk: Desk, /, agent_id: str | None = None) -> Steps[Json]:
    """Give an agent as it is now; oneself, if no other is named."""
    return (yield from _get(desk, _agent_path(desk, agent_id)))


def kill_agent(desk: Desk, /, agent_id: str, *, force: bool = False, timeout_seconds: int = 30) -> Steps[Json]:
    """End an agent and all that it started; returns when nothing is left of it."""
    query = {"force": force or None, "timeout_seconds": timeout_seconds}
    asked = build("DELETE", _agent_path(desk, agent_id), query=query, seconds=60.0 + timeout_seconds)
    return object_of((yield from ask(desk, asked)))


def heartbeat(desk: Desk, /) -> Steps[Json]:
    """Say that the agent works."""
    return (yield from _post_again(desk, f"{_agent_path(desk, None)}/heartbeat", {}))


# Claims, tasks, checkpoints, messages (contract section 10)


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
            return (yield from _post(desk, route("api", "claims"), body, idempotency_key, milliseconds))
        except Conflict as conflict:
            refused = conflict
    assert refused is not None  # there is at least one slice
    raise refused


def renew(desk: Desk, /, claim_id: str, ttl_seconds: int | None = None) -> Steps[Json]:
    """Keep a claim for so long from now, or as long as before."""
    return (
        yield from _post_again(desk, route("api", "claims", claim_id, "renew"), _given({"ttl_seconds": ttl_seconds}))
    )


def release(desk: Desk, /, claim_id: str) -> Steps[None]:
    """Give a claim back; one that is gone already is no error."""
    try:
        yield from ask(desk, build("DELETE", route("api", "claims", claim_id)))
    except NotFound:
        return


def list_claims(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List the claims of the project."""
    return (yield from _get(desk, route("api", "claims"), selection))


def add_task(desk: Desk, /, task: Mapping[str, Any], *, idempotency_key: str | None = None) -> Steps[Json]:
    """Put a task where workers find it."""
    return (yield from _post(desk, route("api", "tasks"), dict(task), idempotency_key))


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
    body = {"lease_seconds": lease_seconds, **_given({"types": names, "issue": issue})}
    for milliseconds in slices(desk, wait):
        asked = _posted(desk, route("api", "tasks", "claim"), body, idempotency_key, milliseconds)
        answer = yield from ask(desk, asked)
        if answer.status != 204:
            return object_of(answer)
    return None


def list_tasks(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List tasks."""
    return (yield from _get(desk, route("api", "tasks"), selection))


def get_task(desk: Desk, /, task_id: str) -> Steps[Json]:
    """Give a task, whole, and how it stands."""
    return (yield from _get(desk, route("api", "tasks", task_id)))


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
    return {"fence": fence, **_given(options)}


def _on_task(desk: Desk, task_id: str, verb: str, body: Mapping[str, Any]) -> Steps[Json | None]:
    answer = yield from ask(desk, _posted(desk, route("api", "tasks", task_id, verb), body, None))
    return object_of(answer) if answer.body else None


def save_checkpoint(desk: Desk, /, data: object) -> Steps[Json | None]:
    """Keep what the agent needs to go on after a restart or a compaction: at most 256 KiB of JSON."""
    answer = yield from ask(desk, build("PUT", f"{_agent_path(desk, None)}/checkpoint", body=data))
    return object_of(answer) if answer.body else None


def load_checkpoint(desk: Desk, /) -> Steps[Any]:
    """Give what was kept last; None if nothing was."""
    try:
        answer = yield from ask(desk, build("GET", f"{_agent_path(desk, None)}/checkpoint"))
    except NotFound:
        return None
    return answer.json() if answer.body else None


def briefing(desk: Desk, /, budget_tokens: int | None = None) -> Steps[Json]:
    """Give what the agent needs to go on: task, checkpoint, results, unread events and messages, claims, the others."""
    return (yield from _get(desk, f"{_agent_path(desk, None)}/briefing", {"budget_tokens": budget_tokens}))


def briefing_markdown(desk: Desk, /, budget_tokens: int | None = None) -> Steps[str]:
    """Give the briefing as Markdown, for a prompt."""
    query = {"budget_tokens": budget_tokens, "format": "markdown"}
    return (yield from _get_markdown(desk, f"{_agent_path(desk, None)}/briefing", query))


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
    sent = {"to": to, "kind": kind, "body": body, **_given({"ack": ack})}
    return (yield from _post(desk, route("api", "messages"), sent, idempotency_key))


def list_messages(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List messages."""
    return (yield from _get(desk, route("api", "messages"), selection))


def get_message(desk: Desk, /, message_id: str) -> Steps[Json]:
    """Give a message, and how far it is: ``queued``, ``offered``, ``seen``, then ``done``, ``expired`` or ``dead``."""
    return (yield from _get(desk, route("api", "messages", message_id)))


# What they are made of


def _given(options: Mapping[str, Any]) -> Json:
    return {name: value for name, value in options.items() if value is not None}


def _get(desk: Desk, path: str, query: Query | None = None) -> Steps[Json]:
    return object_of((yield from ask(desk, build("GET", path, query=query))))


def _get_markdown(desk: Desk, path: str, query: Query) -> Steps[str]:
    headers = {"Accept": "text/markdown"}
    answer = yield from ask(desk, build("GET", path, query=query, headers=headers, seconds=GATHER_SECONDS))
    return answer.body.decode("utf-8", "replace")


def _post(desk: Desk, path: str, body: object, key: str | None, wait: int | None = None) -> Steps[Json]:
    return object_of((yield from ask(desk, _posted(desk, path, body, key, wait))))


def _posted(desk: Desk, path: str, body: object, key: str | None, wait: int | None = None) -> Request:
    query = {"wait": wait}
    return build("POST", path, query=query, body=body, key=key or desk.new_key(), seconds=60.0 + (wait or 0) / 1000)


def _post_again(desk: Desk, path: str, body: object) -> Steps[Json]:
    """Post what does no harm when it is done twice."""
    return object_of((yield from ask(desk, build("POST", path, body=body, repeatable=True))))


def _own(mine: str, given: str | None, name: str) -> str:
    found = given or mine
    if not found:
        raise NotConfigured(f"Name {name}, or set {name.upper()}: a spawned agent has it in its environment.")
    return found


def _agent_path(desk: Desk, agent_id: str | None) -> str:
    return route("api", "agents", _own(desk.identity.agent_id, agent_id, "agent_id"))


def _context_path(desk: Desk, issue_id: str | None, agent_type: str | None) -> str:
    identity = desk.identity
    issue = _own(identity.issue_id, issue_id, "issue_id")
    return route("api", "context", issue, _own(identity.agent_type, agent_type, "agent_type"))


def _whole_identity(desk: Desk) -> Json:
    identity = desk.identity
    needed = ("agent_id", "agent_type", "issue_id")
    found: Json = {name: _own(getattr(identity, name), None, name) for name in needed}
    return {**found, **_given({"project_id": identity.project_id or None})}
