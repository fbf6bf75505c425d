"""Event filters: the syntax tree and matching (contract section 5).

`filter_parser.parse_filter` makes a `Filter` of its text; `fields` says what a field finds in an event.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from attrs import field, frozen

from cco_sidecar.core.events.fields import EventFields

BARE_VALUE = re.compile(r"[^\s,|()\"&;\\]+")
"""What a value without quotes is made of."""

NO_BARE_START = frozenset("=!<>:'“")
"""A value without quotes that begins so would be an operator, or a slip."""

Anchors = frozenset[tuple[str, str]]


def quoted(text: str) -> str:
    """Write a value between quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def glob_matches(pieces: Sequence[str], text: str) -> bool:
    """Say whether ``text`` is the pieces (two at least) in this order with anything between them.

    The leftmost place of each piece leaves the most room for the rest, so there is nothing to go back for.
    """
    first, *middle, last = pieces
    position, end = len(first), len(text) - len(last)
    if position > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in middle:
        position = text.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


@frozen
class Equals:
    """``field:value``: one of the field's values, as text, is this one."""

    name: str
    text: str

    def holds(self, event: EventFields) -> bool:
        return self.text in event.texts(self.name)

    def anchors(self) -> Anchors | None:
        return frozenset({(self.name, self.text)})

    def spelling(self) -> str:
        bare = BARE_VALUE.fullmatch(self.text) and self.text[0] not in NO_BARE_START and "*" not in self.text
        return f"{self.name}:{self.text if bare else quoted(self.text)}"


@frozen
class Like:
    """``field:a*b``: one of the field's values, as text, is made of these pieces with anything between them."""

    name: str
    pieces: tuple[str, ...]

    def holds(self, event: EventFields) -> bool:
        if not any(self.pieces):
            return bool(event.values(self.name))
        return any(glob_matches(self.pieces, text) for text in event.texts(self.name))

    def anchors(self) -> Anchors | None:
        return None

    def spelling(self) -> str:
        return f"{self.name}:{'*'.join(self.pieces)}"


@frozen
class Compares:
    """``field:>90``: one of the field's values is a number for which this is so; ``literal`` is a JSON number."""

    _compare: ClassVar[Mapping[str, Callable[[float, float], bool]]] = {
        ">": operator.gt,
        ">=": operator.ge,
        "<": operator.lt,
        "<=": operator.le,
    }

    name: str
    sign: str
    literal: str
    _number: float = field(init=False)

    @_number.default
    def _read(self) -> float:
        # An integer stays one: as a float it would lose digits, or be infinite.
        return int(self.literal) if self.literal.lstrip("-").isdigit() else float(self.literal)

    def holds(self, event: EventFields) -> bool:
        compare = self._compare[self.sign]
        return any(
            compare(value, self._number)
            for value in event.values(self.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        )

    def anchors(self) -> Anchors | None:
        return None

    def spelling(self) -> str:
        return f"{self.name}:{self.sign}{self.literal}"


@frozen
class Not:
    """``!``: the operand does not hold."""

    operand: "Node"

    def holds(self, event: EventFields) -> bool:
        return not self.operand.holds(event)

    def anchors(self) -> Anchors | None:
        return None

    def spelling(self) -> str:
        inner = self.operand.spelling()
        return f"!({inner})" if isinstance(self.operand, (AllOf, AnyOf)) else f"!{inner}"


@frozen
class AllOf:
    """``,``: every operand holds."""

    operands: tuple["Node", ...]

    def holds(self, event: EventFields) -> bool:
        return all(operand.holds(event) for operand in self.operands)

    def anchors(self) -> Anchors | None:
        sets = [anchors for operand in self.operands if (anchors := operand.anchors()) is not None]
        return min(sets, key=len, default=None)

    def spelling(self) -> str:
        spelled = [(operand, operand.spelling()) for operand in self.operands]
        return ",".join(f"({text})" if isinstance(operand, AnyOf) else text for operand, text in spelled)


@frozen
class AnyOf:
    """``|``: at least one operand holds."""

    operands: tuple["Node", ...]

    def holds(self, event: EventFields) -> bool:
        return any(operand.holds(event) for operand in self.operands)

    def anchors(self) -> Anchors | None:
        anchors: Anchors = frozenset()
        for operand in self.operands:
            some = operand.anchors()
            if some is None:
                return None
            anchors |= some
        return anchors

    def spelling(self) -> str:
        return "|".join(operand.spelling() for operand in self.operands)


Node = Equals | Like | Compares | Not | AllOf | AnyOf


@frozen
class Filter:
    """A parsed filter; filters of the same ``text``, its canonical spelling, are equal.

    Spaces, needless quotes and parentheses, double negations and repeated ``*`` are gone from it, and it parses again.
    """

    text: str
    _root: Node = field(eq=False, repr=False)

    @classmethod
    def of(cls, root: Node) -> "Filter":
        """Make a filter of its syntax tree."""
        return cls(root.spelling(), root)

    def matches(self, envelope: Mapping[str, object], data: object) -> bool:
        """Say whether the event with this envelope and this decoded data passes."""
        return self.matches_fields(EventFields(envelope, data))

    def matches_fields(self, event: EventFields) -> bool:
        """Say whether the event passes; cheaper than `matches` when several filters look at one event."""
        return self._root.holds(event)

    def anchors(self) -> Anchors | None:
        """Give (field, text) pairs such that every matching event has one of them in `EventFields.texts`.

        None if there is no such set: only `matches` can tell then.
        """
        return self._root.anchors()
