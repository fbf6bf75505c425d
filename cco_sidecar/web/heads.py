"""The strict reader of request heads that the fast path believes; whatever it doubts is twisted.web's to read.

A second parser of HTTP is a danger of its own, for two that read the same bytes differently let requests be smuggled.
So this one takes one spelling of each thing, and headers that it knows to mean nothing to either; each of its readings
is held against twisted.web's by tests/web/test_differential.py.
"""

import re
from collections.abc import Mapping

from attrs import frozen

MOST_HEAD_BYTES = 4096

_REQUEST = re.compile(
    rb"(?:(POST) /api/events/([A-Za-z0-9][A-Za-z0-9._-]{0,127})"
    rb"|(GET) /api/events/wait/([A-Za-z0-9*][A-Za-z0-9._,*-]{0,1023})(?:\?([!\"$-~]{1,2048}))?) HTTP/1\.1"
)
_HEADER = re.compile(rb"([A-Za-z0-9-]{1,64}): ([!-~](?:[ -~]*[!-~])?)")
_LENGTHS = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_MOST_DIGITS = 7

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
class Head:
    """A head that was understood: ``name`` is the event type of a publish, or the types of a wait."""

    is_publish: bool
    name: str
    query: bytes
    headers: Mapping[bytes, bytes]


def split_length(head: bytes) -> tuple[bytes, int | None]:
    """Take the Content-Length out of a head, which then is the same for bodies of all sizes."""
    for name in _LENGTHS:
        start = head.find(name)
        if start < 0:
            continue
        value = start + len(name)
        end = head.find(b"\r\n", value)
        digits = head[value:end] if end >= 0 else head[value:]
        if digits.isdigit() and len(digits) <= _MOST_DIGITS:
            return head[:start] + (head[end:] if end >= 0 else b""), int(digits)
    return head, None


def parse_head(head: bytes) -> Head | None:
    """Read a head without its Content-Length and its empty line; None if there is any doubt about it."""
    if len(head) > MOST_HEAD_BYTES:
        return None
    first, *lines = head.split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None:
        return None
    headers: dict[bytes, bytes] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            return None
        name, value = found[1].lower(), found[2]
        if name in headers or not _is_harmless(name, value):
            return None
        headers[name] = value
    if b"host" not in headers or b"authorization" not in headers:
        return None
    is_publish = request[1] is not None
    name = request[2] if is_publish else request[4]
    return Head(is_publish, name.decode("ascii"), request[5] or b"", headers)


def _is_harmless(name: bytes, value: bytes) -> bool:
    if name in _FREE or name in _READ:
        return True
    return value.lower() in _PLAIN.get(name, ())
