"""Watches over parked accounts: whether the one that tries got through, who waits too long, what people are told."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.agent_registry import Home
from cco_sidecar.core.agent_rows import LIVE, Agent
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.breaker import CLOSED, MOST_PROBE_SECONDS, Breaker
from cco_sidecar.core.events.hub import Draft
from cco_sidecar.core.results import LIFECYCLE_TOPIC
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import NotFound, Refusal


@frozen
class Account:
    """An account as it is now: its breaker, None if that is closed, and how many agents run and wait."""

    name: str
    state: str
    breaker: Breaker | None
    running: int
    waiting: int
    parked: int


Publish = Callable[[str, Draft], "Deferred[object]"]
"""Publishes an event in a project, and fires when it is on disk."""


@define(eq=False)
class AccountWatch:
    """Looks at all accounts whose breaker is not closed, every so often.

    :param is_answered: says whether the model has answered an agent that runs.
    """

    _clock: IReactorTime
    _agents: Agents
    _is_answered: "Callable[[Agent], Deferred[bool]]"
    _publish: Publish
    _telling: bool = field(default=False, init=False)
    _log = Logger()

    def check(self) -> "Deferred[None]":
        """Look at all of them; fires when that is done."""
        breakers = self._agents.breakers
        looks = [self._guarded(self._look(each)) for each in breakers.not_closed if each.probe is not None]
        for each in breakers.not_closed:
            self._give_up(each.account)
        if breakers.not_closed:
            breakers.forget_stale(self._by_account())
        return DeferredList([*looks, self._guarded(self._tell())]).addCallback(lambda _: None)

    def listing(self) -> list[Account]:
        """Give every account that agents run or wait for, or that is not closed."""
        agents = self._by_account()
        names = {each.account for each in self._agents.breakers.not_closed} | set(agents)
        return [self._account(name, agents.get(name, ())) for name in sorted(names)]

    def get(self, name: str) -> Account:
        """Look an account up.

        :raises NotFound: no agent runs or waits for it.
        """
        found = next((each for each in self.listing() if each.name == name), None)
        if found is None:
            raise NotFound(f"There is no account {name!r} that agents run or wait for: cco account list.", account=name)
        return found

    def resume(self, name: str) -> Account:
        """Let one agent of an account try now; raises as `get`."""
        self.get(name)
        self._agents.breakers.resume(name)
        self._agents.lives.pump()
        return self.get(name)

    def _account(self, name: str, agents: Sequence[Agent]) -> Account:
        breaker = self._agents.breakers.find(name)
        state = CLOSED if breaker is None else breaker.state(self._clock.seconds())
        running = sum(agent.status in LIVE for agent in agents)
        parked = sum(agent.is_parked for agent in agents)
        return Account(name, state, breaker, running, len(agents) - running, parked)

    def _by_account(self) -> dict[str, list[Agent]]:
        found: dict[str, list[Agent]] = {}
        for _, agent in self._not_ended():
            if agent.account:
                found.setdefault(agent.account, []).append(agent)
        return found

    def _not_ended(self) -> list[tuple[Home, Agent]]:
        return [(home, agent) for home in self._agents.homes for agent in home.rows if not agent.ended]

    async def _look(self, breaker: Breaker) -> None:
        """See whether the one that tries got through; one that runs no more, or takes too long, does not try."""
        probe = breaker.probe or ""
        agent = self._find(probe)
        if agent is not None and agent.status not in LIVE:
            agent = None
        if agent is not None and await self._is_answered(agent):
            self._agents.lives.got_through(agent)
        elif agent is None or breaker.probe_at + MOST_PROBE_SECONDS <= self._clock.seconds():
            self._agents.breakers.gone(breaker.account, probe)
            self._agents.lives.pump()

    def _find(self, agent_id: str) -> Agent | None:
        found = (home.rows.find(agent_id) for home in self._agents.homes)
        return next((agent for agent in found if agent is not None), None)

    def _give_up(self, account: str) -> None:
        for home, agent in self._not_ended():
            if agent.account == account and self._agents.lives.give_up_parked(home, agent):
                self._log.warn("agent {id} was parked for too long: {why}", id=agent.agent_id, why=agent.failure)

    async def _tell(self) -> None:
        """Publish what is due; what cannot be published now will be the next time."""
        if self._telling:
            return
        self._telling = True
        try:
            for event, project_id, breaker in self._agents.breakers.due():
                about = self._account(breaker.account, self._by_account().get(breaker.account, ()))
                await self._publish(project_id, _draft(event, breaker, about))
                self._agents.breakers.tell(event, project_id, breaker)
        except Refusal as refusal:
            self._log.warn("an event about an account has to wait: {why}", why=refusal.message)
        finally:
            self._telling = False

    def _guarded(self, work: "Coroutine[Deferred[Any], Any, None]") -> "Deferred[None]":
        return Deferred.fromCoroutine(work).addErrback(self._unforeseen)

    def _unforeseen(self, failure: Failure) -> None:
        self._log.failure("an account could not be looked after", failure)


def _draft(event: str, breaker: Breaker, account: Account) -> Draft:
    is_over = account.breaker is None
    data = {
        "account": account.name,
        "state": account.state,
        "failure": breaker.failure,
        "reason": breaker.reason,
        "since": rfc3339(breaker.opened_at),
        "until": None if is_over else rfc3339(breaker.until),
        "parked": account.parked,
        "what_to_do": None if is_over else breaker.what_to_do,
    }
    return Draft.of_sidecar(event, LIFECYCLE_TOPIC, data)
