"""The composition: builds every object of the sidecar and joins them; nothing is started here."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from cco_sidecar.access_log import AccessLog
from cco_sidecar.backends.key_rotation import KeyRotation
from cco_sidecar.backends.private import write_private
from cco_sidecar.composition import ids
from cco_sidecar.composition.base import Base
from cco_sidecar.composition.fleet import Fleet
from cco_sidecar.composition.projects import ProjectBuilder
from cco_sidecar.composition.web import Inside, Web
from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.results import Report, Results
from cco_sidecar.core.roster import ALL_PERMISSIONS
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.tokens import ADMIN_SECONDS, TokenAuthority
from cco_sidecar.core.workflows.definition import NextAgent, next_agents
from cco_sidecar.core.workflows.engine import Engine
from cco_sidecar.core.workflows.evidence import Evidence
from cco_sidecar.ground import Ground
from cco_sidecar.web.tokens import MOST_TTL_SECONDS

WORKFLOW = "tdd"
"""Who comes next where no workflow is run for the issue."""


class Composition:
    """Every object of one sidecar; ``is_ready`` says whether requests are taken."""

    def __init__(self, reactor: Any, ground: Ground, is_ready: Callable[[], bool], access: AccessLog) -> None:
        settings = ground.settings
        base = self.base = Base(reactor, ground, access)
        builder = ProjectBuilder(base, lambda: self.fleet.agents)
        self.logs = [builder.build(name, root) for name, root in settings.projects.items()]
        self.projects = Projects({log.project.id: log.project for log in self.logs})
        self.tokens = TokenAuthority(
            reactor,
            ground.keys,
            ids.new_id,
            book_of=self._book_of,
            is_gone=self._is_gone,
            ttl_seconds=settings.tokens.ttl_seconds,
            refresh_before_seconds=settings.tokens.refresh_before_seconds,
            epoch=base.epoch,
        )
        self.fleet = Fleet(base, self.logs, self.projects, self.tokens, self._first_context, self._accept_result)
        longest = max(settings.tokens.ttl_seconds, MOST_TTL_SECONDS, ADMIN_SECONDS)
        self.rotation = KeyRotation(
            reactor, settings.home / "keys", self.tokens, base.workers.run, longest, self._reissue_tokens
        )
        self.engines = {log.project.id: self._build_engine(log.project) for log in self.logs}
        self.results = Results(
            reactor,
            base.store,
            ids.new_id,
            started_here=self.fleet.agents.knows,
            stored=self.fleet.agents.result_stored,
            next_agents=self._next_agents,
        )
        inside = Inside(
            base, self.logs, self.projects, self.tokens, self.rotation, self.fleet, self.engines, self.results
        )
        self.web = Web(inside, is_ready)

    def write_admin_token(self) -> "Deferred[None]":
        """Replace the file that has the admin's token."""
        text = self.tokens.issue_admin(ALL_PERMISSIONS).text.encode() + b"\n"
        return self.base.workers.run(lambda: write_private(self.base.ground.settings.home / "admin-token", text))

    def _reissue_tokens(self) -> "Deferred[None]":
        """After the keys were revoked: end what is parked under dead tokens, and replace the token files."""
        for log in self.logs:
            log.project.end_refused()

        async def replace() -> None:
            await self.write_admin_token()
            await self.fleet.provisions.reissue_all()

        return Deferred.fromCoroutine(replace())

    def _accept_result(self, project_id: str, report: Report) -> "Deferred[object]":
        accepting = self.results.accept(self.projects.get(project_id), report, None)
        return Deferred.fromCoroutine(accepting).addCallback(lambda accepted: accepted)

    def _build_engine(self, project: Project) -> Engine:
        evidence = Evidence(project.id, self.base.store, self.base.last_lines)
        return Engine(
            self.base.reactor,
            project,
            self.fleet.agents,
            self.base.ground.roster,
            evidence.of,
            lambda: ids.new_id()[:16],
        )

    def _book_of(self, project_id: str) -> TokenBook | None:
        # The admin's tokens name no project: the default project remembers them.
        project = self.projects.default if project_id == "*" else self.projects.find(project_id)
        return None if project is None else project.tokens

    def _is_gone(self, project_id: str, agent_id: str) -> bool:
        return self.fleet.agents.is_gone(project_id, agent_id)

    def _next_agents(self, project: Project, report: Report) -> list[NextAgent]:
        run = project.runs.find(report.issue_id)
        workflow = self.base.ground.roster.workflows.get(WORKFLOW if run is None else run.workflow)
        return [] if workflow is None else next_agents(workflow, report.agent_type, report.status)

    def _first_context(self, agent: Agent) -> "Deferred[bytes]":
        return Deferred.fromCoroutine(self.web.context.first(agent))
