# mypy: disable-error-code="untyped-decorator"
"""The journal with its real writer: a process that writes, that outlives the sidecar for a batch, and is replaced."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import pytest_twisted
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from cco_sidecar.backends.journal import FileJournal
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import Recovery
from cco_sidecar.backends.segments import scan
from cco_sidecar.backends.writer_process import WriterProcess
from cco_sidecar.errors import EventLogUnavailable
from tests.conftest import LoggedFailures
from tests.fakes import outcome

REACTOR = cast(Any, reactor)
PATIENCE_SECONDS = 20.0


async def until(true: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    deadline = REACTOR.seconds() + PATIENCE_SECONDS
    while not true():
        assert REACTOR.seconds() < deadline, f"waited in vain: {what}"
        await deferLater(REACTOR, 0.002)


@define(eq=False)
class Desk:
    """A journal on the real reactor."""

    directory: Path
    last: int = 0
    state: list[bytes] = field(factory=list)
    recovered: list[bytes] = field(factory=list)
    writers: list[WriterProcess] = field(factory=list)
    recovery: Recovery = field(init=False)
    journal: FileJournal = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.journal = FileJournal(
            REACTOR,
            self.directory / "events" / "p",
            snapshot=lambda: list(self.state),
            mark=lambda: self.last,
            horizon=lambda: 0,
            start_writer=self._start_writer,
            quarantine=Quarantine(self.directory, ("quarantine", "events", "p")),
        )
        self.recovery = self.journal.recover(self.recovered.append)
        self.last = len(self.recovered)
        self.journal.open()

    def _start_writer(self, handle: int, gone: Callable[[], None]) -> WriterProcess:
        self.writers.append(WriterProcess.start(REACTOR, "p", handle, gone))
        return self.writers[-1]

    @property
    def process(self) -> psutil.Process:
        """The writer that is in use."""
        return psutil.Process(self.writers[-1].pid)

    def add(self, size: int = 10) -> "Deferred[None]":
        self.last += 1
        return self.journal.append(b'{"k":"entry","b":[%d,"%s"]}' % (self.last, b"x" * size))

    def written(self) -> int:
        """How many entries lie on disk."""
        paths = (self.directory / "events" / "p").iterdir()
        return sum(
            record.startswith(b'{"k":"entry"') for path in paths for _, record in scan(path.read_bytes()).records
        )


@pytest_twisted.async_yield_fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    yield made
    await made.journal.close()


@pytest_twisted.ensureDeferred
async def test_acknowledged_is_on_disk(desk: Desk) -> None:
    """Small ones, large ones that the socket does not take at once, and many at a time: acknowledged is written."""
    for size in (10, 3_000_000, 1, 1_000_000):
        await desk.add(size)
        assert desk.written() == desk.last
    await gatherResults([desk.add(number * 50) for number in range(300)])
    assert desk.written() == desk.last == 304


@pytest_twisted.ensureDeferred
async def test_process(desk: Desk) -> None:
    """It shows in ps by its name, holds nothing but the log, and is small."""
    process = desk.process
    assert process.cmdline()[1:] == ["-I", "-S", process.cmdline()[3], "p", process.cmdline()[5]]
    assert process.cmdline()[3].endswith("journal_writer.py")
    listening = cast(Any, desk.journal)._handle
    handles = {number: os.readlink(f"/proc/{process.pid}/fd/{number}") for number in _handles(process.pid)}
    assert handles.pop(0).startswith("socket:")
    assert handles.pop(1) == os.devnull
    handles.pop(2)
    assert handles.pop(listening) == str(desk.directory / "events" / "p")
    assert [path.rpartition(".")[2] for path in handles.values()] == ["log"]
    assert process.memory_info().rss < 30_000_000


def _handles(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]


@pytest_twisted.ensureDeferred
async def test_signals_for_all(desk: Desk) -> None:
    """What a terminal or a supervisor sends to everybody does not end it: the last notes are still to be written."""
    process = desk.process
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        process.send_signal(number)
    await desk.add()
    assert desk.process == process
    assert len(desk.writers) == 1


@pytest_twisted.ensureDeferred
async def test_close_ends_it(tmp_path: Path) -> None:
    """Closing writes what was taken, and when it is done no process is left."""
    desk = Desk(tmp_path)
    seen = [outcome(desk.add()) for _ in range(5)]
    process = desk.process
    await desk.journal.close()
    assert seen == [[None]] * 5
    assert not process.is_running()
    again = Desk(tmp_path)
    assert len(again.recovered) == 5
    await again.journal.close()


@pytest_twisted.ensureDeferred
async def test_killed_between_batches(desk: Desk) -> None:
    """A writer that is killed is replaced, and nobody need notice."""
    await desk.add()
    desk.process.kill()
    await until(lambda: len(desk.writers) == 2, "another writer")
    await desk.add()
    assert desk.written() == 2


@pytest_twisted.ensureDeferred
async def test_killed_with_a_batch_in_hand(tmp_path: Path) -> None:
    """The batch in hand is refused and gone, also when half of it was written; what waits goes to the next writer."""
    desk = Desk(tmp_path)
    await desk.add()
    desk.process.suspend()
    in_hand = outcome(desk.add(2_000_000))
    await deferLater(REACTOR, 0.02)
    waiting = desk.add()
    desk.process.kill()
    await waiting
    assert isinstance(in_hand[0], EventLogUnavailable)
    assert desk.written() == 2
    await desk.journal.close()
    again = Desk(tmp_path)
    assert [record[:18] for record in again.recovered] == [b'{"k":"entry","b":[1'[:18], b'{"k":"entry","b":[3'[:18]]
    assert again.recovery.damaged == again.recovery.torn_bytes == 0
    await again.journal.close()


def _followed(desk: Desk, deaths: int) -> bool:
    return len(desk.writers) > deaths or desk.journal.trouble is not None


@pytest_twisted.ensureDeferred
async def test_killed_again_and_again(desk: Desk, logged_failures: LoggedFailures) -> None:
    """The third time within a minute nothing more is taken, and it is said why."""
    for deaths in range(1, 4):
        desk.process.kill()
        await until(partial(_followed, desk, deaths), "what follows")
    with pytest.raises(EventLogUnavailable):
        await desk.add()
    assert len(logged_failures.flush(ChildProcessError)) == 1


ORPHAN = """
import sys
from pathlib import Path
from twisted.internet import reactor
from cco_sidecar.backends.journal import FileJournal
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.writer_process import WriterProcess
storage = Path(sys.argv[1])
writers = []
def start(handle, gone):
    writers.append(WriterProcess.start(reactor, "p", handle, gone))
    return writers[-1]
kept = Quarantine(storage, ("quarantine",))
journal = FileJournal(reactor, storage / "events" / "p", lambda: [], lambda: 0, lambda: 0, start, kept)
journal.recover(lambda record: None)
journal.open()
print(writers[0].pid, flush=True)
sys.stdin.readline()
def write():
    for _ in range(20):
        journal.append(b'{"k":"entry","b":"%s"}' % (b"x" * 1_000_000))
    reactor.callLater(0.05, print, "sent", flush=True)
reactor.callWhenRunning(write)
reactor.run()
"""


@pytest_twisted.ensureDeferred
async def test_start_waits_for_the_writer_of_a_killed_process(tmp_path: Path) -> None:
    """A killed sidecar's writer may have a batch in hand: the next start reads the log once that one is gone."""
    program = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdin is not None
    assert program.stdout is not None
    writer = psutil.Process(int(program.stdout.readline()))
    writer.suspend()
    program.stdin.write(b"\n")
    program.stdin.flush()
    assert program.stdout.readline() == b"sent\n"
    program.kill()
    program.wait()
    program.stdin.close()
    program.stdout.close()
    waker = subprocess.Popen(
        [sys.executable, "-S", "-c", f"import os, time; time.sleep(0.3); os.kill({writer.pid}, 18)"]
    )
    began = time.monotonic()
    desk = Desk(tmp_path)
    assert time.monotonic() - began > 0.1
    assert waker.wait() == 0
    assert not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE
    assert (desk.recovery.damaged, desk.recovery.torn_bytes) == (0, 0)
    assert len(desk.recovered) in {0, 20}
    await desk.journal.close()
