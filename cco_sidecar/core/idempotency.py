"""The same request sent twice does its work once (Idempotency-Key, contract section 4)."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.ledger import KEY_KIND, Bodies, KeyRecord, Record
from cco_sidecar.core.shielding import shielded
from cco_sidecar.errors import KeyReused

KEPT_SECONDS = 24 * 3600
MOST_KEYS = 100_000

Slot = tuple[str, str, str]
"""Agent, route and key."""


@frozen
class Answered:
    """A finished answer: status and JSON text."""

    status: int
    body: bytes


@frozen
class Attempt:
    """The work of a request with a key, while it goes on."""

    _keys: "Idempotency"
    _slot: Slot
    _digest: str

    def record(self, status: int, answer: object) -> KeyRecord:
        """Make the record to write together with the effect."""
        return self._keys._record(self._slot, self._digest, status, answer)

    def answered(self, answered: Answered) -> None:
        """Remember the answer: the work is done."""
        self._keys._keep(self.record(answered.status, msgspec.Raw(answered.body)))

    def end(self) -> None:
        """Let those go on who wait for the same key; whatever became of the work."""
        for turn in self._keys._in_flight.pop(self._slot, ()):
            turn.callback(None)


@define(eq=False)
class Idempotency:
    """Remembers a project's keys, with the answer that each got."""

    _clock: IReactorTime
    kinds: tuple[str, ...] = (KEY_KIND,)
    _kept: "OrderedDict[Slot, KeyRecord]" = field(factory=OrderedDict)  # oldest first
    _in_flight: "dict[Slot, list[Deferred[None]]]" = field(factory=dict)

    def is_new(self, slot: Slot) -> bool:
        """Say whether nothing is known of a key: no answer, and no request that is being worked on."""
        return slot not in self._in_flight and self._find(slot) is None

    def attempt(self, slot: Slot, digest: str) -> "Attempt":
        """Begin the work of a key that is new, for one who cannot wait in `once`; all others wait until it ends."""
        assert self.is_new(slot)
        self._in_flight[slot] = []
        return Attempt(self, slot, digest)

    async def once(
        self,
        slot: Slot,
        digest: str,
        work: Callable[[Callable[[int, object], KeyRecord]], Awaitable[Answered]],
    ) -> Answered:
        """Do the work, or give the answer that it got before; whoever hangs up finds it done when asking again.

        :param digest: names the request's body.
        :param work: is given a function that makes the record to write together with the effect.
        :raises KeyReused: the key came with another body before.
        """
        return await shielded(Deferred.fromCoroutine(self._once(slot, digest, work)))

    async def _once(
        self,
        slot: Slot,
        digest: str,
        work: Callable[[Callable[[int, object], KeyRecord]], Awaitable[Answered]],
    ) -> Answered:
        while slot in self._in_flight:
            turn: Deferred[None] = Deferred()
            self._in_flight[slot].append(turn)
            await turn
        kept = self._find(slot)
        if kept is not None:
            if kept.digest != digest:
                raise KeyReused(
                    "This Idempotency-Key (or the source and id of this CloudEvent) came before with another body: "
                    "use a new one for a new request."
                )
            return Answered(kept.status, bytes(kept.answer))
        attempt = self.attempt(slot, digest)
        try:
            answered = await work(attempt.record)
            attempt.answered(answered)
            return answered
        finally:
            attempt.end()

    def _record(self, slot: Slot, digest: str, status: int, answer: object) -> KeyRecord:
        text = answer if isinstance(answer, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(answer))
        return KeyRecord(*slot, digest, self._clock.seconds(), status, text)

    def _find(self, slot: Slot) -> KeyRecord | None:
        kept = self._kept.get(slot)
        if kept is None or kept.at + KEPT_SECONDS <= self._clock.seconds():
            return None
        return kept

    def _keep(self, record: KeyRecord) -> None:
        slot = (record.agent_id, record.route, record.key)
        self._kept.pop(slot, None)  # it goes to the end, in the dict below, too
        self._kept[slot] = record
        now = self._clock.seconds()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if len(self._kept) <= MOST_KEYS and oldest.at + KEPT_SECONDS > now:
                return
            self._kept.popitem(last=False)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a key."""
        self._keep(msgspec.json.decode(bytes(body), type=KeyRecord))

    def snapshot(self) -> Iterable[Record]:
        """Give every key that still counts."""
        # The dict's own view: an ordered one's takes 15 ms for all of them, and nobody else has the reactor meanwhile.
        return Bodies(KEY_KIND, list(dict[Slot, KeyRecord].values(self._kept)))
