"""Looks after running agents, by facts alone: who never asked for anything, who does nothing, who goes in circles.

A started process is not yet an agent that works. One that never makes a request is started again, once, and then given
up; all else is reported, and left to whoever can judge it.
"""

from collections.abc import Callable

from attrs import define, evolve, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.agent_lives import STALLED_GRACE_SECONDS
from cco_sidecar.core.agent_registry import Home
from cco_sidecar.core.agent_rows import RUNNING, Agent
from cco_sidecar.core.agent_signs import Signs
from cco_sidecar.core.agents import Agents
from cco_sidecar.errors import Refusal
from cco_sidecar.interfaces import Look

STALLED, LOOPING = "stalled", "looping"
MOST_RESTARTS = 1
_BUSY_SHARE = 0.5
_LOOKS = 8
"""So often one that asks for nothing is looked at before it is judged."""


@frozen
class Patience:
    """How long what may last, in seconds; 0 is for ever.

    :param first_request: until an agent's first request.
    :param silent: without a request, a heartbeat, processor time or output.
    :param busy: computing, without a request.
    :param repeats: how often the same request may have the same outcome, in a row.
    """

    first_request: float
    silent: float
    busy: float
    repeats: int


@frozen
class Finding:
    """What is the matter with an agent, and whether it never began to work."""

    condition: str
    reason: str
    never_began: bool = False


@define(eq=False)
class AgentCare:
    """Judges running agents every so often.

    :param patience_of: what is expected of an agent; its runner has a say in it.
    :param look: asks an agent's supervisor how it is.
    :param is_parked: says whether an agent waits for an event, and so has reason to be silent.
    """

    _clock: IReactorTime
    _agents: Agents
    _patience_of: Callable[[Agent], Patience]
    _look: "Callable[[str], Deferred[Look | None]]"
    _is_parked: Callable[[Agent], bool]
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._agents.signs.on_first = self.began

    def began(self, agent_id: str) -> None:
        """Note, for good, that an agent made its first request."""
        home = self._agents.home_of(agent_id)
        agent = home.rows.get(agent_id)
        if agent.first_request_at is None and not agent.ended:
            self._agents.save(home, evolve(agent, first_request_at=self._clock.seconds()))

    def check(self) -> "Deferred[None]":
        """Judge all that run; fires when that is done."""
        work = [
            Deferred.fromCoroutine(self._check(home, agent.agent_id)).addErrback(self._unforeseen)
            for home in self._agents.homes
            for agent in home.rows.live
        ]
        return DeferredList(work).addCallback(lambda _: None)

    async def _check(self, home: Home, agent_id: str) -> None:
        agent = home.rows.get(agent_id)
        signs = self._agents.signs.of(agent_id)
        if signs is None or not _is_judged(agent):
            return
        patience = self._patience_of(agent)
        if self._wants_look(agent, signs, patience):
            look = await self._look(agent_id)
            if look is not None:
                signs.saw(look, self._clock.seconds())
            found = home.rows.find(agent_id)
            if found is None or not _is_judged(found) or self._agents.signs.of(agent_id) is not signs:
                return
            agent = found
        finding = judge(agent, signs, patience, self._clock.seconds(), self._is_parked(agent))
        if finding is None:
            self._recovered(home, agent, signs)
        elif finding.never_began:
            await self._start_again(home, agent, finding)
        elif agent.condition != finding.condition:
            self._report(home, agent, finding)

    def _wants_look(self, agent: Agent, signs: Signs, patience: Patience) -> bool:
        limits = [limit for limit in (patience.silent, patience.busy) if limit]
        if not limits or self._is_parked(agent):
            return False
        pause = min(limits) / _LOOKS
        now = self._clock.seconds()
        return now - (signs.asked_at or signs.began) >= pause and now - (signs.looked_at or 0.0) >= pause

    def _recovered(self, home: Home, agent: Agent, signs: Signs) -> None:
        """Take back what was said of an agent, if it was published, and there was a sign of life since."""
        if agent.condition_at is None or agent.told_at != agent.condition_at:
            return
        moved_at = signs.moved_at if agent.first_request_at is not None else None
        if max(signs.asked_at or 0.0, moved_at or 0.0) >= agent.condition_at:
            self._agents.save(home, evolve(agent, condition="", condition_at=None, told_at=None, reason=""))

    def _report(self, home: Home, agent: Agent, finding: Finding) -> Agent:
        agent = evolve(agent, condition=finding.condition, condition_at=self._clock.seconds(), reason=finding.reason)
        home.rows.put(agent)
        self._log.warn("agent {id} is {what}: {why}", id=agent.agent_id, what=finding.condition, why=finding.reason)
        self._agents.lives.tell(home, agent)
        return agent

    async def _start_again(self, home: Home, agent: Agent, finding: Finding) -> None:
        """Start an agent again that never began to work; the second time give it up: its token dies first."""
        again = agent.restarts < MOST_RESTARTS
        agent = self._report(home, evolve(agent, restart_due=again, giving_up=not again), finding)
        if not again:
            self._agents.lives.let_go(agent)
        try:
            await home.ledger.record("agent", agent)
        except Refusal as refusal:
            self._log.warn("the end of {id} is not recorded: {why}", id=agent.agent_id, why=refusal.message)
        self._agents.lives.stop(agent.agent_id, STALLED_GRACE_SECONDS)

    def _unforeseen(self, failure: Failure) -> None:
        self._log.failure("an agent could not be looked after", failure)


def _is_judged(agent: Agent) -> bool:
    return agent.status == RUNNING and not agent.is_ending and not agent.restart_due


def judge(agent: Agent, signs: Signs, patience: Patience, now: float, is_parked: bool) -> Finding | None:
    """Say what is the matter with an agent; None if nothing is."""
    if agent.first_request_at is None and signs.asked_at is None and patience.first_request:
        return _never_began(agent, signs, patience, now)
    if patience.repeats and signs.repeats >= patience.repeats and signs.repeated is not None:
        method, path, status = signs.repeated
        return Finding(LOOPING, f"it asked {method} {path} {signs.repeats} times in a row and was answered {status}")
    return None if is_parked else _without_requests(signs, patience, now)


def _never_began(agent: Agent, signs: Signs, patience: Patience, now: float) -> Finding | None:
    if now - signs.began < patience.first_request:
        return None
    times = ", twice" if agent.restarts else ""
    why = f"it made no request within {patience.first_request:g} s of its start{times}"
    return Finding(STALLED, why, never_began=True)


def _without_requests(signs: Signs, patience: Patience, now: float) -> Finding | None:
    silent = now - signs.lived_at
    if patience.silent and silent >= patience.silent and signs.looked_at is not None:
        return Finding(STALLED, f"no request, heartbeat, processor time or output for {silent:.0f} s")
    lasted, share = signs.busy(now)
    if patience.busy and lasted >= patience.busy and share >= _BUSY_SHARE:
        return Finding(LOOPING, f"it used {share:.0%} of a processor for {lasted:.0f} s without a request")
    return None
