"""Secrets found inside text, replaced by ``[REDACTED:<rule>]``; in time linear in the text, for anyone may write it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import re2
from attrs import frozen

from cco_sidecar.core.secrets.blocks import NAME as KUBERNETES
from cco_sidecar.core.secrets.blocks import kubernetes_values
from cco_sidecar.core.secrets.excerpt import excerpt
from cco_sidecar.core.secrets.guess import NAME as GUESSED
from cco_sidecar.core.secrets.guess import guesses
from cco_sidecar.core.secrets.lines import NAME as STANDING_OUT
from cco_sidecar.core.secrets.lines import standing_out
from cco_sidecar.core.secrets.rule import Rule, with_room
from cco_sidecar.core.secrets.rules import LINES, WHOLE
from cco_sidecar.core.secrets.words import OF_LINES

_ROUNDS = 16
_DEEPEST = 64
_MARK = "[REDACTED:"
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
_LONG_WORD = re.compile(r"[A-Za-z0-9_.-]{16}")


@frozen
class _Span:
    start: int
    end: int
    rule: str


def redact(text: str) -> tuple[str, Counter[str]]:
    """Replace every secret in ``text``; also give how many of each rule there were.

    What is redacted already stays as it is.
    """
    counts: Counter[str] = Counter()
    data = text.encode("utf-8", "surrogatepass")
    # A replacement can bring to light what stood behind it; hardly ever does it do so twice.
    for _ in range(_ROUNDS):
        spans = _disjoint(_spans(data))
        if not spans:
            break
        counts.update(span.rule for span in spans)
        data = _replaced(data, spans)
    return (data.decode("utf-8", "surrogatepass") if counts else text), counts


def redact_name(name: str) -> str:
    """Replace what has a known form in the name of a file.

    The name is what a file is asked for by, so nothing is guessed in it.
    """
    if _LONG_WORD.search(name) is None:
        return name
    ending = _ENDING.search(name)  # what tells the kind of a file is no part of a token
    data = name[: ending.start() if ending else len(name)].encode("utf-8", "surrogatepass")
    spans = _disjoint(_Span(start, end, rule.name) for rule, start, end in _of_form(data))
    if not spans:
        return name
    return _replaced(data, spans).decode("utf-8", "surrogatepass") + (ending[0] if ending else "")


def redactions_in(text: str | bytes) -> int:
    """Count what was replaced in a text that has nothing but names in it."""
    return text.count(_MARK.encode()) if isinstance(text, bytes) else text.count(_MARK)


def redact_value(value: object, depth: int = _DEEPEST) -> tuple[object, int]:
    """Replace the secrets in all strings of a JSON value, names of members too; also give how many there were.

    Lists and objects more than ``depth`` deep are replaced as a whole: who reads one must look into it by recursion.
    """
    if isinstance(value, str):
        text, counts = redact(value)
        return text, counts.total()
    if isinstance(value, list | tuple | dict) and not depth:
        return f"{_MARK}nesting]", 1
    if isinstance(value, list | tuple):
        members = [redact_value(member, depth - 1) for member in value]
        return [member for member, _ in members], sum(count for _, count in members)
    if isinstance(value, dict):
        return _redact_members(value, depth - 1)
    return value, 0


def _redact_members(value: dict[str, object], depth: int) -> tuple[dict[str, object], int]:
    found: dict[str, object] = {}
    total = 0
    for name, member in value.items():
        shown, in_name = redact(name)
        redacted, count = redact_value(member, depth)
        if isinstance(member, str) and not count:
            redacted, count = _redact_named(name, member)
        found[shown] = redacted
        total += in_name.total() + count
    return found, total


def _redact_named(name: str, value: str) -> tuple[str, int]:
    """Redact a value that only its name makes a secret."""
    before = f'{name} = "'
    text, counts = redact(f'{before}{value}"')
    if not counts or not text.startswith(before):
        return value, 0
    return text.removeprefix(before)[:-1], counts.total()


def _trigger_set(rules: Sequence[Rule]) -> re2.Set:
    triggers = re2.Set.SearchSet(with_room())
    for rule in rules:
        triggers.Add(rule.trigger)
    triggers.Compile()
    return triggers


def _compiled(rule: Rule) -> re2._Regexp:
    return re2.compile(rule.pattern.encode("ascii"))


_WHOLE_TRIGGERS = _trigger_set(WHOLE)
_WHOLE_PATTERNS = [_compiled(rule) for rule in WHOLE]
_LINES_TRIGGERS = _trigger_set(LINES)
_LINES_PATTERNS = [_compiled(rule) for rule in LINES]
_WORDS = re2.compile(OF_LINES.encode(), with_room())


def _spans(data: bytes) -> list[_Span]:
    spans = [_Span(start, end, rule.name) for rule, start, end in _of_form(data)]
    lines = excerpt(data, _WORDS)
    for rule, start, end in _found(lines.text, LINES, _LINES_TRIGGERS, _LINES_PATTERNS):
        if (span := lines.span(start, end)) is not None:
            spans.append(_Span(*span, rule.name))
    spans += (
        _Span(*span, STANDING_OUT) for place in standing_out(lines.text) if (span := lines.span(*place)) is not None
    )
    spans += (_Span(start, end, KUBERNETES) for start, end in kubernetes_values(data))
    known = [(span.start, span.end) for span in spans]
    return spans + [_Span(start, end, GUESSED) for start, end in guesses(data, known)]


def _of_form(data: bytes) -> Iterator[tuple[Rule, int, int]]:
    return _found(data, WHOLE, _WHOLE_TRIGGERS, _WHOLE_PATTERNS)


def _found(
    data: bytes, rules: Sequence[Rule], triggers: re2.Set, patterns: Sequence[re2._Regexp]
) -> Iterator[tuple[Rule, int, int]]:
    for index in sorted(triggers.Match(data) or ()):
        for match in patterns[index].finditer(data):
            group = match.lastindex or 0
            secret = match.group(group).decode("utf-8", "replace")
            if not secret.startswith(_MARK) and rules[index].check(secret):
                yield rules[index], match.start(group), match.end(group)


def _disjoint(spans: Iterable[_Span]) -> list[_Span]:
    """Merge spans that overlap; the one that begins first, of these the rule that comes first, gives the name."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = _Span(last.start, max(last.end, span.end), last.rule)
        else:
            merged.append(span)
    return merged


def _replaced(data: bytes, spans: Sequence[_Span]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for span in spans:
        parts += (data[at : span.start], f"{_MARK}{span.rule}]".encode())
        at = span.end
    return b"".join((*parts, data[at:]))
