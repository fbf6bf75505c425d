"""Outlines of documents: headings, and the first paragraph below each."""

import re
from collections.abc import Iterator, Sequence

from cco_sidecar.core.context.outline.shape import MOST_PARTS, Outline, Part, lines_of

DOCUMENTS = frozenset({"markdown", "restructuredtext", "text"})
MOST_PARAGRAPH_LINES = 6
MOST_PARAGRAPH_CHARACTERS = 600
_MOST_HEADING = 200

_MARKED = {
    "markdown": re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)"),
    "text": re.compile(r"(={1,6}|\*{1,6})[ \t]+\S"),  # AsciiDoc, Org
}
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")


def document_outline(language: str, text: str) -> Outline:
    """Give the headings of a document, each with its first paragraph; without headings, its first paragraph."""
    lines = lines_of(text)
    headings = list(_headings(language, lines))
    starts = [*(start for start, _, _ in headings), len(lines)]
    parts = []
    for (start, stop, level), following in zip(headings, starts[1:], strict=True):
        parts.append(Part(start, stop, following, min(level, 2), *_paragraph(lines, stop, following)))
    doc_start, doc_stop = _paragraph(lines, 0, starts[0])
    return ([Part(doc_start, doc_stop, starts[0], 0)] if doc_start < doc_stop else []) + parts


def _headings(language: str, lines: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Give first line, end and level of each."""
    marked = _MARKED.get(language)
    # In RST they mean levels in the order in which they come.
    underlines = ["=", "-"] if language == "markdown" else []
    fence = ""
    count = 0
    for number, line in enumerate(lines):
        fenced = _FENCE.match(line) if language == "markdown" else None
        if fenced:
            fence = "" if fence and fenced[1].startswith(fence) else fence or fenced[1]
        if fence or len(line) > _MOST_HEADING:
            continue
        found = marked.match(line) if marked else None
        if found:
            yield number, number + 1, len(found[1]) - 1
        elif number and _is_underlined(lines[number - 1], line, language):
            overlined = number > 1 and lines[number - 2].rstrip() == line.rstrip()
            mark = line[0] * (1 + overlined)
            if mark not in underlines:
                underlines.append(mark)
            yield number - 1 - overlined, number + 1, underlines.index(mark)
        else:
            continue
        count += 1
        if count >= MOST_PARTS:
            return


def _is_underlined(title: str, line: str, language: str) -> bool:
    if not _UNDERLINE.match(line) or not title.strip() or title[0].isspace() or _UNDERLINE.match(title):
        return False
    if language == "markdown":
        return line[0] in "=-" and title[0] not in "|>-*#"
    return len(line.rstrip()) >= len(title.rstrip()) - 1


def _paragraph(lines: Sequence[str], start: int, end: int) -> tuple[int, int]:
    while start < end and (not lines[start].strip() or _UNDERLINE.match(lines[start])):
        start += 1
    stop = start
    characters = 0
    while stop < min(end, start + MOST_PARAGRAPH_LINES) and lines[stop].strip():
        characters += len(lines[stop])
        if characters > MOST_PARAGRAPH_CHARACTERS and stop > start:
            break
        stop += 1
    return start, stop
