"""What calls are made of: bodies, paths, and the usual ways to get and post."""

from collections.abc import Mapping
from typing import Any

from cco_sidecar.client.asking import ask, object_of
from cco_sidecar.client.desk import Desk
from cco_sidecar.client.errors import NotConfigured
from cco_sidecar.client.values import Json, Query, Request, Steps, build, route

GATHER_SECONDS = 120.0
"""How long a context may take to be gathered."""


def given(options: Mapping[str, Any]) -> Json:
    """Leave out what is None."""
    return {name: value for name, value in options.items() if value is not None}


def get_json(desk: Desk, path: str, query: Query | None = None) -> Steps[Json]:
    """Get an object."""
    return object_of((yield from ask(desk, build("GET", path, query=query))))


def get_markdown(desk: Desk, path: str, query: Query) -> Steps[str]:
    """Get a text, for a prompt."""
    headers = {"Accept": "text/markdown"}
    answer = yield from ask(desk, build("GET", path, query=query, headers=headers, seconds=GATHER_SECONDS))
    return answer.body.decode("utf-8", "replace")


def post_json(desk: Desk, path: str, body: object, key: str | None, wait: int | None = None) -> Steps[Json]:
    """Post an object, and give the one that is answered; ``wait`` is in milliseconds."""
    return object_of((yield from ask(desk, posted(desk, path, body, key, wait))))


def posted(desk: Desk, path: str, body: object, key: str | None, wait: int | None = None) -> Request:
    """Make a request that is done once, however often it is sent."""
    query = {"wait": wait}
    return build("POST", path, query=query, body=body, key=key or desk.new_key(), seconds=60.0 + (wait or 0) / 1000)


def post_again(desk: Desk, path: str, body: object) -> Steps[Json]:
    """Post what does no harm when it is done twice."""
    return object_of((yield from ask(desk, build("POST", path, body=body, repeatable=True))))


def own_or_given(mine: str, given: str | None, name: str) -> str:
    """Give what was given, else what is known of oneself.

    :raises NotConfigured: neither is there.
    """
    found = given or mine
    if not found:
        raise NotConfigured(f"Name {name}, or set {name.upper()}: a spawned agent has it in its environment.")
    return found


def agent_path(desk: Desk, agent_id: str | None) -> str:
    """Give the path of an agent; one's own, if no other is named."""
    return route("api", "agents", own_or_given(desk.identity.agent_id, agent_id, "agent_id"))
