"""Outlines by tree-sitter, each grammar loaded when it is first needed.

A parse is given up beyond what well-formed source takes: in work, which is the same on every machine, and in the
thread's own time. Some texts can take very much longer in one step (`parser_process`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from cco_sidecar.backends.gatherer.grammars import ALTERNATIVES, GRAMMARS, Grammar
from cco_sidecar.core.context.outline.shape import MOST_PARTS, MOST_SIGNATURE_LINES, Outline, Part, lines_of

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Point, Tree

MOST_SECONDS = 0.5
MOST_DEPTH = 12
_PIECE = 4_096
_STEPS_AT_LEAST = 1_000
_BYTES_FOR_A_STEP = 100  # well-formed source takes one in 150 to 250 bytes
_SHORT_LINES = 6
_COMMENTS = frozenset({"comment", "line_comment", "block_comment"})
_ASSIGNMENTS = frozenset({"assignment", "assignment_expression"})
_TRANSPARENT = frozenset({"attribute_item"})
_TEXT = re.compile(r"[^\W_]")


def parsed_outline(language: str, text: str, seconds: Callable[[], float]) -> Outline | None:
    """Give the outline of source; None if there is no grammar for the language, or it makes nothing of the text.

    :param seconds: tells the processor time that the thread has used, in seconds.
    """
    grammar = GRAMMARS.get(language)
    if grammar is None:
        return None
    data = text.encode("utf-8", "replace")
    parts, right = _outlined(grammar, data, seconds)
    other = ALTERNATIVES.get(language)
    if other is not None and not right:
        again, right = _outlined(GRAMMARS[other], data, seconds)
        parts = again if right or len(again) > len(parts) else parts
    return parts or None


def _outlined(grammar: Grammar, data: bytes, seconds: Callable[[], float]) -> tuple[Outline, bool]:
    """Give the parts, and whether the text is right by the grammar."""
    tree = _tree(grammar, data, seconds)
    if tree is None:
        return (), False
    root = tree.root_node
    walk = _Walk(grammar, lines_of(data.decode("utf-8", "replace")))
    walk.look_into(root)
    return sorted(walk.parts, key=lambda part: (part.start, part.depth)), not root.has_error


def _tree(grammar: Grammar, data: bytes, seconds: Callable[[], float]) -> Tree | None:
    language = _language(grammar)
    if language is None:
        return None
    from tree_sitter import Parser

    steps = _STEPS_AT_LEAST + len(data) // _BYTES_FOR_A_STEP
    latest = seconds() + MOST_SECONDS

    def piece(offset: int, _point: Point) -> bytes:
        return data[offset : offset + _PIECE]

    def given_up(_offset: int, _error: bool) -> bool:
        nonlocal steps
        steps -= 1
        return steps < 0 or seconds() > latest

    try:
        return Parser(language).parse(piece, progress_callback=given_up)
    except ValueError:  # it was given up
        return None


@lru_cache(None)
def _language(grammar: Grammar) -> Language | None:
    """Load a grammar; None if it is not installed, or not for this version of tree-sitter."""
    try:
        from tree_sitter import Language

        return Language(getattr(import_module(grammar.module), grammar.function)())
    except (ImportError, AttributeError, TypeError, ValueError):
        return None


@frozen
class _Place:
    """A node to look into; what it holds begins at ``start``, if that is not None, and has the comment before it."""

    node: Node
    depth: int
    level: int = 0
    start: int | None = None
    comment: tuple[int, int] | None = None


@define(eq=False)
class _Walk:
    """Goes through the nodes of a tree that can hold definitions, never into a function's body."""

    _grammar: Grammar
    _lines: list[str]
    parts: list[Part] = field(factory=list)

    def look_into(self, root: Node) -> None:
        doc = self._inner_doc(root)
        if doc is not None:
            self.parts.append(Part(doc[0], doc[1], doc[1], 0))
        pending = [_Place(root, 0)]
        while pending and len(self.parts) < MOST_PARTS:
            place = pending.pop()
            if place.level < MOST_DEPTH:
                pending.extend(reversed(list(self._below(place))))

    def _below(self, place: _Place) -> Iterator[_Place]:
        """Take up the definitions right below a node, and give the nodes to look into next."""
        grammar = self._grammar
        comment = place.comment
        level = place.level + 1
        for child in place.node.named_children:
            kind = child.type
            row = child.start_point.row
            if kind in _COMMENTS:
                comment = (comment[0] if comment and comment[1] >= row - 1 else row, child.end_point.row)
                continue
            if kind in _TRANSPARENT:
                comment = comment and (comment[0], child.end_point.row)
                continue
            first = row if place.start is None else place.start
            doc = comment if comment is not None and comment[1] >= first - 1 else None
            comment = None if place.start is None else comment
            if kind in grammar.definitions or kind in grammar.containers:
                self._add(child, first, place.depth, doc)
                if kind in grammar.containers:
                    yield _Place(child.child_by_field_name("body") or child, place.depth + 1, level)
            elif kind in grammar.details:
                if kind != "expression_statement" or _assigns(child):
                    self._add_detail(child, first, place.depth + 1)
            elif kind in grammar.wrappers:
                yield _Place(child, place.depth, level)
            elif kind in grammar.prefixes:
                yield _Place(child, place.depth, level, first, doc)
            if len(self.parts) >= MOST_PARTS:
                return

    def _add(self, node: Node, start: int, depth: int, doc: tuple[int, int] | None) -> None:
        end = _end(node)
        body = node.child_by_field_name("body")
        inner = None if body is None else self._inner_doc(body)
        if inner is None and doc is not None:
            inner = self._told(doc[0], doc[1] + 1)
        stop = end if end - start <= _SHORT_LINES else node.start_point.row + 1
        if body is not None:
            row, column = body.start_point.row, body.start_point.column
            own_row = (
                not self._lines[row].encode("utf-8", "replace")[:column].strip() if row < len(self._lines) else True
            )
            stop = row if own_row and row > start else row + 1
        stop = min(stop, start + MOST_SIGNATURE_LINES, end)
        doc_start, doc_stop = inner or (0, 0)
        self.parts.append(Part(start, max(stop, start + 1), end, depth, doc_start, doc_stop))

    def _add_detail(self, node: Node, start: int, depth: int) -> None:
        end = _end(node)
        self.parts.append(Part(start, end if end - start <= 3 else start + 1, end, depth))

    def _inner_doc(self, body: Node) -> tuple[int, int] | None:
        """Find the docstring that a body begins with."""
        if self._grammar.module != "tree_sitter_python":
            return None
        first = next((child for child in body.named_children if child.type != "comment"), None)
        if first is None or first.type != "expression_statement" or first.named_child_count != 1:
            return None
        text = first.named_children[0]
        return self._told(text.start_point.row, _end(text)) if text.type == "string" else None

    def _told(self, start: int, end: int) -> tuple[int, int]:
        """Give the lines of a comment up to the first that has words in it, three at most."""
        last = min(end, start + 3, len(self._lines))
        for row in range(start, last):
            if _TEXT.search(self._lines[row]):
                return start, row + 1
        return start, last


def _assigns(statement: Node) -> bool:
    first = statement.named_children[0] if statement.named_child_count else None
    return first is not None and first.type in _ASSIGNMENTS


def _end(node: Node) -> int:
    """Give one past the last line of a node; some take in the line feed behind them."""
    point = node.end_point
    row: int = point.row
    return max(row + (point.column > 0), node.start_point.row + 1)
