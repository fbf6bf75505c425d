"""Directories that a gathering needs for a moment, and what is left of those whose process was killed."""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "cco-git-"
_YOUNG_SECONDS = 60.0
"""Who has made a directory has locked it by then."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give an empty, private directory; it is locked while it is in use, so that `sweep` spares it."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        handle = os.open(name, _OPEN)
        try:
            with suppress(OSError):  # a file system without locks: then `sweep` gets none, either
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name)
        finally:
            os.close(handle)


def sweep() -> None:
    """Remove this user's directories that nobody uses any more. Blocks."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    try:
        handle = os.open(path, _OPEN)
    except OSError:
        return  # gone, a link, or not ours
    try:
        status = os.fstat(handle)
        is_private = status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
        if is_private and status.st_mtime + _YOUNG_SECONDS < time.time():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # it is locked: somebody uses it
    finally:
        os.close(handle)
