"""A log in files, for one life of the sidecar, whose writer does what it is asked when the test says so."""

import os
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from twisted.internet.task import Clock

from cco_sidecar.backends.journal import AGAIN_SECONDS, DEATHS_SECONDS, FileJournal
from cco_sidecar.backends.journal_writer import Writer
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import everything
from cco_sidecar.backends.rotation import Snapshot
from cco_sidecar.interfaces import IJournal
from tests.fakes import outcome
from tests.writers import WriterHere


@define(eq=False)
class FileStorage:
    """Keeps a log in a `FileJournal`; its clock is its own, so that nothing of the hub happens when the disk works."""

    directory: Path
    segment_bytes: int = 8 * 1024 * 1024
    clock: Clock = field(factory=Clock)
    writers: list[WriterHere] = field(factory=list)
    journal: FileJournal = field(init=False)
    _full: bool = False

    def open(self, snapshot: Callable[[], Snapshot], mark: Callable[[], int], horizon: Callable[[], int]) -> IJournal:
        """See `Storage`."""
        self.journal = FileJournal(
            self.clock,
            self.directory,
            snapshot,
            mark,
            horizon,
            self._start_writer,
            Quarantine(self.directory.parent, ("quarantine",)),
            self.segment_bytes,
        )
        return self.journal

    def _start_writer(self, handle: int, gone: Callable[[], None]) -> WriterHere:
        self.writers.append(WriterHere(gone, Writer(handle), full=self._full))
        return self.writers[-1]

    @property
    def writer(self) -> WriterHere:
        """The one that is in use."""
        return self.writers[-1]

    def recover(self, apply: Callable[[bytes], None], lasts: Callable[[bytes], bool] = everything) -> None:
        """See `Storage`; what a crash leaves is no damage."""
        self.journal.recover(apply, lasts)
        assert self.journal.damaged == 0
        self.journal.open()

    def step(self) -> bool:
        """See `Storage`."""
        self.clock.advance(0)
        worked = self.writer.work()
        self.clock.advance(0)
        return worked

    def settle(self) -> None:
        """See `Storage`."""
        self._work_on()
        while self.journal.trouble is not None and not self._full:
            self.clock.advance(AGAIN_SECONDS)  # what was refused is tried again
            self._work_on()

    def _work_on(self) -> None:
        idle = outcome(self.journal.flush())
        while self.step():
            pass
        assert idle == [None]

    def fill(self) -> None:
        """See `Storage`."""
        self._full = self.writer.full = True

    def heal(self) -> None:
        """See `Storage`."""
        self._full = self.writer.full = False

    def rotate(self) -> None:
        """See `Storage`; where there is nothing new, nothing is done."""
        self.journal.rotate()

    def die(self, *, done: bool) -> None:
        """Let the writer die, before or after it did what it is at; another one takes its place."""
        self.clock.advance(DEATHS_SECONDS + 1)  # not so often that the journal gives up
        self.writer.die(done=done)

    def crash(self, kept: float = 0.0) -> "FileStorage":
        """See `Storage`; what is on disk of a batch may end in the middle of a line."""
        if kept:
            self.clock.advance(0)  # the writer has it in hand
        for order, payload, _ in self.writer.asked:
            if order != b"write":
                if kept >= 0.5 and not self._full:
                    self.writer.ask_now(order, payload)
            elif not self._full:
                newest = max(self.directory.glob("*.log"), key=self._in_use)
                with newest.open("ab") as file:
                    file.write(payload[: round(len(payload) * kept)])
        self.writer.asked.clear()
        self.writer.let_go()
        self._unlock()
        return FileStorage(self.directory, self.segment_bytes)

    def _in_use(self, path: Path) -> bool:
        return bool(self.journal._segments[-1].path == path)

    def _unlock(self) -> None:
        if self.journal._handle >= 0:
            os.close(self.journal._handle)
            self.journal._handle = -1

    def close(self) -> "FileStorage":
        """See `Storage`."""
        ended = outcome(self.journal.close())
        while self.step():
            pass
        assert ended == [None]
        return FileStorage(self.directory, self.segment_bytes)
