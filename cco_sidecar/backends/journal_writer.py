"""The program that writes a journal to disk: `journal` starts it, and tells it over a socket what to do.

It is run by its path, ``python -I -S journal_writer.py NAME HANDLE``, and imports nothing but the least of the standard
library, so that it is there in milliseconds and small: NAME is for those who look at ``ps``, HANDLE the open directory
of the log, with the lock on it. Standard input is the socket. An order is ``ORDER LENGTH`` and a newline, and LENGTH
bytes; each gets one line: ``ok``; ``refused ERRNO``, when all is as it was before the order; or ``failed ERRNO``, when
nobody knows. It ends when the socket does, after the order it has in hand.
"""

import errno
import os
import signal
import sys

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHUNK = 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Writer:
    """The files of one log: the segment in use, and the one that is being begun while writing goes on."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._segment = -1
        self._size = 0
        self._next = -1
        self._next_name = b""
        self._next_size = 0
        self._orders = {
            b"write": (self._write, self._take_back),
            b"begin": (self._begin, self._give_up),
            b"fill": (self._fill, self._give_up),
            b"switch": (self._switch, self._give_up),
            b"drop": (self._drop, _as_before),
            b"remove": (self._remove, _as_before),
            b"reopen": (self._reopen, _unknown),
        }

    def obey(self, order: bytes, payload: bytes) -> bytes:
        """Do one thing; gives the line that says how it went."""
        do, undo = self._orders[order]
        try:
            do(payload)
        except OSError as error:
            number = error.errno or errno.EIO
            return b"%s %d\n" % (b"refused" if undo(number) else b"failed", number)
        return b"ok\n"

    def _write(self, lines: bytes) -> None:
        """Put lines behind the segment in use, on disk."""
        _write_all(self._segment, lines)
        os.fdatasync(self._segment)
        self._size += len(lines)

    def _take_back(self, number: int) -> bool:
        if number not in FULL:
            return False  # after a failed sync nobody knows what the kernel still holds
        try:
            os.ftruncate(self._segment, self._size)
            os.lseek(self._segment, self._size, os.SEEK_SET)
        except OSError:
            return False  # what was refused may still lie there, under numbers that must not be given again
        return True

    def _begin(self, name: bytes) -> None:
        """Make the next segment; the one in use stays in use."""
        self._next = os.open(name, _NEW, 0o600, dir_fd=self._directory)
        self._next_name, self._next_size = name, 0

    def _fill(self, lines: bytes) -> None:
        """Put a piece of the snapshot into the next segment; on disk at once, so that no long sync comes at the end."""
        _write_all(self._next, lines)
        os.fdatasync(self._next)
        self._next_size += len(lines)

    def _switch(self, lines: bytes) -> None:
        """End the snapshot: from here on the next segment is the one in use, whole and on disk with its name."""
        _write_all(self._next, lines)
        os.fsync(self._next)
        os.fsync(self._directory)
        if self._segment >= 0:
            os.close(self._segment)
        self._segment, self._size = self._next, self._next_size + len(lines)
        self._next = -1

    def _give_up(self, number: int) -> bool:
        try:
            self._drop(b"")
        except OSError:
            return False
        return True

    def _drop(self, _: bytes) -> None:
        """Let go of the segment that is being begun."""
        if self._next >= 0:
            handle, self._next = self._next, -1
            os.close(handle)
            os.unlink(self._next_name, dir_fd=self._directory)

    def _remove(self, names: bytes) -> None:
        """Delete segments, each whole."""
        for name in names.split():
            _unlink(name, self._directory)

    def _reopen(self, words: bytes) -> None:
        """Take up ``NAME SIZE [UNFINISHED]`` after another writer's end: what was not acknowledged goes."""
        name, size, *unfinished = words.split()
        for left in unfinished:
            _unlink(left, self._directory)
        handle = os.open(name, _OLD, dir_fd=self._directory)
        if os.fstat(handle).st_size < int(size):
            raise OSError(errno.EIO, "what was acknowledged is gone")
        os.ftruncate(handle, int(size))
        os.fsync(handle)
        os.fsync(self._directory)
        os.lseek(handle, int(size), os.SEEK_SET)
        self._segment, self._size = handle, int(size)


def _as_before(_: int) -> bool:
    return True


def _unknown(_: int) -> bool:
    return False


def _unlink(name: bytes, directory: int) -> None:
    try:  # noqa: SIM105 - contextlib would take longer to import than the rest
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def serve(connection: int, writer: Writer) -> None:
    """Obey until the other side hangs up."""
    heard = b""
    while True:
        head, newline, rest = heard.partition(b"\n")
        if not newline:
            chunk = os.read(connection, _CHUNK)
            if not chunk:
                return
            heard += chunk
            continue
        order, length = head.split()
        pieces, missing = [rest], int(length) - len(rest)
        while missing > 0:
            chunk = os.read(connection, min(missing, _CHUNK))
            if not chunk:
                return  # half an order: nobody waits for its answer any more
            pieces.append(chunk)
            missing -= len(chunk)
        heard = b""  # one order at a time: nothing follows before its answer
        os.write(connection, writer.obey(order, b"".join(pieces)))


def main() -> None:
    """Serve standard input; ^C and a supervisor's TERM are for the sidecar, which hangs up when all is written."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    try:  # noqa: SIM105 - as above
        serve(0, Writer(int(sys.argv[2])))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the sidecar is gone; what it had asked for is done


if __name__ == "__main__":
    main()
