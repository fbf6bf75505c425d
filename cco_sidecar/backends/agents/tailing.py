"""Follows an agent's log: gives each line once, across the files that the shim rotates. Blocks."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, frozen

from cco_sidecar.backends.agents.shim.log import LOG_FILES

MOST_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is passed over."""


@frozen
class _File:
    path: Path
    inode: int
    size: int


@define(eq=False)
class Tail:
    """A place in a log: a file, known by its inode for its name changes, and an offset in it.

    What is rotated away before it is read is lost, as it is for everybody.
    """

    _log: Path
    _inode: int | None = None
    _offset: int = 0
    _rest: bytes = b""
    _is_too_long: bool = False

    def read(self, most_bytes: int) -> tuple[Sequence[bytes], int]:
        """Give the lines that came to their end since the last time, and how many bytes were read for them."""
        text = b"".join(self._pieces(most_bytes))
        *lines, rest = (self._rest + text).split(b"\n")
        if self._is_too_long and lines:
            lines, self._is_too_long = lines[1:], False
        if len(rest) > MOST_LINE_BYTES:
            rest, self._is_too_long = b"", True
        self._rest = rest
        return lines, len(text)

    @property
    def rest(self) -> bytes:
        """The beginning of a line that has not come to its end."""
        return self._rest

    def _pieces(self, most_bytes: int) -> Iterator[bytes]:
        left = most_bytes
        for file in self._ahead():
            piece = self._read(file, left)
            if piece is None:
                return  # rotated just now: the next look finds it
            yield piece
            left -= len(piece)
            if left <= 0:
                return

    def _ahead(self) -> Sequence[_File]:
        """Give the file in hand and the newer ones, oldest first."""
        newest = _file(self._log)
        if newest is not None and newest.inode == self._inode:
            return [] if newest.size == self._offset else [newest]
        older = [_file(self._log.with_name(f"{self._log.name}.{number}")) for number in range(LOG_FILES - 1, 0, -1)]
        files = [file for file in (*older, newest) if file is not None]
        here = next((place for place, file in enumerate(files) if file.inode == self._inode), 0)
        return files[here:]

    def _read(self, file: _File, most_bytes: int) -> bytes | None:
        try:
            handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(handle)
            if found.st_ino != file.inode:
                return None
            if file.inode != self._inode or found.st_size < self._offset:
                self._inode, self._offset = file.inode, 0
            piece = os.pread(handle, most_bytes, self._offset) if found.st_size > self._offset else b""
        finally:
            os.close(handle)
        self._offset += len(piece)
        return piece


def _file(path: Path) -> _File | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return _File(path, found.st_ino, found.st_size) if stat.S_ISREG(found.st_mode) else None
