"""A block of lines that is ours in a text that is not, between two marks."""

import re

from attrs import frozen


@frozen
class Marks:
    """The lines that a block begins and ends with."""

    begin: str
    end: str

    def put(self, text: str, body: str) -> str:
        """Give the text with our block in it: where it was, else at the end."""
        block = f"{self.begin}\n{body.strip()}\n{self.end}\n"
        found = self._find(text)
        if found is not None:
            return text[: found.start()] + block + text[found.end() :]
        if not text:
            return block
        # A blank line between; none where the last line has no end, so that it has none again afterwards.
        return text + "\n" + block

    def drop(self, text: str) -> str:
        """Give the text without our block, and without the end of line that was put before it."""
        found = self._find(text)
        if found is None:
            return text
        before, behind = text[: found.start()], text[found.end() :]
        is_last_line = before.endswith("\n") and not behind
        return (before[:-1] if before.endswith("\n\n") or is_last_line else before) + behind

    def _find(self, text: str) -> "re.Match[str] | None":
        begin, end = re.escape(self.begin), re.escape(self.end)
        return re.search(
            rf"^{begin}[ \t\r]*\n(?:(?!{begin}).)*?^{end}[ \t\r]*(?:\n|\Z)", text, re.MULTILINE | re.DOTALL
        )


MARKDOWN = Marks("<!-- cco: begin (written by `cco init`) -->", "<!-- cco: end -->")
HASH = Marks("# cco: begin (written by `cco init`)", "# cco: end")
