"""What the kernel tells of a project's directories (inotify), so that one that did not change need not be asked.

The kernel queues an event before the call returns that made the change. So when nothing can be read here, nothing has
changed since the watches were set, but for what it tells nobody: a mapping of a file that is still open, a hard link
elsewhere. Who trusts it does so for a while only, and not at all where files have several names (`Survey.is_quiet`).
"""

import ctypes
import os
import select
import struct
from collections.abc import Iterable
from pathlib import Path

from attrs import define, field

MOST_WATCHES = 16_384
"""So many directories of one project are watched, each a kilobyte of the kernel's memory; a larger one is not."""

_CLOSE_ON_EXEC, _NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED, _CREATED, _DELETED, _SELF = 0x2, 0x4, 0x8, 0xC0, 0x100, 0x200, 0xC00
_ONLY_DIRECTORY, _DONT_FOLLOW, _IS_DIRECTORY = 0x01000000, 0x02000000, 0x40000000
_MASK = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED | _CREATED | _DELETED | _SELF | _ONLY_DIRECTORY | _DONT_FOLLOW
_OF_A_FILE = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED | _CREATED | _DELETED
_EVENT = struct.Struct("iIII")
_READ_BYTES = 1 << 16
_MOST_READS = 64
_STEERING = frozenset({b".git", b".gitignore", b"exclude", b"index", b"HEAD", b"config", b"commondir", b"gitdir"})
"""Files that say which directories belong to a project."""

_libc = ctypes.CDLL(None, use_errno=True)


def new_instance() -> int | None:
    """Make an inotify instance; None if there may be no more, or the kernel has none."""
    try:
        handle = int(_libc.inotify_init1(_CLOSE_ON_EXEC | _NONBLOCK))
    except AttributeError:
        return None
    return handle if handle >= 0 else None


def add(handle: int, directories: Iterable[bytes]) -> bool:
    """Watch directories; False if they are too many, or the kernel refuses one that is there."""
    for number, path in enumerate(directories):
        if number >= MOST_WATCHES:
            return False
        if _libc.inotify_add_watch(handle, path, _MASK) < 0 and ctypes.get_errno() not in _GONE:
            return False
    return True


_GONE = frozenset({2, 20, 40})  # ENOENT, ENOTDIR, ELOOP: its parent is watched and tells of it


@define(eq=False)
class Watch:
    """An instance whose watches another process set; `close` it."""

    _handle: int
    _root: Path
    _identity: tuple[int, int]
    _poll: "select.poll" = field(factory=select.poll, init=False)

    @classmethod
    def of(cls, handle: int, root: Path) -> "Watch":
        """Take an instance, which is ours from now on, for a project's root."""
        try:
            status = root.stat()
        except OSError:
            return cls(handle, root, (0, 0))  # never silent
        return cls(handle, root, (status.st_dev, status.st_ino))

    def __attrs_post_init__(self) -> None:
        self._poll.register(self._handle, select.POLLIN)

    def is_silent(self) -> bool:
        """Say whether nothing has happened since the last `drain`, and the root is still the same directory."""
        try:
            status = self._root.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity and not self._poll.poll(0)

    def drain(self) -> tuple[bool, bool]:
        """Read what has happened: whether anything has, and whether the directories to watch may be others now."""
        steered = False
        for turn in range(_MOST_READS):
            try:
                events = os.read(self._handle, _READ_BYTES)
            except BlockingIOError:
                return turn > 0, steered
            steered = steered or _is_steering(events)
        return True, True

    def close(self) -> None:
        """Give the instance back."""
        os.close(self._handle)


def _is_steering(events: bytes) -> bool:
    """Say whether one of the events is more than the change of a plain file."""
    at = 0
    while at < len(events):
        _, mask, _, length = _EVENT.unpack_from(events, at)
        name = events[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
        if mask & ~_OF_A_FILE or name in _STEERING:
            return True
        at += _EVENT.size + length
    return False
