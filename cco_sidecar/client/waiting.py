"""Where a client stands in the events that it waits for: nothing is lost, and nothing is given twice.

The sidecar keeps a place for each agent; so a process that starts anew goes on where the last one was. It moves on
when it sees that an answer arrived. What it cannot see (a proxy in between, its own restart) the client settles: it
says with ``ack`` what it has, and after an answer that may be lost it asks by its own cursor (``since``), until it has
caught up.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cco_sidecar.client.values import Event, Query

LONGEST_WAIT_MS = 300_000
_REMEMBERED = 2000  # twice as many as there can be in an answer


class Wanted(NamedTuple):
    """What is waited for; this names a place, where no ``subscription`` does."""

    types: str
    filter: str | None = None
    topic: str | None = None
    subscription: str | None = None
    project: str | None = None


class Events(list[Event]):
    """The events that a wait gave, in order; none when time was up.

    :param next_cursor: where they end; ``since=`` this goes on.
    :param gap: events are missing before these: they were not kept long enough.
    :param replay: the state of the replay that was waited on; None if it was none.
    """

    def __init__(self, found: Iterable[Event], next_cursor: str | None, gap: bool, replay: str | None = None) -> None:
        super().__init__(found)
        self.next_cursor = next_cursor
        self.gap = gap
        self.replay = replay


def types_of(types: str | Sequence[str]) -> str:
    """Give one type, or several, as the path of a wait has them.

    :raises ValueError: there is none.
    """
    found = types if isinstance(types, str) else ",".join(types)
    if not found:
        raise ValueError("Name an event type, several, or '*' for all.")
    return found


class Standing:
    """One place: what was had, and what came but was not taken yet.

    :param since: where to start, which then is nobody's place but this one's; None for the one that the sidecar keeps.
    """

    def __init__(self, since: str | None = None) -> None:
        self._lock = threading.Lock()
        self._is_own = since is not None
        self._is_doubtful = False  # the sidecar may believe us to be further than we are
        self._cursor = since
        self._had: dict[str, None] = {}
        self._pending: deque[Event] = deque()
        self._gap = False
        self.replay: str | None = None

    @property
    def cursor(self) -> str | None:
        """Where what came ends; None if nothing is known of it."""
        return self._cursor

    def place(self, is_doubtful: bool) -> Query:
        """Give the parameters that say where the next wait starts.

        :param is_doubtful: the answer to the wait before may have been lost on its way.
        """
        with self._lock:
            self._is_doubtful = self._is_doubtful or is_doubtful
            if self._is_own or (self._is_doubtful and self._cursor is not None):
                return {"since": self._cursor}
            return {"ack": self._cursor}

    def forget(self) -> bool:
        """Forget a cursor that the sidecar does not know, for its storage is another one; no, if it was given us."""
        with self._lock:
            is_ours = not self._is_own and self._cursor is not None
            if is_ours:
                self._cursor, self._is_doubtful = None, False
            return is_ours

    def take(self, answer: Mapping[str, Any]) -> None:
        """Take what a wait was answered with; what came before is left out."""
        with self._lock:
            for event in answer["events"]:
                if event["event_id"] not in self._had:
                    self._had[event["event_id"]] = None
                    self._pending.append(event)
            while len(self._had) > _REMEMBERED:
                del self._had[next(iter(self._had))]
            self._cursor = answer.get("next_cursor") or self._cursor
            if (answer["events"] or answer.get("timeout")) and not answer.get("more_available"):
                self._is_doubtful = False  # we have all that there was, and so all that it can have given us
            self._gap = self._gap or bool(answer.get("gap"))
            self.replay = answer.get("replay")

    @property
    def has_more(self) -> bool:
        """Whether there are events that nobody took yet."""
        return bool(self._pending)

    def pop(self) -> Event | None:
        """Take the next event."""
        with self._lock:
            return self._pending.popleft() if self._pending else None

    def drain(self) -> Events:
        """Take all that is there."""
        with self._lock:
            found = list(self._pending)
            self._pending.clear()
            gap, self._gap = self._gap, False
            return Events(found, self._cursor, gap, self.replay)

    def missed(self) -> bool:
        """Say whether events are missing; once."""
        with self._lock:
            gap, self._gap = self._gap, False
            return gap
