"""The house's front: the handlers of all routes, the route table, and the site that listens."""

import secrets
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from cco_sidecar.access_log import Entry
from cco_sidecar.backends.agents.runners import DEFAULT_RUNNER, check_extra
from cco_sidecar.backends.key_rotation import KeyRotation
from cco_sidecar.backends.listening import served_names
from cco_sidecar.composition import ids
from cco_sidecar.composition.base import Base
from cco_sidecar.composition.fleet import Fleet
from cco_sidecar.composition.projects import ProjectLog
from cco_sidecar.core.limits import RateLimiter
from cco_sidecar.core.projects import Projects
from cco_sidecar.core.results import Results
from cco_sidecar.core.tokens import TokenAuthority
from cco_sidecar.core.webhooks.signing import NEW_BYTES
from cco_sidecar.core.workflows.engine import Engine
from cco_sidecar.logs import redact
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
from cco_sidecar.web.tokens import TokensAPI
from cco_sidecar.web.webhooks import WebhooksAPI
from cco_sidecar.web.wire import Wire


@frozen
class Inside:
    """What the routes are about."""

    base: Base
    logs: Sequence[ProjectLog]
    projects: Projects
    tokens: TokenAuthority
    rotation: KeyRotation
    fleet: Fleet
    engines: Mapping[str, Engine]
    results: Results


class Web:
    """The routes, and the site that serves them; ``is_ready`` says whether requests are taken."""

    def __init__(self, inside: Inside, is_ready: Callable[[], bool]) -> None:
        base, fleet = inside.base, inside.fleet
        reactor, settings, roster = base.reactor, base.ground.settings, base.ground.roster
        self._base = base
        gate = Gate(inside.projects, inside.tokens, roster, RateLimiter(reactor), fleet.agents, base.ground.hook_keys)
        sources = _sources(inside)
        base.measurements.registry.register(SidecarCollector(sources))
        description = OpenAPI()
        self.context = context = ContextAPI(
            reactor, base.gatherer, base.store, roster, inside.projects, fleet.agents.task_of, base.workers.run
        )
        events = EventsAPI(reactor, inside.tokens, roster)
        briefings = Briefings(reactor, fleet.agents, base.store)
        apis = APIs(
            accounts=ModelAccountsAPI(fleet.account_watch),
            agents=AgentsAPI(
                reactor,
                fleet.agents,
                roster,
                inside.projects,
                fleet.runners,
                DEFAULT_RUNNER,
                settings.agents.default_timeout_seconds,
                check_extra,
                base.read_log,
                fleet.provisions.has_context,
                base.ground.url,
            ),
            budgets=BudgetsAPI(fleet.steward, inside.projects, roster),
            checkpoints=CheckpointsAPI(briefings),
            claims=ClaimsAPI(reactor, events.reader),
            context=context,
            events=events,
            hooks=HooksAPI(fleet.agents, base.store, briefings, base.look_at, fleet.steward.exhausted),
            issues=IssuesAPI(
                inside.engines,
                fleet.agents,
                base.store,
                roster,
                fleet.runners,
                DEFAULT_RUNNER,
                settings.agents.default_timeout_seconds,
                base.ground.url,
            ),
            messages=MessagesAPI(reactor, events.reader),
            keys=KeysAPI(inside.tokens, inside.rotation.rotate),
            mcp=MCPAPI(reactor, gate),
            replays=ReplaysAPI(),
            results=ResultsAPI(reactor, inside.results, base.store, inside.projects, roster),
            status=StatusAPI(reactor, gate, sources, is_ready, reactor.seconds()),
            tasks=TasksAPI(reactor, events.reader, roster),
            tokens=TokensAPI(inside.tokens, roster, inside.projects, ids.new_id),
            webhooks=WebhooksAPI(lambda: secrets.token_bytes(NEW_BYTES)),
            openapi=description,
        )
        routes = route_table(apis)
        description.of(routes)
        apis.mcp.of(routes)
        hosts = served_names(settings.host, tuple(settings.allowed_hosts))
        new_request_id = ids.request_ids()
        door = FrontDoor(hosts, frozenset(settings.allowed_origins), new_request_id)
        named = {f"{route.method} {route.path}": route for route in routes}
        wire = Wire(
            door,
            gate,
            events,
            named["POST /api/events/<event_type>"],
            named["GET /api/events/wait/<types>"],
            Answering(reactor, gate, events, base.answers, new_request_id),
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

    def _log_request(self, request: SidecarRequest) -> None:
        now = self._base.reactor.seconds()
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
        self._base.answers.add(lambda: entry)


def _sources(inside: Inside) -> Sources:
    """Say where status and metrics find their numbers."""
    base = inside.base
    return Sources(
        projects=inside.projects,
        agents=inside.fleet.agents,
        measurements=base.measurements,
        settle=base.answers.settle,
        storage=base.ground.settings.storage,
        journal_troubles=lambda: [log.journal.trouble for log in inside.logs if log.journal.trouble],
        journal_bytes=lambda: sum(log.journal.size_bytes for log in inside.logs),
        journal_damaged=lambda: sum(log.journal.damaged for log in inside.logs),
        results_stored=lambda: base.store.stored,
        results_bytes=lambda: base.store.size_bytes,
        cache=base.gatherer,
    )
