"""Which events somebody wants."""

from attrs import frozen

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.filters import Filter


@frozen
class Selection:
    """All given conditions must hold; ``types`` None means any type."""

    types: frozenset[str] | None = None
    topic: str | None = None
    filter: Filter | None = None
    publisher: str | None = None
    correlation_id: str | None = None
    issue_id: str | None = None

    @property
    def key(self) -> str:
        """Name the selection; equal selections have equal names (part of an implicit subscription)."""
        types = "*" if self.types is None else ",".join(sorted(self.types))
        return f"{types} {self.topic or '*'} {self.filter.text if self.filter else ''}"

    def matches(self, event: Event) -> bool:
        """Say whether ``event`` is wanted, the cheap conditions first."""
        if not self.matches_envelope(event):
            return False
        return self.filter is None or self.filter.matches_fields(event.fields())

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
