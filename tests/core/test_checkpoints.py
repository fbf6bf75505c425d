"""Checkpoints: on disk before it is said, there after a restart, bounded."""

import msgspec
import pytest
from twisted.internet.task import Clock

from cco_sidecar.core import checkpoints as module
from cco_sidecar.core.checkpoints import Checkpoints
from cco_sidecar.core.ledger import Ledger, encode
from cco_sidecar.errors import StorageFull
from tests.fakes import MemoryJournal, outcome, result_of


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def kept(journal: MemoryJournal, records: list[bytes] | None = None) -> Checkpoints:
    ledger = Ledger(journal)
    found = Checkpoints(Clock(), ledger)
    ledger.join(found)
    for record in records or ():
        ledger.restore(record)
    return found


def text_of(checkpoints: Checkpoints, agent: str) -> str | None:
    found = checkpoints.find(agent)
    return None if found is None else bytes(found.text).decode()


def test_lasts() -> None:
    """The newest of an agent is there after a restart, from records and from a snapshot, byte for byte."""
    journal = MemoryJournal()
    checkpoints = kept(journal)
    result_of(checkpoints.write("a", raw('{"step":1}')))
    result_of(checkpoints.write("a", raw('{"é":[2,null]}')))
    result_of(checkpoints.write("b", raw("null")))
    snapshot = [encode(kind, body) for kind, body in checkpoints.snapshot()]
    for again in (checkpoints, kept(MemoryJournal(), journal.records), kept(MemoryJournal(), snapshot)):
        assert [text_of(again, agent) for agent in "abc"] == ['{"é":[2,null]}', "null", None]


def test_on_disk_first() -> None:
    """Until it is on disk, and if it is refused, the one before it counts."""
    journal = MemoryJournal()
    checkpoints = kept(journal)
    result_of(checkpoints.write("a", raw("1")))
    journal.held = True
    written = outcome(checkpoints.write("a", raw("2")))
    assert (written, text_of(checkpoints, "a")) == ([], "1")
    journal.write()
    assert text_of(checkpoints, "a") == "2"
    journal.refusal = StorageFull("full")
    assert isinstance(outcome(checkpoints.write("a", raw("3")))[0], StorageFull)
    assert text_of(checkpoints, "a") == "2"


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those written longest ago go when there are too many, or when they take too much room."""
    monkeypatch.setattr(module, "MOST_CHECKPOINTS", 2)
    monkeypatch.setattr(module, "MOST_BYTES", 20)
    checkpoints = kept(MemoryJournal())
    for agent in "abc":
        result_of(checkpoints.write(agent, raw("12345")))
    assert [text_of(checkpoints, agent) is not None for agent in "abc"] == [False, True, True]
    result_of(checkpoints.write("b", raw("1234567890123456")))
    assert [text_of(checkpoints, agent) is not None for agent in "abc"] == [False, True, False]
    result_of(checkpoints.write("b", raw("1")))
    result_of(checkpoints.write("c", raw("1234567890")))
    assert [text_of(checkpoints, agent) is not None for agent in "bc"] == [True, True]
