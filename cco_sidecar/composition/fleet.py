"""All that has to do with agents' processes: how they are started, watched, heard, parked and paid for."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from cco_sidecar.backends.agents.accounts import AccountNames
from cco_sidecar.backends.agents.hearing import Hearing
from cco_sidecar.backends.agents.provisions import Provisions
from cco_sidecar.backends.agents.runners import packaged_runners, parse_runners
from cco_sidecar.composition import ids
from cco_sidecar.composition.base import Base
from cco_sidecar.composition.projects import ProjectLog
from cco_sidecar.core.account_watch import AccountWatch
from cco_sidecar.core.admission import Admission
from cco_sidecar.core.agent_care import AgentCare, Patience
from cco_sidecar.core.agent_lives import AgentHooks
from cco_sidecar.core.agent_parking import ParkingLimits
from cco_sidecar.core.agent_rows import RUNNING, Agent
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.breaker import Breakers, Waits
from cco_sidecar.core.budgets.news import BudgetNews
from cco_sidecar.core.budgets.steward import Steward
from cco_sidecar.core.crash_loops import CrashLoops
from cco_sidecar.core.events.hub import Draft
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.results import Report
from cco_sidecar.core.secrets.redacting import redact as redact_secrets
from cco_sidecar.core.tokens import TokenAuthority
from cco_sidecar.settings import Settings

MOST_LOOKS = 64
"""So many looks at agents' output, each bounded, in a row: after a restart all of it is read again."""
MOST_TAIL_LINES, MOST_TAIL_BYTES = 20, 4096
"""How much of an agent's log goes into the event that says it was given up."""


class Fleet:
    """The agents of all projects, and who looks after them.

    :param first_context: gives the context that an agent finds at its start.
    :param accept: stores the result of an agent that stored none itself.
    """

    def __init__(  # noqa: PLR0917 - each is a room of its own
        self,
        base: Base,
        logs: Sequence[ProjectLog],
        projects: Projects,
        tokens: TokenAuthority,
        first_context: "Callable[[Agent], Deferred[bytes]]",
        accept: "Callable[[str, Report], Deferred[object]]",
    ) -> None:
        reactor, ground, settings = base.reactor, base.ground, base.ground.settings
        self._base = base
        self._projects = projects
        self.runners = {**packaged_runners(), **_configured_runners(settings)}
        self.account_names = AccountNames(self.runners, os.environ, settings.home / "account-key")
        self.provisions = Provisions(
            reactor,
            reactor,
            projects,
            tokens,
            ground.roster,
            self.runners,
            base.run_directory,
            ground.url,
            first_context,
            ground.hook_keys,
            settings.hooks.on_failure,
        )
        self.hearing = Hearing(self.runners, base.launcher.log_path, base.workers.run, accept)
        self.agents = self._build_agents()
        self.care = AgentCare(
            reactor,
            self.agents,
            self._patience_of,
            base.launcher.look,
            lambda agent: base.polls.holds(f"{agent.project_id}/{agent.agent_id}"),
        )
        books = {log.project.id: (log.project.budgets, _news_of(log.project)) for log in logs}
        self.steward = Steward(reactor, self.agents, books, settings.agents.budget_grace_seconds)
        self.account_watch = AccountWatch(reactor, self.agents, self.hearing.is_answered, self._publish_in)
        for log in logs:
            budgets = log.project.budgets
            self.agents.add_project(log.project.id, log.project.ledger, budgets.spending)
            log.project.ledger.join(budgets)  # after the agents: see there

    def _build_agents(self) -> Agents:
        base, asked, waits = self._base, self._base.ground.settings.agents, self._base.ground.settings.breaker
        reactor = base.reactor
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
        breakers = Breakers(
            reactor,
            Waits(waits.first_wait_seconds, waits.most_wait_seconds, waits.login_wait_seconds, waits.resume_per_minute),
            random.random,
        )
        breakers.keep_in(self._projects.default.ledger)
        caps = {"project": asked.max_per_project, "type": asked.max_per_type, "parent": asked.max_per_parent}
        return Agents(
            base.epoch.turn,
            reactor,
            lambda: f"agent-{ids.new_id()[:16]}",
            base.launcher,
            Admission(
                asked.max_concurrent,
                caps=caps,
                per_minute=asked.max_starts_per_minute,
                held_until=loops.held_until,
                breakers=breakers,
                withheld=lambda agent_id: self.steward.withheld(agent_id),  # noqa: PLW0108 - there is none yet
            ),
            hooks,
            base.signs,
            loops,
            breakers,
            ParkingLimits(waits.max_parkings, waits.max_parked_seconds),
            asked.max_depth,
        )

    def _patience_of(self, agent: Agent) -> Patience:
        asked = self._base.ground.settings.agents
        runner = self.runners.get(agent.runner)
        own = None if runner is None else runner.first_request_seconds
        first_request = asked.first_request_seconds if own is None else own
        return Patience(first_request, asked.silent_seconds, asked.busy_seconds, asked.loop_requests)

    def _log_tail(self, agent_id: str) -> "Deferred[str]":
        def bounded(text: bytes) -> str:
            return redact_secrets(text[-MOST_TAIL_BYTES:].decode("utf-8", "replace"))[0]

        return self._base.last_lines(agent_id, MOST_TAIL_LINES).addCallback(bounded)

    def watch_work(self) -> "Deferred[None]":
        """Hear what the running agents have taken, and keep their budgets; fires when that is done."""
        return Deferred.fromCoroutine(self._watch_work())

    async def _watch_work(self) -> None:
        for _ in range(MOST_LOOKS):
            agents = [agent for home in self.agents.homes for agent in home.rows.live if agent.status == RUNNING]
            heard = await self.hearing.listen(agents)
            for agent_id, work in heard.work.items():
                if self._base.signs.of(agent_id) is not None:  # it has not ended meanwhile
                    self.agents.work.note(agent_id, work)
            if not heard.is_behind:
                break
        self.steward.check()

    def _publish_in(self, project_id: str, draft: Draft) -> "Deferred[object]":
        project = self._projects.find(project_id)
        if project is None:
            return succeed(None)  # it is not configured any more
        return project.hub.publish(draft).addCallback(lambda published: published)


def _news_of(project: Project) -> BudgetNews:
    return BudgetNews(project.hub, project.keys, project.messages)


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
