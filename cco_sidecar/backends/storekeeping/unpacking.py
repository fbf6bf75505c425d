"""Reading a tar that anybody may have made: straight through, within bounds, and nothing but plain files in it.

Python's own extraction is not used: files are written by `restoring`, under names put together anew from parts
that were checked, into a directory that is ours alone.
"""

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from attrs import define, field, frozen

from cco_sidecar.backends.placing import shown
from cco_sidecar.backends.storekeeping.archive import ArchiveError
from cco_sidecar.backends.storekeeping.layout import Kind, Parts, is_directory, is_passing, kind_of

MOST_MEMBERS = 1_000_000
_MOST_HEAD_BYTES = 64 * 1024
_MOST_PARTS = 32
_MOST_WAITING = 10_000
_CHUNK = 1 << 18
_NOT_OURS = "does not belong into a storage"


def decompressed(file: "IO[bytes]") -> "IO[bytes]":
    """Give the tar that lies in an open file, plain or compressed, by its first bytes."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        import gzip

        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]  # typed as what it reads from
    if start == b"\x28\xb5\x2f\xfd":
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True)
    return file


@contextmanager
def sentences(file: str) -> Iterator[None]:
    """Turn whatever a broken archive makes Python's modules raise into one sentence; errors of the disk pass."""
    try:
        yield
    except (tarfile.TarError, ValueError, OverflowError, EOFError, zlib.error, RecursionError) as error:
        raise ArchiveError(f"{file} is no whole tar archive: {error}") from error
    except Exception as error:
        if type(error).__name__ in {"ZstdError", "BadGzipFile"}:
            raise ArchiveError(f"{file} is no whole archive: {error}") from error
        raise


@define
class TarSource:
    """A tar, read forward only; ``head_allowance`` is what a head may take, ``last`` what was read last."""

    _file: "IO[bytes]"
    _position: int = 0
    head_allowance: int | None = _MOST_HEAD_BYTES
    last: bytes = b""

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes."""
        if self.head_allowance is not None:
            self.head_allowance -= size
            if self.head_allowance < 0:
                raise tarfile.ReadError("a member's head is larger than any name needs")
        pieces = []
        while size > 0 and (piece := self._file.read(min(size, _CHUNK))):
            pieces.append(piece)
            size -= len(piece)
        self.last = b"".join(pieces)
        self._position += len(self.last)
        return self.last

    def tell(self) -> int:
        """Say how far it was read."""
        return self._position

    def seek(self, position: int) -> None:
        """Pass over everything before ``position``."""
        if position < self._position:
            raise tarfile.ReadError("its members do not follow one another")
        while self._position < position:
            piece = self._file.read(min(position - self._position, _CHUNK))
            if not piece:
                return
            self._position += len(piece)

    def finish(self) -> None:
        """Read to the end, so that the checksum behind it is looked at; a tar is filled up with zeros."""
        while piece := self._file.read(_CHUNK):
            if piece.strip(b"\0"):
                raise tarfile.ReadError("something lies behind its end")


@frozen
class Packed:
    """A file of the archive, to be read before the next is asked for; ``parts`` is where it belongs."""

    parts: Parts
    kind: Kind
    mtime: float
    content: "IO[bytes]"


def packed_files(file: "IO[bytes]", most_bytes: int) -> Iterator[Packed]:
    """Give every file of a tar of a storage, each once.

    :param most_bytes: how much all of it may hold.
    :raises ArchiveError: something in it is no file of a storage, or it holds too much.
    :raises Exception: what `sentences` makes a sentence of.
    """
    source = TarSource(file)
    names = _Names()
    total = 0
    with tarfile.TarFile(fileobj=source) as tar:  # type: ignore[arg-type]  # it needs no more of a file than this
        while (info := _next(tar, source)) is not None:
            parts = names.take(info)
            total += info.size
            if total > most_bytes:
                raise ArchiveError(f"the archive holds more than the {most_bytes} bytes that are free on this disk")
            if parts is None:
                continue
            kind, content = kind_of(parts), tar.extractfile(info)
            if kind is None or content is None or info.size > kind.most_bytes:
                raise _refusal(info, "is larger than any file of its kind")
            yield Packed(parts, kind, info.mtime, content)
        if len(source.last) != tarfile.BLOCKSIZE or source.last.strip(b"\0"):
            raise tarfile.ReadError("it ends too early")
        source.finish()
    names.finish()


def _next(tar: tarfile.TarFile, source: TarSource) -> tarfile.TarInfo | None:
    source.head_allowance = _MOST_HEAD_BYTES
    info = tar.next()
    source.head_allowance = None
    tar.members.clear()  # type: ignore[attr-defined]  # typed as private; it would keep them all
    return info


def _refusal(info: tarfile.TarInfo, why: str) -> ArchiveError:
    return ArchiveError(f"the archive is refused: {shown(info.name[:200])} {why}")


@define
class _Names:
    """Finds where members belong: a tar holds what is in a storage, or a directory that is the storage.

    ``_start`` are the names above the storage, known from the first file on; ``_waiting`` the directories before it.
    """

    _start: Parts | None = None
    _waiting: list[tarfile.TarInfo] = field(factory=list)
    _count: int = 0

    def take(self, info: tarfile.TarInfo) -> Parts | None:
        """Give where a file belongs; None for a directory, and for what may be left away.

        :raises ArchiveError: it belongs nowhere.
        """
        self._count += 1
        if self._count > MOST_MEMBERS or len(self._waiting) > _MOST_WAITING:
            raise ArchiveError(f"the archive is refused: it has more than {self._count - 1} members")
        parts = _parts(info)
        if info.isdir():
            self._take_directory(info, parts)
            return None
        if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or info.issparse() or info.size < 0:
            raise _refusal(info, "is no plain file")
        below = self._below(parts)
        if below is not None and kind_of(below) is not None:
            return below
        if below is None or not is_passing(below):
            raise _refusal(info, _NOT_OURS)
        return None

    def finish(self) -> None:
        """Say that there are no more.

        :raises ArchiveError: it was no storage.
        """
        if self._start is None:
            raise ArchiveError("the archive is refused: there is no file of a storage in it")

    def _below(self, parts: Parts) -> Parts | None:
        if self._start is None:
            tails = ((parts[:at], parts[at:]) for at in range(len(parts)))
            self._start = next((start for start, tail in tails if kind_of(tail) or is_passing(tail)), None)
            if self._start is None:
                return None
            waiting, self._waiting = self._waiting, []
            for info in waiting:
                self._take_directory(info, _parts(info))
        length = len(self._start)
        return parts[length:] if parts[:length] == self._start and len(parts) > length else None

    def _take_directory(self, info: tarfile.TarInfo, parts: Parts) -> None:
        if self._start is None:
            self._waiting.append(info)
            return
        below = self._below(parts)
        if not (is_directory(below) if below is not None else parts == self._start[: len(parts)]):
            raise _refusal(info, _NOT_OURS)


def _parts(info: tarfile.TarInfo) -> Parts:
    parts = tuple(part for part in info.name.split("/") if part not in {"", "."})
    if info.name.startswith("/") or ".." in parts or len(parts) > _MOST_PARTS or not (parts or info.isdir()):
        raise _refusal(info, "is no name within a directory")
    return parts
