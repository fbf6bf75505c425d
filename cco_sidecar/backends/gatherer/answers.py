"""Answers out of the cache while they are true, else from a worker."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from cco_sidecar.backends.gatherer.bodies import FreshBody, KeptHead
from cco_sidecar.backends.gatherer.cache import Cleared, ContextCache, Entry, Question, State
from cco_sidecar.backends.gatherer.reading import Checkpoint
from cco_sidecar.backends.gatherer.room import Gathered, Order, Worker
from cco_sidecar.backends.gatherer.watch import Watch
from cco_sidecar.core.context.assembly import ending
from cco_sidecar.core.context.fitting import encode
from cco_sidecar.core.context.request import ContextAnswer, ContextRequest

TRUST_SECONDS = 60.0
"""So long a silent watch is trusted: the kernel tells nobody of some rare changes (`watch`)."""

Keep = Callable[[], None]


@define(eq=False)
class _Trust:
    """What is known of a project without asking: while ``watch`` is silent its state has this digest."""

    watch: Watch
    digest: bytes = b""
    since: float = 0.0
    armed: bool = False


@define(eq=False)
class Answers:
    """Answers requests; `ready` may be called from another thread than the rest."""

    _cache: ContextCache
    _worker: Worker
    _seconds: Callable[[], float]
    _monotonic: Callable[[], float] = time.monotonic
    _trusts: dict[Path, _Trust] = field(factory=dict, init=False)
    worker_bytes: int = field(default=0, init=False)
    """What the worker keeps."""

    def ready(self, request: ContextRequest) -> ContextAnswer | None:
        """Give the answer that is there already and known to be true; None if that takes a look at the project."""
        trust = self._trusts.get(request.project_root)
        if trust is None or not trust.armed or request.refresh or request.inquiry is not None:
            return None
        digest = trust.digest
        if self._monotonic() - trust.since > TRUST_SECONDS:
            return None
        question = question_of(request)
        entry = self._cache.get(question)
        if entry is None or entry.state != _state(request, digest):
            return None
        # In this order: the watch must have been silent after the digest was read.
        return self._told(question, entry, request) if trust.watch.is_silent() and trust.armed else None

    def answer(self, request: ContextRequest, asked_ns: int, check: Checkpoint) -> tuple[ContextAnswer, Keep]:
        """Give an answer, and what keeps it for the next time, which may be called later; blocks.

        :raises ContextFailed: the project cannot be read.
        """
        question = question_of(request)
        entry = None if request.refresh or request.inquiry is not None else self._cache.get(question)
        known = None if entry is None else entry.state.project_digest
        known = known if entry and known and entry.state == _state(request, known) else None
        began = self._monotonic()
        trust, changed, steered = self._untrusting(request.project_root)
        gathered = self._worker.gather(Order(request, asked_ns, known, trust is None or steered), check)
        self.worker_bytes = gathered.kept_bytes
        self._trust(request.project_root, gathered, began, changed)
        if gathered.head is None:
            assert entry is not None
            return self._told(question, entry, request), _nothing
        return self._made(request, question, gathered, gathered.head)

    def clear(self, project_id: str | None, issue_id: str | None, agent_type: str | None) -> Cleared:
        """Remove the answers that match all that is not None."""
        return self._cache.clear(project_id, issue_id, agent_type)

    def close(self) -> None:
        """Trust nothing any more."""
        for trust in self._trusts.values():
            trust.armed = False
            trust.watch.close()
        self._trusts.clear()

    @property
    def entries(self) -> int:
        """How many answers are kept."""
        return self._cache.entries

    @property
    def size_bytes(self) -> int:
        """How many bytes they take."""
        return self._cache.size_bytes

    def _untrusting(self, root: Path) -> tuple[_Trust | None, bool, bool]:
        """Trust nothing while a look is taken; say what had happened before: anything, and to the directories."""
        trust = self._trusts.get(root)
        if trust is None:
            return None, True, True
        was_armed, trust.armed = trust.armed, False
        changed, steered = trust.watch.drain()
        return trust, changed or not was_armed, steered

    def _trust(self, root: Path, gathered: Gathered, began: float, changed: bool) -> None:
        """Trust the state that was found, if the directories were watched before it was looked for."""
        trust = self._trusts.get(root)
        if gathered.watch is not None:
            if trust is not None:
                trust.watch.close()
            trust = self._trusts[root] = _Trust(Watch.of(gathered.watch, root))
        if trust is None or not gathered.is_watched or (changed and not gathered.looked):
            return
        trust.digest = gathered.digest
        trust.since = began if gathered.looked else trust.since
        trust.armed = True

    def _told(self, question: Question, entry: Entry, request: ContextRequest) -> ContextAnswer:
        body = entry.head.body(self._ending(request, True), lambda: self._cache.weigh(question, entry))
        return ContextAnswer(body, entry.etag, True, entry.truncated, entry.file_count)

    def _made(
        self, request: ContextRequest, question: Question, gathered: Gathered, head: bytes
    ) -> tuple[ContextAnswer, Keep]:
        etag = f'"{hashlib.sha256(head).hexdigest()[:32]}"'
        body = FreshBody(head + self._ending(request, False))
        answer = ContextAnswer(body, etag, False, gathered.truncated, gathered.file_count)
        if not gathered.is_whole or request.inquiry is not None:
            return answer, _nothing
        state = _state(request, gathered.digest)

        def keep() -> None:
            kept = KeptHead.of(head, len(self._ending(request, True)))
            self._cache.put(question, Entry(state, kept, etag, gathered.truncated, gathered.file_count))

        return answer, keep

    def _ending(self, request: ContextRequest, hit: bool) -> bytes:
        return b"" if request.form == "markdown" else ending(self._seconds(), hit)


def question_of(request: ContextRequest) -> Question:
    """Name what a request asks, whatever the state of the project."""
    digest = hashlib.sha256(request.task.encode("utf-8", "replace")).digest()
    return Question(
        request.project_id, request.issue_id, request.agent_type.type, digest, request.budget_bytes, request.form
    )


def _nothing() -> None:
    """Keep nothing."""


def _state(request: ContextRequest, digest: bytes) -> State:
    return State(request.agent_type, digest, _results_digest(request))


def _results_digest(request: ContextRequest) -> bytes:
    digest = hashlib.sha256(encode(request.results_version))
    for result in request.results:
        digest.update(encode([result.result_id, result.agent, result.agent_type, result.timestamp, result.status]))
        digest.update(encode([list(result.decisions), list(result.files_affected)]))
    return digest.digest()
