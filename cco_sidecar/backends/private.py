"""Private files: readable by their owner alone, replaced whole or not at all. All of it blocks."""

import os
import secrets
import stat
from pathlib import Path

from cco_sidecar.backends.storage import sync_directory


def write_private(path: Path, content: bytes) -> None:
    """Write a 0600 file atomically and durably, into a directory made 0700 if it is not there.

    :raises OSError: it can't be written, or the directory is a symlink or somebody else's.
    """
    directory = path.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(directory)
    fresh = directory / f".{secrets.token_hex(8)}"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(descriptor)
        fresh.rename(path)
        sync_directory(directory)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def read_private(path: Path) -> bytes | None:
    """Read such a file; None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def remove_private(path: Path) -> None:
    """Remove such a file, if it is there."""
    path.unlink(missing_ok=True)


def _make_private(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is not a directory of this user")
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)
