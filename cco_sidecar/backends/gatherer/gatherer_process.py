"""Gatherings in a process of their own, which shares no interpreter lock and no memory with the reactor.

In a thread, a project of 78,000 files held the reactor up for 230 ms at a time, and what it took was never given back.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import msgspec
from attrs import define, field

from cco_sidecar.backends.gatherer.gatherer_program import HEADER, LENGTH, NUMBER, Told, received
from cco_sidecar.backends.gatherer.reading import Checkpoint
from cco_sidecar.backends.gatherer.room import Gathered, Order, Worker
from cco_sidecar.errors import ContextFailed

_PROGRAM = "cco_sidecar.backends.gatherer.gatherer_program"
_PATIENCE_SECONDS = 2.0


@define(eq=False)
class _Running:
    process: "subprocess.Popen[bytes]"
    connection: socket.socket
    lifeline: int
    orders: int = 0

    def hang_up(self) -> None:
        """Let it end by itself: it stops what it runs, and clears up."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    def end(self) -> None:
        self.hang_up()
        try:
            self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.connection.close()


@define(eq=False)
class GathererProcess(Worker):
    """Carries out orders in a process that is started when it is first needed; one thread gives them.

    When the process ends unasked, its order fails and the next starts another.
    """

    _most_bytes: int
    _running: _Running | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _stopped: bool = field(default=False, init=False)

    def start(self) -> None:
        """Start the process before it is needed."""
        with suppress(OSError, ContextFailed):
            self._started()

    def gather(self, order: Order, check: Checkpoint) -> Gathered:
        """See `Worker.gather`."""
        check()
        running = self._started()
        running.orders += 1
        try:
            return _ask(running.connection, order)
        except (OSError, EOFError):
            self._end()
            check()
            raise ContextFailed("The process that gathers contexts ended; ask again.") from None

    def abandon(self) -> None:
        """Say that nobody waits for the order that is carried out; may be called from any thread."""
        with self._lock:
            running = self._running
            if running is not None and running.lifeline >= 0:
                with suppress(OSError):
                    os.write(running.lifeline, NUMBER.pack(running.orders))

    def forget(self) -> None:
        """End the process: all its memory is given back, and the next order starts another."""
        self._end()

    def stop(self) -> None:
        """See `Worker.stop`."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.hang_up()

    def close(self) -> None:
        """See `Worker.close`."""
        self._end()

    @property
    def pid(self) -> int | None:
        """The process, if there is one."""
        running = self._running
        return None if running is None else running.process.pid

    def _started(self) -> _Running:
        if self._running is not None and self._running.process.poll() is not None:
            self._end()
        with self._lock:
            if self._stopped:
                raise ContextFailed("The sidecar is stopping; ask again when it is back.")
            if self._running is None:
                self._running = _start(self._most_bytes)
            return self._running

    def _end(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.end()


def _start(most_bytes: int) -> _Running:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _PROGRAM, str(most_bytes), str(reading)],
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            pass_fds=(reading,),
            start_new_session=True,  # an interrupt from the terminal is not for it
        )
    except OSError as error:
        ours.close()
        os.close(writing)
        raise ContextFailed(f"The process that gathers contexts could not be started: {error.strerror}.") from error
    finally:
        theirs.close()
        os.close(reading)
    return _Running(process, ours, writing)


def _ask(connection: socket.socket, order: Order) -> Gathered:
    text = pickle.dumps(order)
    connection.sendall(LENGTH.pack(len(text)) + text)
    header, handles, _, _ = socket.recv_fds(connection, HEADER.size, 1)
    watch = handles[0] if handles else None
    if not header:
        raise EOFError
    if len(header) < HEADER.size:
        header += _all(connection, HEADER.size - len(header))
    message_length, head_length = HEADER.unpack(header)
    told = msgspec.json.decode(_all(connection, message_length), type=Told)
    head = _all(connection, head_length)
    if told.refusal:
        raise ContextFailed(told.refusal)
    if told.crash:
        raise RuntimeError(f"Gathering failed:\n{told.crash}")
    return told.gathered(head, watch)


def _all(connection: socket.socket, length: int) -> bytes:
    found = received(connection, length)
    if found is None:
        raise EOFError
    return found
