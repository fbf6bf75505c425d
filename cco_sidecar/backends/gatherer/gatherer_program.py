"""The program that gathers for `gatherer_process`, over the socket that is its standard input.

An order is its length (`LENGTH`) and a pickled `Order`. The answer is a header (`HEADER`) with the lengths of what
follows: a message in JSON, and the head of an answer; a new inotify instance comes with the header. The first argument
is the budget in bytes, the second a pipe's descriptor: on it comes the number of an order that nobody wants any more
(`NUMBER`), and its end is the end of the sidecar.
"""

import gc
import os
import pickle
import select
import socket
import struct
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

import msgspec
from attrs import asdict, define, evolve

from cco_sidecar.backends.gatherer.room import Gathered, Order, Room
from cco_sidecar.backends.gatherer.scratch import sweep
from cco_sidecar.core.secrets.redacting import redact
from cco_sidecar.errors import ContextFailed

LENGTH = struct.Struct("!I")
HEADER = struct.Struct("!II")
NUMBER = struct.Struct("!Q")
_NICE = 5  # the sidecar answers first
_ORDERS_TO_COLLECT = 32
_IDLE_SECONDS = 1.0


class Told(msgspec.Struct):
    """How an order went, beside the head: ``refusal`` is what the client may know, ``crash`` what the log should."""

    digest: bytes = b""
    has_head: bool = False
    truncated: bool = False
    file_count: int = 0
    is_whole: bool = True
    looked: bool = False
    is_watched: bool = False
    kept_bytes: int = 0
    refusal: str = ""
    crash: str = ""

    def gathered(self, head: bytes, watch: int | None) -> Gathered:
        """Put it together again."""
        return Gathered(
            self.digest,
            head if self.has_head else None,
            self.truncated,
            self.file_count,
            self.is_whole,
            self.looked,
            self.is_watched,
            self.kept_bytes,
            watch,
        )


@define(eq=False)
class _Lifeline:
    """Listens, in a thread, for orders that are in vain and for the end of the sidecar."""

    _pipe: int
    _room: Room
    number: int = 0
    _in_vain: int = 0
    _is_over: bool = False

    def listen(self) -> None:
        while len(said := os.read(self._pipe, NUMBER.size)) == NUMBER.size:
            self._in_vain = NUMBER.unpack(said)[0]
        self._is_over = True
        self._room.stop()

    def check(self) -> None:
        if self._is_over or self._in_vain == self.number:
            raise ContextFailed("Nobody waits for this context any more.")


def main(arguments: list[str]) -> None:
    """Carry out orders until the other side hangs up."""
    with suppress(OSError):
        os.nice(_NICE)
    gc.freeze()
    gc.disable()  # of 78,000 files it took a quarter of the time, and what is kept has no cycles
    room = Room(int(arguments[0]))
    lifeline = _Lifeline(int(arguments[1]), room)
    threading.Thread(target=lifeline.listen, name="lifeline", daemon=True).start()
    with socket.socket(fileno=os.dup(0)) as connection:
        sweep()
        _warm_up(connection)
        while (asked := received(connection, LENGTH.size)) is not None:
            text = received(connection, LENGTH.unpack(asked)[0])
            if text is None:
                break
            order = pickle.loads(text)  # our own parent's
            lifeline.number += 1
            _carry_out(room, order, lifeline, connection)
            if lifeline.number % _ORDERS_TO_COLLECT == 0:
                gc.collect()
    room.stop()
    room.close()


def _warm_up(connection: socket.socket) -> None:
    """Have the rules' automata made before the first order: they are made as they run, and that takes 0.2 s."""
    wait = _IDLE_SECONDS  # the start of the sidecar comes first
    for path in (Path(__file__).parents[2] / "core").rglob("*.py"):
        if select.select([connection], [], [], wait)[0]:
            return
        wait = 0.0
        with suppress(OSError, ValueError):
            redact(path.read_text("utf-8"))


def received(connection: socket.socket, length: int) -> bytes | None:
    """Receive so many bytes; None if the other side hangs up before."""
    if not length:
        return b""
    parts: list[bytes] = []
    while length:
        part = connection.recv(length, socket.MSG_WAITALL)
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _carry_out(room: Room, order: Order, lifeline: _Lifeline, connection: socket.socket) -> None:
    head, watch = b"", None
    try:
        gathered = room.gather(order, lifeline.check)
    except ContextFailed as error:
        told = Told(refusal=str(error))
    except Exception:  # noqa: BLE001 - the sidecar logs it
        told = Told(crash=traceback.format_exc())
    else:
        head, watch = gathered.head or b"", gathered.watch
        fields = asdict(evolve(gathered, head=None, watch=None), recurse=False)
        told = Told(has_head=gathered.head is not None, **{name: fields[name] for name in fields if name in _SHARED})
    message = msgspec.json.encode(told)
    header = HEADER.pack(len(message), len(head))
    if watch is None:
        connection.sendall(header)
    else:
        socket.send_fds(connection, [header], [watch])
        os.close(watch)
    connection.sendall(message)
    connection.sendall(head)


_SHARED = frozenset(Told.__struct_fields__)

if __name__ == "__main__":
    main(sys.argv[1:])
