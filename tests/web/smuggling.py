"""Byte sequences that servers have read differently, and so let one request hide in another.

``AUTH`` stands for the line of a good token; ``HIDDEN`` is the request that must never be carried out by one server
when the other takes it for a body. Sources: RFC 9112 section 11.2, the CVEs in research/reliability.md, and the
published work on request smuggling (CL.TE, TE.CL, TE.TE, CL.0, line ends, obsolete folding).
"""

from collections.abc import Mapping

EVENT = b'{"topic":"work","data":1}'
HIDDEN = b"POST /api/events/hidden HTTP/1.1\r\nHost: localhost\r\nAUTH\r\nContent-Length: 25\r\n\r\n" + EVENT
_LENGTH = b"%d" % len(EVENT)
_HOST = b"Host: localhost"
_LINE = b"POST /api/events/t HTTP/1.1"
_WAIT = b"GET /api/events/wait/t?timeout=0 HTTP/1.1"
_CHUNKED = b"Transfer-Encoding: chunked"
_IN_CHUNKS = b"19\r\n" + EVENT + b"\r\n0\r\n\r\n"


def _post(*lines: bytes, body: bytes = EVENT) -> bytes:
    return b"\r\n".join([_LINE, _HOST, b"AUTH", *lines, b"", b""]) + body


def _get(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([_WAIT, _HOST, b"AUTH", *lines, b"", b""]) + body


def _sized(text: bytes = EVENT) -> bytes:
    return b"Content-Length: %d" % len(text)


SMUGGLING: Mapping[str, bytes] = {
    # Two ways to say how long
    "CL.TE": _post(_sized(b"0\r\n\r\n" + HIDDEN), _CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "TE.CL": _post(_CHUNKED, b"Content-Length: 4", body=b"5c\r\n" + HIDDEN + b"\r\n0\r\n\r\n"),
    "CL.TE, with an event": _post(_sized(), _CHUNKED, body=_IN_CHUNKS),
    "TE.TE, the second unknown": _post(_CHUNKED, b"Transfer-Encoding: x", body=_IN_CHUNKS),
    "TE.TE, the first unknown": _post(b"Transfer-Encoding: x", _CHUNKED, body=_IN_CHUNKS),
    "TE.TE, the same": _post(_CHUNKED, _CHUNKED, body=_IN_CHUNKS),
    "TE identity and CL": _post(b"Transfer-Encoding: identity", _sized()),
    "TE in a list": _post(b"Transfer-Encoding: chunked, identity", body=_IN_CHUNKS),
    "TE in a list, last": _post(b"Transfer-Encoding: identity, chunked", _sized(), body=_IN_CHUNKS),
    "TE with a space before the colon": _post(b"Transfer-Encoding : chunked", _sized(), body=_IN_CHUNKS),
    "TE with a tab before the colon": _post(b"Transfer-Encoding\t: chunked", _sized(), body=_IN_CHUNKS),
    "TE with a tab after the colon": _post(b"Transfer-Encoding:\tchunked", _sized(), body=_IN_CHUNKS),
    "TE with a space before its name": _post(b" Transfer-Encoding: chunked", _sized(), body=_IN_CHUNKS),
    "TE folded": _post(b"Transfer-Encoding:\r\n chunked", _sized(), body=_IN_CHUNKS),
    "TE folded by a tab": _post(b"Transfer-Encoding:\r\n\tchunked", _sized(), body=_IN_CHUNKS),
    "TE after a bare LF": _post(b"X-Any: 1\nTransfer-Encoding: chunked", _sized(), body=_IN_CHUNKS),
    "TE after a bare CR": _post(b"X-Any: 1\rTransfer-Encoding: chunked", _sized(), body=_IN_CHUNKS),
    "TE in a harmless header, by LF": _post(b"User-Agent: a\nTransfer-Encoding: chunked", _sized(), body=_IN_CHUNKS),
    "TE in a harmless header, by CR": _post(b"User-Agent: a\rTransfer-Encoding: chunked", _sized(), body=_IN_CHUNKS),
    "TE quoted": _post(b'Transfer-Encoding: "chunked"', _sized(), body=_IN_CHUNKS),
    "TE with a control character": _post(b"Transfer-Encoding: \x0bchunked", _sized(), body=_IN_CHUNKS),
    "TE with a NUL": _post(b"Transfer-Encoding: chunked\0", _sized(), body=_IN_CHUNKS),
    "TE with 0xA0": _post(b"Transfer-Encoding:\xa0chunked", _sized(), body=_IN_CHUNKS),
    "TE with an underscore": _post(b"Transfer_Encoding: chunked", _sized()),
    "TE without a value": _post(b"Transfer-Encoding:", _sized()),
    "TE in upper case": _post(b"TRANSFER-ENCODING: CHUNKED", body=_IN_CHUNKS),
    "TE on a GET": _get(_CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "TE in HTTP/1.0": _post(_CHUNKED, body=_IN_CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    # Two lengths
    "CL CL, different": _post(b"Content-Length: 0", _sized(), body=HIDDEN),
    "CL CL, the other way": _post(_sized(), b"Content-Length: 0"),
    "CL CL, the same": _post(_sized(), _sized()),
    "CL cl, other spellings": _post(_sized(), b"content-length: 0"),
    "cl CL, other spellings": _post(b"content-length: 0", _sized(), body=HIDDEN),
    "CL CL, a third spelling": _post(_sized(), b"CONTENT-LENGTH: 0"),
    "CL in a list": _post(b"Content-Length: " + _LENGTH + b", " + _LENGTH),
    "CL signed": _post(b"Content-Length: +" + _LENGTH),
    "CL negative": _post(b"Content-Length: -1"),
    "CL with zeros": _post(b"Content-Length: 0000000" + _LENGTH),
    "CL in hex": _post(b"Content-Length: 0x19"),
    "CL in other digits": _post("Content-Length: ٢٥".encode()),
    "CL with an underscore": _post(b"Content-Length: 2_5"),
    "CL with a fraction": _post(b"Content-Length: 25.0"),
    "CL too large for 64 bits": _post(b"Content-Length: 18446744073709551641"),
    "CL of many digits": _post(b"Content-Length: " + b"0" * 5000 + _LENGTH),
    "CL with a space before the colon": _post(b"Content-Length : " + _LENGTH),
    "CL with a tab": _post(b"Content-Length:\t" + _LENGTH),
    "CL with white space after": _post(b"Content-Length: " + _LENGTH + b" \t"),
    "CL with a NUL": _post(b"Content-Length: " + _LENGTH + b"\0"),
    "CL with a vertical tab": _post(b"Content-Length: " + _LENGTH + b"\x0b"),
    "CL empty": _post(b"Content-Length: "),
    "CL folded": _post(b"Content-Length:\r\n " + _LENGTH),
    "CL folded into two": _post(b"Content-Length: 2\r\n 5"),
    "CL after a bare LF": _post(b"X-Any: 1\nContent-Length: 0", _sized(), body=HIDDEN),
    "CL inside another header's value": _post(b"X-Any: Content-Length: 0", _sized()),
    "CL in a harmless header, by LF": _post(b"User-Agent: a\nContent-Length: 0", _sized()),
    "CL too small": _post(b"Content-Length: 3", body=b"{}\n" + HIDDEN),
    "CL of nothing, then a request": _post(b"Content-Length: 0", body=HIDDEN),
    "CL too large, and the next request in it": _post(_sized(EVENT + HIDDEN), body=EVENT + HIDDEN),
    "no CL, then a request": _post(body=HIDDEN),
    "CL on a GET, a request in its body": _get(_sized(HIDDEN), body=HIDDEN),
    "CL of nothing on a GET": _get(b"Content-Length: 0", body=HIDDEN),
    "CL with zeros on a GET": _get(b"Content-Length: 00", body=HIDDEN),
    # Chunks
    "a chunk's extension": _post(_CHUNKED, body=b"19;a=b\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk's extension with a LF": _post(_CHUNKED, body=b"19;a\nb\r\n" + EVENT + b"\r\n0\r\n\r\n" + HIDDEN),
    "a chunk's extension with a CR": _post(_CHUNKED, body=b"19;a\rb\r\n" + EVENT + b"\r\n0\r\n\r\n" + HIDDEN),
    "a chunk's extension quoted": _post(_CHUNKED, body=b'19;a="\r\n"\r\n' + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk size over 64 bits": _post(_CHUNKED, body=b"10000000000000019\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk size with 0x": _post(_CHUNKED, body=b"0x19\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk size with a sign": _post(_CHUNKED, body=b"+19\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk size with a space": _post(_CHUNKED, body=b"19 \r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk size with zeros": _post(_CHUNKED, body=b"0" * 40 + b"19\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": _post(_CHUNKED, body=b"5\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk that is shorter than it says": _post(_CHUNKED, body=b"20\r\n" + EVENT + b"\r\n0\r\n\r\n"),
    "a chunk ended by LF": _post(_CHUNKED, body=b"19\n" + EVENT + b"\n0\n\n"),
    "a chunk ended by two other bytes": _post(_CHUNKED, body=b"19\r\n" + EVENT + b"XX0\r\n\r\n" + HIDDEN),
    "the last chunk without its end": _post(_CHUNKED, body=b"19\r\n" + EVENT + b"\r\n0\r\n" + HIDDEN),
    "trailers": _post(_CHUNKED, body=b"19\r\n" + EVENT + b"\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "trailers that change who it is": _post(_CHUNKED, body=b"19\r\n" + EVENT + b"\r\n0\r\nHost: evil\r\n\r\n"),
    # Line ends and other white space
    "bare LF throughout": _post(_sized()).replace(b"\r\n", b"\n"),
    "bare CR throughout": _post(_sized()).replace(b"\r\n", b"\r"),
    "a bare LF at the end of the head": _post(_sized()).replace(b"\r\n\r\n", b"\r\n\n"),
    "two LF at the end of the head": _post(_sized()).replace(b"\r\n\r\n", b"\n\n"),
    "CR CR LF": _post(_sized()).replace(b"\r\n", b"\r\r\n"),
    "a NUL in the request line": _post(_sized()).replace(b"events/t", b"events/t\0"),
    "a NUL in a header": _post(b"User-Agent: a\0b", _sized()),
    "one empty line before": b"\r\n" + _post(_sized()),
    "two empty lines before": b"\r\n\r\n" + _post(_sized()),
    "a LF before": b"\n" + _post(_sized()),
    "a folded header": _post(b"User-Agent: a\r\n b", _sized()),
    "a folded token": _post(_sized()).replace(b"AUTH", b"AUTH\r\n x"),
    "a folded first header": _post(_sized()).replace(b"\r\nHost", b"\r\n Host", 1),
    "a line of white space": _post(_sized()).replace(b"\r\nAUTH", b"\r\n \r\nAUTH"),
    "a header without a name": _post(b": 1", _sized()),
    "a header without a colon": _post(b"User-Agent", _sized()),
    "a tab in the request line": _post(_sized()).replace(b" HTTP/1.1", b"\tHTTP/1.1", 1),
    "two spaces in the request line": _post(_sized()).replace(b" HTTP/1.1", b"  HTTP/1.1", 1),
    "a space at the end of the request line": _post(_sized()).replace(b" HTTP/1.1", b" HTTP/1.1 ", 1),
    "a form feed in the request line": _post(_sized()).replace(b" HTTP/1.1", b"\x0cHTTP/1.1", 1),
    # Other versions, other forms
    "HTTP/0.9": b"GET /api/events/wait/t?timeout=0\r\n",
    "HTTP/0.9 with headers": _get().replace(b" HTTP/1.1", b"", 1),
    "HTTP/1.0": _post(_sized()).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "HTTP/2's greeting": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "an upgrade to HTTP/2": _get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    "a whole URL": _post(_sized()).replace(b" /api", b" http://localhost/api", 1),
    "a whole URL of another host": _post(_sized()).replace(b" /api", b" http://evil.example/api", 1),
    "a whole URL, and another Host": _post(_sized())
    .replace(b" /api", b" http://localhost/api", 1)
    .replace(_HOST, b"Host: evil.example"),
    "a path of two slashes": _post(_sized()).replace(b" /api", b" //api", 1),
    "a path with a coded slash": _post(_sized()).replace(b"events/t", b"events%2Ft", 1),
    "a path with dots": _post(_sized()).replace(b"events/t", b"wait/../events/t", 1),
    "two Hosts": _post(b"Host: evil.example", _sized()),
    "two Hosts, the same": _post(_HOST, _sized()),
    "a Host with a space": _post(_sized()).replace(_HOST, b"Host : localhost"),
    "two tokens": _post(b"Authorization: Bearer x", _sized()),
    "a request in a URL": _get().replace(b"timeout=0", b"timeout=0&filter=a:\r\nHost: evil\r\n\r\n"),
    "Connection names Content-Length": _post(b"Connection: Content-Length", _sized()),
    "Connection names Transfer-Encoding": _post(b"Connection: close, Transfer-Encoding", _CHUNKED, body=_IN_CHUNKS),
    "Expect, and all at once": _post(b"Expect: 100-continue", _sized(), body=EVENT + HIDDEN),
    "Expect, unknown": _post(b"Expect: 100-continued", _sized()),
    "HEAD with a body": _post(_sized(HIDDEN), body=HIDDEN).replace(b"POST", b"HEAD", 1),
    "a wait by HEAD": _get(body=HIDDEN).replace(b"GET", b"HEAD", 1),
    "a wait by POST": _get(_sized()).replace(b"GET", b"POST", 1) + EVENT,
    # Piled up
    "a request after a request": _post(_sized()) + HIDDEN,
    "a request after a wait": _get() + HIDDEN,
    "three waits": _get() * 3,
    "half a request after a request": _post(_sized()) + HIDDEN[:60],
    "an empty line between": _post(_sized()) + b"\r\n" + HIDDEN,
    "white space between": _post(_sized()) + b" \r\n" + HIDDEN,
    "a byte too many": _post(_sized()) + b"X",
    "a line too many": _post(_sized()) + b"\r\n",
    "a request after one that closes": _post(b"Connection: close", _sized()) + HIDDEN,
    "a request after one that is refused": _post(_sized(b"{}"), body=b"{}") + HIDDEN,
}  # fmt: skip
"""What they are, and the bytes. None of them is one whole request that both sides would read alike without a doubt."""
