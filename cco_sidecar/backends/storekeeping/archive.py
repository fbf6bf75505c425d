"""The form of a backup: a tar of the storage's files and, as its last member, a manifest of them all."""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import msgspec
from attrs import define, field

from cco_sidecar.backends.storekeeping.layout import MANIFEST

FORM = 1
_BLOCK = tarfile.BLOCKSIZE


class ArchiveError(Exception):
    """A backup cannot be made or restored; one sentence that says why and what to do."""


class Member(msgspec.Struct, frozen=True):
    """A file of the backup; ``path`` is below the storage."""

    path: str
    size: int
    sha256: str


class ProjectContents(msgspec.Struct, frozen=True):
    """What a backup holds of a project's log."""

    segments: int
    records: int
    first_sequence: int | None
    last_sequence: int | None


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds; ``left_out`` could not be read, ``passed_over`` does not belong into a storage."""

    form: int
    version: str
    created_at: str
    storage: str
    projects: dict[str, ProjectContents]
    results: int
    logs: int
    quarantined: int
    left_out: list[str]
    passed_over: list[str]
    members: list[Member]


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


@define
class TarWriter:
    """Writes a tar straight through, also into a pipe, and remembers what went into it."""

    _sink: Sink
    members: list[Member] = field(factory=list)
    size_bytes: int = 0

    def directory(self, path: str, mtime: float) -> None:
        """Add a directory."""
        info = _info(path, mtime)
        info.type, info.mode = tarfile.DIRTYPE, 0o700
        self._sink.write(info.tobuf(tarfile.PAX_FORMAT))

    def file(self, path: str, content: bytes, mtime: float) -> None:
        """Add a file."""
        self.members.append(Member(path, len(content), hashlib.sha256(content).hexdigest()))
        self.size_bytes += len(content)
        self._put(path, content, mtime)

    def finish(self, manifest: Manifest, mtime: float) -> None:
        """Add the manifest, and the end."""
        self._put(MANIFEST, msgspec.json.encode(manifest), mtime)
        self._sink.write(b"\0" * 2 * _BLOCK)

    def _put(self, path: str, content: bytes, mtime: float) -> None:
        info = _info(path, mtime)
        info.size, info.mode = len(content), 0o600
        self._sink.write(info.tobuf(tarfile.PAX_FORMAT))
        self._sink.write(content)
        self._sink.write(b"\0" * (-len(content) % _BLOCK))


def _info(path: str, mtime: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.uid, info.gid = os.geteuid(), os.getegid()
    info.mtime = int(mtime)  # pruning goes by it; whole seconds need no header of their own
    return info


@define
class _Gzip:
    """Compresses into a file."""

    _file: Sink
    _stream: "zlib._Compress" = field(factory=lambda: zlib.compressobj(wbits=31))

    def write(self, data: bytes) -> None:
        self._file.write(self._stream.compress(data))

    def close(self) -> None:
        self._file.write(self._stream.flush())


class Closable(Sink, Protocol):
    """A sink that has something to say at its end."""

    def close(self) -> None:
        """Write what is still to be written; the file behind it stays open."""


@define
class _Plain:
    _file: Sink

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def close(self) -> None:
        return


def _zstd(file: "IO[bytes]") -> Closable:
    import zstandard

    return zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)


_WRITERS: "dict[str, Callable[[IO[bytes]], Closable]]" = {
    ".tar": _Plain,
    ".tar.gz": _Gzip,
    ".tgz": _Gzip,
    ".tar.zst": _zstd,
}


def compressor(name: str) -> "Callable[[IO[bytes]], Closable]":
    """Give the writer that an archive's name asks for; ``-`` is plain.

    :raises ArchiveError: its name does not say what it is.
    """
    if name == "-":
        return _Plain
    for suffix, writer in _WRITERS.items():
        if name.endswith(suffix) and Path(name).name != suffix:
            return writer
    raise ArchiveError(f"{name} does not say what to make: name it FILE.tar, FILE.tar.gz or FILE.tar.zst")
