"""Idempotency keys: the same request sent twice does its work once."""

from collections.abc import Callable

import msgspec
import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from cco_sidecar.core import idempotency as module
from cco_sidecar.core.idempotency import KEPT_SECONDS, Answered, Idempotency, Slot
from cco_sidecar.core.ledger import KeyRecord, Ledger
from cco_sidecar.errors import KeyReused, StorageFull
from tests.fakes import MemoryJournal, outcome

SLOT: Slot = ("a", "POST /x", "key")
DONE = Answered(202, b'{"n":1}')


@define(eq=False)
class Desk:
    """Keys, and work that ends when the test says so."""

    clock: Clock = field(factory=Clock)
    keys: Idempotency = field(init=False)
    begun: "list[Deferred[Answered]]" = field(factory=list)
    makers: list[Callable[[int, object], KeyRecord]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.keys = Idempotency(self.clock)

    def request(self, slot: Slot = SLOT, digest: str = "d") -> "Deferred[Answered]":
        async def work(make: Callable[[int, object], KeyRecord]) -> Answered:
            self.makers.append(make)
            doing: Deferred[Answered] = Deferred()
            self.begun.append(doing)
            return await doing

        return Deferred.fromCoroutine(self.keys.once(slot, digest, work))

    def send(self, slot: Slot = SLOT, digest: str = "d") -> "list[Answered | BaseException]":
        return outcome(self.request(slot, digest))


def test_again() -> None:
    """A second request gets the first one's answer, and does nothing."""
    desk = Desk()
    first = desk.send()
    desk.begun[0].callback(DONE)
    assert first == desk.send() == [DONE]
    assert len(desk.begun) == 1


def test_duplicate_in_flight() -> None:
    """Duplicates wait for the first, and all get its answer."""
    desk = Desk()
    first, second, third = desk.send(), desk.send(), desk.send()
    assert (len(desk.begun), second) == (1, [])
    desk.begun[0].callback(DONE)
    assert first == second == third == [DONE]
    assert len(desk.begun) == 1


def test_failed_work_is_no_answer() -> None:
    """What was refused may be tried again: the next in the queue does it, the others wait for that one."""
    desk = Desk()
    full = StorageFull("full")
    first, second, third = desk.send(), desk.send(), desk.send()
    desk.begun[0].errback(full)
    assert first == [full]
    assert (len(desk.begun), second, third) == (2, [], [])
    desk.begun[1].callback(DONE)
    assert second == third == [DONE]


def test_other_body() -> None:
    """A key that comes with another body is refused, also while the first is in flight."""
    desk = Desk()
    desk.send()
    waiting = desk.send(digest="other")
    desk.begun[0].callback(DONE)
    late = desk.send(digest="other")
    assert [type(seen[0]) for seen in (waiting, late)] == [KeyReused, KeyReused]
    assert len(desk.begun) == 1


@pytest.mark.parametrize("slot", [("b", *SLOT[1:]), ("a", "POST /y", "key"), ("a", "POST /x", "other")])
def test_slots_apart(slot: Slot) -> None:
    """Keys are per agent and route."""
    desk = Desk()
    desk.send()
    desk.send(slot, "other body")
    assert len(desk.begun) == 2


def test_hang_up() -> None:
    """Whoever hangs up and asks again finds the work done: not undone, not done twice."""
    desk = Desk()
    request = desk.request()
    ended = outcome(request)
    request.cancel()
    assert isinstance(ended[0], CancelledError)
    again = desk.send()
    assert (len(desk.begun), again) == (1, [])
    desk.begun[0].callback(DONE)
    assert again == [DONE]


def test_waiting_duplicate_hangs_up() -> None:
    """A duplicate that leaves holds nobody up."""
    desk = Desk()
    first = desk.send()
    duplicate = desk.request()
    ended = outcome(duplicate)
    last = desk.send()
    duplicate.cancel()
    desk.begun[0].callback(DONE)
    assert first == last == [DONE]
    assert isinstance(ended[0], CancelledError)


def test_a_day() -> None:
    """A key counts for 24 hours."""
    desk = Desk()
    desk.send()
    desk.begun[0].callback(DONE)
    desk.clock.advance(KEPT_SECONDS - 1)
    assert desk.send() == [DONE]
    desk.clock.advance(1)
    assert desk.send() == []
    assert KEPT_SECONDS == 86400


def test_newest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest keys go when there are too many."""
    assert module.MOST_KEYS == 100_000
    monkeypatch.setattr(module, "MOST_KEYS", 3)
    desk = Desk()
    for number in range(4):
        desk.send(("a", "r", str(number)))
        desk.begun[-1].callback(DONE)
    assert desk.send(("a", "r", "1")) == [DONE]
    assert desk.send(("a", "r", "0")) == []


def test_restart() -> None:
    """After a restart the key still has its answer: from the record written with the effect, and from a snapshot."""
    desk = Desk()
    desk.send()
    journal = MemoryJournal()
    Ledger(journal).record("effect", 1, desk.makers[0](202, {"n": 1}))
    desk.begun[0].callback(DONE)
    snapshot = MemoryJournal()
    for kind, body in desk.keys.snapshot():
        Ledger(snapshot).note(kind, body)
    for records in (journal.records, snapshot.records):
        again = Desk(desk.clock)
        ledger = Ledger(MemoryJournal())
        ledger.join(again.keys)
        for record in records:
            ledger.restore(record)
        assert again.send() == [DONE]
        assert isinstance(again.send(digest="other")[0], KeyReused)
        assert again.begun == []


def test_record() -> None:
    """The record holds all that an answer needs."""
    desk = Desk()
    desk.clock.advance(5)
    desk.send()
    record = desk.makers[0](201, {"id": "x"})
    assert record == KeyRecord("a", "POST /x", "key", "d", 5.0, 201, msgspec.Raw(b'{"id":"x"}'))
