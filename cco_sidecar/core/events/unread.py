"""What an agent has not had yet of what it subscribed to; looking at it moves nothing."""

from collections.abc import Sequence

from attrs import frozen

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.fields import EventFields
from cco_sidecar.core.events.filter_parser import parse_filter
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.events.selection import Selection

MOST_GIVEN = 100
MOST_LOOKS = 4_000
"""How many pairs of an event and a subscription are looked at: a few milliseconds."""


@frozen
class Unread:
    """Events, the newest first; ``more`` says that there may be others, older ones."""

    events: Sequence[Event]
    more: bool


def unread(hub: EventHub, agent: str, now: float) -> Unread:
    """Give the newest events that an agent would be given if it waited now on each of its subscriptions."""
    places = [(_selection(key), position) for key, position in hub.subscriptions.of_agent(agent)]
    if not places:
        return Unread([], False)
    lowest = min(position for _, position in places)
    found: list[Event] = []
    looks = 0
    for event in hub.ring.before(hub.sequence + 1):
        if event.sequence <= lowest:
            break
        looks += len(places)
        if len(found) >= MOST_GIVEN or looks > MOST_LOOKS:
            return Unread(found, True)
        if event.expires_at > now and _is_wanted(event, places):
            found.append(event)
    return Unread(found, False)


def _is_wanted(event: Event, places: Sequence[tuple[Selection, int]]) -> bool:
    fields: EventFields | None = None

    def fields_once() -> EventFields:
        nonlocal fields
        if fields is None:
            fields = event.fields()
        return fields

    return any(
        event.sequence > position and selection.matches_fields(event, fields_once) for selection, position in places
    )


def _selection(key: str) -> Selection:
    """Read the name of a wait's selection: types, topic and filter."""
    types, topic, text = key.split(" ", 2)
    return Selection(
        None if types == "*" else frozenset(types.split(",")),
        None if topic == "*" else topic,
        parse_filter(text) if text else None,
    )
