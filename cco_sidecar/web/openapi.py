"""The API's description, made from the route table and the types that validate (OpenAPI 3.1)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cco_sidecar import __version__
from cco_sidecar.core.identifiers import PATTERN
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.errors import STATUS
from cco_sidecar.web.routing import Access, Call, NoQuery, Route, optional_body

JSON_TYPE = "application/json"

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
_REFS = "#/components/schemas/{name}"


class ErrorAnswer(msgspec.Struct):
    """Every refusal, on every route."""

    error: str
    message: str
    code: str
    details: dict[str, Any]
    timestamp: str
    request_id: str


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """Make the OpenAPI document of these routes."""
    kinds = [
        kind
        for route in routes
        for kind in (route.body, route.answer, *route.body_forms.values(), *route.answer_forms.values())
    ]
    ordered = sorted({kind for kind in kinds if kind is not None}, key=str)
    _, components = msgspec.json.schema_components([*ordered, ErrorAnswer], ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cco-sidecar",
            "version": __version__,
            "description": "Context, events, results and supervision for a fleet of coding agents.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": _who(route.access),
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {str(route.status): _answer(route), "default": _error(route)},
    }
    if route.access.open:
        operation["security"] = []
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.read is not optional_body,
            "content": _content({JSON_TYPE: route.body, **route.body_forms}),
        }
    return operation


def _who(access: Access) -> str:
    """Say in a sentence who may call."""
    if access.open:
        return "Open: no token is needed."
    if access.admin:
        return "The admin alone."
    scope = " For the agent's own issue." if access.own_issue else ""
    if access.permission is not None:
        return f"Agents with the permission {access.permission}.{scope}"
    return f"Allowed to: {access.owner}, and the admin." if access.owner else f"Any agent of the project.{scope}"


def _operation_id(route: Route) -> str:
    words = re.findall(r"[A-Za-z]+", route.path.replace("/api/", "/"))
    return "_".join([route.method.lower(), *words])


def _answer(route: Route) -> dict[str, Any]:
    if route.answer is None:
        return {"description": "Done."}
    return {"description": "Done.", "content": _content({JSON_TYPE: route.answer, **route.answer_forms})}


def _content(forms: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a body by media type."""
    schemas, _ = msgspec.json.schema_components(forms.values(), ref_template=_REFS)
    return {name: {"schema": schema} for name, schema in zip(forms, schemas, strict=True)}


def _error(route: Route) -> dict[str, Any]:
    codes = ", ".join(sorted({kind.code for kind in STATUS}))
    content = _content({JSON_TYPE: ErrorAnswer})
    if route.is_rpc:
        own = _content({JSON_TYPE: route.answer})[JSON_TYPE]["schema"]
        content[JSON_TYPE]["schema"] = {"anyOf": [content[JSON_TYPE]["schema"], own]}
    return {"description": f"Refused: {codes}.", "content": content}


def _path_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        schema: dict[str, Any] = {"type": "string"}
        if name != "types":
            schema["pattern"] = f"^{PATTERN}$"
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(route: Route) -> Iterable[dict[str, Any]]:
    if route.query is NoQuery:
        return
    _, components = msgspec.json.schema_components([route.query], ref_template=_REFS)
    whole = components[route.query.__name__]
    for name, schema in whole["properties"].items():
        yield {"name": name, "in": "query", "required": name in whole.get("required", []), "schema": schema}


class OpenAPI:
    """Serves the document; it is made once."""

    def __init__(self) -> None:
        self._text = b"{}"

    def of(self, routes: Sequence[Route]) -> None:
        """Describe these routes."""
        self._text = msgspec.json.encode(describe(routes))

    async def get(self, call: Call[NoQuery, None]) -> Reply:
        """Give the document."""
        return Reply(self._text)
