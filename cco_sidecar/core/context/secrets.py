"""Secrets found inside text, replaced by ``[REDACTED:<rule>]``; in time linear in the text, for anyone may write it."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

import re2
from attrs import frozen

from cco_sidecar.core.context.secretblocks import NAME as KUBERNETES
from cco_sidecar.core.context.secretblocks import kubernetes_values
from cco_sidecar.core.context.secretguess import NAME as GUESSED
from cco_sidecar.core.context.secretguess import guesses
from cco_sidecar.core.context.secretrule import Rule
from cco_sidecar.core.context.secretrules import RULES

_ROUNDS = 4
_TRIGGER_MEMORY = 64 << 20  # all triggers are one automaton, made as it runs; out of memory it would find nothing
_DEEPEST = 64
_MARK = "[REDACTED:"
_WORDS = re.compile(rb"(?:[A-Za-z]{1,12}[/_+-])+")


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


def _trigger_set() -> re2.Set:
    options = re2.Options()
    options.max_mem = _TRIGGER_MEMORY
    triggers = re2.Set.SearchSet(options)
    for rule in RULES:
        triggers.Add(rule.trigger)
    triggers.Compile()
    return triggers


def _compiled(rule: Rule) -> re2._Regexp:
    return re2.compile(rule.pattern.encode("ascii"))


_TRIGGERS = _trigger_set()
_PATTERNS = [_compiled(rule) for rule in RULES]


def _spans(data: bytes) -> Iterator[_Span]:
    known = sorted(_known(data), key=lambda span: span.start)
    starts = [span.start for span in known]
    yield from known
    for start, end in guesses(data):
        inside = bisect_right(starts, start)
        first = starts[inside] if inside < len(starts) and starts[inside] < end else start
        # "try-AKIA…": the word before a secret of known form is none of it.
        yield _Span(first if _WORDS.fullmatch(data, start, first) else start, end, GUESSED)


def _known(data: bytes) -> Iterator[_Span]:
    for index in sorted(_TRIGGERS.Match(data) or ()):
        rule = RULES[index]
        for match in _PATTERNS[index].finditer(data):
            group = match.lastindex or 0
            secret = match.group(group).decode("utf-8", "replace")
            if not secret.startswith(_MARK) and rule.check(secret):
                yield _Span(match.start(group), match.end(group), rule.name)
    yield from (_Span(start, end, KUBERNETES) for start, end in kubernetes_values(data))


def _disjoint(spans: Iterator[_Span]) -> list[_Span]:
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
