"""Replays of events over HTTP: begin one, ask how far it is, end it (contract section 5)."""

from typing import Annotated, Any

import msgspec
from attrs import define
from msgspec import Meta

from cco_sidecar.core.events.replay import Destination, Replay, ReplayOrder, State
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.identifiers import identifier
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import InvalidBody
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.events import MOST_TYPES, Place, Text, selection_of
from cco_sidecar.web.routing import Call, ProjectQuery, audit, idempotent


class EventSelection(msgspec.Struct, forbid_unknown_fields=True):
    """Which events, from where to where: what `GET /api/events` takes; ``types`` is ``type`` as a list."""

    type: Text | None = None
    types: Annotated[list[Text], Meta(min_length=1, max_length=MOST_TYPES)] | None = None
    topic: Text | None = None
    filter: str | None = None
    publisher: Text | None = None
    correlation_id: Text | None = None
    issue: Text | None = None
    since: Place | None = None
    until: Place | None = None


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to give again, how fast (a factor on the pace of then; None: as fast as it is taken), and where to."""

    selection: EventSelection
    speed: Annotated[float, Meta(ge=0.001, le=1_000_000)] | None = None
    to: Destination = "subscription"
    topic: Text | None = None
    agent_id: Text | None = None


class ReplayAnswer(msgspec.Struct):
    """How far a replay is: ``events`` are selected, ``done`` are given, ``missed`` were gone before their turn."""

    replay_id: str
    to: Destination
    state: State
    reason: str | None
    events: int
    done: int
    missed: int
    speed: float | None
    subscription: str | None
    topic: str | None
    agent_id: str | None
    started_at: str
    ended_at: str | None


@define(eq=False)
class ReplaysAPI:
    """Parse, delegate, encode."""

    async def begin(self, call: Call[ProjectQuery, ReplayRequest]) -> Reply:
        """Begin a replay."""
        order = _order(call.body)

        async def work(_record: Any) -> Answered:
            # A replay does not outlive the process, so its key need not either.
            replay = await call.project.hub.replays.begin(order)
            audit(call.request, "replay begun", target=replay.id, to=order.to, events=replay.total)
            return Answered(202, msgspec.json.encode(_answer(replay)))

        answered = await idempotent(call, call.project, work)
        return Reply(answered.body, answered.status)

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Say how far a replay is."""
        return Reply(_answer(call.project.hub.replays.get(call.path["replay_id"])))

    async def cancel(self, call: Call[ProjectQuery, None]) -> Reply:
        """End a replay."""
        replay = call.project.hub.replays.cancel(call.path["replay_id"])
        audit(call.request, "replay ended", target=replay.id)
        return Reply(_answer(replay))


def _order(body: ReplayRequest) -> ReplayOrder:
    wanted = body.selection
    if wanted.types is not None and wanted.type is not None:
        raise InvalidBody("Give 'type' or 'types', not both.", path="$.selection.types")
    if body.topic is not None and body.to != "topic":
        raise InvalidBody('\'topic\' is for a replay to a topic: add "to": "topic".', path="$.topic")
    if body.agent_id is not None and body.to != "subscription":
        raise InvalidBody("'agent_id' names who may read a replay to a subscription alone.", path="$.agent_id")
    if wanted.types is not None:
        wanted = msgspec.structs.replace(wanted, type=",".join(wanted.types))
    return ReplayOrder(
        selection=selection_of(wanted),
        since=wanted.since,
        until=wanted.until,
        speed=body.speed,
        to=body.to,
        topic=None if body.topic is None else identifier(body.topic, "topic"),
        agent=None if body.agent_id is None else identifier(body.agent_id, "agent_id"),
    )


def _answer(replay: Replay) -> ReplayAnswer:
    order = replay.order
    return ReplayAnswer(
        replay_id=replay.id,
        to=order.to,
        state=replay.state,
        reason=replay.reason,
        events=replay.total,
        done=replay.done,
        missed=replay.missed,
        speed=order.speed,
        subscription=replay.id if order.to == "subscription" else None,
        topic=order.topic,
        agent_id=order.agent,
        started_at=rfc3339(replay.made_at),
        ended_at=None if replay.ended_at is None else rfc3339(replay.ended_at),
    )
