"""The messages of one project: on disk before they are answered, offered until proven seen, never lost silently.

A message to a type or an issue goes to those who live when it is sent; who comes later gets the issue's text and its
tasks, not yesterday's orders. What an agent was offered counts as seen when that agent says so; until then it is
offered again after `AGAIN_SECONDS`. What cannot arrive any more, because the agent is gone or time is up, is told.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

import msgspec
from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from cco_sidecar.core.events.waiting import Reader
from cco_sidecar.core.ledger import KeyRecord, Ledger, Record
from cco_sidecar.core.messages.message import (
    Delivery,
    DeliveryState,
    Kind,
    Message,
    MessageRecord,
    State,
    message_of,
)
from cco_sidecar.core.messages.news import MessageNews
from cco_sidecar.core.messages.people import People
from cco_sidecar.core.messages.post_room import MOST_BYTES, PostRoom
from cco_sidecar.core.parking import Parking, WaitingLine
from cco_sidecar.core.shielding import shielded
from cco_sidecar.core.tenure import Holder
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import Foreign, InvalidBody, NotFound, Refusal, TooManyRequests

MOST_IN_INBOX = 50
MOST_RECIPIENTS = 256
MOST_OPEN = 10_000
"""How many deliveries of a project may be open."""
AGAIN_SECONDS = 60
ENDS_AT_ONCE = 64


@frozen
class NewMessage:
    """A message that somebody wants sent; see `MessageRecord`."""

    to: str
    kind: Kind
    body: msgspec.Raw
    ack: bool
    ttl_seconds: int
    reply_to: str | None
    correlation_id: str | None


@frozen
class Looked:
    """Which deliveries somebody looks for; None for any."""

    state: State | None = None
    unread: bool = False
    kind: Kind | None = None
    sender: str | None = None
    agent: str | None = None
    correlation_id: str | None = None

    def finds(self, delivery: Delivery) -> bool:
        """Say whether the delivery is one of them."""
        record = delivery.record
        return (
            (self.agent is None or self.agent == delivery.holder.agent_id)
            and (self.sender is None or self.sender == record.sender.agent_id)
            and (self.state is None or self.state == delivery.state.state)
            and (not self.unread or delivery.is_unread)
            and (self.kind is None or self.kind == record.kind)
            and (self.correlation_id is None or self.correlation_id == record.correlation_id)
        )


@define(eq=False)
class _Waiting:
    """An agent that waits for messages."""

    agent: str
    wanted: Looked
    most: int


@define(eq=False)
class Messages:
    """Takes messages, offers them, and knows how far each has come."""

    _clock: IReactorTime
    _ledger: Ledger
    people: People
    _parking: Parking
    _wheel: TimerWheel
    _news: MessageNews
    _new_id: Callable[[], str]
    kinds: tuple[str, ...] = ("messages", "message", "delivery")
    _room: PostRoom = field(factory=PostRoom)
    _waiting: "WaitingLine[_Waiting, list[Delivery]]" = field(
        init=False, default=Factory(lambda self: WaitingLine(self._parking, list), takes_self=True)
    )
    _coming: Counter[str] = field(factory=Counter)  # on their way to the disk, by recipient
    _coming_bytes: int = 0
    _numbered: int = 0
    _come: deque[Delivery] = field(factory=deque)  # their time has come

    # Sending

    def send(
        self, new: NewMessage, sender: Holder, key: Callable[[Message], KeyRecord] | None = None
    ) -> "Deferred[Message]":
        """Fire with the message when it is on disk; whoever waits for it has it then.

        Of several recipients those whose inbox is full are left out, and the message says so. A reply says, too, that
        what it replies to is done.

        :param key: makes the idempotency record that is written together with it.
        :raises NotFound: there is nobody of that name, or nothing to reply to.
        :raises RecipientGone: nobody lives who could hear it.
        :raises InvalidBody: it would go to too many.
        :raises TooManyRequests: all inboxes are full, or the project has too many messages.
        """
        answered = None if new.reply_to is None else self._to_reply_to(new.reply_to, sender.agent_id)
        self.people.meet(sender)
        record = self._record(new, sender, answered)
        message = message_of(record)
        self._check_room(message)
        taking = [holder.agent_id for holder in record.recipients if holder.agent_id not in record.full]
        self._coming.update(taking)
        self._coming_bytes += message.size
        mine = None if answered is None else answered.deliveries.get(sender.agent_id)
        if mine is not None:
            mine.writing += 1

        def written(outcome: object) -> object:
            self._coming.subtract(taking)
            self._coming += Counter()  # forget the zeros
            self._coming_bytes -= message.size
            if mine is not None:
                mine.writing -= 1
            if not isinstance(outcome, Failure):
                self._take_in(message)
            if mine is not None:
                self._due(mine)
            return outcome if isinstance(outcome, Failure) else message

        on_disk: Deferred[Message] = self._ledger.record("message", record, None if key is None else key(message))  # type: ignore[assignment]
        return shielded(on_disk.addBoth(written))

    def _record(self, new: NewMessage, sender: Holder, answered: Message | None) -> MessageRecord:
        recipients = list(self.people.meant_by(new.to, sender.agent_id))
        if len(recipients) > MOST_RECIPIENTS:
            raise InvalidBody(
                f"'{new.to}' means {len(recipients)} agents; a message goes to at most {MOST_RECIPIENTS}: name an "
                "issue or an agent, or publish an event.",
                path="$.to",
            )
        now, correlation_id = self._clock.seconds(), new.correlation_id
        if correlation_id is None and answered is not None:
            correlation_id = answered.record.correlation_id
        self._numbered += 1
        return MessageRecord(
            id=f"msg-{self._new_id()}",
            number=self._numbered,
            sender=sender,
            to=new.to,
            kind=new.kind,
            body=new.body,
            ack=new.ack,
            reply_to=new.reply_to,
            correlation_id=correlation_id,
            sent_at=now,
            expires_at=now + new.ttl_seconds,
            recipients=recipients,
            full=[one.agent_id for one in recipients if self._is_full(one.agent_id)],
        )

    def _is_full(self, agent: str) -> bool:
        return self._room.depth(agent) + self._coming[agent] >= MOST_IN_INBOX

    def _check_room(self, message: Message) -> None:
        record = message.record
        if len(record.full) == len(record.recipients):
            names = ", ".join(record.full[:3])
            raise TooManyRequests(
                f"The inbox of {names} is full: {MOST_IN_INBOX} messages were not seen, or not done, yet. Wait until "
                "some are, or say more in one.",
                5,
                agents=record.full,
            )
        if self._room.open + self._coming.total() + len(record.recipients) > MOST_OPEN:
            raise TooManyRequests(f"{MOST_OPEN} messages of this project are on their way: send this one later.", 5)
        if self._room.open_bytes + self._coming_bytes + message.size > MOST_BYTES:
            raise TooManyRequests("The messages of this project take too much room: send this one later.", 5)

    def _to_reply_to(self, message_id: str, agent: str) -> Message:
        message = self._room.find(message_id)
        if message is None or not _concerns(message, agent):
            raise NotFound(f"There is no message '{message_id}' to or from you to reply to.", reply_to=message_id)
        return message

    def _take_in(self, message: Message) -> None:
        self._room.add(message)
        record = message.record
        answered = None if record.reply_to is None else self._room.find(record.reply_to)
        mine = None if answered is None else answered.deliveries.get(record.sender.agent_id)
        if mine is not None:
            self._apply(mine, _further(mine, "done", record.sent_at))
        for delivery in message.deliveries.values():
            self._news.tell(delivery)  # of those who could take no more
            self._due(delivery)

    # Receiving

    def receive(
        self, reader: Reader, agent: str, wanted: Looked, most: int, seconds: float
    ) -> "Deferred[list[Delivery]]":
        """Fire with what an agent was not offered lately, and is offered now; with nothing if none comes in time.

        :param seconds: how long to wait for some.
        :raises TooManyPolls: there is no place to wait.
        """
        waiting = _Waiting(agent, wanted, most)
        found = self._offer(waiting)
        if found or seconds <= 0 or self._waiting.is_closed:
            return succeed(found)
        return self._waiting.enter(waiting, reader, seconds)

    def called(self, agent: str) -> None:
        """Note that an agent calls: that proves that it has seen what the answers before carried."""
        for delivery in self._room.inbox(agent):
            if delivery.is_unread and delivery.state.by_call and not delivery.writing:
                seen = _further(delivery, "seen", self._clock.seconds())
                # A crash may lose it: then it is offered once more.
                self._ledger.note("delivery", seen)
                self._apply(delivery, seen)

    def hand_over(self, agent: str, most: int) -> list[Delivery]:
        """Give what the answer to an agent's hook or tool call is to carry; its next call proves that it came."""
        return self._offer(_Waiting(agent, Looked(), most), by_call=True)

    def _offer(self, waiting: _Waiting, *, by_call: bool = False) -> list[Delivery]:
        now = self._clock.seconds()
        inbox = [one for one in self._room.inbox(waiting.agent) if waiting.wanted.finds(one)]
        # One that is being acknowledged at the moment need not be given.
        queued = [one for one in inbox if one.state.state == "queued" and not one.writing]
        found = [one for one in queued if one.record.expires_at > now][: waiting.most]
        for delivery in found:
            state = msgspec.structs.replace(
                delivery.state,
                state="offered",
                offers=delivery.state.offers + 1,
                offered_at=now,
                again_at=now + AGAIN_SECONDS,
                by_call=by_call,
            )
            # A crash may lose it: then it is offered once more.
            self._ledger.note("delivery", state)
            self._apply(delivery, state)
        return found

    def _wake(self, agent: str) -> None:
        """Give what is new to the first that waits for it."""
        for waiting in self._waiting:
            if waiting.agent == agent and not self._waiting.is_refused(waiting) and (found := self._offer(waiting)):
                self._waiting.take(waiting).callback(found)

    def acknowledge(self, agent: str, message_id: str, state: State) -> "Deferred[Message]":
        """Fire with the message when that the agent has seen it, or has done it, is on disk; saying so twice is fine.

        :raises NotFound: there is no such message.
        :raises Foreign: it is not the agent's to say.
        """
        message = self.get(message_id)
        delivery = message.deliveries.get(agent)
        if delivery is None:
            raise Foreign("Only an agent that a message was sent to can say that it has seen it.")
        self._due(delivery)  # its time may be over, though the timer has not come to it yet
        if not delivery.leads_to(state) or delivery.state.state == state:
            return succeed(message)
        after = _further(delivery, state, self._clock.seconds())
        delivery.writing += 1

        def written(outcome: object) -> object:
            delivery.writing -= 1
            if not isinstance(outcome, Failure):
                # From how it stands by now: it may have been offered again meanwhile.
                self._apply(delivery, after)
            self._due(delivery)
            return outcome if isinstance(outcome, Failure) else message

        on_disk: Deferred[Message] = self._ledger.record("delivery", after)  # type: ignore[assignment]
        return shielded(on_disk.addBoth(written))

    # Ending

    def _apply(self, delivery: Delivery, state: DeliveryState) -> None:
        """Let a delivery stand otherwise, if it can; records may come in another order than what they tell of."""
        if not delivery.leads_to(state.state):
            return
        self._wheel.clear(delivery, delivery.slot)
        self._room.put(delivery, state)
        self._set_timer(delivery)

    def _set_timer(self, delivery: Delivery) -> None:
        until = self.people.until(delivery.holder)
        if not delivery.is_open or until is None:
            return
        ends = min(delivery.record.expires_at, until)
        if delivery.state.state == "offered" and delivery.state.again_at is not None:
            ends = min(ends, delivery.state.again_at)
        delivery.slot = self._wheel.set(delivery, max(0.0, ends - self._clock.seconds()), self._time_has_come)

    def _time_has_come(self, delivery: Delivery) -> None:
        self._come.append(delivery)
        if len(self._come) == 1:
            self._clock.callLater(0, self._look_at_some)

    def _look_at_some(self) -> None:
        """Look at deliveries whose time has come; of very many, some at a time: each end is written and told."""
        for _ in range(min(ENDS_AT_ONCE, len(self._come))):
            self._due(self._come.popleft())
        if self._come:
            self._clock.callLater(0, self._look_at_some)

    def _due(self, delivery: Delivery) -> None:
        """Look at a delivery whose time may have come: to end, or to be offered again."""
        if not delivery.is_open or delivery.writing:
            return
        now, state = self._clock.seconds(), delivery.state
        if delivery.record.expires_at <= now:
            self._fail(delivery, "expired", f"it was not {'done' if delivery.record.ack else 'seen'} in time")
        elif delivery.lost_its_agent or not self.people.lives(delivery.holder):
            self._fail(delivery, "dead", f"'{state.agent_id}' has ended")
        elif state.state == "offered" and state.again_at is not None and state.again_at <= now:
            self._apply(delivery, msgspec.structs.replace(state, state="queued"))
            self._wake(state.agent_id)
        else:
            self._wheel.clear(delivery, delivery.slot)
            self._set_timer(delivery)
            if state.state == "queued":
                self._wake(state.agent_id)

    def _fail(self, delivery: Delivery, how: State, why: str) -> None:
        state = msgspec.structs.replace(delivery.state, state=how, ended_at=self._clock.seconds(), reason=why)
        self._ledger.note("delivery", state)
        self._apply(delivery, state)
        self._news.tell(delivery)

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """Let the messages to an agent that is gone be dead."""
        for waiting in self._waiting:
            if waiting.agent == agent:
                self._waiting.turn_away(waiting, refusal)
        for delivery in self._room.inbox(agent):
            delivery.lost_its_agent = True
            self._due(delivery)

    def end_refused(self) -> None:
        """Turn those away who wait under tokens that are no good any more."""
        self._waiting.end_refused()

    def end_tokens(self, token_ids: Iterable[str], refusal: Refusal) -> None:
        """Turn those away who wait by tokens that were revoked; messages to agents that had no other are dead."""
        self._waiting.end_tokens(frozenset(token_ids), refusal)
        for delivery in self._open_deliveries():
            if not self.people.lives(delivery.holder):
                self._due(delivery)

    def drain(self) -> None:
        """Answer all that wait, and let nobody wait any more."""
        self._waiting.close()

    # Looking

    def get(self, message_id: str) -> Message:
        """Look a message up.

        :raises NotFound: there is none by that id.
        """
        message = self._room.find(message_id)
        if message is None:
            raise NotFound(
                f"There is no message '{message_id}' here, or it is long over; GET /api/messages lists some."
            )
        return message

    def read(self, message_id: str, agent: str) -> Message:
        """Look a message up for somebody.

        :raises NotFound: there is none by that id.
        :raises Foreign: it is between others.
        """
        message = self.get(message_id)
        if agent != ADMIN and not _concerns(message, agent):
            raise Foreign("This message is between other agents.")
        return message

    def listing(self, wanted: Looked, limit: int) -> list[Delivery]:
        """List deliveries, those of the newest message first."""
        found: list[Delivery] = []
        for message in self._room.newest():
            found.extend(one for one in message.deliveries.values() if wanted.finds(one))
            if len(found) >= limit:
                break
        return found[:limit]

    def inbox(self, agent: str) -> list[Delivery]:
        """Give what an agent has not seen, or not done, yet: what is to be obeyed first, then by age."""
        return self._room.inbox(agent)

    def unread(self, agent: str) -> int:
        """Count what an agent has not seen yet."""
        return sum(delivery.is_unread for delivery in self._room.inbox(agent))

    def _open_deliveries(self) -> Iterator[Delivery]:
        for message in self._room:
            yield from (delivery for delivery in message.deliveries.values() if delivery.is_open)

    # What lasts

    def open(self) -> None:
        """Begin, after recovery: what has ended meanwhile ends now, and what was not told is."""
        deliveries = [delivery for message in self._room for delivery in message.deliveries.values()]
        self._news.open([delivery for delivery in deliveries if not delivery.is_open])
        for delivery in deliveries:
            self._due(delivery)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a message, how far one is, or that what follows is all there is."""
        text = bytes(body)  # a copy: what is decoded as Raw would hold the whole segment in memory
        if kind == "messages":
            self._room = PostRoom()
        elif kind == "message":
            self._restore_message(msgspec.json.decode(text, type=MessageRecord))
        else:
            state = msgspec.json.decode(text, type=DeliveryState)
            message = self._room.find(state.id)
            delivery = None if message is None else message.deliveries.get(state.agent_id)
            if delivery is not None:
                self._put_back(delivery, state)

    def _restore_message(self, record: MessageRecord) -> None:
        self._numbered = max(self._numbered, record.number)
        self._room.add(message_of(record))
        answered = None if record.reply_to is None else self._room.find(record.reply_to)
        mine = None if answered is None else answered.deliveries.get(record.sender.agent_id)
        if mine is not None:
            self._put_back(mine, _further(mine, "done", record.sent_at))

    def _put_back(self, delivery: Delivery, state: DeliveryState) -> None:
        if delivery.leads_to(state.state):
            self._room.put(delivery, state)

    def snapshot(self) -> Iterable[Record]:
        """Give every message, and how far it is with each of those whom it was sent to."""
        yield "messages", None
        for message in self._room:
            yield "message", message.record
            for delivery in message.deliveries.values():
                yield "delivery", delivery.state


def _concerns(message: Message, agent: str) -> bool:
    return agent == message.record.sender.agent_id or agent in message.deliveries


def _further(delivery: Delivery, state: State, at: float) -> DeliveryState:
    """Say how a delivery stands that was seen, or done."""
    before = delivery.state
    seen_at = at if before.seen_at is None else before.seen_at
    ended_at = at if state == "done" or not delivery.record.ack else None
    return msgspec.structs.replace(before, state=state, again_at=None, seen_at=seen_at, ended_at=ended_at)
