"""Literals and bare values on a line that speaks of secrets, however the line goes: ``field("Password").fill("…")``.

Here no grammar of a language says where the value of a name stands; the value itself must look chosen by a person.
"""

import re
from collections.abc import Iterator

import re2

from cco_sidecar.core.context.secretchecks import is_scrambled, stands_out

NAME = "secret"

_WORD = (
    r"(?:pass(?:w(?:or)?d|phrase|code|wort)|pwd|secret|api_?key|token|credential|(?:private|access|signing|encryption)_?key"
    r"|security_?key|hmac|cipher|log_?in\w*\(|sign_?in\w*\(|logon\w*\(|authenticate\w*\(|contrase|mot_de_passe|kennwort)"
)
_LINE = re2.compile((rf"(?i){_WORD}[^\n]*[\"'`|>][^\n]*[0-9]|[\"'`][^\n\"'`]*[0-9][^\n\"'`]*[\"'`][^\n]*{_WORD}").encode())
_PLACE = re.compile(rf"(?i){_WORD}")
_LITERAL = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'|`([^`\n]*)`|\|[ \t]*`?([^\s|`]{8,})`?(?=[ \t]*(?:\||$))")
_LONGEST_LINE = 2000
_LEAST = 8
_MOST = 80


def literals(data: bytes) -> Iterator[tuple[int, int]]:
    """Give where literals are that look like passwords, on lines that speak of secrets."""
    line_end = -1
    for found in _LINE.finditer(data):
        if found.start() < line_end:
            continue
        line_start = data.rfind(b"\n", max(0, found.start() - _LONGEST_LINE), found.start()) + 1
        line_end = data.find(b"\n", found.start())
        line_end = len(data) if line_end < 0 else line_end
        if line_end - line_start > _LONGEST_LINE:
            continue
        yield from _on_line(data[line_start:line_end], line_start)


def _on_line(line: bytes, start: int) -> Iterator[tuple[int, int]]:
    text = line.decode("latin-1")  # so that places in it are places in the bytes
    for found in _LITERAL.finditer(text):
        group = found.lastindex or 0
        value = found[group]
        if not (_LEAST <= len(value) <= _MOST and value.isascii()):
            continue
        if _PLACE.search(value) and not is_scrambled(value):
            continue
        if stands_out(value):
            yield start + found.start(group), start + found.end(group)
