"""What a task asks for, as weighted terms."""

import math
from collections.abc import Mapping

from attrs import field, frozen

from cco_sidecar.core.context.terms import parts_of_word, term_of, words_of

MOST_CHARACTERS = 200_000
_TITLE = 2.0  # the first line says what it is about
_PART = 0.6  # a part of an identifier says less than the whole

_STOP_WORDS = """
a about above after again all also although always am an and any are as at be because been before being below between
both but by can cannot could did do does doing done down during each either else etc ever every few for from further get
gets got had has have having he her here hers him his how however if in into is it its itself just let like make makes
many may me might more most much must my need needs no nor not now of off often on once one only or other our out over
own please same see shall she should since so some still such sure than that the their them then there these they this
those though through to too under until up upon us use used uses using very via was way we well were what when where
whether which while who whom whose why will with within without would yes yet you your
"""
STOP = frozenset(_STOP_WORDS.split())
"""Words that say nothing of what a task is about."""


@frozen
class Query:
    """The terms of a task: how much each counts, and the word that it stands for."""

    weights: Mapping[int, float] = field(repr=False)
    words: Mapping[int, str] = field(repr=False)

    @property
    def wanted(self) -> frozenset[int]:
        """The terms alone."""
        return frozenset(self.weights)


def query_of(task: str) -> Query:
    """Read a task; its first 200,000 characters count, the first line double, and repeating adds less each time."""
    counts: dict[int, float] = {}
    words: dict[int, str] = {}
    for number, line in enumerate(task[:MOST_CHARACTERS].strip().splitlines()):
        once = 1.0 if number else _TITLE
        for word in words_of(line):
            if word.lower() in STOP:
                continue
            for place, part in enumerate(parts_of_word(word)):
                if part not in STOP:
                    term = term_of(part)
                    words.setdefault(term, part)
                    counts[term] = counts.get(term, 0.0) + (_PART if place else 1.0) * once
    return Query({term: 1 + math.log(count) if count > 1 else count for term, count in counts.items()}, words)
