"""One gathering, start to end, in a thread: look, answer from the cache if that is still true, else gather."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define

from cco_sidecar.backends.gatherer.cache import ContextCache, Entry, Question, State
from cco_sidecar.backends.gatherer.git import Git, GitError
from cco_sidecar.backends.gatherer.ignored import ignored
from cco_sidecar.backends.gatherer.index import TermIndex
from cco_sidecar.backends.gatherer.looks import Look, Looks
from cco_sidecar.backends.gatherer.opener import Root, opened_root
from cco_sidecar.backends.gatherer.outlines import OutlineCache
from cco_sidecar.backends.gatherer.reading import Checkpoint, project_of, reader
from cco_sidecar.backends.gatherer.repository import opened_repository
from cco_sidecar.backends.gatherer.survey import survey
from cco_sidecar.core.context.assembly import Assembled, assemble, ending
from cco_sidecar.core.context.explaining import Evidence, explain
from cco_sidecar.core.context.filesection import FileSection
from cco_sidecar.core.context.fitting import encode
from cco_sidecar.core.context.markdown import markdown
from cco_sidecar.core.context.outline.focus import focus_of
from cco_sidecar.core.context.project import Project
from cco_sidecar.core.context.request import ContextAnswer, ContextRequest, Inquiry
from cco_sidecar.core.context.selection import Selection, select
from cco_sidecar.errors import ContextFailed

_TICK_NS = 20_000_000
"""Longer than a file system's clock stands still (a timer tick, at most 10 ms)."""


@define(eq=False)
class Gathering:
    """Makes the answer to one request; blocks, so `answer` belongs in a thread.

    ``index``, ``looks`` and ``outlines`` are shared with others; ``asked_ns`` is when the request came, monotonic.
    ``seconds`` tells the time for the answer's timestamp; ``check`` is called now and then, and raises to end
    the work.
    """

    _request: ContextRequest
    _cache: ContextCache
    _index: TermIndex
    _git: Git
    _looks: Looks
    _outlines: OutlineCache
    _asked_ns: int
    _seconds: Callable[[], float]
    _check: Checkpoint

    def answer(self) -> ContextAnswer:
        """Give the answer.

        :raises ContextFailed: the project cannot be read.
        """
        inquiry = self._request.inquiry
        try:
            entry, hit = self._entry() if inquiry is None else (self._explained(inquiry), False)
        except GitError as error:
            raise ContextFailed(f"The project's repository could not be read: {error}") from error
        except OSError as error:
            raise ContextFailed(
                f"The project's root could not be read ({error.strerror}): is the directory still there?"
            ) from error
        made = entry.answer
        end = b"" if self._request.form == "markdown" else ending(self._seconds(), hit)
        return ContextAnswer(made.head + end, entry.etag, hit, made.truncated, made.file_count)

    def _entry(self) -> tuple[Entry, bool]:
        request = self._request
        question = question_of(request)
        path = request.project_root.resolve()
        with opened_root(path) as root:
            look = self._looks.since(path, self._asked_ns) or self._look(root, path)
            state = self._state(look)
            entry = None if request.refresh else self._cache.get(question, state)
            if entry is not None:
                return entry, True
            answer = self._made(root, look.project)
        entry = _entry_of(state, answer)
        self._cache.put(question, entry)
        return entry, False

    def _state(self, look: Look) -> State:
        return State(self._request.agent_type, look.survey.digest, _results_digest(self._request))

    def _explained(self, inquiry: Inquiry) -> Entry:
        """Explain what an answer would have; never cached, since it also hangs on files that no answer is made of."""
        path = self._request.project_root.resolve()
        with opened_root(path) as root:
            look = self._looks.since(path, self._asked_ns) or self._look(root, path)
            with opened_repository(path, self._git) as repository:
                kept_out = ignored(root, repository, look.survey)
            selection = self._selection(root, look.project)
            files = self._files(root, look.project)
            answer = assemble(self._request, look.project, selection, files)
            evidence = Evidence(look.project, selection, answer, files.outcomes, kept_out)
            made = explain(self._request, inquiry, evidence)
        return _entry_of(self._state(look), made)

    def _look(self, root: Root, path: Path) -> Look:
        began_ns = time.monotonic_ns()
        with opened_repository(path, self._git) as repository:
            found = survey(root, repository)
            last = None if self._request.refresh else self._looks.last(path)
            if last is not None and last.survey.digest == found.digest:
                project = last.project
            else:
                _outlast(found.newest_ns)
                project = project_of(root, repository, found, last.project if last else None, self._check)
        return self._looks.keep(path, Look(began_ns, found, project))

    def _made(self, root: Root, project: Project) -> Assembled:
        request, selection, files = self._request, self._selection(root, project), self._files(root, project)
        return (assemble if request.form == "json" else markdown)(request, project, selection, files)

    def _files(self, root: Root, project: Project) -> FileSection:
        read = reader(root, self._check)
        return FileSection(read, self._outlines.outline, focus_of(self._request.task), project)

    def _selection(self, root: Root, project: Project) -> Selection:
        request = self._request
        touched = {path: result.agent_type for result in reversed(request.results) for path in result.files_affected}
        documents = self._index.documents(root, project, self._check) if request.task.strip() else {}
        return select(project, request.agent_type, request.task, touched, documents)


def _entry_of(state: State, answer: Assembled) -> Entry:
    return Entry(state, answer, f'"{hashlib.sha256(answer.head).hexdigest()[:32]}"')


def question_of(request: ContextRequest) -> Question:
    """Name what a request asks, whatever the state of the project."""
    digest = hashlib.sha256(request.task.encode("utf-8", "replace")).digest()
    return Question(
        request.project_id, request.issue_id, request.agent_type.type, digest, request.budget_bytes, request.form
    )


def _results_digest(request: ContextRequest) -> bytes:
    digest = hashlib.sha256(encode(request.results_version))
    for result in request.results:
        digest.update(encode([result.result_id, result.agent, result.agent_type, result.timestamp, result.status]))
        digest.update(encode([list(result.decisions), list(result.files_affected)]))
    return digest.digest()


def _outlast(newest_ns: int) -> None:
    """Wait until a write from now on gives a file a later time than the survey saw, or it would not show.

    The kernel stamps files by the system's clock, which moves in ticks; so this is the one place that asks it itself.
    """
    since = time.time_ns() - newest_ns
    if 0 <= since < _TICK_NS:
        time.sleep((_TICK_NS - since) / 1e9)
