"""Calling a route for a tool: its own handler, under its own rules, as if the request had come by HTTP."""

from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import define, field, frozen

from cco_sidecar.core.identifiers import nearest
from cco_sidecar.errors import InvalidParameter
from cco_sidecar.web.codec import Reply, read_query
from cco_sidecar.web.request import SidecarRequest
from cco_sidecar.web.routing import Call, Gate, Route

_KEPT = frozenset({"idempotency-key"})
"""Headers of the MCP request that are about what a tool does, too; the others are about the MCP answer."""


@frozen
class Placed:
    """Where a tool's arguments go: into path, query and body of a route."""

    route: str
    path: Mapping[str, str] = field(factory=dict)
    query: Mapping[str, msgspec.Raw] = field(factory=dict)
    body: msgspec.Raw | None = None


class _Headers:
    """No headers: an answer to a tool has one form."""

    def getRawHeaders(self, name: bytes, default: Any = None) -> Any:
        return default


class Inner:
    """The request of a tool: what its handler may ask of the MCP request, without how that one is answered."""

    def __init__(self, request: SidecarRequest) -> None:
        self.__dict__["_request"] = request
        self.__dict__["requestHeaders"] = _Headers()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._request, name, value)

    def getHeader(self, key: str) -> str | None:
        """Give a header, if it counts for what a tool does."""
        value: str | None = self._request.getHeader(key) if key.lower() in _KEPT else None
        return value


@define(eq=False)
class Caller:
    """Knows all routes, and lets a token's holder call those that it may."""

    _gate: Gate
    _routes: Mapping[str, Route]

    def may(self, name: str, call: Call[Any, Any]) -> bool:
        """Say whether the holder has what a route asks for, whatever the issue."""
        access = self._routes[name].access
        return call.holder.is_admin or access.permission is None or access.permission in call.holder.permissions

    async def call(self, placed: Placed, call: Call[Any, Any]) -> Reply:
        """Call a route; raises as that refuses."""
        route, gate = self._routes[placed.route], self._gate
        gate.check_path(placed.path)
        gate.authorise(route.access, call.holder, placed.path)
        query = read_query(_texts(placed.query), route.query)
        body = None if placed.body is None else _body(placed.body, route)
        inner: Any = Inner(call.request)
        made: Call[Any, Any] = Call(inner, placed.path, query, body, call.holder, call.project)
        return await route.handler(made)


def _texts(query: Mapping[str, msgspec.Raw]) -> dict[bytes, list[bytes]]:
    """Write arguments as a query's are written: texts bare, all others as JSON."""
    found: dict[bytes, list[bytes]] = {}
    for name, raw in query.items():
        value = msgspec.json.decode(raw)
        if value is None:
            continue
        if isinstance(value, dict | list):
            raise InvalidParameter(f"'{name}' must be one value, not several.", parameter=name)
        found[name.encode()] = [value.encode("utf-8", "replace") if isinstance(value, str) else bytes(raw)]
    return found


def _body(raw: msgspec.Raw, route: Route) -> Any:
    if route.body is msgspec.Raw:
        return raw
    try:
        return msgspec.json.decode(raw, type=route.body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).replace("`", "'").partition(" - at '")
        where = path.rstrip("'") or "$"
        raise route.body_refusal(f"{message} (at {where}).", path=where) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise route.body_refusal("An argument is nested too deeply, or is not UTF-8.", path="$") from None


def check_names(given: Mapping[str, object], known: Mapping[str, object], tool: str) -> None:
    """Refuse arguments that a tool does not have.

    :raises InvalidParameter: there is one, with the one that was probably meant.
    """
    for name in given:
        if name not in known:
            meant = nearest(name, known)
            hint = f"did you mean '{meant}'?" if meant else f"it takes {', '.join(known) or 'none'}."
            raise InvalidParameter(f"{tool} has no argument '{name[:64]}': {hint}", parameter=name[:64])
