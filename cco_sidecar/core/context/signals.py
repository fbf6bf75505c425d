"""What speaks for a file: its text, its path, the commits that changed it, and those that changed it with others."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from attrs import define, field, frozen

from cco_sidecar.core.context.project import Footprint
from cco_sidecar.core.context.query import Query
from cco_sidecar.core.context.terms import Terms

_K1 = 1.2
_B = 0.75
_DOUBT = 2
"""What changed once together with a file that changed once may be chance: as if that had changed twice more, alone."""
_SHOWN_WORDS = 4
_NAMED_TIMES = 2
_NAMED_SHARE = 0.25

Values = dict[str, float]
_Key = TypeVar("_Key", str, int)


@frozen
class Step:
    """A commit of the history and those of its files that are still there; ``place`` 0 is the newest."""

    place: int
    commit: Footprint
    files: Sequence[str]


def steps_of(footprints: Iterable[Footprint], known: frozenset[str]) -> list[Step]:
    """Give the history as far as it is about known files."""
    found = (Step(place, one, [path for path in one.files if path in known]) for place, one in enumerate(footprints))
    return [step for step in found if step.files]


def share(scores: Mapping[str, float]) -> Values:
    """Give each score as a share of the highest."""
    most = max(scores.values(), default=0.0)
    return {path: score / most for path, score in scores.items()} if most > 0 else {}


@frozen
class Texts:
    """BM25 over the texts of files."""

    scores: Values
    _found: Mapping[str, Sequence[int]]
    _rarity: Mapping[int, float]
    _query: Query

    @classmethod
    def of(cls, query: Query, documents: Mapping[str, Terms]) -> "Texts":
        """Look for the terms of the query in all documents."""
        wanted = query.wanted
        found = {path: list(terms.found(wanted)) for path, terms in documents.items()} if wanted else {}
        rarity = _rarity((term for hits in found.values() for term, _ in hits), len(documents))
        mean = sum(terms.length for terms in documents.values()) / max(len(documents), 1)
        scores = {}
        for path, hits in found.items():
            if hits:
                damping = _K1 * (1 - _B + _B * documents[path].length / mean)
                scores[path] = math.fsum(
                    query.weights[term] * rarity[term] * count * (_K1 + 1) / (count + damping) for term, count in hits
                )
        terms = {path: [term for term, _ in found[path]] for path in scores}
        return cls(scores, terms, rarity, query)

    def words(self, path: str) -> list[str]:
        """Give the words of the task that a text has, those first that say most."""
        terms = self._found.get(path, ())
        return [self._query.words[term] for term in sorted(terms, key=lambda term: (-self._worth(term), term))]

    def phrase(self, path: str) -> str:
        """Say what was found."""
        return f"its text has {', '.join(self.words(path)[:_SHOWN_WORDS])}"

    def _worth(self, term: int) -> float:
        return self._query.weights[term] * self._rarity[term]


def by_name(query: Query, terms: Mapping[str, frozenset[int]]) -> Values:
    """Score paths, or names, by the terms of the query among theirs."""
    wanted = query.wanted
    found = {path: hits for path, its in terms.items() if (hits := wanted & its)}
    return share(_summed(query, found, len(terms)))


def by_message(query: Query, steps: Sequence[Step]) -> tuple[Values, dict[str, str]]:
    """Score files by the commits whose messages are about the same, and name the likeliest commit of each."""
    wanted = query.wanted
    found = {place: hits for place, step in enumerate(steps) if (hits := wanted.intersection(step.commit.terms))}
    likeness = _summed(query, found, len(steps))
    total: Values = {}
    best: dict[str, tuple[float, str]] = {}
    for place, score in likeness.items():
        step = steps[place]
        for path in step.files:
            total[path] = total.get(path, 0.0) + score**2 / math.sqrt(len(step.files))
            if score > best.get(path, (0.0, ""))[0]:
                best[path] = score, step.commit.hash
    return share({path: math.sqrt(score) for path, score in total.items()}), {
        path: one[1] for path, one in best.items()
    }


def newest(steps: Iterable[Step]) -> dict[str, Step]:
    """Give the last commit that changed each file."""
    found: dict[str, Step] = {}
    for step in steps:
        for path in step.files:
            found.setdefault(path, step)
    return found


@define(eq=False)
class Company:
    """Which files changed together with the best ones, and how often."""

    _weights: Mapping[str, float]
    scores: Values = field(factory=dict, init=False)
    _changes: Counter[str] = field(factory=Counter, init=False)
    _shared: dict[str, Counter[str]] = field(factory=dict, init=False)

    @classmethod
    def of(cls, best: Sequence[tuple[str, float]], steps: Iterable[Step]) -> "Company":
        """Look for the best files, given with the weight of each, in the history."""
        weights = dict(best)
        made = cls(weights)
        nearness: dict[tuple[str, str], float] = {}
        for step in steps:
            made._changes.update(step.files)
            for path in step.files:
                if path in weights:
                    made._meet(path, step.files, nearness)
        for (path, other), near in nearness.items():
            worth = weights[path] * near / (made._changes[path] + _DOUBT)
            made.scores[other] = made.scores.get(other, 0.0) + worth
        return made

    def phrase(self, path: str) -> str:
        """Say with which of the best files it changed most often."""
        shared = self._shared[path]
        often = min(shared, key=lambda other: (-shared[other], -self._weights[other], other))
        return f"changes together with {often}"

    def is_named(self, path: str) -> bool:
        """Say whether the history names the file: more than once, and not only now and then."""
        times = max(self._shared.get(path, Counter()).values(), default=0)
        return times >= _NAMED_TIMES and times >= _NAMED_SHARE * self._changes[path]

    def _meet(self, path: str, files: Sequence[str], nearness: dict[tuple[str, str], float]) -> None:
        for other in files:
            if other != path:
                nearness[path, other] = nearness.get((path, other), 0.0) + 1 / math.sqrt(len(files) - 1)
                self._shared.setdefault(other, Counter())[path] += 1


def _summed(query: Query, found: "Mapping[_Key, Collection[int]]", many: int) -> "dict[_Key, float]":
    rarity = _rarity((term for hits in found.values() for term in hits), many)
    return {key: math.fsum(query.weights[term] * rarity[term] for term in hits) for key, hits in found.items()}


def _rarity(terms: Iterable[int], many: int) -> dict[int, float]:
    """Give the weight of each term: the fewer of the many have it, the more it says."""
    return {term: math.log(1 + (many - count + 0.5) / (count + 0.5)) for term, count in Counter(terms).items()}
