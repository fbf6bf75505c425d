"""Between HTTP and the core's types: bodies and queries in, JSON answers out."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from attrs import field, frozen
from twisted.web.http import RESPONSES

from cco_sidecar.core.identifiers import nearest
from cco_sidecar.core.limits import Allowance
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import InvalidBody, InvalidParameter, Refusal, TooManyRequests
from cco_sidecar.web.errors import LengthRequired, MethodNotAllowed, NotJSON, status_of

if TYPE_CHECKING:
    from cco_sidecar.web.request import SidecarRequest

T = TypeVar("T")

JSON = b"application/json; charset=utf-8"

SECURITY_HEADERS = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
)

MOST_DEPTH = 200
"""So deep may data be nested. Python itself reads about 1,000 levels, less its own at that moment: what one call took,
the next could not read."""

_encode = msgspec.json.Encoder().encode


@frozen
class Reply:
    """An answer: a body that is encoded already (bytes) or a value for JSON, and its headers."""

    body: object
    status: int = 200
    headers: Mapping[bytes, bytes] = field(factory=dict)
    content_type: bytes = JSON

    def encoded(self) -> bytes:
        """Give the body's bytes."""
        return self.body if isinstance(self.body, bytes) else _encode(self.body)


@frozen
class Stream(Reply):
    """An answer that goes on: what is known, then what ``more`` writes until it is done; its length is not known."""

    more: "Callable[[SidecarRequest], Awaitable[None]] | None" = None


def write_reply(request: "SidecarRequest", reply: Reply) -> None:
    """Write an answer, whole, with its length; the caller finishes the request."""
    body = reply.encoded()
    request.setResponseCode(reply.status)
    headers = request.responseHeaders
    headers.setRawHeaders(b"Server", [b"cco-sidecar"])
    headers.setRawHeaders(b"Content-Type", [reply.content_type])
    if not isinstance(reply, Stream):
        headers.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
    headers.setRawHeaders(b"Cache-Control", [b"no-store"])
    for name, value in SECURITY_HEADERS:
        headers.setRawHeaders(name, [value])
    headers.setRawHeaders(b"X-Request-ID", [request.request_id.encode()])
    for name, value in reply.headers.items():
        headers.setRawHeaders(name, [value])
    if request.allowance is not None:
        for name, value in allowance_headers(request.allowance):
            headers.setRawHeaders(name, [value])
    if request.successor is not None:
        headers.setRawHeaders(b"X-Refreshed-Token", [request.successor.encode()])
    if request.site.draining:
        headers.setRawHeaders(b"Connection", [b"close"])
    if reply.status in {204, 304}:
        headers.removeHeader(b"Content-Length")
        headers.removeHeader(b"Content-Type")
        body = b""
    request.write(body)


def allowance_headers(allowance: Allowance) -> Iterable[tuple[bytes, bytes]]:
    """Give the headers that say what is left to an agent."""
    yield b"X-RateLimit-Limit", b"%d" % allowance.limit
    yield b"X-RateLimit-Remaining", b"%d" % allowance.remaining
    yield b"X-RateLimit-Reset", b"%d" % allowance.reset


def envelope(refusal: Refusal, seconds: float, request_id: str) -> dict[str, object]:
    """Make the JSON object that every error is."""
    return {
        "error": status_of(refusal)[1],
        "message": refusal.message,
        "code": refusal.code,
        "details": refusal.details,
        "timestamp": rfc3339(seconds),
        "request_id": request_id,
    }


def refusal_headers(refusal: Refusal) -> dict[bytes, bytes]:
    """Give the headers that a refusal has beside those of all answers."""
    headers: dict[bytes, bytes] = {}
    status = status_of(refusal)[0]
    if isinstance(refusal, TooManyRequests):
        headers[b"Retry-After"] = b"%d" % max(1, int(refusal.retry_after))
    if status == 401:
        headers[b"WWW-Authenticate"] = b'Bearer realm="cco-sidecar"'
    if status == 503:
        headers[b"Retry-After"] = b"5"
    if isinstance(refusal, MethodNotAllowed):
        headers[b"Allow"] = ", ".join(str(method) for method in _listed(refusal.details["allowed"])).encode()
    return headers


def write_refusal(request: "SidecarRequest", refusal: Refusal) -> None:
    """Answer with a refusal; the caller finishes the request."""
    body = envelope(refusal, request.site.clock.seconds(), request.request_id)
    write_reply(request, Reply(body, status_of(refusal)[0], refusal_headers(refusal)))


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def raw_refusal(refusal: Refusal, seconds: float, request_id: str) -> bytes:
    """Make a whole answer, head and all, for bytes that never became a request; the connection ends after it."""
    body = _encode(envelope(refusal, seconds, request_id))
    status = status_of(refusal)[0]
    lines = [
        b"HTTP/1.1 %d %s" % (status, RESPONSES.get(status, b"Refused")),
        b"Content-Type: " + JSON,
        b"Content-Length: %d" % len(body),
        b"Cache-Control: no-store",
        *(name + b": " + value for name, value in SECURITY_HEADERS),
        b"X-Request-ID: " + request_id.encode(),
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@cache
def _names(kind: type[Any]) -> frozenset[str]:
    """Name the parameters of a query type; looking them up costs as much as all the rest of reading a query."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))


def read_query(args: Mapping[bytes, Sequence[bytes]], kind: type[T]) -> T:
    """Read the query into ``kind``, a msgspec Struct of parameters.

    :param args: the values of each parameter, as twisted.web parses them.

    :raises InvalidParameter: a parameter is unknown, repeated or not of its form.
    """
    given: dict[str, str] = {}
    known = _names(kind)  # type: ignore[arg-type]  # every class is hashable
    for raw_name, values in args.items():
        name = raw_name.decode("utf-8", "replace")
        if name not in known:
            meant = nearest(name, known)
            raise InvalidParameter(
                f"There is no parameter '{name[:64]}' here" + (f": did you mean '{meant}'?" if meant else "."),
                parameter=name[:64],
            )
        if len(values) != 1:
            raise InvalidParameter(f"'{name}' is given {len(values)} times: give it once.", parameter=name)
        try:
            given[name] = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidParameter(f"'{name}' is not UTF-8.", parameter=name) from None
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        message, path = _split(error)
        name = path.removeprefix("$").strip(".")
        raise InvalidParameter(f"'{name}': {message}." if name else f"{message}.", parameter=name) from None


def read_body(request: "SidecarRequest", kind: type[T], refusal: type[Refusal] = InvalidBody) -> T:
    """Read the body into ``kind``.

    :param refusal: what to raise when it is JSON, but not of that kind.
    :raises NotJSON: the content type is something else.
    :raises LengthRequired: there is no body at all.
    :raises InvalidBody: it is not JSON.
    """
    _require_json(request)
    text = request.content.read()
    if not text:
        headers = request.requestHeaders
        if not headers.hasHeader(b"Content-Length") and not headers.hasHeader(b"Transfer-Encoding"):
            raise LengthRequired("This route takes a JSON body: send one, with its Content-Length.")
        raise InvalidBody("The body is empty: this route takes a JSON object.", path="$")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        message, path = _split(error)
        raise refusal(f"{message} (at {path}).", path=path) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidBody(f"The body is not JSON: {_plain(error)}.", path="$") from None
    except RecursionError:
        raise InvalidBody("The body is nested too deeply.", path="$") from None


def media_type(request: "SidecarRequest") -> str | None:
    """Give the media type of a body, without parameters; None if the request does not say."""
    header = request.getHeader("content-type")
    return None if header is None else header.partition(";")[0].strip().lower()


def _require_json(request: "SidecarRequest") -> None:
    kind = media_type(request)
    if kind is None or kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return
    raise NotJSON(
        f"This route takes JSON, not '{kind[:64]}': send the header 'Content-Type: application/json' "
        "(curl: -H 'Content-Type: application/json')."
    )


def _split(error: msgspec.ValidationError) -> tuple[str, str]:
    message, found, path = str(error).partition(" - at `")
    return message.replace("`", "'"), path.rstrip("`") if found else "$"


def _plain(error: Exception) -> str:
    text = str(error).replace("`", "'")
    return text.removeprefix("JSON is malformed: ") if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"


def compact(raw: msgspec.Raw, path: str) -> msgspec.Raw:
    """Give JSON text without white space (a record is one line).

    :raises InvalidBody: the text is no sound JSON after all (bad UTF-8, too deep, a number beyond a double's range).
    """
    text = bytes(raw)
    try:
        value = msgspec.json.decode(text)
        if text.count(b"[") + text.count(b"{") > MOST_DEPTH and _is_deep(value):
            raise InvalidBody(f"The JSON is nested more than {MOST_DEPTH} deep.", path=path)
        return msgspec.Raw(msgspec.json.format(text, indent=-1))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise InvalidBody(
            "The JSON is nested too deeply, is not UTF-8, or has a number that is out of range.", path=path
        ) from None


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for outer in level for inner in _inner(outer) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
