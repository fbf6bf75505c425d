"""Sees to it that budgets are kept: tells of limits, lets nobody start who has none left, has those end who run."""

from collections.abc import Mapping

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.agent_lives import GRACE_SECONDS
from cco_sidecar.core.agent_registry import Home
from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.budgets.budget import BudgetRecord, Crossing, Limits
from cco_sidecar.core.budgets.budgets import Budgets
from cco_sidecar.core.budgets.news import BudgetNews
from cco_sidecar.core.budgets.spending import Kind
from cco_sidecar.errors import Refusal

_log = Logger()


@define(eq=False)
class Steward:
    """Looks after the budgets of all projects.

    :param books: the budgets of each project, and how they are told of.
    :param grace_seconds: how long an agent may take to come to an end by itself.
    """

    _clock: IReactorTime
    _agents: Agents
    _books: Mapping[str, tuple[Budgets, BudgetNews]]
    _grace_seconds: float
    _telling: set[tuple[str, str, Crossing]] = field(factory=set)
    _told: set[str] = field(factory=set)

    def set(
        self, project_id: str, kind: Kind, name: str, limits: Limits, *, reset: bool = False
    ) -> "Deferred[BudgetRecord]":
        """Fire when a budget is set, and what follows from it is begun; raises as `Budgets.set`."""
        setting = self._books[project_id][0].set(kind, name, limits, reset=reset)
        return setting.addCallback(self._changed)

    def remove(self, project_id: str, kind: Kind, name: str) -> "Deferred[BudgetRecord]":
        """Fire when a budget is removed, and what follows from it is begun; raises as `Budgets.remove`."""
        return self._books[project_id][0].remove(kind, name).addCallback(self._changed)

    def _changed(self, record: BudgetRecord) -> BudgetRecord:
        self.check()
        self._agents.lives.pump()
        return record

    def exhausted(self, project_id: str, agent_id: str) -> str | None:
        """Say in a sentence that an agent has no budget any more, and what helps; None while it has, or is not ours."""
        agent = self._agents.find(project_id, agent_id)
        return None if agent is None else self._exhausted(agent)

    def withheld(self, agent_id: str) -> str | None:
        """Say why an agent in the queue does not start; None if it has a budget."""
        return self._exhausted(self._agents.home_of(agent_id).rows.get(agent_id))

    def _exhausted(self, agent: Agent) -> str | None:
        why = self._books[agent.project_id][0].exhausted(agent)
        return None if why is None else f"{why}: it goes on when that is raised or removed (cco budget set, remove)"

    def check(self) -> None:
        """Look at all budgets, and at the agents that run."""
        self._told &= {agent.agent_id for home in self._agents.homes for agent in home.rows.live}
        for project_id, (budgets, news) in self._books.items():
            for budget, crossing in budgets.check():
                self._tell(project_id, budget, crossing)
            home = self._agents.home(project_id)
            for agent in budgets.spending.live:
                why = budgets.exhausted(agent)
                if agent.is_ending:
                    continue
                if why is None:
                    self._let_go_on(home, news, agent)
                else:
                    self._have_end(home, news, agent, why)

    def _tell(self, project_id: str, budget: BudgetRecord, crossing: Crossing) -> None:
        budgets, news = self._books[project_id]
        mark = (project_id, budget.name, crossing)
        if mark in self._telling:
            return
        self._telling.add(mark)

        def told(outcome: object) -> None:
            self._telling.discard(mark)
            if isinstance(outcome, Failure):
                _untold(outcome)  # the next look tries again
            else:
                budgets.told(budget, crossing)

        _log.info("{budget}: {far} of its {what}", budget=budget.name, far=crossing.level, what=crossing.what)
        news.publish(budget, crossing).addBoth(told)

    def _have_end(self, home: Home, news: BudgetNews, agent: Agent, why: str) -> None:
        now = self._clock.seconds()
        if agent.over_budget_at is None:
            agent = evolve(agent, over_budget=why, over_budget_at=now)
            self._agents.save(home, agent)
            _log.info("agent {id} is to end: {why}", id=agent.agent_id, why=why)
        if agent.agent_id not in self._told:  # the one before may have ended before it could tell
            self._told.add(agent.agent_id)
            news.tell(agent, self._grace_seconds).addErrback(self._not_told, agent.agent_id)
        if now >= (agent.over_budget_at or 0.0) + self._grace_seconds:
            self._agents.kill(agent.project_id, agent.agent_id, GRACE_SECONDS).addErrback(_unforeseen)

    def _not_told(self, failure: Failure, agent_id: str) -> None:
        self._told.discard(agent_id)
        _untold(failure)

    def _let_go_on(self, home: Home, news: BudgetNews, agent: Agent) -> None:
        if agent.over_budget_at is not None:
            self._told.discard(agent.agent_id)
            news.tell_to_go_on(agent).addErrback(_untold)
            self._agents.save(home, evolve(agent, over_budget="", over_budget_at=None))


def _untold(failure: Failure) -> None:
    failure.trap(Refusal, CancelledError)
    _log.warn("what became of a budget is not told: {why}", why=failure.getErrorMessage())


def _unforeseen(failure: Failure) -> None:
    _log.failure("an agent without a budget could not be ended", failure)
