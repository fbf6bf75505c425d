"""Answers that may be given again while the state they were made from lasts."""

import threading

from attrs import define, field, frozen
from cachetools import LRUCache

from cco_sidecar.backends.gatherer.bodies import KeptHead
from cco_sidecar.core.roster import AgentType


@frozen
class Question:
    """What an answer is to; ``task_digest`` stands for the task's text."""

    project_id: str
    issue_id: str
    agent_type: str
    task_digest: bytes
    budget_bytes: int
    form: str = "json"


@frozen
class State:
    """What an answer hangs on besides its question: equal states make equal answers."""

    agent_type: AgentType
    project_digest: bytes
    results_digest: bytes


@frozen
class Entry:
    """An answer but for its ending, with its strong, quoted ETag."""

    state: State
    head: KeptHead
    etag: str
    truncated: bool
    file_count: int


@frozen
class Cleared:
    """What was removed from the cache."""

    entries_removed: int
    bytes_freed: int


def _size(entry: Entry) -> int:
    return entry.head.size_bytes


@define(eq=False)
class ContextCache:
    """The newest answer to each question, the least recently used ones leaving first; any thread may use it."""

    _most_bytes: int
    _entries: "LRUCache[Question, Entry]" = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._entries = LRUCache(maxsize=self._most_bytes, getsizeof=_size)

    def get(self, question: Question) -> Entry | None:
        """Give the newest answer to the question, whatever it was made from."""
        with self._lock:
            return self._entries.get(question)

    def put(self, question: Question, entry: Entry) -> None:
        """Keep an answer in place of an older one, unless it alone is bigger than the cache."""
        with self._lock:
            self._entries.pop(question, None)
            if _size(entry) <= self._most_bytes:
                self._entries[question] = entry

    def weigh(self, question: Question, entry: Entry) -> None:
        """Count an answer anew that has been given another form."""
        with self._lock:
            if self._entries.pop(question, None) is entry and _size(entry) <= self._most_bytes:
                self._entries[question] = entry

    def clear(self, project_id: str | None, issue_id: str | None, agent_type: str | None) -> Cleared:
        """Remove what matches all that is not None."""
        with self._lock:
            doomed = [
                question
                for question in self._entries
                if project_id in (None, question.project_id)
                and issue_id in (None, question.issue_id)
                and agent_type in (None, question.agent_type)
            ]
            before = self._entries.currsize
            for question in doomed:
                del self._entries[question]
            return Cleared(len(doomed), int(before - self._entries.currsize))

    @property
    def entries(self) -> int:
        """How many answers are kept."""
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """How many bytes they take."""
        return int(self._entries.currsize)
