"""Files of a project, opened so that neither a symlink nor a device nor a pipe can lead astray."""

import ctypes
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen

MOST_DIRECTORIES = 128
MOST_DEPTH = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 1 << 20
_BEGINNING = 8192
_TICK_NS = 20_000_000
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E, 0x794C7630})
"""ext2 to ext4, XFS, btrfs, tmpfs, F2FS, ZFS, bcachefs, overlay (statfs(2)): no networks, and nothing in user space."""

_libc = ctypes.CDLL(None, use_errno=True)


class NotRegularError(OSError):
    """It is a directory, a pipe, a socket or a device."""


@contextmanager
def opened_root(path: Path) -> Iterator["Root"]:
    """Open the directory that all files must lie in; raises OSError."""
    root = Root(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    try:
        yield root
    finally:
        root.close()


@frozen
class Found:
    """What was read of a file, and whether that is all of it."""

    data: bytes = field(repr=False)
    whole: bool


@define(eq=False)
class Root:
    """An open directory tree: paths are followed name by name from here, and through no symlink."""

    path: Path
    _fd: int
    _directories: dict[str, int] = field(factory=dict, init=False)
    name: str = field(init=False)
    """The path as text: a key that is compared quickly."""

    def __attrs_post_init__(self) -> None:
        self.name = str(self.path)

    def read(self, path: str, most_bytes: int) -> "Found":
        """Read a regular file; of one that is bigger than ``most_bytes`` only the beginning.

        :raises NotRegularError: it is no regular file.
        :raises OSError: it cannot be opened or read, or a symlink is in the way.
        """
        above, _, name = path.rpartition("/")
        fd = os.open(name, _FILE, dir_fd=self.directory(above))
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise NotRegularError(f"{path!r} is no regular file")
            if status.st_size > most_bytes:
                return Found(os.read(fd, _BEGINNING), False)
            return _read(fd, most_bytes)
        finally:
            os.close(fd)

    def status(self, path: str) -> os.stat_result:
        """Give the status of whatever is at the path itself, a symlink's own; raises OSError."""
        return os.stat(path, dir_fd=self._fd, follow_symlinks=False)

    def directory(self, path: str) -> int:
        """Give the descriptor of a directory ("" is the root); it stays ours; raises OSError."""
        if not path:
            return self._fd
        known = self._directories.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition("/")
        if name in {"", ".", ".."} or path.count("/") > MOST_DEPTH:
            raise NotRegularError(f"{path!r} is no path below the root")
        if len(self._directories) >= MOST_DIRECTORIES:
            self._forget()
        fd = self._directories[path] = os.open(name, _DIRECTORY, dir_fd=self.directory(above))
        return fd

    @property
    def notifies(self) -> bool:
        """Whether the root's file system is one whose changes all come through this kernel."""
        return _kind_of_file_system(self._fd) in _LOCAL

    def close(self) -> None:
        """Close all that is open."""
        self._forget()
        os.close(self._fd)

    def _forget(self) -> None:
        for fd in self._directories.values():
            os.close(fd)
        self._directories.clear()


def is_young(time_ns: int) -> bool:
    """Say whether what was stamped so could be written again, and be stamped the same.

    The kernel stamps files by the system's clock, which moves in ticks of at most 10 ms; so this asks that clock.
    """
    return 0 <= time.time_ns() - time_ns < _TICK_NS


def _kind_of_file_system(fd: int) -> int:
    """Give the kernel's number for the kind of file system, 0 if it does not say."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(fd, buffer) != 0:
        return 0
    return int(struct.unpack_from("@l", buffer.raw)[0]) & 0xFFFFFFFF


def _read(fd: int, most_bytes: int) -> Found:
    """Read to the end; the file may grow meanwhile, and files of /proc have no size."""
    parts: list[bytes] = []
    total = 0
    while chunk := os.read(fd, _CHUNK):
        total += len(chunk)
        if total > most_bytes:
            return Found(b"".join(parts), False)
        parts.append(chunk)
    return Found(b"".join(parts), True)
