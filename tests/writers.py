"""Those who write journals: processes, found by the log that they write, and one that a test has in its hands."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import psutil
from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from cco_sidecar.backends import journal_writer
from cco_sidecar.backends.writer_process import Answer, WriterGone


def writer_of(directory: Path) -> psutil.Process | None:
    """Find the process that writes the log in a directory; None while there is none."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if _log_of(process) == str(directory.resolve()):
                return process
    return None


def _log_of(process: psutil.Process) -> str | None:
    words = process.cmdline()
    if len(words) < 6 or not words[3].endswith("journal_writer.py"):
        return None
    return os.readlink(f"/proc/{process.pid}/fd/{words[5]}")


@define(eq=False)
class WriterHere:
    """The writer in this process: it carries an order out when the test says so, and dies when it says so."""

    gone: Callable[[], None]
    writer: journal_writer.Writer
    asked: "list[tuple[bytes, bytes, Deferred[Answer]]]" = field(factory=list)
    orders: list[bytes] = field(factory=list)
    ended: bool = False
    full: bool = False
    """Whether the disk takes no more than half of what it is to write."""

    def ask(self, order: bytes, payload: bytes) -> "Deferred[Answer]":
        assert not self.asked, "one order at a time"
        answer: Deferred[Answer] = Deferred()
        self.asked.append((order, payload, answer))
        return answer

    def ask_now(self, order: bytes, payload: bytes) -> Answer:
        if self.ended:
            raise WriterGone
        self.orders.append(order)
        if not self.full:
            return Answer.of(self.writer.obey(order, payload))
        with mock.patch.object(journal_writer, "_write_all", _write_half):
            return Answer.of(self.writer.obey(order, payload))

    def work(self) -> bool:
        """Carry out the order in hand; False if there is none."""
        if not self.asked:
            return False
        order, payload, answer = self.asked.pop()
        answer.callback(self.ask_now(order, payload))
        return True

    def die(self, *, done: bool = False) -> None:
        """End, before or after what was asked was done; nobody hears how it went."""
        for order, payload, _ in self.asked if done else ():
            self.ask_now(order, payload)
        self.asked.clear()
        self.let_go()
        self.gone()

    def close(self) -> "Deferred[None]":
        assert not self.asked
        self.let_go()
        return succeed(None)

    def let_go(self) -> None:
        """Let go of the files, as the end of a process does."""
        self.ended = True
        for name in ("_segment", "_next"):
            handle = getattr(self.writer, name)
            if handle >= 0:
                os.close(handle)
            setattr(self.writer, name, -1)


def _write_half(handle: int, data: bytes) -> None:
    os.write(handle, data[: len(data) // 2])
    raise OSError(errno.ENOSPC, "full")
