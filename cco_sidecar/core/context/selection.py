"""Which files an agent gets, in which order, and why."""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from attrs import define, field, frozen

from cco_sidecar.core.context.languages import Kind, canonical, kind_of, language_of
from cco_sidecar.core.context.mentions import mentioned
from cco_sidecar.core.context.parts import parts_of
from cco_sidecar.core.context.project import Commit, Omission, Project, ProjectFile
from cco_sidecar.core.context.wishes import PINNED, SOURCE, Wishes
from cco_sidecar.core.roster import AgentType, ContextWish

OTHER_LANGUAGE = "source in another language"
EXCLUDED = "excluded for this agent type"


class Tier(IntEnum):
    """The groups of the order, best first."""

    PINNED = 0
    NAMED = 1
    CHANGED = 2
    TOUCHED = 3
    SOURCE = 4
    PREFERRED = 5
    RECENT = 6
    REST = 7
    GENERATED = 8


@frozen
class Pick:
    """A file that is to go in, and one short true sentence why."""

    file: ProjectFile
    reason: str


@frozen
class Selection:
    """The files, best first, and those that this agent type does not get."""

    picks: Sequence[Pick]
    omitted: Sequence[Omission]


def select(project: Project, agent_type: AgentType, task: str, touched: Mapping[str, str]) -> Selection:
    """Choose and order the files of a project.

    :param touched: for each path that an earlier agent worked on, the type of that agent.
    """
    judge = _Judge(
        agent_type.context,
        mentioned(task, (file.path for file in project.files)),
        touched,
        _recency(project.git.commits if project.git else ()),
    )
    ranked = []
    omitted = judge.wishes.missing(project)
    for file in project.files:
        why_not = judge.refusal(file)
        if why_not:
            omitted.append(Omission(file.path, file.size, why_not))
        else:
            ranked.append(judge.rank(file))
    ranked.sort(key=lambda one: one[0])
    return Selection([pick for _, pick in ranked], omitted)


_Order = tuple[int, int, int, int, str]


@define(eq=False)
class _Judge:
    _wish: ContextWish
    _named: set[str]
    _touched: Mapping[str, str]
    _recent: Mapping[str, tuple[int, str]]
    _languages: frozenset[str] = field(init=False)
    wishes: Wishes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._languages = frozenset(canonical(language) for language in self._wish.languages)
        self.wishes = Wishes(self._wish)

    def refusal(self, file: ProjectFile) -> str:
        """Say why the agent does not get the file, "" if it does."""
        if file.path in self._named:
            return ""
        if self.wishes.exclusion(file.path) is not None:
            return EXCLUDED
        if self.wishes.pins(file.path) or self.wishes.has_source(file.path):
            return ""
        if not self._languages or file.status or kind_of(file.path) is not Kind.SOURCE:
            return ""
        if language_of(file.path) in self._languages or self.wishes.includes(file.path):
            return ""
        return OTHER_LANGUAGE

    def rank(self, file: ProjectFile) -> tuple[_Order, Pick]:
        if self.wishes.pins(file.path):
            return (Tier.PINNED, self.wishes.place_of(file.path), 0, 0, file.path), Pick(file, PINNED)
        preference = self._preference(file.path)
        tier, reason = self._tier(file, preference)
        recency, commit = self._recent.get(file.path, (1_000_000, ""))
        if commit and tier is not Tier.RECENT:
            reason += f", changed in commit {commit[:10]}"
        return (tier, recency, preference, file.path.count("/"), file.path), Pick(file, reason)

    def _tier(self, file: ProjectFile, preference: int) -> tuple[Tier, str]:
        special = self._singled_out(file)
        if special is not None:
            return special
        if preference < len(self._wish.prefer) + 2:
            return Tier.PREFERRED, f"{describe(file.path)}, as this agent type prefers"
        if file.path in self._recent:
            return Tier.RECENT, f"changed in commit {self._recent[file.path][1][:10]}"
        return Tier.REST, f"{describe(file.path)} of the project"

    def _singled_out(self, file: ProjectFile) -> tuple[Tier, str] | None:
        if file.path in self._named:
            return Tier.NAMED, "named in the task"
        kind = kind_of(file.path)
        if kind is Kind.GENERATED and not self.wishes.has_source(file.path):
            return Tier.GENERATED, kind.value
        if file.status:
            return Tier.CHANGED, f"uncommitted change ({file.status})"
        if file.path in self._touched:
            return Tier.TOUCHED, f"{self._touched[file.path]} worked on it"
        if self.wishes.has_source(file.path):
            return Tier.SOURCE, SOURCE
        return None

    def _preference(self, path: str) -> int:
        """Give the place among the wishes of the agent type; one past them all means that it has none for this."""
        language = language_of(path)
        source = kind_of(path) is Kind.SOURCE
        parts = parts_of(path)
        wanted_language = not self._languages or not source or language in self._languages
        for place, name in enumerate(self._wish.prefer):
            if name in parts and wanted_language:
                return place
        if language in self._languages:
            return len(self._wish.prefer)
        if self.wishes.includes(path):
            return len(self._wish.prefer) + 1
        return len(self._wish.prefer) + 2


def describe(path: str) -> str:
    """Name a file's kind in a few words: "python source", "document"."""
    kind = kind_of(path)
    if kind is Kind.SOURCE:
        return f"{language_of(path)} {'test' if 'tests' in parts_of(path) else 'source'}"
    return str(kind.value)


def _recency(commits: Iterable[Commit]) -> dict[str, tuple[int, str]]:
    """Give, for each file, the newest commit that changed it; a bulk commit says nothing about any one file."""
    newest: dict[str, tuple[int, str]] = {}
    for place, commit in enumerate(commits):
        if not commit.bulk:
            for path in commit.files:
                newest.setdefault(path, (place, commit.hash))
    return newest
