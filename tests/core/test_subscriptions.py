"""Subscriptions: positions that last, deliveries that count once."""

import pytest

from cco_sidecar.core.events import subscriptions as module
from cco_sidecar.core.events.subscriptions import MOST_PER_AGENT, Subscription, Subscriptions
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.errors import InvalidParameter
from tests.fakes import MemoryJournal


def make(records: list[bytes] | None = None) -> tuple[MemoryJournal, Ledger, Subscriptions]:
    journal = MemoryJournal(records or [])
    ledger = Ledger(journal)
    subscriptions = Subscriptions(ledger)
    ledger.join(subscriptions)
    for record in journal.records:
        ledger.restore(record)
    return journal, ledger, subscriptions


def opened(subscriptions: Subscriptions, agent: str = "a", key: str = "k", first: int = 0) -> Subscription:
    return subscriptions.open(agent, key, lambda: first)


def test_kept_from_the_first_wait() -> None:
    """A subscription is written down when it is made: after a restart it does not start over at a later mark."""
    journal, _, subscriptions = make()
    assert opened(subscriptions, first=5).position == 5
    _, _, again = make(journal.records)
    assert opened(again, first=99).position == 5


def test_received_lasts() -> None:
    """What was received is not given again after a restart, nor after one from a snapshot."""
    journal, ledger, subscriptions = make()
    subscriptions.offer(opened(subscriptions), 7).received()
    for records in (journal.records, list(ledger.snapshot())):
        _, _, again = make(list(records))
        assert opened(again).position == 7


def test_lost() -> None:
    """A lost answer moves nothing."""
    journal, _, subscriptions = make()
    mine = opened(subscriptions)
    before = len(journal.records)
    delivery = subscriptions.offer(mine, 7)
    assert mine.offered is delivery
    delivery.lost()
    assert (mine.position, len(journal.records)) == (0, before)
    assert subscriptions.open("a", "k", lambda: 0).offered is None


def test_older_delivery() -> None:
    """A loss of an older answer does not touch the newer one; its late receipt still counts, and never backwards."""
    _, _, subscriptions = make()
    mine = opened(subscriptions)
    older, newer = subscriptions.offer(mine, 3), subscriptions.offer(mine, 5)
    older.lost()
    assert mine.offered is newer
    newer.received()
    older.received()
    assert mine.position == 5
    assert subscriptions.open("a", "k", lambda: 0).offered is None


def test_twice() -> None:
    """Hearing twice that it was received changes nothing, and writes nothing."""
    journal, _, subscriptions = make()
    delivery = subscriptions.offer(opened(subscriptions), 3)
    delivery.received()
    written = len(journal.records)
    delivery.received()
    assert len(journal.records) == written


def test_most() -> None:
    """An agent has at most 64; another agent's do not count."""
    _, _, subscriptions = make()
    for number in range(MOST_PER_AGENT):
        opened(subscriptions, key=f"k{number}")
    with pytest.raises(InvalidParameter) as refused:
        opened(subscriptions, key="one more")
    assert refused.value.details == {"parameter": "subscription"}
    assert opened(subscriptions, key="k3").key == "k3"
    assert opened(subscriptions, agent="b", key="one more").agent == "b"


def test_end() -> None:
    """Subscriptions end with their agent, for good, and make room."""
    journal, ledger, subscriptions = make()
    mine = opened(subscriptions, first=3)
    other = opened(subscriptions, agent="b", first=4)
    late = subscriptions.offer(mine, 9)
    subscriptions.end("a")
    subscriptions.end("never came")
    late.received()
    for records in (journal.records, list(ledger.snapshot())):
        _, _, again = make(list(records))
        assert opened(again, first=1).position == 1
        assert opened(again, agent="b").position == other.position
    assert journal.kinds().count("departure") == 1


def test_late_receipt_of_another_life() -> None:
    """A receipt for an agent that ended moves nothing of a newer agent of that name."""
    journal, _, subscriptions = make()
    late = subscriptions.offer(opened(subscriptions), 9)
    subscriptions.end("a")
    opened(subscriptions, first=2)
    late.received()
    _, _, again = make(journal.records)
    assert opened(again).position == 2


def test_looked_through() -> None:
    """How far a selection was looked through is no position of another selection of the same name."""
    _, ledger, subscriptions = make()
    mine = opened(subscriptions, key="worker", first=2)
    mine.pass_over("selection one", 8)
    assert (mine.start("selection one"), mine.start("selection two"), mine.position) == (8, 2, 2)
    mine.pass_over("selection one", 4)
    assert mine.start("selection one") == 8
    mine.pass_over("selection two", 3)
    assert (mine.start("selection two"), mine.start("selection one")) == (3, 2)
    _, _, again = make(list(ledger.snapshot()))
    assert opened(again, key="worker").start("selection two") == 2


def test_looked_through_lasts() -> None:
    """A position that stands for one selection takes what was looked through into a snapshot."""
    _, ledger, subscriptions = make()
    opened(subscriptions, key="t * ").pass_over("t * ", 8)
    _, _, again = make(list(ledger.snapshot()))
    assert opened(again, key="t * ").start("t * ") == 8


def test_furthest() -> None:
    """The furthest position is known, for numbers past it only may be new."""
    _, _, subscriptions = make()
    assert subscriptions.furthest == 0
    opened(subscriptions, first=4)
    opened(subscriptions, agent="b", first=6)
    assert subscriptions.furthest == 6


def test_the_limit_is_the_contracts() -> None:
    """64, says contract section 5."""
    assert module.MOST_PER_AGENT == 64


def test_departure_that_was_not_written() -> None:
    """What a snapshot does not have is gone, also where older records before it have it."""
    journal, ledger, subscriptions = make()
    opened(subscriptions, "gone")
    opened(subscriptions, "here", first=3)
    older = list(journal.records)
    subscriptions.end("gone")
    _, _, again = make([*older, *ledger.snapshot()])
    assert opened(again, "gone", first=7).position == 7
    assert opened(again, "here", first=7).position == 3
