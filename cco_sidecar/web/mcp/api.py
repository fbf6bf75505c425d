"""MCP at ``POST /api/mcp``: one JSON-RPC message in, its response out; nothing is remembered between two of them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from attrs import define, field
from msgspec import Meta
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cco_sidecar import __version__
from cco_sidecar.core.identifiers import nearest
from cco_sidecar.core.messages.wording import worded
from cco_sidecar.errors import InvalidParameter, Refusal
from cco_sidecar.web.codec import Reply, Stream, envelope, media_type
from cco_sidecar.web.errors import LengthRequired, NotJSON, status_of
from cco_sidecar.web.mcp.calling import Caller
from cco_sidecar.web.mcp.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY,
    METHOD_NOT_FOUND,
    MODERN,
    SERVER_ERROR,
    SERVER_KEY,
    Answered,
    Asked,
    Id,
    Message,
    ProtocolError,
    Wrong,
    failure,
    invalid,
    read_message,
    result,
    understand,
)
from cco_sidecar.web.mcp.resources import TEMPLATES, ListParams, ReadParams, Resources, checked
from cco_sidecar.web.mcp.streaming import EVENT_STREAM, HEADERS, Waiting
from cco_sidecar.web.mcp.tools import BY_NAME, Tool, tools_of
from cco_sidecar.web.request import SidecarRequest
from cco_sidecar.web.routing import Call, Gate, ProjectQuery, Route, audit_refusal, internal_error

_log = Logger()

TOOLS_LAST_MS = 60_000
"""So long a client may keep what it was told of the tools; a token has the same ones all its life."""
MOST_MESSAGES = 3
"""So many messages come with a tool's result; the next ones with the next."""
MESSAGES_KEY = "messages_for_you"
_HEADERS = ("mcp-protocol-version", "mcp-method", "mcp-name")

INSTRUCTIONS = (
    "Other agents work on this project at the same time. Begin with get_context or, after a break, briefing. Claim "
    "paths before you edit them, publish what others wait for, wait_for_event instead of polling, and store_result at "
    "the end."
)
SERVER = {"name": "cco-sidecar", "title": "CCO sidecar", "version": __version__}
CAPABILITIES: dict[str, object] = {"tools": {}, "resources": {}}


class RPCRequest(msgspec.Struct):
    """One JSON-RPC message, as the API's description has it; `read_rpc` reads it."""

    jsonrpc: str
    method: str
    id: Id | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, Any] = {}


class RPCAnswer(msgspec.Struct):
    """The response to a request; ``data`` of an error is what every refusal is here."""

    jsonrpc: str
    id: Id | None
    result: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    error: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _CallParams(msgspec.Struct):
    name: Annotated[str, Meta(max_length=128)]
    arguments: dict[str, msgspec.Raw] = {}


class _OpenParams(msgspec.Struct):
    protocolVersion: str


def read_rpc(request: SidecarRequest, route: Route, path: Mapping[str, str]) -> Message | Wrong | Answered:
    """Read the body; what is wrong with the message in it is answered in its own protocol.

    :raises NotJSON: it is something else; also `LengthRequired`.
    """
    kind = media_type(request)
    if kind not in {None, "application/json"}:
        raise NotJSON("MCP messages are JSON: send the header 'Content-Type: application/json'.")
    text: bytes = request.content.read()
    headers = request.requestHeaders
    if not text and not headers.hasHeader(b"Content-Length") and not headers.hasHeader(b"Transfer-Encoding"):
        raise LengthRequired("This route takes a JSON-RPC message: send one, with its Content-Length.")
    return read_message(text)


@define(eq=False)
class MCPAPI:
    """Understands a message, and lets tools and resources do what it asks for."""

    _clock: IReactorTime
    _gate: Gate
    _caller: Caller = field(init=False)
    _resources: Resources = field(init=False)

    def of(self, routes: Sequence[Route]) -> None:
        """Take the routes that tools and resources stand for."""
        self._caller = Caller(self._gate, {f"{route.method} {route.path}": route for route in routes})
        self._resources = Resources(self._caller)

    async def post(self, call: Call[ProjectQuery, Message | Wrong | Answered]) -> Reply:
        """Answer a message."""
        body, request = call.body, call.request
        version = request.getHeader("mcp-protocol-version")
        if isinstance(body, Answered):
            if version not in MODERN:
                return Reply(b"", 202)
            body = Wrong(None, invalid(INVALID_REQUEST, "A client sends requests and notifications, not responses."))
        if isinstance(body, Wrong):
            return self._failed(request, body.id, body.error)
        request_id = None if body.id is msgspec.UNSET else body.id
        try:
            asked = understand(body, {name: request.getHeader(name) for name in _HEADERS})
        except ProtocolError as error:
            return self._failed(request, request_id, error)
        if asked.id is None:
            return Reply(b"", 202)
        if asked.message.method == "tools/call":
            return await self._tool(call, asked)
        return await self._plain(call, asked)

    # Methods

    async def _plain(self, call: Call[Any, Any], asked: Asked) -> Reply:
        try:
            return Reply(result(asked, await self._method(call, asked)))
        except ProtocolError as error:
            return self._failed(call.request, asked.id, error, asked)
        except Refusal as refusal:
            return self._refused(call.request, asked, refusal)

    async def _method(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        method = asked.message.method
        known = {
            "tools/list": self._list_tools,
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self._read_resource,
            **(
                {"server/discover": self._discover}
                if asked.is_modern
                else {"initialize": self._open, "ping": self._ping}
            ),
        }
        if method not in known:
            wrong = f"There is no method '{method[:64]}' here: there are tools/call, {', '.join(known)}."
            raise ProtocolError(METHOD_NOT_FOUND, InvalidParameter(wrong, path="$.method"))
        return await known[method](call, asked)

    async def _list_tools(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        checked(asked.message.params, ListParams)
        return {"tools": [tool.described() for tool in tools_of(call.holder)], **_cache(asked, TOOLS_LAST_MS)}

    async def _list_resources(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        cursor = checked(asked.message.params, ListParams).cursor
        return {**await self._resources.listing(call, cursor), **_cache(asked)}

    async def _list_templates(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        checked(asked.message.params, ListParams)
        return {"resourceTemplates": TEMPLATES, **_cache(asked, TOOLS_LAST_MS)}

    async def _read_resource(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        uri = checked(asked.message.params, ReadParams).uri
        return {**await self._resources.read(call, uri, is_modern=asked.is_modern), **_cache(asked)}

    async def _discover(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        return {
            "supportedVersions": list(MODERN),
            "capabilities": CAPABILITIES,
            "instructions": INSTRUCTIONS,
            "_meta": {SERVER_KEY: SERVER},
            **_cache(asked, TOOLS_LAST_MS),
        }

    async def _open(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        """Answer with the version that was asked for, or the newest that has a handshake."""
        wanted = checked(asked.message.params, _OpenParams).protocolVersion
        return {
            "protocolVersion": wanted if wanted in LEGACY else LEGACY[0],
            "capabilities": CAPABILITIES,
            "serverInfo": SERVER,
            "instructions": INSTRUCTIONS,
        }

    async def _ping(self, call: Call[Any, Any], asked: Asked) -> Mapping[str, object]:
        return {}

    # Tools

    async def _tool(self, call: Call[Any, Any], asked: Asked) -> Reply:
        try:
            params: _CallParams = checked(asked.message.params, _CallParams)
            tool = _tool_named(params.name)
        except ProtocolError as error:
            return self._failed(call.request, asked.id, error, asked)
        response = Deferred.fromCoroutine(self._called(call, asked, tool, params.arguments))
        if response.called or not tool.may_wait or not _takes_streams(call.request):
            found: dict[str, object] = await response
            return Reply(found)
        waiting = Waiting(self._clock, asked.progress_token, response)
        return Stream(b": it goes on\n\n", headers=HEADERS, content_type=EVENT_STREAM, more=waiting.run)

    async def _called(
        self, call: Call[Any, Any], asked: Asked, tool: Tool, arguments: Mapping[str, msgspec.Raw]
    ) -> dict[str, object]:
        # A sub-agent of Claude Code's shares its agent's server; what is written to that one is not for it.
        is_aside = call.project.hooks.was_aside(call.holder.sub, asked.tool_use_id)
        if not is_aside:
            call.project.messages.called(call.holder.sub)

        def beside(shown: dict[str, Any]) -> dict[str, object]:
            return result(asked, shown if is_aside else _with_messages(call, shown))

        try:
            reply = await self._caller.call(tool.placed(call.holder, arguments), call)
            return beside(_told(reply))
        except CancelledError:
            raise  # the client hung up
        except Refusal as refusal:
            status = status_of(refusal)[0]
            audit_refusal(call.request, status, refusal)
            return beside(self._sorry(call.request, refusal))
        except Exception:  # noqa: BLE001 - its log line has the tool's name; the answer is the protocol's
            _log.failure("a tool failed", request_id=call.request.request_id, tool=tool.name)
            error = ProtocolError(INTERNAL_ERROR, internal_error())
            return failure(asked.id, error, self._envelope(call.request, error.refusal))

    def _sorry(self, request: SidecarRequest, refusal: Refusal) -> dict[str, object]:
        """Tell a model what went wrong: as text, for that is what it reads, and whole, for programs."""
        text = f"{refusal.message} ({refusal.code})"
        whole = self._envelope(request, refusal)
        return {"content": [{"type": "text", "text": text}], "structuredContent": whole, "isError": True}

    # Failures

    def _envelope(self, request: SidecarRequest, refusal: Refusal) -> dict[str, object]:
        return envelope(refusal, self._clock.seconds(), request.request_id)

    def _refused(self, request: SidecarRequest, asked: Asked, refusal: Refusal) -> Reply:
        audit_refusal(request, status_of(refusal)[0], refusal)
        code = INVALID_PARAMS if status_of(refusal)[0] == 400 else SERVER_ERROR
        return self._failed(request, asked.id, ProtocolError(code, refusal), asked)

    def _failed(
        self, request: SidecarRequest, request_id: Id | None, error: ProtocolError, asked: Asked | None = None
    ) -> Reply:
        # In the older era only what is no request at all has a status of its own.
        status = 200 if asked is not None and not asked.is_modern else error.status
        return Reply(failure(request_id, error, self._envelope(request, error.refusal)), status)


def _cache(asked: Asked, milliseconds: int = 0) -> dict[str, object]:
    """Say how long an answer may be kept, where the protocol has words for it; it is the token's alone."""
    return {"ttlMs": milliseconds, "cacheScope": "private"} if asked.is_modern else {}


def _tool_named(name: str) -> Tool:
    tool = BY_NAME.get(name)
    if tool is None:
        meant = nearest(name, BY_NAME)
        hint = f"did you mean '{meant}'?" if meant else f"there are {', '.join(BY_NAME)}."
        raise ProtocolError(
            INVALID_PARAMS, InvalidParameter(f"There is no tool '{name[:64]}': {hint}", parameter="name")
        )
    return tool


def _takes_streams(request: SidecarRequest) -> bool:
    accept = request.getHeader("accept") or ""
    return "text/event-stream" in accept.lower()


def _with_messages(call: Call[Any, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Add what others have written to the agent: nothing else reaches a model while it works."""
    given = [] if call.holder.is_admin else call.project.messages.hand_over(call.holder.sub, MOST_MESSAGES)
    if not given:
        return shown
    words = worded(given)
    told = {**shown, "content": [*shown["content"], {"type": "text", "text": words}]}
    if "structuredContent" in shown and not shown.get("isError"):
        # Claude Code shows a model this and not the texts, where there are both.
        whole = msgspec.json.decode(shown["structuredContent"], type=dict[str, msgspec.Raw])
        told["structuredContent"] = {**whole, MESSAGES_KEY: words}
    return told


def _told(reply: Reply) -> dict[str, object]:
    """Make a tool's result of a route's answer: as text, and what is a JSON object also as such."""
    text = reply.encoded()
    shown: dict[str, object] = {"content": [{"type": "text", "text": text.decode("utf-8", "replace")}]}
    if reply.content_type.startswith(b"application/json") and text.startswith(b"{"):
        shown["structuredContent"] = msgspec.Raw(text)
    return shown
