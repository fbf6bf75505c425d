"""What stands out on a line that speaks of secrets, however the line goes: ``field("Password").fill("…")``.

No grammar of any language says here where the value of a name stands; the value itself must look chosen by a person.
"""

import re
from collections.abc import Iterator

import re2

from cco_sidecar.core.secrets.checks import is_jumbled, is_scrambled, looks_chosen, stands_out
from cco_sidecar.core.secrets.rule import with_room
from cco_sidecar.core.secrets.words import OF_SECRETS

NAME = "secret"
_HEADER = r"(?im)^[\w \"'*`.,;|\t-]*(?:passw|secret|token|api[ _-]?key|pwd)[\w \"'*`.,;|\t-]*$"
_SQL = r"(?i)insert\s+into\b[^\n]*(?:passw|secret|token|pwd)"
_LINE = re2.compile(rf"(?:{OF_SECRETS})[^\n]*[0-9]|[0-9][^\n]*(?:{OF_SECRETS})|{_HEADER}|{_SQL}".encode(), with_room())
_PLACE = re.compile(OF_SECRETS.replace(r"w\b|[^a-z\n]", r"w\b|(?![a-z])").encode().decode("latin-1"))
_LITERALS = tuple(
    map(
        re.compile,
        (
            r"\"((?:[^\"\\\s]|\\.){8,80})\"",
            r"'((?:[^'\\\s]|\\.){8,80})'",
            r"`([^`\s]{8,80})`",
            r">([^<>\s\"']{8,80})<",
            r"\|[ \t]*([^\s|`]{8,80})(?=[ \t]*(?:\||$))",
        ),
    )
)
_BARE = re.compile(r"(?:(?<=[\s:>=\x80-\xff])|^)[^\s\"'`<>(){}\[\];,|\\\x80-\xff]{8,80}(?=[\s\",'<@\x80-\xff]|$)")
_OF_DATA = re.compile(r"(?i)integrity|sha[0-9]+[-:=]|\bh1:|checksum|narHash|fingerprint|ssh-(?:rsa|ed25519)")
_NAME = re.compile(r"(?i)passw|secret|token|credential|api_?key|private_?key")
_LONGEST_LINE = 2000
_FARTHEST = 60
_SEPARATOR = re.compile(r"[,;\t|]")
_COLUMN = re.compile(
    r"(?i)[\"' *`]*[\w .-]*(?:passw(?:or)?d|passphrase|secret|token|api[ _-]?key|pwd|pin)[\w .-]*[\"' *`]*"
)
_INSERT = re.compile(r"(?i)insert\s+into\b")
_ROWS = re.compile(r"(?is)[^;]*?insert\s+into\b[^;]*?\bvalues\b[^;]*")
_DIGIT = re.compile(r"[0-9]")
_SPACE = re.compile(r"\s")
_HEADING = re.compile(r"[\w \"'*`.()#-]*")
_MOST_ROWS = 500


def standing_out(data: bytes) -> Iterator[tuple[int, int]]:
    """Give where passwords seem to be on the lines that speak of secrets, and in the columns of tables."""
    line_end = -1
    for found in _LINE.finditer(data):
        if found.start() < line_end:
            continue
        line_start = data.rfind(b"\n", max(0, found.start() - _LONGEST_LINE), found.start()) + 1
        line_end = data.find(b"\n", found.start())
        line_end = len(data) if line_end < 0 else line_end
        if line_end - line_start > _LONGEST_LINE or (found.start() - line_start >= _LONGEST_LINE):
            continue
        text = data[line_start:line_end].decode("latin-1")  # so that places in it are places in the bytes
        if _DIGIT.search(text):
            for start, end in _on_line(text):
                yield line_start + start, line_start + end
        if _INSERT.search(text):
            yield from _in_row(data, line_start)
        if _SEPARATOR.search(text):
            yield from _in_column(data, text, line_end)


def _on_line(text: str) -> Iterator[tuple[int, int]]:
    if _OF_DATA.search(text):
        return
    for literal in _LITERALS:
        for found in literal.finditer(text):
            if _is_value(found[1]):
                yield found.span(1)
    for word in _PLACE.finditer(text):
        for found in _BARE.finditer(text, word.end(), word.end() + _FARTHEST):
            value = found[0].rstrip(".:")
            if _is_bare(value):
                yield found.start(), found.start() + len(value)


def _in_row(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Give the passwords in the rows that a statement of SQL writes: ``INSERT INTO t (name, password) VALUES (…)``."""
    found = _ROWS.match(data[start : start + _LONGEST_LINE].decode("latin-1"))
    for literal in _LITERALS[:2] if found else ():
        for value in literal.finditer(found[0] if found else ""):
            if stands_out(value[1]):
                yield start + value.start(1), start + value.end(1)


def _is_value(value: str) -> bool:
    return stands_out(value) and (_NAME.search(value) is None or is_scrambled(value))


def _is_bare(value: str) -> bool:
    """Say whether a word without quotes is a password; in source it could be a name, or code."""
    return stands_out(value) and value.isascii() and ("=" not in value[:-2] or is_jumbled(value))


def _in_column(data: bytes, header: str, at: int) -> Iterator[tuple[int, int]]:
    """Give the values below the name of a column: ``user,password`` and ``joe,…``."""
    separator = _SEPARATOR.search(header)
    names = header.rstrip("\r").split(separator[0]) if separator else []
    columns = [place for place, name in enumerate(names) if _COLUMN.fullmatch(name)]
    if not columns or not all(map(_HEADING.fullmatch, names)) or not all(name.strip() for name in names[1:-1] or names):
        return
    for _ in range(_MOST_ROWS):
        end = data.find(b"\n", at + 1)
        end = len(data) if end < 0 else end
        fields = data[at + 1 : end].decode("latin-1").rstrip("\r").split(separator[0] if separator else ",")
        if len(fields) != len(names):
            return
        for column in columns:
            start = at + 1 + sum(len(field) + 1 for field in fields[:column])
            value = fields[column]
            bare = value.strip("\"'` *")
            if not _SPACE.search(bare) and (looks_chosen(bare) or is_jumbled(bare)):
                start += value.index(bare)
                yield start, start + len(bare)
        at = end
