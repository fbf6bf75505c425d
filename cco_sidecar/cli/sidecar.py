"""The sidecar as the commands see it: JSON in, JSON out, refusals as errors with the exit codes of contract 12."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from cco_sidecar import runfile
from cco_sidecar.cli import place
from cco_sidecar.cli.output import one_line, visible
from cco_sidecar.client import AnswerLost, Client, Events, SidecarError, TimedOut, Unreachable
from cco_sidecar.client.settings import Identity, Settings
from cco_sidecar.client.values import ANSWER_SECONDS, Query
from cco_sidecar.client.values import route as path_of

_USAGE_CODES = ("VAL_", "EVT_002", "EVT_003")


class Refused(click.ClickException):
    """The sidecar said no."""

    def __init__(self, error: SidecarError) -> None:
        super().__init__(visible(error.message))
        named = (error.code, error.request_id and f"request {error.request_id}")
        self._reference = one_line(", ".join(it for it in named if it))
        is_usage = error.code.startswith(_USAGE_CODES)
        self.exit_code: int = 4 if error.status in {401, 403} else 2 if is_usage else 1  # type: ignore[misc]  # one class for all refusals

    def show(self, file: Any = None) -> None:
        """Print the message, and below it what to look for in the log."""
        super().show(file)
        click.echo(f"  ({self._reference})", err=True, file=file)


class Failed(click.ClickException):
    """Something went wrong on the way."""

    exit_code = 1


class NoSidecar(click.ClickException):
    """No sidecar is there."""

    exit_code = 3


class TookTooLong(click.ClickException):
    """The answer did not come in time."""

    exit_code = 124


class Answer(NamedTuple):
    """A whole answer; ``headers`` have names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Read the body.

        :raises Failed: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Failed("What answered is not the sidecar: its answer is not JSON.") from None


def route(*segments: str) -> str:
    """Join path segments, each escaped.

    :raises click.UsageError: one is empty.
    """
    try:
        return path_of(*segments)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


class Sidecar:
    """The sidecar that the command is meant for."""

    def __init__(self, url: str | None, token: str | None, environ: Mapping[str, str]) -> None:
        self._flag_url = url
        self._flag_token = token
        self._environ = environ
        self._place = place.find(url, environ)
        if (found := self._token()) is not None and not (found.isascii() and found.isprintable() and " " not in found):
            raise click.UsageError("The token must be one line without blanks, as `cco token` prints it.")
        settings = Settings(self._place.server, Identity(), None, self._token, None)
        # A person is told at once what is wrong.
        self.client = Client(settings=settings, patience_seconds=0.0)

    @property
    def url(self) -> str:
        """Where it is."""
        return self._place.server.url

    def look(self) -> None:
        """Look again where it is: a sidecar that restarts may come back elsewhere."""
        self._place = place.find(self._flag_url, self._environ)
        self.client.server = self._place.server

    def _token(self) -> str | None:
        return place.find_token(self._flag_token, self._environ, self._place.entry, self._place.server.host)

    def get(self, path: str, query: Query | None = None, *, seconds: float = ANSWER_SECONDS) -> Any:
        """Ask for ``path``; ``seconds`` is how long the sidecar may take."""
        return self.call("GET", path, query, seconds=seconds).json()

    def post(self, path: str, body: object, query: Query | None = None, *, key: str | None = None) -> Any:
        """Post ``body``; ``key`` is an Idempotency-Key."""
        return self.call("POST", path, query, body=body, key=key).json()

    def delete(self, path: str, query: Query | None = None, *, seconds: float = ANSWER_SECONDS) -> Any:
        """Delete what is at ``path``."""
        return self.call("DELETE", path, query, seconds=seconds).json()

    def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object = None,
        key: str | None = None,
        seconds: float = ANSWER_SECONDS,
        accept: tuple[int, ...] = (),
    ) -> Answer:
        """Send a request and give its answer.

        :param accept: statuses that are no failure although they are 400 or more.
        :raises click.ClickException: one of the errors of this module.
        """
        with self._telling():
            found = self.client.request(
                method, path, query=query, body=body, idempotency_key=key, seconds=seconds, accept=accept
            )
            return Answer(*found)

    def wait(self, types: str, timeout_ms: int, **more: Any) -> Events:
        """Wait for events; see `Client.wait_for_event`."""
        with self._telling():
            return self.client.wait_for_event(types, timeout_ms, **more)

    @contextmanager
    def follow(self, path: str, query: Query | None = None) -> Iterator[Iterator[bytes]]:
        """Give the body of ``path`` piece by piece, for as long as it comes."""
        with self._telling(), self.client.follow(path, query) as pieces:
            yield pieces

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except SidecarError as error:
            raise self.told(error) from error
        except ValueError as error:
            raise click.UsageError(f"{error}") from None

    def told(self, error: SidecarError) -> click.ClickException:
        """Give what a person is told of an error."""
        if isinstance(error, AnswerLost):
            return Failed(f"No answer from {self.url}: {error.details['reason']}.")
        if isinstance(error, Unreachable):
            return NoSidecar(self._how_to_start(error.details["reason"]))
        if isinstance(error, TimedOut):
            return TookTooLong(f"{self.url} did not answer in time.")
        return Refused(error)

    def _how_to_start(self, reason: str) -> str:
        lines = [f"No sidecar answers at {one_line(self.url)} ({one_line(reason)})."]
        others = [entry.url for entry in runfile.running(place.home(self._environ)) if entry.url != self.url]
        if others:
            lines.append(f"One runs at {' and at '.join(others)}: choose it with --sidecar-url.")
        else:
            lines.append("Start one: cco daemon start")
        return "\n".join(lines)


def current() -> Sidecar:
    """Give the sidecar that the global options and the environment name."""
    meta = click.get_current_context().meta
    return Sidecar(meta.get("cco.sidecar_url"), meta.get("cco.token"), os.environ)
