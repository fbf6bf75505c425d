"""The life of the sidecar: recovers, listens, and is truly stopped when `stopService` fires."""

import gc
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger, globalLogBeginner, globalLogPublisher
from twisted.python.failure import Failure

from cco_sidecar import runfile
from cco_sidecar.access_log import AccessLog, access_log
from cco_sidecar.backends.listening import is_loopback, listen
from cco_sidecar.composition.projects import ProjectLog
from cco_sidecar.composition.sidecar import Composition
from cco_sidecar.core.agent_rows import LIVE
from cco_sidecar.core.agents import GRACE_SECONDS
from cco_sidecar.core.tokens import ADMIN_SECONDS
from cco_sidecar.ground import Ground, StartError, claim
from cco_sidecar.logs import observer
from cco_sidecar.settings import AgentSettings, Settings

_log = Logger()

GC_THRESHOLDS = (10_000, 50, 100)
"""Parked polls are many objects that live long: looking through them all the time finds nothing. But a request that
Klein routes leaves a hundred in cycles: with 50,000 of those one look took 20 to 80 ms, with 10,000 some 10."""
SWITCH_SECONDS = 0.0005
DRAIN_SECONDS = 1.5
LEAVE_SECONDS = 1.5
STOP_SECONDS = 4.5
EVICT_SECONDS = 30.0
ACCOUNT_SECONDS = 2.0
ROTATE_SECONDS = 600.0
WORK_SECONDS = 2.0
"""How often running agents' output is read."""


class SidecarService(MultiService):
    """The whole daemon; every step of its start leaves behind how to undo it."""

    def __init__(self, reactor: Any, ground: Ground, access: AccessLog | None = None) -> None:
        super().__init__()
        self._reactor = reactor
        self._ground = ground
        self._settings = ground.settings
        self._ready = False
        self.failed = False
        self._closers: list[Callable[[], Any]] = []
        self.parts = Composition(reactor, ground, lambda: self._ready, access or AccessLog())

    # Starting: nothing is served yet, so recovery may block

    def startService(self) -> None:
        """Recover, take up agents, then listen."""
        super().startService()
        sys.setswitchinterval(SWITCH_SECONDS)
        _raise_file_limit()
        parts = self.parts
        self._begin(parts.base.audit, parts.base.workers)
        globalLogPublisher.addObserver(parts.base.audit)
        self._at_end(lambda: globalLogPublisher.removeObserver(parts.base.audit))
        parts.base.webhook_keys.load()
        parts.fleet.account_names.open()
        for log in parts.logs:
            self._recover(log)
        # After the logs, and so ended before them: a result that is being stored still publishes its event.
        self._begin(parts.base.store, parts.base.gatherer, parts.base.launcher)
        parts.fleet.provisions.start()
        self._at_end(parts.fleet.provisions.stop)
        self._repeat(parts.fleet.provisions.renew_all, max(0.2, min(20.0, self._settings.tokens.ttl_seconds / 20)))
        parts.base.measurements.start()
        self._at_end(parts.base.measurements.stop)
        self._at_end(parts.base.answers.finish)
        self._repeat(self._evict, EVICT_SECONDS)
        self._repeat(self._rotate, ROTATE_SECONDS)
        started = Deferred.fromCoroutine(self._go())
        started.addErrback(self._cannot_go)

    def _begin(self, *services: Service) -> None:
        for service in services:
            service.startService()
            self._at_end(service.stopService)

    def _at_end(self, close: Callable[[], Any]) -> None:
        """Undo a step of the start at the stop: the last first."""
        self._closers.append(close)

    def _repeat(self, work: Callable[[], Any], seconds: float) -> None:
        # Guarded, for a loop ends for ever with the first thing that goes wrong in it.
        call = LoopingCall(lambda: maybeDeferred(work).addErrback(_unforeseen))
        call.clock = self._reactor
        ended = call.start(seconds, now=False)

        def stop() -> "Deferred[Any]":
            if call.running:
                call.stop()
            return ended

        self._at_end(stop)

    def _recover(self, log: ProjectLog) -> None:
        recovery = log.journal.recover(log.project.ledger.restore, log.project.ledger.lasts)
        log.journal.open()
        self._at_end(log.journal.close)
        log.project.hub.open(recovery.most_lost)
        log.project.webhooks.open()
        self._at_end(log.project.webhooks.close)
        log.project.fences.open(recovery.most_lost)
        log.project.claims.open()
        log.project.tasks.open()
        log.project.messages.open()
        _log.info(
            "project {project} at {root}: {events} events recovered from {records} records",
            project=log.project.id,
            root=str(log.project.root),
            events=len(log.project.hub.ring),
            records=recovery.records,
            damaged=recovery.damaged,
        )

    async def _go(self) -> None:
        live = [
            agent
            for log in self.parts.logs
            for agent in self.parts.fleet.agents.listing(log.project.id, limit=1_000_000)
        ]
        for agent in live:
            if agent.status in LIVE and not agent.is_ending:
                await self.parts.fleet.provisions.renew(agent)
        self._at_end(self._leave_agents)
        await self.parts.fleet.agents.readopt()
        self.parts.base.launcher.tidy()
        await self.parts.fleet.watch_work()
        self._repeat(self.parts.fleet.watch_work, WORK_SECONDS)
        self._repeat(self.parts.fleet.care.check, _look_seconds(self._settings.agents))
        self._repeat(self.parts.fleet.account_watch.check, ACCOUNT_SECONDS)
        for engine in self.parts.engines.values():
            engine.open()
            self._at_end(engine.close)
        await self.parts.write_admin_token()
        self._repeat(self.parts.write_admin_token, ADMIN_SECONDS / 4)
        self._repeat(self.parts.rotation.drop_ended, ROTATE_SECONDS)
        listener = self._ground.listener
        listen(listener, self._settings.host)
        port = self._reactor.adoptStreamPort(listener.fileno(), listener.family, self.parts.web.site)
        self._at_end(lambda: self._hang_up(port))
        listener.close()
        settings = self._settings
        entry = runfile.RunFile(
            self._ground.url, self._ground.port, os.getpid(), str(settings.storage), str(settings.home / "admin-token")
        )
        runfile.write(settings.home, settings.port, entry)
        self._at_end(lambda: runfile.remove(settings.home, settings.port, os.getpid()))
        # What was built until now stays: full collections need not walk it, each a pause of tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._ready = True
        _log.info("cco-sidecar listens on {url}", url=self._ground.url)
        self._warn()

    def _warn(self) -> None:
        settings = self._settings
        if not is_loopback(settings.host):
            _log.warn(
                "--host {host} is reachable from other machines, without TLS: put a proxy with TLS in front",
                host=settings.host,
            )
        if settings.origin["storage"] == "default":
            _log.warn(
                "results lie in {storage}, which a reboot may empty: for lasting ones use --storage",
                storage=str(settings.storage),
            )

    def start_or_stop(self) -> None:
        """Start; if that cannot be, end the process with a word about it."""
        try:
            self.startService()
        except Exception:  # noqa: BLE001 - whatever it was, a process that serves nothing must not stay
            self._cannot_go(Failure())

    def _cannot_go(self, failure: Failure) -> None:
        self.failed = True
        _log.failure("the sidecar could not start: {why}", failure, why=failure.getErrorMessage())
        self._reactor.stop()

    def _evict(self) -> None:
        """Let go of events that are past their time."""
        now = self._reactor.seconds()
        for log in self.parts.logs:
            log.project.hub.ring.evict(now)

    def _rotate(self) -> None:
        """Begin new segments, so that old ones can go, whole."""
        for log in self.parts.logs:
            log.journal.rotate()

    # Stopping

    def stopService(self) -> "Deferred[None]":
        """Fire when every poll is answered, every accepted write on disk, and every thread ended."""
        stopped = Deferred.fromCoroutine(self._stop())
        stopped.addTimeout(STOP_SECONDS, self._reactor)
        return stopped.addErrback(_unforeseen)

    async def _stop(self) -> None:
        self._ready = False
        while self._closers:
            try:
                await maybeDeferred(self._closers.pop())
            except Exception:  # noqa: BLE001 - what else is open must still be closed
                _log.failure("something could not be closed")
        await maybeDeferred(super().stopService)
        _log.info("cco-sidecar has stopped")

    async def _hang_up(self, port: Any) -> None:
        """Take no more connections, answer every parked poll, and let go of everybody."""
        await maybeDeferred(port.stopListening)
        self.parts.web.site.drain()
        for log in self.parts.logs:
            log.project.drain()
        await self._drained()

    async def _leave_agents(self) -> None:
        if self._settings.agents.on_shutdown == "stop":
            stopped = self.parts.fleet.agents.stop_all(GRACE_SECONDS)
            # Longer we do not stay: their supervisors carry it on, and KILL what is left after the grace.
            stopped.addTimeout(LEAVE_SECONDS, self._reactor, lambda _result, _seconds: None)
            await stopped
        self.parts.fleet.agents.close()

    async def _drained(self) -> None:
        """Wait until every connection is done with its answers, or time is up."""
        ends = self._reactor.seconds() + DRAIN_SECONDS
        while self.parts.web.site.connections and self._reactor.seconds() < ends:
            await deferLater(self._reactor, 0.02)
            self.parts.web.site.drain()
        for connection in list(self.parts.web.site.connections):
            connection.cut_off()


def _unforeseen(failure: Failure) -> None:
    _log.failure("something went wrong that should not", failure)


def _look_seconds(asked: AgentSettings) -> float:
    """Say how often agents are looked after: often enough for the shortest patience."""
    patience = [each for each in (asked.first_request_seconds, asked.silent_seconds, asked.busy_seconds) if each]
    return max(0.1, min([5.0, *(each / 10 for each in patience)]))


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(settings: Settings) -> int:
    """Run the sidecar in the foreground until it is told to stop; gives the exit code."""
    globalLogBeginner.beginLoggingTo([observer(settings.log_level)], redirectStandardIO=False)
    try:
        ground = claim(settings)
    except StartError as error:
        sys.stderr.write(f"cco-sidecar: {error}\n")
        return 1
    from twisted.internet import reactor

    service = SidecarService(reactor, ground, access_log(settings.log_level))
    reactor.callWhenRunning(service.start_or_stop)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 1 if service.failed else 0
