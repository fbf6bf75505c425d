"""Pieces of a Markdown document within a budget of bytes.

Nothing that stands in it can end its own block: fences are longer than any run of backticks within them, and names are
written in one line.
"""

import re
from collections.abc import Sequence
from itertools import accumulate, takewhile

from attrs import define, field

_MORE_BYTES = 24
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BACKTICKS = re.compile("`+")


@define(eq=False)
class Page:
    """A document that grows; ``left`` is how many bytes it still has room for, ``cut`` says that something was not."""

    left: int
    parts: list[str] = field(factory=list, init=False)
    cut: bool = field(default=False, init=False)

    def add(self, text: str) -> bool:
        """Add a piece, unless it does not fit."""
        size = byte_size(text)
        if size > self.left:
            self.cut = True
            return False
        self.parts.append(text)
        self.left -= size
        return True

    def section(self, title: str, items: Sequence[str], divisor: int) -> None:
        """Add a section with as many items, from the first, as fit into so much of what is left."""
        if not items:
            return
        heading = f"\n## {title}\n\n"
        room = self.left // divisor - byte_size(heading) - _MORE_BYTES
        sizes = accumulate(map(byte_size, items))
        count = sum(1 for _ in takewhile(lambda size: size <= room, sizes))
        more = f"- and {len(items) - count} more\n" if count < len(items) else ""
        self.cut = self.cut or bool(more)
        self.add(heading + "".join(items[:count]) + more)


def fenced(content: str, info: str) -> str:
    """Give a text as a code block, whatever it has in it."""
    fence = fence_of(content)
    return f"{fence}{info}\n{content}{'' if not content or content.endswith(chr(10)) else chr(10)}{fence}\n"


def fence_of(content: str) -> str:
    """Give a fence that is longer than any in a text."""
    return "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(content)), default=0))


def inline_code(text: str) -> str:
    """Give a name as inline code, in one line."""
    line = one_line(text)
    marks = "`" * (1 + max(map(len, _BACKTICKS.findall(line)), default=0))
    space = " " if len(marks) > 1 else ""
    return f"{marks}{space}{line}{space}{marks}"


def one_line(text: str) -> str:
    r"""Give a text in one line: a line feed becomes a blank, any other control character ``\x1b``."""
    return _UNSAFE.sub(lambda found: _visible(found[0]), plain_text(text).strip())


def _visible(char: str) -> str:
    if char == "\n":
        return " "
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def plain_text(text: str) -> str:
    """Give a text that is sound Unicode (a task may hold half a character)."""
    return text.encode("utf-8", "replace").decode()


def first_lines(text: str, most_bytes: int) -> str:
    """Give the first lines of a text that take at most so many bytes, with a line end; a first line is itself cut."""
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    head = encoded[: max(most_bytes - 1, 0)].decode("utf-8", "ignore")
    return head[: head.rfind("\n") + 1] or head


def byte_size(text: str) -> int:
    """Say how many bytes a text takes."""
    return len(text.encode())
