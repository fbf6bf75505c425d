"""Where reading starts: what ``since`` and ``until`` may be (contract section 5)."""

from attrs import frozen

from cco_sidecar.core.events.event import parse_cursor, parse_down_cursor
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.times import looks_like_time, seconds_of
from cco_sidecar.errors import InvalidParameter


@frozen
class Window:
    """The events with ``after < sequence < before``; ``gap`` says that retention has taken some of them."""

    after: int
    before: int
    gap: bool = False


@frozen
class Log:
    """What names a place in a project's events: the log's id, its last sequence, and what is retained."""

    log_id: str
    last: int
    ring: Ring

    def after(self, since: str, what: str = "since") -> Window:
        """Give what comes after a cursor, an event id, ``earliest``, ``latest`` or a time.

        :param what: the parameter's name, for the message.
        :raises InvalidParameter: it is none of them, or a cursor of another log.
        """
        if since == "earliest":
            return self._from(self.ring.evicted_through)
        if since == "latest":
            return self._from(self.last)
        if looks_like_time(since):
            at = seconds_of(since, what)
            return Window(self.ring.sequence_at(at), self.last + 1, gap=at <= self.ring.evicted_at)
        down = parse_down_cursor(since)
        if down is not None:
            self._same_log(down[0], since, what)
            return Window(down[2], down[1])
        place = parse_cursor(since)
        if place is None:
            raise InvalidParameter(
                f"{what} must be a cursor or event id that this sidecar gave, 'earliest', 'latest', "
                "or an RFC 3339 time such as 2026-11-22T07:46:03Z.",
                parameter=what,
            )
        self._same_log(place[0], since, what)
        if place[1] > self.last:
            raise InvalidParameter(
                f"{what} is ahead of the newest event: it was not given by this log. "
                "Start with 'earliest' or 'latest'.",
                parameter=what,
            )
        return self._from(place[1])

    def until(self, until: str) -> int:
        """Give the first sequence at or past a time, cursor or event id."""
        if looks_like_time(until):
            return self.ring.sequence_at(seconds_of(until, "until")) + 1
        return self.after(until, "until").after + 1

    def _from(self, sequence: int) -> Window:
        return Window(sequence, self.last + 1, gap=sequence < self.ring.evicted_through)

    def _same_log(self, log_id: str, cursor: str, what: str) -> None:
        if log_id != self.log_id:
            raise InvalidParameter(
                f"'{cursor}' belongs to another project, or to a log that was replaced: "
                "start with 'earliest' (all that is retained) or 'latest'.",
                parameter=what,
            )
