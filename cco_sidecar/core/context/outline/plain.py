"""Outlines without a grammar: lines that look like definitions, sections or keys; line by line, in linear time."""

from collections.abc import Iterable, Mapping

import re2
from attrs import field, frozen

from cco_sidecar.core.context.outline.shape import MOST_PARTS, Outline, Part

MOST_CHARACTERS = 400
"""A longer line is data, or made by a machine; it is no part."""
_TAB = 4

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
_INDENTATION = r"^([ \t]*)"
_DEFINITION = (
    rf"\(?(?i:(?:(?:{_MODIFIERS})[ \t]+)*(?:{_NOUNS})\b[ \t(<\"'*\n\r])"
    r"|[A-Za-z_][\w:<>,.*&\[\]? \t]*[ \t][\w:~.]+\([^;\n]*\)[\w \t:<>,.]*\{[ \t]*\r?$"
)
_SETTING = r"\[{1,2}[^\]\n]+\]{1,2}|[\"']?[\w.$/@ -]+[\"']?[ \t]*(?::[ \t\r\n]|=)"
_YAML = r"(?:-[ \t]+)?[\"']?[\w.$/@ -]+[\"']?[ \t]*:(?:[ \t\r\n]|$)"
_TARGET = r"[\w.%/$(){}-]+[^=:\n]*:(?:[^=\n]|$)|(?:define|include|ifn?def|ifn?eq)\b"
_INSTRUCTION = r"(?:FROM|ARG|ENV|RUN|COPY|ADD|WORKDIR|EXPOSE|ENTRYPOINT|CMD|USER|LABEL|VOLUME|HEALTHCHECK)\b"


def _compiled(pattern: str) -> "re2._Regexp":
    return re2.compile(f"(?m){_INDENTATION}(?:{pattern})".encode())


@frozen
class _Look:
    """How the parts of a language look: ``pattern`` behind the indentation, which is less than ``deepest`` steps."""

    pattern: "re2._Regexp" = field(converter=_compiled)
    deepest: int = 3
    step: int = _TAB


_BY_LANGUAGE: Mapping[str, _Look] = {
    "yaml": _Look(_YAML, 2, 2),
    "toml": _Look(_SETTING, 1),
    "ini": _Look(_SETTING, 1),
    "json": _Look(r"\"[^\"\n]+\"[ \t]*:", 3, 2),
    "css": _Look(r"[^\s{}#/*][^{}\n]*[{,][ \t]*\r?$|[.#@][\w-]+", 1),
    "make": _Look(_TARGET, 1),
    "docker": _Look(_INSTRUCTION, 1),
    "html": _Look(r"<(?:!DOCTYPE|[A-Za-z])", 3, 2),
    "xml": _Look(r"<[A-Za-z]", 3, 2),
}
_ANY = _Look(_DEFINITION)


def plain_outline(language: str, text: str) -> Outline:
    """Give the lines of a text that tell what is in it, as well as that can be known without a grammar."""
    look = _BY_LANGUAGE.get(language, _ANY)
    data = text.encode("utf-8", "replace")
    found: list[tuple[int, int]] = []
    number = at = 0
    for match in look.pattern.finditer(data):
        start = match.start()
        number += data.count(b"\n", at, start)
        at = start
        depth = len(match.group(1).expandtabs(_TAB)) // look.step
        end = data.find(b"\n", start)
        if depth < look.deepest and (end if end >= 0 else len(data)) - start <= MOST_CHARACTERS:
            found.append((number, depth))
            if len(found) >= MOST_PARTS:
                break
    return tuple(_parts(found, text.count("\n") + (not text.endswith("\n"))))


def _parts(found: list[tuple[int, int]], total: int) -> Iterable[Part]:
    """A part reaches to the next that is no deeper."""
    open_: list[int] = []
    ends = [total] * len(found)
    for place, (number, depth) in enumerate(found):
        while open_ and found[open_[-1]][1] >= depth:
            ends[open_.pop()] = number
        open_.append(place)
    return (Part(number, number + 1, end, depth) for (number, depth), end in zip(found, ends, strict=True))
