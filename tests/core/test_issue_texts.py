"""What issues are about: kept on disk before it is said to be, given back after a restart, bounded."""

import pytest
from twisted.internet.task import Clock

from cco_sidecar.core import issue_texts as module
from cco_sidecar.core.issue_texts import IssueTexts
from cco_sidecar.core.ledger import Ledger, encode
from cco_sidecar.errors import StorageFull
from tests.fakes import MemoryJournal, outcome, result_of


def kept(journal: MemoryJournal, restore: MemoryJournal | None = None) -> IssueTexts:
    ledger = Ledger(journal)
    found = IssueTexts(Clock(), ledger)
    ledger.join(found)
    for record in restore.records if restore else ():
        ledger.restore(record)
    return found


def snapshot_of(texts: IssueTexts) -> MemoryJournal:
    journal = MemoryJournal()
    for kind, body in texts.snapshot():
        journal.records.append(encode(kind, body))
    return journal


def test_lasts() -> None:
    """The newest text of an issue is there after a restart, from records and from a snapshot."""
    journal = MemoryJournal()
    texts = kept(journal)
    result_of(texts.write("i", "Old", ""))
    result_of(texts.write("i", "Title", "Body\nof it"))
    result_of(texts.write("j", "Only a title", ""))
    for again in (texts, kept(MemoryJournal(), journal), kept(MemoryJournal(), snapshot_of(texts))):
        assert again.text_of("i") == "Title\n\nBody\nof it"
        assert again.text_of("j") == "Only a title"
        assert (again.text_of("k"), again.find("k")) == ("", None)


def test_on_disk_first() -> None:
    """A text is neither answered nor shown before it is on disk; one that the disk refuses never was."""
    journal = MemoryJournal(held=True)
    texts = kept(journal)
    written = outcome(texts.write("i", "Title", ""))
    assert (written, texts.text_of("i")) == ([], "")
    journal.write()
    assert texts.text_of("i") == "Title"
    journal.refusal = StorageFull("full")
    assert isinstance(outcome(texts.write("i", "Other", ""))[0], StorageFull)
    assert texts.text_of("i") == "Title"


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many texts, or too much text: those written longest ago are forgotten."""
    monkeypatch.setattr(module, "MOST_TEXTS", 3)
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    texts = kept(MemoryJournal())
    for number in range(5):
        result_of(texts.write(f"i{number}", "t", ""))
    assert [texts.text_of(f"i{number}") for number in range(5)] == ["", "", "t", "t", "t"]
    result_of(texts.write("i2", "é" * 30, ""))  # 60 bytes, and the newest now
    result_of(texts.write("i5", "x" * 40, ""))
    assert [texts.text_of(f"i{number}")[:1] for number in range(2, 6)] == ["é", "", "", "x"]
    result_of(texts.write("i6", "y", ""))
    assert [texts.text_of(f"i{number}")[:1] for number in (2, 5, 6)] == ["", "x", "y"]
    result_of(texts.write("i5", "", ""))  # what it took is free again
    result_of(texts.write("i7", "z" * 90, ""))
    assert [texts.text_of(f"i{number}")[:1] for number in (5, 6, 7)] == ["", "y", "z"]
