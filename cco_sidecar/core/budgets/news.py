"""What is said about budgets: to everybody, when one comes to a limit; to the agents that have to end for it."""

from collections.abc import Awaitable, Callable

import msgspec
from attrs import define
from twisted.internet.defer import Deferred

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.budgets.budget import WARNING_PERCENT, BudgetRecord, Crossing, plain, shown
from cco_sidecar.core.events.event import SIDECAR
from cco_sidecar.core.events.hub import Draft, EventHub
from cco_sidecar.core.idempotency import Answered, Idempotency
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.messages.messages import Messages, NewMessage
from cco_sidecar.core.tenure import Holder

TOPIC = "budgets"
EVENTS = {"warning": "budget_warning", "exhausted": "budget_exhausted"}
_ROUTE = "budgets"
_MORE_SECONDS = 60
"""A message outlives the grace: that nobody reads it is told when its agent has ended."""

_MakeKey = Callable[[int, object], KeyRecord]


@define(eq=False)
class BudgetNews:
    """Tells of the budgets of one project, each thing once, also when it is asked to again after a crash."""

    _hub: EventHub
    _keys: Idempotency
    _messages: Messages

    def publish(self, budget: BudgetRecord, crossing: Crossing) -> "Deferred[object]":
        """Fire when it is published that a budget came to a limit; raises as the journal."""
        draft = Draft.of_sidecar(
            EVENTS[crossing.level],
            TOPIC,
            _data(budget, crossing),
            issue_id=budget.id if budget.kind == "issue" else None,
        )

        async def work(record: _MakeKey) -> Answered:
            published = await self._hub.publish(draft, lambda event: record(202, event.body.event_id))
            return Answered(202, msgspec.json.encode(published.event.body.event_id))

        return self._once(f"{budget.kind} {budget.id} {crossing.number} {crossing.what} {crossing.level}", work)

    def tell(self, agent: Agent, grace_seconds: float) -> "Deferred[object]":
        """Fire when an agent is told, or will be when it asks next, that it is to come to an end; raises as `send`."""
        words = (
            f"You have to come to an end: {agent.over_budget}. Commit what you have, write a checkpoint, store a "
            f"result with the status 'partial', then end: in {grace_seconds:.0f} s you are ended."
        )
        return self._send(agent, words, grace_seconds, f"told {agent.agent_id} {agent.over_budget_at}")

    def tell_to_go_on(self, agent: Agent) -> "Deferred[object]":
        """Fire when an agent is told that it need not end after all; raises as `send`."""
        words = "There is a budget again: go on with your task, you are not ended."
        return self._send(agent, words, 0, f"told otherwise {agent.agent_id} {agent.over_budget_at}")

    def _send(self, agent: Agent, words: str, grace_seconds: float, key: str) -> "Deferred[object]":
        new = NewMessage(
            to=f"agent:{agent.agent_id}",
            kind="steer",
            body=msgspec.Raw(msgspec.json.encode(words)),
            ack=False,
            ttl_seconds=int(grace_seconds) + _MORE_SECONDS,
            reply_to=None,
            correlation_id=None,
        )
        sender = Holder(SIDECAR, SIDECAR, None, "", 0.0)

        async def work(record: _MakeKey) -> Answered:
            sent = await self._messages.send(new, sender, lambda message: record(201, message.record.id))
            return Answered(201, msgspec.json.encode(sent.record.id))

        return self._once(key, work)

    def _once(self, key: str, work: Callable[[_MakeKey], Awaitable[Answered]]) -> "Deferred[object]":
        done = Deferred.fromCoroutine(self._keys.once((SIDECAR, _ROUTE, key), key, work))
        return done.addCallback(lambda answered: answered)


def _data(budget: BudgetRecord, crossing: Crossing) -> dict[str, object]:
    limit, spent = shown(crossing.what, crossing.limit), shown(crossing.what, crossing.spent)
    if crossing.level == "exhausted":
        message = f"{budget.name} is used up: {spent} of {limit}. Nothing starts for it until it is raised or removed."
    else:
        message = f"{WARNING_PERCENT} % of {budget.name} are used up: {spent} of {limit}."
    return {
        "kind": budget.kind,
        "id": budget.id,
        "what": crossing.what,
        "limit": plain(crossing.what, crossing.limit),
        "spent": plain(crossing.what, crossing.spent),
        "message": message,
    }
