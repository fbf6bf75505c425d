"""The engine that runs workflows: what fires, what is tried again, who is called, and what a crash changes: nothing."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cco_sidecar.core.admission import Applicant
from cco_sidecar.core.agent_rows import Agent, SpawnOrder
from cco_sidecar.core.events.hub import Draft
from cco_sidecar.core.roster import Roster, parse_roster
from cco_sidecar.core.workflows.deciding import after_event
from cco_sidecar.core.workflows.run import Finished, Fired, Run, Settled, Step, Told, fold
from cco_sidecar.errors import IssueBusy, NotFound, StorageFull
from tests.core.workflow_world import GOOD, FlowHouse, World, flawed, packaged, play, told
from tests.fakes import START

Script = Callable[[Agent], Sequence[str]]
ALL_OF_TDD = ["architecture", "tests-first", "implementation", "test-run", "security", "documentation", "review"]
SEEDS = range(8)


def house_of(script: Script = lambda agent: GOOD, roster: Roster | None = None, **more: int) -> FlowHouse:
    clock = Clock()
    clock.advance(START)
    return FlowHouse(World(clock, script), roster or packaged(), **more)  # type: ignore[arg-type]  # places and queue


def custom(*rules: dict[str, object], **publishes: list[str]) -> Roster:
    """Make a roster of agent types, each with what it publishes, and one workflow, ``flow``."""
    agents = [{"type": name, "publishes": events} for name, events in publishes.items()]
    whole = [{"phase": rule["name"], **rule} for rule in rules]
    text = json.dumps({"codingAgents": agents, "workflows": [{"name": "flow", "rules": whole}]})
    return parse_roster(text.encode(), source="test")


def rule(name: str, on: str, *spawn: str, **more: object) -> dict[str, object]:
    trigger: dict[str, object] = {"types": on.split()}
    trigger |= {key: more.pop(key) for key in ("filter", "all") if key in more}
    return {"name": name, "on": trigger, "spawn": list(spawn), **more}


def states(run: Run) -> list[tuple[str, int, str]]:
    return [(it.agent_type, it.number, it.state) for it in run.attempts]


def by_type(**scripts: Sequence[str]) -> Script:
    """Give scripts by agent type and, after ``__``, by try; GOOD for all others."""
    tries: dict[str, int] = {}

    def script(agent: Agent) -> Sequence[str]:
        tries[agent.agent_type] = number = tries.get(agent.agent_type, 0) + 1
        return scripts.get(f"{agent.agent_type}__{number}", scripts.get(agent.agent_type, GOOD))

    return script


# The way through


def test_runs_through() -> None:
    """Each phase follows from the news of the one before, and the last one ends the run, which is said once."""
    house = house_of()
    house.start()
    house = play(house)
    assert house.run().status == "done"
    assert told(house) == [(name, 1) for name in ALL_OF_TDD]
    assert [len(house.events(event)) for event in ("issue_started", "issue_completed", "escalation_required")] == [
        1,
        1,
        0,
    ]


def test_tasks() -> None:
    """An agent's task is the rule's, with the issue's; its runner, priority and timeout are as asked for."""
    roster = custom(
        rule("go", "issue_started", "a", task="{issue_id}: {task} {{x}}", timeout_seconds=7, priority="low"), a=[]
    )
    house = house_of(roster=roster)
    house.start(workflow="flow", task="mend {it}", runner="shell")
    (agent,) = house.world.agents.values()
    assert agent.task == "i: mend {it} {x}"
    assert (agent.runner, agent.timeout_seconds, agent.priority, agent.parent) == ("shell", 7, "low", "admin")


def test_review_rounds() -> None:
    """Bad news calls who mends, and the chain goes on from there, round after round, until the rounds are used up."""
    rejects = ("result", "publish review_rejected", "exit 0")
    house = house_of(by_type(**{"code-reviewer__1": rejects}))
    house.start()
    house = play(house)
    assert house.run().status == "done"
    assert told(house)[7:] == [
        ("mend-review", 1), ("test-run", 2), ("security", 2), ("documentation", 2), ("review", 2),
    ]  # fmt: skip
    house = house_of(by_type(**{"code-reviewer": rejects}))
    house.start()
    house = play(house)
    run = house.run()
    assert (run.status, run.rounds("mend-review"), run.rounds("review")) == ("escalated", 3, 4)
    (escalation,) = run.escalations
    assert (escalation.why, escalation.rule) == ("rounds", "mend-review")


def test_joins() -> None:
    """A rule that wants all of several events fires when the last has come, once for each round of all."""
    roster = custom(
        rule("begin", "issue_started", "a", "b"),
        rule("both", "a_done b_done", "c", all=True),
        a=["a_done"], b=["b_done"], c=["c_done"],
    )  # fmt: skip
    house = house_of(by_type(b=("hello",) * 20 + GOOD), roster)
    house.start(workflow="flow")
    for _ in range(10):
        house.tick()
    assert told(house) == [("begin", 1)]
    assert house.run().joined_of("both").keys() == {"a_done"}
    house = play(house.restart(snapshot=True))
    assert told(house) == [("begin", 1), ("both", 1)]
    assert len(house.run().firings[1].events) == 2
    assert house.run().status == "done"


def test_half_a_join_is_stuck_and_said_so() -> None:
    """A join that misses an event which nobody can publish any more calls for a person, and says what it misses."""
    roster = custom(
        rule("begin", "issue_started", "a", "b"),
        rule("both", "a_done b_done", "c", all=True),
        a=["a_done"], b=["b_done"], c=["c_done"],
    )  # fmt: skip
    house = house_of(by_type(b=("result", "publish other", "exit 0")), roster)
    house.start(workflow="flow")
    house = play(house)
    run = house.run()
    assert run.status == "escalated"
    assert [it.why for it in run.escalations] == ["failed"]
    roster = custom(
        rule("begin", "issue_started", "a"), rule("both", "a_done elsewhere", "c", all=True), a=["a_done"], c=["c_done"]
    )
    house = house_of(roster=roster)
    house.start(workflow="flow")
    house = play(house)
    (escalation,) = house.run().escalations
    assert escalation.why == "stuck"
    assert "elsewhere" in escalation.message


def test_filters_and_lifecycle() -> None:
    """A filter decides; what the sidecar says of an agent counts from the sidecar alone."""
    roster = custom(
        rule("begin", "issue_started", "a", retries=0),
        rule("next", "agent_completed", "b", filter="agent_type:a"),
        a=[], b=[],
    )  # fmt: skip
    house = house_of(by_type(a=("hello", "hello", "result", "exit 0")), roster)
    house.start(workflow="flow")
    house.publish("agent_completed", {"agent_type": "a"}, "some-agent", "i")
    house.publish("agent_completed", {"agent_type": "a", "issue_id": "i"})
    house.publish("issue_started", {"run_id": house.run().run_id}, "some-agent", "i")
    house.settle()
    assert told(house) == [("begin", 1)]
    house = play(house)
    assert told(house) == [("begin", 1), ("next", 1)]
    assert house.run().status == "done"


def test_only_its_own_issue() -> None:
    """Another issue's events are nothing to a run; the admin, who has no issue, names it in the data."""
    house = house_of(by_type(**{"chief-architect": ("hello",) * 30 + GOOD}))
    house.start()
    house.publish("architecture_defined", {"issue_id": "i"}, "stranger", "other")
    house.publish("architecture_defined", {"issue_id": "other"})
    house.publish("architecture_defined", {"no": "issue"})
    house.publish("architecture_defined", "no object")
    house.settle()
    assert told(house) == [("architecture", 1)]
    house.publish("architecture_defined", {"issue_id": "i"})
    house.settle()
    assert told(house) == [("architecture", 1), ("tests-first", 1)]


# What goes wrong


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (("hello", "exit 3"), "it ended with exit code 3"),
        (("exit 0",), "it ended with exit code 0 and stored no result"),
        (("result", "exit 0"), "it ended with exit code 0 and published none of tests_written"),
        (("result failed", "exit 0"), "its result says that it failed"),
        (("hang",), "it was ended because its time was up"),
        (("result partial", "exit 0"), "published none of tests_written"),
    ],
)
def test_failed_attempts(script: Sequence[str], why: str) -> None:
    """Who crashes, hangs or lies has failed: the next one is told why; when the tries are used up, a person is."""
    house = house_of(by_type(**{"test-engineer__1": script}))
    house.start()
    house = play(house)
    run = house.run()
    assert run.status == "done"
    first, second = (it for it in run.attempts if it.agent_type == "test-engineer")
    assert (first.state, second.state) == ("failed", "completed")
    assert why in first.error
    task = house.world.agents[second.agent_id].task
    # The task comes first: a briefing has room for little more.
    told = task.removeprefix("This is try 2 of 2. Your task: ").partition("\n\n")
    assert told[0].endswith("The issue: Do it")
    assert told[2].startswith(f"The agent before you, {first.agent_id}, failed: ")
    assert why in told[2]
    assert f"the log of {first.agent_id}" in told[2]

    house = house_of(by_type(**{"test-engineer": script}))
    house.start()
    house = play(house)
    run = house.run()
    assert run.status == "escalated"
    assert [it.state for it in run.attempts if it.agent_type == "test-engineer"] == ["failed", "failed"]
    (event,) = house.events("escalation_required")
    data = msgspec.json.decode(event.data)
    assert event.body.publisher == "sidecar"
    assert (data["why"], data["phase"], data["rule"]) == ("failed", "tests", "tests-first")
    assert why in data["message"]
    assert "cco issue start i" in " ".join(data["what_to_do"])


def test_a_verdict_has_to_be_given() -> None:
    """A reviewer that ends well and says neither yes nor no has failed."""
    house = house_of(by_type(**{"code-reviewer__1": ("result", "exit 0")}))
    house.start()
    house = play(house)
    assert [state for name, _, state in states(house.run()) if name == "code-reviewer"] == ["failed", "completed"]


def test_news_that_was_taken_is_not_made_twice() -> None:
    """Whose news a rule has taken has done its part, whatever its end: nothing is tried again, what was odd is kept."""
    house = house_of(by_type(**{"test-engineer": ("result", "news", "exit 1")}))
    house.start()
    house = play(house)
    run = house.run()
    assert run.status == "done"
    (attempt,) = (it for it in run.attempts if it.agent_type == "test-engineer")
    assert attempt.state == "completed"
    assert attempt.error == "it published tests_written; then it ended with exit code 1"


def test_bad_news_that_nobody_takes() -> None:
    """A workflow that ends with bad news is not done."""
    roster = custom(rule("check", "issue_started", "a"), a=["checked", "check_failed"])
    house = house_of(by_type(a=("result", "publish check_failed", "exit 0")), roster)
    house.start(workflow="flow")
    house = play(house)
    assert house.run().status == "escalated"
    assert "check_failed" in house.run().escalations[0].message


def test_no_beginning() -> None:
    """A workflow that nothing begins calls for a person at once."""
    house = house_of(roster=custom(rule("check", "something", "a"), a=[]))
    house.start(workflow="flow")
    assert house.run().status == "escalated"
    assert "issue_started" in house.run().escalations[0].message


def test_goes_on_from_an_escalation() -> None:
    """When a person has done what was missing and says so, the run goes on from there."""
    house = house_of(by_type(**{"test-engineer": ("exit 1",)}))
    house.start()
    house = play(house)
    assert house.run().status == "escalated"
    house = house.restart()
    house.publish("tests_written", {"issue_id": "i"})
    house.settle()
    assert house.run().status == "running"
    house = play(house)
    assert house.run().status == "done"
    assert not house.run().troubles
    assert len(house.events("escalation_required")) == 1


def test_bounded() -> None:
    """Rules that call each other end at the most agents that a run may have, and say so."""
    rules = [rule(f"r{number}", "issue_started a_done", "a", max_rounds=100) for number in range(10)]
    house = house_of(roster=custom(*rules, a=["a_done"]), places=1000)
    house.start(workflow="flow")
    house = play(house)
    run = house.run()
    assert len(run.attempts) == 256
    assert run.status == "escalated"
    assert "agents" in {it.why for it in run.escalations}


# What cannot be started


def test_queue_full() -> None:
    """A full queue is waited for; one that stays full is a dead letter and a call for a person."""
    house = house_of(by_type(blocker=("hello",) * 100), places=1, queue=0)
    house.agents._admission.occupy(Applicant("somebody"))
    house.start()
    for _ in range(5):
        house.world.clock.advance(10)
    assert house.run().status == "running"
    house.agents._admission.leave("somebody")
    house.world.clock.advance(10)
    assert len(house.world.processes) == 1
    house = play(house)
    assert house.run().status == "done"

    house = house_of(places=1, queue=0)
    house.agents._admission.occupy(Applicant("somebody"))
    house.start()
    for _ in range(40):
        house.world.clock.advance(10)
    house.settle()
    assert house.run().status == "escalated"
    (letter,) = house.project.dead_letters.listing()
    assert (letter.source, letter.rule, letter.run_id) == ("workflow", "architecture", house.run().run_id)
    assert msgspec.json.decode(letter.event)["event_type"] == "issue_started"
    assert house.run().escalations[0].why == "spawn"


def test_roster_changed() -> None:
    """A type, a rule or a workflow that the roster has no more calls for a person; a run is never left hanging."""
    first = custom(rule("one", "issue_started", "a"), rule("two", "a_done", "b"), a=["a_done"], b=["b_done"])
    without_type = custom(rule("one", "issue_started", "a"), a=["a_done"])
    for changed in (without_type, packaged()):
        house = house_of(roster=first)
        house.start(workflow="flow")
        house.tick()
        house = play(house.restart(roster=changed))
        run = house.run()
        assert run.status == ("done" if changed is without_type else "escalated"), run
    # the rule has fired, the agent was not started, and the type is gone
    house = house_of(roster=first)
    house.journal.left = None
    house.start(workflow="flow")
    house.agents._admission.occupy(Applicant("x"))
    house = play(house)
    records = house.journal.records
    fired = next(n for n, line in enumerate(records) if b'"Fired"' in line and b'"two"' in line)
    survivor = FlowHouse(house.world, without_type, records[: fired + 1])
    survivor = play(survivor)
    assert survivor.run().status == "escalated"
    assert survivor.run().escalations[0].why == "spawn"
    assert len(survivor.project.dead_letters) == 1


def test_disk_full() -> None:
    """While the log takes nothing, nothing happens; then all goes on."""
    house = house_of()
    house.start()
    for _ in range(2):
        house.tick()
    house.journal.refusal = StorageFull("full")
    refused = house.start("other")
    assert isinstance(refused[0], StorageFull)
    house.world.clock.advance(20)
    house.journal.refusal = None
    house.world.clock.advance(20)
    house = play(house)
    assert house.run().status == "done"


# Start and stop


def test_start_again() -> None:
    """The same start is the same run; another one is refused while it runs; after its end or stop a new one begins."""
    house = house_of(by_type(**{"chief-architect": ("hello",) * 5 + GOOD}))
    (first,) = house.start()
    assert isinstance(first, tuple)
    assert first[1] is True
    (again,) = house.start()
    assert isinstance(again, tuple)
    assert (again[0].run_id, again[1]) == (first[0].run_id, False)
    (busy,) = house.start(task="Something else")
    assert isinstance(busy, IssueBusy)
    assert busy.details["different"] == ["task"]
    (stopped,) = house.stop()
    assert isinstance(stopped, Run)
    assert stopped.status == "stopped"
    (second,) = house.start(task="Something else")
    assert isinstance(second, tuple)
    assert second[0].run_id != first[0].run_id
    assert house.project.issues.mark("i") == second[0].mark > first[0].mark
    house = play(house)
    assert house.run().status == "done"


def test_stop() -> None:
    """A stop ends the run's agents and those whom they started; no rule fires after it, also not after a restart."""
    house = house_of(by_type(**{"chief-architect": ("hello",) * 50}))
    assert isinstance(house.stop()[0], NotFound)
    house.start()
    (process,) = house.world.alive
    stopped = house.stop()
    assert isinstance(stopped[0], Run)
    assert house.world.stopped == [process.agent_id]
    house.publish("architecture_defined", {"issue_id": "i"})
    house.settle()
    house = house.restart()
    house.publish("architecture_defined", {"issue_id": "i"})
    house.settle()
    assert told(house) == [("architecture", 1)]
    assert [it.state for it in house.run().attempts] == ["stopped"]
    assert len(house.events("issue_stopped")) == 1
    assert house.stop()[0] == house.run()


def test_stopped_in_the_middle_of_a_crash() -> None:
    """A stop that is on disk ends the agents even if the sidecar died before it could."""
    house = house_of(by_type(**{"chief-architect": ("hello",) * 50}))
    house.start()
    house.journal.left = 0
    house.stop()
    assert house.dead
    assert house.world.stopped == []
    house = house.restart()
    house.settle()
    assert house.world.stopped
    assert house.run().status == "stopped"


def test_stopped_while_it_starts() -> None:
    """An agent that is being started when its run is stopped is ended as soon as it is there."""
    house = house_of(by_type(**{"chief-architect": ("hello",) * 50}))
    ready: Deferred[None] = Deferred()
    house.waiting = ready
    house.start()
    assert not house.world.processes
    house.stop()
    ready.callback(None)
    house.settle()
    assert not house.world.alive
    assert house.run().status == "stopped"

    class Slow:
        """Agents whose registry knows of a spawn later."""

        def __getattr__(self, name: str) -> object:
            return getattr(house.agents, name)

        def spawn(self, order: SpawnOrder) -> "Deferred[Agent]":
            return later.addCallback(lambda _: house.agents.spawn(order))

    later: Deferred[None] = Deferred()
    house = house_of(by_type(**{"chief-architect": ("hello",) * 50}))
    house.engine._spawner._agents = Slow()  # type: ignore[assignment]  # it passes for them
    house.start()
    house.stop()
    later.callback(None)
    house.settle()
    assert house.world.stopped
    assert not house.world.alive


def test_what_came_before_and_what_comes_again() -> None:
    """Events from before the beginning, replays, and the beginning of another run make no rule fire."""
    house = house_of(by_type(**{"chief-architect": ("hello",) * 50}))
    house.publish("architecture_defined", {"issue_id": "i"})
    house.start()
    house.publish("issue_started", {"issue_id": "i", "run_id": "run-of-old"}, "sidecar", "i")
    again = Draft("architecture_defined", "t", "admin", None, "i", msgspec.Raw(b"{}"), replayed_from="evt-1")
    house.project.hub.publish(again)
    house = house.restart()
    assert told(house) == [("architecture", 1)]
    run, flow = house.run(), house.roster.workflows["tdd"]
    begun = msgspec.structs.replace(run, begun=False, firings=(), attempts=())
    (started,) = house.events("issue_started")[:1]
    assert after_event(begun, flow, house.events("architecture_defined")[0], 0.0) == ()
    other = msgspec.structs.replace(begun, run_id="another")
    assert after_event(other, flow, started, 0.0) == ()
    assert after_event(begun, flow, started, 0.0) != ()


def test_fold() -> None:
    """A step has its effect once, on its own run, and none on a run that is over."""
    run = Run("r", "i", "w", "demo", "t", "admin", 0.0, 0, 60.0)
    fired = Fired("rule", "phase", ("e",), ("a",))
    step = Step("r", "i", 1.0, 7, (fired,))
    once = fold(run, step)
    assert (once.rounds("rule"), once.through) == (1, 7)
    assert fold(once, step) == once
    assert fold(run, Step("other", "i", 1.0, 7, (fired,))) == run
    over = fold(once, Step("r", "i", 2.0, 0, (Finished("stopped"),)))
    assert [it.state for it in over.attempts] == ["stopped"]
    assert fold(over, Step("r", "i", 3.0, 9, (fired, Settled("x", True)))).attempts == over.attempts
    assert fold(over, Step("r", "i", 3.0, 0, (Told("stopped"),))).told == ("stopped",)


def test_most_issues_at_once() -> None:
    """So many issues are worked on at once, and no more."""
    house = house_of(by_type(**{"chief-architect": ("hello",) * 500}), places=1000)
    for number in range(100):
        assert isinstance(house.start(f"i{number}")[0], tuple)
    assert getattr(house.start("one-more")[0], "code", "") == "RATE_001"


# Crashes


def outcome_of(run: Run) -> object:
    """What must not hang on crashes."""
    return (
        run.status,
        [(firing.rule, firing.round, len(firing.events)) for firing in run.firings],
        [(it.agent_id, it.state, it.news, it.counted) for it in run.attempts],
        [(it.why, it.rule, it.agent_id) for it in run.escalations],
    )


def check_once(house: FlowHouse) -> None:
    """No event made a rule fire twice, and nothing was said twice."""
    run = house.run()
    pairs = [(firing.rule, event) for firing in run.firings for event in firing.events]
    assert len(pairs) == len(set(pairs))
    assert len(house.events("issue_started")) == 1
    assert len(house.events("issue_completed")) == (run.status == "done")
    assert len(house.events("escalation_required")) == len(run.escalations)


@pytest.mark.parametrize("seed", SEEDS)
def test_flawed_agents(seed: int) -> None:
    """Agents that crash, hang or lie: the run ends, done or escalated, and is never stuck."""
    house = house_of(flawed(seed, 0.35))
    house.start()
    house = play(house)
    assert house.run().status in {"done", "escalated"}
    check_once(house)


@pytest.mark.parametrize("seed", [1, 5])
def test_killed_at_every_record(seed: int) -> None:
    """Whichever record is the last that a sidecar writes, its next life comes to the same end."""
    unharmed = house_of(flawed(seed, 0.3))
    unharmed.start()
    unharmed = play(unharmed)
    wanted, records = outcome_of(unharmed.run()), len(unharmed.journal.records)
    assert records > 40
    for last in range(records):
        house = house_of(flawed(seed, 0.3), left=last)
        house.start()
        while house.dead and house.project.runs.find("i") is None:
            house = house.restart()
            house.start()  # nobody told the one who asked
        house = play(house)
        assert outcome_of(house.run()) == wanted, f"killed at record {last}"
        check_once(house)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_all_the_time(seed: int) -> None:
    """A sidecar that dies at every few records comes to the same end, too."""
    unharmed = house_of(flawed(seed, 0.3))
    unharmed.start()
    wanted = outcome_of(play(unharmed).run())
    house = house_of(flawed(seed, 0.3))
    house.start()
    lives: Iterator[int] = repeat(3 + seed % 3)
    house = play(house.restart(3), lives)
    assert outcome_of(house.run()) == wanted
    check_once(house)


def test_snapshots() -> None:
    """A run goes on from a snapshot of the state as it does from the records."""
    house = house_of(flawed(3, 0.3))
    house.start()
    unharmed = outcome_of(play(house).run())
    house = house_of(flawed(3, 0.3))
    house.start()
    for _ in range(2000):
        if house.run().status != "running":
            break
        house.tick()
        house = house.restart(snapshot=True)
    assert outcome_of(house.run()) == unharmed


def test_retention_took_the_end() -> None:
    """An agent whose end was told while no sidecar looked, so long ago that the event is gone, is not waited for."""
    house = house_of()
    house.start()
    for _ in range(2):
        house.tick()
    blind = house.restart()
    blind.engine.close()
    for _ in range(4):
        blind.tick()
    assert blind.world.alive == []
    blind.world.clock.advance(2 * 86400)
    house = play(blind.restart())
    run = house.run()
    assert run.status in {"done", "escalated"}
    assert run.attempts[0].state == "failed"
