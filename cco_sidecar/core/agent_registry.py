"""The rows of the agents of all projects, for those who look."""

from collections.abc import Callable, Iterable

from attrs import define, evolve, field, frozen
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.agent_rows import Agent, AgentRows, AgentTotals, Audience, Nobody, totals_of
from cco_sidecar.core.agent_work import AllWork
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.errors import NotFound


@frozen
class Home:
    """The agents of one project, and where they are written down."""

    rows: AgentRows
    ledger: Ledger


@define(eq=False)
class AgentRegistry:
    """Which agents there are, and how each is.

    :param changed: an agent's row is another from now on; what was known of its token has to be asked again.
    """

    _changed: Callable[[], None]
    work: AllWork = field(factory=AllWork, init=False)
    _homes: dict[str, Home] = field(factory=dict, init=False)
    _log = Logger()

    def add_project(self, project_id: str, ledger: Ledger, audience: Audience | None = None) -> None:
        """Take a project in, before its ledger is recovered; the audience hears of all its agents."""
        home = Home(AgentRows(self._changed, audience or Nobody()), ledger)
        ledger.join(home.rows)
        self._homes[project_id] = home

    @property
    def homes(self) -> Iterable[Home]:
        """The agents of each project."""
        return self._homes.values()

    def home(self, project_id: str) -> Home:
        """Give the agents of a project.

        :raises NotFound: there is no such project.
        """
        home = self._homes.get(project_id)
        if home is None:
            raise NotFound(f"There is no project {project_id!r}.", project_id=project_id)
        return home

    def home_of(self, agent_id: str) -> Home:
        """Give where an agent lives that there is."""
        return next(home for home in self._homes.values() if home.rows.find(agent_id) is not None)

    def get(self, project_id: str, agent_id: str) -> Agent:
        """Look an agent up.

        :raises NotFound: there is none by that id in that project.
        """
        return self.home(project_id).rows.get(agent_id)

    def listing(
        self,
        project_id: str,
        status: str | None = None,
        agent_type: str | None = None,
        issue_id: str | None = None,
        limit: int = 100,
    ) -> list[Agent]:
        """List agents of a project, newest first."""
        return self.home(project_id).rows.select(status, agent_type, issue_id, limit)

    def knows(self, project_id: str, agent_id: str) -> bool:
        """Say whether the agent was started here."""
        return self.find(project_id, agent_id) is not None

    def task_of(self, project_id: str, agent_id: str) -> str:
        """Give the task of an agent that was started here; empty for any other."""
        agent = self.find(project_id, agent_id)
        return "" if agent is None else agent.task

    def is_gone(self, project_id: str, agent_id: str) -> bool:
        """Say whether it was started here and has ended, or is being ended for good: then its tokens are dead."""
        agent = self.find(project_id, agent_id)
        return agent is not None and (agent.ended or agent.is_ending)

    def totals(self) -> AgentTotals:
        """Count the agents of all projects."""
        return totals_of(home.rows for home in self._homes.values())

    def result_stored(self, project_id: str, agent_id: str, result_id: str) -> None:
        """Note the newest result of an agent, if it is one of ours."""
        home = self.home(project_id)
        agent = home.rows.find(agent_id)
        if agent is not None:
            self.save(home, evolve(agent, result_id=result_id))

    def save(self, home: Home, agent: Agent) -> None:
        """Keep the agent as it is now, and write it down."""
        home.rows.put(agent)
        home.ledger.record("agent", agent).addErrback(self._unforeseen)

    def find(self, project_id: str, agent_id: str) -> Agent | None:
        """Look an agent up; None when there is none."""
        home = self._homes.get(project_id)
        return None if home is None else home.rows.find(agent_id)

    def _unforeseen(self, failure: Failure) -> None:
        self._log.failure("an agent could not be looked after", failure)
