"""The strict reader of request heads that the fast path believes; whatever it doubts is twisted.web's to read.

A second parser of HTTP is a danger of its own, for two that read the same bytes differently let requests be smuggled.
So this one takes one spelling of each thing, and headers that it knows to mean nothing to either; each of its readings
is held against twisted.web's by tests/web/test_differential.py.
"""

import re
from collections.abc import Mapping

from attrs import frozen

MOST_HEADER_BYTES = 4096

_REQUEST = re.compile(
    rb"(?:(POST) /api/events/([A-Za-z0-9][A-Za-z0-9._-]{0,127})"
    rb"|(GET) /api/events/wait/([A-Za-z0-9*][A-Za-z0-9._,*-]{0,1023})(?:\?([!\"$-~]{1,2048}))?) HTTP/1\.1"
)
_HEADER = re.compile(rb"([A-Za-z0-9-]{1,64}): ([!-~](?:[ -~]*[!-~])?)")
_LENGTHS = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_MOST_DIGITS = 7
_KEYS = (b"\r\nIdempotency-Key: ", b"\r\nidempotency-key: ")
_KEY = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

_FREE = frozenset({b"user-agent", b"accept-encoding", b"accept-language"})
"""Headers whose value makes no difference to any answer here."""
_PLAIN: Mapping[bytes, frozenset[bytes]] = {
    b"connection": frozenset({b"keep-alive"}),
    b"accept": frozenset({b"*/*", b"application/json"}),
    b"content-type": frozenset({b"application/json", b"application/json; charset=utf-8"}),
}
"""Headers that are taken with these values alone."""
_READ = frozenset({b"host", b"authorization", b"x-request-id", b"x-correlation-id"})


@frozen
class RequestLine:
    """A request line that was understood: ``name`` is the event type of a publish, or the types of a wait."""

    is_publish: bool
    name: str
    query: bytes
    target: bytes


def split_length(head: bytes) -> tuple[bytes, int | None]:
    """Take the Content-Length out of a head, which then is the same for bodies of all sizes."""
    rest, digits = _split(head, _LENGTHS)
    return (rest, int(digits)) if digits.isdigit() and len(digits) <= _MOST_DIGITS else (head, None)


def split_key(head: bytes) -> tuple[bytes, str | None]:
    """Take the Idempotency-Key out of a head, which then is the same for all requests of its sender."""
    rest, key = _split(head, _KEYS)
    return (rest, key.decode("ascii")) if _KEY.fullmatch(key) else (head, None)


def _split(head: bytes, names: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Take out the first line that begins so, and give its value; a second one stays, and is doubted."""
    for name in names:
        start = head.find(name)
        if start < 0:
            continue
        value = start + len(name)
        end = head.find(b"\r\n", value)
        if end < 0:
            return head[:start], head[value:]
        return head[:start] + head[end:], head[value:end]
    return head, b""


def parse_request_line(line: bytes) -> RequestLine | None:
    """Read a request line; None if there is any doubt about it."""
    request = _REQUEST.fullmatch(line)
    if request is None:
        return None
    is_publish = request[1] is not None
    name = request[2] if is_publish else request[4]
    return RequestLine(is_publish, name.decode("ascii"), request[5] or b"", line.split(b" ", 2)[1])


def parse_headers(block: bytes) -> Mapping[bytes, bytes] | None:
    """Read header lines, without Content-Length, as a mapping by lower-case names; None if there is any doubt."""
    if len(block) > MOST_HEADER_BYTES:
        return None
    headers: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n"):
        found = _HEADER.fullmatch(line)
        if found is None:
            return None
        name, value = found[1].lower(), found[2]
        if name in headers or not _is_harmless(name, value):
            return None
        headers[name] = value
    return headers if b"host" in headers and b"authorization" in headers else None


def _is_harmless(name: bytes, value: bytes) -> bool:
    if name in _FREE or name in _READ:
        return True
    return value.lower() in _PLAIN.get(name, ())
