"""Where damaged files go, as they were found, so that somebody can look at them, and what they held is not gone."""

import os
import shutil
from itertools import count
from pathlib import Path

from attrs import define
from twisted.logger import Logger

from cco_sidecar.backends.storage import make_below, sync_directory

_log = Logger()

MOST_FILES = 20
MOST_BYTES = 256 * 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@define(eq=False)
class Quarantine:
    """A private directory below the storage, made when it is needed; the newest 20 files stay, 256 MiB at most.

    ``names`` lead to it from the storage. A file that is larger than all of it is kept nevertheless, alone.
    """

    _storage: Path
    _names: tuple[str, ...]
    _most_files: int = MOST_FILES
    _most_bytes: int = MOST_BYTES

    def replace(self, path: Path, content: bytes) -> Path:
        """Copy a file here, byte for byte, and put another content in its place, or nothing for none. Blocks.

        A crash leaves the old content or the new one, and the copy is on disk before.

        :raises OSError: the disk does not do it; the file is then as it was.
        """
        directory = make_below(self._storage, *self._names)
        kept = self._copy(path, directory)
        if content:
            self._put(path, content, directory)
        else:
            path.unlink()
        sync_directory(path.parent)
        self._thin_out(directory)
        return kept

    def _copy(self, path: Path, directory: Path) -> Path:
        for number in count(1):
            kept = directory / f"{path.name}.{number}"
            try:
                handle = os.open(kept, _NEW, 0o600)
                break
            except FileExistsError:
                continue
        with os.fdopen(handle, "wb") as copy, os.fdopen(os.open(path, _OLD), "rb") as original:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(handle)
        sync_directory(directory)
        return kept

    def _put(self, path: Path, content: bytes, directory: Path) -> None:
        # Made here: the directory of the log holds nothing but segments, also after a crash.
        temporary = directory / ".new"
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, _NEW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        temporary.rename(path)

    def _thin_out(self, directory: Path) -> None:
        kept = [path for path in directory.iterdir() if not path.name.startswith(".")]
        kept.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        size = 0
        for number, path in enumerate(kept):
            size += path.stat().st_size
            if number and (number >= self._most_files or size > self._most_bytes):
                _log.warn("{path} leaves the quarantine: newer ones need the room", path=str(path))
                path.unlink()
