"""Putting a result's files in place below an open directory, so that a crash leaves old or new. All of it blocks."""

import errno
import os
import stat
from contextlib import suppress

MOST_BYTES = 20 * 1024 * 1024
TEMPORARY = ".new"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make_directory(parent: int, name: str) -> None:
    """Make a directory that lasts, if it is not there."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        os.fsync(parent)


def shown(*parts: str) -> str:
    """Write a path for people and JSON, also where a name is no text."""
    return os.fsencode("/".join(parts)).decode("utf-8", "backslashreplace")


def write_both(history: int, result: str, issue: int, newest: str, content: bytes) -> None:
    """Put history and pointer in place, both on disk; what is refused leaves no history behind.

    :raises FileExistsError: that result is there already: history is never rewritten.
    """
    with suppress(FileNotFoundError):
        os.stat(result, dir_fd=history, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, "there is such a result already")
    try:
        _put(history, result, content)
        os.fsync(history)
        _put(issue, newest, content)
    except OSError:
        with suppress(OSError):
            os.unlink(result, dir_fd=history)
        raise
    os.fsync(issue)


def _put(directory: int, name: str, content: bytes) -> None:
    """Put a file in place, whole: temporary file, fsync, rename."""
    temporary = f".{name}{TEMPORARY}"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)  # left by a crash
    handle = os.open(temporary, _CREATE, 0o600, dir_fd=directory)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(temporary, dir_fd=directory)
        raise


def read_regular(directory: int, name: str, most_bytes: int | None = None) -> bytes:
    """Read a file that is one, and no link, pipe or device, and not larger than ``most_bytes`` (any result).

    :raises OSError: it is none, or cannot be read.
    """
    handle = os.open(name, _READ, dir_fd=directory)
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if state.st_size > (MOST_BYTES if most_bytes is None else most_bytes):
            raise OSError(errno.EFBIG, "larger than any of its kind")
        return file.read()
