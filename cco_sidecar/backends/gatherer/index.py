"""The terms of the projects' files: read once for each content, kept while there is room.

What a task asks for is no part of it: the index follows from the files alone, and a task only looks into it. Secrets
are replaced before, so that neither a rank nor a reason tells who guesses one that he is right.
"""

import threading
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field
from cachetools import LRUCache

from cco_sidecar.backends.gatherer.opener import Root
from cco_sidecar.backends.gatherer.reading import Checkpoint
from cco_sidecar.backends.gatherer.texts import FILE_BYTES, TextCache, is_still
from cco_sidecar.core.context.generated import generated_path
from cco_sidecar.core.context.languages import Kind, kind_of
from cco_sidecar.core.context.project import Project, ProjectFile, Text, Unreadable
from cco_sidecar.core.context.terms import NO_TERMS, TEXT_CHARACTERS, Terms, terms_of

MOST_TEXT_BYTES = 32 << 20
"""So much text of one project is indexed, two or three seconds' work; of a larger one, the likeliest files."""
_TERMS_PER_TEXT = 3
"""A text's terms never take more than so many times its bytes, but for a little overhead."""
_FILE_OVERHEAD = 1_024
_BATCH = 4_096

_Key = tuple[str, str]

Late = Callable[[], bool]
"""Says whether time is over."""


def never() -> bool:
    """Say that there is time for all."""
    return False


def _size(terms: Terms) -> int:
    return terms.size_bytes


@define(eq=False)
class TermIndex:
    """The terms of files by their content; used by several threads."""

    _most_bytes: int
    _texts: TextCache
    _known: "LRUCache[_Key, Terms]" = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._known = LRUCache(maxsize=self._most_bytes, getsizeof=_size)

    def documents(self, root: Root, project: Project, check: Checkpoint, is_late: Late = never) -> dict[str, Terms]:
        """Give the terms of the project's files, by path; those not known yet are read and counted.

        :param check: is called before each file, and raises to end the work.
        :param is_late: says that no more are to be read.
        """
        files = indexed(project, min(MOST_TEXT_BYTES, self._most_bytes // _TERMS_PER_TEXT))
        with self._lock:
            found = {file.path: self._known.get((root.name, file.key)) for file in files}
        unknown = [file for file in files if found[file.path] is None]
        for start in range(0, len(unknown), _BATCH):
            if is_late():
                break
            batch = unknown[start : start + _BATCH]
            for file, terms in zip(batch, self._texts.studied(root, batch, _terms, check), strict=True):
                found[file.path] = terms
                if is_still(root, file):
                    self._keep((root.name, file.key), terms)
        return {path: terms for path, terms in found.items() if terms is not None and terms.length}

    def clear(self) -> int:
        """Forget all, and say how many bytes that were."""
        with self._lock:
            freed = self.size_bytes
            self._known.clear()
        return freed

    @property
    def size_bytes(self) -> int:
        """How many bytes the terms take, about."""
        return int(self._known.currsize)

    def _keep(self, key: _Key, terms: Terms) -> None:
        with self._lock:
            if terms.size_bytes <= self._most_bytes:
                self._known[key] = terms


def _terms(text: Text | Unreadable) -> Terms:
    return NO_TERMS if isinstance(text, Unreadable) else terms_of(text.content)


def indexed(project: Project, most_bytes: int) -> Sequence[ProjectFile]:
    """Choose the files whose text counts: if that of all is too much, changed ones first, then by kind and depth."""
    files = [file for file in project.files if not generated_path(file.path) and file.size <= FILE_BYTES]
    if sum(map(_cost, files)) <= most_bytes:
        return files
    recent = _recent(project)
    files.sort(
        key=lambda file: (
            not file.status,
            recent.get(file.path, len(recent)),
            kind_of(file.path) is not Kind.SOURCE,
            file.path.count("/"),
            file.path,
        )
    )
    chosen = []
    for file in files:
        most_bytes -= _cost(file)
        if most_bytes < 0:
            break
        chosen.append(file)
    return chosen


def _cost(file: ProjectFile) -> int:
    return min(file.size, TEXT_CHARACTERS) + _FILE_OVERHEAD


def _recent(project: Project) -> Mapping[str, int]:
    places: dict[str, int] = {}
    for step in project.git.footprints if project.git else ():
        for path in step.files:
            places.setdefault(path, len(places))
    return places
