"""One sidecar in this process, of the real composition, and what can be done to it and seen of it.

Its clock is its own, its journals are in memory, its ids are counted. The connections are in memory, too: `Pipe` does
what TCP does as far as a protocol can see it.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import msgspec
from attrs import asdict, define, evolve, field, frozen
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from cco_sidecar.access_log import AccessLog, Entry
from cco_sidecar.composition import ids, projects
from cco_sidecar.composition.sidecar import Composition
from cco_sidecar.core.agent_rows import KILLED, Agent
from cco_sidecar.core.ledger import encode
from cco_sidecar.errors import StorageFull, TokenRevoked
from cco_sidecar.ground import Ground
from cco_sidecar.logs import AUDIT
from cco_sidecar.web.connection import Connection
from cco_sidecar.web.openapi import OpenAPI
from tests.fakes import START, MemoryJournal, numbered

PIECES = 4
"""In so many steps a clock is advanced: what is due happens at different times."""

_HEAD = re.compile(rb"(HTTP/1\.[01] \d{3} [^\r\n]*\r\n)((?:[^\r\n]+\r\n)*)\r\n")
_MADE_ID = re.compile(rb"made-[0-9a-f]{8}")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{20,}\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{20,}")


# Steps: what is done to both


@frozen
class Send:
    """Bytes come on a connection, in these pieces; ``requests`` says how many requests they were meant to be."""

    pipe: int
    pieces: tuple[bytes, ...]
    requests: int = 1


@frozen
class HangUp:
    """The peer closes a connection, or resets it."""

    pipe: int
    cleanly: bool = True


@frozen
class Pass:
    """Time passes."""

    seconds: float


@frozen
class Disk:
    """The disk begins to take its time, or is done with what waits, or refuses it."""

    does: str


@frozen
class End:
    """An agent of the project alpha has ended."""

    agent: str


@frozen
class Drain:
    """The sidecar is about to stop."""


Step = Send | HangUp | Pass | Disk | End | Drain


# One of the two


class Pipe(StringTransport):
    """A connection in memory, with what TCP does: it is read only while it may be, and each side closes by itself."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(lenient=True)
        self.connection = connection
        self.ended = ""
        self.arriving: deque[bytes] = deque()
        self.peer_has_closed = False
        self._peers_end_was_told = False
        self.half_closed = ""
        connection.makeConnection(self)

    def write(self, data: bytes) -> None:
        if not self.ended and not self.half_closed:
            super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def unregisterProducer(self) -> None:
        self.producer = self.streaming = None

    def loseWriteConnection(self) -> None:
        self.half_closed = self.half_closed or "soon"

    def end(self, reason: type[Exception]) -> None:
        """The connection is no more."""
        if not self.ended:
            self.ended = reason.__name__
            self.connection.connectionLost(Failure(reason()))

    def turn(self) -> bool:
        """Let one thing happen that is due, as a turn of the reactor would; False if there is none."""
        if self.ended:
            return False
        if self.disconnecting:
            self.end(ConnectionAborted if self.disconnected else ConnectionDone)
        elif self.half_closed == "soon":
            self.half_closed = "done"
            self.connection.writeConnectionLost()
        elif self.producerState == "paused":
            return False
        elif self.arriving:
            self.connection.dataReceived(self.arriving.popleft())
        elif self.peer_has_closed and not self._peers_end_was_told:
            self._peers_end_was_told = True
            self.connection.readConnectionLost()
        else:
            return False
        return True


class Book(AccessLog):
    """An access log that is read by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    def write(self, requests: Sequence[Entry]) -> None:
        self.entries.extend(requests)


@define(eq=False)
class House:
    """A sidecar, its surroundings, and what it shows of itself."""

    parts: Composition
    clock: Clock
    book: Book
    journals: list[MemoryJournal]
    pipes: dict[int, Pipe] = field(factory=dict)
    _audited: list[tuple[object, ...]] = field(factory=list)
    _written: dict[int, int] = field(factory=dict)

    @classmethod
    def on(cls, ground: Ground) -> "House":
        """Build one, recovered from nothing."""
        clock, book, journals = Clock(), Book(), list[MemoryJournal]()
        clock.advance(START)

        def journal(*_: object, **__: object) -> MemoryJournal:
            journals.append(MemoryJournal())
            return journals[-1]

        counted: Any = {"new_id": numbered(), "request_ids": lambda: numbered("made-")}
        from_memory = mock.patch.object(projects, "FileJournal", journal)
        # The OpenAPI document takes half of the time of building, and nobody asks for it here.
        with mock.patch.multiple(ids, **counted), from_memory, mock.patch.object(OpenAPI, "of"):
            parts = Composition(clock, ground, lambda: True, book)
            for log in parts.logs:
                log.project.hub.open()
        house = cls(parts, clock, book, journals)
        house._bury("gone")
        return house

    def _bury(self, agent: str) -> None:
        row = Agent(agent, "chief-architect", "issue-1", "alpha", "admin", "", "demo", "normal", 1.0, START)
        dead = evolve(row, status=KILLED, ended_at=START)
        self.parts.logs[0].project.ledger.restore(encode("agent", asdict(dead)))

    def do(self, step: Step) -> None:
        """Let a step happen, and all that follows from it at once."""
        with self._listening():
            match step:
                case Send(pipe, pieces):
                    self._send(pipe, pieces)
                case HangUp(pipe, cleanly):
                    self._hang_up(pipe, cleanly)
                case Pass(seconds):
                    for _ in range(PIECES):
                        self.clock.advance(seconds / PIECES)
                        self._settle()
                case Disk(does):
                    self._disk(does)
                case End(agent):
                    self._bury(agent)
                    self.parts.logs[0].project.hub.end_agent(agent, TokenRevoked("The agent has ended."))
                case Drain():
                    self.parts.web.site.drain()
                    for log in self.parts.logs:
                        log.project.hub.drain()
            self._settle()
            self.parts.base.answers.finish()

    def _send(self, number: int, pieces: Iterable[bytes]) -> None:
        pipe = self.pipes.get(number)
        if pipe is None or pipe.ended or pipe.peer_has_closed:
            if pipe is not None:
                pipe.end(ConnectionLost)
            pipe = self.pipes[number] = Pipe(self.parts.web.site.buildProtocol(None))
        for piece in pieces:
            pipe.arriving.append(piece)
            self._settle()

    def _hang_up(self, number: int, cleanly: bool) -> None:
        pipe = self.pipes.get(number)
        if pipe is None:
            return
        if cleanly:
            pipe.peer_has_closed = True
        else:
            pipe.end(ConnectionLost)

    def _disk(self, does: str) -> None:
        for journal in self.journals:
            journal.held = does == "hold"
            if does == "write":
                journal.write()
            elif does == "refuse":
                journal.refuse(StorageFull("The disk is full."))
                # What nobody waits for goes with the next write, which comes when a token is renewed: on the fast path
                # with the answer, in the pipeline before.
                journal.write()

    def _settle(self) -> None:
        turned = True
        while turned:
            turned = False
            for pipe in self.pipes.values():
                turned = pipe.turn() or turned

    @contextmanager
    def _listening(self) -> Iterator[None]:
        observer = cast(ILogObserver, self._audit)  # a function is one; its types do not say so
        globalLogPublisher.addObserver(observer)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(observer)

    def _audit(self, event: LogEvent) -> None:
        if event["log_namespace"] == AUDIT:
            self._audited.append(tuple(repr(event.get(name)) for name in ("decision", "agent", "route", "code")))

    # What it shows

    def shown(self) -> dict[str, object]:
        """Give all that is to be seen of it, where possible only what is new since the last time."""
        hubs = [log.project.hub for log in self.parts.logs]
        entries, self.book.entries = self.book.entries, []
        audited, self._audited = self._audited, []
        return {
            **{f"pipe {number}": _of_pipe(pipe) for number, pipe in self.pipes.items()},
            "connections": len(self.parts.web.site.connections),
            "parked": (self.parts.base.polls.used, [len(hub.waiters) for hub in hubs]),
            "events": [(hub.sequence, len(hub.ring), hub.oldest_cursor) for hub in hubs],
            "counts": [(hub.published_total, hub.delivered_total) for hub in hubs],
            "deliveries": (self.parts.base.measurements.deliveries.count, self.parts.base.measurements.deliveries.sum),
            "positions": [list(hub.subscriptions.snapshot()) for hub in hubs],
            "written": [self._new_records(number) for number in range(len(self.journals))],
            # In what order answers are accounted for that were given at once is of no matter.
            "access log": sorted(map(_of_entry, entries)),
            "audit log": sorted(audited),
        }

    def _new_records(self, number: int) -> list[bytes]:
        records = self.journals[number].records
        first, self._written[number] = self._written.get(number, 0), len(records)
        return [record for record in records[first:] if not record.startswith(b'{"k":"succession"')]

    def metrics(self) -> list[tuple[object, ...]]:
        """Give what is counted by route and status."""
        self.parts.base.answers.finish()
        return sorted(
            (sample.name, *sorted(sample.labels.items()), sample.value)
            for metric in self.parts.base.measurements.collect()
            for sample in metric.samples
            if "lag" not in sample.name
        )


def _of_pipe(pipe: Pipe) -> tuple[object, ...]:
    text = pipe.value()
    pipe.clear()
    return _canonical(text), pipe.ended, pipe.half_closed, pipe.disconnecting


def _canonical(text: bytes) -> bytes:
    """Give answers with their headers in one order and spelling, and without what may differ.

    That is when they were written, what a request without a name is called, and when a token was renewed.
    """

    def sorted_head(head: re.Match[bytes]) -> bytes:
        fields = [line.partition(b":") for line in head[2].splitlines()]
        lines = [name.lower() + colon + value for name, colon, value in fields if name != b"Date"]
        return head[1] + b"\r\n".join([*sorted(lines), b"", b""])

    return _TOKEN.sub(_claims_in, _HEAD.sub(sorted_head, _MADE_ID.sub(b"made", text)))


def _claims_in(token: re.Match[bytes]) -> bytes:
    """Give what a successor says; when it was made, at the request or at its answer, is of no matter."""
    said = json.loads(base64.urlsafe_b64decode(token[1] + b"=="))
    return repr([(name, value) for name, value in said.items() if name not in {"iat", "nbf", "exp", "jti"}]).encode()


def _of_entry(entry: Entry) -> tuple[str, ...]:
    values: tuple[object, ...] = msgspec.structs.astuple(entry)
    return tuple(_MADE_ID.sub(b"made", repr(value).encode()).decode() for value in values)
