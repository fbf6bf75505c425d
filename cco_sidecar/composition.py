"""The composition: builds every object of the sidecar and joins them; nothing is started here."""

import hashlib
import os
import random
import secrets
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from attrs import asdict, define
from twisted.internet.defer import Deferred, succeed

from cco_sidecar.access_log import AccessLog, Entry
from cco_sidecar.backends.agents.accounts import AccountNames
from cco_sidecar.backends.agents.hearing import Hearing
from cco_sidecar.backends.agents.launcher import AgentLauncher
from cco_sidecar.backends.agents.legible import legible
from cco_sidecar.backends.agents.limits import limits_of
from cco_sidecar.backends.agents.provisions import Provisions
from cco_sidecar.backends.agents.runners import DEFAULT_RUNNER, check_extra, packaged_runners, parse_runners
from cco_sidecar.backends.audit import AuditLog
from cco_sidecar.backends.files import ResultFiles
from cco_sidecar.backends.gatherer.service import Gatherer
from cco_sidecar.backends.journal import FileJournal
from cco_sidecar.backends.key_rotation import KeyRotation
from cco_sidecar.backends.listening import served_names
from cco_sidecar.backends.looking import look
from cco_sidecar.backends.private import write_private
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.threads import Workers, read_log
from cco_sidecar.backends.webhooks.keys import WebhookKeyFiles
from cco_sidecar.backends.webhooks.lookup import NameLookup
from cco_sidecar.backends.webhooks.sender import WebhookSender
from cco_sidecar.backends.writer_process import WriterProcess
from cco_sidecar.core.account_watch import AccountWatch
from cco_sidecar.core.admission import Admission
from cco_sidecar.core.agent_care import AgentCare, Patience
from cco_sidecar.core.agent_lives import AgentHooks
from cco_sidecar.core.agent_parking import ParkingLimits
from cco_sidecar.core.agent_rows import RUNNING, Agent
from cco_sidecar.core.agent_signs import AllSigns
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.breaker import Breakers, Waits
from cco_sidecar.core.budgets.budgets import Budgets
from cco_sidecar.core.budgets.news import BudgetNews
from cco_sidecar.core.budgets.spending import Spending
from cco_sidecar.core.budgets.steward import Steward
from cco_sidecar.core.checkpoints import Checkpoints
from cco_sidecar.core.claims.claims import Claims
from cco_sidecar.core.crash_loops import CrashLoops
from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.hub import Draft, EventHub
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.events.subscriptions import Subscriptions
from cco_sidecar.core.events.waiting import PollRoom
from cco_sidecar.core.fences import Fences
from cco_sidecar.core.hooks.files import FileSeen
from cco_sidecar.core.hooks.hooks import Hooks
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.issue_texts import IssueTexts
from cco_sidecar.core.issues import Issues
from cco_sidecar.core.ledger import Keeper, Ledger
from cco_sidecar.core.limits import RateLimiter
from cco_sidecar.core.messages.messages import Messages
from cco_sidecar.core.messages.news import MessageNews
from cco_sidecar.core.messages.people import People
from cco_sidecar.core.parking import Parking
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.results import Report, Results
from cco_sidecar.core.roster import ALL_PERMISSIONS
from cco_sidecar.core.secrets.redacting import redact as redact_secrets
from cco_sidecar.core.tasks.news import TaskNews
from cco_sidecar.core.tasks.tasks import Tasks
from cco_sidecar.core.tenure import Holder, Tenure
from cco_sidecar.core.token_book import Epoch, TokenBook
from cco_sidecar.core.tokens import ADMIN_SECONDS, TokenAuthority
from cco_sidecar.core.webhooks.addresses import AddressPolicy
from cco_sidecar.core.webhooks.courier import Courier
from cco_sidecar.core.webhooks.registry import Webhooks
from cco_sidecar.core.webhooks.retries import Retries
from cco_sidecar.core.webhooks.room import SendRoom
from cco_sidecar.core.webhooks.signing import NEW_BYTES
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.core.workflows.definition import NextAgent, next_agents
from cco_sidecar.core.workflows.engine import Engine
from cco_sidecar.core.workflows.evidence import Evidence
from cco_sidecar.core.workflows.runs import Runs
from cco_sidecar.ground import Ground
from cco_sidecar.logs import redact
from cco_sidecar.settings import Settings
from cco_sidecar.web.accounts import Accounts
from cco_sidecar.web.agents import AgentsAPI
from cco_sidecar.web.briefings import Briefings
from cco_sidecar.web.budgets import BudgetsAPI
from cco_sidecar.web.checkpoints import CheckpointsAPI
from cco_sidecar.web.claims import ClaimsAPI
from cco_sidecar.web.context import ContextAPI
from cco_sidecar.web.events import EventsAPI
from cco_sidecar.web.hooks import HooksAPI
from cco_sidecar.web.hot import Answering
from cco_sidecar.web.issues import IssuesAPI
from cco_sidecar.web.keys import KeysAPI
from cco_sidecar.web.mcp.api import MCPAPI
from cco_sidecar.web.measurements import Measurements
from cco_sidecar.web.messages import MessagesAPI
from cco_sidecar.web.model_accounts import ModelAccountsAPI
from cco_sidecar.web.openapi import OpenAPI
from cco_sidecar.web.replays import ReplaysAPI
from cco_sidecar.web.request import SidecarRequest
from cco_sidecar.web.results import ResultsAPI
from cco_sidecar.web.root import APIs, FrontDoor, body_limits, build_app, route_table
from cco_sidecar.web.routing import Gate, Pipeline
from cco_sidecar.web.site import SidecarSite
from cco_sidecar.web.status import SidecarCollector, Sources, StatusAPI
from cco_sidecar.web.tasks import TasksAPI
from cco_sidecar.web.tokens import MOST_TTL_SECONDS, TokensAPI
from cco_sidecar.web.webhooks import WebhooksAPI
from cco_sidecar.web.wire import Wire

MOST_GATHERINGS = 512
"""How many contexts may wait to be gathered: four times the fleet."""
MOST_LOOKS = 64
"""So many looks at agents' output, each bounded, in a row: after a restart all of it is read again."""
WORKFLOW = "tdd"
"""Who comes next where no workflow is run for the issue."""
MOST_TAIL_LINES, MOST_TAIL_BYTES = 20, 4096
"""How much of an agent's log goes into the event that says it was given up."""
NO_LOOPS = frozenset(
    {
        ("GET /api/events/wait/<types>", 200),
        ("POST /api/agents/<agent_id>/heartbeat", 200),
        ("POST /api/tokens/refresh", 200),
        ("POST /api/hooks/claude", 200),
    }
)
"""Answers that come again and again in good order, and are no work either."""


@define(eq=False)
class ProjectLog:
    """A project's journal and what it knows of it."""

    project: Project
    journal: FileJournal


def new_id() -> str:
    """Make an id that nobody can guess: 128 random bits."""
    return secrets.token_hex(16)


def request_ids() -> Callable[[], str]:
    """Make a source of ids for requests: unique, not secret, and cheap, for every request needs one."""
    beginning, numbers = secrets.token_hex(8), count(1)
    return lambda: f"{beginning}{next(numbers):012x}"


class Composition:
    """Every object of one sidecar; ``is_ready`` says whether requests are taken."""

    def __init__(self, reactor: Any, ground: Ground, is_ready: Callable[[], bool], access: AccessLog) -> None:
        self._reactor = reactor
        self._ground = ground
        self._settings = ground.settings
        self._is_ready = is_ready
        self._access = access
        self._build_core()
        self._build_web()

    def _build_core(self) -> None:
        reactor, settings = self._reactor, self._settings
        self.wheel = TimerWheel(reactor)
        self.epoch = Epoch()
        self.polls = PollRoom(settings.events.max_parked_polls)
        self.measurements = Measurements(reactor)
        self.signs = AllSigns()
        self.accounts = Accounts(reactor, self.measurements, self._access, self._note_answer)
        self.audit = AuditLog(reactor, settings.home / "audit.log")
        self.workers = Workers(reactor)
        self.store = ResultFiles(reactor, settings.storage / "results")
        self.gatherer = Gatherer(reactor, cache_bytes=settings.cache_size_mb * 1024 * 1024, queue_limit=MOST_GATHERINGS)
        self.webhook_keys = WebhookKeyFiles(settings.home / "webhooks", self.workers.run)
        self.sender = WebhookSender(
            reactor,
            AddressPolicy.of(settings.webhooks.allowed_networks),
            settings.webhooks.timeout_seconds,
            NameLookup(reactor),
        )
        self.sending = SendRoom()
        run_directory = settings.home / "run" / _storage_name(settings.storage)
        self.launcher = AgentLauncher(
            reactor,
            settings.storage / "logs" / "agents",
            run_directory / "agents",
            limits_of(asdict(settings.agents.limits)),
        )
        self.logs = [self._build_project(name, root) for name, root in settings.projects.items()]
        self.projects = Projects({log.project.id: log.project for log in self.logs})
        self.tokens = TokenAuthority(
            reactor,
            self._ground.keys,
            new_id,
            book_of=self._book_of,
            is_gone=self._is_gone,
            ttl_seconds=settings.tokens.ttl_seconds,
            refresh_before_seconds=settings.tokens.refresh_before_seconds,
            epoch=self.epoch,
        )
        self.runners = {**packaged_runners(), **_configured_runners(settings)}
        self.account_names = AccountNames(self.runners, os.environ, settings.home / "account-key")
        self.provisions = Provisions(
            reactor,
            reactor,
            self.projects,
            self.tokens,
            self._ground.roster,
            self.runners,
            run_directory,
            self._ground.url,
            self._first_context,
            self._ground.hook_keys,
            settings.hooks.on_failure,
        )
        longest = max(settings.tokens.ttl_seconds, MOST_TTL_SECONDS, ADMIN_SECONDS)
        self.rotation = KeyRotation(
            reactor, settings.home / "keys", self.tokens, self.workers.run, longest, self._reissue_tokens
        )
        self._build_agents()
        for log in self.logs:
            budgets = log.project.budgets
            self.agents.add_project(log.project.id, log.project.ledger, budgets.spending)
            log.project.ledger.join(budgets)  # after the agents: see there
        self.engines = {log.project.id: self._build_engine(log.project) for log in self.logs}
        self.results = Results(
            reactor,
            self.store,
            new_id,
            started_here=self.agents.knows,
            stored=self.agents.result_stored,
            next_agents=self._next_agents,
        )

    def _build_agents(self) -> None:
        reactor, asked = self._reactor, self._settings.agents
        self.hearing = Hearing(self.runners, self.launcher.log_path, self.workers.run, self._accept_result)
        hooks = AgentHooks(
            keep=self.provisions.keep,
            prepare=self.provisions.prepare,
            announce=self.provisions.announce,
            gone=self.provisions.gone,
            log_tail=self._log_tail,
            last_words=self.hearing.last_words,
            account_of=self.account_names.of,
        )
        loops = CrashLoops(
            asked.crash_loop_failures, asked.first_backoff_seconds, asked.most_backoff_seconds, random.random
        )
        waits = self._settings.breaker
        breakers = Breakers(
            reactor,
            Waits(waits.first_wait_seconds, waits.most_wait_seconds, waits.login_wait_seconds, waits.resume_per_minute),
            random.random,
        )
        breakers.keep_in(self.projects.default.ledger)
        caps = {"project": asked.max_per_project, "type": asked.max_per_type, "parent": asked.max_per_parent}
        self.agents = Agents(
            self.epoch.turn,
            reactor,
            lambda: f"agent-{new_id()[:16]}",
            self.launcher,
            Admission(
                asked.max_concurrent,
                caps=caps,
                per_minute=asked.max_starts_per_minute,
                held_until=loops.held_until,
                breakers=breakers,
                withheld=lambda agent_id: self.steward.withheld(agent_id),  # noqa: PLW0108 - there is none yet
            ),
            hooks,
            self.signs,
            loops,
            breakers,
            ParkingLimits(waits.max_parkings, waits.max_parked_seconds),
            asked.max_depth,
        )
        self.care = AgentCare(
            reactor,
            self.agents,
            self._patience_of,
            self.launcher.look,
            lambda agent: self.polls.holds(f"{agent.project_id}/{agent.agent_id}"),
        )
        books = {log.project.id: (log.project.budgets, _news_of(log.project)) for log in self.logs}
        self.steward = Steward(reactor, self.agents, books, asked.budget_grace_seconds)
        self.account_watch = AccountWatch(reactor, self.agents, self.hearing.is_answered, self._publish_in)

    def watch_work(self) -> "Deferred[None]":
        """Hear what the running agents have taken, and keep their budgets; fires when that is done."""
        return Deferred.fromCoroutine(self._watch_work())

    async def _watch_work(self) -> None:
        for _ in range(MOST_LOOKS):
            agents = [agent for home in self.agents.homes for agent in home.rows.live if agent.status == RUNNING]
            heard = await self.hearing.listen(agents)
            for agent_id, work in heard.work.items():
                if self.signs.of(agent_id) is not None:  # it has not ended meanwhile
                    self.agents.work.note(agent_id, work)
            if not heard.is_behind:
                break
        self.steward.check()

    def _publish_in(self, project_id: str, draft: Draft) -> "Deferred[object]":
        project = self.projects.find(project_id)
        if project is None:
            return succeed(None)  # it is not configured any more
        return project.hub.publish(draft).addCallback(lambda published: published)

    def write_admin_token(self) -> "Deferred[None]":
        """Replace the file that has the admin's token."""
        text = self.tokens.issue_admin(ALL_PERMISSIONS).text.encode() + b"\n"
        return self.workers.run(lambda: write_private(self._settings.home / "admin-token", text))

    def _reissue_tokens(self) -> "Deferred[None]":
        """After the keys were revoked: end what is parked under dead tokens, and replace the token files."""
        for log in self.logs:
            log.project.end_refused()

        async def replace() -> None:
            await self.write_admin_token()
            await self.provisions.reissue_all()

        return Deferred.fromCoroutine(replace())

    def _patience_of(self, agent: Agent) -> Patience:
        asked = self._settings.agents
        runner = self.runners.get(agent.runner)
        own = None if runner is None else runner.first_request_seconds
        first_request = asked.first_request_seconds if own is None else own
        return Patience(first_request, asked.silent_seconds, asked.busy_seconds, asked.loop_requests)

    def _log_tail(self, agent_id: str) -> "Deferred[str]":
        def bounded(text: bytes) -> str:
            return redact_secrets(text[-MOST_TAIL_BYTES:].decode("utf-8", "replace"))[0]

        return self._last_lines(agent_id, MOST_TAIL_LINES).addCallback(bounded)

    def _accept_result(self, project_id: str, report: Report) -> "Deferred[object]":
        accepting = self.results.accept(self.projects.get(project_id), report, None)
        return Deferred.fromCoroutine(accepting).addCallback(lambda accepted: accepted)

    def _note_answer(self, entry: Entry) -> None:
        if entry.agent is not None and (entry.route, entry.status) not in NO_LOOPS:
            self.signs.answered(entry.agent, entry.method, entry.path, entry.status)

    def _build_project(self, project_id: str, root: Path) -> ProjectLog:
        reactor, settings = self._reactor, self._settings
        directory = settings.storage / "events" / project_id
        journal = FileJournal(
            reactor,
            directory,
            snapshot=lambda: ledger.snapshot(),  # noqa: PLW0108 - there is no ledger yet
            mark=lambda: hub.last_numbered,
            horizon=lambda: hub.ring.evicted_through,
            start_writer=lambda handle, gone: WriterProcess.start(reactor, project_id, handle, gone),
            quarantine=Quarantine(settings.storage, ("quarantine", "events", project_id)),
        )
        ledger = Ledger(journal)
        issues = Issues(reactor, ledger, lambda: hub.sequence)  # a number on its way to the disk may come again
        hub = EventHub(
            reactor,
            ledger,
            project_id,
            Subscriptions(ledger),
            self.polls,
            issues.mark,
            Ring(settings.events.max_events, settings.events.retention_seconds),
            lambda: new_id()[:8],
            self.measurements.delivered,
            self.wheel,
        )
        book = TokenBook(reactor, ledger, self.epoch)
        keys = Idempotency(reactor)
        letters = DeadLetters(reactor, ledger, lambda: new_id()[:16])
        webhooks = self._build_webhooks(ledger, hub, letters)
        texts, runs = IssueTexts(reactor, ledger), Runs(ledger)
        fences, checkpoints = Fences(), Checkpoints(reactor, ledger)
        tenure = Tenure(
            book,
            lambda agent_id: self.agents.knows(project_id, agent_id),
            lambda agent_id: self.agents.is_gone(project_id, agent_id),
        )
        parking = Parking(self.wheel, self.polls)
        rights = (fences, tenure, parking, self.wheel)
        claims = Claims(reactor, ledger, hub, *rights, str(root), lambda: new_id()[:16])
        tasks = Tasks(reactor, ledger, *rights, TaskNews(hub, letters), lambda: new_id()[:16])
        people = People(
            ledger,
            tenure,
            lambda: self._agents_of(project_id),
            lambda agent_id: self._agent_of(project_id, agent_id),
            self._ground.roster.types,
            lambda issue_id: issues.find(issue_id) is not None,
        )
        messages = Messages(reactor, ledger, people, parking, self.wheel, MessageNews(hub), lambda: new_id()[:16])
        spending = Spending(lambda agent: self.agents.work.usage_of(agent))  # noqa: PLW0108 - there are none yet
        budgets = Budgets(reactor, ledger, spending)
        keepers: Sequence[Keeper] = (hub, hub.subscriptions, issues, book, keys, letters, webhooks, texts, runs)
        for keeper in (*keepers, fences, claims, tasks, checkpoints, people, messages):
            ledger.join(keeper)
        project = Project(
            project_id,
            root,
            ledger,
            hub,
            issues,
            book,
            keys,
            letters,
            webhooks,
            texts,
            fences,
            claims,
            tasks,
            checkpoints,
            runs,
            messages,
            budgets,
            Hooks(reactor, hub, claims, tasks, messages),
        )
        return ProjectLog(project, journal)

    def _build_webhooks(self, ledger: Ledger, hub: EventHub, letters: DeadLetters) -> Webhooks:
        reactor, settings = self._reactor, self._settings.webhooks
        courier = Courier(
            reactor,
            self.sender,
            hub.ring,
            letters,
            self.sending,
            Retries(settings.max_attempts, settings.first_retry_seconds, settings.most_retry_seconds),
            random.random,
            self.measurements.webhook_attempted,
        )
        return Webhooks(reactor, ledger, hub, self.sender, self.webhook_keys, letters, courier, lambda: new_id()[:24])

    def _build_engine(self, project: Project) -> Engine:
        evidence = Evidence(project.id, self.store, self._last_lines)
        return Engine(self._reactor, project, self.agents, self._ground.roster, evidence.of, lambda: new_id()[:16])

    def _last_lines(self, agent_id: str, lines: int) -> "Deferred[bytes]":
        # Not each line of Claude Code's says something.
        path, most = self.launcher.log_path(agent_id), 4 * lines
        return self.workers.run(lambda: legible(read_log(path, most, 0)[0], lines))

    def _book_of(self, project_id: str) -> TokenBook | None:
        # The admin's tokens name no project: the default project remembers them.
        project = self.projects.default if project_id == "*" else self.projects.find(project_id)
        return None if project is None else project.tokens

    def _agents_of(self, project_id: str) -> list[Holder]:
        return [
            _holder(agent) for agent in self.agents.home(project_id).rows if not agent.ended and not agent.is_ending
        ]

    def _agent_of(self, project_id: str, agent_id: str) -> Holder | None:
        agent = self.agents.find(project_id, agent_id)
        return None if agent is None else _holder(agent)

    def _is_gone(self, project_id: str, agent_id: str) -> bool:
        return self.agents.is_gone(project_id, agent_id)

    def _next_agents(self, project: Project, report: Report) -> list[NextAgent]:
        run = project.runs.find(report.issue_id)
        workflow = self._ground.roster.workflows.get(WORKFLOW if run is None else run.workflow)
        return [] if workflow is None else next_agents(workflow, report.agent_type, report.status)

    def _first_context(self, agent: Agent) -> "Deferred[bytes]":
        return Deferred.fromCoroutine(self.context.first(agent))

    def _build_web(self) -> None:
        reactor, settings, roster = self._reactor, self._settings, self._ground.roster
        gate = Gate(self.projects, self.tokens, roster, RateLimiter(reactor), self.agents, self._ground.hook_keys)
        sources = Sources(
            projects=self.projects,
            agents=self.agents,
            measurements=self.measurements,
            settle=self.accounts.settle,
            storage=settings.storage,
            journal_troubles=lambda: [log.journal.trouble for log in self.logs if log.journal.trouble],
            journal_bytes=lambda: sum(log.journal.size_bytes for log in self.logs),
            journal_damaged=lambda: sum(log.journal.damaged for log in self.logs),
            results_stored=lambda: self.store.stored,
            results_bytes=lambda: self.store.size_bytes,
            cache=self.gatherer,
        )
        self.measurements.registry.register(SidecarCollector(sources))
        description = OpenAPI()
        self.context = ContextAPI(
            reactor, self.gatherer, self.store, roster, self.projects, self.agents.task_of, self.workers.run
        )
        events = EventsAPI(reactor, self.tokens, roster)
        briefings = Briefings(reactor, self.agents, self.store)
        apis = APIs(
            accounts=ModelAccountsAPI(self.account_watch),
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
                self._ground.url,
            ),
            budgets=BudgetsAPI(self.steward, self.projects, roster),
            checkpoints=CheckpointsAPI(briefings),
            claims=ClaimsAPI(reactor, events.reader),
            context=self.context,
            events=events,
            hooks=HooksAPI(self.agents, self.store, briefings, self._look_at, self.steward.exhausted),
            issues=IssuesAPI(
                self.engines,
                self.agents,
                self.store,
                roster,
                self.runners,
                DEFAULT_RUNNER,
                settings.agents.default_timeout_seconds,
                self._ground.url,
            ),
            messages=MessagesAPI(reactor, events.reader),
            keys=KeysAPI(self.tokens, self.rotation.rotate),
            mcp=MCPAPI(reactor, gate),
            replays=ReplaysAPI(),
            results=ResultsAPI(reactor, self.results, self.store, self.projects, roster),
            status=StatusAPI(reactor, gate, sources, self._is_ready, reactor.seconds()),
            tasks=TasksAPI(reactor, events.reader, roster),
            tokens=TokensAPI(self.tokens, roster, self.projects, new_id),
            webhooks=WebhooksAPI(lambda: secrets.token_bytes(NEW_BYTES)),
            openapi=description,
        )
        routes = route_table(apis)
        description.of(routes)
        apis.mcp.of(routes)
        hosts = served_names(settings.host, tuple(settings.allowed_hosts))
        new_request_id = request_ids()
        door = FrontDoor(hosts, frozenset(settings.allowed_origins), new_request_id)
        named = {f"{route.method} {route.path}": route for route in routes}
        wire = Wire(
            door,
            gate,
            events,
            named["POST /api/events/<event_type>"],
            named["GET /api/events/wait/<types>"],
            Answering(reactor, gate, events, self.accounts, new_request_id),
        )
        self.site = SidecarSite(
            build_app(routes, Pipeline(gate)).resource(),
            reactor,
            new_request_id=new_request_id,
            most_body_bytes=body_limits(routes),
            admit=door.refusal,
            log_request=self._log_request,
            fast_path=wire,
        )

    def _look_at(self, root: Path, path: str) -> "Deferred[FileSeen]":
        return self.workers.run(lambda: look(root, path))

    def _read_log(self, agent_id: str, tail: int | None, offset: int) -> "Deferred[tuple[bytes, int]]":
        return self.workers.run(lambda: read_log(self.launcher.log_path(agent_id), tail, offset))

    def _log_request(self, request: SidecarRequest) -> None:
        now = self._reactor.seconds()
        entry = Entry(
            request.route,
            request.method.decode("ascii", "replace"),
            redact(request.path.decode("utf-8", "replace")),
            request.code,
            now,
            max(0.0, now - request.arrived - request.parked_seconds),
            request.parked_seconds,
            request.request_id,
            request.correlation_id,
            request.agent,
        )
        self.accounts.add(lambda: entry)


def _news_of(project: Project) -> BudgetNews:
    return BudgetNews(project.hub, project.keys, project.messages)


def _holder(agent: Agent) -> Holder:
    """Say who an agent is that was started here: it lives as long as its process, whatever its tokens."""
    return Holder(agent.agent_id, agent.agent_type, agent.issue_id, "", 0.0)


def _configured_runners(settings: Settings) -> dict[str, Any]:
    given = {
        name: {
            "command": list(runner.command),
            "env": dict(runner.env),
            "first_request_seconds": runner.first_request_seconds,
            "output": runner.output,
            "resume": list(runner.resume or ()),
        }
        for name, runner in settings.agents.runners.items()
    }
    return dict(parse_runners(given))


def _storage_name(storage: Path) -> str:
    """Name a storage in a path: two sidecars of one home must not take each other's agents for their own."""
    return hashlib.sha256(os.fsencode(storage)).hexdigest()[:12]
