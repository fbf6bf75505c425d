"""Requests made by chance: mostly sound publishes and waits, and every way of being a little or quite wrong about it.

Chance is a `Dice`, which a random number generator or hypothesis throws; of any choice the first is the plainest, so
that hypothesis makes what it finds plain.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from attrs import define, frozen

from tests.web.oddities import (
    BODIES,
    HOSTS_ODD,
    KINDS,
    METHODS,
    NAMES,
    ODD_BYTES,
    ODD_HEADERS,
    ODD_QUERY,
    PATHS,
    TOKEN_FORMS,
    VERSIONS,
    Header,
)  # fmt: skip

T = TypeVar("T")


@frozen
class Dice:
    """A source of chance; ``roll(n)`` gives one of 0 … n-1."""

    roll: Callable[[int], int]

    def pick(self, choices: Sequence[T]) -> T:
        """Choose."""
        return choices[self.roll(len(choices))]

    def chance(self, percent: int) -> bool:
        """Say yes so often; the plainest answer is no."""
        return self.roll(100) >= 100 - percent

    def some(self, choices: Sequence[T], percent: int) -> list[T]:
        """Choose each with that chance."""
        return [choice for choice in choices if self.chance(percent)]


@define
class Draft:
    """A request that is being made."""

    method: bytes
    path: bytes
    query: list[tuple[bytes, bytes]]
    headers: list[Header]
    body: bytes | None = None
    length: bytes | None = None
    """What Content-Length says; None for no such header."""
    version: bytes = b" HTTP/1.1"
    line_end: bytes = b"\r\n"
    query_mark: bytes = b"?"
    more: bytes = b""  # comes after the request

    @property
    def head(self) -> bytes:
        """Give the head, empty line and all."""
        query = b"&".join(name + b"=" + value for name, value in self.query)
        target = self.path + (self.query_mark + query if query else b"")
        headers = [name + value for name, value in self.headers]
        if self.length is not None:
            headers.append(b"Content-Length: " + self.length)
        return self.line_end.join([b"%s %s%s" % (self.method, target, self.version), *headers, b"", b""])

    def text(self) -> bytes:
        """Give all of it."""
        return self.head + (self.body or b"") + self.more

    def set_header(self, name: bytes, value: bytes) -> None:
        """Put a header in the place of those of that name."""
        self.headers = [header for header in self.headers if header[0].lower() != name.lower() + b": "]
        self.headers.append((name + b": ", value))

    def set_body(self, body: bytes) -> None:
        """Take another body, of its true length."""
        self.body, self.length = body, b"%d" % len(body)


# What is sound

TYPES = (b"t", b"x-1", b"build.done")
WAITS = (b"t", b"*", b"t,x-1", b"x-1,build.done,t", b"build.done")
TIMEOUTS = (b"0", b"0", b"0", b"0", b"40", b"500", b"1500", b"30000")
CURSORS = (b"c-00000001-0", b"c-00000001-1", b"c-00000001-4", b"evt-00000001-2", b"c-00000001-999", b"c-0000000f-1")
FILTERS = (b"n:1", b"n:%3E0", b"ok:true", b"data.n:1|data.n:2", b"topic:work,n:1", b"!n:1", b"s:a*", b"n:1,")
SOUND_QUERY: Mapping[bytes, Sequence[bytes]] = {
    b"limit": (b"1", b"2", b"100", b"1000"),
    b"since": (b"earliest", b"latest", b"2027-01-15T08:00:01Z", *CURSORS),
    b"subscription": (b"s1", b"s2", b"a.b-c"),
    b"topic": (b"work", b"review"),
    b"filter": FILTERS,
    b"ack": CURSORS,
}
DATA: Sequence[object] = (1, {"n": 1}, {"n": 2, "ok": True}, {"s": "abc", "deep": {"n": [1, 2]}}, "text", None, [])
SOUND_FIELDS: Mapping[str, Sequence[object]] = {
    "correlation_id": ("c-1", "", "ä"),
    "ttl_seconds": (1, 2, 60, 86400),
    "priority": ("low", "normal", "high"),
    "references": ([], ["evt-00000001-1"]),
    "event_type": ("t", "x-1"),
    "publisher": ("architect", "coder", "sidecar"),
}
HOSTS = (b"localhost", b"127.0.0.1:3001", b"LocalHost:80", b"[::1]:3001")
HARMLESS: Sequence[Header] = (
    (b"User-Agent: ", b"python-requests/2.32"),
    (b"Accept: ", b"*/*"),
    (b"Accept-Encoding: ", b"gzip, deflate"),
    (b"Connection: ", b"keep-alive"),
    (b"Accept-Language: ", b"de"),
)
OFTEN = (
    *("architect", "admin", "architect", "coder", "clerk", "topical"),
    *("beta", "stranger", "ending", "ageing", "dying", "mortal"),
)
SELDOM = ("narrow", "expired", "gone", "gamma", "foreign", "forged", "early")


def publish(dice: Dice, token: bytes) -> Draft:
    """Make a sound publish."""
    fields: dict[str, object] = {"topic": dice.pick(("work", "work", "review", "other")), "data": dice.pick(DATA)}
    for name in dice.some(tuple(SOUND_FIELDS), 7):
        fields[name] = dice.pick(SOUND_FIELDS[name])
    made = Draft(b"POST", b"/api/events/" + dice.pick(TYPES), [], _headers(dice, token))
    made.headers.append((b"Content-Type: ", dice.pick((b"application/json", b"application/json; charset=utf-8"))))
    made.set_body(json.dumps(fields, ensure_ascii=dice.chance(50)).encode())
    return made


def wait(dice: Dice, token: bytes) -> Draft:
    """Make a sound wait."""
    query = [(b"timeout", dice.pick(TIMEOUTS))] if not dice.chance(5) else []
    query += [(name, dice.pick(values)) for name, values in SOUND_QUERY.items() if dice.chance(15)]
    return Draft(b"GET", b"/api/events/wait/" + dice.pick(WAITS), query, _headers(dice, token))


def _headers(dice: Dice, token: bytes) -> list[Header]:
    host = dice.pick(HOSTS) if dice.chance(10) else HOSTS[0]
    headers = [(b"Host: ", host), (b"Authorization: ", b"Bearer " + token), *dice.some(HARMLESS, 12)]
    for name in dice.some((b"X-Request-ID: ", b"X-Correlation-ID: "), 12):
        headers.append((name, dice.pick((b"r-1", b"r 2", b"~!@#$%^&*()_+"))))
    return headers


# What is not, or is another request's


def _other_method(dice: Dice, draft: Draft) -> None:
    draft.method = dice.pick(METHODS)


def _other_version(dice: Dice, draft: Draft) -> None:
    draft.version = dice.pick(VERSIONS)


def _other_name(dice: Dice, draft: Draft) -> None:
    draft.path = draft.path.rpartition(b"/")[0] + b"/" + dice.pick(NAMES)


def _other_path(dice: Dice, draft: Draft) -> None:
    draft.path = dice.pick(PATHS)


def _other_query(dice: Dice, draft: Draft) -> None:
    draft.query.insert(dice.roll(len(draft.query) + 1), dice.pick(ODD_QUERY))


def _repeated_query(dice: Dice, draft: Draft) -> None:
    draft.query += [dice.pick(draft.query)] if draft.query else [(b"limit", b"1")] * 2


def _odd_mark(dice: Dice, draft: Draft) -> None:
    draft.query_mark = dice.pick((b"??", b"?&", b"?;", b"&", b"%3F", b"?=&", b"#", b"?timeout&"))


def _odd_header(dice: Dice, draft: Draft) -> None:
    draft.headers.insert(dice.roll(len(draft.headers) + 1), dice.pick(ODD_HEADERS))


def _without_a_header(dice: Dice, draft: Draft) -> None:
    if draft.headers:
        del draft.headers[dice.roll(len(draft.headers))]


def _twice_a_header(dice: Dice, draft: Draft) -> None:
    if draft.headers:
        draft.headers.append(dice.pick(draft.headers))


def _respelled_header(dice: Dice, draft: Draft) -> None:
    if not draft.headers:
        return
    at = dice.roll(len(draft.headers))
    name, value = draft.headers[at]
    name = name.removesuffix(b": ")
    draft.headers[at] = dice.pick((
        (name.lower() + b": ", value), (name.upper() + b": ", value), (name + b":", value), (name + b":  ", value),
        (name + b":\t", value), (name + b" : ", value), (name + b": ", value + b" "), (name + b": ", value + b"\t"),
        (name + b": ", b" \t" + value), (name + b":\r\n ", value), (name + b": ", value + b"\r\n\t"),
        (name + b": ", b""),
        (name, value), (name + b": ", value + b"\x00"), (name + b": ", b'"' + value + b'"'), (name + b";", value),
        (name.replace(b"-", b"_") + b": ", value), (name + b": ", value + b"\xa0"), (name + b": ", value.swapcase()),
    ))  # fmt: skip


def _other_order(dice: Dice, draft: Draft) -> None:
    at = dice.roll(len(draft.headers) or 1)
    draft.headers = draft.headers[at:] + draft.headers[:at]


def _odd_length(dice: Dice, draft: Draft) -> None:
    size = len(draft.body or b"")
    lengths = (None, b"%d" % (size + 1), b"%d" % max(0, size - 1), b"0", b"00%d" % size, b"+%d" % size, b"-%d" % size,
               b"%d, %d" % (size, size), b"%d,%d" % (size, size + 1), b"%d " % size, b" %d" % size, b"0x%x" % size, b"",
               b"%d.0" % size, b"1048577", b"99999999999", b"%d\r\nContent-Length: %d" % (size, size), "٣".encode(),
               b"%d\r\nContent-Length: %d" % (size, size + 3), b"%d;x" % size, b"1_0", b"%d\x0b" % size)  # fmt: skip
    draft.length = dice.pick(lengths)


def _chunked(dice: Dice, draft: Draft) -> None:
    body = draft.body or b"{}"
    at = dice.roll(len(body) + 1)
    parts = [part for part in (body[:at], body[at:]) if part]
    extension = dice.pick((b"", b"", b";a=b", b' ;a="\r"', b" "))
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    draft.body = chunks + dice.pick(
        (b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n", b"00\r\n\r\n", b"0\n\n", b"0\r\n", b"")
    )
    draft.headers.append((b"Transfer-Encoding: ", dice.pick((b"chunked", b"Chunked", b"identity", b"x"))))
    if not dice.chance(20):
        draft.length = None


def _odd_body(dice: Dice, draft: Draft) -> None:
    draft.set_body(dice.pick(BODIES))


def _body_without_length(dice: Dice, draft: Draft) -> None:
    draft.body = dice.pick(BODIES)


def _other_kind(dice: Dice, draft: Draft) -> None:
    draft.set_header(b"Content-Type", dice.pick(KINDS))


def _odd_host(dice: Dice, draft: Draft) -> None:
    draft.set_header(b"Host", dice.pick(HOSTS_ODD))


def _odd_token(dice: Dice, draft: Draft) -> None:
    now = next((value for name, value in draft.headers if name == b"Authorization: "), b"Bearer x")
    token = now.removeprefix(b"Bearer ")
    values = [form.replace(b"T", token, 1) for form in TOKEN_FORMS]
    draft.set_header(b"Authorization", dice.pick((*values, b"Bearer " + token[:-1], b"Bearer " + token.lower())))


def _keyed(dice: Dice, draft: Draft) -> None:
    draft.set_header(b"Idempotency-Key", dice.pick((b"k1", b"k2", b"k" * 256, b"\xff")))


def _odd_line_ends(dice: Dice, draft: Draft) -> None:
    draft.line_end = dice.pick((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n "))


def _cut_short(dice: Dice, draft: Draft) -> None:
    if draft.body:
        draft.body = draft.body[: dice.roll(len(draft.body))]


def _with_more(dice: Dice, draft: Draft) -> None:
    hidden = b"POST /api/events/x-1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    plain = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    draft.more = dice.pick((b"\r\n", b"\n", b"\r\n\r\n", b"x", b"\0", plain, hidden, b"0\r\n\r\n"))


WRONGS: Sequence[Callable[[Dice, Draft], None]] = (
    _odd_header, _odd_header, _odd_header, _other_query, _other_query, _other_name, _other_name, _odd_body, _odd_body,
    _other_path, _odd_token, _odd_length, _odd_length, _respelled_header, _respelled_header, _other_method,
    _other_version, _repeated_query, _odd_mark, _without_a_header, _twice_a_header, _other_order, _chunked,
    _body_without_length, _other_kind, _odd_host, _keyed, _odd_line_ends, _cut_short, _with_more,
)  # fmt: skip


def _one_byte_wrong(dice: Dice, text: bytes) -> bytes:
    at, byte = dice.roll(min(len(text), 900)), bytes([dice.pick(ODD_BYTES)])
    return text[:at] + dice.pick((byte, b"", byte + text[at : at + 1])) + text[at + 1 :]


def request(dice: Dice, cast: Mapping[str, bytes], favourite: str) -> bytes:
    """Make a request."""
    who = favourite if not dice.chance(35) else dice.pick(OFTEN) if not dice.chance(15) else dice.pick(SELDOM)
    draft = (wait if dice.chance(50) else publish)(dice, cast[who])
    wrongs = dice.pick((0, 0, 0, 0, 0, 0, 0, 0, 1, 2))
    for _ in range(wrongs):
        dice.pick(WRONGS)(dice, draft)
    text = draft.text()
    return _one_byte_wrong(dice, text) if dice.chance(4) else text
