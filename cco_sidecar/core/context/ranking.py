"""How well each file of a project fits a task: signals, each from 0 to 1, and their weighted sum.

Pure: the same files, task and history give the same order. No signal looks at a clock: how recent a commit is, is its
place in the history.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from cco_sidecar.core.context.project import Footprint
from cco_sidecar.core.context.query import Query
from cco_sidecar.core.context.signals import Company, Step, Texts, by_message, by_name, newest, share, steps_of
from cco_sidecar.core.context.terms import Terms, terms_of_path

TOP = 10
"""The best of what the task speaks for; what changed together with them is wanted, too."""
_MOST_REASONS = 4
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
class Liking:
    """How much an agent type likes files for what they are, more than 0 and at most 1, and how that is said."""

    values: Mapping[str, float]
    phrase: Callable[[str], str]


@define(eq=False)
class Ranking:
    """What speaks for each file of a project; words and reasons are put together when they are asked for."""

    _signals: Sequence["_Signal"]
    _company: Company
    scores: Mapping[str, float] = field(init=False)
    """The files that anything speaks for."""

    def __attrs_post_init__(self) -> None:
        self.scores = _summed(self._signals)

    def score(self, path: str) -> float:
        """Give the sum of all that speaks for a file."""
        return self.scores.get(path, 0.0)

    def reasons(self, path: str) -> list[str]:
        """Give a short true phrase for each of the four strongest signals, the strongest first."""
        told = [(signal.weight * signal.values.get(path, 0.0), signal.phrase) for signal in self._signals]
        told.sort(key=lambda one: -one[0])
        return [phrase(path) for worth, phrase in told if worth > 0 and phrase is not None][:_MOST_REASONS]

    def signals(self, path: str) -> dict[str, float]:
        """Give what each signal adds to the score of a file, those that add nothing left out."""
        worth = {signal.name: signal.weight * signal.values.get(path, 0.0) for signal in self._signals}
        return {name: value for name, value in worth.items() if value > 0}

    def is_named(self, path: str) -> bool:
        """Say whether the file changed so often together with one of the best that the history itself names it."""
        return self._company.is_named(path)


def rank(
    paths: Sequence[str],
    query: Query,
    documents: Mapping[str, Terms],
    footprints: Sequence[Footprint],
    liking: Liking,
) -> Ranking:
    """Rank files.

    :param documents: the terms of those files whose text is known.
    :param footprints: the history, newest first.
    """
    steps = steps_of(footprints, frozenset(paths))
    texts = Texts.of(query, {path: documents[path] for path in paths if path in documents})
    of_task = _signals_of_task(query, texts, paths, steps)
    signals = [*of_task, *_signals_of_kind(bool(query.weights), liking, steps)]
    company = Company.of(_best(_summed(of_task), _summed(signals)), steps)
    return Ranking([*signals, _Signal("together", WEIGHTS.together, share(company.scores), company.phrase)], company)


@frozen
class _Signal:
    """One reason to want files; without a phrase it counts and is not told."""

    name: str
    weight: float
    values: Mapping[str, float]
    phrase: Callable[[str], str] | None = None


def _signals_of_task(query: Query, texts: Texts, paths: Sequence[str], steps: Sequence[Step]) -> list[_Signal]:
    """What the task itself speaks for."""
    by_path = by_name(query, {path: terms_of_path(path) for path in paths})
    by_last_name = by_name(query, {path: terms_of_path(path.rpartition("/")[2]) for path in paths})
    messages, likely = by_message(query, steps)
    return [
        _Signal("content", WEIGHTS.content, share(texts.scores), texts.phrase),
        _Signal("path", WEIGHTS.path, by_path, lambda _: "its path matches"),
        _Signal("name", WEIGHTS.name, by_last_name),
        _Signal("message", WEIGHTS.message, messages, lambda path: f"commit {likely[path][:10]} was about it"),
    ]


def _signals_of_kind(has_text: bool, liking: Liking, steps: Sequence[Step]) -> list[_Signal]:
    """What speaks for a file whatever the task."""
    last = newest(steps)
    recency = {path: 1 / (1 + step.place / _HALF_AFTER) for path, step in last.items()}
    return [
        _Signal("wish", WEIGHTS.wish if has_text else WEIGHTS.wish_alone, liking.values, liking.phrase),
        _Signal("recency", WEIGHTS.recency, recency, lambda path: f"changed in commit {last[path].commit.hash[:10]}"),
    ]


def _summed(signals: Iterable[_Signal]) -> dict[str, float]:
    """Add the signals up, always in the same order, so that sums are equal to the last bit."""
    scores: dict[str, float] = {}
    for signal in signals:
        for path, value in signal.values.items():
            scores[path] = scores.get(path, 0.0) + signal.weight * value
    return scores


def _best(paths: Iterable[str], scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Give the ten best of the paths, each with its score as a share of the highest."""
    ranked = sorted((-scores[path], path) for path in paths)[:TOP]
    return [(path, score / ranked[0][0]) for score, path in ranked]
