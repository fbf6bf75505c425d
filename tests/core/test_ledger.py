"""The ledger: who gets which record back, and a key that lasts exactly as long as its effect."""

from collections.abc import Iterable

import msgspec
import pytest
from attrs import define, field
from twisted.internet.task import Clock

from cco_sidecar.core.agent_rows import AgentRows
from cco_sidecar.core.events.subscriptions import Subscriptions
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.ledger import ENTRY_KIND, KEY_KIND, KeyRecord, Ledger, Record, encode
from tests.fakes import MemoryJournal

KEY = KeyRecord("a", "POST /x", "k", "digest", 1.5, 201, msgspec.Raw(b'{"x":[1]}'))


@define(eq=False)
class Notebook:
    """A keeper that remembers what it was given."""

    kinds: tuple[str, ...]
    seen: list[tuple[str, bytes]] = field(factory=list)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        self.seen.append((kind, bytes(body)))

    def snapshot(self) -> Iterable[Record]:
        for kind, body in self.seen:
            yield kind, msgspec.Raw(body)


def test_round_trip() -> None:
    """A record comes back to the keeper of its kind, as it was written, in order."""
    journal = MemoryJournal()
    ledger = Ledger(journal)
    ledger.record("a", {"x": 1})
    ledger.note("b", [2])
    ledger.note("a", None)
    keeper, other = Notebook(("a",)), Notebook(("b", "c"))
    ledger.join(keeper)
    ledger.join(other)
    for record in journal.records:
        ledger.restore(record)
    assert keeper.seen == [("a", b'{"x":1}'), ("a", b"null")]
    assert other.seen == [("b", b"[2]")]


def test_what_no_snapshot_has() -> None:
    """Entries of the log are wanted from every segment; what is state is in the newest snapshot."""
    journal = MemoryJournal()
    ledger = Ledger(journal)
    ledger.record(ENTRY_KIND, {"sequence": 1}, KEY)
    ledger.record("a", {"k": "event"})
    ledger.note(KEY_KIND, 1)
    assert [ledger.lasts(record) for record in journal.records] == [True, False, False]


def test_key_in_the_same_record() -> None:
    """An idempotency key lies in one record with its effect: neither lasts without the other."""
    journal = MemoryJournal()
    ledger = Ledger(journal)
    ledger.record("a", 1, KEY)
    assert len(journal.records) == 1
    effects, keys = Notebook(("a",)), Notebook((KEY_KIND,))
    ledger.join(effects)
    ledger.join(keys)
    ledger.restore(journal.records[0])
    assert effects.seen == [("a", b"1")]
    assert [kind for kind, _ in keys.seen] == [KEY_KIND]
    assert msgspec.json.decode(keys.seen[0][1], type=KeyRecord) == KEY


def test_unknown_kind() -> None:
    """A record of a later version is passed over; a key in it is not lost."""
    ledger = Ledger(MemoryJournal())
    keys = Notebook((KEY_KIND,))
    ledger.join(keys)
    ledger.restore(encode("from the future", {"x": 1}, KEY))
    assert len(keys.seen) == 1


def test_one_keeper_a_kind() -> None:
    """Two keepers of one kind would each have half of the state."""
    ledger = Ledger(MemoryJournal())
    ledger.join(Notebook(("a", "b")))
    with pytest.raises(ValueError, match="'b'"):
        ledger.join(Notebook(("b",)))


def test_snapshot() -> None:
    """Every keeper writes its state once, though it owns several kinds; restored, it is the same state."""
    ledger = Ledger(MemoryJournal())
    first, second = Notebook(("a", "b")), Notebook(("c",))
    ledger.join(first)
    ledger.join(second)
    for kind in ("a", "b", "c", "a"):
        ledger.restore(encode(kind, kind))
    records = list(ledger.snapshot())
    assert records == [encode("a", "a"), encode("b", "b"), encode("a", "a"), encode("c", "c")]


def test_snapshot_of_one_moment() -> None:
    """Walked later, a snapshot is still the state of when it was taken, and as long as it said."""
    clock = Clock()
    ledger = Ledger(MemoryJournal())
    keys, positions = Idempotency(clock), Subscriptions(ledger)
    for keeper in (keys, positions):
        ledger.join(keeper)
    keys.restore(KEY_KIND, msgspec.Raw(msgspec.json.encode(KEY)))
    subscription = positions.open("a", "x", lambda: 1)
    before = list(ledger.snapshot())
    snapshot = ledger.snapshot()
    keys.restore(KEY_KIND, msgspec.Raw(msgspec.json.encode(msgspec.structs.replace(KEY, key="later"))))
    positions.settle(subscription, 9)
    positions.open("a", "y", lambda: 1)
    assert list(snapshot) == before
    assert len(snapshot) == len(before) == 3  # that what follows is all, the position, the key
    assert len(list(ledger.snapshot())) == 5


def test_snapshot_of_counts() -> None:
    """Counts are counted on: a snapshot has them as they were."""
    ledger = Ledger(MemoryJournal())
    rows = AgentRows()
    ledger.join(rows)
    before, snapshot = list(ledger.snapshot()), ledger.snapshot()
    rows.totals.spawned += 1
    assert list(snapshot) == before


def test_one_line() -> None:
    """A record has no line end in it, whatever its texts hold: the log is lines."""
    assert b"\n" not in encode("a", {"text": "a\nb\r\n\u2028"}, KEY)
