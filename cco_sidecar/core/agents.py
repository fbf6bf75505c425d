"""The agents of all projects: admitted, started, watched, killed, found again; their states follow their processes."""

from collections.abc import Callable, Mapping
from functools import partial

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.admission import Admission
from cco_sidecar.core.agent_news import AgentNews, Announce
from cco_sidecar.core.agent_rows import (
    COMPLETED,
    FAILED,
    KILLED,
    LIVE,
    LOST,
    QUEUED,
    RUNNING,
    STARTING,
    Agent,
    AgentRows,
    AgentTotals,
    SpawnOrder,
    totals_of,
)
from cco_sidecar.core.ledger import KeyRecord, Ledger
from cco_sidecar.core.shielding import shielded
from cco_sidecar.errors import NotFound, Refusal, SpawnFailed
from cco_sidecar.interfaces import Ended, IAgentLauncher, Launched, LaunchOrder

GRACE_SECONDS = 30.0


@frozen
class AgentHooks:
    """What goes on around an agent's life, composed elsewhere; after a crash each may come again, to no new effect.

    :param keep: keeps the values of the spawn's ``environment``, outside of the ledger, until `prepare` wants them.
    :param prepare: makes all it takes to start: the token and its file, the environment, the command.
    :param announce: publishes a lifecycle event and fires when it is on disk.
    :param gone: the agent's token is dead when this returns; what was kept and prepared may go. Called before the first
        signal of a kill, and at the end.
    :param find: the launcher's search for an agent whose start was not recorded.
    :param forget: the launcher's notes on the agent's end are not needed any more.
    :param changed: an agent's row is another from now on; what was known of its token has to be asked again.
    """

    keep: Callable[[Agent, Mapping[str, str]], "Deferred[None]"]
    prepare: Callable[[Agent], "Deferred[LaunchOrder]"]
    announce: Announce
    gone: Callable[[Agent], None]
    find: Callable[[str], "Deferred[Launched | None]"]
    forget: Callable[[str], None]
    changed: Callable[[], None] = lambda: None


@frozen
class _Project:
    rows: AgentRows
    ledger: Ledger


@define(eq=False)
class Agents:
    """Starts agents within the cap, by priority, and follows each to its one end.

    :param new_id: makes agent ids.
    """

    _clock: IReactorTime
    _new_id: Callable[[], str]
    _launcher: IAgentLauncher
    _admission: Admission
    _hooks: AgentHooks
    _news: AgentNews = field(init=False)
    _projects: dict[str, _Project] = field(factory=dict)
    _starts: "dict[str, Deferred[Agent]]" = field(factory=dict)
    _ends: "dict[str, list[Deferred[Agent]]]" = field(factory=dict)
    _graces: dict[str, float] = field(factory=dict)
    _closed: bool = False
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._news = AgentNews(self._clock, self._hooks.announce, lambda agent: self._hooks.forget(agent.agent_id))

    def add_project(self, project_id: str, ledger: Ledger) -> None:
        """Take a project in, before its ledger is recovered."""
        project = _Project(AgentRows(self._hooks.changed), ledger)
        ledger.join(project.rows)
        self._projects[project_id] = project

    def spawn(self, order: SpawnOrder, key: Callable[[Agent], KeyRecord] | None = None) -> "Deferred[Agent]":
        """Fire with the agent, running or queued.

        :param key: makes the idempotency record that is written together with the intent.
        :raises TooManyRequests: the queue is full.
        :raises SpawnFailed: its process could not be started.
        :raises StorageFull: nothing was accepted; `EventLogUnavailable` likewise.
        """
        return shielded(Deferred.fromCoroutine(self._spawn(order, key)))

    def kill(self, project_id: str, agent_id: str, grace_seconds: float) -> "Deferred[Agent]":
        """Fire with the agent when it and all its descendants are gone; one that waits in the queue never starts.

        :param grace_seconds: between SIGTERM and SIGKILL; 0 is SIGKILL at once.
        :raises NotFound: there is no such agent.
        """
        return shielded(Deferred.fromCoroutine(self._kill(project_id, agent_id, grace_seconds)))

    def get(self, project_id: str, agent_id: str) -> Agent:
        """Look an agent up.

        :raises NotFound: there is none by that id in that project.
        """
        return self._project(project_id).rows.get(agent_id)

    def listing(
        self,
        project_id: str,
        status: str | None = None,
        agent_type: str | None = None,
        issue_id: str | None = None,
        limit: int = 100,
    ) -> list[Agent]:
        """List agents of a project, newest first."""
        return self._project(project_id).rows.select(status, agent_type, issue_id, limit)

    def knows(self, project_id: str, agent_id: str) -> bool:
        """Say whether the agent was started here."""
        project = self._projects.get(project_id)
        return project is not None and project.rows.find(agent_id) is not None

    def find(self, project_id: str, agent_id: str) -> Agent | None:
        """Look an agent up; None when there is none."""
        project = self._projects.get(project_id)
        return None if project is None else project.rows.find(agent_id)

    def task_of(self, project_id: str, agent_id: str) -> str:
        """Give the task of an agent that was started here; empty for any other."""
        project = self._projects.get(project_id)
        agent = None if project is None else project.rows.find(agent_id)
        return "" if agent is None else agent.task

    def is_gone(self, project_id: str, agent_id: str) -> bool:
        """Say whether it was started here and has ended, or is being killed: then its tokens are dead."""
        project = self._projects.get(project_id)
        agent = None if project is None else project.rows.find(agent_id)
        return agent is not None and (agent.ended or agent.kill_requested)

    def totals(self) -> AgentTotals:
        """Count the agents of all projects."""
        return totals_of(project.rows for project in self._projects.values())

    def result_stored(self, project_id: str, agent_id: str, result_id: str) -> None:
        """Note the newest result of an agent, if it is one of ours."""
        project = self._project(project_id)
        agent = project.rows.find(agent_id)
        if agent is not None:
            self._save(project, evolve(agent, result_id=result_id))

    def readopt(self) -> "Deferred[None]":
        """Take up, after a recovery, the agents that an earlier sidecar started or queued; fires when all are found."""
        searches = []
        waiting = []
        for project in self._projects.values():
            for agent in project.rows:
                if agent.status == QUEUED:
                    waiting.append(agent)
                elif agent.status in LIVE:
                    self._admission.occupy(agent.agent_id)
                    searches.append(Deferred.fromCoroutine(self._take_up(project, agent)))
                else:
                    self._tell(project, agent)
        for agent in sorted(waiting, key=lambda agent: agent.created_at):
            self._admission.enter(agent.agent_id, agent.priority)
        self._pump()
        return DeferredList(searches).addCallback(lambda _: None)

    def close(self) -> None:
        """Start nothing from now on; agents run on."""
        self._closed = True
        self._news.close()

    def stop_all(self, grace_seconds: float) -> "Deferred[None]":
        """Kill all that run; fires when they are gone. What waits in the queue starts after a restart."""
        self._closed = True
        kills = [
            self.kill(agent.project_id, agent.agent_id, grace_seconds).addErrback(self._unforeseen)
            for project in self._projects.values()
            for agent in project.rows.live
        ]
        return DeferredList(kills).addCallback(lambda _: None)

    async def _spawn(self, order: SpawnOrder, key: Callable[[Agent], KeyRecord] | None) -> Agent:
        project = self._project(order.project_id)
        known = None if order.agent_id is None else project.rows.find(order.agent_id)
        if known is not None:
            return known
        if self._closed:
            raise SpawnFailed("The sidecar is stopping: spawn again when it is back.", reason="stopping")
        self._admission.reserve()
        try:
            agent = await self._accept(project, order, key)
        finally:
            self._admission.release()
        if project.rows.get(agent.agent_id).kill_requested:
            return self._finish(project, agent.agent_id, KILLED)
        start: Deferred[Agent] = Deferred()
        self._starts[agent.agent_id] = start
        self._admission.enter(agent.agent_id, agent.priority)
        self._pump()
        if self._admission.waits(agent.agent_id):
            del self._starts[agent.agent_id]
            return agent
        return await start

    async def _accept(self, project: _Project, order: SpawnOrder, key: Callable[[Agent], KeyRecord] | None) -> Agent:
        """Make the intent durable: from here on the agent will be started, once, whatever happens to the sidecar."""
        agent = self._new(order)
        if order.environment:
            await self._hooks.keep(agent, order.environment)
        project.rows.put(agent)
        try:
            await project.ledger.record("agent", agent, None if key is None else key(agent))
        except Refusal:
            project.rows.remove(agent.agent_id)
            self._hooks.gone(agent)  # what `keep` kept
            raise
        return agent

    def _new(self, order: SpawnOrder) -> Agent:
        return Agent(
            agent_id=order.agent_id or self._new_id(),
            agent_type=order.agent_type,
            issue_id=order.issue_id,
            project_id=order.project_id,
            parent=order.parent,
            task=order.task,
            runner=order.runner,
            priority=order.priority,
            timeout_seconds=order.timeout_seconds,
            created_at=self._clock.seconds(),
            environment_names=tuple(order.environment),
            context_requirements=order.context_requirements,
        )

    def _pump(self) -> None:
        """Start those whose turn it is."""
        while not self._closed and (agent_id := self._admission.admit()) is not None:
            project = self._project_of(agent_id)
            launch = Deferred.fromCoroutine(self._launch(project, agent_id))
            launch.addCallbacks(
                partial(self._started, project, agent_id), partial(self._not_started, project, agent_id)
            )
            launch.addErrback(self._unforeseen)

    async def _launch(self, project: _Project, agent_id: str) -> Launched | None:
        """Start the process; None when a kill came first."""
        agent = evolve(project.rows.get(agent_id), status=STARTING)
        project.rows.put(agent)
        await project.ledger.record("agent", agent)  # before the start, so that nothing is started twice
        order = await self._hooks.prepare(agent)
        if project.rows.get(agent_id).kill_requested:
            return None
        return await self._launcher.launch(order, partial(self._over, project))

    def _started(self, project: _Project, agent_id: str, launched: Launched | None) -> None:
        if launched is None:
            self._finish(project, agent_id, KILLED)
            return
        agent = self._running(project, agent_id, launched)
        self._answer_start(agent_id, agent)

    def _running(self, project: _Project, agent_id: str, launched: Launched) -> Agent:
        agent = project.rows.get(agent_id)
        now = self._clock.seconds()
        agent = evolve(agent, status=RUNNING, launched=launched, started_at=agent.started_at or now)
        project.rows.put(agent)
        self._tell(project, agent)
        if agent.kill_requested:
            self._stop(agent_id, self._graces.pop(agent_id, GRACE_SECONDS))
        return agent

    def _not_started(self, project: _Project, agent_id: str, failure: Failure) -> None:
        refusal = failure.value
        if not isinstance(refusal, Refusal):
            self._log.failure("agent {id} could not be started", failure, id=agent_id)
            refusal = SpawnFailed("The agent could not be started; the log says why.", reason="internal error")
        refusal.details["agent_id"] = agent_id
        self._answer_start(agent_id, Failure(refusal))
        self._finish(project, agent_id, KILLED if project.rows.get(agent_id).kill_requested else FAILED)

    def _answer_start(self, agent_id: str, answer: Agent | Failure) -> None:
        start = self._starts.pop(agent_id, None)
        if start is not None:
            start.callback(answer)  # a Failure makes it an errback

    async def _take_up(self, project: _Project, agent: Agent) -> None:
        """Follow a process that an earlier sidecar started."""
        launched = agent.launched
        if launched is None:
            launched = await self._hooks.find(agent.agent_id)
            if launched is None:
                self._finish(project, agent.agent_id, KILLED if agent.kill_requested else LOST)
                return
        self._launcher.adopt(agent.agent_id, launched, partial(self._over, project))
        self._running(project, agent.agent_id, launched)

    async def _kill(self, project_id: str, agent_id: str, grace_seconds: float) -> Agent:
        project = self._project(project_id)
        agent = project.rows.get(agent_id)
        if agent.ended:
            return agent
        end: Deferred[Agent] = Deferred()
        self._ends.setdefault(agent_id, []).append(end)
        if self._admission.waits(agent_id):
            self._finish(project, agent_id, KILLED)
        else:
            await self._kill_live(project, agent, grace_seconds)
        return await end

    async def _kill_live(self, project: _Project, agent: Agent, grace_seconds: float) -> None:
        agent_id = agent.agent_id
        if not agent.kill_requested:
            agent = evolve(agent, kill_requested=True)
            project.rows.put(agent)
            self._hooks.gone(agent)
            try:
                await project.ledger.record("agent", agent)
            except Refusal as refusal:
                self._log.warn("the kill of {id} is not recorded: {why}", id=agent_id, why=refusal.message)
        now = project.rows.find(agent_id)
        if now is not None and now.status == RUNNING:
            self._stop(agent_id, grace_seconds)
        else:
            self._graces[agent_id] = grace_seconds  # it is being started: then it is stopped at once

    def _stop(self, agent_id: str, grace_seconds: float) -> None:
        self._launcher.stop(agent_id, grace_seconds).addErrback(self._unforeseen)

    def _over(self, project: _Project, agent_id: str, how: Ended) -> None:
        """What the launcher calls, once, when the process and all its descendants are gone."""
        agent = project.rows.find(agent_id)
        if agent is None or agent.ended:
            return
        status = COMPLETED if how.exit_code == 0 and not how.timed_out else FAILED
        if how.exit_code is None:
            status = LOST
        if agent.kill_requested:
            status = KILLED
        project.rows.put(evolve(agent, exit_code=how.exit_code, timed_out=how.timed_out))
        self._finish(project, agent_id, status, how.ended_at)

    def _finish(self, project: _Project, agent_id: str, status: str, ended_at: float | None = None) -> Agent:
        """Bring an agent to its one end, and let the next one in."""
        agent = project.rows.get(agent_id)
        # The shim saw the end, we saw the start: of a short life the two may cross.
        ended_at = max(ended_at or self._clock.seconds(), agent.started_at or 0.0)
        agent = evolve(agent, status=status, ended_at=ended_at)
        project.rows.put(agent)
        self._graces.pop(agent_id, None)
        self._admission.leave(agent_id)
        self._hooks.gone(agent)
        self._tell(project, agent)
        self._answer_start(agent_id, agent)
        for end in self._ends.pop(agent_id, ()):
            end.callback(agent)
        self._pump()
        return agent

    def _tell(self, project: _Project, agent: Agent) -> None:
        self._news.tell(project.rows, project.ledger, agent.agent_id)

    def _save(self, project: _Project, agent: Agent) -> None:
        project.rows.put(agent)
        project.ledger.record("agent", agent).addErrback(self._unforeseen)

    def _project(self, project_id: str) -> _Project:
        project = self._projects.get(project_id)
        if project is None:
            raise NotFound(f"There is no project {project_id!r}.", project_id=project_id)
        return project

    def _project_of(self, agent_id: str) -> _Project:
        return next(each for each in self._projects.values() if each.rows.find(agent_id) is not None)

    def _unforeseen(self, failure: Failure) -> None:
        self._log.failure("an agent could not be looked after", failure)
