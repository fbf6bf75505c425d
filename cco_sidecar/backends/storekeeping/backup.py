"""Carrying a storage away while a sidecar may go on writing to it. All of it blocks.

The order makes it consistent: every log is listed after the backup began, and its segments are only ever appended to,
so all that was acknowledged before lies in what was listed. Results follow the events that name them; of an issue's
results the newest come before the history, which then has what they are.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from attrs import define, field, frozen

from cco_sidecar.backends.placing import shown
from cco_sidecar.backends.storage import open_storage, sync_directory
from cco_sidecar.backends.storekeeping.archive import (
    FORM,
    ArchiveError,
    Closable,
    Manifest,
    ProjectContents,
    TarWriter,
    compressor,
)
from cco_sidecar.backends.storekeeping.findings import MOST_FINDINGS
from cco_sidecar.backends.storekeeping.layout import Entry, Kind, Parts, is_directory, is_passing, walk
from cco_sidecar.backends.storekeeping.logcheck import read_segment, segment_names
from cco_sidecar.core.times import rfc3339

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK})


@frozen
class Maker:
    """Who makes a backup, and when (seconds since the epoch)."""

    version: str
    now: float


def backup_into(target: Path, storage: Path, maker: Maker, *, force: bool) -> Manifest:
    """Write a backup into a file (0600), whole or not at all.

    :param force: whether a file that is there may be replaced.
    :raises StorageError: the storage cannot be read.
    :raises ArchiveError: the file is there, or cannot be written.
    """
    compress = compressor(target.name)
    _check_target(target, storage, force=force)
    handle = open_storage(storage)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                manifest = _write(file, compress, handle, storage, maker)
                file.flush()
                os.fsync(file.fileno())
            _put_in_place(temporary, target, force=force)
            sync_directory(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ArchiveError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        os.close(handle)
    return manifest


def backup_to(file: "IO[bytes]", storage: Path, maker: Maker) -> Manifest:
    """Write a backup, not compressed, to an open file, such as stdout.

    :raises StorageError: the storage cannot be read.
    :raises OSError: the file cannot be written.
    """
    handle = open_storage(storage)
    try:
        manifest = _write(file, compressor("-"), handle, storage, maker)
        file.flush()
    finally:
        os.close(handle)
    return manifest


def _check_target(target: Path, storage: Path, *, force: bool) -> None:
    with suppress(OSError, RuntimeError):
        if target.parent.resolve().is_relative_to(storage.resolve()):
            raise ArchiveError(f"{target} lies in the storage itself: choose another place")
    try:
        state = target.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArchiveError(f"{target} cannot be written: {error.strerror}") from error
    if not stat.S_ISREG(state.st_mode):
        raise ArchiveError(f"{target} is no regular file: name another one, or - for stdout")
    if not force:
        raise ArchiveError(_IS_THERE.format(target))


_IS_THERE = "{} is there already: name another file, or replace it with --force"


def _put_in_place(temporary: Path, target: Path, *, force: bool) -> None:
    if force:
        temporary.replace(target)
        return
    try:
        target.hardlink_to(temporary)  # unlike a rename, it replaces nothing that came meanwhile
    except FileExistsError:
        raise ArchiveError(_IS_THERE.format(target)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS or target.exists():
            raise
        temporary.replace(target)


def _write(
    file: "IO[bytes]", compress: "Callable[[IO[bytes]], Closable]", storage_handle: int, storage: Path, maker: Maker
) -> Manifest:
    sink = compress(file)
    manifest = _Backup(TarWriter(sink), maker).run(storage_handle, storage)
    sink.close()
    return manifest


@define
class _Backup:
    """One walk through the storage; what cannot be read is left out, and said."""

    _tar: TarWriter
    _maker: Maker
    _projects: dict[str, ProjectContents] = field(factory=dict)
    _counts: dict[Kind, int] = field(factory=dict)
    _left_out: list[str] = field(factory=list)
    _passed_over: list[str] = field(factory=list)

    def run(self, handle: int, storage: Path) -> Manifest:
        """Write everything."""
        for entry in walk(handle, lambda parts, _: self._leave_out(parts)):
            self._take(entry)
        manifest = Manifest(
            form=FORM,
            version=self._maker.version,
            created_at=rfc3339(self._maker.now),
            storage=str(storage),
            projects=self._projects,
            results=self._counts.get(Kind.RESULT, 0),
            logs=self._counts.get(Kind.LOG, 0),
            quarantined=self._counts.get(Kind.QUARANTINED, 0),
            left_out=self._left_out,
            passed_over=self._passed_over[:MOST_FINDINGS],
            members=self._tar.members,
        )
        self._tar.finish(manifest, self._maker.now)
        return manifest

    def _leave_out(self, parts: Parts) -> None:
        self._left_out.append(shown(*parts))

    def _take(self, entry: Entry) -> None:
        parts, kind = entry.parts, entry.kind
        if kind in {Kind.SEGMENT, Kind.MANIFEST}:
            return  # segments went with their directory
        if entry.is_directory and is_directory(parts):
            self._tar.directory("/".join(parts), entry.state.st_mtime)
            if len(parts) == 2 and parts[0] == "events":
                self._take_log(entry)
        elif kind is not None:
            self._take_file(entry, kind)
        elif not is_passing(parts):
            self._passed_over.append(shown(*parts))

    def _take_file(self, entry: Entry, kind: Kind) -> None:
        try:
            content = entry.read(kind)
        except FileNotFoundError:
            return
        except OSError:
            self._leave_out(entry.parts)
            return
        self._tar.file("/".join(entry.parts), content, entry.state.st_mtime)
        self._counts[kind] = self._counts.get(kind, 0) + 1

    def _take_log(self, entry: Entry) -> None:
        try:
            handle = entry.open_directory()
        except OSError:
            return  # told by the walk, which enters it next
        try:
            self._projects[entry.parts[-1]] = self._take_segments(handle, entry.parts)
        except OSError:
            self._leave_out(entry.parts)
        finally:
            os.close(handle)

    def _take_segments(self, handle: int, parts: Parts) -> ProjectContents:
        names = segment_names(handle)
        with suppress(OSError):
            if names and read_segment(handle, names[-1])[1].is_unfinished:
                names.pop()  # it is being made, and holds nothing that the one before it does not
        numbers: list[int] = []
        taken = 0
        for name in names:
            try:
                text, look = read_segment(handle, name)
                mtime = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mtime
            except FileNotFoundError:
                continue  # it has expired
            except OSError:
                self._leave_out((*parts, name))
                continue
            if name == names[-1] and look.is_torn:
                text = text[: look.what.good_bytes]  # a write that is under way now was not acknowledged
            self._tar.file("/".join((*parts, name)), text, mtime)
            taken += 1
            numbers += [number for number, _ in look.what.records]
        return ProjectContents(taken, len(numbers), min(numbers, default=None), max(numbers, default=None))
