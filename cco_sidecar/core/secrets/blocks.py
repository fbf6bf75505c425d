"""Kubernetes Secrets inside text: all values of ``data`` and ``stringData``, whatever they look like."""

import re
from collections.abc import Iterator

from cco_sidecar.core.secrets.checks import is_base64_secret, is_password

NAME = "kubernetes-secret"

_KIND = re.compile(rb"kind[\"']?[ \t]*:[ \t]*[\"']?Secret[\"']?[ \t\r,]*$", re.MULTILINE)
_DOCUMENT_END = re.compile(rb"(?m)^[ \t+>#-]?(?:---|\.\.\.)[ \t\r]*$")
_SECTION = re.compile(rb"(?m)^([ \t+>#-]*)[\"']?(data|stringData)[\"']?[ \t]*:[ \t]*\{?[ \t\r]*\n")
_LINE = re.compile(
    rb"([ \t+>#-]*)(?:[\"']?[\w.-]+[\"']?[ \t]*:[ \t]*)?(?:[|>][+-]?[ \t\r]*$|[\"']?([^\n]*?)[\"']?[ \t\r]*,?[ \t\r]*$)"
)
_MOST_BEFORE = 20_000


def kubernetes_values(data: bytes) -> Iterator[tuple[int, int]]:
    """Give where the values of each Kubernetes Secret are."""
    if b"Secret" not in data or b"kind" not in data:
        return
    done = 0
    for kind in _KIND.finditer(data):
        if kind.start() < done:
            continue
        ended = _DOCUMENT_END.search(data, kind.end())
        end = ended.start() if ended else len(data)
        starts = [
            found.end() for found in _DOCUMENT_END.finditer(data, max(done, kind.start() - _MOST_BEFORE), kind.start())
        ]
        yield from _sections(data, starts[-1] if starts else max(done, kind.start() - _MOST_BEFORE), end)
        done = end


def _sections(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    for section in _SECTION.finditer(data, start, end):
        indent = len(section[1])
        at = section.end()
        while at < end:
            stop = data.find(b"\n", at, end)
            stop = end if stop < 0 else stop
            line = _LINE.fullmatch(data, at, stop)
            if line is None or (data[at:stop].strip() and len(line[1]) <= indent):
                break
            if line[2] and _is_value(line[2].decode("utf-8", "replace"), section[2] == b"data"):
                yield line.span(2)
            at = stop + 1


def _is_value(value: str, in_base64: bool) -> bool:
    return is_base64_secret(value) if in_base64 else is_password(value)
