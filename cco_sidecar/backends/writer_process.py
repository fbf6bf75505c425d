"""The journal's writer in a process of its own, which shares no interpreter lock with the reactor.

Why so: research/events.md section 7; a thread's every return from the disk has to wait for a busy reactor.
"""

import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFDSet, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from cco_sidecar.backends import journal_writer

_PROGRAM = Path(journal_writer.__file__)
_LONGEST_ANSWER = 64


class WriterGone(ChildProcessError):
    """The writer's process has ended."""


@frozen
class Answer:
    """How an order went: ``errno`` is 0 when all went well; ``undone`` says that all is as it was before."""

    errno: int = 0
    undone: bool = True

    @classmethod
    def of(cls, line: bytes) -> "Answer":
        """Read the writer's line."""
        word, *number = line.split()
        return cls() if word == b"ok" else cls(int(number[0]), word == b"refused")


class Writer(Protocol):
    """What carries out a journal's orders (`journal_writer`), one at a time."""

    def ask(self, order: bytes, payload: bytes) -> "Deferred[Answer]":
        """Fire when it is done; never, if the writer ends before: then it says ``gone``."""

    def ask_now(self, order: bytes, payload: bytes) -> Answer:
        """Do it before anything else happens: for the start alone. Blocks.

        :raises WriterGone: the writer has ended.
        """

    def close(self) -> "Deferred[None]":
        """Hang up; fire when the writer has ended."""


WriterStarter = Callable[[int, Callable[[], None]], Writer]
"""Starts a writer for an open directory; what it is given besides is called when the writer ends without being asked.

Raises OSError when it can't be started.
"""


@implementer(IReadWriteDescriptor)
@define(eq=False)
class WriterProcess:
    """A running `journal_writer`, and the socket to it."""

    _reactor: IReactorFDSet
    _process: "subprocess.Popen[bytes]"
    _socket: socket.socket
    _gone: Callable[[], None]
    _unsent: memoryview = field(factory=lambda: memoryview(b""))
    _heard: bytes = b""
    _answer: "Deferred[Answer] | None" = None
    _closed: "Deferred[None] | None" = None

    @classmethod
    def start(cls, reactor: IReactorFDSet, name: str, directory: int, gone: Callable[[], None]) -> "WriterProcess":
        """Start a writer for an open directory; ``gone`` is called when it ends without being asked.

        :raises OSError: it cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", "-S", str(_PROGRAM), name, str(directory)]
            try:
                process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, pass_fds=(directory,), cwd="/"
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        writer = cls(reactor, process, ours, gone)
        reactor.addReader(writer)
        return writer

    @property
    def pid(self) -> int:
        """The writer's process."""
        return self._process.pid

    def ask_now(self, order: bytes, payload: bytes) -> Answer:
        """See `Writer.ask_now`."""
        self._socket.setblocking(True)
        try:
            self._socket.sendall(_message(order, payload))
            line = b""
            while not line.endswith(b"\n"):
                heard = self._socket.recv(_LONGEST_ANSWER)
                if not heard:
                    raise WriterGone
                line += heard
        except OSError as error:
            raise WriterGone from error
        finally:
            self._socket.setblocking(False)
        return Answer.of(line)

    def ask(self, order: bytes, payload: bytes) -> "Deferred[Answer]":
        """See `Writer.ask`."""
        answer: Deferred[Answer] = Deferred()
        self._answer = answer
        self._unsent = memoryview(_message(order, payload))
        self._send()
        if self._unsent:
            self._reactor.addWriter(self)
        return answer

    def close(self) -> "Deferred[None]":
        """See `Writer.close`."""
        if self._socket.fileno() < 0:
            return succeed(None)
        self._closed = Deferred()
        with suppress(OSError):  # it is gone already: reading says so
            self._socket.shutdown(socket.SHUT_WR)
        return self._closed

    # The reactor's side

    def fileno(self) -> int:
        """Give the socket."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Name it in the log."""
        return "journal"

    def doWrite(self) -> None:
        """Send more of what there was no room for."""
        self._send()
        if not self._unsent:
            self._reactor.removeWriter(self)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = memoryview(b"")  # it is gone: reading says so

    def doRead(self) -> None:
        """Take the answer up, or the end."""
        try:
            heard = self._socket.recv(_LONGEST_ANSWER)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self._end()
            return
        self._heard += heard
        if self._heard.endswith(b"\n"):
            line, self._heard = self._heard, b""
            answer, self._answer = self._answer, None
            if answer is not None:
                answer.callback(Answer.of(line))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of it, at its own end: nobody is left to be told."""
        self._hang_up()

    def _hang_up(self) -> bool:
        if self._socket.fileno() < 0:
            return False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        return True

    def _end(self) -> None:
        if not self._hang_up():
            return
        self._process.wait()  # it has let go of its files: of it nothing is left but this
        if self._closed is not None:
            self._closed.callback(None)
        else:
            self._gone()


def _message(order: bytes, payload: bytes) -> bytes:
    return b"%s %d\n%s" % (order, len(payload), payload)
