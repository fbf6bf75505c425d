"""Which events somebody wants."""

from collections.abc import Callable

from attrs import field, frozen

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.fields import EventFields
from cco_sidecar.core.events.filters import Filter

Key = tuple[str | None, str | None, str | None]
"""Type, field and the field's text, each None for any: a place in the index of parked polls."""

MOST_KEYS = 64


@frozen
class Selection:
    """All given conditions must hold; ``types`` None means any type.

    ``key`` names the selection: equal selections have equal names (part of an implicit subscription).
    ``index_keys`` are places in an index such that every wanted event belongs to one of them: few, if need be wide.
    """

    types: frozenset[str] | None = None
    topic: str | None = None
    filter: Filter | None = None
    publisher: str | None = None
    correlation_id: str | None = None
    issue_id: str | None = None
    key: str = field(init=False, eq=False)
    index_keys: tuple[Key, ...] = field(init=False, eq=False, repr=False)

    @key.default
    def _name(self) -> str:
        types = "*" if self.types is None else ",".join(sorted(self.types))
        named = f"{types} {self.topic or '*'} {self.filter.text if self.filter else ''}"
        others = (self.publisher, self.correlation_id, self.issue_id)
        return named if others == (None, None, None) else f"{named} {others}"

    @index_keys.default
    def _places(self) -> tuple[Key, ...]:
        types = sorted(self.types) if self.types is not None else [None]
        anchors = sorted((self.filter.anchors() or ()) if self.filter is not None else ())
        if anchors and len(types) * len(anchors) <= MOST_KEYS:
            return tuple((kind, name, text) for kind in types for name, text in anchors)
        return tuple((kind, None, None) for kind in types)

    def matches(self, event: Event) -> bool:
        """Say whether ``event`` is wanted, the cheap conditions first."""
        return self.matches_fields(event, event.fields)

    def matches_fields(self, event: Event, fields: Callable[[], EventFields]) -> bool:
        """Say whether ``event`` is wanted; ``fields`` gives its own, which may be made once for many."""
        if not self.matches_envelope(event):
            return False
        return self.filter is None or self.filter.matches_fields(fields())

    def matches_envelope(self, event: Event) -> bool:
        """Say whether ``event`` is wanted as far as everything but the filter goes."""
        body = event.body
        if self.types is not None and body.event_type not in self.types:
            return False
        if self.topic is not None and body.topic != self.topic:
            return False
        if self.publisher is not None and body.publisher != self.publisher:
            return False
        if self.correlation_id is not None and body.correlation_id != self.correlation_id:
            return False
        return self.issue_id is None or body.issue_id == self.issue_id
