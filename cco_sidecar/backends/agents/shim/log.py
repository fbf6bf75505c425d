# ruff: noqa: PTH103, PTH104, PTH120
"""The agent's output on disk."""

import os

LOG_BYTES = 10_000_000
LOG_FILES = 5


class Log:
    """Rotates, and drops rather than waits when the disk takes nothing; what was dropped is counted, and said in it."""

    def __init__(self, path: bytes, most_bytes: int = LOG_BYTES, files: int = LOG_FILES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._files = files
        self._fd = -1
        self._size = 0
        self._unsaid_bytes = 0
        self._unsaid_lines = 0
        self.written_bytes = 0
        self.dropped_bytes = 0
        self.dropped_lines = 0

    def write(self, data: bytes) -> None:
        """Append; a new file begins with a new line where there is one."""
        if self._size >= self._most_bytes:
            cut = data.find(b"\n") + 1
            self._put(data[:cut])
            self._rotate()
            data = data[cut:]
        self._put(data)

    def _put(self, data: bytes) -> None:
        try:
            if self._fd < 0:
                self._open()
            if self._unsaid_bytes:
                self._say_dropped()
            written = os.write(self._fd, data)
        except OSError:
            self._close()
            written = 0
        self._size += written
        self.written_bytes += written
        self._drop(data[written:])

    def _say_dropped(self) -> None:
        lost = (self._unsaid_lines, self._unsaid_bytes)
        self._size += os.write(self._fd, b"\n[%d lines (%d bytes) were dropped: the disk took none]\n" % lost)
        self._unsaid_bytes = self._unsaid_lines = 0

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self.dropped_bytes += len(data)
        self.dropped_lines += lines
        self._unsaid_bytes += len(data)
        self._unsaid_lines += lines

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        # O_NONBLOCK: whoever puts a FIFO there must not stop us.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _rotate(self) -> None:
        self._close()
        for number in range(self._files - 1, 0, -1):
            older = self._path + b".%d" % number
            newer = self._path + b".%d" % (number - 1) if number > 1 else self._path
            try:
                os.rename(newer, older)
            except OSError:
                continue
        self._size = 0
