"""What is asked of agents: spawned, killed, found again after a restart; `agent_lives` does it."""

from collections.abc import Callable

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.admission import Admission
from cco_sidecar.core.agent_lives import GRACE_SECONDS, NOBODY, AgentHooks, Lives
from cco_sidecar.core.agent_parking import ParkingLimits
from cco_sidecar.core.agent_registry import AgentRegistry, Home
from cco_sidecar.core.agent_rows import KILLED, LIVE, QUEUED, Agent, SpawnOrder
from cco_sidecar.core.agent_signs import AllSigns
from cco_sidecar.core.breaker import Breakers
from cco_sidecar.core.crash_loops import CrashLoops
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.shielding import shielded
from cco_sidecar.errors import Refusal, SpawnFailed, SpawnTooDeep
from cco_sidecar.interfaces import IAgentLauncher

__all__ = ["GRACE_SECONDS", "Agents"]


@define(eq=False)
class Agents(AgentRegistry):
    """Starts agents within the cap, by priority, and follows each to its one end.

    :param new_id: makes agent ids.
    :param most_depth: how deep the tree of agents that agents spawned may be; 0 is as deep as may be.
    """

    _clock: IReactorTime
    _new_id: Callable[[], str]
    _launcher: IAgentLauncher
    _admission: Admission
    _hooks: AgentHooks
    signs: AllSigns
    _loops: CrashLoops
    breakers: Breakers
    _limits: ParkingLimits
    _most_depth: int = 0
    lives: Lives = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.lives = Lives(
            self._clock,
            self,
            self._launcher,
            self._admission,
            self._hooks,
            self.signs,
            self._loops,
            self.breakers,
            self._limits,
        )

    def spawn(self, order: SpawnOrder, key: Callable[[Agent], KeyRecord] | None = None) -> "Deferred[Agent]":
        """Fire with the agent, running or queued.

        :param key: makes the idempotency record that is written together with the intent.
        :raises TooManyRequests: the queue is full.
        :raises SpawnTooDeep: the agent that asks may not have children.
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

    def why_waits(self, agent_id: str) -> str | None:
        """Say what an agent in the queue waits for; None if it is not there."""
        return self.lives.why_waits(agent_id)

    def readopt(self) -> "Deferred[None]":
        """Take up, after a recovery, the agents that an earlier sidecar started or queued; fires when all are found."""
        searches = []
        waiting = []
        ended = []
        for home in self.homes:
            for agent in home.rows:
                if agent.status == QUEUED:
                    waiting.append(agent)
                elif agent.status in LIVE:
                    self.lives.occupy(agent)
                    searches.append(Deferred.fromCoroutine(self._take_up(home, agent)))
                else:
                    ended.append(agent)
                    self.lives.tell(home, agent)
        for agent in sorted(ended, key=lambda agent: agent.ended_at or 0.0):
            self.lives.learn(agent, agent.ended_at or 0.0)
        for agent in sorted(waiting, key=lambda agent: agent.created_at):
            self.lives.wait(agent)
        self.lives.pump()
        return DeferredList(searches).addCallback(lambda _: None)

    def close(self) -> None:
        """Start nothing from now on; agents run on."""
        self.lives.close()

    def stop_all(self, grace_seconds: float) -> "Deferred[None]":
        """Kill all that run; fires when they are gone. What waits in the queue starts after a restart."""
        self.lives.start_no_more()
        kills = [
            self.kill(agent.project_id, agent.agent_id, grace_seconds).addErrback(self._unforeseen)
            for home in self.homes
            for agent in home.rows.live
        ]
        return DeferredList(kills).addCallback(lambda _: None)

    async def _spawn(self, order: SpawnOrder, key: Callable[[Agent], KeyRecord] | None) -> Agent:
        home = self.home(order.project_id)
        known = None if order.agent_id is None else home.rows.find(order.agent_id)
        if known is not None:
            return known
        if self.lives.closed:
            raise SpawnFailed("The sidecar is stopping: spawn again when it is back.", reason="stopping")
        depth = self._depth(home, order.parent)
        self._admission.reserve()
        try:
            agent = await self._accept(home, self._new(order, depth), order, key)
        finally:
            self._admission.release()
        if home.rows.get(agent.agent_id).kill_requested:
            return self.lives.finish(home, agent.agent_id, KILLED)
        start = self.lives.enter(agent)
        return agent if start is None else await start

    def _depth(self, home: Home, parent: str) -> int:
        """Give the place of a child in the tree of spawns.

        :raises SpawnTooDeep: it would be too far down.
        """
        if parent in NOBODY:
            return 1
        asking = home.rows.find(parent)
        depth = 2 if asking is None else asking.depth + 1  # whose token was issued by hand stands at the top
        if self._most_depth and depth > self._most_depth:
            raise SpawnTooDeep(
                f"Agents may be spawned {self._most_depth} deep, and '{parent}' is there already: do the work "
                "yourself, or publish an event for an agent further up (agents.max_depth).",
                depth=depth,
                max_depth=self._most_depth,
            )
        return depth

    async def _accept(
        self, home: Home, agent: Agent, order: SpawnOrder, key: Callable[[Agent], KeyRecord] | None
    ) -> Agent:
        """Make the intent durable: from here on the agent will be started, once, whatever happens to the sidecar."""
        if order.environment:
            await self._hooks.keep(agent, order.environment)
        home.rows.put(agent)
        try:
            await home.ledger.record("agent", agent, None if key is None else key(agent))
        except Refusal:
            home.rows.remove(agent.agent_id)
            self._hooks.gone(agent)  # what `keep` kept
            raise
        return agent

    def _new(self, order: SpawnOrder, depth: int) -> Agent:
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
            depth=depth,
            account=self._hooks.account_of(order.runner, order.environment),
        )

    async def _take_up(self, home: Home, agent: Agent) -> None:
        """Find the process of an agent that was starting or running; one that was not started waits its turn again."""
        launched = agent.launched or await self._launcher.find(agent.agent_id)
        if launched is not None:
            self.lives.adopt(home, agent, launched)
        elif agent.is_ending:
            self.lives.finish(home, agent.agent_id, KILLED)
        else:
            self._admission.leave(agent.agent_id)
            self.breakers.gone(agent.account, agent.agent_id)
            queued = evolve(agent, status=QUEUED)
            self.save(home, queued)
            self.lives.wait(queued)
            self.lives.pump()

    async def _kill(self, project_id: str, agent_id: str, grace_seconds: float) -> Agent:
        home = self.home(project_id)
        agent = home.rows.get(agent_id)
        if agent.ended:
            return agent
        end = self.lives.when_ended(agent_id)
        if self.lives.waits(agent_id):
            self.lives.finish(home, agent_id, KILLED)
        else:
            await self._kill_live(home, agent, grace_seconds)
        return await end

    async def _kill_live(self, home: Home, agent: Agent, grace_seconds: float) -> None:
        agent_id = agent.agent_id
        if not agent.kill_requested:
            agent = evolve(agent, kill_requested=True)
            home.rows.put(agent)
            self.lives.let_go(agent)
            try:
                await home.ledger.record("agent", agent)
            except Refusal as refusal:
                self._log.warn("the kill of {id} is not recorded: {why}", id=agent_id, why=refusal.message)
        self.lives.kill(home, agent_id, grace_seconds)
