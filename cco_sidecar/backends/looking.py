"""Looks at a file that an agent reads or edits: where it lies below the project's root, and what it is like. Blocks."""

import hashlib
import os
from pathlib import Path

from cco_sidecar.backends.gatherer.opener import NotRegularError, opened_root
from cco_sidecar.core.hooks.files import FileSeen, Stamp

MOST_DIGESTED = 1024 * 1024
"""Of a longer file only size and time are compared: reading it would take longer than a hook may."""
_DIGEST_BYTES = 16
NOWHERE = FileSeen((), None)


def look(root: Path, path: str) -> FileSeen:
    """Look at a file.

    :param root: the project's, absolute.
    :param path: absolute, or relative to the root; where it leads out of the project nothing is looked at.
    """
    if not path or "\0" in path:
        return NOWHERE
    whole = str(root / path)
    try:
        true_root, true_path = os.path.realpath(root), os.path.realpath(whole)
    except (OSError, ValueError):  # a name that the file system cannot have
        return NOWHERE
    asked = _below(str(root), os.path.normpath(whole)) or _below(true_root, os.path.normpath(whole))
    own = _below(true_root, true_path)
    names = tuple(dict.fromkeys(name for name in (asked, own) if name))
    return FileSeen(names, _stamp(Path(true_root), own) if own else None)


def _below(root: str, path: str) -> str | None:
    relative = os.path.relpath(path, root)
    return None if relative == "." or relative.split(os.sep, 1)[0] == ".." else relative


def _stamp(root: Path, name: str) -> Stamp | None:
    try:
        with opened_root(root) as opened:
            status = opened.status(name)
            digest = None
            if status.st_size <= MOST_DIGESTED:
                found = opened.read(name, MOST_DIGESTED)
                digest = hashlib.blake2b(found.data, digest_size=_DIGEST_BYTES).hexdigest() if found.whole else None
    except FileNotFoundError:
        return None
    except (NotRegularError, OSError):
        return _unread(root, name)
    return Stamp(status.st_mtime_ns, status.st_size, digest)


def _unread(root: Path, name: str) -> Stamp | None:
    """Give what can be said of what cannot be read."""
    try:
        status = os.lstat(root / name)
    except OSError:
        return None
    return Stamp(status.st_mtime_ns, status.st_size)
