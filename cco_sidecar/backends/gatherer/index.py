"""The terms of the projects' files: read once for each content, kept while there is room.

What a task asks for is no part of it: the index follows from the files alone, and a task only looks into it. Secrets
are replaced before, so that neither a rank nor a reason tells who guesses one that he is right.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field
from cachetools import LRUCache

from cco_sidecar.backends.gatherer.opener import Root
from cco_sidecar.backends.gatherer.reading import FILE_BYTES, Checkpoint, read_text
from cco_sidecar.core.context.generated import generated_path
from cco_sidecar.core.context.languages import Kind, kind_of
from cco_sidecar.core.context.project import Project, ProjectFile, Unreadable
from cco_sidecar.core.context.terms import NO_TERMS, TEXT_CHARACTERS, Terms, terms_of

MOST_TEXT_BYTES = 32 << 20
"""So much text of one project is indexed, two or three seconds' work; of a larger one, the likeliest files."""
_TERMS_PER_TEXT = 3
"""A text's terms never take more than so many times its bytes, but for a little overhead."""
_FILE_OVERHEAD = 1_024

_Key = tuple[Path, str]


def _size(terms: Terms) -> int:
    return terms.size_bytes


@define(eq=False)
class TermIndex:
    """The terms of files by their content; used by several threads."""

    _most_bytes: int
    _known: "LRUCache[_Key, Terms]" = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._known = LRUCache(maxsize=self._most_bytes, getsizeof=_size)

    def documents(self, root: Root, project: Project, check: Checkpoint) -> dict[str, Terms]:
        """Give the terms of the project's files, by path; those not known yet are read and counted.

        :param check: is called before each file, and raises to end the work.
        """
        found = {}
        for file in indexed(project, min(MOST_TEXT_BYTES, self._most_bytes // _TERMS_PER_TEXT)):
            key = root.path, file.key
            with self._lock:
                terms = self._known.get(key)
            if terms is None:
                check()
                terms = _read(root, file)
                if _is_still(root, file):
                    self._keep(key, terms)
            if terms.length:
                found[file.path] = terms
        return found

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


def _read(root: Root, file: ProjectFile) -> Terms:
    text = read_text(root, file.path)
    return NO_TERMS if isinstance(text, Unreadable) else terms_of(text.content)


def _is_still(root: Root, file: ProjectFile) -> bool:
    """Say whether the file is as it was when the project was looked at, so that what was read belongs to its key."""
    try:
        status = root.status(file.path)
    except (OSError, ValueError):
        return False
    return (status.st_size, status.st_mtime_ns) == (file.size, file.modified_ns)
