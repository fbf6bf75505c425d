"""The composition root: builds every object and joins them; the only module that sees web and backends together."""

import os
import resource
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger, globalLogBeginner, globalLogPublisher
from twisted.python.failure import Failure

from cco_sidecar import runfile
from cco_sidecar.backends.agents.launcher import AgentLauncher
from cco_sidecar.backends.agents.provisions import Provisions
from cco_sidecar.backends.agents.runners import DEFAULT_RUNNER, check_extra, packaged_runners, parse_runners
from cco_sidecar.backends.audit import AuditLog
from cco_sidecar.backends.files import ResultFiles
from cco_sidecar.backends.gatherer.service import Gatherer
from cco_sidecar.backends.journal import FileJournal
from cco_sidecar.backends.keys import load_keys
from cco_sidecar.backends.listening import PortError, bind, is_loopback, served_names
from cco_sidecar.backends.private import write_private
from cco_sidecar.backends.storage import StorageError, claim_storage, make_below
from cco_sidecar.backends.threads import Workers, read_log
from cco_sidecar.core.admission import Admission
from cco_sidecar.core.agent_rows import LIVE, Agent
from cco_sidecar.core.agents import GRACE_SECONDS, AgentHooks, Agents
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.events.subscriptions import Subscriptions
from cco_sidecar.core.events.waiting import PollRoom
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.issues import Issues
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.limits import RateLimit, RateLimiter
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.results import Results
from cco_sidecar.core.roster import ALL_PERMISSIONS, Roster, RosterError, parse_roster
from cco_sidecar.core.tokens import ADMIN_SECONDS, KeyRing, TokenAuthority, TokenBook
from cco_sidecar.core.workflows import NextAgent, next_agents
from cco_sidecar.logs import observer
from cco_sidecar.settings import Settings
from cco_sidecar.web.agents import AgentsAPI
from cco_sidecar.web.channel import SidecarRequest, SidecarSite
from cco_sidecar.web.context import ContextAPI
from cco_sidecar.web.events import EventsAPI
from cco_sidecar.web.measurements import Measurements
from cco_sidecar.web.openapi import OpenAPI
from cco_sidecar.web.results import ResultsAPI
from cco_sidecar.web.root import APIs, FrontDoor, body_limits, build_app, route_table
from cco_sidecar.web.routing import Gate, Pipeline
from cco_sidecar.web.status import SidecarCollector, Sources, StatusAPI
from cco_sidecar.web.tokens import TokensAPI

_log = Logger()
_access = Logger(namespace="cco_sidecar.access")

SWITCH_SECONDS = 0.0005
DRAIN_SECONDS = 1.5
LEAVE_SECONDS = 1.5
MOST_GATHERINGS = 512
"""How many contexts may wait to be gathered: four times the fleet."""
STOP_SECONDS = 4.5
SWEEP_SECONDS = 60.0
ROTATE_SECONDS = 600.0
WORKFLOW = "tdd"


class StartError(Exception):
    """The sidecar cannot start; one line that says why and what to do."""


@frozen
class Ground:
    """What must be ours before anything is built: storage, port, keys, roster. Claiming it blocks, and may fail."""

    settings: Settings
    storage_lock: int
    listener: socket.socket
    keys: KeyRing
    roster: Roster


def claim(settings: Settings) -> Ground:
    """Take storage and port, read keys and roster.

    :raises StartError: one of them cannot be had.
    """
    try:
        roster = _read_roster(settings)
        lock = claim_storage(settings.storage)
        for names in (("results",), ("events",), ("context-cache",), ("logs", "agents")):
            make_below(settings.storage, *names)
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = load_keys(settings.home / "keys")
        listener = bind(settings.host, settings.port)
    except (StorageError, PortError, RosterError, ValueError) as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"{error.filename or settings.home}: {error.strerror}") from error
    return Ground(settings, lock, listener, keys, roster)


def _read_roster(settings: Settings) -> Roster:
    from importlib import resources

    if settings.roster is None:
        source, text = "packaged roster", resources.files("cco_sidecar.data").joinpath("roster.json").read_bytes()
    else:
        source, text = str(settings.roster), settings.roster.read_bytes()
    limits = {
        name: RateLimit(bucket.per_minute, bucket.burst) for name, bucket in settings.rate_limits.categories.items()
    }
    return parse_roster(text, source=source, limits=limits, limited=settings.rate_limits.enabled)


@define(eq=False)
class _Log:
    """A project's journal and what it knows of it."""

    project: Project
    journal: FileJournal


def new_id() -> str:
    """Make an id that nobody can guess: 128 random bits."""
    return secrets.token_hex(16)


class SidecarService(MultiService):
    """The whole daemon: recovers, listens, and is truly stopped when `stopService` fires."""

    def __init__(self, reactor: Any, ground: Ground) -> None:
        super().__init__()
        self._reactor = reactor
        self._ground = ground
        self._settings = ground.settings
        self._ready = False
        self.failed = False
        self._closers: list[Callable[[], Any]] = []
        self._port_number = ground.listener.getsockname()[1]
        self._build_core()
        self._build_web()

    # Building

    @property
    def url(self) -> str:
        """Where the sidecar is reached from this machine."""
        host = self._settings.host
        if host in {"0.0.0.0", "::", "[::]", ""}:
            host = "127.0.0.1"
        elif ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self._port_number}"

    def _build_core(self) -> None:
        reactor, settings = self._reactor, self._settings
        self._room = PollRoom(settings.events.max_parked_polls)
        self.measurements = Measurements(reactor)
        self.audit = AuditLog(reactor, settings.home / "audit.log")
        self.workers = Workers(reactor)
        self.store = ResultFiles(reactor, settings.storage / "results")
        self.gatherer = Gatherer(reactor, cache_bytes=settings.cache_size_mb * 1024 * 1024, queue_limit=MOST_GATHERINGS)
        run_directory = settings.home / "run" / _storage_name(settings.storage)
        self.launcher = AgentLauncher(reactor, settings.storage / "logs" / "agents", run_directory / "agents")
        self._logs = [self._build_project(name, root) for name, root in settings.projects.items()]
        self.projects = Projects({log.project.id: log.project for log in self._logs})
        self.tokens = TokenAuthority(
            reactor,
            self._ground.keys,
            new_id,
            book_of=self._book_of,
            is_gone=self._is_gone,
            ttl_seconds=settings.tokens.ttl_seconds,
            refresh_before_seconds=settings.tokens.refresh_before_seconds,
        )
        self.runners = {**packaged_runners(), **_configured_runners(settings)}
        self.provisions = Provisions(
            reactor,
            reactor,
            self.projects,
            self.tokens,
            self._ground.roster,
            self.runners,
            run_directory,
            lambda: self.url,
            self._first_context,
        )
        hooks = AgentHooks(
            keep=self.provisions.keep,
            prepare=self.provisions.prepare,
            announce=self.provisions.announce,
            gone=self.provisions.gone,
            find=self.launcher.find,
            forget=self.launcher.forget,
        )
        admission = Admission(settings.agents.max_concurrent)
        self.agents = Agents(reactor, lambda: f"agent-{new_id()[:16]}", self.launcher, admission, hooks)
        for log in self._logs:
            self.agents.add_project(log.project.id, log.project.ledger)
        self.results = Results(
            reactor,
            self.store,
            new_id,
            started_here=self.agents.knows,
            stored=self.agents.result_stored,
            next_agents=self._next_agents,
        )

    def _build_project(self, project_id: str, root: Path) -> _Log:
        reactor, settings = self._reactor, self._settings
        directory = settings.storage / "events" / project_id
        journal = FileJournal(
            reactor,
            directory,
            snapshot=lambda: ledger.snapshot(),  # noqa: PLW0108 - there is no ledger yet
            mark=lambda: hub.last_numbered,
            horizon=lambda: hub.ring.evicted_through,
        )
        ledger = Ledger(journal)
        issues = Issues(reactor, ledger, lambda: hub.sequence)  # a number on its way to the disk may come again
        hub = EventHub(
            reactor,
            ledger,
            project_id,
            Subscriptions(ledger),
            self._room,
            issues.mark,
            Ring(settings.events.max_events, settings.events.retention_seconds),
            lambda: new_id()[:8],
            self.measurements.delivered,
        )
        book = TokenBook(reactor, ledger)
        keys = Idempotency(reactor)
        for keeper in (hub, hub.subscriptions, issues, book, keys):
            ledger.join(keeper)
        return _Log(Project(project_id, root, ledger, hub, issues, book, keys), journal)

    def _book_of(self, project_id: str) -> TokenBook | None:
        # The admin's tokens name no project: the default project remembers them.
        project = self.projects.default if project_id == "*" else self.projects.find(project_id)
        return None if project is None else project.tokens

    def _is_gone(self, project_id: str, agent_id: str) -> bool:
        return self.agents.is_gone(project_id, agent_id)

    def _next_agents(self, agent_type: str, status: str) -> list[NextAgent]:
        workflow = self._ground.roster.workflows.get(WORKFLOW)
        return [] if workflow is None else next_agents(workflow, agent_type, status)

    def _first_context(self, agent: Agent) -> "Deferred[bytes]":
        return Deferred.fromCoroutine(self.context.first(agent))

    def _build_web(self) -> None:
        reactor, settings, roster = self._reactor, self._settings, self._ground.roster
        gate = Gate(self.projects, self.tokens, roster, RateLimiter(reactor), self.agents)
        sources = Sources(
            projects=self.projects,
            agents=self.agents,
            measurements=self.measurements,
            storage=settings.storage,
            journal_troubles=lambda: [log.journal.trouble for log in self._logs if log.journal.trouble],
            journal_bytes=lambda: sum(log.journal.size_bytes for log in self._logs),
            results_stored=lambda: self.store.stored,
            results_bytes=lambda: self.store.size_bytes,
            cache=self.gatherer,
        )
        self.measurements.registry.register(SidecarCollector(sources))
        description = OpenAPI()
        self.context = ContextAPI(
            reactor, self.gatherer, self.store, roster, self.projects, self.agents.task_of, self.workers.run
        )
        apis = APIs(
            agents=AgentsAPI(
                reactor,
                self.agents,
                roster,
                self.projects,
                self.runners,
                DEFAULT_RUNNER,
                settings.agents.default_timeout_seconds,
                check_extra,
                self._read_log,
                self.provisions.has_context,
                lambda: self.url,
            ),
            context=self.context,
            events=EventsAPI(reactor, self.tokens, roster),
            results=ResultsAPI(reactor, self.results, self.store, self.projects, roster),
            status=StatusAPI(reactor, gate, sources, lambda: self._ready, reactor.seconds()),
            tokens=TokensAPI(self.tokens, roster, self.projects, new_id),
            openapi=description,
        )
        routes = route_table(apis)
        description.of(routes)
        hosts = served_names(settings.host, tuple(settings.allowed_hosts))
        door = FrontDoor(hosts, frozenset(settings.allowed_origins), new_id)
        self.site = SidecarSite(
            build_app(routes, Pipeline(gate)).resource(),
            reactor,
            new_request_id=new_id,
            most_body_bytes=body_limits(routes),
            admit=door.refusal,
            log_request=self._log_request,
        )

    def _read_log(self, agent_id: str, tail: int | None, offset: int) -> "Deferred[tuple[bytes, int]]":
        return self.workers.run(lambda: read_log(self.launcher.log_path(agent_id), tail, offset))

    def _log_request(self, request: SidecarRequest) -> None:
        seconds = max(0.0, self._reactor.seconds() - request.arrived - request.parked_seconds)
        self.measurements.answered(request.route, request.code, seconds)
        _access.info(
            "{method} {path} {status} {milliseconds} ms",
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("utf-8", "replace"),
            status=request.code,
            milliseconds=round(seconds * 1000, 2),
            parked_seconds=round(request.parked_seconds, 3),
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            agent=request.agent,
        )

    # Starting: nothing is served yet, so recovery may block

    def startService(self) -> None:
        """Recover, take up agents, then listen."""
        super().startService()
        sys.setswitchinterval(SWITCH_SECONDS)
        _raise_file_limit()
        for service in (self.audit, self.workers, self.store, self.gatherer, self.launcher):
            service.startService()
            self._at_end(service.stopService)
        globalLogPublisher.addObserver(self.audit)
        self._at_end(lambda: globalLogPublisher.removeObserver(self.audit))
        for log in self._logs:
            self._recover(log)
        self.provisions.start(max(0.2, min(20.0, self._settings.tokens.ttl_seconds / 20)))
        self._at_end(self.provisions.stop)
        self.measurements.start()
        self._at_end(self.measurements.stop)
        self._repeat(self._sweep, SWEEP_SECONDS)
        started = Deferred.fromCoroutine(self._go())
        started.addErrback(self._cannot_go)

    def _at_end(self, close: Callable[[], Any]) -> None:
        """Undo a step of the start at the stop: the last first."""
        self._closers.append(close)

    def _repeat(self, work: Callable[[], None], seconds: float) -> None:
        call = LoopingCall(work)
        call.clock = self._reactor
        ended = call.start(seconds, now=False).addErrback(_unforeseen)

        def stop() -> "Deferred[Any]":
            if call.running:
                call.stop()
            return ended

        self._at_end(stop)

    def _recover(self, log: _Log) -> None:
        recovery = log.journal.recover(log.project.ledger.restore)
        log.journal.open()
        self._at_end(log.journal.close)
        log.project.hub.open()
        _log.info(
            "project {project} at {root}: {events} events recovered from {records} records",
            project=log.project.id,
            root=str(log.project.root),
            events=len(log.project.hub.ring),
            records=recovery.records,
            damaged=recovery.damaged,
        )

    async def _go(self) -> None:
        live = [agent for log in self._logs for agent in self.agents.listing(log.project.id, limit=1_000_000)]
        for agent in live:
            if agent.status in LIVE and not agent.kill_requested:
                await self.provisions.renew(agent)
        self._at_end(self._leave_agents)
        await self.agents.readopt()
        self._write_admin_token()
        self._repeat(self._write_admin_token, ADMIN_SECONDS / 4)
        listener = self._ground.listener
        port = self._reactor.adoptStreamPort(listener.fileno(), listener.family, self.site)
        self._at_end(lambda: self._hang_up(port))
        listener.close()
        settings = self._settings
        entry = runfile.RunFile(
            self.url, self._port_number, os.getpid(), str(settings.storage), str(settings.home / "admin-token")
        )
        runfile.write(settings.home, settings.port, entry)
        self._at_end(lambda: runfile.remove(settings.home, settings.port, os.getpid()))
        self._ready = True
        _log.info("cco-sidecar listens on {url}", url=self.url)
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

    def _write_admin_token(self) -> None:
        # 600 bytes, four times an hour: not worth a thread.
        token = self.tokens.issue_admin(ALL_PERMISSIONS)
        write_private(self._settings.home / "admin-token", token.text.encode() + b"\n")

    def _sweep(self) -> None:
        """Let go of what is past its time, in memory and on disk."""
        now = self._reactor.seconds()
        for log in self._logs:
            log.project.hub.ring.evict(now)
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
        self.site.drain()
        for log in self._logs:
            log.project.hub.drain()
        await self._drained()

    async def _leave_agents(self) -> None:
        if self._settings.agents.on_shutdown == "stop":
            stopped = self.agents.stop_all(GRACE_SECONDS)
            # Longer we do not stay: their supervisors carry it on, and KILL what is left after the grace.
            stopped.addTimeout(LEAVE_SECONDS, self._reactor, lambda _result, _seconds: None)
            await stopped
        self.agents.close()

    async def _drained(self) -> None:
        """Wait until every connection is done with its answers, or time is up."""
        ends = self._reactor.seconds() + DRAIN_SECONDS
        while self.site.channels and self._reactor.seconds() < ends:
            await deferLater(self._reactor, 0.02)
            self.site.drain()
        for channel in list(self.site.channels):
            channel.transport.abortConnection()


def _unforeseen(failure: Failure) -> None:
    _log.failure("something went wrong that should not", failure)


def _configured_runners(settings: Settings) -> dict[str, Any]:
    given = {
        name: {"command": list(runner.command), "env": dict(runner.env)}
        for name, runner in settings.agents.runners.items()
    }
    return dict(parse_runners(given))


def _storage_name(storage: Path) -> str:
    """Name a storage in a path: two sidecars of one home must not take each other's agents for their own."""
    import hashlib

    return hashlib.sha256(os.fsencode(storage)).hexdigest()[:12]


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

    service = SidecarService(reactor, ground)
    reactor.callWhenRunning(service.start_or_stop)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 1 if service.failed else 0
