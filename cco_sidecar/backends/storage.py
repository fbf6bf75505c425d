"""The storage directory: ours alone, locked, and nothing about it guessed (contract section 2, "Files")."""

import fcntl
import os
import stat
from pathlib import Path


class StorageError(Exception):
    """The directory cannot be used; one line that says why and what to do."""


def claim_storage(path: Path) -> int:
    """Make or check the directory, and lock it; gives the handle that holds the lock. Blocks.

    :raises StorageError: it is a symlink, somebody else's, writable by others, or another sidecar's.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
            sync_directory(path.parent)
        except FileExistsError:
            _check(path)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"--storage {path} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = lock_holder(handle)
        os.close(handle)
        who = f"process {holder} holds it" if holder else "another sidecar holds it"
        raise StorageError(
            f"--storage {path} is in use: {who}. Stop that one ('cco daemon stop') or name another directory"
        ) from None
    return handle


def open_storage(path: Path) -> int:
    """Open a storage to look at it: nothing is made, changed or locked. Blocks.

    :raises StorageError: there is none, or it may not be looked at.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StorageError(f"there is no storage at {path}: name it with --storage") from None
    except NotADirectoryError:
        raise StorageError(f"--storage {path} is a symlink, or no directory: name the directory itself") from None
    except OSError as error:
        raise StorageError(f"--storage {path} cannot be read: {error.strerror}") from error


def _check(path: Path) -> None:
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        raise StorageError(f"--storage {path} is a symlink: name the directory itself")
    if not stat.S_ISDIR(state.st_mode):
        raise StorageError(f"--storage {path} is not a directory")
    if state.st_uid != os.geteuid():
        raise StorageError(f"--storage {path} belongs to user {state.st_uid}, not to us: name another directory")
    if stat.S_IMODE(state.st_mode) & 0o022:
        raise StorageError(f"--storage {path} can be written by others: 'chmod go-w {path}', or name another directory")


def lock_holder(handle: int) -> int | None:
    """Find the process that holds the lock of a storage, where ``/proc/locks`` tells; takes no lock itself."""
    state = os.fstat(handle)
    place = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == place and words[4].isdigit():
            return int(words[4]) if Path("/proc", words[4]).exists() else None  # a daemon took it before it forked
    return None


def sync_directory(path: Path) -> None:
    """Make what was made, renamed or removed in a directory last. Blocks."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_below(storage: Path, *names: str) -> Path:
    """Make a private directory below the storage, and give its path. Blocks.

    :raises StorageError: something that is no directory is in the way.
    """
    path = storage
    for name in names:
        path = path / name
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(path.parent)
        except OSError as error:
            raise StorageError(f"{path} cannot be made: {error.strerror}") from error
        if path.is_symlink():
            raise StorageError(f"{path} is a symlink: the storage must hold directories only")
    return path
