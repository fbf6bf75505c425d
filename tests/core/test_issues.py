"""Issues: from which event on they concern somebody, and that it lasts."""

import msgspec
import pytest

from cco_sidecar.core import issues as module
from cco_sidecar.core.issues import Issue
from cco_sidecar.core.ledger import Ledger
from tests.fakes import EventHouse, MemoryJournal, numbers, records_of, result_of


def test_first_time_counts() -> None:
    """The mark is where the log stood when the issue was first named, however often it is named later."""
    house = EventHouse()
    house.publish_many(3)
    assert house.issues.mark("i") == 3
    house.publish_many(2)
    assert house.issues.mark("i") == 3
    assert house.issues.see("i").first_seen == house.clock.seconds()
    assert house.issues.mark("j") == 5


def test_lasts() -> None:
    """The mark is the same after a restart, from records and from a snapshot."""
    house = EventHouse()
    house.publish_many(3)
    house.issues.see("i")
    house.publish_many(2)
    assert house.restart().issues.mark("i") == 3
    assert house.restart(snapshot=True).issues.mark("i") == 3
    assert house.journal.kinds().count("issue") == 1


def test_numbers_on_their_way() -> None:
    """A number that may be given again after a crash is no mark: the event that gets it then must be seen."""
    house = EventHouse()
    house.publish_many(1)
    house.journal.held = True
    house.publish()
    house.issues.see("late")
    house.journal.waiting.pop(0)  # the event of number 2 never reached the disk; the note did
    house.journal.write()
    after = house.restart()
    assert after.publish_many(1) == [2]
    assert numbers(result_of(after.wait(reader=after.reader("x", issue="late"), seconds=0))) == [2]


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many issues: the oldest are forgotten."""
    monkeypatch.setattr(module, "MOST_ISSUES", 3)
    house = EventHouse()
    for number in range(5):
        house.issues.see(f"i{number}")
    kept = MemoryJournal()
    for kind, body in house.issues.snapshot():
        Ledger(kept).note(kind, body)
    assert [msgspec.convert(body, Issue).issue_id for body in records_of(kept, "issue")] == ["i2", "i3", "i4"]
