"""Waiting for events with a cursor of one's own, so that nothing is lost or told twice while the sidecar restarts."""

from collections.abc import Callable
from typing import Any, NamedTuple

from cco_sidecar.cli.output import cell, chosen_format, is_terminal, note, one_line, to_csv, to_json, to_yaml, write
from cco_sidecar.cli.sidecar import Sidecar
from cco_sidecar.client import Events, SidecarError

_SHORTEST_POLL_MS = 1000
_MOST_EVENTS = 1000
_COLUMNS = ("sequence", "timestamp", "event_type", "topic", "publisher", "issue_id", "data", "event_id")


class Wanted(NamedTuple):
    """What to wait for; ``timeout_ms`` is for the whole wait, ``limit`` for the number of events."""

    types: str
    filter: str | None
    topic: str | None
    project: str | None
    timeout_ms: int
    limit: int | None


class Subscription:
    """A loop of waits, each going on where the answer before ended."""

    def __init__(self, sidecar: Sidecar, wanted: Wanted, since: str) -> None:
        self._sidecar = sidecar
        self._wanted = wanted
        self._cursor = since
        self._printer = event_printer()
        self._left = wanted.limit
        self._is_away = False

    def run(self) -> bool:
        """Print the first events that come; say whether any came before time was up."""
        found = self._wait(self._wanted.timeout_ms)
        self._print(found)
        if not found:
            note(f"No event in {self._wanted.timeout_ms} ms.")
        return bool(found)

    def run_on(self) -> None:
        """Print events as they come, until the limit is reached.

        The position is fetched first: it must be known before the sidecar may go away and come back.
        """
        self._print(self._wait(0))
        desk = self._sidecar.client.desk
        desk.patience_seconds, desk.on_retry = None, self._tell
        while self._left != 0:
            found = self._wait(max(self._wanted.timeout_ms, _SHORTEST_POLL_MS))
            if self._is_away:
                note("It answers again.")
            self._is_away = False
            self._print(found)

    def _tell(self, error: SidecarError, seconds: float) -> None:
        if not self._is_away:
            first = self._sidecar.told(error).message.splitlines()[0]
            note(f"{first} Trying again until it answers; Ctrl-C ends this.")
        self._is_away = True
        self._sidecar.look()

    def _wait(self, timeout_ms: int) -> Events:
        wanted = self._wanted
        found = self._sidecar.wait(
            wanted.types,
            timeout_ms,
            since=self._cursor,
            filter=wanted.filter,
            topic=wanted.topic,
            project=wanted.project,
            limit=None if self._left is None else min(self._left, _MOST_EVENTS),
        )
        self._cursor = found.next_cursor or self._cursor
        return found

    def _print(self, found: Events) -> None:
        if found.gap:
            note("Events are missing here: they were no longer kept when this asked for them.")
        if self._left is not None:
            self._left -= len(found)
        for event in found:
            write(self._printer(event))


def event_printer() -> Callable[[Any], str]:
    """Give what writes an event in the format that was asked for; each is whole by itself."""
    wanted = chosen_format()
    if wanted == "json":
        return lambda event: to_json(event, indent=None) + "\n"
    if wanted == "yaml":
        return lambda event: "---\n" + to_yaml(event)
    if wanted == "csv":
        write(to_csv([], _COLUMNS))
        return lambda event: to_csv([event], _COLUMNS, header=False)
    return _line


def _line(event: Any) -> str:
    """Give an event as a line for a person."""
    names = ("timestamp", "event_type", "topic", "publisher", "data")
    line = "  ".join(cell(event.get(name)) for name in names)
    return (one_line(line) if is_terminal() else line.replace("\n", " ")) + "\n"
