# mypy: disable-error-code="untyped-decorator"
"""The journal's writer killed, or refused, at every call to the disk that it makes: strace sees to it.

What was acknowledged is there, what was never attempted is not, the order is kept, and no sequence is given twice.
"""

import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import pytest_twisted
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from cco_sidecar.backends import journal as journal_module
from cco_sidecar.backends import rotation
from cco_sidecar.backends.journal import FileJournal
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import Recovery
from cco_sidecar.backends.segments import scan
from cco_sidecar.backends.writer_process import WriterProcess
from cco_sidecar.errors import EventLogUnavailable, StorageFull
from tests.conftest import LoggedFailures

REACTOR = cast(Any, reactor)
CALLS = ("write", "fdatasync", "fsync", "openat", "unlinkat")
MANY = 9
"""So many entries a whole life writes."""
MOST_CALLS = 70
"""So many calls of a kind it makes at most."""
PYTHONS_OWN = 12
"""So many files python opens, at least, before the writer's first line."""


@define(eq=False)
class Run:
    """One life of a journal under strace: what was tried, what was acknowledged, and how the rest was refused."""

    storage: Path
    stays: bool = True
    then: Callable[[], None] = lambda: None
    """Called before the second writer starts."""
    writers: int = 0
    whole: bool = False
    attempted: list[int] = field(factory=list)
    acknowledged: list[int] = field(factory=list)
    refusals: list[BaseException] = field(factory=list)
    recovered: list[bytes] = field(factory=list)
    recovery: Recovery = field(init=False)
    journal: FileJournal = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.journal = FileJournal(
            REACTOR,
            self.directory,
            snapshot=lambda: [b'{"k":"state","b":%d}' % number for number in range(3)],
            mark=lambda: self.attempted[-1] if self.attempted else 0,
            horizon=lambda: self.horizon,
            start_writer=self._start_writer,
            quarantine=Quarantine(self.storage, ("quarantine", "events", "p")),
        )
        self.recovery = self.journal.recover(self.recovered.append)

    @property
    def horizon(self) -> int:
        """Up to here nothing is wanted any more."""
        return max(0, len(self.attempted) - 2)

    @property
    def directory(self) -> Path:
        return self.storage / "events" / "p"

    def _start_writer(self, handle: int, gone: Callable[[], None]) -> WriterProcess:
        self.writers += 1
        if self.writers > 1 and not self.stays:
            raise OSError("this process has ended, too")
        if self.writers > 1:
            self.then()
        return WriterProcess.start(REACTOR, "p", handle, gone)

    def publish(self) -> "Deferred[None]":
        number = len(self.attempted) + 1
        self.attempted.append(number)
        done = self.journal.append(b'{"k":"entry","b":%d}' % number)
        return done.addCallbacks(lambda _: self.acknowledged.append(number), self._refused)

    def _refused(self, failure: Any) -> None:
        self.refusals.append(failure.value)

    def entries(self) -> list[int]:
        """The entries that recovery found, in order."""
        lines = [msgspec.json.decode(record) for record in self.recovered]
        return [line["b"] for line in lines if line["k"] == "entry"]

    def check(self, earlier: "Run") -> None:
        """Hold what was recovered against what an earlier run saw."""
        found = self.entries()
        wanted = {number for number in earlier.acknowledged if number > earlier.horizon}
        assert wanted <= set(found) <= set(earlier.attempted)
        assert found == sorted(set(found))
        assert self.recovery.damaged == 0
        sequences = [number for path in self.directory.iterdir() for number, _ in scan(path.read_bytes()).records]
        assert len(sequences) == len(set(sequences)), "a sequence was given twice"


async def live(run: Run) -> None:
    """Publish alone and in company, and begin new segments meanwhile, so that old ones go."""
    run.journal.open()
    for _ in range(2):
        await run.publish()
        run.journal.rotate()
        await DeferredList([run.publish(), run.publish()])
        await run.publish()
        await run.journal.flush()
    await run.publish()


@pytest.fixture
def under_strace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Start the next writers under strace, with an injection; without strace these tests can't be."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is missing: install it (apt-get install strace)")
    python = sys.executable
    program = tmp_path / "python"
    monkeypatch.setattr(rotation, "SLICE_BYTES", 1)
    monkeypatch.setattr(journal_module, "FEWEST_SEGMENTS", 2)
    monkeypatch.setattr(journal_module, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(sys, "executable", str(program))

    def inject(what: str) -> None:
        calls = what.partition(":")[0]
        options = f"-qq -o /dev/null -e trace={calls} -e inject={what}"
        prefix = f"{shlex.quote(strace)} {options} " if what else ""
        program.write_text(f'#!/bin/sh\nexec {prefix}{shlex.quote(python)} "$@"\n')
        program.chmod(0o700)

    return inject


async def tried(run: Run) -> Run:
    """Live one life, to its end."""
    with suppress(OSError):  # it may not even begin
        await live(run)
        run.whole = run.writers == 1
        for _ in range(100):
            if run.journal.trouble is None or "restarted" in run.journal.trouble:
                break
            await deferLater(REACTOR, 0.005)
    await run.journal.close()
    return run


async def check_after(run: Run, inject: Callable[[str], None]) -> Run:
    """Start again without any injection, check, and see that it goes on."""
    inject("")
    again = Run(run.storage)
    again.check(run)
    again.attempted = list(run.attempted)
    again.journal.open()
    await again.publish()
    assert again.acknowledged == again.attempted[-1:]
    await again.journal.close()
    once_more = Run(run.storage)
    once_more.check(again)
    await once_more.journal.close()
    return again


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "stays", [pytest.param(True, id="replaced", marks=pytest.mark.soak), pytest.param(False, id="all dies")]
)
@pytest_twisted.ensureDeferred
async def test_killed_at_every_call(
    tmp_path: Path,
    under_strace: Callable[[str], None],
    call: str,
    *,
    stays: bool,
    logged_failures: LoggedFailures,
) -> None:
    """Killed at the first, second, third … call of a kind, until there are no more: nothing acknowledged is lost."""
    for number in count(PYTHONS_OWN if call == "openat" else 1):
        under_strace(f"{call}:signal=KILL:when={number}")
        run = await tried(Run(tmp_path / f"{number}", stays, lambda: under_strace("")))
        assert not run.whole or run.acknowledged == list(range(1, MANY + 1))
        assert len(run.refusals) <= 2 or not stays
        await check_after(run, under_strace)
        logged_failures.flush(OSError)
        if run.whole:
            break
    assert number > 1


@pytest.mark.parametrize("call", ["ftruncate", "fsync", "openat", "unlinkat"])
@pytest.mark.parametrize("batch", [14, 23], ids=["between", "in a snapshot"])
@pytest_twisted.ensureDeferred
async def test_killed_while_it_takes_over(
    tmp_path: Path, under_strace: Callable[[str], None], call: str, batch: int
) -> None:
    """The writer that follows a killed one is killed, too, wherever it takes back what was not acknowledged."""
    for number in count(PYTHONS_OWN if call == "openat" else 1):
        run = Run(tmp_path / f"{number}")

        def then(number: int = number, run: Run = run) -> None:
            under_strace(f"{call}:signal=KILL:when={number}" if run.writers == 2 else "")

        run.then = then
        under_strace(f"write:signal=KILL:when={batch}")
        await tried(run)
        assert run.writers > 1
        assert len(run.refusals) <= 4
        assert run.journal.trouble is None
        await check_after(run, under_strace)
        if run.writers == 2:
            break


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
@pytest_twisted.ensureDeferred
async def test_failed_sync_at_every_call(
    tmp_path: Path, under_strace: Callable[[str], None], call: str, logged_failures: LoggedFailures
) -> None:
    """A sync that fails is never tried again: nothing more is taken, and what was acknowledged outlives a restart."""
    for number in count(1):
        under_strace(f"{call}:error=EIO:when={number}")
        run = await tried(Run(tmp_path / f"{number}"))
        assert run.writers == 1
        refused = run.attempted[len(run.acknowledged) :]
        assert run.attempted == run.acknowledged + refused
        assert {type(refusal) for refusal in run.refusals} <= {EventLogUnavailable}
        await check_after(run, under_strace)
        logged_failures.flush(OSError)
        if run.attempted and not refused:
            break
        assert not refused or run.journal.trouble is not None
    assert number > 3


@pytest.mark.parametrize("call", ["write", "openat"])
@pytest_twisted.ensureDeferred
async def test_full_disk_at_every_call(tmp_path: Path, under_strace: Callable[[str], None], call: str) -> None:
    """A disk that is full refuses, leaves nothing behind, and hurts no longer than it is."""
    full = 0
    for number in count(PYTHONS_OWN + 8 if call == "openat" else 1):
        under_strace(f"{call}:error=ENOSPC:when={number}")
        run = await tried(Run(tmp_path / f"{number}", then=lambda: under_strace("")))
        assert run.journal.trouble is None
        assert {type(refusal) for refusal in run.refusals} <= {StorageFull, EventLogUnavailable}
        assert len(run.refusals) <= 2
        full += any(isinstance(refusal, StorageFull) for refusal in run.refusals)
        await check_after(run, under_strace)
        if run.whole and not run.refusals and number > MOST_CALLS:
            break
    assert full > 2 or call == "openat"
