"""The webhooks of a project: registered, listed, tested, taken away; what lasts of them."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.events.starting import Log
from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.core.shielding import shielded
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.webhooks.courier import Courier, describe
from cco_sidecar.core.webhooks.feeding import Feeder
from cco_sidecar.core.webhooks.signing import parcel, signed_headers
from cco_sidecar.core.webhooks.targets import origin_of, read_target
from cco_sidecar.core.webhooks.webhook import PositionRecord, SelectionBody, Webhook, WebhookRecord
from cco_sidecar.errors import InvalidBody, NotFound, TooManyRequests
from cco_sidecar.interfaces import IWebhookKeys, IWebhookSender, Message, Target, WebhookKey

_log = Logger()

MOST_WEBHOOKS = 64
MOST_TESTS = 8
TEST_TYPE = "webhook.test"

NO_KEY = (
    "its URL and secret are not in CCO_HOME/webhooks: it came with a copy of the storage, or the file was lost. "
    "Delete it and register it again"
)


class _Gone(msgspec.Struct, frozen=True):
    id: str


@frozen
class Tested:
    """What a test came to: the answer's status, or None and why there is none; how long it took."""

    status: int | None
    error: str | None
    seconds: float

    @property
    def delivered(self) -> bool:
        """Say whether the receiver took it."""
        return self.error is None


@frozen
class Redelivery:
    """What is delivered again: dead letters, and the events after a cursor."""

    dead_letters: int
    cursor: str | None
    gap: bool


@define(eq=False)
class Webhooks:
    """The webhooks of one project; each has a position that lasts, so that no event is missed over a restart."""

    _clock: IReactorTime
    _ledger: Ledger
    _hub: EventHub
    _sender: IWebhookSender
    _keys: IWebhookKeys
    _letters: DeadLetters
    _courier: Courier
    _new_id: Callable[[], str]
    kinds: tuple[str, ...] = ("webhook", "webhook_gone", "webhook_position")
    _all: dict[str, Webhook] = field(factory=dict)
    _coming: int = 0
    _tests: int = 0
    _feeder: Feeder = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._feeder = Feeder(self._clock, self._hub, self._letters, self._courier)
        self._courier.progressed = self._note
        self._courier.refused_for_good = self._disable

    def open(self) -> None:
        """Begin, after recovery and after the hub."""
        self._hub.observe(self._feeder.show)
        for webhook in self._all.values():
            webhook.key = self._keys.find(webhook.id)
            # After damage the log may end before a position: what comes next gets those numbers.
            webhook.scanned = min(webhook.scanned, self._hub.sequence)
            if webhook.is_active:
                self._feeder.feed(webhook)

    def close(self) -> None:
        """Cut off what is on its way, which comes again, and write down how far everything has got."""
        for webhook in self._all.values():
            if webhook.is_active:
                self._end(webhook)
                self._note(webhook)

    def _end(self, webhook: Webhook) -> None:
        webhook.ended = True
        self._feeder.leave(webhook)
        self._courier.stop(webhook)

    # Registering

    def add(self, url: str, selection: SelectionBody, secret: bytes) -> "Deferred[Webhook]":
        """Fire with the new webhook when it is on disk; it gets what is published from now on.

        Cancelling takes nothing back.

        :raises InvalidBody: the URL is none, its address is not allowed, or there are too many webhooks.
        :raises InvalidParameter: the selection names what is no name.
        :raises InvalidFilter: its filter does not parse.
        """
        return shielded(Deferred.fromCoroutine(self._add(read_target(url), selection, secret)))

    async def _add(self, target: Target, wanted: SelectionBody, secret: bytes) -> Webhook:
        selection = wanted.read()
        if len(self._all) + self._coming >= MOST_WEBHOOKS:
            raise InvalidBody(f"A project has at most {MOST_WEBHOOKS} webhooks: delete one first.", path="$")
        self._coming += 1
        try:
            why_not = await self._sender.refusal(target)
            if why_not is not None:
                raise InvalidBody(f"The webhook's url cannot be used: {why_not}.", path="$.url")
            webhook_id = f"wh-{self._new_id()}"
            key = WebhookKey(target, secret)
            await self._keys.keep(webhook_id, key)
            record = WebhookRecord(webhook_id, origin_of(target), wanted, self._clock.seconds(), self._hub.sequence)
            return await self._begun(Webhook(record, selection, record.start, key, noted=record.start))
        finally:
            self._coming -= 1

    async def _begun(self, webhook: Webhook) -> Webhook:
        try:
            await self._ledger.record("webhook", webhook.record)
        except Exception:
            await self._keys.forget(webhook.id)
            raise
        self._all[webhook.id] = webhook
        self._feeder.feed(webhook)
        return webhook

    def remove(self, webhook_id: str) -> "Deferred[None]":
        """Fire when the webhook is gone, and its secret; its dead letters stay.

        :raises NotFound: there is none.
        """
        webhook = self.get(webhook_id)
        return shielded(Deferred.fromCoroutine(self._remove(webhook)))

    async def _remove(self, webhook: Webhook) -> None:
        self._end(webhook)
        del self._all[webhook.id]
        await self._ledger.record("webhook_gone", _Gone(webhook.id))
        await self._keys.forget(webhook.id)

    def listing(self) -> list[Webhook]:
        """Give all webhooks, the oldest first."""
        return list(self._all.values())

    def get(self, webhook_id: str) -> Webhook:
        """Give the webhook of that id.

        :raises NotFound: there is none.
        """
        webhook = self._all.get(webhook_id)
        if webhook is None:
            raise NotFound(f"There is no webhook '{webhook_id}' here; GET /api/webhooks lists those there are.")
        return webhook

    # Switching off and on

    def _disable(self, webhook: Webhook, why: str) -> None:
        at = rfc3339(self._clock.seconds())
        self._switch(webhook, f"{why} at {at}, which means that it is gone for good; a test that it takes enables it")
        self._feeder.leave(webhook)
        self._courier.stop(webhook)
        self._note(webhook)
        _log.warn("webhook {webhook} is disabled: {why}", webhook=webhook.id, why=why)

    def _switch(self, webhook: Webhook, disabled: str | None) -> None:
        webhook.record = msgspec.structs.replace(webhook.record, disabled=disabled)
        self._ledger.note("webhook", webhook.record)

    async def test(self, webhook_id: str) -> Tested:
        """Send a test message now; one that is taken enables a webhook that was disabled.

        :raises NotFound: there is no such webhook.
        :raises TooManyRequests: too many are under way.
        """
        webhook = self.get(webhook_id)
        if webhook.key is None:
            return Tested(None, NO_KEY, 0.0)
        if self._tests >= MOST_TESTS:
            raise TooManyRequests(f"{MOST_TESTS} tests are under way already: wait for them.", 1)
        self._tests += 1
        try:
            return await self._test(webhook, webhook.key)
        finally:
            self._tests -= 1

    async def _test(self, webhook: Webhook, key: WebhookKey) -> Tested:
        began = self._clock.seconds()
        data = msgspec.json.encode({"webhook_id": webhook.id, "project_id": self._hub.project_id})
        sent = parcel(TEST_TYPE, rfc3339(began), f"test-{self._new_id()}", data)
        headers = signed_headers(key.secret, sent, began)
        receipt = await self._sender.send(Message(key.target, headers, sent.body))
        is_taken = receipt.status is not None and 200 <= receipt.status < 300
        if is_taken and webhook.record.disabled is not None and not webhook.ended:
            self._switch(webhook, None)
            webhook.attempted.consecutive_failures = 0
            self._feeder.feed(webhook)
        return Tested(receipt.status, None if is_taken else describe(receipt), self._clock.seconds() - began)

    # Again

    async def redeliver(self, webhook_id: str, letters: Sequence[str] | None, since: str | None) -> Redelivery:
        """Deliver again: dead letters (all of the webhook's if none is named), or the log after a place.

        Each message has the id that it had before. A dead letter stays one until it is taken.

        :raises NotFound: there is no such webhook, or no such letter of it.
        :raises InvalidBody: the webhook is switched off, both are given, or a letter has no event.
        :raises InvalidParameter: ``since`` is no place in this log.
        """
        webhook = self.get(webhook_id)
        if not webhook.is_active:
            raise InvalidBody(f"This webhook gets nothing: {self.why_off(webhook)}.", path="$")
        if since is None:
            return Redelivery(self._letters_again(webhook, letters), None, gap=False)
        if letters is not None:
            raise InvalidBody("Give 'dead_letters' or 'since', not both.", path="$")
        self._hub.ring.evict(self._clock.seconds())
        window = Log(self._hub.log_id, self._hub.sequence, self._hub.ring).after(since)
        # What retention took was said to be gone when it went: it is not lost a second time.
        webhook.rewind(max(window.after, self._hub.ring.evicted_through))
        again = Redelivery(0, self._hub.cursor(webhook.scanned), gap=window.gap)
        self._feeder.feed(webhook)
        await self._ledger.record("webhook_position", webhook.progress())
        return again

    def _letters_again(self, webhook: Webhook, names: Sequence[str] | None) -> int:
        if names is None:
            found = [it for it in reversed(self._letters.listing(webhook.id)) if it.has_event]
        else:
            found = [self._letters.get(name) for name in dict.fromkeys(names)]
        for letter in found:
            if letter.webhook_id != webhook.id:
                raise NotFound(f"The dead letter '{letter.id}' is not one of this webhook.")
            if not letter.has_event:
                raise InvalidBody(f"The dead letter '{letter.id}' has no event any more.", path="$.dead_letters")
        under_way = {*webhook.letters, *(it.letter for it in webhook.unsettled)}
        webhook.letters.extend(letter.id for letter in found if letter.id not in under_way)
        self._courier.wake(webhook)
        return len(found)

    def why_off(self, webhook: Webhook) -> str | None:
        """Say why nothing is sent to a webhook; None if it is."""
        if webhook.record.disabled is not None:
            return webhook.record.disabled
        return NO_KEY if webhook.key is None else None

    # What lasts

    def _note(self, webhook: Webhook) -> None:
        self._ledger.note("webhook_position", webhook.progress())

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a webhook, its end, or its position."""
        if kind == "webhook_gone":
            self._all.pop(msgspec.json.decode(body, type=_Gone).id, None)
        elif kind == "webhook_position":
            progress = msgspec.json.decode(body, type=PositionRecord)
            if progress.id in self._all:
                self._all[progress.id].take_up(progress)
        else:
            self._take_up(msgspec.json.decode(body, type=WebhookRecord))

    def _take_up(self, record: WebhookRecord) -> None:
        known = self._all.get(record.id)
        if known is not None:
            known.record = record
        else:
            self._all[record.id] = Webhook(record, record.selection.read(), record.start)

    def snapshot(self) -> Iterable[Record]:
        """Give every webhook, and how far it has got."""
        for webhook in self._all.values():
            yield "webhook", webhook.record
            yield "webhook_position", webhook.progress()
