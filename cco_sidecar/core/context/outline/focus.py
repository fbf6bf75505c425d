"""Which lines of a file a task is about: those with its words in them, and those that are changed already."""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

import re2
from attrs import field, frozen

from cco_sidecar.core.context.query import STOP

MOST_CHARACTERS = 200_000
MOST_TERMS = 200
MOST_LINES = 24
_MOST_HITS = 2_000
_LEAST_LENGTH = 4
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,63}")
_LIKE_CODE = re.compile(r".[A-Z0-9_]")
_HUNK = re.compile(r"@@ -\d{1,9}(?:,\d{1,9})? \+(\d{1,9})(?:,\d{1,9})? @@")
_DULL_WORDS = (
    "among another back case change error even file files find first fix give given implement issue keep line lines "
    "made never new none support task test tests thing user want work"
)
_DULL = STOP | frozenset(_DULL_WORDS.split())


@frozen
class Focus:
    """The words of a task; ``pattern`` finds them in text, and is None if there are none."""

    terms: frozenset[str]
    pattern: "re2._Regexp | None" = field(repr=False, eq=False)


def focus_of(task: str) -> Focus:
    """Make the focus of a task: its first 200 words that say something."""
    terms: dict[str, None] = {}
    for found in _WORD.finditer(task[:MOST_CHARACTERS]):
        word = found[0]
        lowered = word.lower()
        if lowered in _DULL or (len(word) < _LEAST_LENGTH and not _LIKE_CODE.search(word)):
            continue
        terms.setdefault(_stem(lowered))
        if len(terms) >= MOST_TERMS:
            break
    pattern = re2.compile("(?i)" + "|".join(sorted(terms, key=lambda term: (-len(term), term)))) if terms else None
    return Focus(frozenset(terms), pattern)


def focused_lines(focus: Focus, text: str, lines: Sequence[str]) -> list[int]:
    """Give the lines with the words of the task, at most 24, best first: a word says more if the file has it seldom."""
    if focus.pattern is None:
        return []
    data = text.encode("utf-8", "replace")
    lengths = map(len, lines) if text.isascii() else (len(line.encode("utf-8", "replace")) for line in lines)
    starts = list(accumulate(lengths, initial=0))
    words_on: dict[int, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for hits, match in enumerate(focus.pattern.finditer(data)):
        if hits >= _MOST_HITS:
            break
        if not _begins_word(data, match.start()):
            continue
        word = match.group().decode("utf-8", "replace").lower()
        words_on[bisect_right(starts, match.start()) - 1].add(word)
        counts[word] += 1
    weights = {line: sum(1 / counts[word] for word in words) for line, words in words_on.items()}
    return sorted(weights, key=lambda line: (-weights[line], line))[:MOST_LINES]


def _begins_word(data: bytes, start: int) -> bool:
    """Say whether a word of a text or a part of an identifier begins there: "word" is none in "password"."""
    before, first, second = (data[place : place + 1] for place in (start - 1, start, start + 1))
    return start == 0 or not before.isalpha() or (first.isupper() and (before.islower() or second.islower()))


def changed_lines(diff: str) -> list[int]:
    """Give the first line that differs of each run of changes, at most 24, by the new text's count."""
    found: list[int] = []
    number = 0
    running = False
    for line in diff.split("\n"):
        hunk = _HUNK.match(line)
        if hunk:
            number, running = max(int(hunk[1]) - 1, 0), False
        elif line[:1] in ("+", "-"):
            if number >= 0 and not running and not line.startswith(("+++ ", "--- ")):
                found.append(number)
                running = True
            number += line[0] == "+"
        elif line[:1] == " ":
            number, running = number + 1, False
        if len(found) >= MOST_LINES:
            break
    return found


def within(numbers: Iterable[int], total: int) -> list[int]:
    """Give each of the lines once that a text of ``total`` lines has."""
    return [number for number in dict.fromkeys(numbers) if 0 <= number < total]


def _stem(word: str) -> str:
    """Take off the end of a plural, that the singular may be found in it and it in the singular."""
    return word[:-1] if len(word) > _LEAST_LENGTH and word.endswith("s") and not word.endswith("ss") else word
