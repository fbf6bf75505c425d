"""Source parsed in a process of its own.

Parsers are native code that holds the interpreter's lock. Of 33 kB that were made for it one took 47 seconds and
400 MB, without a moment at which it could be stopped: the reactor's time, and a crash would be the sidecar's.
"""

import os
import socket
import subprocess
import sys
import threading
from array import array

from attrs import define, field

from cco_sidecar.backends.gatherer.grammars import GRAMMARS
from cco_sidecar.backends.gatherer.parser_program import ANSWER, NUMBERS, NUMBERS_IN_PART, QUESTION, received
from cco_sidecar.core.context.outline.shape import Outline, Part

MOST_BYTES = 1 << 19
_MOST_SECONDS = 30.0
_NUMBER_BYTES = array(NUMBERS).itemsize


@define(eq=False)
class _Running:
    process: "subprocess.Popen[bytes]"
    connection: socket.socket

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


@define(eq=False)
class ParserProcess:
    """Gives outlines by tree-sitter; several threads may ask, one is answered at a time.

    The process is started when it is first needed. It is ended by a text that is too much for it; the next text gets a
    new one.
    """

    _running: _Running | None = field(default=None, init=False)
    _turn: threading.Lock = field(factory=threading.Lock, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _stopped: bool = field(default=False, init=False)

    def parse(self, language: str, text: str) -> Outline | None:
        """Give the outline of source; None if there is no grammar, it is too big, or the parser fails. Blocks."""
        if language not in GRAMMARS:
            return None
        data = text.encode("utf-8", "replace")
        if len(data) > MOST_BYTES:
            return None
        with self._turn:
            try:
                outline, fat = _ask(self._started().connection, language.encode(), data)
            except (OSError, EOFError):
                outline, fat = None, True
            if fat:
                self._end()
            return outline

    def stop(self) -> None:
        """End the process and start no other; may be called while another thread waits for an answer."""
        with self._lock:
            self._stopped = True
            running = self._running
        if running is not None:
            running.process.kill()

    def close(self) -> None:
        """Clear up after `stop`, when no thread waits any more."""
        with self._turn:
            self._end()

    def _started(self) -> _Running:
        if self._running is not None and self._running.process.poll() is not None:
            self._end()
        with self._lock:
            if self._stopped:
                raise ProcessLookupError("The parser is stopped.")
            if self._running is None:
                self._running = _start()
            return self._running

    def _end(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.end()


def _start() -> _Running:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.settimeout(_MOST_SECONDS)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cco_sidecar.backends.gatherer.parser_program"],
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd="/",
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt from the terminal is not for it
            )
        except OSError:
            ours.close()
            raise
    return _Running(process, ours)


def _ask(connection: socket.socket, language: bytes, text: bytes) -> tuple[Outline | None, bool]:
    """Give the answer, and whether the process is too big to keep."""
    connection.sendall(QUESTION.pack(len(language), len(text)) + language + text)
    count, fat = ANSWER.unpack(received(connection, ANSWER.size))
    if count < 0:
        return None, fat
    numbers = array(NUMBERS, received(connection, count * NUMBERS_IN_PART * _NUMBER_BYTES))
    return [Part(*numbers[at : at + NUMBERS_IN_PART]) for at in range(0, len(numbers), NUMBERS_IN_PART)], fat
