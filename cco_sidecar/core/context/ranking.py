"""How well each file of a project fits a task: signals, each from 0 to 1, and their weighted sum.

Pure: the same files, task and history give the same order. No signal looks at a clock: how recent a commit is, is its
place in the history.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import frozen

from cco_sidecar.core.context.project import Footprint
from cco_sidecar.core.context.query import Query
from cco_sidecar.core.context.signals import Company, Step, Texts, by_message, by_name, newest, share, steps_of
from cco_sidecar.core.context.terms import Terms, terms_of_path

TOP = 10
"""The best of what the task speaks for; what changed together with them is wanted, too."""
_HALF_AFTER = 50
"""A file whose newest commit is the 50th of the history is half as recent as one of the last commit."""


@frozen
class Weights:
    """What each signal counts; ``wish_alone`` is for a task without text, where what a file is comes first."""

    content: float
    path: float
    name: float
    message: float
    recency: float
    together: float
    wish: float
    wish_alone: float


WEIGHTS = Weights(content=1.0, path=0.45, name=0.3, message=0.6, recency=0.3, together=0.3, wish=0.3, wish_alone=1.0)
"""Their origin: 100 commits each of click, requests, pytest, scrapy, celery, buildbot and caddy, changing one weight at
a time; around these values little changes. The repositories that `benchmarks.context_recall` is reported for had no
part in it."""


@frozen
class Standing:
    """Where a file stands: ``reasons`` are short true phrases, the strongest signal first.

    ``words`` are those of the task that its text has, those first that say most; ``named`` says that it changed so
    often together with one of the best files that the history itself names it.
    """

    score: float = 0.0
    reasons: Sequence[str] = ()
    words: Sequence[str] = ()
    named: bool = False


NOWHERE = Standing()


@frozen
class Wishes:
    """How much an agent type wants files for what they are, more than 0 and at most 1, and how that is said."""

    worths: Mapping[str, float]
    phrase: Callable[[str], str]


def rank(
    paths: Sequence[str],
    query: Query,
    documents: Mapping[str, Terms],
    footprints: Sequence[Footprint],
    wishes: Wishes,
) -> dict[str, Standing]:
    """Say where each of the paths stands that anything speaks for.

    :param documents: the terms of those files whose text is known.
    :param footprints: the history, newest first.
    """
    steps = steps_of(footprints, frozenset(paths))
    texts = Texts.of(query, {path: documents[path] for path in paths if path in documents})
    of_task = _signals_of_task(query, texts, paths, steps)
    signals = [*of_task, *_signals_of_kind(bool(query.weights), wishes, steps)]
    company = Company.of(_best(_reached(of_task), signals), steps)
    signals.append(_Signal(WEIGHTS.together, share(company.scores), company.phrase))
    return {
        path: Standing(_score(signals, path), _reasons(signals, path), texts.words(path), company.is_named(path))
        for path in sorted(_reached(signals))
    }


@frozen
class _Signal:
    """One reason to want files; without a phrase it counts and is not told."""

    weight: float
    values: Mapping[str, float]
    phrase: Callable[[str], str] | None = None


def _signals_of_task(query: Query, texts: Texts, paths: Sequence[str], steps: Sequence[Step]) -> list[_Signal]:
    """What the task itself speaks for."""
    by_path = by_name(query, {path: terms_of_path(path) for path in paths})
    by_last_name = by_name(query, {path: terms_of_path(path.rpartition("/")[2]) for path in paths})
    messages, likely = by_message(query, steps)
    return [
        _Signal(WEIGHTS.content, share(texts.scores), texts.phrase),
        _Signal(WEIGHTS.path, by_path, lambda _: "its path matches"),
        _Signal(WEIGHTS.name, by_last_name),
        _Signal(WEIGHTS.message, messages, lambda path: f"commit {likely[path][:10]} was about it"),
    ]


def _signals_of_kind(has_text: bool, wishes: Wishes, steps: Sequence[Step]) -> list[_Signal]:
    """What speaks for a file whatever the task."""
    last = newest(steps)
    recency = {path: 1 / (1 + step.place / _HALF_AFTER) for path, step in last.items()}
    return [
        _Signal(WEIGHTS.wish if has_text else WEIGHTS.wish_alone, wishes.worths, wishes.phrase),
        _Signal(WEIGHTS.recency, recency, lambda path: f"changed in commit {last[path].commit.hash[:10]}"),
    ]


def _reached(signals: Iterable[_Signal]) -> set[str]:
    return {path for signal in signals for path in signal.values}


def _score(signals: Iterable[_Signal], path: str) -> float:
    return math.fsum(signal.weight * signal.values.get(path, 0.0) for signal in signals)


def _reasons(signals: Iterable[_Signal], path: str) -> list[str]:
    told = [(signal.weight * signal.values.get(path, 0.0), signal.phrase) for signal in signals]
    told.sort(key=lambda one: -one[0])
    return [phrase(path) for worth, phrase in told if worth > 0 and phrase is not None]


def _best(paths: Iterable[str], signals: Sequence[_Signal]) -> list[tuple[str, float]]:
    """Give the ten best of the paths, each with its score as a share of the highest."""
    ranked = sorted((-_score(signals, path), path) for path in paths)[:TOP]
    return [(path, score / ranked[0][0]) for score, path in ranked]
