"""Runs under random events, agents and crashes: nothing fires twice, all is bounded, and every run comes to an end."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.events.event import SIDECAR
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.roster import Roster, parse_roster
from cco_sidecar.core.workflows.run import MOST_AGENTS, RUNNING
from cco_sidecar.core.workflows.runs import Runs
from tests.core.workflow_world import FlowHouse, MortalJournal, World
from tests.fakes import START

ROSTER = b"""{"codingAgents": [
  {"type": "a", "publishes": ["a_done", "a_failed"]}, {"type": "b", "publishes": ["b_done"]},
  {"type": "c", "publishes": ["c_done", "c_rejected"]}, {"type": "d"}],
 "workflows": [{"name": "tdd", "rules": [
  {"name": "begin", "phase": "one", "on": {"types": ["issue_started"]}, "spawn": ["a", "b"], "max_rounds": 1},
  {"name": "both", "phase": "two", "on": {"types": ["a_done", "b_done"], "all": true}, "spawn": ["c"], "max_rounds": 3},
  {"name": "mend", "phase": "one", "on": {"types": ["c_rejected", "a_failed"]}, "spawn": ["a", "b"], "retries": 2,
   "max_rounds": 2},
  {"name": "tidy", "phase": "three", "on": {"types": ["agent_completed"], "filter": "agent_type:c"}, "spawn": ["d"],
   "max_rounds": 2}]}]}"""

EVENTS = ("a_done", "a_failed", "b_done", "c_done", "c_rejected", "agent_completed", "issue_started", "other")
PUBLISHERS = ("admin", "stranger", "agent")
ISSUES = ("i", "j")


def waits(agent: Agent) -> Sequence[str]:
    """Do nothing but what the machine says."""
    return ("hang",)


def roster() -> Roster:
    return parse_roster(ROSTER, source="model")


class Flow(RuleBasedStateMachine):
    """A sidecar with two issues, and a world that does whatever it likes."""

    house: FlowHouse

    @initialize()
    def begin(self) -> None:
        clock = Clock()
        clock.advance(START)
        self.house = FlowHouse(World(clock, waits), roster())
        self.house.start("i")
        self.published = 0

    def alive(self) -> None:
        """Whatever comes next finds a sidecar."""
        if self.house.dead:
            self.house = self.house.restart()

    @rule(
        event=st.sampled_from(EVENTS),
        publisher=st.sampled_from(PUBLISHERS),
        issue=st.sampled_from(ISSUES),
        place=st.integers(0, 5),
        again=st.booleans(),
    )
    def publish(self, event: str, publisher: str, issue: str, place: int, again: bool) -> None:
        """Somebody publishes, perhaps the same twice."""
        self.alive()
        at_work = [process for process in self.house.world.alive if process.issue_id == issue]
        if publisher == "agent" and at_work:
            publisher = at_work[place % len(at_work)].agent_id
        data = {"issue_id": issue, "agent_type": "c", "run_id": "run-00000001", "agent_id": publisher}
        for _ in range(1 + again):
            self.house.publish(event, data, publisher, None if publisher == "admin" else issue)
        self.house.settle()

    @rule(place=st.integers(0, 5), status=st.sampled_from(["success", "failed", "partial"]))
    def report(self, place: int, status: str) -> None:
        """An agent stores a result."""
        self.alive()
        if alive := self.house.world.alive:
            process = alive[place % len(alive)]
            data = {"result_id": "res-1", "agent_id": process.agent_id, "status": status}
            self.house.agents.result_stored("p", process.agent_id, "res-1")
            self.house.publish("result_stored", data, SIDECAR, process.issue_id)
            self.house.settle()

    @rule(place=st.integers(0, 5), code=st.sampled_from([0, 0, 1, -9]), timed_out=st.booleans())
    def end(self, place: int, code: int, timed_out: bool) -> None:
        """An agent ends, whether or not a sidecar is there to see it."""
        if alive := self.house.world.alive:
            self.house.world.end(alive[place % len(alive)], code, timed_out and code != 0)
            self.house.settle()

    @rule(snapshot=st.booleans(), left=st.one_of(st.none(), st.integers(0, 12)))
    def crash(self, snapshot: bool, left: int | None) -> None:
        """The sidecar is killed; the next one dies after so many records."""
        self.house = self.house.restart(left, snapshot)

    @rule(left=st.integers(0, 6))
    def crash_soon(self, left: int) -> None:
        """It will die after so many records."""
        self.house.journal.left = left

    @rule(issue=st.sampled_from(ISSUES), task=st.sampled_from(["x", "y"]))
    def start(self, issue: str, task: str) -> None:
        """Somebody starts a run, which may be there."""
        self.alive()
        self.house.start(issue, task=task)

    @rule(issue=st.sampled_from(ISSUES))
    def stop(self, issue: str) -> None:
        """Somebody stops one, which may not be there."""
        self.alive()
        self.house.stop(issue)

    @rule(seconds=st.sampled_from([1, 20, 400]))
    def time_goes_by(self, seconds: int) -> None:
        self.house.world.clock.advance(seconds)
        self.house.settle()

    @invariant()
    def nothing_twice(self) -> None:
        """No rule fired twice for an event, none more often than it may; no agent is counted twice."""
        rules = {each.name: each for each in self.house.roster.workflows["tdd"].rules}
        for run in self.house.project.runs:
            pairs = [(firing.rule, event) for firing in run.firings for event in firing.events]
            assert len(pairs) == len(set(pairs))
            for name, each in rules.items():
                assert run.rounds(name) <= each.most_rounds
            names = [attempt.agent_id for attempt in run.attempts]
            assert len(names) == len(set(names)) <= MOST_AGENTS
            for attempt in run.attempts:
                assert attempt.number <= 1 + rules[run.firings[attempt.firing].rule].retries

    @invariant()
    def state_is_what_is_recorded(self) -> None:
        """What the engine knows is what the records say, no more and no less."""
        if self.house.dead:
            return
        ledger = Ledger(MortalJournal())
        runs = Runs(ledger)
        ledger.join(runs)
        for record in self.house.journal.records:
            ledger.restore(record)
        assert {run.issue_id: run for run in runs} == {run.issue_id: run for run in self.house.project.runs}

    @invariant()
    def never_idle(self) -> None:
        """A run that counts as running has somebody at work for it, in a process or on the way to one."""
        if self.house.dead:
            return
        for run in self.house.project.runs:
            if run.status == RUNNING:
                assert run.live, run
                for attempt in run.live:
                    agent = self.house.agents.find("p", attempt.agent_id)
                    assert agent is not None
                    assert not agent.ended, "nobody took note of its end"
            if run.status == "stopped":
                assert not [it for it in self.house.world.alive if run.attempt(it.agent_id) is not None]

    def teardown(self) -> None:
        """When everybody ends, however badly, every run comes to an end; what is to be said was said, once."""
        if not hasattr(self, "house"):
            return
        self.house.journal.left = None
        self.alive()
        self.house.world.script = lambda agent: ("exit 1",)
        for process in self.house.world.alive:
            process.todo = ["result", "exit 0"]
        for issue in ISSUES:
            if self.house.project.runs.find(issue) is None:
                continue
            for _ in range(200):
                if self.house.run(issue).status != RUNNING:
                    break
                self.house.tick()
            run = self.house.run(issue)
            assert run.status != RUNNING, run
            for event_type in ("issue_started", "issue_completed", "escalation_required"):
                keys = [event.fields().texts("run_id") for event in self.house.events(event_type)]
                told = sum(run.run_id in key for key in keys)
                most = len(run.escalations) if event_type == "escalation_required" else 1
                assert told <= most or event_type == "issue_started", (event_type, told)


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Flow,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def test_model() -> None:
    """A short while."""
    run(60, 40)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_model_long() -> None:
    """Long."""
    run(1500, 60)
