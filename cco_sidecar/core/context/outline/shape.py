"""What an outline is made of."""

from collections.abc import Callable, Sequence

from attrs import frozen


@frozen
class Part:
    """A definition, a heading or a key: the lines that name it, and how far it reaches.

    Lines count from 0, and ends are one past the last. ``start`` to ``stop`` is the signature, ``end`` where all of it
    ends. ``doc_start`` to ``doc_stop`` are the first lines of its documentation, none if they are equal. What has less
    ``depth`` says more of the file.
    """

    start: int
    stop: int
    end: int
    depth: int
    doc_start: int = 0
    doc_stop: int = 0


Outline = Sequence[Part]
"""The parts of a file in the order of their lines."""

Outliner = Callable[[str, str, str], Outline]
"""Gives the outline of a text by its language, its text, and a key that two different texts do not share."""

Parse = Callable[[str, str], Outline | None]
"""Gives the outline of a text by its language and its text, or None if it knows none."""

MOST_PARTS = 5_000
MOST_SIGNATURE_LINES = 12


def lines_of(text: str) -> list[str]:
    """Split a text into lines as editors count them: at line feeds alone; each keeps its own."""
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines
