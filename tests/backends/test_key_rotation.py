"""Keys that change while the sidecar runs: one change after the other, and old keys are forgotten in time."""

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from cco_sidecar.backends.key_rotation import KeyRotation
from cco_sidecar.backends.keys import load_keys
from cco_sidecar.core.keyring import KeyRing
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.tokens import TokenAuthority
from tests.fakes import MemoryJournal, numbered, outcome, result_of


class Desk:
    """A rotation whose blocking work waits until the test says so."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.clock.advance(1_000.0)
        self.directory = directory
        book = TokenBook(self.clock, Ledger(MemoryJournal()))
        self.tokens = TokenAuthority(
            self.clock, load_keys(directory, 0.0), numbered(), lambda _: book, lambda *_: False, 60, 30
        )
        self.waiting: list[Callable[[], None]] = []
        self.reissued = 0
        self.rotation = KeyRotation(self.clock, directory, self.tokens, self._run, 100.0, self._reissue)

    def _run(self, work: Callable[[], KeyRing]) -> "Deferred[KeyRing]":
        done: Deferred[KeyRing] = Deferred()
        self.waiting.append(lambda: done.callback(work()))
        return done

    def _reissue(self) -> "Deferred[None]":
        self.reissued += 1
        return succeed(None)

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()

    def files(self) -> int:
        return len(list(self.directory.glob("*.pem")))


def test_one_after_the_other(tmp_path: Path) -> None:
    """Two changes at once make two keys, and none is lost."""
    desk = Desk(tmp_path)
    first, second = outcome(desk.rotation.rotate(False)), outcome(desk.rotation.rotate(False))
    assert (len(desk.waiting), first, second) == (1, [], [])
    desk.work()
    assert (len(first), second) == (1, [])
    desk.work()
    assert len(desk.tokens.keys.keys) == len(load_keys(tmp_path, 0.0).keys) == 3
    assert desk.reissued == 0


def test_forgotten_in_time(tmp_path: Path) -> None:
    """A key is forgotten, and its file removed, when the last token that it signed can be over; not before."""
    desk = Desk(tmp_path)
    token = desk.tokens.issue_admin(["read_context"])
    outcome(desk.rotation.rotate(False))
    desk.work()
    desk.clock.advance(99.0)
    assert desk.rotation.drop_ended() is None
    assert desk.tokens.refusal_of(token.claims) is None
    desk.clock.advance(1.0)
    dropped = desk.rotation.drop_ended()
    assert dropped is not None
    desk.work()
    assert result_of(dropped).keys == desk.tokens.keys.keys
    assert desk.files() == 1
    assert desk.rotation.drop_ended() is None


def test_nothing_is_dropped_during_a_change(tmp_path: Path) -> None:
    """While a new key is being made nothing is removed: the new one's file would be, too."""
    desk = Desk(tmp_path)
    outcome(desk.rotation.rotate(False))
    desk.work()
    desk.clock.advance(200.0)
    outcome(desk.rotation.rotate(True))
    assert desk.rotation.drop_ended() is None
    desk.work()
    assert (desk.files(), desk.reissued, len(desk.tokens.keys.keys)) == (1, 1, 1)
