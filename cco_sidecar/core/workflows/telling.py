"""What the sidecar says about a run, each thing once: it began, it needs a person, it is over."""

import hashlib
from collections.abc import Callable, Iterator

import msgspec
from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.event import SIDECAR, parse_cursor
from cco_sidecar.core.events.hub import Draft, EventHub
from cco_sidecar.core.idempotency import Answered, Idempotency
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.workflows.run import DONE, STOPPED, Escalation, Run

TOPIC = "issues"
_ROUTE = "workflows"
_LETTERS = frozenset({"spawn", "rounds", "agents", "workflow"})
"""Why an event that a rule should have taken was not: such an event becomes a dead letter."""


@frozen
class News:
    """Something due: what it is called in `Run.told`, and the event, or the dead letter."""

    key: str
    event_type: str = ""
    data: dict[str, object] | None = None
    letter: Escalation | None = None


def due(run: Run) -> Iterator[News]:
    """Give what is to be told of a run and was not."""
    return (news for news in _all(run) if news.key not in run.told)


def _all(run: Run) -> Iterator[News]:
    if not run.begun and run.status != STOPPED:
        yield News("started", "issue_started", {**_named(run), "task": run.task, "runner": run.runner})
    for number, escalation in enumerate(run.escalations, 1):
        if escalation.why in _LETTERS:
            yield News(f"letter-{number}", letter=escalation)
        yield News(f"escalation-{number}", "escalation_required", _escalation(run, escalation))
    if run.status == DONE:
        yield News("done", "issue_completed", {**_named(run), "agents": len(run.attempts)})
    if run.status == STOPPED:
        yield News("stopped", "issue_stopped", {**_named(run), "agents": len(run.attempts)})


def _named(run: Run) -> dict[str, object]:
    return {"issue_id": run.issue_id, "run_id": run.run_id, "workflow": run.workflow}


def _escalation(run: Run, escalation: Escalation) -> dict[str, object]:
    return {
        **_named(run),
        "why": escalation.why,
        "phase": escalation.phase,
        "rule": escalation.rule,
        "agent_id": escalation.agent_id,
        "message": escalation.message,
        "what_to_do": what_to_do(run, escalation),
    }


def what_to_do(run: Run, escalation: Escalation) -> list[str]:
    """Say what a person can do about an escalation."""
    steps = [f"look: cco issue show {run.issue_id}"]
    if escalation.agent_id is not None:
        steps.append(f"read the log: cco agent logs {escalation.agent_id}")
    data = f'\'{{"issue_id": "{run.issue_id}"}}\''
    publish = f"cco events publish --type TYPE --topic {TOPIC} --data {data}"
    steps.append(f"do what is missing, publish the event that the next rule waits for, and the run goes on: {publish}")
    again = f"cco issue start {run.issue_id} --workflow {run.workflow}"
    steps.append(f"or begin again: cco issue stop {run.issue_id}; {again}")
    return steps


@define(eq=False)
class Teller:
    """Publishes what is due, once, also when it is told to again after a crash."""

    _clock: IReactorTime
    _hub: EventHub
    _keys: Idempotency
    _letters: DeadLetters

    def tell(self, run: Run, news: News) -> "Deferred[object]":
        """Fire when it is on disk; raises as the journal."""
        if news.letter is not None:
            return self._bury(run, news.key, news.letter).addCallback(lambda _: None)
        return Deferred.fromCoroutine(self._publish(run, news))

    async def _publish(self, run: Run, news: News) -> object:
        draft = Draft.of_sidecar(news.event_type, TOPIC, news.data, issue_id=run.issue_id, correlation_id=run.run_id)

        async def work(record: Callable[[int, object], KeyRecord]) -> Answered:
            # The key is written with the event: whoever asks again, after whatever crash, finds both or neither.
            published = await self._hub.publish(draft, lambda event: record(202, event.body.event_id))
            return Answered(202, msgspec.json.encode(published.event.body.event_id))

        return await self._keys.once((SIDECAR, _ROUTE, f"{run.run_id} {news.key}"), news.key, work)

    def _bury(self, run: Run, key: str, escalation: Escalation) -> "Deferred[None]":
        place = None if escalation.event_id is None else parse_cursor(escalation.event_id)
        event = None if place is None else self._hub.ring.get(place[1])
        name = hashlib.sha256(f"{run.run_id} {key}".encode()).hexdigest()[:16]
        now = self._clock.seconds()
        return self._letters.bury(
            source="workflow",
            webhook_id="",
            run_id=run.run_id,
            rule=escalation.rule,
            event=b"null" if event is None else event.encoded,
            reason=escalation.message,
            attempts=1,
            first_attempt_at=escalation.at,
            last_attempt_at=now,
            letter_id=f"dl-{name}",
        )
