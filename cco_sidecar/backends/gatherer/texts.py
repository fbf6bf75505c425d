"""The texts of files as they go into answers: read, cleared of secrets and encoded once for each content."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import zstandard
from attrs import define, field, frozen
from cachetools import LRUCache

from cco_sidecar.backends.gatherer.forks import mapped
from cco_sidecar.backends.gatherer.opener import NotRegularError, Root, is_young
from cco_sidecar.core.context.project import (
    BINARY,
    GONE,
    NOT_REGULAR,
    TOO_BIG,
    ProjectFile,
    Text,
    Unreadable,
)
from cco_sidecar.core.secrets.redacting import redact

FILE_BYTES = 1 << 20
_LEVEL = 1
_WORTH_PACKING = 512
_OVERHEAD_BYTES = 600

_Studied = TypeVar("_Studied")


@frozen
class Kept:
    """A text as it is kept: its JSON compressed if that is worth it; or why there is none."""

    data: bytes
    is_packed: bool
    checksum: str
    redactions: int
    size: int
    generated: dict[str, str]
    why: str


def _sizes(files: Sequence[ProjectFile]) -> list[int]:
    return [min(file.size, FILE_BYTES) for file in files]


def _size(kept: Kept) -> int:
    return len(kept.data) + _OVERHEAD_BYTES


@define(eq=False)
class TextCache:
    """Texts by the content they are of, the least recently used ones leaving first; any thread may use it."""

    _most_bytes: int
    _kept: "LRUCache[tuple[str, str], Kept]" = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _compressor: zstandard.ZstdCompressor = field(factory=lambda: zstandard.ZstdCompressor(level=_LEVEL), init=False)
    _decompressor: zstandard.ZstdDecompressor = field(factory=zstandard.ZstdDecompressor, init=False)

    def __attrs_post_init__(self) -> None:
        self._kept = LRUCache(maxsize=self._most_bytes, getsizeof=_size)

    def read_ahead(self, root: Root, files: Iterable[ProjectFile], check: Callable[[], None]) -> None:
        """Read the texts of files that are not known yet, on several processors."""
        with self._lock:
            unknown = [file for file in files if file.key and (root.name, file.key) not in self._kept]
        found = mapped(partial(self._found, root), unknown, _sizes(unknown), check)
        for file, kept in zip(unknown, found, strict=True):
            self.take(root, file, kept)

    def studied(
        self,
        root: Root,
        files: Sequence[ProjectFile],
        study: Callable[[Text | Unreadable], _Studied],
        check: Callable[[], None],
    ) -> list[_Studied]:
        """Give what a study makes of the texts of files, on several processors."""
        with self._lock:
            known = [self._kept.get((root.name, file.key)) for file in files]

        def work(pair: tuple[ProjectFile, Kept | None]) -> tuple[Kept | None, _Studied]:
            file, kept = pair
            text = read_text(root, file.path) if kept is None else self._opened(kept)
            return (self._packed(text) if kept is None else None), study(text)

        found = mapped(work, list(zip(files, known, strict=True)), _sizes(files), check)
        for file, (read, _) in zip(files, found, strict=True):
            if read is not None:
                self.take(root, file, read)
        return [studied for _, studied in found]

    def take(self, root: Root, file: ProjectFile, kept: "Kept") -> None:
        """Keep what was read of a file, if it is of what the file was."""
        if is_still(root, file):
            with self._lock:
                self._keep((root.name, file.key), kept)

    def _found(self, root: Root, file: ProjectFile) -> "Kept":
        return self._packed(read_text(root, file.path))

    def text(self, root: Root, file: ProjectFile) -> Text | Unreadable:
        """Give the text of a file; what changed since the project was looked at is given as it is, and not kept."""
        key = root.name, file.key
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                return self._opened(kept)
        found = read_text(root, file.path)
        if file.key and is_still(root, file):
            with self._lock:
                self._keep(key, self._packed(found))
        return found

    @property
    def size_bytes(self) -> int:
        """How many bytes the texts take, about."""
        return int(self._kept.currsize)

    def _keep(self, key: tuple[str, str], kept: Kept) -> None:
        if _size(kept) <= self._most_bytes:
            self._kept[key] = kept

    def _packed(self, found: Text | Unreadable) -> Kept:
        if isinstance(found, Unreadable):
            return Kept(b"", False, "", 0, 0, {}, found.why)
        packed = len(found.json) > _WORTH_PACKING
        data = self._compressor.compress(found.json) if packed else found.json
        return Kept(data, packed, found.checksum, found.redactions, found.size_bytes, found.generated_by_language, "")

    def _opened(self, kept: Kept) -> Text | Unreadable:
        if kept.why:
            return Unreadable(kept.why)
        data = self._decompressor.decompress(kept.data) if kept.is_packed else kept.data
        return Text(None, kept.checksum, kept.redactions, data, kept.size, kept.generated)


def read_text(root: Root, path: str) -> Text | Unreadable:
    """Read a file of at most 1 MB as text; bytes that are no UTF-8 become U+FFFD, and secrets are replaced."""
    try:
        found = root.read(path, FILE_BYTES)
    except NotRegularError:
        return Unreadable(NOT_REGULAR)
    except (OSError, ValueError):
        return Unreadable(GONE)
    if b"\0" in found.data:
        return Unreadable(BINARY)
    if not found.whole:
        return Unreadable(TOO_BIG)
    content, counts = redact(found.data.decode("utf-8", "replace"))
    return Text(content, hashlib.sha256(found.data).hexdigest(), counts.total())


def is_still(root: Root, file: ProjectFile) -> bool:
    """Say whether the file is as it was when the project was looked at, so that what was read belongs to its key."""
    try:
        status = root.status(file.path)
    except (OSError, ValueError):
        return False
    return (status.st_size, status.st_mtime_ns) == (file.size, file.modified_ns) and not is_young(status.st_ctime_ns)
