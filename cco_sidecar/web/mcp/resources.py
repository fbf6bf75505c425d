"""Results and events as MCP resources: what a person or a program picks by its URI, while models use tools.

An event is ``cco://events/{event_id}``, a result ``cco://results/{result_id}``, and the newest of an agent type
``cco://results/{issue_id}/{agent_type}``.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from attrs import define

from cco_sidecar.errors import InvalidParameter, Refusal
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.errors import status_of
from cco_sidecar.web.mcp.calling import Caller, Placed
from cco_sidecar.web.mcp.messages import INVALID_PARAMS, RESOURCE_NOT_FOUND, SERVER_ERROR, ProtocolError, invalid
from cco_sidecar.web.routing import Call

SCHEME = "cco://"
EVENTS_LISTED = 20
RESULTS_LISTED = 100
MOST_URI = 1024
JSON_TYPE = "application/json"

TEMPLATES: list[dict[str, str]] = [
    {
        "uriTemplate": "cco://results/{issue_id}/{agent_type}",
        "name": "newest-result",
        "description": "The newest result of an agent type on an issue.",
        "mimeType": JSON_TYPE,
    },
    {
        "uriTemplate": "cco://results/{result_id}",
        "name": "result",
        "description": "A result, as its agent stored it.",
        "mimeType": JSON_TYPE,
    },
    {
        "uriTemplate": "cco://events/{event_id}",
        "name": "event",
        "description": "An event that is still retained.",
        "mimeType": JSON_TYPE,
    },
]


class _Event(msgspec.Struct):
    event_id: str
    event_type: str
    topic: str
    publisher: str
    timestamp: str


class _Events(msgspec.Struct):
    events: list[_Event]


@define(eq=False)
class Resources:
    """Lists and reads, by way of the routes."""

    _caller: Caller

    async def listing(self, call: Call[Any, Any], cursor: str | None) -> dict[str, object]:
        """Give a page: the newest events first, then results, newest first, if the token may read them."""
        found = [] if cursor is not None else await self._events(call)
        if not self._caller.may("GET /api/results", call):
            return {"resources": found}
        query = {"limit": _raw(RESULTS_LISTED)} | ({} if cursor is None else {"cursor": _raw(cursor)})
        page: Any = (await self._caller.call(Placed("GET /api/results", query=query), call)).body
        for entry in page.results:
            found.append(
                {
                    "uri": f"{SCHEME}results/{entry.id}",
                    "name": f"{entry.agent_type} on {entry.issue_id}: {entry.status}",
                    "description": f"By {entry.agent_id}, {entry.timestamp}.",
                    "mimeType": JSON_TYPE,
                }
            )
        return {"resources": found} | ({} if page.next_cursor is None else {"nextCursor": page.next_cursor})

    async def _events(self, call: Call[Any, Any]) -> list[dict[str, str]]:
        placed = Placed("GET /api/events", query={"limit": _raw(EVENTS_LISTED)})
        page = msgspec.json.decode((await self._caller.call(placed, call)).encoded(), type=_Events)
        return [
            {
                "uri": f"{SCHEME}events/{event.event_id}",
                "name": f"{event.event_type} on {event.topic}",
                "description": f"By {event.publisher}, {event.timestamp}.",
                "mimeType": JSON_TYPE,
            }
            for event in page.events
        ]

    async def read(self, call: Call[Any, Any], uri: str, *, is_modern: bool) -> dict[str, object]:
        """Give what a URI names.

        :raises ProtocolError: it names nothing, or nothing that this token may read.
        """
        placed = _placed(uri)
        if placed is None:
            kinds = " or ".join(template["uriTemplate"] for template in TEMPLATES)
            refusal: Refusal = InvalidParameter(f"There is no such resource: a URI here is {kinds}.", parameter="uri")
            raise _not_found(refusal, uri, is_modern)
        try:
            reply: Reply = await self._caller.call(placed, call)
        except Refusal as refusal:
            if status_of(refusal)[0] in {400, 404}:
                raise _not_found(refusal, uri, is_modern) from None
            raise ProtocolError(SERVER_ERROR, refusal, uri=uri) from None
        text = reply.encoded().decode("utf-8", "replace")
        return {"contents": [{"uri": uri, "mimeType": JSON_TYPE, "text": text}]}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _not_found(refusal: Refusal, uri: str, is_modern: bool) -> ProtocolError:
    return ProtocolError(INVALID_PARAMS if is_modern else RESOURCE_NOT_FOUND, refusal, uri=uri)


def _placed(uri: str) -> Placed | None:
    if not uri.startswith(SCHEME) or len(uri) > MOST_URI:
        return None
    kind, *names = (unquote(part) for part in uri.removeprefix(SCHEME).split("/"))
    match kind, names:
        case "events", [event_id]:
            return Placed("GET /api/events/<event_id>", {"event_id": event_id})
        case "results", [result_id]:
            return Placed("GET /api/results/id/<result_id>", {"result_id": result_id})
        case "results", [issue_id, agent_type]:
            path: Mapping[str, str] = {"issue_id": issue_id, "agent_type": agent_type}
            return Placed("GET /api/results/<issue_id>/<agent_type>", path)
    return None


class ReadParams(msgspec.Struct):
    """What ``resources/read`` is asked for."""

    uri: str


class ListParams(msgspec.Struct):
    """What any list is asked for."""

    cursor: str | None = None


def checked(params: msgspec.Raw, kind: Any) -> Any:
    """Read the parameters of a method.

    :raises ProtocolError: they are not of its form.
    """
    try:
        return msgspec.json.decode(params, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = str(error).replace("`", "'") or "nested too deeply"
        raise invalid(INVALID_PARAMS, f"The parameters are not those of this method: {why}.", "$.params") from None
