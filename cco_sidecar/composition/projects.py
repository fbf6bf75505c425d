"""Builds a project: its journal, its ledger, and all that keeps its state there."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define

from cco_sidecar.backends.journal import FileJournal
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.writer_process import WriterProcess
from cco_sidecar.composition import ids
from cco_sidecar.composition.base import Base
from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.budgets.budgets import Budgets
from cco_sidecar.core.budgets.spending import Spending
from cco_sidecar.core.checkpoints import Checkpoints
from cco_sidecar.core.claims.claims import Claims
from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.events.subscriptions import Subscriptions
from cco_sidecar.core.fences import Fences
from cco_sidecar.core.hooks.hooks import Hooks
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.issue_texts import IssueTexts
from cco_sidecar.core.issues import Issues
from cco_sidecar.core.ledger import Keeper, Ledger
from cco_sidecar.core.messages.messages import Messages
from cco_sidecar.core.messages.news import MessageNews
from cco_sidecar.core.messages.people import People
from cco_sidecar.core.parking import Parking
from cco_sidecar.core.projects import Project
from cco_sidecar.core.tasks.news import TaskNews
from cco_sidecar.core.tasks.tasks import Tasks
from cco_sidecar.core.tenure import Holder, Tenure
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.webhooks.courier import Courier
from cco_sidecar.core.webhooks.registry import Webhooks
from cco_sidecar.core.webhooks.retries import Retries
from cco_sidecar.core.workflows.runs import Runs


@define(eq=False)
class ProjectLog:
    """A project's journal and what it knows of it."""

    project: Project
    journal: FileJournal


@define(eq=False)
class ProjectBuilder:
    """Builds projects.

    :param agents: gives all agents, which are built after the projects.
    """

    _base: Base
    _agents: Callable[[], Agents]

    def build(self, project_id: str, root: Path) -> ProjectLog:
        """Build all that belongs to one project; nothing is recovered yet."""
        base = self._base
        reactor, settings = base.reactor, base.ground.settings
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
            base.polls,
            issues.mark,
            Ring(settings.events.max_events, settings.events.retention_seconds),
            lambda: ids.new_id()[:8],
            base.measurements.delivered,
            base.wheel,
        )
        book = TokenBook(reactor, ledger, base.epoch)
        keys = Idempotency(reactor)
        letters = DeadLetters(reactor, ledger, lambda: ids.new_id()[:16])
        webhooks = self._build_webhooks(ledger, hub, letters)
        texts, runs = IssueTexts(reactor, ledger), Runs(ledger)
        fences, checkpoints = Fences(), Checkpoints(reactor, ledger)
        tenure = Tenure(
            book,
            lambda agent_id: self._agents().knows(project_id, agent_id),
            lambda agent_id: self._agents().is_gone(project_id, agent_id),
        )
        parking = Parking(base.wheel, base.polls)
        rights = (fences, tenure, parking, base.wheel)
        claims = Claims(reactor, ledger, hub, *rights, str(root), lambda: ids.new_id()[:16])
        tasks = Tasks(reactor, ledger, *rights, TaskNews(hub, letters), lambda: ids.new_id()[:16])
        people = People(
            ledger,
            tenure,
            lambda: self._agents_of(project_id),
            lambda agent_id: self._agent_of(project_id, agent_id),
            base.ground.roster.types,
            lambda issue_id: issues.find(issue_id) is not None,
        )
        messages = Messages(reactor, ledger, people, parking, base.wheel, MessageNews(hub), lambda: ids.new_id()[:16])
        spending = Spending(lambda agent: self._agents().work.usage_of(agent))  # noqa: PLW0108 - there are none yet
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
        base = self._base
        reactor, settings = base.reactor, base.ground.settings.webhooks
        courier = Courier(
            reactor,
            base.sender,
            hub.ring,
            letters,
            base.sending,
            Retries(settings.max_attempts, settings.first_retry_seconds, settings.most_retry_seconds),
            random.random,
            base.measurements.webhook_attempted,
        )
        return Webhooks(
            reactor, ledger, hub, base.sender, base.webhook_keys, letters, courier, lambda: ids.new_id()[:24]
        )

    def _agents_of(self, project_id: str) -> list[Holder]:
        return [
            _holder(agent) for agent in self._agents().home(project_id).rows if not agent.ended and not agent.is_ending
        ]

    def _agent_of(self, project_id: str, agent_id: str) -> Holder | None:
        agent = self._agents().find(project_id, agent_id)
        return None if agent is None else _holder(agent)


def _holder(agent: Agent) -> Holder:
    """Say who an agent is that was started here: it lives as long as its process, whatever its tokens."""
    return Holder(agent.agent_id, agent.agent_type, agent.issue_id, "", 0.0)
