"""Reading a filter (contract section 5).

::

    any   = all ("|" all)*
    all   = unary ("," unary)*
    unary = "!"* ( "(" any ")" | field ":" value )
    value = ( ">" | ">=" | "<" | "<=" ) JSON-number | '"' quoted '"' | bare, where * is any run of characters

Space around all of these is ignored. A value must be quoted if it has space or one of ``, | ( ) " & ; \\`` in it, or
begins with one of ``= ! < > : '``. The regular expressions are ours alone, and linear: none is made of what was asked.
"""

import math
import re

from attrs import define

from cco_sidecar.core.events import filter_repair as repair
from cco_sidecar.core.events.fields import ENVELOPE_FIELDS
from cco_sidecar.core.events.filter_repair import FIELD, Edits, Slip
from cco_sidecar.core.events.filters import BARE_VALUE, AllOf, AnyOf, Compares, Equals, Filter, Like, Node, Not
from cco_sidecar.core.identifiers import nearest
from cco_sidecar.errors import InvalidFilter

MAX_BYTES = 1024
MAX_TERMS = 32
MAX_DEPTH = 16
"""How deep parentheses may be nested."""
MAX_KEYS = 16
"""How many keys a path may have."""
MAX_REPAIRS = 2 * MAX_TERMS
"""How many slips of one filter are mended before the search for its corrected spelling is given up."""

_SPACE = re.compile(r"\s*")
_COLON = re.compile(r"\s*:\s*")
_SIGN_AFTER_COLON = re.compile(r"[=!<>:]*")
_SIGN_ALONE = re.compile(r"\s*([=!<>~:]*)")
_SIGNS = ("", ">", ">=", "<", "<=")
_NUMBER_OR_SLIP = re.compile(r'"[^"]*"|[^\s,|()]+')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)("?)')


def parse_filter(text: str) -> Filter:
    """Read a filter.

    :raises InvalidFilter: ``text`` is none; ``details`` has ``position`` (characters before the slip) and, where there
        is a corrected spelling, ``suggestion``.
    """
    try:
        return _parsed(text)
    except Slip as slip:
        details: dict[str, object] = {"position": slip.position}
        message = f"The filter is not valid at position {slip.position}: {slip.message}."
        suggestion = _corrected(text, slip)
        if suggestion is not None:
            details["suggestion"] = suggestion
            message += f" Write: {suggestion}"
        raise InvalidFilter(message, **details) from None


def _parsed(text: str) -> Filter:
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise Slip("this is half a character", error.start) from None
    if length > MAX_BYTES:
        fitting = text.encode()[:MAX_BYTES].decode(errors="ignore")
        raise Slip(f"it has {length} bytes, and {MAX_BYTES} is the most", len(fitting))
    return Filter.of(_Parser(text).whole())


def _corrected(text: str, slip: Slip) -> str | None:
    """Mend one slip after the other until the filter parses."""
    for _ in range(MAX_REPAIRS):
        if not slip.edits:
            return None
        text = repair.edited(text, slip.edits)
        try:
            return _parsed(text).text
        except Slip as another:
            slip = another
    return None


@define(eq=False)
class _Parser:
    """Recursive descent; every method begins at ``_at`` and leaves it after what it read."""

    _text: str
    _at: int = 0
    _terms: int = 0
    _depth: int = 0

    def whole(self) -> Node:
        root = self._any()
        if self._at < len(self._text):
            raise Slip("this ')' closes nothing", self._at, repair.without(self._at))
        return root

    def _any(self) -> Node:
        operands = [self._all()]
        while self._took("|"):
            operands.append(self._all())
        if len(operands) == 1:
            return operands[0]
        parts = (node.operands if isinstance(node, AnyOf) else (node,) for node in operands)
        return AnyOf(tuple(node for part in parts for node in part))

    def _all(self) -> Node:
        operands = [self._unary()]
        while self._took(","):
            operands.append(self._unary())
        if len(operands) == 1:
            return operands[0]
        parts = (node.operands if isinstance(node, AllOf) else (node,) for node in operands)
        return AllOf(tuple(node for part in parts for node in part))

    def _unary(self) -> Node:
        self._skip()
        negated = False
        while self._took("!"):
            self._skip()
            negated = not negated
        node = self._group() if self._next() == "(" else self._term()
        self._skip()
        if not negated:
            return node
        return node.operand if isinstance(node, Not) else Not(node)

    def _group(self) -> Node:
        opened = self._at
        if self._depth == MAX_DEPTH:
            raise Slip(f"parentheses are nested deeper than {MAX_DEPTH}", opened)
        self._at += 1
        self._depth += 1
        node = self._any()
        self._depth -= 1
        if not self._took(")"):
            raise Slip("this '(' is not closed", opened, [(len(self._text), len(self._text), ")")])
        self._end_of_operand(None)
        return node

    def _term(self) -> Node:
        start = self._at
        name = self._field()
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise Slip(f"it has more than {MAX_TERMS} terms", start)
        sign = self._sign(start, name)
        self._skip()
        if sign:
            node: Node = Compares(name, sign, self._number())
        elif self._next() == '"':
            node = Equals(name, self._quoted())
        else:
            return self._bare(start, name)
        self._end_of_operand(None)
        return node

    def _field(self) -> str:
        found = FIELD.match(self._text, self._at)
        if not found:
            raise repair.no_term(self._text, self._at)
        name = found.group()
        keys = name.split(".")
        if "" in keys:
            bad = 0 if name[0] == "." else (name + ".").index("..") + 1
            better = ".".join(key for key in keys if key)
            edits: Edits = [(found.start(), found.end(), better)] if better else []
            raise Slip("a key is missing beside a '.'", self._at + min(bad, len(name) - 1), edits)
        if len(keys) > MAX_KEYS:
            raise Slip(f"a path has at most {MAX_KEYS} keys", self._at)
        if keys[0] == "event" and len(keys) > 1 and keys[1] not in ENVELOPE_FIELDS:
            raise self._no_envelope_field(keys[1])
        self._at = found.end()
        return name

    def _no_envelope_field(self, key: str) -> Slip:
        start = self._at + len("event.")
        known = f"event_{key}" if f"event_{key}" in ENVELOPE_FIELDS else nearest(key, sorted(ENVELOPE_FIELDS))
        return Slip(f"an event has no field '{key}'", start, [(start, start + len(key), known)] if known else [])

    def _sign(self, start: int, name: str) -> str:
        """Read the colon, and the comparison if there is one."""
        colon = _COLON.match(self._text, self._at)
        found = _SIGN_AFTER_COLON.match(self._text, colon.end()) if colon else _SIGN_ALONE.match(self._text, self._at)
        assert found is not None  # both match the empty string
        sign = found.group(found.re.groups)
        if colon and sign in _SIGNS:
            self._at = found.end()
            return sign
        if not sign:
            raise repair.no_value(self._text, start, self._at, name)
        raise repair.wrong_sign(sign, (start, self._at, found.start(found.re.groups)))

    def _number(self) -> str:
        found = _NUMBER_OR_SLIP.match(self._text, self._at)
        if not found:
            raise Slip("a number is missing", self._at)
        literal = found.group()
        number = _NUMBER.fullmatch(literal)
        if not number:
            better = repair.number(literal)
            edits: Edits = [(found.start(), found.end(), better)] if better else []
            raise Slip("this is no JSON number, and only numbers are compared so", self._at, edits)
        if number.lastindex and math.isinf(float(literal)):
            raise Slip("this number is too large", self._at)
        self._at = found.end()
        return literal

    def _quoted(self) -> str:
        found = _QUOTED.match(self._text, self._at)
        assert found is not None  # there is a quote here
        if not found[2]:
            raise repair.open_quote(self._text, self._at, found.end())
        if not found[1]:
            raise Slip(repair.EMPTY, self._at)
        self._at = found.end()
        return re.sub(r"\\(.)", r"\1", found[1])

    def _bare(self, term: int, name: str) -> Node:
        start = self._at
        found = BARE_VALUE.match(self._text, start)
        if self._next() in repair.OTHER_QUOTES:
            raise repair.other_quote(self._text, start)
        if not found and self._next() != "\\":
            raise repair.empty_value(self._text, term, start, name)
        value = found.group() if found else ""
        self._at += len(value)
        self._end_of_operand(start)
        if "*" not in value:
            return Equals(name, value)
        return Like(name, tuple(re.sub(r"\*+", "*", value).split("*")))

    def _end_of_operand(self, bare_from: int | None) -> None:
        """Refuse what follows an operand, unless something can be appended; ``bare_from``: it ends in a bare value."""
        self._skip()
        if self._next() not in ",|)":
            raise repair.stray(self._text, self._at, bare_from)

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _took(self, char: str) -> bool:
        if self._next() != char:
            return False
        self._at += 1
        return True

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None  # it matches the empty string
        self._at = found.end()
