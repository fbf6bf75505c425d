"""The sidecar as the commands see it: JSON in, JSON out, refusals as errors with the exit codes of contract 12."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import click

from cco_sidecar import runfile
from cco_sidecar.cli import place, transport
from cco_sidecar.cli.output import one_line, visible

ANSWER_SECONDS = 60.0
"""How long the sidecar may work on a request that does not wait for anything."""

MARGIN_SECONDS = 10.0
"""How much longer than the sidecar itself the client waits."""

_USAGE_CODES = ("VAL_", "EVT_002", "EVT_003")


class Refused(click.ClickException):
    """The sidecar said no."""

    def __init__(self, status: int, code: str, message: str, request_id: str, retry_after: float | None) -> None:
        super().__init__(visible(message))
        self.status = status
        self.retry_after = retry_after
        self._reference = one_line(", ".join(it for it in (code, request_id and f"request {request_id}") if it))
        is_usage = code.startswith(_USAGE_CODES)
        self.exit_code: int = 4 if status in {401, 403} else 2 if is_usage else 1  # type: ignore[misc]  # one class for all refusals

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
    if not all(segments):
        raise click.UsageError("A name must not be empty.")
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


Query = Mapping[str, object]
"""Query parameters; None means not given."""


class Sidecar:
    """The sidecar that the command is meant for."""

    def __init__(self, url: str | None, token: str | None, environ: Mapping[str, str]) -> None:
        self._flag_url = url
        self._flag_token = token
        self._environ = environ
        self._refreshed: str | None = None
        self.look()

    def look(self) -> bool:
        """Look again where the sidecar is and which token to show; say whether the token is another one."""
        before = getattr(self, "_token", None)
        found = place.find(self._flag_url, self._environ)
        self._server = found.server
        self.url = found.server.url
        token = self._refreshed or place.find_token(self._flag_token, self._environ, found.entry, found.server.host)
        if token is not None and not (token.isascii() and token.isprintable()):
            raise click.UsageError("The token must be one line without blanks, as `cco token` prints it.")
        self._token = token
        return token != before

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
        sent = None if body is None else json.dumps(body).encode()
        headers = self._headers(body is not None, key)
        request = transport.Request(method, _target(path, query), headers, sent, seconds + MARGIN_SECONDS)
        with self._sent(request) as stream:
            answer = Answer(stream.status, stream.headers, stream.body())
        self._refreshed = answer.headers.get("x-refreshed-token") or self._refreshed
        if answer.status >= 400 and answer.status not in accept:
            raise _refusal(answer)
        return answer

    @contextmanager
    def follow(self, path: str, query: Query | None = None) -> Iterator[Iterator[bytes]]:
        """Give the body of ``path`` piece by piece, for as long as it comes."""
        with self._sent(transport.Request("GET", _target(path, query), self._headers(False), None, None)) as stream:
            if stream.status >= 400:
                raise _refusal(Answer(stream.status, stream.headers, stream.body()))
            yield stream.pieces

    @contextmanager
    def _sent(self, request: transport.Request) -> Iterator[transport.Stream]:
        try:
            with transport.send(self._server, request) as stream:
                yield stream
        except transport.UnreachableError as error:
            raise NoSidecar(self._how_to_start(str(error))) from error
        except transport.BrokenError as error:
            raise Failed(f"No answer from {self.url}: {error}.") from error
        except transport.TimedOutError as error:
            raise TookTooLong(f"{self.url} did not answer in time.") from error

    def _headers(self, has_body: bool, key: str | None = None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "cco"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if has_body:
            headers["Content-Type"] = "application/json"
        if key is not None:
            if not (key.isascii() and key.isprintable()):
                raise click.UsageError("--idempotency-key must be printable ASCII.")
            headers["Idempotency-Key"] = key
        return headers

    def _how_to_start(self, reason: str) -> str:
        lines = [f"No sidecar answers at {one_line(self.url)} ({one_line(reason)})."]
        others = [entry.url for entry in runfile.running(place.home(self._environ)) if entry.url != self.url]
        if others:
            lines.append(f"One runs at {' and at '.join(others)}: choose it with --sidecar-url.")
        else:
            lines.append("Start one: cco daemon start")
        return "\n".join(lines)


def _target(path: str, query: Query | None) -> str:
    given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    return path + ("?" + urlencode(given) if given else "")


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _refusal(answer: Answer) -> Refused:
    try:
        found = json.loads(answer.body)
        message, code = str(found["message"]), str(found["code"])
        request_id = str(found.get("request_id", ""))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        message, code = "What answered is not the sidecar.", f"HTTP {answer.status}"
        request_id = answer.headers.get("x-request-id", "")
    after = answer.headers.get("retry-after", "")
    return Refused(answer.status, code, message, request_id, float(after) if after.isdigit() else None)


def current() -> Sidecar:
    """Give the sidecar that the global options and the environment name."""
    meta = click.get_current_context().meta
    return Sidecar(meta.get("cco.sidecar_url"), meta.get("cco.token"), os.environ)
