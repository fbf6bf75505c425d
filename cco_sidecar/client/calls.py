"""What an agent can ask for, each as a function that says step by step what to do; `sharing` has the rest.

The clients are made of these: `Client` does the steps and blocks, `twisted.Client` does them in the reactor's turns.
What a call takes, gives and means is said here once. ``timeout`` and ``wait`` are in milliseconds, as in the contract.

Every call that must not be done twice carries an Idempotency-Key, made once for the call: it may be sent again when an
answer is lost.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cco_sidecar.client.asking import ask, object_of
from cco_sidecar.client.bodies import (
    GATHER_SECONDS,
    agent_path,
    get_json,
    get_markdown,
    given,
    own_or_given,
    post_again,
    post_json,
)
from cco_sidecar.client.desk import Desk, Kept
from cco_sidecar.client.values import Answer, Event, Json, Query, Steps, build, route
from cco_sidecar.client.waiting import Events, Standing, Wanted, types_of
from cco_sidecar.client.waits import wait

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
    body = {"topic": topic, "data": data, **given(options)}
    return (yield from post_json(desk, route("api", "events", event_type), body, idempotency_key))


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
    return (yield from wait(desk, wanted, standing, timeout, limit))


def list_events(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """Look back.

    :param selection: ``type``, ``topic``, ``filter``, ``publisher``, ``correlation_id``, ``issue``, ``since``,
        ``until``, ``limit``, ``order``.
    :return: ``{events, next_cursor, more_available}``; the newest come first, unless ``order="asc"``.
    """
    return (yield from get_json(desk, route("api", "events"), selection))


def get_event(desk: Desk, /, event_id: str) -> Steps[Event]:
    """Give one event."""
    found: Any = yield from get_json(desk, route("api", "events", event_id))
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
    return (yield from get_markdown(desk, _context_path(desk, issue_id, agent_type), query))


def store_result(
    desk: Desk, /, result: Mapping[str, Any], *, timestamp: str | None = None, idempotency_key: str | None = None
) -> Steps[Json]:
    """Report: ``result`` has a ``status`` (``success``, ``failed`` or ``partial``) and whatever else there is to tell.

    When this returns, it is on disk; the answer has its ``id`` and who comes next (``next_agents``).
    """
    body = {**_whole_identity(desk), "result": dict(result), **given({"timestamp": timestamp})}
    return (yield from post_json(desk, route("api", "results"), body, idempotency_key))


def list_results(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List results: ``issue``, ``agent_type``, ``status``, ``since``, ``until``, ``limit``, ``cursor``."""
    return (yield from get_json(desk, route("api", "results"), selection))


def get_result(desk: Desk, /, agent_type: str, issue_id: str | None = None) -> Steps[Json]:
    """Give the newest result of an agent type.

    :raises NotFound: there is none yet.
    """
    issue = own_or_given(desk.identity.issue_id, issue_id, "issue_id")
    return (yield from get_json(desk, route("api", "results", issue, agent_type)))


def get_result_by_id(desk: Desk, /, result_id: str) -> Steps[Json]:
    """Give one result."""
    return (yield from get_json(desk, route("api", "results", "id", result_id)))


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
    issue = own_or_given(desk.identity.issue_id, issue_id, "issue_id")
    body = {"agent_type": agent_type, "issue_id": issue, **given(options)}
    return (yield from post_json(desk, route("api", "agents", "spawn"), body, idempotency_key))


def list_agents(desk: Desk, /, **selection: str | int | None) -> Steps[Json]:
    """List agents: ``status``, ``type``, ``issue``, ``limit``."""
    return (yield from get_json(desk, route("api", "agents"), selection))


def get_agent(desk: Desk, /, agent_id: str | None = None) -> Steps[Json]:
    """Give an agent as it is now; oneself, if no other is named."""
    return (yield from get_json(desk, agent_path(desk, agent_id)))


def kill_agent(desk: Desk, /, agent_id: str, *, force: bool = False, timeout_seconds: int = 30) -> Steps[Json]:
    """End an agent and all that it started; returns when nothing is left of it."""
    query = {"force": force or None, "timeout_seconds": timeout_seconds}
    asked = build("DELETE", agent_path(desk, agent_id), query=query, seconds=60.0 + timeout_seconds)
    return object_of((yield from ask(desk, asked)))


def heartbeat(desk: Desk, /) -> Steps[Json]:
    """Say that the agent works."""
    return (yield from post_again(desk, f"{agent_path(desk, None)}/heartbeat", {}))


def _context_path(desk: Desk, issue_id: str | None, agent_type: str | None) -> str:
    identity = desk.identity
    issue = own_or_given(identity.issue_id, issue_id, "issue_id")
    return route("api", "context", issue, own_or_given(identity.agent_type, agent_type, "agent_type"))


def _whole_identity(desk: Desk) -> Json:
    identity = desk.identity
    needed = ("agent_id", "agent_type", "issue_id")
    found: Json = {name: own_or_given(getattr(identity, name), None, name) for name in needed}
    return {**found, **given({"project_id": identity.project_id or None})}
