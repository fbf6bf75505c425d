"""Makes each change of an agent durable, then publishes it, again and again until both are done."""

from collections.abc import Callable

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.agent_rows import COMPLETED, Agent, AgentRows
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.errors import Refusal

SPAWNED_EVENT, COMPLETED_EVENT, FAILED_EVENT = "agent_spawned", "agent_completed", "agent_failed"
CONDITION_EVENTS = {"stalled": "agent_stalled", "looping": "agent_looping"}
_RETRY_SECONDS = 5.0

Announce = Callable[[str, Agent], "Deferred[object]"]


def event_due(agent: Agent) -> str | None:
    """Name the lifecycle event that is to be published next about the agent, or None."""
    if agent.launched is not None and not agent.announced:
        return SPAWNED_EVENT
    if agent.condition and agent.told_at != agent.condition_at:
        return CONDITION_EVENTS[agent.condition]
    if agent.ended and agent.announced not in {COMPLETED_EVENT, FAILED_EVENT}:
        return COMPLETED_EVENT if agent.status == COMPLETED else FAILED_EVENT
    return None


@define(eq=False)
class AgentNews:
    """Publishes `agent_spawned` and the one terminal event of each agent, and between them what befell it.

    :param announce: publishes an event and fires when it is on disk. After a crash it may be called again for the
        same type and agent, and must then publish nothing.
    :param settled: called with the agent when its end is recorded and published.
    """

    _clock: IReactorTime
    _announce: Announce
    _settled: Callable[[Agent], None]
    _busy: set[str] = field(factory=set)
    _pauses: "dict[Deferred[None], None]" = field(factory=dict)
    _closed: bool = False
    _log = Logger()

    def tell(self, rows: AgentRows, ledger: Ledger, agent_id: str) -> None:
        """Record the agent as it is now, and publish what is due."""
        agent = rows.find(agent_id)
        if self._closed or agent_id in self._busy or agent is None or event_due(agent) is None:
            return  # who is busy with it looks again when done
        self._busy.add(agent_id)
        telling = Deferred.fromCoroutine(self._tell(rows, ledger, agent_id))
        telling.addBoth(self._told, agent_id)

    def close(self) -> None:
        """Try nothing again; what was not published will be after a restart."""
        self._closed = True
        for pause in list(self._pauses):
            pause.cancel()

    async def _tell(self, rows: AgentRows, ledger: Ledger, agent_id: str) -> None:
        while (agent := rows.find(agent_id)) is not None and (event := event_due(agent)) is not None:
            try:
                await ledger.record("agent", agent)
                await self._announce(event, agent)
            except Refusal as refusal:
                self._log.warn("{event} of {id} has to wait: {why}", event=event, id=agent_id, why=refusal.message)
                await self._pause()
                continue
            self._note(rows, ledger, event, agent)

    def _note(self, rows: AgentRows, ledger: Ledger, event: str, published: Agent) -> None:
        agent = rows.find(published.agent_id)
        if agent is None:
            return  # so many others ended meanwhile that it was dropped
        about_condition = event in CONDITION_EVENTS.values()
        told = evolve(agent, told_at=published.condition_at) if about_condition else evolve(agent, announced=event)
        rows.put(told)
        ledger.note("agent", told)
        if event in {COMPLETED_EVENT, FAILED_EVENT}:
            self._settled(told)

    def _told(self, outcome: object, agent_id: str) -> None:
        self._busy.discard(agent_id)
        if isinstance(outcome, Failure) and outcome.check(CancelledError) is None:
            self._log.failure("what became of agent {id} was not published", outcome, id=agent_id)

    async def _pause(self) -> None:
        pause: Deferred[None] = deferLater(self._clock, _RETRY_SECONDS)
        self._pauses[pause] = None
        try:
            await pause
        finally:
            del self._pauses[pause]
