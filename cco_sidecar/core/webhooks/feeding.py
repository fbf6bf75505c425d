"""The feeder: finds what each webhook wants in the log, what is there already and what comes."""

from collections.abc import Iterable
from itertools import islice

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.dead_letters import DeadLetters, Lost
from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.fields import EventFields
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.webhooks.courier import Courier
from cco_sidecar.core.webhooks.webhook import Webhook

EVENTS_AT_A_TIME = 200
BYTES_AT_A_TIME = 1024 * 1024
"""How much of the log is looked through before the reactor gets its turn."""

PASSED_UNNOTED = 256
"""After so many events that a webhook does not want, its position is written down: a crash must not look like a gap."""


@define(eq=False)
class Feeder:
    """Fills the backlogs of a project's webhooks; ``feed`` begins it for each.

    A webhook that has *caught up* gets each event as it is published; one that has not is led through the log first.
    """

    _clock: IReactorTime
    _hub: EventHub
    _letters: DeadLetters
    _courier: Courier
    _fed: dict[Webhook, None] = field(factory=dict)

    def feed(self, webhook: Webhook) -> None:
        """Lead a webhook through the log from where it stands, then give it what comes."""
        self._fed[webhook] = None
        webhook.caught_up = webhook.scanned >= self._hub.sequence
        if not webhook.caught_up and "scan" not in webhook.timers:
            webhook.timers["scan"] = self._clock.callLater(0, self._look_on, webhook)
        self._courier.wake(webhook)  # it may have a backlog of its own

    def leave(self, webhook: Webhook) -> None:
        """Give a webhook nothing more."""
        self._fed.pop(webhook, None)

    def show(self, event: Event) -> None:
        """Give a new event, which is on disk, to all who want it; the publisher waits for this, so it sends nothing."""
        fields: EventFields | None = None
        for webhook in self._fed:
            if not webhook.caught_up:
                continue
            if webhook.selection.filter is not None and webhook.selection.matches_envelope(event):
                fields = fields or event.fields()
            self._look_at(webhook, event, fields)
            if webhook.through - webhook.noted >= PASSED_UNNOTED:
                self._courier.progressed(webhook)

    def _look_at(self, webhook: Webhook, event: Event, fields: EventFields | None) -> None:
        wanted = webhook.wants(event, fields)
        webhook.scanned = event.sequence
        if not wanted:
            return
        webhook.backlog.append(event.sequence)
        if len(webhook.backlog) > 2 * self._hub.ring.capacity:
            self._forget_evicted(webhook)
        self._courier.wake(webhook)

    def _forget_evicted(self, webhook: Webhook) -> None:
        """Say what is lost of a backlog that outgrew the log, instead of remembering every number."""
        lost = []
        while webhook.backlog and self._hub.ring.get(webhook.backlog[0]) is None:
            lost.append(webhook.backlog.popleft())
        self._letters.lose(webhook.id, Lost(lost[0], lost[-1], len(lost)))
        self._courier.progressed(webhook)

    def _look_on(self, webhook: Webhook) -> None:
        webhook.timers.pop("scan", None)
        ring = self._hub.ring
        if webhook.scanned < ring.evicted_through:
            lost = Lost(webhook.scanned + 1, ring.evicted_through, ring.evicted_through - webhook.scanned)
            webhook.scanned = ring.evicted_through
            self._letters.lose(webhook.id, lost)
            self._courier.progressed(webhook)
        for event in _some(ring.after(webhook.scanned)):
            self._look_at(webhook, event, None)
        if webhook.scanned < self._hub.sequence and next(iter(ring.after(webhook.scanned)), None) is not None:
            webhook.timers["scan"] = self._clock.callLater(0, self._look_on, webhook)
            return
        webhook.scanned = max(webhook.scanned, self._hub.sequence)
        webhook.caught_up = True


def _some(events: Iterable[Event]) -> Iterable[Event]:
    size = 0
    for event in islice(events, EVENTS_AT_A_TIME):
        yield event
        size += len(event.encoded)
        if size >= BYTES_AT_A_TIME:
            return
