"""The client for programs that block; standard library only, for any number of threads."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import update_wrapper
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from cco_sidecar.client import calls, sharing
from cco_sidecar.client.asking import error_of, failure_of
from cco_sidecar.client.desk import PATIENCE_SECONDS, Desk, Told
from cco_sidecar.client.errors import Closed, SidecarError
from cco_sidecar.client.keeping import HEARTBEAT_SECONDS, Held, goes_on, warn_of_gap
from cco_sidecar.client.repeating import Repeated
from cco_sidecar.client.server import Server
from cco_sidecar.client.settings import Settings, settings_of
from cco_sidecar.client.transport import (
    BrokenError,
    Pool,
    StaleError,
    TimedOutError,
    UnreachableError,
)
from cco_sidecar.client.values import Answer, Event, Json, Pause, Query, Send, Steps, Trouble, build
from cco_sidecar.client.waiting import LONGEST_WAIT_MS, Standing, Wanted, types_of
from cco_sidecar.client.waits import fill

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(call: "Callable[Concatenate[Desk, P], Steps[T]]") -> "Callable[Concatenate[Client, P], T]":
    """Make a method that does all steps of a call."""

    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(call(self.desk, *args, **kwargs))

    return update_wrapper(method, call)


class Client:
    """Asks the sidecar, as the agent that the environment names, or the arguments.

    A call blocks until it is answered. What fails in passing (the sidecar restarts, 429, 503) is tried again for
    ``patience_seconds``. One client serves many threads: each has a connection of its own while it asks. `close` ends
    what waits.

    :param url: where the sidecar is; with ``/api`` at its end or without (``SIDECAR_URL``).
    :param token: (``JWT_TOKEN``)
    :param token_file: the file that always has the newest token (``JWT_TOKEN_FILE``).
    :param lifetime_seconds: from now on; after that nothing is waited for any more.
    :param on_retry: told of each failure that is tried again, and after how many seconds.
    :param settings: instead of all that and of the environment.
    :raises NotConfigured: there is no token.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        token_file: str | Path | None = None,
        agent_id: str | None = None,
        agent_type: str | None = None,
        issue_id: str | None = None,
        project_id: str | None = None,
        patience_seconds: float | None = PATIENCE_SECONDS,
        lifetime_seconds: float | None = None,
        on_retry: Told | None = None,
        environ: Mapping[str, str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        identity = {"agent_id": agent_id, "agent_type": agent_type, "issue_id": issue_id, "project_id": project_id}
        found = settings or settings_of(
            os.environ if environ is None else environ, url=url, token=token, token_file=token_file, identity=identity
        )
        self.desk = Desk(found, patience_seconds=patience_seconds, lifetime_seconds=lifetime_seconds, on_retry=on_retry)
        self._pool = Pool(found.server)
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; calls that still wait, in other threads, end with `Closed`, and iterators of events just end."""
        self._is_over.set()
        self._pool.close()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_over.is_set()

    @property
    def seconds_left(self) -> float:
        """How long there is still time for anything."""
        left = self.desk.seconds_until_end()
        return float("inf") if left is None else left

    @property
    def agent_id(self) -> str:
        """Whose client this is; empty if that is not known."""
        return self.desk.identity.agent_id

    @property
    def server(self) -> Server:
        """Where requests go; may be set, when the sidecar has come back elsewhere."""
        return self._pool.server

    @server.setter
    def server(self, server: Server) -> None:
        self._pool.server = server
        self.desk.url = server.url

    # Doing

    def run(self, steps: Steps[T]) -> T:
        """Do the steps of a call, and give its result."""
        outcome: Answer | Trouble | None = None
        try:
            while True:
                self._check_open()
                step = steps.send(outcome)
                if isinstance(step, Pause):
                    self.pause(step.seconds)
                    outcome = None
                else:
                    outcome = self._send(step)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    def pause(self, seconds: float) -> None:
        """Do nothing for so long, or until the client is closed."""
        self._is_over.wait(seconds)

    def _check_open(self) -> None:
        if self.is_closed:
            raise Closed("This client was closed. Make another one to go on.")

    def _send(self, step: Send) -> Answer | Trouble:
        try:
            with self._pool.send(step.request, {}, step.seconds) as stream:
                return Answer(stream.status, stream.headers, stream.body())
        except (UnreachableError, BrokenError, TimedOutError) as error:
            return _trouble(error)

    @contextmanager
    def follow(self, path: str, query: Query | None = None) -> Iterator[Iterator[bytes]]:
        """Give the body of ``path`` piece by piece, for as long as it comes (a log that is followed).

        :raises SidecarError: one of its kinds; it is not tried again.
        """
        token = self.desk.tokens.current()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        asked = build("GET", path, query=query)
        try:
            # On a connection of its own: one that was kept may have ended.
            with self._pool.send(asked, headers, None, is_fresh=True) as stream:
                if stream.status >= 400:
                    raise error_of(Answer(stream.status, stream.headers, stream.body()))
                yield stream.pieces
        except (UnreachableError, BrokenError, TimedOutError) as error:
            self._check_open()
            raise failure_of(self.desk, asked, _trouble(error)) from error

    def first_context(self) -> Json | None:
        """Give the context that a spawned agent has from its start (``CONTEXT_FILE``); None if there is none."""
        return self.desk.first_context()

    # The calls

    request = _blocking(calls.request)
    health = _blocking(calls.health)
    publish_event = _blocking(calls.publish_event)
    wait_for_event = _blocking(calls.wait_for_event)
    list_events = _blocking(calls.list_events)
    get_event = _blocking(calls.get_event)
    get_context = _blocking(calls.get_context)
    get_context_markdown = _blocking(calls.get_context_markdown)
    store_result = _blocking(calls.store_result)
    list_results = _blocking(calls.list_results)
    get_result = _blocking(calls.get_result)
    get_result_by_id = _blocking(calls.get_result_by_id)
    spawn_agent = _blocking(calls.spawn_agent)
    list_agents = _blocking(calls.list_agents)
    get_agent = _blocking(calls.get_agent)
    kill_agent = _blocking(calls.kill_agent)
    heartbeat = _blocking(calls.heartbeat)
    claim = _blocking(sharing.claim)
    renew = _blocking(sharing.renew)
    release = _blocking(sharing.release)
    list_claims = _blocking(sharing.list_claims)
    add_task = _blocking(sharing.add_task)
    claim_task = _blocking(sharing.claim_task)
    list_tasks = _blocking(sharing.list_tasks)
    get_task = _blocking(sharing.get_task)
    checkpoint = _blocking(sharing.checkpoint)
    complete = _blocking(sharing.complete)
    release_task = _blocking(sharing.release_task)
    save_checkpoint = _blocking(sharing.save_checkpoint)
    load_checkpoint = _blocking(sharing.load_checkpoint)
    briefing = _blocking(sharing.briefing)
    briefing_markdown = _blocking(sharing.briefing_markdown)
    send_message = _blocking(sharing.send_message)
    receive_messages = _blocking(sharing.receive_messages)
    acknowledge_message = _blocking(sharing.acknowledge_message)
    list_messages = _blocking(sharing.list_messages)
    get_message = _blocking(sharing.get_message)

    # What goes on

    def events(
        self,
        types: str | Sequence[str] = "*",
        *,
        filter: str | None = None,
        topic: str | None = None,
        since: str | None = None,
        subscription: str | None = None,
        project: str | None = None,
        limit: int | None = None,
        poll_ms: int = LONGEST_WAIT_MS,
        on_gap: Callable[[], None] | None = None,
    ) -> Iterator[Event]:
        """Give events as they come, for ever: through restarts of the sidecar, without loss and without repetition.

        It ends when the client is closed. Events that were fetched and not taken, because the loop was left, are
        given to the next wait for the same. To go on after a crash of this process exactly where it was, keep the
        ``event_id`` of the last event that was dealt with, and give it as ``since``.

        :param on_gap: called when events are missing, for they were not kept long enough; else a warning is logged.
        :raises NotAllowed: the token has ended, and no other is there.
        :raises Refused: what is waited for is wrong.
        """
        wanted = Wanted(types_of(types), filter, topic, subscription, project)
        standing = self.desk.standing(wanted) if since is None else Standing(since)
        while True:
            try:
                self.run(fill(self.desk, wanted, standing, poll_ms, limit))
            except Closed:
                return
            if standing.missed():
                (on_gap or warn_of_gap)()
            while (event := standing.pop()) is not None:
                yield event

    @contextmanager
    def holding(
        self,
        resources: str | Sequence[str],
        ttl_seconds: int = 60,
        *,
        mode: str = "exclusive",
        wait: int | None = None,
    ) -> Iterator[Held]:
        """Claim for the length of a ``with`` block: renewed by a thread, released at the end.

        Ask ``held.check()`` before a write that relies on it; ``held.fence`` is the number to write beside it.

        :raises Conflict: another has it (see `claim`).
        :raises ClaimLost: at the end of the block, when the claim had ended before.
        """
        asked_at = time.monotonic()
        held = Held(self.claim(resources, ttl_seconds, mode=mode, wait=wait), ttl_seconds, asked_at, time.monotonic)

        def renew() -> bool:
            asked_at = time.monotonic()
            try:
                held.renewed(self.renew(held.id), asked_at)
            except SidecarError as error:
                return held.failed(error)
            return True

        with Repeated(renew, held.every_seconds, f"renews {held.id}"):
            try:
                yield held
            finally:
                is_lost = held.is_lost
                with suppress(SidecarError):  # it ends by itself
                    self.release(held.id)
        if is_lost:
            held.check()

    def heartbeats(self, every_seconds: float = HEARTBEAT_SECONDS) -> Repeated:
        """Say again and again that the agent works, in a thread: ``with client.heartbeats(): …``."""

        def beat() -> bool:
            try:
                self.heartbeat()
            except SidecarError as error:
                return goes_on(error)
            return True

        return Repeated(beat, every_seconds, "heartbeat")


def _trouble(error: Exception) -> Trouble:
    kinds = {UnreachableError: "unreachable", TimedOutError: "late", StaleError: "stale"}
    return Trouble(kinds.get(type(error), "broken"), str(error))
