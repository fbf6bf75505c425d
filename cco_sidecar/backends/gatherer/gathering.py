"""One gathering, start to end: look at the project and, unless it is as known, choose, read and put together."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from attrs import define, evolve, frozen

from cco_sidecar.backends.gatherer.git import Git, GitError
from cco_sidecar.backends.gatherer.ignored import ignored
from cco_sidecar.backends.gatherer.index import TermIndex
from cco_sidecar.backends.gatherer.looks import Look, Looks
from cco_sidecar.backends.gatherer.opener import Root, opened_root
from cco_sidecar.backends.gatherer.outlines import OutlineCache
from cco_sidecar.backends.gatherer.reading import Checkpoint, project_of, reader
from cco_sidecar.backends.gatherer.repository import Repository, opened_repository
from cco_sidecar.backends.gatherer.survey import survey
from cco_sidecar.backends.gatherer.texts import TextCache
from cco_sidecar.core.context.assembly import Assembled, assemble
from cco_sidecar.core.context.explaining import Evidence, explain
from cco_sidecar.core.context.filesection import FileSection, Reader
from cco_sidecar.core.context.markdown import markdown
from cco_sidecar.core.context.outline.focus import focus_of
from cco_sidecar.core.context.outline.shape import Parse
from cco_sidecar.core.context.project import Project, ProjectFile
from cco_sidecar.core.context.request import ContextRequest, Inquiry
from cco_sidecar.core.context.selection import Selection, select
from cco_sidecar.errors import ContextFailed

MOST_SECONDS = 8.0
"""After so long the answer is what there is."""
_READING_SECONDS = 5.0
"""After so long no more texts are read for their terms, so that some time is left to show the best."""
_SHOWING_SECONDS = 1.0
"""So much time there is in any case to show the best."""
_INDEX_SHARE, _OUTLINES_SHARE = 2, 8
"""What part of all that is kept terms and outlines may take; texts get the rest."""


@frozen
class Reserves:
    """What gatherings share: what was found out once."""

    git: Git
    looks: Looks
    texts: TextCache
    index: TermIndex
    outlines: OutlineCache

    @classmethod
    def of(cls, most_bytes: int, git: Git, parse: Parse) -> "Reserves":
        """Begin with none; texts, terms and outlines will take at most so many bytes."""
        index_bytes, outline_bytes = most_bytes // _INDEX_SHARE, most_bytes // _OUTLINES_SHARE
        texts = TextCache(most_bytes - index_bytes - outline_bytes)
        return cls(git, Looks(), texts, TermIndex(index_bytes, texts), OutlineCache(outline_bytes, parse))

    @property
    def size_bytes(self) -> int:
        """How many bytes texts, terms and outlines take."""
        return self.texts.size_bytes + self.index.size_bytes + self.outlines.size_bytes


@frozen
class Made:
    """What came of a gathering; ``answer`` is None if the project is as was known. ``looked`` says that it was new."""

    digest: bytes
    answer: Assembled | None
    looked: bool
    is_quiet: bool


@define(eq=False)
class Gathering:
    """Makes the answer to one request; blocks.

    ``asked_ns`` is when the request came, monotonic. ``check`` is called now and then, and raises to end the work.
    ``arm`` is called before a look, with what is looked at; ``known`` is the digest of a state that needs no answer.
    """

    _request: ContextRequest
    _reserves: Reserves
    _asked_ns: int
    _check: Checkpoint
    _known: bytes | None = None
    _arm: Callable[[Path, Repository | None], None] = lambda _path, _repository: None
    _seconds: Callable[[], float] = time.monotonic
    _looked: bool = False
    _began: float = 0.0
    _until: float = 0.0
    _is_hurried: bool = False

    def made(self) -> Made:
        """Give the answer.

        :raises ContextFailed: the project cannot be read.
        """
        self._began = self._seconds()
        path = self._request.project_root
        try:
            path = path.resolve()
            with opened_root(path) as root:
                return self._made(root, path)
        except GitError as error:
            raise ContextFailed(f"The project's repository could not be read: {error}") from error
        except OSError as error:
            raise ContextFailed(
                f"The project's root could not be read ({error.strerror}): is the directory still there?"
            ) from error

    def _made(self, root: Root, path: Path) -> Made:
        look = self._reserves.looks.since(path, self._asked_ns) or self._look(root, path)
        inquiry = self._request.inquiry
        if inquiry is not None:
            answer: Assembled | None = self._explained(root, path, look, inquiry)
        elif self._known == look.survey.digest:
            answer = None
        else:
            answer = self._answered(root, look.project)
            answer = evolve(answer, is_whole=answer.is_whole and not self._is_hurried)
        return Made(look.survey.digest, answer, self._looked, look.survey.is_quiet)

    def _explained(self, root: Root, path: Path, look: Look, inquiry: Inquiry) -> Assembled:
        """Explain what an answer would have; never kept, since it also hangs on files that no answer is made of."""
        with opened_repository(path, self._reserves.git) as repository:
            kept_out = ignored(root, repository, look.survey)
        selection, files = self._selection(root, look.project), self._files(root, look.project)
        answer = assemble(self._request, look.project, selection, files)
        evidence = Evidence(look.project, selection, answer, files.outcomes, kept_out)
        return explain(self._request, inquiry, evidence)

    def _look(self, root: Root, path: Path) -> Look:
        began_ns = time.monotonic_ns()
        self._looked = True
        looks = self._reserves.looks
        with opened_repository(path, self._reserves.git) as repository:
            self._arm(path, repository)
            last = looks.last(path)
            found = survey(root, repository, last.survey if last else None)
            if last is not None and last.survey.digest == found.digest and not self._request.refresh:
                project = last.project
            else:
                before = None if self._request.refresh or last is None else last.project
                project = project_of(root, repository, found, before, self._reader(root))
        return looks.keep(path, Look(began_ns, found, project))

    def _answered(self, root: Root, project: Project) -> Assembled:
        request, selection, files = self._request, self._selection(root, project), self._files(root, project)
        return (assemble if request.form == "json" else markdown)(request, project, selection, files)

    def _files(self, root: Root, project: Project) -> FileSection:
        self._until = max(self._began + MOST_SECONDS, self._seconds() + _SHOWING_SECONDS)
        return FileSection(
            self._reader(root),
            self._reserves.outlines.outline,
            focus_of(self._request.task),
            project,
            self._is_late,
            partial(self._read_ahead, root),
        )

    def _selection(self, root: Root, project: Project) -> Selection:
        request = self._request
        touched = {path: result.agent_type for result in reversed(request.results) for path in result.files_affected}
        documents = {}
        if request.task.strip():
            documents = self._reserves.index.documents(root, project, self._check, self._is_reading_late)
        return select(project, request.agent_type, request.task, touched, documents)

    def _reader(self, root: Root) -> Reader:
        return reader(root, self._reserves.texts, self._check)

    def _read_ahead(self, root: Root, files: Sequence[ProjectFile]) -> None:
        self._reserves.texts.read_ahead(root, files, self._check)

    def _is_late(self) -> bool:
        return self._seconds() > self._until

    def _is_reading_late(self) -> bool:
        self._is_hurried = self._is_hurried or self._seconds() - self._began > _READING_SECONDS
        return self._is_hurried
