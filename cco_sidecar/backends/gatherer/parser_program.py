"""The program that parses source for `parser_process`, over the socket that is its standard input.

A question is the lengths of language and text (`QUESTION`), the language, the text. The answer is the number of parts
(-1 for no outline) and whether this process has grown too big to keep (`ANSWER`), and six numbers for each part, as in
`Part`. It ends when the socket does, and the kernel ends it when one text takes it seconds or a gigabyte.
"""

import resource
import socket
import struct
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

from attrs import astuple

from cco_sidecar.backends.gatherer.parsing import parsed_outline

QUESTION = struct.Struct("!II")
ANSWER = struct.Struct("!i?")
NUMBERS = "I"
NUMBERS_IN_PART = 6
_MOST_SECONDS = 2
_MOST_MEMORY = 1 << 30
_MOST_KEPT = 128 << 20


def main() -> None:
    """Answer until the other side hangs up."""
    with socket.socket(fileno=0) as connection:
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for language, text in _questions(connection):
            _allow_seconds()
            outline = parsed_outline(language, text, time.thread_time)
            numbers = array(NUMBERS, [number for part in outline or () for number in astuple(part)])
            count = -1 if outline is None else len(outline)
            connection.sendall(ANSWER.pack(count, _resident_bytes() > _MOST_KEPT) + numbers.tobytes())


def received(connection: socket.socket, length: int) -> bytes:
    """Receive so many bytes; raises EOFError if the other side hangs up before."""
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _questions(connection: socket.socket) -> Iterator[tuple[str, str]]:
    while True:
        try:
            language, text = QUESTION.unpack(received(connection, QUESTION.size))
            yield received(connection, language).decode(), received(connection, text).decode("utf-8", "replace")
        except EOFError:
            return


def _resident_bytes() -> int:
    """Say how much memory this process has; the resource module's figure begins with what the parent had."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _allow_seconds() -> None:
    """Let the kernel end this process when it takes much longer over the next text than the parser's own bound."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + _MOST_SECONDS, hard))


if __name__ == "__main__":
    main()
