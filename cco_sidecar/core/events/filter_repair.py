"""What people write in place of a filter, and what they meant by it (contract section 5: the corrected spelling).

Each function names one slip and the edits that mend it; none of them has to be sure, for `filter_parser` shows a
correction only if it parses.
"""

import re
from collections.abc import Sequence

from cco_sidecar.core.events.filters import quoted

Edit = tuple[int, int, str]
"""Replace the characters from, up to, by."""
Edits = Sequence[Edit]

FIELD = re.compile(r"[^\s,|!()\"'“:=<>*&;\\~\[\]{}]+")

OTHER_QUOTES = {"'": "'", "“": "”"}
"""Quotes that are none here, and how they close."""

EMPTY = "the value is empty; field:* asks whether there is any"

_MEANT_SIGNS = {
    "": "",
    "=": "",
    "==": "",
    "===": "",
    "=>": ">=",
    "=<": "<=",
    ">": ">",
    ">=": ">=",
    "<": "<",
    "<=": "<=",
}
_MEANT_NOT = {"!", "!=", "!==", "<>"}

_TERM = re.compile(r"(?:not\b)?[!(\s]*" + FIELD.pattern + r"\s*(?::(?!//)|[=!<>])", re.IGNORECASE)
_JOIN = re.compile(r"(and\b|or\b|&+|;+)\s*", re.IGNORECASE)
_WORDS = re.compile(r"[^\s,|()]+|\([^()]*\)")
_CHOICE = re.compile(r"\(\s*([^\s,|()\":]+(?:\s*\|\s*[^\s,|()\":]+)*)\s*\)")
_ESCAPING = re.compile(r"(?:\\.|[^\s,|()\"&;\\])+")
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r'"?\+?(-?)0*([1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?%?"?')


class Slip(Exception):
    """A place where the text stops being a filter."""

    def __init__(self, message: str, position: int, edits: Edits = ()) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.edits = edits


def edited(text: str, edits: Edits) -> str:
    """Apply edits that do not overlap."""
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def without(position: int) -> Edits:
    """Delete one character."""
    return [(position, position + 1, "")]


def no_term(text: str, at: int) -> Slip:
    """Say why no term begins here."""
    char, before = text[at : at + 1], text[:at].rstrip()
    last = before[-1:]
    if not char and not last:
        return Slip("it is empty", 0)
    if char in ("", ")") and last in (",", "|"):
        return Slip(f"nothing follows this '{last}'", len(before) - 1, without(len(before) - 1))
    if char in (",", "|"):
        return Slip(f"nothing stands before this '{char}'", at, without(at) if last in ("", "(", char) else ())
    if char == '"' and (name := re.compile(f'"({FIELD.pattern})"').match(text, at)):
        return Slip("a field is not quoted", at, [(at, name.end(), name[1])])
    return Slip("a field is missing", at)


def no_value(text: str, start: int, end: int, name: str) -> Slip:
    """Say what is wrong with a name that no ':' follows."""
    if name.lower() == "not":
        return Slip("'!' negates", start, [(start, end, "!")])
    at = end + len(text[end:]) - len(text[end:].lstrip())
    return Slip(f"a ':' and a value are missing after '{name}'", at)


def wrong_sign(sign: str, places: tuple[int, int, int]) -> Slip:
    """Say what should stand in place of ``sign``; the places of the term, the end of its field, and the sign."""
    start, field_end, at = places
    sign_end, plain = at + len(sign), sign.replace(":", "")
    if plain in _MEANT_NOT:
        return Slip("'!' stands before the field", at, [(start, start, "!"), (field_end, sign_end, ":")])
    if plain in _MEANT_SIGNS:
        right = f":{_MEANT_SIGNS[plain]}"
        return Slip(f"'{right}' stands between field and value", at, [(field_end, sign_end, right)])
    return Slip(f"'{sign}' is no operator", at)


def empty_value(text: str, start: int, at: int, name: str) -> Slip:
    """Say what is wrong where the value of the term should begin."""
    choice = _CHOICE.match(text, at)
    if not choice:
        return Slip(EMPTY, at)
    terms = "|".join(f"{name}:{value.strip()}" for value in choice[1].split("|"))
    return Slip("parentheses stand around whole terms", at, [(start, choice.end(), f"({terms})")])


def number(literal: str) -> str | None:
    """Write as JSON does what a person may write for a number."""
    found = _NUMBER.fullmatch(literal.replace("_", ""))
    if not found or not re.search(r"^[^eE]*[0-9]", literal):
        return None
    minus, whole, fraction, exponent = (part or "" for part in found.groups())
    return f"{minus}{whole or '0'}{fraction if fraction != '.' else ''}{exponent}"


def open_quote(text: str, start: int, stopped: int) -> Slip:
    """Say why the quote at ``start`` has no end, read as far as ``stopped``."""
    if stopped + 1 < len(text):
        return Slip("in quotes '\\' stands before '\"' or '\\' only", stopped, [(stopped, stopped, "\\")])
    closable = not re.search(r"[\\,|()]", text[start:])
    return Slip("this quote is not closed", start, [(len(text), len(text), '"')] if closable else ())


def other_quote(text: str, start: int) -> Slip:
    """Say which quotes to use."""
    end = text.find(OTHER_QUOTES[text[start]], start + 1)
    edits = [(start, end + 1, quoted(text[start + 1 : end]))] if end > start + 1 else []
    return Slip("a value is quoted with '\"'", start, edits)


def stray(text: str, at: int, bare_from: int | None) -> Slip:
    """Say what is wrong with what follows an operand, which is a bare value if it has a place."""
    if bare_from is not None and text[at] == "\\":
        return _backslash(text, at, bare_from)
    join = _JOIN.match(text, at)
    if join and _TERM.match(text, join.end()):
        right = "|" if join[1].lower() == "or" else ","
        return Slip(f"'{right}' stands for '{join[1]}'", at, [(at, join.end(1), right)])
    if _TERM.match(text, at):
        return Slip("a ',' (and) or '|' (or) is missing", at, [(at, at, ",")])
    if bare_from is None:
        return Slip("a ',' (and) or '|' (or) is missing", at)
    end = _end_of_words(text, at)
    value = text[bare_from:end]
    # In quotes a '*' would be itself.
    edits = [] if "*" in value else [(bare_from, end, quoted(value))]
    return Slip("a value with spaces, quotes, parentheses, '&' or ';' must be quoted", at, edits)


def _end_of_words(text: str, at: int) -> int:
    """Give the end of the words, and parentheses between them, that are no term and lead to none."""
    end = at
    while found := _WORDS.match(text, at):
        end = found.end()
        space = _SPACE.match(text, end)
        at = space.end() if space else end
        join = _JOIN.match(text, at)
        if at > end and _TERM.match(text, join.end() if join else at):
            break
    return end


def _backslash(text: str, at: int, bare_from: int) -> Slip:
    found = _ESCAPING.match(text, bare_from)
    value = found.group() if found else ""
    plain = re.sub(r"\\([\s,|()\"&;*\\])", r"\1", value)
    wild = "*" in re.sub(r"\\.", "", value)
    edits = [] if wild or not value else [(bare_from, bare_from + len(value), quoted(plain))]
    return Slip("'\\' is for quoted values", at, edits)
