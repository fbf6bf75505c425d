"""Outlines without a grammar: lines that look like definitions, sections or keys; line by line, in linear time."""

import re
from collections.abc import Callable, Iterable, Mapping

from cco_sidecar.core.context.outline.shape import MOST_PARTS, Outline, Part, lines_of

MOST_CHARACTERS = 400
"""A longer line is data, or made by a machine; it is no part."""
_TAB = 4
_DEEP = 3

_MODIFIERS = (
    "export|default|declare|pub|public|private|protected|internal|static|final|abstract|async|override|virtual|inline|"
    "sealed|open|data|suspend|local|unsafe|extern|partial|case|implicit|lazy|inner|noncomputable|create|or|replace|"
    "temporary|unique|materialized|global|with|without|sharing|required|convenience|mutating|fileprivate|external"
)
_NOUNS = (
    "def|defp|defn|defn-|defmacro|defmodule|defprotocol|defrecord|deftype|defmethod|defmulti|defstruct|class|interface|"
    "trait|struct|enum|record|object|mixin|actor|func|function|fn|fun|sub|proc|procedure|macro|module|namespace|package|"
    "protocol|extension|type|typedef|impl|instance|newtype|contract|library|modifier|service|message|rpc|input|union|"
    "scalar|directive|fragment|query|mutation|subscription|table|view|index|trigger|sequence|schema|model|enum|resource|"
    "variable|output|provider|locals|subroutine|program|test|describe|constructor|init|let|val|var|const"
)
_DEFINITION = re.compile(rf"\s*\(?(?:(?:{_MODIFIERS})\s+)*(?:{_NOUNS})\b[\s(<\"'*]", re.IGNORECASE)
_CALLABLE = re.compile(r"[A-Za-z_][\w:<>,.*&\[\]? ]*\s[\w:~.]+\([^;]*\)[\w\s:<>,.]*\{?\s*$")
_SECTION = re.compile(r"\s*\[{1,2}[^\]]+\]{1,2}")
_KEY = re.compile(r"(\s*)(?:-\s+)?[\"']?[\w.$/@ -]+[\"']?\s*(?::(?:\s|$)|=)")
_JSON_KEY = re.compile(r"\s*\"[^\"]+\"\s*:")
_RULE = re.compile(r"[^\s{}#/*][^{}]*\{?\s*,?$|\s*@[\w-]+")
_TARGET = re.compile(r"[\w.%/$(){}-]+[^=:]*:(?!=)|(?:define|include|ifn?def|ifn?eq)\b")
_INSTRUCTION = re.compile(
    r"(?:FROM|ARG|ENV|RUN|COPY|ADD|WORKDIR|EXPOSE|ENTRYPOINT|CMD|USER|LABEL|VOLUME|HEALTHCHECK)\b"
)
_TAG = re.compile(r"\s*<(?:!DOCTYPE|[A-Za-z][\w:.-]*|/?(?:script|template|style)\b)")

Found = Callable[[str], int | None]
"""Gives the depth of a line that is a part, else None."""


def plain_outline(language: str, text: str) -> Outline:
    """Give the lines of a text that tell what is in it, as well as that can be known without a grammar."""
    depth_of = _BY_LANGUAGE.get(language, _definition)
    found = []
    lines = lines_of(text)
    for number, line in enumerate(lines):
        if len(line) <= MOST_CHARACTERS and not line.isspace():
            depth = depth_of(line.rstrip("\r\n"))
            if depth is not None:
                found.append((number, depth))
                if len(found) >= MOST_PARTS:
                    break
    return tuple(_parts(found, len(lines)))


def _parts(found: list[tuple[int, int]], total: int) -> Iterable[Part]:
    """A part reaches to the next that is no deeper."""
    open_: list[int] = []
    ends = [total] * len(found)
    for place, (number, depth) in enumerate(found):
        while open_ and found[open_[-1]][1] >= depth:
            ends[open_.pop()] = number
        open_.append(place)
    return (Part(number, number + 1, end, depth) for (number, depth), end in zip(found, ends, strict=True))


def _indentation(line: str) -> int:
    head = line[: len(line) - len(line.lstrip())]
    return len(head.expandtabs(_TAB))


def _by(pattern: "re.Pattern[str]", deepest: int = _DEEP, step: int = _TAB) -> Found:
    def depth_of(line: str) -> int | None:
        depth = _indentation(line) // step
        return depth if depth < deepest and pattern.match(line) else None

    return depth_of


def _definition(line: str) -> int | None:
    depth = _indentation(line) // _TAB
    if depth < _DEEP and _DEFINITION.match(line):
        return depth
    return 0 if depth == 0 and _CALLABLE.match(line) else None


def _setting(line: str) -> int | None:
    if _SECTION.match(line):
        return 0
    return 1 if _KEY.match(line) and _indentation(line) == 0 else None


_yaml = _by(_KEY, 2, 2)
_BY_LANGUAGE: Mapping[str, Found] = {
    "yaml": _yaml,
    "toml": _setting,
    "ini": _setting,
    "json": _by(_JSON_KEY, 3, 2),
    "css": _by(_RULE, 1),
    "make": _by(_TARGET, 1),
    "docker": _by(_INSTRUCTION, 1),
    "html": _by(_TAG, 3, 2),
    "xml": _by(_TAG, 3, 2),
}
