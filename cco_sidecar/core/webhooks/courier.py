"""The courier: takes what a webhook has waiting to its receiver, again and again until it is taken or given up."""

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.dead_letters import DeadLetters, Lost
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.webhooks.retries import MOST_RETRY_AFTER_SECONDS, Retries
from cco_sidecar.core.webhooks.room import SendRoom
from cco_sidecar.core.webhooks.signing import parcel_of, signed_headers
from cco_sidecar.core.webhooks.webhook import Delivery, Webhook
from cco_sidecar.interfaces import IWebhookSender, Message, Receipt

_log = Logger()

GONE = 410
_STAY_AWAY = frozenset({429, 503})


@define(eq=False)
class Courier:
    """Begins deliveries in the order of the log, and tries each until it is taken.

    Nobody waits for it: what it has to do it does when the reactor turns. ``progressed`` hears of a webhook whose
    position may have moved, ``refused_for_good`` of one whose receiver is gone; the registry sets both. ``count`` hears
    what each attempt came to: ``delivered``, ``refused`` (an answer that is no success), ``unreachable`` (no answer),
    ``gone``, and ``dead`` when there is no further one.
    """

    _clock: IReactorTime
    _sender: IWebhookSender
    _ring: Ring
    _letters: DeadLetters
    _room: SendRoom
    _retries: Retries
    _random: Callable[[], float]
    _count: Callable[[str], None]
    progressed: Callable[[Webhook], None] = field(init=False)
    refused_for_good: Callable[[Webhook, str], None] = field(init=False)

    def wake(self, webhook: Webhook) -> None:
        """Look, when the reactor turns, whether there is something to send."""
        if webhook.is_active and webhook.has_work and "wake" not in webhook.timers:
            webhook.timers["wake"] = self._clock.callLater(0, self._begin, webhook)

    def stop(self, webhook: Webhook) -> None:
        """Send nothing more to a webhook for now; what is on its way is cut off, and will be repeated."""
        self._room.forget(webhook)
        webhook.halt()

    def _begin(self, webhook: Webhook) -> None:
        webhook.timers.pop("wake", None)
        if self._is_held(webhook):
            return
        if not (webhook.may_send and webhook.has_work and self._room.enter(webhook, lambda: self.wake(webhook))):
            return
        delivery = self._next(webhook)
        if delivery is None:
            self._room.leave()
        else:
            self._attempt(webhook, delivery)
        # One at a time: to sign a large event takes a while, and the reactor has others to serve.
        if webhook.may_send:
            self.wake(webhook)

    def _is_held(self, webhook: Webhook) -> bool:
        left = webhook.held_until - self._clock.seconds()
        if left <= 0:
            return False
        if "held" not in webhook.timers:
            webhook.timers["held"] = self._clock.callLater(left, self._released, webhook)
        return True

    def _released(self, webhook: Webhook) -> None:
        webhook.timers.pop("held", None)
        self.wake(webhook)

    # What comes next

    def _next(self, webhook: Webhook) -> Delivery | None:
        if webhook.due:
            return webhook.due.popleft()
        delivery = self._next_event(webhook) or self._next_letter(webhook)
        if delivery is not None:
            webhook.unsettled[delivery] = None
        return delivery

    def _next_event(self, webhook: Webhook) -> Delivery | None:
        waiting = bool(webhook.again or webhook.backlog)
        found, lost = None, []
        while found is None and (webhook.again or webhook.backlog):
            sequence = (webhook.again or webhook.backlog).popleft()
            event = self._ring.get(sequence)
            if event is None:
                lost.append(sequence)
            elif event.expires_at <= self._clock.seconds():
                webhook.attempted.expired += 1
            else:
                found = Delivery(event.encoded, event.sequence)
        if lost:
            self._letters.lose(webhook.id, Lost(lost[0], lost[-1], len(lost)))
        if waiting and found is None:
            self.progressed(webhook)
        return found

    def _next_letter(self, webhook: Webhook) -> Delivery | None:
        while webhook.letters:
            letter = self._letters.find(webhook.letters.popleft())
            if letter is not None:
                return Delivery(bytes(letter.event), letter=letter.id)
        return None

    # An attempt, and what came of it

    def _attempt(self, webhook: Webhook, delivery: Delivery) -> None:
        assert webhook.key is not None  # an active webhook has one
        now = self._clock.seconds()
        delivery.attempts += 1
        delivery.first_at = now if delivery.first_at is None else delivery.first_at
        delivery.last_at = now
        webhook.open_requests += 1
        parcel = parcel_of(delivery.event)
        message = Message(webhook.key.target, signed_headers(webhook.key.secret, parcel, now), parcel.body)
        delivery.sending = maybeDeferred(self._sender.send, message)
        delivery.sending.addErrback(_unforeseen)
        delivery.sending.addCallback(self._came, webhook, delivery)
        delivery.sending.addErrback(_mistake)

    def _came(self, receipt: Receipt, webhook: Webhook, delivery: Delivery) -> None:
        webhook.open_requests -= 1
        self._room.leave()
        if delivery not in webhook.unsettled:
            self.wake(webhook)  # it was dropped meanwhile, but its place is free now
            return
        if receipt.status is not None and 200 <= receipt.status < 300:
            self._taken(webhook, delivery)
        else:
            self._not_taken(receipt, webhook, delivery)
        self.wake(webhook)

    def _taken(self, webhook: Webhook, delivery: Delivery) -> None:
        self._count("delivered")
        attempted = webhook.attempted
        attempted.delivered += 1
        attempted.consecutive_failures = 0
        attempted.last_success_at = self._clock.seconds()
        if delivery.letter is not None:
            self._letters.delivered(delivery.letter)
        self._settle(webhook, delivery)

    def _not_taken(self, receipt: Receipt, webhook: Webhook, delivery: Delivery) -> None:
        why = describe(receipt)
        attempted, now = webhook.attempted, self._clock.seconds()
        attempted.consecutive_failures += 1
        attempted.last_failure_at, attempted.last_failure = now, why
        if receipt.status == GONE:
            self._count("gone")
            self.refused_for_good(webhook, why)
            return
        self._count("unreachable" if receipt.status is None else "refused")
        wait = self._retries.wait(delivery.attempts, self._random)
        if receipt.status in _STAY_AWAY and receipt.retry_after is not None:
            asked = max(0.0, min(receipt.retry_after, MOST_RETRY_AFTER_SECONDS))
            webhook.held_until = max(webhook.held_until, now + asked)
            wait = max(wait, asked)
        if delivery.attempts >= self._retries.max_attempts:
            self._give_up(webhook, delivery, why)
        else:
            self._try_later(webhook, delivery, wait)

    def _try_later(self, webhook: Webhook, delivery: Delivery, seconds: float) -> None:
        delivery.timer = self._clock.callLater(seconds, self._is_due, webhook, delivery)

    def _is_due(self, webhook: Webhook, delivery: Delivery) -> None:
        webhook.due.append(delivery)
        self.wake(webhook)

    def _give_up(self, webhook: Webhook, delivery: Delivery, why: str) -> None:
        if delivery.letter is not None and self._letters.find(delivery.letter) is None:
            self._settle(webhook, delivery)  # somebody has thrown it away meanwhile
            return
        buried = self._letters.bury(
            source="webhook",
            webhook_id=webhook.id,
            event=delivery.event,
            reason=why,
            attempts=delivery.attempts,
            first_attempt_at=delivery.first_at,
            last_attempt_at=delivery.last_at,
            letter_id=delivery.letter,
        )
        both = (webhook, delivery)
        buried.addCallbacks(self._buried, self._not_buried, callbackArgs=both, errbackArgs=both)

    def _buried(self, _: None, webhook: Webhook, delivery: Delivery) -> None:
        self._count("dead")
        if delivery in webhook.unsettled:
            self._settle(webhook, delivery)
            self.wake(webhook)

    def _not_buried(self, failure: Failure, webhook: Webhook, delivery: Delivery) -> None:
        # The disk takes nothing: it is not given up then, but tried once more when that may have passed.
        _log.error("a dead letter could not be kept: {why}", why=failure.getErrorMessage())
        if delivery in webhook.unsettled:
            self._try_later(webhook, delivery, self._retries.most_seconds)

    def _settle(self, webhook: Webhook, delivery: Delivery) -> None:
        del webhook.unsettled[delivery]
        if delivery.sequence is not None:
            self.progressed(webhook)


def describe(receipt: Receipt) -> str:
    """Say in a sentence why an answer is no success."""
    if receipt.status is None:
        return receipt.error or "no answer came"
    if 300 <= receipt.status < 400:
        return f"the receiver answered {receipt.status}, and redirects are not followed: register the URL it leads to"
    return f"the receiver answered {receipt.status}"


def _unforeseen(failure: Failure) -> Receipt:
    if failure.check(CancelledError) is None:
        _log.failure("a webhook could not be sent to", failure)
    return Receipt(None, "it could not be sent")


def _mistake(failure: Failure) -> None:
    _log.failure("what came of a webhook could not be dealt with", failure)
