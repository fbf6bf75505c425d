"""Watching a replay: its events are printed as their turn comes."""

import contextlib

import click

from cco_sidecar.cli.output import note, write
from cco_sidecar.cli.sidecar import Failed, Sidecar, route
from cco_sidecar.cli.subscription import event_printer

_POLL_MS = 30_000


class Playback:
    """A loop of waits on one replay, which ends with it; whoever stops listening ends the replay, too."""

    def __init__(self, sidecar: Sidecar, replay_id: str, project: str | None) -> None:
        self._sidecar = sidecar
        self._replay_id = replay_id
        self._project = project
        self._printer = event_printer()

    def run(self) -> None:
        """Print every event of it.

        :raises Failed: somebody else has ended it.
        """
        state = "running"
        try:
            while state == "running":
                found = self._sidecar.wait("*", _POLL_MS, subscription=self._replay_id, project=self._project)
                state = found.replay or state
                if found.gap:
                    note("Events are missing here: they were no longer kept when their turn came.")
                for event in found:
                    write(self._printer(event))
        except BaseException:
            self._cancel()
            raise
        if state != "done":
            raise Failed(f"The replay was ended before it was over ({state}).")

    def _cancel(self) -> None:
        # What went wrong first is what counts; left alone, a replay ends within a day.
        with contextlib.suppress(click.ClickException):
            self._sidecar.delete(route("api", "events", "replay", self._replay_id), {"project": self._project})
