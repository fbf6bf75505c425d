"""The client for programs with a reactor: the same calls as `cco_sidecar.client.Client`, each giving a Deferred.

::

    client = Client(reactor)
    await client.publish_event("custom_event", "coordination", {"message": "checkpoint"})
    async for event in client.events("implementation_complete"):
        …

This module alone needs treq and Twisted.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
)

from cco_sidecar.client import calls, sharing
from cco_sidecar.client.desk import PATIENCE_SECONDS, Desk, Told
from cco_sidecar.client.errors import Closed, SidecarError
from cco_sidecar.client.keeping import HEARTBEAT_SECONDS, Held, goes_on, warn_of_gap
from cco_sidecar.client.settings import Settings, settings_of
from cco_sidecar.client.transport import CONNECT_SECONDS, MOST_IDLE
from cco_sidecar.client.treqing import send
from cco_sidecar.client.values import Answer, Event, Json, Pause, Steps, Trouble
from cco_sidecar.client.waiting import LONGEST_WAIT_MS, Standing, Wanted, types_of
from cco_sidecar.client.waits import fill

P = ParamSpec("P")
T = TypeVar("T")


def _deferring(
    call: "Callable[Concatenate[Desk, P], Steps[T]]",
) -> "Callable[Concatenate[Client, P], Deferred[T]]":
    """Make a method that does all steps of a call in the reactor's turns."""

    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        return self.run(call(self.desk, *args, **kwargs))

    return update_wrapper(method, call)


class Client:
    """Asks the sidecar without blocking; for the arguments see `cco_sidecar.client.Client`.

    A Deferred may be cancelled: the connection is closed then, and whether the sidecar did what was asked is not known.

    :param reactor: the clock, and what connects.
    :param http: a treq client instead of one of its own; tests give a ``StubTreq``.
    """

    def __init__(
        self,
        reactor: Any,
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
        http: Any = None,
    ) -> None:
        identity = {"agent_id": agent_id, "agent_type": agent_type, "issue_id": issue_id, "project_id": project_id}
        found = settings or settings_of(
            os.environ if environ is None else environ, url=url, token=token, token_file=token_file, identity=identity
        )
        self.desk = Desk(
            found,
            patience_seconds=patience_seconds,
            lifetime_seconds=lifetime_seconds,
            on_retry=on_retry,
            monotonic=reactor.seconds,
        )
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = MOST_IDLE
        self._http = http or HTTPClient(Agent(reactor, connectTimeout=CONNECT_SECONDS, pool=self._pool))
        self._running: set[Deferred[Any]] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def close(self) -> "Deferred[None]":
        """Hang up; what still waits ends with `Closed`. Fires when no connection is left."""
        self._is_closed = True
        for running in list(self._running):
            running.cancel()
        done: Deferred[None] = self._pool.closeCachedConnections().addCallback(lambda _: None)
        return done

    @property
    def agent_id(self) -> str:
        """Whose client this is; empty if that is not known."""
        return self.desk.identity.agent_id

    # Doing

    def run(self, steps: Steps[T]) -> "Deferred[T]":
        """Do the steps of a call; fires with its result."""
        running = Deferred.fromCoroutine(self._run(steps))
        self._running.add(running)

        def done(result: T | Failure) -> T | Failure:
            self._running.discard(running)
            if isinstance(result, Failure) and self._is_closed and result.check(CancelledError):
                return Failure(_closed())
            return result

        return running.addBoth(done)

    async def _run(self, steps: Steps[T]) -> T:
        outcome: Answer | Trouble | None = None
        try:
            while True:
                if self._is_closed:
                    raise _closed()
                step = steps.send(outcome)
                if isinstance(step, Pause):
                    await deferLater(self._reactor, step.seconds)
                    outcome = None
                else:
                    outcome = await send(self._reactor, self._http, self.desk.url, step)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    def first_context(self) -> Json | None:
        """Give the context that a spawned agent has from its start (``CONTEXT_FILE``); None if there is none."""
        return self.desk.first_context()

    # The calls

    request = _deferring(calls.request)
    health = _deferring(calls.health)
    publish_event = _deferring(calls.publish_event)
    wait_for_event = _deferring(calls.wait_for_event)
    list_events = _deferring(calls.list_events)
    get_event = _deferring(calls.get_event)
    get_context = _deferring(calls.get_context)
    get_context_markdown = _deferring(calls.get_context_markdown)
    store_result = _deferring(calls.store_result)
    list_results = _deferring(calls.list_results)
    get_result = _deferring(calls.get_result)
    get_result_by_id = _deferring(calls.get_result_by_id)
    spawn_agent = _deferring(calls.spawn_agent)
    list_agents = _deferring(calls.list_agents)
    get_agent = _deferring(calls.get_agent)
    kill_agent = _deferring(calls.kill_agent)
    heartbeat = _deferring(calls.heartbeat)
    claim = _deferring(sharing.claim)
    renew = _deferring(sharing.renew)
    release = _deferring(sharing.release)
    list_claims = _deferring(sharing.list_claims)
    add_task = _deferring(sharing.add_task)
    claim_task = _deferring(sharing.claim_task)
    list_tasks = _deferring(sharing.list_tasks)
    get_task = _deferring(sharing.get_task)
    checkpoint = _deferring(sharing.checkpoint)
    complete = _deferring(sharing.complete)
    release_task = _deferring(sharing.release_task)
    save_checkpoint = _deferring(sharing.save_checkpoint)
    load_checkpoint = _deferring(sharing.load_checkpoint)
    briefing = _deferring(sharing.briefing)
    briefing_markdown = _deferring(sharing.briefing_markdown)
    send_message = _deferring(sharing.send_message)
    receive_messages = _deferring(sharing.receive_messages)
    acknowledge_message = _deferring(sharing.acknowledge_message)
    list_messages = _deferring(sharing.list_messages)
    get_message = _deferring(sharing.get_message)

    # What goes on

    async def events(
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
    ) -> AsyncIterator[Event]:
        """Give events as they come, for ever; see `cco_sidecar.client.Client.events`."""
        wanted = Wanted(types_of(types), filter, topic, subscription, project)
        standing = self.desk.standing(wanted) if since is None else Standing(since)
        while True:
            try:
                await self.run(fill(self.desk, wanted, standing, poll_ms, limit))
            except Closed:
                return
            if standing.missed():
                (on_gap or warn_of_gap)()
            while (event := standing.pop()) is not None:
                yield event

    @asynccontextmanager
    async def holding(
        self,
        resources: str | Sequence[str],
        ttl_seconds: int = 60,
        *,
        mode: str = "exclusive",
        wait: int | None = None,
    ) -> AsyncIterator[Held]:
        """Claim for the length of an ``async with`` block; see `cco_sidecar.client.Client.holding`."""
        now = self._reactor.seconds
        asked_at = now()
        claim = await self.claim(resources, ttl_seconds, mode=mode, wait=wait)
        held = Held(claim, ttl_seconds, asked_at, now)

        async def renew() -> bool:
            asked_at = now()
            try:
                held.renewed(await self.renew(held.id), asked_at)
            except SidecarError as error:
                return held.failed(error)
            return True

        renewing = self._repeat(renew, held.every_seconds)
        try:
            yield held
        finally:
            is_lost = held.is_lost
            renewing.stop()
            with suppress(SidecarError):  # it ends by itself
                await self.release(held.id)
        if is_lost:
            held.check()

    def heartbeats(self, every_seconds: float = HEARTBEAT_SECONDS) -> "Repeated":
        """Say again and again that the agent works, until it is stopped."""

        async def beat() -> bool:
            try:
                await self.heartbeat()
            except SidecarError as error:
                return goes_on(error)
            return True

        return self._repeat(beat, every_seconds)

    def _repeat(self, do: "Callable[[], Any]", every_seconds: float) -> "Repeated":
        return Repeated(self._reactor, do, every_seconds)


class Repeated:
    """Does something again and again until it says no or is stopped; begins with the first interval.

    :param do: a coroutine function that says whether to go on.
    """

    def __init__(self, reactor: Any, do: "Callable[[], Any]", every_seconds: float) -> None:
        self._do = do
        self._loop = LoopingCall(self._once)
        self._loop.clock = reactor
        self._doing: Deferred[None] | None = None
        # It never raises but when it is stopped.
        self._loop.start(every_seconds, now=False).addErrback(lambda failure: failure.trap(CancelledError))

    @property
    def is_alive(self) -> bool:
        """Whether it still goes on."""
        return self._loop.running

    def stop(self) -> None:
        """End; what is being done is called off."""
        if self._loop.running:
            self._loop.stop()
        doing, self._doing = self._doing, None
        if doing is not None:
            doing.cancel()

    def _once(self) -> "Deferred[None]":
        self._doing = doing = Deferred.fromCoroutine(self._do_once())
        return doing

    async def _do_once(self) -> None:
        goes_on = await self._do()
        self._doing = None
        if not goes_on and self._loop.running:
            self._loop.stop()


def _closed() -> Closed:
    return Closed("This client was closed. Make another one to go on.")
