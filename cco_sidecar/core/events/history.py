"""Looking back: pages of retained events in either order, and one event by its id."""

from collections.abc import Callable, Sequence

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.events.event import Event, cursor, down_cursor, parse_cursor
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.events.starting import Log
from cco_sidecar.errors import NotFound


@frozen
class Page:
    """A stretch of history; ``next_cursor`` goes on in the same order."""

    events: Sequence[Event]
    next_cursor: str
    more_available: bool


@define(eq=False)
class History:
    """The retained events of one project, for those who look back."""

    _clock: IReactorTime
    _places: Callable[[], Log]

    def page(self, selection: Selection, since: str | None, until: str | None, limit: int, newest_first: bool) -> Page:
        """Give retained events in either order.

        :raises InvalidParameter: ``since`` or ``until`` is no place in this log.
        """
        now, log = self._clock.seconds(), self._places()
        log.ring.evict(now)
        window = log.after(since or "earliest")
        before = min(window.before, log.until(until)) if until is not None else window.before
        events: list[Event] = []
        more = False
        for event in log.ring.before(before) if newest_first else log.ring.after(window.after):
            if not window.after < event.sequence < before:
                break
            if event.expires_at <= now or not selection.matches(event):
                continue
            if len(events) == limit:
                more = True
                break
            events.append(event)
        last = events[-1].sequence if events and more else None
        if newest_first:
            return Page(events, down_cursor(log.log_id, last or window.after + 1, window.after), more)
        return Page(events, cursor(log.log_id, last or max(window.after, before - 1)), more)

    def get(self, name: str) -> Event:
        """Give the event of that id.

        :raises NotFound: there is none, or it has expired.
        """
        log = self._places()
        place = parse_cursor(name) if name.startswith("evt-") else None
        event = log.ring.get(place[1]) if place is not None and place[0] == log.log_id else None
        if event is None or event.expires_at <= self._clock.seconds():
            raise NotFound(
                f"There is no event '{name}' here: it is of another project, or retention or its ttl has removed it."
            )
        return event
