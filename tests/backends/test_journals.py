"""What every journal promises (`IJournal`), the one on disk and the one that the tests of the core stand on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from attrs import define, field
from zope.interface.verify import verifyObject

from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import LEAST_EVENT_BYTES, Recovery, recover_segments
from cco_sidecar.core.ledger import Snapshot
from cco_sidecar.errors import EventLogUnavailable, Refusal, StorageFull
from cco_sidecar.interfaces import IJournal
from tests.fakes import EventHouse, MemoryStorage, Storage, outcome
from tests.storages import FileStorage

STATE = b'{"k":"state","b":7}'


def record(number: int) -> bytes:
    return b'{"k":"event","b":%d}' % number


@define(eq=False)
class Life:
    """A journal from its recovery to its end; its state is one record."""

    storage: Storage
    found: list[bytes] = field(factory=list)
    last: int = 0
    journal: IJournal = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.journal = self.storage.open(lambda: Snapshot([[("state", 7)]]), lambda: self.last, lambda: 0)
        self.storage.recover(self.found.append)

    def records(self) -> list[bytes]:
        """Give what was found and is not of the state."""
        return [text for text in self.found if text != STATE]

    def append(self, number: int) -> "list[BaseException | None]":
        self.last = number
        return outcome(self.journal.append(record(number)))

    def crash(self, kept: float = 0.0) -> "Life":
        return Life(self.storage.crash(kept))

    def close(self) -> "Life":
        return Life(self.storage.close())


def in_memory(_: Path) -> Storage:
    return MemoryStorage(held=True)


def in_files(path: Path) -> Storage:
    return FileStorage(path / "log")


@pytest.fixture(params=[in_memory, in_files])
def life(request: pytest.FixtureRequest, tmp_path: Path) -> Life:
    make: Callable[[Path], Storage] = request.param
    return Life(make(tmp_path))


def test_interface(life: Life) -> None:
    """It is the door that the core knows."""
    assert verifyObject(IJournal, life.journal)
    assert life.journal.trouble is None
    assert life.journal.size_bytes >= 0


@pytest.mark.parametrize("end", [Life.crash, Life.close])
def test_order(life: Life, end: Callable[[Life], Life]) -> None:
    """What is acknowledged is so in the order of the calls, and comes back in that order, with the notes among it."""
    order: list[int] = []

    def written(number: int, _: None) -> None:
        order.append(number)

    for number in (1, 2, 3):
        life.journal.append(record(number)).addCallback(partial(written, number))
        life.journal.note(record(number + 10))
    assert order == []
    life.storage.settle()
    assert order == [1, 2, 3]
    again = end(life)
    assert again.records() == [record(number) for number in (1, 11, 2, 12, 3, 13)]
    again.append(4)
    again.storage.settle()
    assert end(again).records() == [*again.records(), record(4)]


def test_nothing_is_acknowledged_before_it_is_on_disk(life: Life) -> None:
    """A crash loses what nobody was told of, and nothing else."""
    first = life.append(1)
    life.storage.settle()
    assert first == [None]
    second = life.append(2)
    life.journal.note(record(3))
    assert second == []
    assert life.crash().records() == [record(1)]


@pytest.mark.parametrize("kept", [0.4, 0.7, 1.0])
def test_half_written(life: Life, kept: float) -> None:
    """Of what was being written at the crash there is a beginning; more can be written behind it."""
    for number in (1, 2, 3, 4):
        life.append(number)
    again = life.crash(kept)
    assert again.records() == [record(number) for number in range(1, len(again.records()) + 1)]
    assert bool(again.records()) and (len(again.records()) == 4) == (kept == 1.0)
    again.append(5)
    again.storage.settle()
    assert again.crash().records() == [*again.records(), record(5)]


def test_flush(life: Life) -> None:
    """It fires when all that was appended or noted so far is on disk."""
    assert outcome(life.journal.flush()) == [None]
    life.journal.note(record(1))
    seen = outcome(life.journal.flush())
    assert seen == []
    life.storage.settle()
    assert seen == [None]
    assert life.crash().records() == [record(1)]


def test_full_disk(life: Life) -> None:
    """What is refused leaves nothing behind; with room again all goes on, and what is said about it ends."""
    kept = life.append(1)
    life.storage.settle()
    life.storage.fill()
    refused = life.append(2)
    life.storage.settle()
    assert kept == [None]
    (error,) = refused
    assert isinstance(error, StorageFull)
    assert error.code == "STR_003"
    assert life.journal.trouble == error.message
    life.storage.heal()
    after = life.append(3)
    life.storage.settle()
    assert after == [None]
    assert life.journal.trouble is None
    assert life.crash().records() == [record(1), record(3)]


def test_crash_on_a_full_disk(life: Life) -> None:
    """What was refused, or would have been, is not there after a restart."""
    life.append(1)
    life.storage.settle()
    life.storage.fill()
    life.append(2)
    life.storage.settle()
    life.append(3)
    assert life.crash(1.0).records() == [record(1)]


def test_closed(life: Life) -> None:
    """Closing writes what was taken; then nothing is taken any more, with a reason."""
    seen = life.append(1)
    life.journal.note(record(2))
    storage = life.storage.close()
    assert seen == [None]
    (error,) = life.append(3)
    assert isinstance(error, EventLogUnavailable)
    assert isinstance(error, Refusal)
    assert error.code == "EVT_001"
    life.journal.note(record(4))
    assert Life(storage).records() == [record(1), record(2)]


@pytest.mark.parametrize("settled", [True, False])
def test_state(life: Life, *, settled: bool) -> None:
    """A new segment brings the state of the moment when it began; records before and after it come in their order."""
    life.append(1)
    life.storage.settle()
    life.storage.rotate()
    if settled:
        life.storage.settle()
    life.append(2)
    life.storage.settle()
    found = life.crash().found
    assert [text for text in found if text.startswith(b'{"k":"event"')] == [record(1), record(2)]
    assert found.index(STATE) < found.index(record(2))


def test_events_that_may_be_lost(tmp_path: Path) -> None:
    """An event at the end of the log that has become unreadable is counted; a torn line that is none is not."""
    house = EventHouse(storage=FileStorage(tmp_path / "log"))
    for _ in range(3):
        house.publish()
        house.storage.settle()
    house.storage.crash()
    newest = max((tmp_path / "log").glob("*.log"))
    text = newest.read_bytes()
    start = text.rindex(b'{"cco"')
    assert len(text) - start > LEAST_EVENT_BYTES
    newest.write_bytes(text[: start + 20] + b"?" + text[start + 21 :])
    found = recover_segments(tmp_path / "log", lambda _: None, lambda: 0, Quarantine(tmp_path, ("quarantine",)))
    assert found.recovery.most_lost == 1
    assert Recovery(7, LEAST_EVENT_BYTES - 1, 0).most_lost == 0
    assert Recovery(7, 0, 1).most_lost > 8 * 1024 * 1024 // LEAST_EVENT_BYTES
