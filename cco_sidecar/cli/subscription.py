"""Waiting for events with a cursor of one's own, so that nothing is lost or told twice while the sidecar restarts."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cco_sidecar.cli.output import cell, chosen_format, is_terminal, note, one_line, to_csv, to_json, to_yaml, write
from cco_sidecar.cli.sidecar import Failed, NoSidecar, Refused, Sidecar, TookTooLong, route

_SHORTEST_POLL_MS = 1000
_LONGEST_POLL_MS = 300_000
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
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

    def __init__(
        self, sidecar: Sidecar, wanted: Wanted, since: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sidecar = sidecar
        self._wanted = wanted
        self._cursor = since
        self._sleep = sleep
        self._printer = event_printer()
        self._left = wanted.limit

    def run(self) -> bool:
        """Print the first events that come; say whether any came before time was up."""
        deadline = time.monotonic() + self._wanted.timeout_ms / 1000
        while True:
            answer = self._wait(max(0, round((deadline - time.monotonic()) * 1000)))
            if answer["events"]:
                self._print(answer)
                return True
            if time.monotonic() >= deadline:
                note(f"No event in {self._wanted.timeout_ms} ms.")
                return False

    def run_on(self) -> None:
        """Print events as they come, until the limit is reached.

        The position is fetched first: it must be known before the sidecar may go away and come back.
        """
        self._print(self._wait(0))
        while self._left != 0:
            self._print(self._patiently(max(self._wanted.timeout_ms, _SHORTEST_POLL_MS)))

    def _patiently(self, timeout_ms: int) -> Any:
        pause = _FIRST_PAUSE_SECONDS
        is_away = False
        while True:
            try:
                answer = self._wait(timeout_ms)
            except (NoSidecar, Failed, TookTooLong, Refused) as error:
                if not self._may_try_again(error):
                    raise
                if not is_away:
                    note(f"{error.message.splitlines()[0]} Trying again until it answers; Ctrl-C ends this.")
                is_away = True
                self._sleep(max(pause, getattr(error, "retry_after", None) or 0))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                continue
            if is_away:
                note("It answers again.")
            return answer

    def _may_try_again(self, error: Exception) -> bool:
        """A sidecar that restarts may come back elsewhere; a token that ended may have been replaced in its file."""
        has_new_token = self._sidecar.look()
        if not isinstance(error, Refused):
            return True
        return error.status in {429, 502, 503, 504} or (error.status == 401 and has_new_token)

    def _wait(self, timeout_ms: int) -> Any:
        wanted = self._wanted
        milliseconds = min(timeout_ms, _LONGEST_POLL_MS)
        query = {"timeout": milliseconds, "since": self._cursor, "filter": wanted.filter, "topic": wanted.topic}
        query |= {"project": wanted.project, "limit": None if self._left is None else min(self._left, 1000)}
        path = route("api", "events", "wait", wanted.types).replace("%2C", ",").replace("%2A", "*")
        answer = self._sidecar.get(path, query, seconds=milliseconds / 1000)
        self._cursor = answer.get("next_cursor") or self._cursor
        return answer

    def _print(self, answer: Any) -> None:
        if answer.get("gap"):
            note("Events are missing here: they were no longer kept when this asked for them.")
        events = answer["events"]
        if self._left is not None:
            self._left -= len(events)
        for event in events:
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
