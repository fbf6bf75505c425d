"""What could not be delivered for good, kept until somebody looks at it: bounded, and never silent."""

from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.errors import NotFound

_log = Logger()

MOST_LETTERS = 1000
MOST_BYTES = 4 * 1024 * 1024
"""How much their events may take: each segment of the journal (8 MiB) begins with all of them."""

_NO_EVENT = msgspec.Raw(b"null")


class Lost(msgspec.Struct, frozen=True):
    """Events that retention removed before they were delivered: at most ``count``, none outside ``first``…``last``."""

    first_sequence: int
    last_sequence: int
    count: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that somebody could not take (its JSON text), or the word that some were lost; times are in seconds.

    ``source`` is ``webhook`` or ``workflow``; a workflow's letter names the run and the rule, and no webhook.
    """

    id: str
    source: str
    webhook_id: str
    reason: str
    attempts: int
    first_attempt_at: float | None
    last_attempt_at: float | None
    dead_at: float
    event: msgspec.Raw = _NO_EVENT
    lost: Lost | None = None
    run_id: str = ""
    rule: str = ""

    @property
    def has_event(self) -> bool:
        """Say whether there is something to deliver again."""
        return self.lost is None

    @property
    def size(self) -> int:
        """How many bytes the event takes."""
        return len(bytes(self.event))


class _Gone(msgspec.Struct, frozen=True):
    ids: list[str]


@define(eq=False)
class DeadLetters:
    """The dead letters of one project, oldest first; the oldest go when there are too many, and are counted."""

    _clock: IReactorTime
    _ledger: Ledger
    _new_id: Callable[[], str]
    kinds: tuple[str, ...] = ("dead_letter", "dead_letters_gone")
    pushed_out: int = 0
    """How many went unread since the start, because newer ones needed the room."""
    _kept: "OrderedDict[str, DeadLetter]" = field(factory=OrderedDict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._kept)

    def bury(
        self,
        *,
        source: str,
        webhook_id: str,
        event: bytes,
        reason: str,
        attempts: int,
        first_attempt_at: float | None,
        last_attempt_at: float | None,
        letter_id: str | None = None,
        run_id: str = "",
        rule: str = "",
    ) -> "Deferred[None]":
        """Fire when the letter is on disk; raises as `IJournal.append`.

        :param letter_id: the letter that this one takes the place of, after it was delivered again in vain.
        """
        letter = DeadLetter(
            id=letter_id or f"dl-{self._new_id()}",
            source=source,
            webhook_id=webhook_id,
            event=msgspec.Raw(event),
            reason=reason,
            attempts=attempts,
            first_attempt_at=first_attempt_at,
            last_attempt_at=last_attempt_at,
            dead_at=self._clock.seconds(),
            run_id=run_id,
            rule=rule,
        )
        return self._ledger.record("dead_letter", letter).addCallback(lambda _: self._keep(letter))

    def lose(self, webhook_id: str, lost: Lost) -> None:
        """Keep that events were removed before they could be delivered; one letter of a webhook tells of all."""
        before = next((it for it in self.listing(webhook_id) if it.lost is not None), None)
        if before is not None and before.lost is not None:
            lost = Lost(
                min(before.lost.first_sequence, lost.first_sequence),
                max(before.lost.last_sequence, lost.last_sequence),
                before.lost.count + lost.count,
            )
        letter = DeadLetter(
            id=f"dl-{self._new_id()}" if before is None else before.id,
            source="webhook",
            webhook_id=webhook_id,
            reason=f"retention removed up to {lost.count} events before they could be delivered",
            attempts=0,
            first_attempt_at=None,
            last_attempt_at=None,
            dead_at=self._clock.seconds(),
            lost=lost,
        )
        _log.warn("webhook {webhook}: {reason}", webhook=webhook_id, reason=letter.reason)
        self._ledger.note("dead_letter", letter)
        self._keep(letter)

    def find(self, letter_id: str) -> DeadLetter | None:
        """Give the letter of that id, if it is still kept."""
        return self._kept.get(letter_id)

    def get(self, letter_id: str) -> DeadLetter:
        """Give the letter of that id.

        :raises NotFound: there is none.
        """
        letter = self._kept.get(letter_id)
        if letter is None:
            raise NotFound(f"There is no dead letter '{letter_id}' here: it was delivered, removed or pushed out.")
        return letter

    def listing(self, webhook_id: str | None = None) -> list[DeadLetter]:
        """Give the letters, newest first; those of one webhook if it is named."""
        return [it for it in reversed(self._kept.values()) if webhook_id is None or it.webhook_id == webhook_id]

    def remove(self, letters: Iterable[DeadLetter]) -> "Deferred[None]":
        """Forget letters; fires when that is on disk."""
        ids = [letter.id for letter in letters]
        for letter_id in ids:
            self._drop(letter_id)
        return self._ledger.record("dead_letters_gone", _Gone(ids))

    def delivered(self, letter_id: str) -> None:
        """Forget a letter whose event was taken after all."""
        self._drop(letter_id)
        self._ledger.note("dead_letters_gone", _Gone([letter_id]))

    def _keep(self, letter: DeadLetter) -> None:
        self._drop(letter.id)
        self._kept[letter.id] = letter
        self._bytes += letter.size
        while len(self._kept) > MOST_LETTERS or self._bytes > MOST_BYTES:
            oldest = next(iter(self._kept))
            self._drop(oldest)
            self.pushed_out += 1
            _log.warn("the dead letter {letter} is pushed out by newer ones", letter=oldest)

    def _drop(self, letter_id: str) -> None:
        letter = self._kept.pop(letter_id, None)
        if letter is not None:
            self._bytes -= letter.size

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a letter, or that some are gone."""
        if kind == "dead_letters_gone":
            for letter_id in msgspec.json.decode(body, type=_Gone).ids:
                self._drop(letter_id)
            return
        # A copy: what is decoded as Raw would hold the whole segment in memory.
        self._keep(msgspec.json.decode(bytes(body), type=DeadLetter))

    def snapshot(self) -> Iterable[Record]:
        """Give every letter."""
        for letter in self._kept.values():
            yield "dead_letter", letter
