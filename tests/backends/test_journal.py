"""The journal: what is acknowledged is on disk, in order, and comes back, whatever happened to process or file."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from cco_sidecar.backends import journal as module
from cco_sidecar.backends import journal_writer, rotation
from cco_sidecar.backends.journal import AGAIN_SECONDS, DEATHS_SECONDS, FEWEST_SEGMENTS, MOST_DEATHS, FileJournal
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import Recovery
from cco_sidecar.backends.segments import BEGIN, END, frame, scan, segment_name
from cco_sidecar.errors import EventLogUnavailable, StorageFull
from cco_sidecar.interfaces import IJournal
from tests.conftest import LoggedFailures
from tests.fakes import START, T, outcome
from tests.writers import WriterHere


def entry(number: int) -> bytes:
    return b'{"k":"entry","b":%d}' % number


def number_of(record: bytes) -> int | None:
    return int(record[17:-1]) if record.startswith(b'{"k":"entry"') else None


def clock_of_now() -> Clock:
    clock = Clock()
    clock.advance(START)
    return clock


@define(eq=False)
class Shelf:
    """A journal whose entries are numbered; its state is one record that says how far they went."""

    directory: Path
    segment_bytes: int = 1_000_000
    clock: Clock = field(factory=clock_of_now)
    last: int = 0
    horizon: int = 0
    state: list[bytes] = field(factory=list)
    recovered: list[bytes] = field(factory=list)
    writers: list[WriterHere] = field(factory=list)
    recovery: Recovery = field(init=False)
    journal: FileJournal = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.journal = FileJournal(
            self.clock,
            self.directory,
            snapshot=lambda: list(self.state),
            mark=lambda: self.last,
            horizon=lambda: self.horizon,
            start_writer=self._start_writer,
            quarantine=Quarantine(self.directory.parent, ("quarantine", self.directory.name)),
            segment_bytes=self.segment_bytes,
        )
        self.recovery = self.journal.recover(self._apply)
        self.journal.open()

    def _start_writer(self, handle: int, gone: Callable[[], None]) -> WriterHere:
        self.writers.append(WriterHere(gone, journal_writer.Writer(handle)))
        return self.writers[-1]

    @property
    def writer(self) -> WriterHere:
        """The one that is in use."""
        return self.writers[-1]

    def turn(self) -> None:
        """Let the reactor come round: what waits goes to the writer, which has it in hand."""
        self.clock.advance(0)

    def step(self) -> bool:
        """Let the writer do the next thing; False if there is nothing."""
        self.turn()
        worked = self.writer.work()
        self.turn()
        return worked

    def result_of(self, deferred: "Deferred[T]") -> T:
        """Wait for a Deferred; raise what it fails with."""
        seen = outcome(deferred)
        while not seen:
            assert self.step() or seen, "it never fires"
        if isinstance(seen[0], BaseException):
            raise seen[0]
        return seen[0]

    def quarantined(self) -> list[Path]:
        """What lies in quarantine."""
        return sorted((self.directory.parent / "quarantine" / self.directory.name).glob("*"))

    def _apply(self, record: bytes) -> None:
        self.recovered.append(record)
        self.last = max(self.last, number_of(record) or 0)

    def add(self) -> "list[BaseException | None]":
        """Append the next entry, and give a list that gets the outcome."""
        self.last += 1
        return outcome(self.journal.append(entry(self.last)))

    def added(self, many: int = 1) -> None:
        """Append so many, each acknowledged before the next."""
        for _ in range(many):
            self.last += 1
            self.result_of(self.journal.append(entry(self.last)))

    def settle(self) -> None:
        self.result_of(self.journal.flush())

    def rotate(self) -> None:
        self.journal.rotate()
        self.settle()

    def close(self) -> None:
        self.result_of(self.journal.close())

    def segments(self) -> list[Path]:
        return sorted(self.directory.iterdir())

    def numbers(self) -> list[int]:
        """Give the entries that recovery found, in order."""
        return [number for number in map(number_of, self.recovered) if number is not None]


@pytest.fixture
def shelve(tmp_path: Path) -> Iterator[Callable[..., Shelf]]:
    """Make shelves on one directory, each after the process of the last one ended."""
    shelves: list[Shelf] = []

    def make(**more: object) -> Shelf:
        for shelf in shelves:
            shelf.close()
        shelves.clear()
        directory = more.pop("directory", tmp_path / "events" / "p")
        shelves.append(Shelf(directory, **more))  # type: ignore[arg-type]  # each is of its field's type
        return shelves[-1]

    yield make
    for shelf in shelves:
        shelf.close()


@pytest.fixture
def shelf(shelve: Callable[..., Shelf]) -> Shelf:
    return shelve()


@define(eq=False)
class Disk:
    """The calls to the disk, counted, and failing when told."""

    calls: list[str] = field(factory=list)
    failing: dict[str, int] = field(factory=dict)  # name -> errno
    most: int | None = None  # bytes a write takes at once
    writes_left: int | None = None  # then it is full

    def fail(self, name: str, number: int) -> None:
        self.failing[name] = number

    def heal(self) -> None:
        self.failing.clear()

    def check(self, name: str) -> None:
        self.calls.append(name)
        if name == "write" and self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise OSError(errno.ENOSPC, "full")
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Put the disk of the journal's module into the test's hands."""
    disk = Disk()
    write, fdatasync, fsync, ftruncate, opening = os.write, os.fdatasync, os.fsync, os.ftruncate, os.open

    def writing(handle: int, data: "memoryview[int]") -> int:
        disk.check("write")
        return write(handle, data[: disk.most])

    def syncing(handle: int) -> None:
        disk.check("fdatasync")
        fdatasync(handle)

    def opened(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            disk.check("create")
        return opening(path, flags, mode, dir_fd=dir_fd)

    def synced(handle: int) -> None:
        disk.check("fsync")
        fsync(handle)

    def cut(handle: int, size: int) -> None:
        disk.check("ftruncate")
        ftruncate(handle, size)

    for name, function in (
        ("write", writing),
        ("fdatasync", syncing),
        ("fsync", synced),
        ("open", opened),
        ("ftruncate", cut),
    ):
        monkeypatch.setattr(os, name, function)
    return disk


# Writing


def test_interface(shelf: Shelf) -> None:
    """It is the door that the core knows."""
    assert verifyObject(IJournal, shelf.journal)


def test_in_order(shelve: Callable[..., Shelf]) -> None:
    """Records come back as they were written, in order, with the notes among them."""
    shelf = shelve()
    shelf.add()
    shelf.journal.note(b'{"k":"note","b":"\\n"}')
    shelf.added()
    again = shelve()
    assert again.recovered == [entry(1), b'{"k":"note","b":"\\n"}', entry(2)]
    assert again.recovery == Recovery(3, 0, 0)


def test_acknowledged_is_on_disk(shelf: Shelf) -> None:
    """At the moment of the acknowledgement the record lies in the file, and has been synced."""
    for number in range(1, 4):
        shelf.added()
        assert entry(number) in shelf.segments()[-1].read_bytes()


def test_one_sync_for_many(shelf: Shelf, disk: Disk) -> None:
    """All that comes while one sync runs goes into the next write, and is acknowledged together, in order."""
    order: list[int] = []

    def append(number: int) -> "Deferred[None]":
        return shelf.journal.append(entry(number)).addCallback(lambda _: order.append(number))

    first = append(1)
    shelf.turn()
    rest = [append(number) for number in range(2, 200)]
    assert order == []
    shelf.result_of(first)
    shelf.result_of(rest[-1])
    assert order == list(range(1, 200))
    assert disk.calls == ["write", "fdatasync"] * 2


def test_write_of_partial_length(shelve: Callable[..., Shelf], disk: Disk) -> None:
    """A write that takes less than it was given is continued."""
    shelf = shelve()
    disk.most = 7
    shelf.added(3)
    disk.most = None
    assert shelve().numbers() == [1, 2, 3]


def test_callback_that_raises(shelf: Shelf, disk: Disk, logged_failures: LoggedFailures) -> None:
    """An acknowledgement that somebody takes badly keeps nobody else from theirs, and the log goes on."""
    shelf.add()
    shelf.turn()

    def take_badly(_: None) -> None:
        raise RuntimeError("a mistake of the one who waited")

    before, bad, after = shelf.add(), shelf.journal.append(b'{"k":"x"}').addCallback(take_badly), shelf.add()
    shelf.settle()
    assert before == after == [None]
    shelf.added()
    del bad
    assert len(logged_failures.flush(RuntimeError)) == 1


def test_waiter_that_leaves(shelf: Shelf) -> None:
    """Whoever no longer waits for an acknowledgement takes nothing back, and keeps nobody up."""
    waiting = shelf.journal.append(entry(1))
    ended = outcome(waiting)
    waiting.cancel()
    shelf.last = 1
    shelf.added()
    assert len(ended) == 1
    assert entry(1) in shelf.segments()[-1].read_bytes()


def test_appending_from_an_acknowledgement(shelf: Shelf) -> None:
    """What is appended by an acknowledgement is written next."""
    order: list[str] = []

    def more(_: None) -> None:
        order.append("first")
        shelf.journal.append(entry(2)).addCallback(lambda _: order.append("second"))

    shelf.journal.append(entry(1)).addCallback(more)
    shelf.settle()
    assert order == ["first", "second"]


def test_flush(shelf: Shelf) -> None:
    """A flush fires when all that came before is on disk, at once when that is so already."""
    assert outcome(shelf.journal.flush()) == [None]
    shelf.journal.note(b'{"k":"note"}')
    seen = outcome(shelf.journal.flush())
    assert seen == []
    shelf.settle()
    assert seen == [None]
    assert b'{"k":"note"}' in shelf.segments()[-1].read_bytes()


def test_close(shelve: Callable[..., Shelf]) -> None:
    """Closing takes nothing more, and writes all that was taken."""
    shelf = shelve()
    seen = [shelf.add() for _ in range(5)]
    closing = outcome(shelf.journal.close())
    late = shelf.add()
    assert isinstance(late[0], EventLogUnavailable)
    while not closing:
        shelf.step()
    assert seen == [[None]] * 5
    shelf.journal.note(b'{"k":"too late"}')
    assert outcome(shelf.journal.flush()) == [None]
    assert shelve().numbers() == [1, 2, 3, 4, 5]


def test_too_much_waiting(shelf: Shelf, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When more waits than can be held, more is refused; when it is written, it is taken again."""
    monkeypatch.setattr(module, "MOST_PENDING_BYTES", 1000)
    shelf.add()
    shelf.turn()
    taken = outcome(shelf.journal.append(b"x" * 1001))
    refused = shelf.add()
    assert isinstance(refused[0], EventLogUnavailable)
    shelf.settle()
    assert taken == [None]
    assert shelf.journal.trouble is None
    shelf.added()


def test_a_dropped_note_is_in_the_next_snapshot(
    shelve: Callable[..., Shelf], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note for which there was no room is made good by a snapshot of the state with the next write."""
    monkeypatch.setattr(module, "MOST_PENDING_BYTES", 1000)
    shelf = shelve()
    shelf.add()
    shelf.turn()
    outcome(shelf.journal.append(b"x" * 1001))
    shelf.state = [b'{"k":"state","b":"as it is"}']
    shelf.journal.note(b'{"k":"lost"}')
    shelf.settle()
    shelf.added()
    assert b'{"k":"state","b":"as it is"}' in shelve().recovered


# Segments


def test_files(shelf: Shelf) -> None:
    """The directory holds segments alone, ours alone; the size is what they take."""
    shelf.added(3)
    shelf.rotate()
    assert [path.name for path in shelf.segments()] == [segment_name(1), segment_name(7)]  # 6 is left for a jump
    assert {oct(path.stat().st_mode & 0o777) for path in shelf.segments()} == {"0o600"}
    assert oct(shelf.directory.stat().st_mode & 0o777) == "0o700"
    assert shelf.journal.size_bytes == sum(path.stat().st_size for path in shelf.segments())


def test_snapshot_begins_each_segment(shelve: Callable[..., Shelf]) -> None:
    """A segment begins with the state as it is, and recovery gives it back before what follows."""
    shelf = shelve(state=[b'{"k":"state","b":1}'])
    shelf.added()
    shelf.state = [b'{"k":"state","b":2}']
    shelf.rotate()
    shelf.added()
    records = [record for _, record in scan(shelf.segments()[-1].read_bytes()).records]
    assert records == [BEGIN % 1, b'{"k":"state","b":2}', END % (1, 1, 4), entry(2)]
    assert shelve().recovered == [b'{"k":"state","b":1}', entry(1), b'{"k":"state","b":2}', entry(2)]


def test_rotation_by_size(shelve: Callable[..., Shelf]) -> None:
    """A full segment is followed by the next, in the middle of the writing, and nothing is lost."""
    shelf = shelve(segment_bytes=500)
    shelf.added(100)
    assert len(shelf.segments()) > 10
    assert shelve().numbers() == list(range(1, 101))


def test_new_segment_is_synced_with_its_directory(shelf: Shelf, disk: Disk) -> None:
    """A segment is in use once its snapshot and its name are on disk, and only then is it written to."""
    shelf.added()
    disk.calls.clear()
    shelf.rotate()
    shelf.added()
    assert disk.calls == ["create", "write", "fdatasync", "write", "fsync", "fsync", "write", "fdatasync"]


def test_no_rotation_without_entries(shelf: Shelf) -> None:
    """An idle log grows no segments."""
    for _ in range(3):
        shelf.rotate()
    assert len(shelf.segments()) == 1


def test_expired_segments_go_whole(shelf: Shelf) -> None:
    """A segment with nothing wanted in it is deleted, one with a single wanted entry stays, and the newest always."""
    for _ in range(12):
        shelf.added(2)
        shelf.rotate()
    assert len(shelf.segments()) == 13
    shelf.horizon = 5  # the first two segments have nothing above it; the third has 5 and 6
    shelf.added()
    shelf.rotate()
    assert len(shelf.segments()) == 12
    shelf.horizon = shelf.last
    shelf.added()
    shelf.rotate()
    assert len(shelf.segments()) == FEWEST_SEGMENTS >= 2
    assert shelf.journal.size_bytes == sum(path.stat().st_size for path in shelf.segments())


def test_wanted_entries_outlive_idle_restarts(shelve: Callable[..., Shelf]) -> None:
    """Segments that restarts make are deleted when they hold nothing; what holds an entry that is wanted never is."""
    for _ in range(4):
        shelf = shelve()
        shelf.added(2)
        shelf.journal.rotate()
        shelf.added()
    for _ in range(FEWEST_SEGMENTS * 3):
        shelf = shelve()
    assert shelf.numbers() == list(range(1, 13))
    assert len(shelf.segments()) < 12 + FEWEST_SEGMENTS


def test_batch_that_begins_a_segment_is_wanted(shelve: Callable[..., Shelf], disk: Disk) -> None:
    """Entries numbered before their segment was begun, and written into it, count as its own: restarts keep them."""
    shelf = shelve()
    shelf.add()
    shelf.turn()
    shelf.journal.rotate()
    seen = [shelf.add() for _ in range(3)]
    shelf.settle()
    assert seen == [[None]] * 3
    assert len(shelf.segments()) == 2
    for _ in range(FEWEST_SEGMENTS * 2):
        shelf = shelve()
    assert shelf.numbers() == [1, 2, 3, 4]


def test_horizon_of_the_snapshot(shelf: Shelf, disk: Disk) -> None:
    """What is deleted goes by the horizon that the snapshot knows, not by a later one: a gap must not be forgotten."""
    for _ in range(FEWEST_SEGMENTS + 2):
        shelf.added()
        shelf.rotate()
    shelf.added()
    before = shelf.segments()
    shelf.add()
    shelf.turn()
    shelf.journal.rotate()
    shelf.add()
    shelf.step()  # the rotation is begun with the horizon of now
    shelf.horizon = shelf.last
    shelf.settle()
    assert before[0] in shelf.segments()


# A snapshot while writing goes on


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every record of a snapshot be an order of its own."""
    monkeypatch.setattr(rotation, "SLICE_BYTES", 1)


STATE = [b'{"k":"state","b":%d}' % number for number in range(4)]


@pytest.mark.usefixtures("small_slices")
def test_writing_goes_on(shelf: Shelf) -> None:
    """While a snapshot is written, every second order is a batch; a batch never waits for more than one slice."""
    shelf.added(2)
    shelf.state = list(STATE)
    shelf.journal.rotate()
    shelf.writer.orders.clear()
    while len(shelf.segments()) < 2 or shelf.journal._rotation is not None:
        shelf.add()
        shelf.step()
    orders = b" ".join(shelf.writer.orders)
    assert b"fill fill" not in orders
    assert orders.count(b"fill") == len(STATE) + 1
    shelf.settle()


@pytest.mark.usefixtures("small_slices")
def test_state_of_one_moment(shelve: Callable[..., Shelf]) -> None:
    """A snapshot comes back before all that was written since it was begun, though that lies in the segment before."""
    shelf = shelve()
    shelf.added(2)
    shelf.state = list(STATE)
    shelf.journal.rotate()
    shelf.turn()
    shelf.state = [b'{"k":"state","b":"later"}']
    shelf.added(3)
    shelf.settle()
    shelf.added(2)
    first, second = shelf.segments()
    assert all(entry(number) in first.read_bytes() for number in range(1, 6))
    assert all(entry(number) in second.read_bytes() for number in (6, 7))
    again = shelve()
    assert again.recovered == [*map(entry, (1, 2)), *STATE, *map(entry, range(3, 8))]
    assert again.recovery.damaged == 0


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("done", [False, True])
def test_process_that_ends_anywhere(tmp_path: Path, shelve: Callable[..., Shelf], *, done: bool) -> None:
    """Ended at any order, done or not: all that was acknowledged is there, in order, and nothing is damaged."""
    for orders in count():
        shelf = shelve(directory=tmp_path / f"{orders}")
        shelf.added(2)
        shelf.state = list(STATE)
        shelf.journal.rotate()
        seen: list[list[BaseException | None]] = []
        for _ in range(orders):
            seen.append(shelf.add())
            shelf.step()
        shelf.turn()
        acknowledged = [1, 2, *(number for number, one in enumerate(seen, 3) if one == [None])]
        if done:
            shelf.step()
        copy = tmp_path / f"{orders}-copy"
        shutil.copytree(shelf.directory, copy)
        attempted = [1, 2, *range(3, shelf.last + 1)]
        again = Shelf(copy)
        assert acknowledged == again.numbers()[: len(acknowledged)]
        assert again.numbers() == attempted[: len(again.numbers())]
        assert again.recovery.damaged == 0
        again.last = shelf.last
        again.added()
        again.close()
        once_more = Shelf(copy)
        assert (once_more.numbers(), once_more.recovery.damaged) == ([*again.numbers(), again.last], 0)
        once_more.close()
        shelf.settle()
        if len(shelf.segments()) > 1 and orders > 2 * len(STATE) + 8:
            break


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("restarted", [False, True])
def test_entries_beside_a_snapshot_are_wanted(shelve: Callable[..., Shelf], *, restarted: bool) -> None:
    """What was written beside a snapshot keeps its segment: what the snapshot knew is not enough."""
    shelf = shelve(state=list(STATE))
    shelf.added(2)
    shelf.journal.rotate()
    shelf.turn()
    shelf.added(2)
    shelf.settle()
    if restarted:
        shelf = shelve(state=list(STATE))
    for _ in range(FEWEST_SEGMENTS + 2):
        shelf.horizon = 3
        shelf.added()
        shelf.rotate()
    assert entry(4) in shelf.segments()[0].read_bytes()
    shelf.horizon = 4
    shelf.added()
    shelf.rotate()
    assert entry(4) not in shelf.segments()[0].read_bytes()
    assert shelve().recovered[:1] == STATE[:1]


def test_large_snapshots_are_not_written_for_little(shelve: Callable[..., Shelf]) -> None:
    """A segment is full when what follows its snapshot is as large as that: else writing would be snapshots mostly."""
    shelf = shelve(segment_bytes=300, state=[b'{"k":"state","b":"%s"}' % (b"x" * 10_000)])
    shelf.added(50)
    assert len(shelf.segments()) == 1
    shelf.added(150)
    assert len(shelf.segments()) == 2


def test_close_gives_a_snapshot_up(shelf: Shelf) -> None:
    """Closing waits for no snapshot: nothing of it stays."""
    shelf.added()
    shelf.journal.rotate()
    shelf.turn()
    shelf.close()
    assert len(shelf.segments()) == 1


def test_close_brings_what_was_lost(shelve: Callable[..., Shelf], disk: Disk) -> None:
    """Notes that could not be written are made good before the end, if that is possible."""
    shelf = shelve(state=list(STATE[:1]))
    disk.fail("write", errno.ENOSPC)
    shelf.journal.note(b'{"k":"lost"}')
    shelf.settle()
    shelf.state = [b'{"k":"state","b":"as it is"}']
    disk.heal()
    shelf.add()
    shelf.turn()
    shelf.close()
    assert b'{"k":"state","b":"as it is"}' in shelve().recovered


def test_close_tries_again_what_was_lost(shelve: Callable[..., Shelf], disk: Disk) -> None:
    """Also when a first snapshot that was to make it good did not come about."""
    shelf = shelve()
    disk.fail("write", errno.ENOSPC)
    shelf.journal.note(b'{"k":"lost"}')
    shelf.settle()
    shelf.state = [b'{"k":"state","b":"as it is"}']
    disk.heal()
    disk.fail("create", errno.ENOSPC)
    shelf.added()
    shelf.settle()
    disk.heal()
    shelf.close()
    assert b'{"k":"state","b":"as it is"}' in shelve().recovered


# A writer that dies


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("done", [False, True])
def test_writer_that_dies(tmp_path: Path, shelve: Callable[..., Shelf], *, done: bool) -> None:
    """Dead at any order, done or not, another takes its place; the batch in hand is refused, and goes."""
    for orders in range(2 * len(STATE) + 12):
        shelf = shelve(directory=tmp_path / f"{orders}", state=list(STATE))
        shelf.added(2)
        shelf.journal.rotate()
        seen = []
        for _ in range(orders):
            seen.append(shelf.add())
            shelf.step()
        shelf.turn()
        shelf.writer.die(done=done)
        seen.append(shelf.add())
        shelf.settle()
        assert len(shelf.writers) == 2
        refused = [one for one in seen if one != [None]]
        assert all(isinstance(one[0], EventLogUnavailable) for one in refused)
        shelf.added(2)
        assert shelf.journal.trouble is None
        acknowledged = [number for number, one in enumerate([[None]] * 2 + seen + [[None]] * 2, 1) if one == [None]]
        again = shelve(directory=shelf.directory)
        assert (again.numbers(), again.recovery.damaged, again.recovery.torn_bytes) == (acknowledged, 0, 0)


def test_notes_in_a_dead_hand(shelve: Callable[..., Shelf]) -> None:
    """State that was noted into the batch of a writer that died is brought by a new segment."""
    shelf = shelve()
    shelf.journal.note(b'{"k":"lost"}')
    shelf.turn()
    shelf.state = [b'{"k":"state","b":"as it is"}']
    shelf.writer.die()
    shelf.settle()
    shelf.added()
    shelf.settle()
    assert b'{"k":"state","b":"as it is"}' in shelve().recovered


def test_writers_that_die_again_and_again(shelf: Shelf, logged_failures: LoggedFailures) -> None:
    """Three deaths within a minute are no accident: nothing more is taken. Rarer ones are."""
    for _ in range(MOST_DEATHS * 2):
        shelf.writer.die()
        shelf.settle()
        shelf.added()
        shelf.clock.advance(DEATHS_SECONDS / (MOST_DEATHS - 1))
    for _ in range(MOST_DEATHS - 1):
        shelf.writer.die()
        shelf.settle()
    seen = shelf.add()
    shelf.settle()
    assert isinstance(seen[0], EventLogUnavailable)
    assert shelf.journal.trouble is not None
    assert len(logged_failures.flush(ChildProcessError)) == 1


def test_writer_that_cannot_be_replaced(shelf: Shelf, logged_failures: LoggedFailures) -> None:
    """When no other writer can be started, that is said, and nobody hangs."""

    def refuse(_handle: int, _gone: Callable[[], None]) -> WriterHere:
        raise OSError(errno.EAGAIN, "no more processes")

    shelf.journal._start_writer = refuse
    seen = shelf.add()
    shelf.turn()
    shelf.writer.die()
    assert isinstance(seen[0], EventLogUnavailable)
    assert isinstance(shelf.add()[0], EventLogUnavailable)
    logged_failures.flush(OSError)


def test_what_was_acknowledged_is_gone(shelf: Shelf, logged_failures: LoggedFailures) -> None:
    """A segment that became shorter behind our back is no place to go on."""
    shelf.added(3)
    os.truncate(shelf.segments()[-1], 100)
    shelf.writer.die()
    shelf.settle()
    assert isinstance(shelf.add()[0], EventLogUnavailable)
    logged_failures.flush(OSError)


def test_one_at_a_time(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start waits until nobody writes there any more, and gives up after a while."""
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.02)
    shelf.added()
    with pytest.raises(BlockingIOError):
        Shelf(shelf.directory)


# Starting on what a crash, or worse, left behind


def prepared(shelve: Callable[..., Shelf], entries: int = 3) -> Path:
    """Write so many entries, end, and give the segment that holds them."""
    shelf = shelve()
    shelf.added(entries)
    shelf.close()
    return shelf.segments()[-1]


def test_cut_at_every_byte(tmp_path: Path, shelve: Callable[..., Shelf]) -> None:
    """Cut anywhere in the last three records, the whole ones come back, and writing goes on behind them."""
    segment = prepared(shelve)
    whole = segment.read_bytes()
    ends = [whole.index(entry(number)) + len(entry(number)) + 2 for number in (1, 2, 3)]
    begin = whole.index(entry(1)) - 60
    for cut in range(begin, len(whole)):
        directory = tmp_path / f"cut-{cut}"
        directory.mkdir()
        (directory / segment.name).write_bytes(whole[:cut])
        expected = [number for number, end in enumerate(ends, 1) if end <= cut]
        shelf = shelve(directory=directory)
        assert shelf.numbers() == expected, cut
        assert shelf.recovery.damaged == 0, cut
        shelf.last = 50
        shelf.added()
        assert shelve(directory=directory).numbers() == [*expected, 51], cut


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\xde\xad" * 50, b'{"cco":1,"seq":6,"len":', b"\n"])
def test_tail_that_is_no_record(shelve: Callable[..., Shelf], tail: bytes) -> None:
    """Zeros or garbage behind the last record are cut, and counted as such."""
    segment = prepared(shelve)
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(tail)
    shelf = shelve()
    assert (shelf.numbers(), shelf.recovery) == ([1, 2, 3], Recovery(3, len(tail), 0))
    assert segment.stat().st_size == size
    shelf.added()
    assert shelve().numbers() == [1, 2, 3, 4]


def test_every_flipped_bit(tmp_path: Path, shelve: Callable[..., Shelf]) -> None:
    """Whichever bit of the only segment is flipped: no wrong record, at most one lost, and never in silence."""
    segment = prepared(shelve)
    whole = segment.read_bytes()
    written = [record for _, record in scan(whole).records]
    last = whole.index(b'{"cco":1,"seq":5')
    for place in range(len(whole)):
        directory = tmp_path / f"flip-{place}"
        directory.mkdir()
        text = bytearray(whole)
        text[place] ^= 1 << (place % 8)
        (directory / segment.name).write_bytes(text)
        shelf = shelve(directory=directory)
        assert set(shelf.recovered) <= set(written), place
        assert len(shelf.recovered) >= 2, place
        assert shelf.recovery.damaged or (place >= last and shelf.recovery.torn_bytes), place
        shelf.close()
        shutil.rmtree(directory)


def test_damage_in_the_middle(shelve: Callable[..., Shelf]) -> None:
    """Damage with records behind it is counted, and goes into quarantine; what is readable stays, and is clean."""
    segment = prepared(shelve, 5)
    text = segment.read_bytes().replace(entry(2), entry(9)).replace(entry(4), entry(8))
    segment.write_bytes(text)
    shelf = shelve()
    assert (shelf.numbers(), shelf.recovery, shelf.journal.damaged) == ([1, 3, 5], Recovery(3, 0, 2), 2)
    assert [path.read_bytes() for path in shelf.quarantined()] == [text]
    assert shelf.quarantined()[0].name == segment.name + ".1"
    shelf.added()
    again = shelve()
    assert (again.numbers(), again.recovery) == ([1, 3, 5, 6], Recovery(4, 0, 0))
    assert len(again.quarantined()) == 1


@pytest.mark.parametrize("what", [b'{"k":"begin"', b'{"k":"end"'])
@pytest.mark.parametrize("is_last", [True, False])
def test_damaged_snapshot(shelve: Callable[..., Shelf], what: bytes, is_last: bool) -> None:
    """A segment whose first or last snapshot record is damaged still gives its entries; it was in use."""
    segment = prepared(shelve)
    if not is_last:
        shelf = shelve()
        shelf.added()
        shelf.close()
    segment.write_bytes(segment.read_bytes().replace(what, b'{"K"' + what[4:], 1))
    shelf = shelve()
    assert shelf.numbers() == ([1, 2, 3] if is_last else [1, 2, 3, 4])
    assert shelf.recovery.damaged == 1
    assert segment.exists()
    for _ in range(FEWEST_SEGMENTS + 2):
        shelf = shelve()
    assert shelf.numbers()[:3] == [1, 2, 3]


def test_unreadable_segment(shelve: Callable[..., Shelf]) -> None:
    """A segment in which nothing can be read goes into quarantine, and is counted; the next one gets another name."""
    segment = prepared(shelve)
    segment.write_bytes(b"\xff" * 500)
    shelf = shelve()
    assert (shelf.numbers(), shelf.recovery) == ([], Recovery(0, 0, 1))
    assert [path.read_bytes() for path in shelf.quarantined()] == [b"\xff" * 500]
    assert [path.name for path in shelf.segments()] == [segment_name(2)]
    shelf.last = 10
    shelf.added()
    again = shelve()
    assert (again.numbers(), again.recovery.damaged) == ([11], 0)


def test_torn_end_of_an_earlier_segment(shelve: Callable[..., Shelf]) -> None:
    """Nothing is being written to an earlier segment: an end that cannot be read there is damage, and is kept."""
    segment = prepared(shelve)
    shelf = shelve()
    shelf.added()
    shelf.close()
    text = segment.read_bytes()[:-3]
    segment.write_bytes(text)
    shelf = shelve()
    assert (shelf.numbers(), shelf.recovery) == ([1, 2, 4], Recovery(3, 0, 1))
    assert [path.read_bytes() for path in shelf.quarantined()] == [text]
    again = shelve()
    assert (again.numbers(), again.recovery) == ([1, 2, 4], Recovery(3, 0, 0))


def test_lost_end_of_an_earlier_segment(shelve: Callable[..., Shelf]) -> None:
    """Whole lines that are missing at the end of an earlier segment are missed: the next one knows how far it went."""
    segment = prepared(shelve)
    shelf = shelve()
    shelf.added()
    shelf.close()
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-2]))
    shelf = shelve()
    assert (shelf.numbers(), shelf.recovery) == ([1, 4], Recovery(2, 0, 1))
    again = shelve()
    assert (again.numbers(), again.recovery) == ([1, 4], Recovery(2, 0, 0))


def test_segment_under_another_name(shelve: Callable[..., Shelf]) -> None:
    """A segment that somebody copied is read once; it is said each time, for nobody knows which of the two is meant."""
    segment = prepared(shelve)
    shutil.copy(segment, segment.with_name(segment_name(50)))
    for _ in range(2):
        shelf = shelve()
        assert (shelf.numbers(), shelf.recovery.damaged) == ([1, 2, 3], 1)


@pytest.mark.parametrize("cut", [0, 1, 20, 70, 100, 150, 199])
def test_unfinished_segment(shelve: Callable[..., Shelf], cut: int) -> None:
    """A segment that was being begun when the process ended goes: nothing in it was acknowledged."""
    state = [b'{"k":"state","b":1}']
    shelf = shelve(state=state)
    shelf.added(3)
    shelf.close()
    lines = [BEGIN % 3, *state, END % (3, 1, 6)]
    text = b"".join(frame(number, record) for number, record in enumerate(lines, 7))
    assert len(text) > 199
    unfinished = shelf.directory / segment_name(7)
    for left in (text[:cut], text[:cut] + b"\0" * 100):
        unfinished.write_bytes(left)
        again = shelve(state=state)
        assert (again.numbers(), again.recovery.damaged) == ([1, 2, 3], 0)
        again.close()
        for path in again.segments()[1:]:
            path.unlink()


def test_doubled_and_swapped_lines(shelve: Callable[..., Shelf]) -> None:
    """Lines that are there twice or in the wrong order are counted as damage, and never given twice or disordered."""
    segment = prepared(shelve, 6)
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:4], lines[3], lines[5], lines[4], *lines[6:]]))
    shelf = shelve()
    assert shelf.numbers() == sorted(set(shelf.numbers()))
    assert set(shelf.numbers()) >= {1, 2, 5, 6}
    assert shelf.recovery.damaged >= 2


def test_other_files(shelve: Callable[..., Shelf]) -> None:
    """A file that is no segment is neither read nor touched."""
    segment = prepared(shelve)
    stray = segment.with_name("notes.txt")
    stray.write_text("mine")
    assert shelve().numbers() == [1, 2, 3]
    assert stray.read_text() == "mine"


def test_many_restarts(shelve: Callable[..., Shelf]) -> None:
    """Every run goes on where the last one ended, sequences never repeat."""
    for _ in range(6):
        shelve().added(2)
    shelf = shelve()
    assert shelf.numbers() == list(range(1, 13))
    sequences = [sequence for path in shelf.segments() for sequence, _ in scan(path.read_bytes()).records]
    assert sequences == sorted(set(sequences))


# A disk that fails


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_full_disk(shelve: Callable[..., Shelf], disk: Disk, call: str, number: int) -> None:
    """A full disk refuses and leaves nothing of it in the file; when there is room again, writing goes on."""
    shelf = shelve()
    shelf.added()
    size = shelf.segments()[-1].stat().st_size
    disk.fail(call, number)
    seen = shelf.add()
    shelf.settle()
    assert isinstance(seen[0], StorageFull)
    assert shelf.journal.trouble is not None
    assert shelf.segments()[-1].stat().st_size == size
    disk.heal()
    shelf.added()
    assert shelf.journal.trouble is None
    again = shelve()
    assert (again.numbers(), again.recovery) == ([1, 3], Recovery(2, 0, 0))


def test_disk_that_fills_up_in_the_middle(shelve: Callable[..., Shelf], disk: Disk) -> None:
    """What a write had put there before the disk was full is taken back."""
    shelf = shelve()
    shelf.added()
    size = shelf.segments()[-1].stat().st_size
    disk.most, disk.writes_left = 10, 3
    seen = shelf.add()
    shelf.settle()
    assert isinstance(seen[0], StorageFull)
    assert disk.calls[-5:] == [*["write"] * 4, "ftruncate"]
    assert shelf.segments()[-1].stat().st_size == size


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("call", ["create", "write", "fdatasync", "fsync"])
def test_new_segment_that_cannot_be_begun(
    shelve: Callable[..., Shelf], disk: Disk, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is no room for a new segment, nothing of it stays, the one before goes on, and later it is begun."""
    shelf = shelve(segment_bytes=300)
    shelf.added(3)
    before = shelf.segments()
    shelf.journal.rotate()
    shelf.turn()
    while shelf.writer.orders[-1] != {"create": b"write", "write": b"begin", "fdatasync": b"begin"}.get(call, b"fill"):
        shelf.step()
    disk.fail(call, number)
    shelf.step()
    disk.heal()
    assert shelf.segments() == before
    shelf.added(2)
    assert (shelf.segments(), shelf.journal.trouble) == (before, None)
    shelf.clock.advance(AGAIN_SECONDS)
    shelf.settle()
    assert len(shelf.segments()) == len(before) + 1
    shelf.added()
    again = shelve()
    assert (again.numbers(), again.recovery) == ([1, 2, 3, 4, 5, 6], Recovery(6, 0, 0))


def test_notes_of_a_refused_batch(shelve: Callable[..., Shelf], disk: Disk) -> None:
    """State that was noted into a batch for which there was no room is not lost: the next write brings it."""
    shelf = shelve()
    disk.fail("write", errno.ENOSPC)
    shelf.state = [b'{"k":"state","b":"as it is"}']
    shelf.journal.note(b'{"k":"lost"}')
    shelf.settle()
    disk.heal()
    shelf.added()
    assert b'{"k":"state","b":"as it is"}' in shelve().recovered


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_failing_disk(shelve: Callable[..., Shelf], disk: Disk, call: str, logged_failures: LoggedFailures) -> None:
    """After an error that is not a full disk nothing more is taken, and no sync is ever tried again."""
    shelf = shelve()
    shelf.added()
    disk.fail(call, errno.EIO)
    seen = [shelf.add(), shelf.add()]
    shelf.journal.rotate()
    shelf.settle()
    disk.heal()
    disk.calls.clear()
    shelf.journal.note(b'{"k":"note"}')
    shelf.journal.rotate()
    seen.append(shelf.add())
    shelf.settle()
    assert [type(one[0]) for one in seen] == [EventLogUnavailable] * 3
    assert disk.calls == []
    assert shelf.journal.trouble is not None
    assert "restart" in shelf.journal.trouble
    assert seen[2][0].message == shelf.journal.trouble  # type: ignore[union-attr]  # a refusal
    assert len(logged_failures.flush(OSError)) == 1
    again = shelve()
    assert again.numbers()[0] == 1
    assert again.recovery.damaged == 0


def test_failing_disk_with_more_waiting(shelf: Shelf, disk: Disk, logged_failures: LoggedFailures) -> None:
    """What waited behind the failed sync is refused with it, also what its refusal's callbacks bring."""
    shelf.add()
    shelf.turn()
    waiting = shelf.add()
    later: list[object] = []
    shelf.journal.append(b'{"k":"x"}').addErrback(lambda _: later.extend(shelf.add()))
    disk.failing["fdatasync"] = errno.EIO
    shelf.settle()
    assert isinstance(waiting[0], EventLogUnavailable)
    assert isinstance(later[0], EventLogUnavailable)
    logged_failures.flush(OSError)


def test_refused_write_that_cannot_be_taken_back(shelf: Shelf, disk: Disk, logged_failures: LoggedFailures) -> None:
    """If what was refused may still lie there, its numbers must not be given again: nothing more is taken."""
    shelf.added()
    disk.fail("fdatasync", errno.ENOSPC)
    disk.fail("ftruncate", errno.EIO)
    seen = shelf.add()
    shelf.settle()
    disk.heal()
    assert isinstance(seen[0], EventLogUnavailable)
    assert isinstance(shelf.add()[0], EventLogUnavailable)
    logged_failures.flush(OSError)


def test_trouble_passes_by_itself(shelf: Shelf, disk: Disk) -> None:
    """Nobody need write to find out that there is room again: the log looks itself."""
    disk.fail("write", errno.ENOSPC)
    shelf.add()
    shelf.settle()
    for _ in range(3):
        shelf.clock.advance(AGAIN_SECONDS)
        shelf.step()
        assert shelf.journal.trouble is not None
    disk.heal()
    shelf.clock.advance(AGAIN_SECONDS)
    shelf.step()
    assert shelf.journal.trouble is None


def test_snapshot_that_fails(shelf: Shelf, logged_failures: LoggedFailures) -> None:
    """A snapshot that cannot be made hangs nobody: it is said, and nothing more is taken."""
    shelf.added()

    def broken() -> list[bytes]:
        raise RuntimeError("a mistake of a keeper")

    shelf.journal._snapshot = broken
    shelf.journal.rotate()
    seen = shelf.add()
    shelf.settle()
    assert isinstance(seen[0], EventLogUnavailable)
    assert len(logged_failures.flush(RuntimeError)) == 1


# A copy of the running thing


@pytest.mark.parametrize("segment_bytes", [400, 2_000, 1_000_000])
def test_live_copy(tmp_path: Path, shelve: Callable[..., Shelf], segment_bytes: int) -> None:
    """A copy, file by file in any order while writing goes on, starts with every record acknowledged before it."""
    shelf = shelve(segment_bytes=segment_bytes, state=[b'{"k":"state","b":1}'])
    for round_number in range(8):
        shelf.added(7)
        shelf.horizon = max(0, shelf.last - 20)
        acknowledged, wanted = shelf.last, shelf.horizon
        names = sorted(os.listdir(shelf.directory), reverse=bool(round_number % 2))
        copy = tmp_path / f"copy-{round_number}"
        copy.mkdir()
        for name in names:
            shelf.add()
            source = shelf.directory / name
            if source.exists():  # tar says that a file vanished, and goes on
                (copy / name).write_bytes(source.read_bytes())
            shelf.added(2)
        elsewhere = Shelf(copy)
        assert elsewhere.recovery.damaged <= len(names)
        assert [n for n in elsewhere.numbers() if wanted < n <= acknowledged] == list(
            range(wanted + 1, acknowledged + 1)
        )
        assert b'{"k":"state","b":1}' in elsewhere.recovered
        elsewhere.added()
        elsewhere.close()


def test_copy_that_is_slow(tmp_path: Path, shelve: Callable[..., Shelf]) -> None:
    """What a copy saw in the directory is still there when it comes to read it, though all of it expired meanwhile."""
    shelf = shelve(state=[b'{"k":"state","b":1}'])
    shelf.added()
    names = os.listdir(shelf.directory)
    for _ in range(FEWEST_SEGMENTS - 1):
        shelf.horizon = shelf.last
        shelf.rotate()
        shelf.added()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in names:
        (copy / name).write_bytes((shelf.directory / name).read_bytes())
    elsewhere = Shelf(copy)
    assert elsewhere.recovered == [b'{"k":"state","b":1}', entry(1)]
    elsewhere.close()
    assert FEWEST_SEGMENTS >= 8


def test_copy_of_half_a_write(tmp_path: Path, shelve: Callable[..., Shelf]) -> None:
    """A file copied in the middle of a write ends there: that is no damage."""
    shelf = shelve()
    shelf.added(5)
    text = shelf.segments()[0].read_bytes()
    for cut in range(len(text) - 40, len(text)):
        copy = tmp_path / f"copy-{cut}"
        copy.mkdir()
        (copy / shelf.segments()[0].name).write_bytes(text[:cut])
        elsewhere = Shelf(copy)
        assert (elsewhere.numbers(), elsewhere.recovery.damaged) == ([1, 2, 3, 4], 0)
        elsewhere.close()
