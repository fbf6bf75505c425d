"""JSON-RPC as MCP speaks it: messages in, results and errors out, and which era of the protocol a request is of.

Two eras are served on one route. Up to 2025-11-25 a client opens with ``initialize``; from 2026-07-28 on each request
says by itself, in headers and in ``params._meta``, which version it speaks. Here neither leaves a trace in the server.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from attrs import field, frozen

from cco_sidecar.errors import InvalidBody, Refusal
from cco_sidecar.web.errors import status_of

LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN = ("2026-07-28",)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_ERROR = -32000
RESOURCE_NOT_FOUND = -32002
"""What the older era says; the newer one says `INVALID_PARAMS`."""
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

META = "io.modelcontextprotocol/"
VERSION_KEY = f"{META}protocolVersion"
CAPABILITIES_KEY = f"{META}clientCapabilities"
SERVER_KEY = f"{META}serverInfo"

_NAMED_BY = {"tools/call": "name", "resources/read": "uri", "prompts/get": "name"}
_STATUS = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    UNSUPPORTED_VERSION: 400,
}
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")

Id = str | int


class Params(msgspec.Struct):
    """What every request may have; each method reads its own from the text."""

    meta: dict[str, Any] = msgspec.field(default_factory=dict, name="_meta")


class Message(msgspec.Struct):
    """A request, or a notification, which has no id."""

    jsonrpc: Literal["2.0"]
    method: str
    id: Id | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw = msgspec.Raw(b"{}")


class _Shape(msgspec.Struct):
    """As much of a message that is none as can be made out."""

    id: Any = None
    method: Any = None
    result: Any = msgspec.UNSET
    error: Any = msgspec.UNSET


class ProtocolError(Exception):
    """A request that the protocol does not take; ``data`` says it in the contract's words."""

    def __init__(self, code: int, refusal: Refusal, **data: object) -> None:
        super().__init__(refusal.message)
        self.code = code
        self.refusal = refusal
        self.data = data

    @property
    def status(self) -> int:
        """The HTTP status: the protocol's where it says one."""
        if self.code == SERVER_ERROR:
            return status_of(self.refusal)[0]
        return _STATUS.get(self.code, 200)


@frozen
class Wrong:
    """A body that is no message, and whose it was, if that can be made out."""

    id: Id | None
    error: ProtocolError


@frozen
class Answered:
    """A response to a request; the sidecar sends none, so there is nothing to do with it."""


@frozen
class Asked:
    """A request or notification that is sound; ``meta`` is its ``_meta``."""

    message: Message
    meta: Mapping[str, Any] = field(factory=dict)
    is_modern: bool = False

    @property
    def id(self) -> Id | None:
        """Its id; None for a notification."""
        return None if self.message.id is msgspec.UNSET else self.message.id

    @property
    def progress_token(self) -> Id | None:
        """How the client wants to be told that it goes on; None if it does not."""
        token = self.meta.get("progressToken")
        return token if isinstance(token, str) or type(token) is int else None

    @property
    def tool_use_id(self) -> str:
        """What Claude Code calls this call, in its hooks, too; empty for other clients."""
        found = self.meta.get("claudecode/toolUseId")
        return found if isinstance(found, str) else ""


def invalid(code: int, message: str, path: str = "$", **data: object) -> ProtocolError:
    """Make the refusal of a message."""
    return ProtocolError(code, InvalidBody(message, path=path), **data)


def read_message(text: bytes) -> Message | Wrong | Answered:
    """Read one message; never raises."""
    if text.lstrip()[:1] == b"[":
        return Wrong(None, invalid(INVALID_REQUEST, "MCP has no batches any more: send each message by itself."))
    try:
        return msgspec.json.decode(text, type=Message)
    except msgspec.ValidationError as error:
        return _make_out(text, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Wrong(None, invalid(PARSE_ERROR, "The body is not JSON: send one JSON-RPC 2.0 message, as UTF-8."))


def _make_out(text: bytes, why: str) -> Wrong | Answered:
    try:
        shape = msgspec.json.decode(text, type=_Shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        shape = _Shape()
    if shape.method is None and (shape.result is not msgspec.UNSET or shape.error is not msgspec.UNSET):
        return Answered()
    found = shape.id if isinstance(shape.id, str) or type(shape.id) is int else None
    why = why.replace("`", "'")
    return Wrong(found, invalid(INVALID_REQUEST, f"This is no JSON-RPC 2.0 request or notification: {why}."))


def understand(message: Message, header: Mapping[str, str | None]) -> Asked:
    """Say of which era a message is, and check what that asks for.

    :param header: the values of ``mcp-protocol-version``, ``mcp-method`` and ``mcp-name``.
    :raises ProtocolError: a version that is not served, or headers and body that say different things.
    """
    params = _params(message)
    version = header.get("mcp-protocol-version")
    in_meta = params.meta.get(VERSION_KEY)
    if message.id is msgspec.UNSET:
        if version is not None and version not in LEGACY + MODERN:
            raise _unsupported(version)
        return Asked(message, params.meta)
    if in_meta is None and version not in MODERN and (version is None or version in LEGACY or _opens(message)):
        return Asked(message, params.meta)
    _check_envelope(message, params.meta, version)
    if version is None or in_meta != version:
        raise invalid(
            HEADER_MISMATCH,
            f"The header MCP-Protocol-Version must say what params._meta['{VERSION_KEY}'] says.",
            f"$.params._meta['{VERSION_KEY}']",
        )
    _check_headers(message, header)
    if version not in MODERN:
        raise _unsupported(version)
    return Asked(message, params.meta, is_modern=True)


def _opens(message: Message) -> bool:
    """Say whether it is an ``initialize``, which negotiates the version by itself, whatever a header says."""
    return message.method == "initialize"


def _params(message: Message) -> Params:
    try:
        return msgspec.json.decode(message.params, type=Params)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wrong = "params must be an object, and its _meta, if there is one, too."
        raise invalid(INVALID_PARAMS, wrong, "$.params") from None


def _check_envelope(message: Message, meta: Mapping[str, Any], version: str | None) -> None:
    if version is not None and VERSION_KEY not in meta and version not in MODERN:
        raise _unsupported(version)
    missing = [key for key in (VERSION_KEY, CAPABILITIES_KEY) if key not in meta]
    if missing:
        raise invalid(
            INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}, which every request needs.", "$.params._meta"
        )
    if not isinstance(meta[CAPABILITIES_KEY], dict) or not isinstance(meta[VERSION_KEY], str):
        raise invalid(
            INVALID_PARAMS,
            f"In params._meta {VERSION_KEY} is a text and {CAPABILITIES_KEY} an object.",
            "$.params._meta",
        )


def _check_headers(message: Message, header: Mapping[str, str | None]) -> None:
    if header.get("mcp-method") != message.method:
        raise invalid(HEADER_MISMATCH, "The header Mcp-Method must say the request's method.", "$.method")
    key = _NAMED_BY.get(message.method)
    if key is None:
        return
    try:
        name = msgspec.json.decode(message.params, type=dict[str, Any]).get(key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        name = None
    if name is not None and _plain(header.get("mcp-name")) != name:
        raise invalid(HEADER_MISMATCH, f"The header Mcp-Name must say params.{key}.", f"$.params.{key}")


def _plain(value: str | None) -> str | None:
    """Read a header that may be encoded (``=?base64?…?=``); None if it cannot be read."""
    found = None if value is None else _ENCODED.fullmatch(value)
    if found is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None


def _unsupported(version: str) -> ProtocolError:
    return invalid(
        UNSUPPORTED_VERSION,
        f"The protocol version '{version[:32]}' is not served: use {MODERN[0]}, or {LEGACY[0]} with initialize.",
        supported=list(MODERN),
        requested=version[:64],
    )


def result(asked: Asked, value: Mapping[str, object]) -> dict[str, object]:
    """Make the response to a request."""
    whole = {"resultType": "complete", **value} if asked.is_modern else dict(value)
    return {"jsonrpc": "2.0", "id": asked.id, "result": whole}


def failure(request_id: Id | None, error: ProtocolError, envelope: Mapping[str, object]) -> dict[str, object]:
    """Make the response to a request that went wrong; its ``data`` is the contract's error, and the protocol's own."""
    data = {**envelope, **error.data}
    return {
        "jsonrpc": "2.0",
        "id": request_id,
        "error": {"code": error.code, "message": error.refusal.message, "data": data},
    }
