"""A project with webhooks, and a receiver that answers when the test says so."""

from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.webhooks.courier import Courier
from cco_sidecar.core.webhooks.registry import Redelivery, Webhooks
from cco_sidecar.core.webhooks.retries import Retries
from cco_sidecar.core.webhooks.room import SendRoom
from cco_sidecar.core.webhooks.webhook import SelectionBody, Webhook
from cco_sidecar.interfaces import IWebhookKeys, IWebhookSender, Message, Receipt, Target, WebhookKey
from tests.fakes import EventHouse, numbered, outcome, result_of

SECRET = bytes(range(32))
URL = "https://receiver.example/hook"


@define(eq=False)
class Post:
    """A message that was sent, and its answer to come."""

    message: Message
    at: float
    answer: "Deferred[Receipt]"
    cancelled: bool = False

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.message.body)["data"]

    @property
    def id(self) -> str:
        return self.message.headers["webhook-id"]

    @property
    def number(self) -> int:
        """The sequence of the event."""
        return int(self.event["sequence"])


@implementer(IWebhookSender)
@define(eq=False)
class Sender:
    """Keeps what is sent; ``open`` is what was not answered yet."""

    now: Callable[[], float]
    posts: list[Post] = field(factory=list)
    refused: str | None = None

    def refusal(self, target: Target) -> "Deferred[str | None]":
        return succeed(self.refused)

    def send(self, message: Message) -> "Deferred[Receipt]":
        def cancel(_: object) -> None:
            post.cancelled = True

        post = Post(message, self.now(), Deferred(cancel))
        self.posts.append(post)
        return post.answer

    @property
    def open(self) -> list[Post]:
        return [post for post in self.posts if not post.answer.called and not post.cancelled]

    def answer(self, status: int | None, *, at: int = 0, retry_after: float | None = None) -> Post:
        """Answer one of the open requests."""
        post = self.open[at]
        post.answer.callback(Receipt(status, None if status else "no answer came", retry_after))
        return post


@implementer(IWebhookKeys)
@define(eq=False)
class Keys:
    """Keeps keys in memory."""

    kept: dict[str, WebhookKey] = field(factory=dict)

    def find(self, webhook_id: str) -> WebhookKey | None:
        return self.kept.get(webhook_id)

    def keep(self, webhook_id: str, key: WebhookKey) -> "Deferred[None]":
        self.kept[webhook_id] = key
        return succeed(None)

    def forget(self, webhook_id: str) -> "Deferred[None]":
        self.kept.pop(webhook_id, None)
        return succeed(None)


@define(eq=False)
class WebhookHouse:
    """A hub, webhooks and dead letters; `restart` makes the next one from what the journal holds."""

    max_events: int = 1000
    retention_seconds: float = 86400.0
    retries: Retries = field(factory=Retries)
    events: EventHouse = field(default=None)
    keys: Keys = field(factory=Keys)
    room: SendRoom = field(factory=SendRoom)
    ids: Callable[[], str] = field(factory=numbered)
    outcomes: list[str] = field(factory=list)
    jitter: float = 1.0
    sender: Sender = field(init=False)
    letters: DeadLetters = field(init=False)
    webhooks: Webhooks = field(init=False)
    ledger: Ledger = field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.events is None:
            self.events = EventHouse(self.max_events, self.retention_seconds)
        clock, hub = self.events.clock, self.events.hub
        self.sender = Sender(clock.seconds)
        self.ledger = Ledger(self.events.journal)
        self.letters = DeadLetters(clock, self.ledger, self.ids)
        courier = Courier(
            clock,
            self.sender,
            hub.ring,
            self.letters,
            self.room,
            self.retries,
            lambda: self.jitter,
            self.outcomes.append,
        )
        self.webhooks = Webhooks(clock, self.ledger, hub, self.sender, self.keys, self.letters, courier, self.ids)
        for keeper in (self.letters, self.webhooks):
            self.ledger.join(keeper)
        for record in self.events.journal.records:
            self.ledger.restore(record)
        self.webhooks.open()

    def restart(self, *, graceful: bool = True, snapshot: bool = False) -> "WebhookHouse":
        """Recover into a new house; without ``graceful`` this one is just gone, as after ``kill -9``."""
        clock = self.events.clock
        if graceful:
            self.webhooks.close()
        for call in clock.getDelayedCalls():
            call.cancel()
        state = list(self.ledger.snapshot()) if snapshot else []
        events = self.events.restart(snapshot=snapshot)
        events.journal.records.extend(state)
        return WebhookHouse(
            self.max_events,
            self.retention_seconds,
            self.retries,
            events,
            self.keys,
            SendRoom(),
            self.ids,
            self.outcomes,
            self.jitter,
        )

    def add(self, selection: SelectionBody | None = None, url: str = URL) -> Webhook:
        """Register a webhook."""
        return result_of(self.webhooks.add(url, selection or SelectionBody(), SECRET))

    def test(self, webhook_id: str) -> list[Any]:
        """Begin a test; gives a list that gets what came of it."""
        seen = outcome(Deferred.fromCoroutine(self.webhooks.test(webhook_id)))
        if seen and isinstance(seen[0], BaseException):
            raise seen[0]
        return seen

    def redeliver(self, webhook_id: str, letters: list[str] | None = None, since: str | None = None) -> Redelivery:
        """Deliver again."""
        return result_of(Deferred.fromCoroutine(self.webhooks.redeliver(webhook_id, letters, since)))

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and the reactor do all that is due."""
        self.events.clock.advance(seconds)

    def publish(self, number: int = 1, event_type: str = "t", **more: Any) -> list[int]:
        """Publish so many events; gives their sequences."""
        found = []
        for _ in range(number):
            (seen,) = self.events.publish(event_type, **more)
            found.append(seen.event.sequence)  # type: ignore[union-attr]
        self.turn()
        return found

    def answer_all(self, status: int | None = 200) -> list[int]:
        """Answer whatever is open, and what comes of it, until nothing is; gives the sequences."""
        answered = []
        while self.sender.open:
            answered.append(self.sender.answer(status).number)
            self.turn()
        return answered
