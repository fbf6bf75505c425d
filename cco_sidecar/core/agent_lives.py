"""The lives of agents: started within the cap, followed, started again, brought to one end."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.admission import Admission, Applicant
from cco_sidecar.core.agent_news import AgentNews, Announce
from cco_sidecar.core.agent_parking import ParkingLimits, parked, started_again, started_over, unparked, with_words
from cco_sidecar.core.agent_registry import AgentRegistry, Home
from cco_sidecar.core.agent_rows import BUDGET, COMPLETED, FAILED, KILLED, LOST, RUNNING, STARTING, Agent, LastWords
from cco_sidecar.core.agent_signs import AllSigns
from cco_sidecar.core.breaker import ACCOUNT_FAILURES, Breakers, Stopped
from cco_sidecar.core.crash_loops import CrashLoops
from cco_sidecar.errors import Refusal, SpawnFailed
from cco_sidecar.interfaces import Ended, IAgentLauncher, Launched, LaunchOrder

GRACE_SECONDS = 30.0
STALLED_GRACE_SECONDS = 5.0
"""How long one that does nothing may take to end."""
NOBODY = frozenset({"admin", "sidecar"})
"""Parents that are no agents."""


@frozen
class AgentHooks:
    """What goes on around an agent's life, composed elsewhere; after a crash each may come again, to no new effect.

    :param keep: keeps the values of the spawn's ``environment``, outside of the ledger, until `prepare` wants them.
    :param prepare: makes all it takes to start: the token and its file, the environment, the command.
    :param announce: publishes a lifecycle event and fires when it is on disk.
    :param gone: the agent's token is dead when this returns; what was kept and prepared may go. Called before the first
        signal of a kill, and at the end.
    :param log_tail: gives the last lines of the agent's log, fit for everybody's eyes.
    :param last_words: gives, after the agent's end and before that is told, what its output said about its work, and
        stores the result that it did not store itself; None when its output says nothing of the kind.
    :param account_of: names the account that a runner's program works for in an environment; empty if it has none.
    """

    keep: Callable[[Agent, Mapping[str, str]], "Deferred[None]"]
    prepare: Callable[[Agent], "Deferred[LaunchOrder]"]
    announce: Announce
    gone: Callable[[Agent], None]
    log_tail: Callable[[str], "Deferred[str]"]
    last_words: "Callable[[Agent], Deferred[LastWords | None] | None]"
    account_of: Callable[[str, Mapping[str, str]], str] = lambda _runner, _environment: ""


@define(eq=False)
class Lives:
    """Brings each agent from the queue to its one end."""

    _clock: IReactorTime
    _registry: AgentRegistry
    _launcher: IAgentLauncher
    _admission: Admission
    _hooks: AgentHooks
    _signs: AllSigns
    _loops: CrashLoops
    _breakers: Breakers
    _limits: ParkingLimits
    _news: AgentNews = field(init=False)
    _starts: "dict[str, Deferred[Agent]]" = field(factory=dict)
    _ends: "dict[str, list[Deferred[Agent]]]" = field(factory=dict)
    _graces: dict[str, float] = field(factory=dict)
    _next: IDelayedCall | None = None
    _closed: bool = False
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._news = AgentNews(self._clock, self._hooks.announce, self._settled)

    @property
    def closed(self) -> bool:
        """Whether nothing is started any more."""
        return self._closed

    def start_no_more(self) -> None:
        """Start nothing from now on."""
        self._closed = True
        if self._next is not None and self._next.active():
            self._next.cancel()

    def close(self) -> None:
        """Start nothing and publish nothing from now on; agents run on."""
        self.start_no_more()
        self._news.close()

    def enter(self, agent: Agent) -> "Deferred[Agent] | None":
        """Queue an accepted agent up; gives what fires when it runs, None if it has to wait its turn."""
        start: Deferred[Agent] = Deferred()
        self._starts[agent.agent_id] = start
        self.wait(agent)
        self.pump()
        if self._admission.waits(agent.agent_id):
            del self._starts[agent.agent_id]
            return None
        return start

    def wait(self, agent: Agent) -> None:
        """Put an agent into the queue."""
        self._admission.enter(_applicant(agent), agent.priority)

    def occupy(self, agent: Agent) -> None:
        """Give a place to an agent that runs already."""
        self._admission.occupy(_applicant(agent))

    def why_waits(self, agent_id: str) -> str | None:
        """Say what a queued agent waits for."""
        return self._admission.why_waits(agent_id, self._clock.seconds())

    def pump(self) -> None:
        """Start those whose turn it is."""
        if self._closed:
            return
        if self._next is not None and self._next.active():
            self._next.cancel()
        now = self._clock.seconds()
        while (agent_id := self._admission.admit(now)) is not None:
            home = self._registry.home_of(agent_id)
            agent = home.rows.get(agent_id)
            self._loops.started(agent.attempt_at, now)
            self._breakers.started(agent.account, agent_id)
            self._follow_start(home, agent_id, self._launch(home, agent_id))
        next_at = self._admission.next_at(now)
        if next_at is not None:
            self._next = self._clock.callLater(max(next_at - now, 0.01), self.pump)

    def _follow_start(self, home: Home, agent_id: str, launching: "Coroutine[Any, Any, Launched | None]") -> None:
        launch = Deferred.fromCoroutine(launching)
        launch.addCallbacks(partial(self._started, home, agent_id), partial(self._not_started, home, agent_id))
        launch.addErrback(self._unforeseen)

    async def _launch(self, home: Home, agent_id: str) -> Launched | None:
        """Start the process; None when a kill came first."""
        agent = evolve(unparked(home.rows.get(agent_id), self._clock.seconds()), status=STARTING)
        home.rows.put(agent)
        if agent.parkings:
            await self._launcher.forget(agent_id)  # its process before
        await home.ledger.record("agent", home.rows.get(agent_id))  # before the start, so that nothing is started twice
        self._signs.begin(agent_id, self._clock.seconds())
        order = await self._hooks.prepare(agent)
        if home.rows.get(agent_id).kill_requested:
            return None
        return await self._launcher.launch(order, partial(self.over, home))

    def _started(self, home: Home, agent_id: str, launched: Launched | None) -> None:
        if launched is None:
            self.finish(home, agent_id, KILLED)
            return
        self._answer_start(agent_id, self._running(home, agent_id, launched))

    def _running(self, home: Home, agent_id: str, launched: Launched) -> Agent:
        agent = home.rows.get(agent_id)
        now = self._clock.seconds()
        agent = evolve(agent, status=RUNNING, launched=launched, started_at=agent.started_at or now)
        home.rows.put(agent)
        self.tell(home, agent)
        if agent.kill_requested:
            self.stop(agent_id, self._graces.pop(agent_id, GRACE_SECONDS))
        elif agent.restart_due or agent.giving_up:
            self.stop(agent_id, STALLED_GRACE_SECONDS)
        return agent

    def _not_started(self, home: Home, agent_id: str, failure: Failure) -> None:
        refusal = failure.value
        if not isinstance(refusal, Refusal):
            self._log.failure("agent {id} could not be started", failure, id=agent_id)
            refusal = SpawnFailed("The agent could not be started; the log says why.", reason="internal error")
        refusal.details["agent_id"] = agent_id
        self._answer_start(agent_id, Failure(refusal))
        self.finish(home, agent_id, KILLED if home.rows.get(agent_id).kill_requested else FAILED)

    def _answer_start(self, agent_id: str, answer: Agent | Failure) -> None:
        start = self._starts.pop(agent_id, None)
        if start is not None:
            start.callback(answer)  # a Failure makes it an errback

    def adopt(self, home: Home, agent: Agent, launched: Launched) -> None:
        """Follow a process that an earlier sidecar started."""
        self._signs.begin(agent.agent_id, self._clock.seconds())
        self._launcher.adopt(agent.agent_id, launched, partial(self.over, home))
        self._running(home, agent.agent_id, launched)

    def when_ended(self, agent_id: str) -> "Deferred[Agent]":
        """Fire with the agent when it has ended."""
        end: Deferred[Agent] = Deferred()
        self._ends.setdefault(agent_id, []).append(end)
        return end

    def kill(self, home: Home, agent_id: str, grace_seconds: float) -> None:
        """End an agent whose kill is recorded; one that is being started is ended as soon as it runs."""
        agent = home.rows.find(agent_id)
        if agent is not None and agent.status == RUNNING:
            self.stop(agent_id, grace_seconds)
        else:
            self._graces[agent_id] = grace_seconds

    def waits(self, agent_id: str) -> bool:
        """Say whether an agent is in the queue."""
        return self._admission.waits(agent_id)

    def stop(self, agent_id: str, grace_seconds: float) -> None:
        """Have the process ended."""
        self._launcher.stop(agent_id, grace_seconds).addErrback(self._unforeseen)

    def over(self, home: Home, agent_id: str, how: Ended) -> None:
        """What the launcher calls, once for each start, when the process and all its descendants are gone."""
        agent = home.rows.find(agent_id)
        if agent is None or agent.ended:
            return
        if agent.restart_due and not agent.is_ending:
            if not self._closed:  # else the next sidecar finds it so
                self._follow_start(home, agent_id, self._start_again(home, agent_id))
            return
        agent = evolve(agent, exit_code=how.exit_code, timed_out=how.timed_out)
        home.rows.put(agent)
        if agent.giving_up and not agent.kill_requested:
            giving_up = Deferred.fromCoroutine(self._give_up(home, agent_id, how.ended_at))
            giving_up.addErrback(self._unforeseen)
            return
        words = self._hooks.last_words(agent)
        if words is None:
            self.finish(home, agent_id, _status(agent, how), how.ended_at)
            return
        words.addErrback(self._unforeseen)
        Deferred.fromCoroutine(self._hear(home, agent_id, how, words)).addErrback(self._unforeseen)

    async def _hear(self, home: Home, agent_id: str, how: Ended, words: "Deferred[LastWords | None]") -> None:
        """End an agent once it is known what it said; whatever keeps that away must not keep its end away."""
        said = await words
        if self._closed:
            return  # the next sidecar finds it ended, and hears it
        agent = home.rows.get(agent_id)
        if said is not None:
            agent = with_words(agent, said)
            home.rows.put(agent)
            if said.answered and said.failure not in ACCOUNT_FAILURES:
                self._breakers.got_through(agent.account, agent_id)
            if _status(agent, how) == FAILED and not how.timed_out and self._goes_on(home, agent, said, how):
                return
        self.finish(home, agent_id, _status(agent, how), how.ended_at)

    def _goes_on(self, home: Home, agent: Agent, said: LastWords, how: Ended) -> bool:
        """Let an agent go on that is not to blame for its end; False if that is its end."""
        if agent.over_budget:
            return False
        if said.session_lost and agent.session_id:
            home.rows.put(started_over(agent, how.ended_at))
            self._follow_start(home, agent.agent_id, self._start_over(home, agent.agent_id))
            return True
        return bool(agent.account) and said.failure in ACCOUNT_FAILURES and self._park(home, agent, said, how)

    def _park(self, home: Home, agent: Agent, said: LastWords, how: Ended) -> bool:
        """Put an agent back into the queue that its account stopped; False if it was there too often."""
        now = self._clock.seconds()
        stopped = Stopped(
            agent.account,
            agent.agent_id,
            agent.project_id,
            said.failure,
            said.reason,
            said.answered,
            said.resets_at,
            said.retry_after,
        )
        was_probe = self._breakers.is_probe(agent.account, agent.agent_id)
        if not self._breakers.stopped(stopped) or self._limits.leave_no_more(agent, now):
            return False
        waiting = parked(agent, said, how.ended_at, now)
        self._registry.save(home, waiting)
        self._signs.end(agent.agent_id)
        self._registry.work.end(agent.agent_id)
        self._admission.leave(agent.agent_id)
        # Who tried in vain goes behind all others: should it be its own doing, they must not wait for it.
        self._admission.enter(evolve(_applicant(waiting), returns=not was_probe), waiting.priority)
        self.pump()
        return True

    async def _start_over(self, home: Home, agent_id: str) -> Launched | None:
        await self._launcher.forget(agent_id)
        return await self._launch(home, agent_id)

    def got_through(self, agent: Agent) -> None:
        """Note that the model answered an agent, so that others of its account may start."""
        self._breakers.got_through(agent.account, agent.agent_id)
        self.pump()

    def give_up_parked(self, home: Home, agent: Agent) -> bool:
        """Let a parked agent fail that was parked for too long; gives whether it was."""
        if not agent.is_parked or not self._limits.is_too_long(agent, self._clock.seconds()):
            return False
        self.finish(home, agent.agent_id, FAILED)
        return True

    async def _start_again(self, home: Home, agent_id: str) -> Launched | None:
        words = self._hooks.last_words(home.rows.get(agent_id))
        said = None if words is None else await words.addErrback(self._unforeseen)
        await self._launcher.forget(agent_id)
        home.rows.put(started_again(home.rows.get(agent_id), said, self._clock.seconds()))
        return await self._launch(home, agent_id)

    async def _give_up(self, home: Home, agent_id: str, ended_at: float) -> None:
        tail = ""
        try:
            tail = await self._hooks.log_tail(agent_id)
        except (Refusal, OSError) as why:
            self._log.warn("the log of agent {id} can't be read: {why}", id=agent_id, why=str(why))
        home.rows.put(evolve(home.rows.get(agent_id), log_tail=tail))
        self.finish(home, agent_id, FAILED, ended_at)

    def finish(self, home: Home, agent_id: str, status: str, ended_at: float | None = None) -> Agent:
        """Bring an agent to its one end, and let the next one in."""
        agent = home.rows.get(agent_id)
        # The shim saw the end, we saw the start: of a short life the two may cross.
        ended_at = max(ended_at or self._clock.seconds(), agent.started_at or 0.0)
        agent = evolve(agent, status=status, ended_at=ended_at, restart_due=False)
        if agent.over_budget and status != COMPLETED:
            agent = evolve(agent, failure=BUDGET, reason=agent.over_budget)
        home.rows.put(agent)
        self._graces.pop(agent_id, None)
        self._signs.end(agent_id)
        self._registry.work.end(agent_id)
        self._admission.leave(agent_id)
        self._breakers.gone(agent.account, agent_id)
        self._hooks.gone(agent)
        wait = self.learn(agent, self._clock.seconds())
        if wait:
            self._log.warn(
                "agents of type {type} fail on issue {issue} again and again: the next may start in {wait} s",
                type=agent.agent_type,
                issue=agent.issue_id,
                wait=round(wait, 1),
            )
        self.tell(home, agent)
        self._answer_start(agent_id, agent)
        for end in self._ends.pop(agent_id, ()):
            end.callback(agent)
        self.pump()
        return agent

    def learn(self, agent: Agent, now: float) -> float:
        """Learn from how an agent ended; gives how many seconds the next try of the same has to wait."""
        if agent.status == COMPLETED:
            self._loops.succeeded(agent.attempt_at)
        if agent.status != FAILED or agent.launched is None or agent.over_budget:
            return 0.0  # nobody's fault, or its program does not run at all: then the spawn says so, each time
        return self._loops.failed(agent.attempt_at, agent.seconds or 0.0, now)

    def let_go(self, agent: Agent) -> None:
        """Take everything back from an agent whose end is decided on: its token dies before its process."""
        self._hooks.gone(agent)

    def tell(self, home: Home, agent: Agent) -> None:
        """Publish what is due about an agent."""
        self._news.tell(home.rows, home.ledger, agent.agent_id)

    def _settled(self, agent: Agent) -> None:
        self._launcher.forget(agent.agent_id).addErrback(self._unforeseen)

    def _unforeseen(self, failure: Failure) -> None:
        self._log.failure("an agent could not be looked after", failure)


def _applicant(agent: Agent) -> Applicant:
    groups = [("project", agent.project_id), ("type", agent.agent_type)]
    if agent.parent not in NOBODY:
        groups.append(("parent", agent.parent))
    return Applicant(agent.agent_id, tuple(groups), agent.attempt_at, agent.account, agent.parkings > 0)


def _status(agent: Agent, how: Ended) -> str:
    if agent.kill_requested:
        return KILLED
    if how.exit_code is None:
        return LOST
    return COMPLETED if how.exit_code == 0 and not how.timed_out else FAILED
