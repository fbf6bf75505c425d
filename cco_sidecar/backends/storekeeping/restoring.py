"""Bringing a storage back: into a directory beside its place, checked, and only then put there. All of it blocks."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
from attrs import define, field, frozen

from cco_sidecar.backends.placing import shown
from cco_sidecar.backends.storage import claim_storage, sync_directory
from cco_sidecar.backends.storekeeping.archive import FORM, ArchiveError, Manifest, Member
from cco_sidecar.backends.storekeeping.layout import SKELETON, Kind, Parts
from cco_sidecar.backends.storekeeping.unpacking import Packed, decompressed, packed_files, sentences
from cco_sidecar.backends.storekeeping.verifying import Report, verify
from cco_sidecar.core.times import rfc3339

_CHUNK = 1 << 20


@frozen
class Restored:
    """What was brought back; ``manifest`` is None for a plain tar, ``moved_aside`` where what was there lies now."""

    files: int
    size_bytes: int
    manifest: Manifest | None
    moved_aside: Path | None
    report: Report


def restore(archive: Path, storage: Path, *, force: bool, now: float) -> Restored:
    """Put what the archive holds in the storage's place, whole or not at all, and verify it there.

    :param force: whether a storage that is there may be moved aside.
    :param now: seconds since the epoch.
    :raises StorageError: a sidecar holds the storage, or its place cannot be used.
    :raises ArchiveError: the archive is refused, or the disk takes nothing.
    """
    with ExitStack() as stack:
        if os.path.lexists(storage):
            stack.callback(os.close, claim_storage(storage))
            if not force and any(storage.iterdir()):
                raise ArchiveError(f"{storage} is not empty: name another directory, or move it aside with --force")
        try:
            storage.parent.mkdir(parents=True, exist_ok=True)
            with _fresh_beside(storage) as fresh:
                unpacked = _unpack(archive, fresh)
                stack.callback(os.close, _locked(fresh))
                moved_aside = _put_in_place(fresh, storage, now)
        except OSError as error:
            raise ArchiveError(_why_not(storage, error)) from error
        return Restored(unpacked.files, unpacked.size_bytes, unpacked.manifest, moved_aside, verify(storage))


def _why_not(storage: Path, error: OSError) -> str:
    if error.errno in {errno.EBUSY, errno.EXDEV}:
        return f"{storage} cannot be replaced, it is a mount point: name a directory below it"
    return f"{storage} cannot be written: {error.strerror}"


@contextmanager
def _fresh_beside(storage: Path) -> Iterator[Path]:
    """Give a new, private directory beside the storage; what is not moved away from there is removed."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{storage.name[:100]}.restore-", dir=storage.parent))
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _locked(directory: Path) -> int:
    """Hold the lock already, so that no sidecar starts on it before all is said."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _put_there(fresh: Path, storage: Path) -> None:
    fresh.rename(storage)
    sync_directory(storage.parent)


def _put_in_place(fresh: Path, storage: Path, now: float) -> Path | None:
    """Rename ``fresh`` to ``storage``; gives where that was moved to, if there was anything in it."""
    if not os.path.lexists(storage) or not any(storage.iterdir()):
        _put_there(fresh, storage)
        return None
    stamp = rfc3339(now).replace(":", "").replace(".", "")
    aside = Path(tempfile.mkdtemp(prefix=f"{storage.name[:100]}.before-{stamp}-", dir=storage.parent))
    try:
        storage.rename(aside)
    except OSError:
        aside.rmdir()
        raise
    try:
        _put_there(fresh, storage)
    except OSError:
        with suppress(OSError):
            aside.rename(storage)
        raise
    return aside


def _unpack(archive: Path, directory: Path) -> "_Unpacked":
    try:
        file = archive.open("rb")
    except OSError as error:
        raise ArchiveError(f"{archive} cannot be read: {error.strerror}") from error
    unpacked = _Unpacked(directory)
    with file, sentences(str(archive)):
        free = os.statvfs(directory)
        for packed in packed_files(decompressed(file), free.f_bavail * free.f_frsize):
            unpacked.take(packed)
    unpacked.finish()
    return unpacked


@define
class _Unpacked:
    """A storage that is being made below a directory."""

    _directory: Path
    files: int = 0
    size_bytes: int = 0
    manifest: Manifest | None = None
    _found: dict[str, Member] = field(factory=dict)
    _made: set[Parts] = field(factory=lambda: {()})

    def take(self, packed: Packed) -> None:
        """Put a file in its place, and on disk."""
        if packed.kind is Kind.MANIFEST:
            self._take_manifest(packed.content.read())
            return
        self._make(packed.parts[:-1])
        path = self._directory.joinpath(*packed.parts)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise ArchiveError(f"the archive is refused: {shown(*packed.parts)} is in it twice") from None
        digest, size = hashlib.sha256(), 0
        with os.fdopen(handle, "wb") as target:
            while piece := packed.content.read(_CHUNK):
                target.write(piece)
                digest.update(piece)
                size += len(piece)
            target.flush()
            with suppress(OverflowError, ValueError):  # a time that no file can have
                os.utime(handle, (packed.mtime, packed.mtime))
            os.fsync(handle)
        self.files += 1
        self.size_bytes += size
        name = "/".join(packed.parts)
        self._found[name] = Member(name, size, digest.hexdigest())

    def finish(self) -> None:
        """Check it all against the manifest, and bring the directories to disk."""
        if self.manifest is not None:
            wanted = {member.path: member for member in self.manifest.members}
            wrong = sorted(
                name for name in wanted.keys() | self._found.keys() if wanted.get(name) != self._found.get(name)
            )
            if wrong:
                raise ArchiveError(
                    f"the archive is refused: {shown(wrong[0])}, and {len(wrong) - 1} more, are not as its manifest "
                    "says; it was damaged or changed. Restore another backup"
                )
        for parts in SKELETON:
            self._make(parts)
        for made in sorted(self._made, key=len, reverse=True):
            sync_directory(self._directory.joinpath(*made))

    def _take_manifest(self, text: bytes) -> None:
        try:
            form = msgspec.json.decode(text, type=_Form).form
            if form != FORM:
                raise ArchiveError(f"the archive has form {form}: restore it with the cco-sidecar that made it")
            self.manifest = msgspec.json.decode(text, type=Manifest)
        except msgspec.MsgspecError as error:
            raise ArchiveError(f"the archive is refused: its manifest is none: {error}") from error

    def _make(self, parts: Parts) -> None:
        for length in range(1, len(parts) + 1):
            if parts[:length] not in self._made:
                self._directory.joinpath(*parts[:length]).mkdir(mode=0o700)
                self._made.add(parts[:length])


class _Form(msgspec.Struct):
    form: int
