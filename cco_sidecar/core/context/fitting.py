"""JSON texts cut to a number of bytes."""

from collections.abc import Iterable

import msgspec
from attrs import field, frozen

from cco_sidecar.core.secrets.redacting import redact_name

_encode = msgspec.json.Encoder().encode


def encode(value: object) -> bytes:
    """Encode as JSON whatever strings it holds: what is no Unicode (a lone surrogate) becomes a question mark."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_scrubbed(value))


def shown(path: str) -> str:
    r"""Give a path as an answer has it: a byte that is no UTF-8 becomes ``\xff``, and no key or token is in it."""
    return redact_name(decoded(path))


def decoded(path: str) -> str:
    r"""Give a path as JSON can carry it: a byte that is no UTF-8 becomes ``\xff``."""
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte: no path of a disk, but a result may name one
        return path.encode("utf-8", "replace").decode()


@frozen
class Fitted:
    """A JSON text within its bound; ``cut`` says that something had to be left out.

    ``redactions`` counts the secrets that were replaced in what it has.
    """

    json: bytes
    cut: bool = False
    redactions: int = field(default=0, kw_only=True)


@frozen
class FittedList(Fitted):
    """A JSON list of the first ``count`` items."""

    count: int = 0


def fit_list(items: Iterable[object], most_bytes: int) -> FittedList:
    """Encode as many items, from the first, as fit into ``most_bytes`` (at least 2)."""
    parts: list[bytes] = []
    left = most_bytes - 1  # the brackets, less the comma that the first item does not have
    for item in items:
        part = encode(item)
        left -= len(part) + 1
        if left < 0:
            return FittedList(joined(parts), True, len(parts))
        parts.append(part)
    return FittedList(joined(parts), False, len(parts))


def joined(parts: Iterable[bytes]) -> bytes:
    """Make a JSON list of encoded items."""
    return b"[" + b",".join(parts) + b"]"


def head_of(text: str, most_bytes: int) -> str:
    """Give the first lines of ``text`` whose JSON takes at most ``most_bytes``, quotes included.

    A first line that is too long is itself cut.
    """
    start = text[: max(most_bytes, 0)]  # each character takes a byte at least
    coded = encode(start)
    if len(coded) <= most_bytes and len(start) == len(text):
        return text
    end = _line_end(coded, most_bytes - 1)
    if end:
        return msgspec.json.decode(coded[:end] + b'"', type=str)
    low, high = 0, len(start)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(encode(text[:middle])) <= most_bytes else (low, middle - 1)
    head = text[:low]
    if low == len(text):
        return head
    return head[: head.rfind("\n") + 1] or head


def _line_end(coded: bytes, most: int) -> int:
    """Give where the last line feed before ``most`` ends, in the JSON of a text; 0 if there is none."""
    at = coded.rfind(b"\\n", 0, max(most, 0))
    while at > 0:
        before = at
        while coded[before - 1] == _BACKSLASH:
            before -= 1
        if (at - before) % 2 == 0:
            return at + 2
        at = coded.rfind(b"\\n", 0, at)  # that was a backslash and an n
    return 0


_BACKSLASH = 0x5C


def tail_of(text: str, most_bytes: int) -> str:
    """Give the end of ``text`` that fits, for paths: it tells more than the beginning."""
    return text if len(encode(text)) <= most_bytes else "…" + head_of(text[::-1], most_bytes - 3)[::-1]


def _scrubbed(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(member) for member in value]
    return value
