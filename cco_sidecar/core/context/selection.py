"""Which files an agent gets, in which order, and why."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType

from attrs import define, field, frozen

from cco_sidecar.core.context.generated import generated_path
from cco_sidecar.core.context.languages import Kind, canonical, kind_of, language_of
from cco_sidecar.core.context.mentions import mentioned
from cco_sidecar.core.context.parts import parts_of
from cco_sidecar.core.context.project import Omission, Project, ProjectFile
from cco_sidecar.core.context.query import query_of
from cco_sidecar.core.context.ranking import Liking, Ranking, rank
from cco_sidecar.core.context.terms import Terms
from cco_sidecar.core.context.wishes import PINNED, SOURCE, Wishes
from cco_sidecar.core.roster import AgentType, ContextWish

OTHER_LANGUAGE = "source in another language"
EXCLUDED = "excluded for this agent type"


class Tier(IntEnum):
    """The groups of the order, best first; within one, the score decides."""

    PINNED = 0
    NAMED = 1
    CHANGED = 2
    TOUCHED = 3
    SOURCE = 4
    RANKED = 5


@frozen
class Pick:
    """A file that is to go in; scores are comparable within one selection.

    ``named`` says that somebody asked for just this file: the task by its name, or the roster by a pin or a source.
    """

    file: ProjectFile
    _reason: str
    named: bool = False
    score: float = 0.0
    _ranking: Ranking | None = field(default=None, eq=False, repr=False)

    @property
    def reason(self) -> str:
        """Say in one short true sentence why; it is put together when it is asked for, for most files never are."""
        told = self._ranking.reasons(self.file.path) if self._ranking else []
        return (
            ", ".join([self._reason, *told] if self._reason else told) or f"{describe(self.file.path)} of the project"
        )

    @property
    def signals(self) -> Mapping[str, float]:
        """Give what the score is the sum of."""
        return self._ranking.signals(self.file.path) if self._ranking else {}


@frozen
class Selection:
    """The files, best first, and those that this agent type does not get."""

    picks: Sequence[Pick]
    omitted: Sequence[Omission]


def select(
    project: Project,
    agent_type: AgentType,
    task: str,
    touched: Mapping[str, str],
    documents: Mapping[str, Terms] = MappingProxyType({}),
) -> Selection:
    """Choose and order the files of a project.

    :param touched: for each path that an earlier agent worked on, the type of that agent.
    :param documents: the terms of those files whose text is known.
    """
    named = mentioned(task, (file.path for file in project.files))
    taste = _Taste(agent_type.context)
    rankable = [file.path for file in project.files if not generated_path(file.path)]
    footprints = project.git.footprints if project.git else ()
    ranking = rank(rankable, query_of(task), documents, footprints, taste.liking(rankable))
    judge = _Judge(taste, named, touched, ranking)
    ranked = []
    omitted = taste.wishes.missing(project)
    for file in project.files:
        why_not = judge.refusal(file)
        if why_not:
            omitted.append(Omission(file.path, file.size, why_not))
        else:
            ranked.append(judge.place(file))
    ranked.sort(key=lambda one: one[0])
    return Selection([pick for _, pick in ranked], omitted)


_Order = tuple[int, int, float, int, str]


@define(eq=False)
class _Taste:
    """What an agent type likes, by its roster entry."""

    _entry: ContextWish
    wishes: Wishes = field(init=False)
    languages: frozenset[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.wishes = Wishes(self._entry)
        self.languages = frozenset(canonical(language) for language in self._entry.languages)

    def liking(self, paths: Sequence[str]) -> Liking:
        """Say how much each path is liked, and in which words."""
        least = len(self._entry.prefer) + 2
        places = {path: self._place(path) for path in paths}
        values = {path: 1 - place / least for path, place in places.items() if place < least}
        return Liking(values, lambda path: f"{describe(path)}, as this agent type prefers")

    def _place(self, path: str) -> int:
        """Give the place among the wishes; two past the last preference means that there is none for this."""
        language = language_of(path)
        parts = parts_of(path)
        if not self.languages or kind_of(path) is not Kind.SOURCE or language in self.languages:
            for place, name in enumerate(self._entry.prefer):
                if name in parts:
                    return place
        if language in self.languages:
            return len(self._entry.prefer)
        return len(self._entry.prefer) + (1 if self.wishes.includes(path) else 2)


@define(eq=False)
class _Judge:
    _taste: _Taste
    _named: set[str]
    _touched: Mapping[str, str]
    _ranking: Ranking

    def refusal(self, file: ProjectFile) -> str:
        """Say why the agent does not get the file, "" if it does."""
        if file.path in self._named:
            return ""
        wishes = self._taste.wishes
        if wishes.exclusion(file.path) is not None:
            return EXCLUDED
        if wishes.pins(file.path) or wishes.has_source(file.path):
            return ""
        return generated_path(file.path) or ("" if self._is_understood(file) else OTHER_LANGUAGE)

    def _is_understood(self, file: ProjectFile) -> bool:
        """Say whether the file is for an agent that knows its languages only."""
        languages = self._taste.languages
        return (
            not languages
            or bool(file.status)
            or kind_of(file.path) is not Kind.SOURCE
            or language_of(file.path) in languages
            or self._ranking.is_named(file.path)
            or self._taste.wishes.includes(file.path)
        )

    def place(self, file: ProjectFile) -> tuple[_Order, Pick]:
        """Give the file's place in the order, and what is said of it."""
        wishes, path = self._taste.wishes, file.path
        tier, special = self._tier(file)
        turn = wishes.place_of(path) if tier is Tier.PINNED else 0
        score = self._ranking.score(path)
        named = tier <= Tier.NAMED or wishes.has_source(path)
        return (tier, turn, -score, path.count("/"), path), Pick(file, special, named, score, self._ranking)

    def _tier(self, file: ProjectFile) -> tuple[Tier, str]:
        if self._taste.wishes.pins(file.path):
            return Tier.PINNED, PINNED
        if file.path in self._named:
            return Tier.NAMED, "named in the task"
        if file.status:
            return Tier.CHANGED, f"uncommitted change ({file.status})"
        if file.path in self._touched:
            return Tier.TOUCHED, f"{self._touched[file.path]} worked on it"
        if self._taste.wishes.has_source(file.path):
            return Tier.SOURCE, SOURCE
        return Tier.RANKED, ""


def describe(path: str) -> str:
    """Name a file's kind in a few words: "python source", "document"."""
    kind = kind_of(path)
    if kind is Kind.SOURCE:
        return f"{language_of(path)} {'test' if 'tests' in parts_of(path) else 'source'}"
    return str(kind.value)
