"""Events over HTTP: publish, wait, look back (contract section 5)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec
from attrs import asdict, define, frozen
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.events.event import Event, EventBody, Extensions, Priority
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.hub import Draft, EventHub, Published
from cco_sidecar.core.events.replay import State
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.waiting import Answer, Reader
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.identifiers import event_type, identifier
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import Claims, TokenAuthority
from cco_sidecar.errors import ForeignPublisher, InvalidEvent, InvalidParameter, PermissionMissing
from cco_sidecar.web import cloudevents
from cco_sidecar.web.cloudevents import CloudEvent
from cco_sidecar.web.codec import Reply, Stream, compact, media_type, read_body
from cco_sidecar.web.errors import NotJSON
from cco_sidecar.web.negotiation import preferred
from cco_sidecar.web.request import SidecarRequest
from cco_sidecar.web.routing import Call, ProjectQuery, Route, idempotent, plain_body
from cco_sidecar.web.stream import EVENT_STREAM, HEADERS, EventStream, opening

MOST_TYPES = 64

Text = Annotated[str, Meta(max_length=256)]
Place = Annotated[str, Meta(min_length=1, max_length=256)]
Limit = Annotated[int, Meta(ge=1, le=1000)]


class EventRequest(msgspec.Struct, forbid_unknown_fields=True):
    """An event as its publisher sends it."""

    topic: str
    data: msgspec.Raw
    publisher: Text | None = None
    event_type: Text | None = None
    correlation_id: Text | None = None
    ttl_seconds: Annotated[int, Meta(ge=1, le=86400)] = 86400
    priority: Priority = "normal"
    references: Annotated[list[Text], Meta(max_length=64)] = []


class CloudEventRequest(EventRequest):
    """An event that came as a CloudEvent; ``key`` stands in for an Idempotency-Key."""

    extensions: Extensions = {}
    key: str | None = None


def read_event(request: SidecarRequest, route: Route, path: Mapping[str, str]) -> EventRequest:
    """Read an event in one of the forms that it may have: plain, or as one CloudEvent.

    :raises NotJSON: it is in another form.
    :raises InvalidEvent: it is no event.
    """
    form = media_type(request)
    if form == cloudevents.BATCH:
        raise NotJSON(f"One event is published at a time: send each as '{cloudevents.ONE}'.")
    if form != cloudevents.ONE:
        plain: EventRequest = plain_body(request, route, path)
        return plain
    event = read_body(request, CloudEvent, route.body_refusal)
    found = cloudevents.received(event, request.content.getvalue(), path["event_type"])
    return CloudEventRequest(**asdict(found))


class PublishAnswer(msgspec.Struct):
    """What a publisher gets to know."""

    event_id: str
    sequence: int
    cursor: str
    published: bool
    subscribers_notified: list[str]
    subscriber_count: int
    topic: str
    ttl_seconds: int
    timestamp: str


class WaitQuery(ProjectQuery):
    """What to wait for, from where, and how long (milliseconds)."""

    timeout: Annotated[int, Meta(ge=0, le=300_000)] = 30_000
    filter: str | None = None
    topic: Text | None = None
    since: Place | None = None
    limit: Limit = 100
    subscription: Text | None = None
    ack: Place | None = None


class WaitAnswer(msgspec.Struct):
    """Events in order; ``oldest_cursor`` comes with ``gap``, ``replay`` (its state) from a wait on a replay."""

    events: list[EventBody]
    more_available: bool
    next_cursor: str
    timeout: bool
    gap: bool
    timestamp: str
    oldest_cursor: str | msgspec.UnsetType = msgspec.UNSET
    replay: State | msgspec.UnsetType = msgspec.UNSET


class Wanted(Protocol):
    """What names a selection of events, in a query or in a body."""

    type: str | None
    topic: str | None
    filter: str | None
    publisher: str | None
    correlation_id: str | None
    issue: str | None


class SelectionQuery(ProjectQuery):
    """Which events, from where to where."""

    type: Text | None = None
    topic: Text | None = None
    filter: str | None = None
    publisher: Text | None = None
    correlation_id: Text | None = None
    issue: Text | None = None
    since: Place | None = None
    until: Place | None = None


class HistoryQuery(SelectionQuery):
    """Which retained events, and in what order."""

    limit: Limit = 100
    order: Literal["asc", "desc"] = "desc"


class HistoryAnswer(msgspec.Struct):
    """A page of history; ``since=next_cursor`` gives the next."""

    events: list[EventBody]
    next_cursor: str
    more_available: bool


@frozen
class Wish:
    """A wait, understood, whoever wants it: what, from where, and how long (seconds)."""

    selection: Selection
    subscription: str | None
    since: str | None
    ack: str | None
    limit: int
    seconds: float


def wish_of(types: str, query: WaitQuery) -> Wish:
    """Make what is wanted of a wait's path and query.

    :raises InvalidParameter: a name is none; also `InvalidFilter`.
    """
    return Wish(
        Selection(_types(types), _topic(query.topic), _filter(query.filter)),
        None if query.subscription is None else identifier(query.subscription, "subscription"),
        query.since,
        query.ack,
        query.limit,
        query.timeout / 1000,
    )


@define(eq=False)
class EventsAPI:
    """Parse, delegate, encode."""

    _clock: IReactorTime
    _tokens: TokenAuthority
    _roster: Roster
    _last_waited: tuple[object, Sequence[Event], bytes] = (None, (), b"")

    async def publish(self, call: Call[ProjectQuery, EventRequest]) -> Reply:
        """Publish an event."""
        draft = self.draft(call.holder, call.path["event_type"], call.body, call.request.correlation_id)
        hub = call.project.hub

        async def work(record: Any) -> Answered:
            def key_for(event: Event) -> KeyRecord:
                made: KeyRecord = record(202, publish_answer(hub, Published(event, ())))
                return made

            published = await hub.publish(draft, None if record is None else key_for)
            return Answered(202, msgspec.json.encode(publish_answer(hub, published)))

        own_key = call.body.key if isinstance(call.body, CloudEventRequest) else None
        answered = await idempotent(call, call.project, work, own_key)
        return Reply(answered.body, answered.status)

    def draft(self, claims: Claims, named: str, body: EventRequest, correlation_id: str | None) -> Draft:
        """Make the event that a publisher means.

        :param named: the event type of the path.
        :param correlation_id: counts where the body has none.
        :raises InvalidEvent: path and body name different types; also `ForeignPublisher`, `PermissionMissing`,
            `InvalidParameter`, `InvalidBody`.
        """
        if body.event_type is not None and body.event_type != named:
            raise InvalidEvent(f"The body's event_type is not the path's '{named}'.", path="$.event_type")
        if body.publisher is not None and body.publisher != claims.sub:
            raise ForeignPublisher(
                f"The publisher is always the token's agent, '{claims.sub}': leave it out, or name that."
            )
        self._check_topic(claims, identifier(body.topic, "topic"))
        return Draft(
            event_type=named,
            topic=body.topic,
            publisher=claims.sub,
            agent_type=claims.agent_type,
            issue_id=None if claims.is_admin else claims.issue_id,
            data=compact(body.data, "$.data"),
            correlation_id=body.correlation_id or correlation_id,
            references=body.references,
            priority=body.priority,
            ttl_seconds=body.ttl_seconds,
            extensions=(isinstance(body, CloudEventRequest) and body.extensions) or msgspec.UNSET,
        )

    def _check_topic(self, claims: Claims, topic: str) -> None:
        kind = self._roster.types.get(claims.agent_type)
        if kind is not None and kind.topics is not None and topic not in kind.topics:
            allowed = ", ".join(sorted(kind.topics))
            raise PermissionMissing(f"The type '{kind.type}' publishes on these topics alone: {allowed}.", topic=topic)

    async def wait(self, call: Call[WaitQuery, None]) -> Reply:
        """Wait for events."""
        hub, wish, reader = call.project.hub, wish_of(call.path["types"], call.query), self.reader(call.holder)
        if wish.since is None:
            await _look_after(hub, reader, wish)
        parked_at = self._clock.seconds()
        try:
            answer = await self.begin(hub, call.holder, reader, wish)
        finally:  # also when it ends with a refusal: parked time is no response time
            call.request.parked_seconds = self._clock.seconds() - parked_at
        if answer.delivery is not None:
            call.request.channel.carry(answer.delivery)
        if _asks_for(call.request, cloudevents.BATCH):
            return _batch(answer.events, _waited(hub, answer, self._clock.seconds()))
        return Reply(self.waited(hub, answer))

    def begin(self, hub: EventHub, claims: Claims, reader: Reader, wish: Wish) -> "Deferred[Answer]":
        """Begin a wait; raises as `EventHub.wait`."""
        # Not longer than the token: the time limit then finds it expired, and says so.
        left = claims.exp - self._clock.seconds()
        return hub.wait(
            reader,
            wish.selection,
            since=wish.since,
            subscription=wish.subscription,
            ack=wish.ack,
            limit=wish.limit,
            seconds=min(wish.seconds, left),
        )

    def waited(self, hub: EventHub, answer: Answer) -> bytes:
        """Encode what a wait is answered with; for all whom one event wakes, this is done once."""
        key = (answer.next_sequence, answer.gap)
        last_key, last_events, text = self._last_waited
        if answer.events is last_events and key == last_key:
            return text
        text = msgspec.json.encode(_plain(answer.events, _waited(hub, answer, self._clock.seconds())))
        if len(answer.events) == 1:  # one event wakes many; a page of history is its reader's alone
            self._last_waited = (key, answer.events, text)
        return text

    def reader(self, claims: Claims) -> Reader:
        """Make the reader that a token's holder is."""
        return Reader(
            agent=None if claims.is_admin else claims.sub,
            issue_id=claims.issue_id,
            token_id=claims.jti,
            refused=self._tokens.standing(claims).refusal,
            place=None if claims.is_admin else claims.place,
        )

    async def history(self, call: Call[HistoryQuery, None]) -> Reply:
        """List retained events."""
        query, hub = call.query, call.project.hub
        page = hub.history.page(
            selection_of(query),
            since=query.since,
            until=query.until,
            limit=query.limit,
            newest_first=query.order == "desc",
        )
        rest = {"next_cursor": page.next_cursor, "more_available": page.more_available}
        if _asks_for(call.request, cloudevents.BATCH):
            return _batch(page.events, rest)
        return Reply(_plain(page.events, rest))

    async def stream(self, call: Call[SelectionQuery, None]) -> Reply:
        """Give events as they come, on a connection that stays open."""
        query, request, followers = call.query, call.request, call.project.hub.followers
        resume = request.getHeader("last-event-id")
        follower = followers.open(
            self.reader(call.holder), selection_of(query), resume=resume, since=query.since, until=query.until
        )
        # Whatever becomes of the request, the place is given back.
        request.notifyFinish().addBoth(lambda _: followers.leave(follower))
        # The end of the stream is the end of the connection, as proxies and readers expect it.
        request.channel.persistent = 0
        start = opening(followers.cursor(follower))
        if request.method == b"HEAD":
            return Stream(start, headers=HEADERS, content_type=EVENT_STREAM)
        left = call.holder.exp - self._clock.seconds()
        stream = EventStream(followers, follower, request)
        return Stream(start, headers=HEADERS, content_type=EVENT_STREAM, more=lambda _: stream.run(left))

    async def get(self, call: Call[ProjectQuery, None]) -> Reply:
        """Give one event."""
        event = call.project.hub.history.get(call.path["event_id"])
        if _asks_for(call.request, cloudevents.ONE):
            return Reply(cloudevents.cloudevent(event), content_type=cloudevents.ONE_UTF8)
        return Reply(event.encoded)


async def _look_after(hub: EventHub, reader: Reader, wish: Wish) -> None:
    """Settle the answer before this one, as far as its connection shows what became of it."""
    before = hub.delivery_before(reader, wish.selection, wish.subscription)
    if before is not None and before.probe is not None:
        await before.probe()


def selection_of(query: Wanted) -> Selection:
    """Read a selection.

    :raises InvalidParameter: a name in it is none.
    :raises InvalidFilter: its filter does not parse.
    """
    return Selection(
        types=None if query.type is None else _types(query.type),
        topic=_topic(query.topic),
        filter=_filter(query.filter),
        publisher=None if query.publisher is None else identifier(query.publisher, "publisher"),
        correlation_id=query.correlation_id,
        issue_id=None if query.issue is None else identifier(query.issue, "issue"),
    )


def publish_answer(hub: EventHub, published: Published) -> PublishAnswer:
    """Make what a publisher is told."""
    event, notified = published.event, list(published.notified)
    return PublishAnswer(
        event_id=event.body.event_id,
        sequence=event.sequence,
        cursor=hub.cursor(event.sequence),
        published=True,
        subscribers_notified=notified,
        subscriber_count=len(notified),
        topic=event.body.topic,
        ttl_seconds=event.body.ttl_seconds,
        timestamp=event.body.timestamp,
    )


def _asks_for(request: SidecarRequest, form: str) -> bool:
    accept = ",".join(text.decode("latin-1") for text in request.requestHeaders.getRawHeaders(b"Accept", ()))
    return form in accept.lower() and preferred(accept, ("application/json", form)) == form


def _plain(events: Sequence[Event], rest: Mapping[str, object]) -> dict[str, object]:
    """Make the usual answer of events and what belongs to them."""
    return {"events": [msgspec.Raw(event.encoded) for event in events], **rest}


def _batch(events: Sequence[Event], rest: Mapping[str, object]) -> Reply:
    """Make a batch of CloudEvents: by the standard that is a bare list, so what belongs to it is in headers."""
    headers = {
        f"X-{name.replace('_', '-').title()}".encode(): value.encode()
        if isinstance(value, str)
        else msgspec.json.encode(value)
        for name, value in rest.items()
    }
    return Reply(cloudevents.batch(events), headers=headers, content_type=cloudevents.BATCH_UTF8)


def _waited(hub: EventHub, answer: Answer, now: float) -> dict[str, object]:
    body: dict[str, object] = {
        "more_available": answer.more_available,
        "next_cursor": hub.cursor(answer.next_sequence),
        "timeout": answer.timeout,
        "gap": answer.gap,
        "timestamp": rfc3339(now),
    }
    if answer.gap:
        body["oldest_cursor"] = hub.oldest_cursor
    if answer.replay is not None:
        body["replay"] = answer.replay
    return body


def _types(text: str) -> frozenset[str] | None:
    """Read one type, several joined by commas, or ``*`` (None)."""
    if text == "*":
        return None
    types = text.split(",")
    if len(types) > MOST_TYPES:
        raise InvalidParameter(f"At most {MOST_TYPES} event types in one wait; '*' stands for all.", parameter="types")
    return frozenset(event_type(name) for name in types)


def _topic(text: str | None) -> str | None:
    return None if text is None else identifier(text, "topic")


def _filter(text: str | None) -> Any:
    return None if text is None else parse_filter(text)
