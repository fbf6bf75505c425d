"""Agents: states, the cap, kills, restarts; one terminal event each, and nothing started twice."""

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, fail

from cco_sidecar.core.agent_rows import Agent, AgentRows, LastWords
from cco_sidecar.errors import EventLogUnavailable, NotFound, SpawnFailed, SpawnTooDeep, StorageFull, TooManyRequests
from tests.conftest import LoggedFailures
from tests.core.agents_fakes import NO_PROGRAM, House, launched

FULL = StorageFull("The disk is full.")


def test_spawn() -> None:
    """A spawned agent is running, with its process, and was announced."""
    house = House()
    (agent,) = house.spawn()
    assert isinstance(agent, Agent)
    assert (agent.status, agent.process_id, agent.exit_code) == ("running", 1001, None)
    assert house.said == [("agent_spawned", "a1", "running")]
    assert not house.agents.is_gone("p", "a1")


@pytest.mark.parametrize(
    ("exit_code", "timed_out", "status", "event"),
    [
        (0, False, "completed", "agent_completed"),
        (0, True, "failed", "agent_failed"),
        (1, False, "failed", "agent_failed"),
        (-9, False, "failed", "agent_failed"),
        (None, False, "lost", "agent_failed"),
    ],
)
def test_end(exit_code: int | None, timed_out: bool, status: str, event: str) -> None:
    """The state follows from what happened to the process, and one terminal event says so."""
    house = House()
    house.spawn()
    house.launcher.end("a1", exit_code, at=42.0, timed_out=timed_out)
    agent = house.agents.get("p", "a1")
    assert (agent.status, agent.exit_code, agent.ended_at, agent.timed_out) == (status, exit_code, 42.0, timed_out)
    assert house.said[1:] == [(event, "a1", status)]
    assert house.agents.is_gone("p", "a1")
    assert house.steps[-1] == "gone a1"
    assert house.launcher.forgotten == ["a1"]


def test_last_words() -> None:
    """An agent ends when it is known what it said: that is in its end, in the journal, and counts for the issue."""
    house = House()
    words: Deferred[LastWords | None] = Deferred()
    house.words = words
    house.spawn()
    house.launcher.end("a1", 1, at=42.0)
    assert house.status("a1") == "running"
    house.agents.result_stored("p", "a1", "res-1")
    words.callback(LastWords({"turns": 2.0}, "overloaded", "529"))
    for agent in (house.agents.get("p", "a1"), house.restart().agents.get("p", "a1")):
        assert (agent.status, agent.ended_at, agent.result_id) == ("failed", 42.0, "res-1")
        assert (agent.usage, agent.failure, agent.reason) == ({"turns": 2.0}, "overloaded", "529")
    assert house.said[1:] == [("agent_failed", "a1", "failed")]


def test_no_last_words(logged_failures: LoggedFailures) -> None:
    """Whatever keeps them away does not keep its end away; one killed meanwhile is killed."""
    house = House()
    house.words = fail(OSError("unreadable"))
    house.spawn()
    house.launcher.end("a1", 0)
    assert house.status("a1") == "completed"
    assert len(logged_failures.flush(OSError)) == 1
    words: Deferred[LastWords | None] = Deferred()
    house.words = words
    house.spawn()
    house.launcher.end("a2", 0)
    killed = house.kill("a2")
    words.callback(None)
    assert house.status("a2") == "killed"
    assert len(killed) == 1


def test_last_words_at_the_end_of_the_sidecar() -> None:
    """A sidecar that ends before it heard leaves the end to the next one."""
    house = House()
    words: Deferred[LastWords | None] = Deferred()
    house.words = words
    house.spawn()
    house.launcher.end("a1", 0)
    house.agents.close()
    words.callback(None)
    assert (house.status("a1"), house.said[1:]) == ("running", [])


def test_intent_before_start() -> None:
    """No process is started before the intent is on disk."""
    house = House()
    house.journal.held = True
    seen = house.spawn()
    assert (house.launcher.orders, seen) == ([], [])
    house.journal.release()
    assert len(house.launcher.orders) == len(seen) == 1


def test_starting_is_durable() -> None:
    """When the process is started, the journal says that it may have been: a restart won't start it again."""
    house = House()
    house.launcher.held = True
    house.spawn()
    assert len(house.launcher.orders) == 1
    next_house = house.restart()
    next_house.launcher.found["a1"] = launched(1)
    next_house.agents.readopt()
    assert next_house.launcher.orders == []
    assert next_house.status("a1") == "running"


def test_never_started() -> None:
    """An agent whose start was recorded, but never came so far, as the launcher knows, starts now, once."""
    house = House(places=1)
    house.launcher.held = True
    house.spawn("low")
    house.spawn("high")
    after = house.restart()
    after.agents.readopt()
    assert [order.agent_id for order in after.launcher.orders] == ["a1"]
    assert (after.status("a1"), after.status("a2")) == ("running", "queued")
    after.launcher.end("a1", 0)
    assert [order.agent_id for order in after.launcher.orders] == ["a1", "a2"]


def test_spawn_refused() -> None:
    """A spawn that is not on disk was not accepted: nothing starts and nothing is listed."""
    house = House()
    house.journal.refusal = FULL
    assert house.spawn(environment={"A": "b"}) == [FULL]
    assert house.agents.listing("p") == []
    assert house.agents.totals().spawned_total == 0
    assert house.steps == ["gone a1"]
    house.journal.refusal = None
    house.spawn()
    house.spawn()
    assert len(house.launcher.orders) == 2


@pytest.mark.parametrize("trouble", [NO_PROGRAM, FULL])
def test_start_fails(trouble: SpawnFailed) -> None:
    """A program that can't be started fails the spawn and ends the agent."""
    house = House(places=1)
    house.launcher.trouble = trouble
    assert house.spawn() == [trouble]
    assert trouble.details["agent_id"] == "a1"
    assert (house.status("a1"), house.agents.get("p", "a1").started_at) == ("failed", None)
    assert house.said == [("agent_failed", "a1", "failed")]
    house.launcher.trouble = None
    house.spawn()
    assert house.status("a2") == "running"


def test_prepare_breaks(logged_failures: LoggedFailures) -> None:
    """A bug around the start is a failed spawn that tells nothing of it."""
    house = House()
    house.unprepared = RuntimeError("secret")
    (refusal,) = house.spawn()
    assert isinstance(refusal, SpawnFailed)
    assert "secret" not in refusal.message
    assert house.status("a1") == "failed"
    assert len(logged_failures.flush(RuntimeError)) == 1


def test_environment_is_not_recorded() -> None:
    """The values of a spawn's environment may be secrets: the ledger has their names only."""
    house = House()
    house.spawn(environment={"API_KEY": "hunter2"})
    assert house.kept == {"a1": {"API_KEY": "hunter2"}}
    text = b"".join(house.journal.records)
    assert b"API_KEY" in text
    assert b"hunter2" not in text


def test_queue() -> None:
    """Above the cap agents wait, and start by priority and then in order when others end."""
    house = House(places=1)
    house.spawn()
    seen = [house.spawn(priority) for priority in ("low", "normal", "high", "normal")]
    assert [one[0].status for one in seen if isinstance(one[0], Agent)] == ["queued"] * 4
    for ending in ("a1", "a4", "a3", "a5", "a2"):
        assert house.status(ending) == "running"
        house.launcher.end(ending, 0)
    assert [order.agent_id for order in house.launcher.orders] == ["a1", "a4", "a3", "a5", "a2"]


def test_depth() -> None:
    """The tree of agents that agents spawned has so many storeys, also after a restart; people begin at the top."""
    house = House(places=10, depth=3)
    for parent in ("admin", "a1", "a2"):
        house.spawn(parent=parent)
    (refusal,) = house.spawn(parent="a3")
    assert isinstance(refusal, SpawnTooDeep)
    assert refusal.details == {"depth": 4, "max_depth": 3}
    after = house.restart()
    after.agents.readopt()
    assert isinstance(after.spawn(parent="a3")[0], SpawnTooDeep)
    assert [after.agents.get("p", each).depth for each in ("a1", "a2", "a3")] == [1, 2, 3]
    (child,) = after.spawn(parent="token-by-hand")
    assert isinstance(child, Agent)
    assert child.depth == 2


def test_children_of_one() -> None:
    """An agent has so many children at once; the admin has as many as there are places."""
    house = House(places=10, caps={"parent": 2})
    for parent in ("admin", "a1", "a1", "a1", "admin", "admin"):
        house.spawn(parent=parent)
    assert [house.status(f"a{number}") for number in range(1, 7)] == ["running"] * 3 + ["queued"] + ["running"] * 2
    assert house.agents.why_waits("a4") == "2 agents of its parent 'a1' run already"
    after = house.restart()
    after.agents.readopt()
    assert after.status("a4") == "queued"
    after.launcher.end("a2", 0)
    assert after.status("a4") == "running"


def test_paced_starts() -> None:
    """Those who may start later do so without anybody asking again."""
    house = House(places=2, per_minute=60)
    for number in (1, 2, 3):
        house.spawn()
        if number < 3:
            house.launcher.end(f"a{number}", 0)
    assert house.status("a3") == "queued"
    house.clock.advance(1.0)
    assert house.status("a3") == "running"
    assert house.clock.getDelayedCalls() == []


def test_queue_bound() -> None:
    """A full queue refuses, and nothing is recorded of the refused."""
    house = House(places=1, queue=1)
    house.spawn()
    house.spawn()
    before = len(house.journal.records)
    (refusal,) = house.spawn()
    assert isinstance(refusal, TooManyRequests)
    assert len(house.journal.records) == before


def test_queued_start_fails() -> None:
    """A queued agent whose program is gone by then ends with its one event, and the next one starts."""
    house = House(places=1)
    house.spawn()
    house.spawn()
    house.spawn()
    house.launcher.trouble = NO_PROGRAM
    house.launcher.end("a1", 0)
    assert [house.status(each) for each in ("a2", "a3")] == ["failed", "failed"]
    assert house.said[2:] == [("agent_failed", "a2", "failed"), ("agent_failed", "a3", "failed")]


def test_kill() -> None:
    """The token is dead and the kill recorded before the first signal; the answer comes when the process is gone."""
    house = House()
    house.spawn()
    house.journal.held = True
    seen = house.kill("a1", 7.0)
    assert house.steps[-1] == "gone a1"
    assert house.agents.is_gone("p", "a1")
    assert house.launcher.stops == []
    house.journal.release()
    assert house.launcher.stops == [("a1", 7.0)]
    assert seen == []
    house.launcher.end("a1", -15)
    (agent,) = seen
    assert isinstance(agent, Agent)
    assert (agent.status, agent.exit_code) == ("killed", -15)
    assert house.said[1:] == [("agent_failed", "a1", "killed")]


def test_kill_again_harder() -> None:
    """A second kill shortens the grace; both are answered at the end."""
    house = House()
    house.spawn()
    first, second = house.kill("a1", 30.0), house.kill("a1", 0.0)
    assert house.launcher.stops == [("a1", 30.0), ("a1", 0.0)]
    house.launcher.end("a1", -9)
    assert len(first) == len(second) == 1


def test_kill_on_full_disk() -> None:
    """A full disk does not stop a kill."""
    house = House()
    house.spawn()
    house.journal.refusal = FULL
    seen = house.kill("a1")
    house.launcher.end("a1", -15)
    assert house.status("a1") == "killed"
    assert len(seen) == 1


def test_kill_queued() -> None:
    """A queued agent that is killed never starts."""
    house = House(places=1)
    house.spawn()
    house.spawn()
    (agent,) = house.kill("a2")
    assert isinstance(agent, Agent)
    assert agent.status == "killed"
    house.launcher.end("a1", 0)
    assert [order.agent_id for order in house.launcher.orders] == ["a1"]
    assert ("agent_failed", "a2", "killed") in house.said


def test_kill_while_accepted() -> None:
    """A kill between the intent and its acknowledgement ends the agent before it starts."""
    house = House()
    house.journal.held = True
    spawned, killed = house.spawn(), house.kill("a1")
    house.journal.release()
    assert house.launcher.orders == []
    assert [seen[0].status for seen in (spawned, killed) if isinstance(seen[0], Agent)] == ["killed", "killed"]


def test_kill_while_starting() -> None:
    """A kill that comes while the process is being started takes effect as soon as it runs."""
    house = House()
    house.launcher.held = True
    house.spawn()
    seen = house.kill("a1", 3.0)
    assert house.launcher.stops == []
    house.launcher.starting["a1"].callback(launched(1))
    assert house.launcher.stops == [("a1", 3.0)]
    house.launcher.end("a1", -15)
    assert house.status("a1") == "killed"
    assert len(seen) == 1


def test_kill_while_starting_fails() -> None:
    """A kill of an agent that then can't be started is answered, too."""
    house = House()
    house.launcher.held = True
    house.spawn()
    seen = house.kill("a1")
    house.launcher.starting["a1"].errback(NO_PROGRAM)
    assert house.status("a1") == "killed"
    assert len(seen) == 1


def test_kill_ended_and_unknown() -> None:
    """Killing what ended gives it as it is; what never was is not found."""
    house = House()
    house.spawn()
    house.launcher.end("a1", 0)
    (agent,) = house.kill("a1")
    assert isinstance(agent, Agent)
    assert agent.status == "completed"
    assert isinstance(house.kill("a9")[0], NotFound)
    assert isinstance(house.agents.kill("q", "a1", 0).addErrback(lambda failure: failure.value).result, NotFound)


def test_hang_up() -> None:
    """A client that goes away frees its Deferred; the kill goes on."""
    house = House()
    house.spawn()
    killing = house.agents.kill("p", "a1", 1.0)
    killing.addErrback(lambda _: None)
    killing.cancel()
    house.launcher.end("a1", -15)
    assert house.status("a1") == "killed"


def test_events_wait_for_the_log() -> None:
    """While the event log takes nothing, the events wait, and come in order once it does."""
    house = House()
    house.unpublished = EventLogUnavailable("The event log is stopping.")
    house.spawn()
    house.launcher.end("a1", 0)
    assert house.said == []
    assert house.launcher.forgotten == []
    house.unpublished = None
    house.clock.advance(5)
    assert [event for event, _, _ in house.said] == ["agent_spawned", "agent_completed"]
    assert house.launcher.forgotten == ["a1"]
    assert house.clock.getDelayedCalls() == []


def test_close_leaves_no_timer() -> None:
    """A closed registry tries nothing again and starts nothing; the next one publishes what was left."""
    house = House(places=1)
    house.unpublished = EventLogUnavailable("The event log is stopping.")
    house.spawn()
    house.spawn()
    house.agents.close()
    assert house.clock.getDelayedCalls() == []
    house.launcher.end("a1", 0)
    assert house.status("a2") == "queued"
    assert isinstance(house.spawn()[0], SpawnFailed)


@pytest.mark.parametrize("snapshot", [False, True])
def test_restart(snapshot: bool) -> None:
    """Running agents are found again, queued ones start in their turn; nothing is announced twice."""
    house = House(places=1)
    house.spawn()
    house.launcher.end("a1", 3)
    house.spawn()
    house.spawn("low")
    house.spawn("high")
    after = house.restart(snapshot)
    after.agents.readopt()
    assert after.launcher.adopted == ["a2"]
    assert after.said == []
    assert after.agents.totals() == house.agents.totals()
    after.launcher.end("a2", 0)
    assert [order.agent_id for order in after.launcher.orders] == ["a4"]
    assert after.said == [("agent_completed", "a2", "completed"), ("agent_spawned", "a4", "running")]
    assert after.agents.get("p", "a1") == house.agents.get("p", "a1")


def test_restart_unrecorded_start() -> None:
    """A start that was not recorded is found in the launcher's notes."""
    house = House()
    house.launcher.held = True
    house.spawn()
    after = house.restart()
    after.launcher.found["a1"] = launched(7)
    after.agents.readopt()
    assert after.status("a1") == "running"
    assert after.said == [("agent_spawned", "a1", "running")]
    after.launcher.end("a1", 0)
    assert after.status("a1") == "completed"


def test_restart_during_kill() -> None:
    """A kill that was asked for is asked for again, and its agent ends as killed, not failed."""
    house = House()
    house.spawn()
    house.kill("a1")
    after = house.restart()
    after.agents.readopt()
    assert after.agents.is_gone("p", "a1")
    assert [agent_id for agent_id, _ in after.launcher.stops] == ["a1"]
    after.launcher.end("a1", -15)
    assert after.status("a1") == "killed"


def test_restart_before_the_event() -> None:
    """An end that was recorded but not published is published by the next sidecar, once."""
    house = House()
    house.spawn()
    house.unpublished = EventLogUnavailable("The event log is stopping.")
    house.launcher.end("a1", 0)
    after = house.restart()
    after.agents.readopt()
    assert after.said == [("agent_completed", "a1", "completed")]
    again = after.restart()
    again.agents.readopt()
    assert again.said == []


def test_stop_all() -> None:
    """At a shutdown that stops agents, the running are killed and the queued wait for the next start."""
    house = House(places=1)
    house.spawn()
    house.spawn()
    done: list[None] = []
    house.agents.stop_all(30.0).addCallback(done.append)
    house.launcher.end("a1", -15)
    assert done == [None]
    assert [house.status(each) for each in ("a1", "a2")] == ["killed", "queued"]


def test_result_stored() -> None:
    """The newest result is in the row and survives a restart; strangers' results are none of ours."""
    house = House()
    house.spawn()
    house.agents.result_stored("p", "a1", "r1")
    house.agents.result_stored("p", "stranger", "r2")
    assert house.restart().agents.get("p", "a1").result_id == "r1"


def test_listing() -> None:
    """Newest first, by status, type and issue, up to the limit."""
    house = House(places=2)
    house.spawn(issue_id="one")
    house.spawn(issue_id="two", agent_type="test-engineer")
    house.spawn(issue_id="two")

    def ids(**wanted: str | int) -> list[str]:
        return [agent.agent_id for agent in house.agents.listing("p", **wanted)]  # type: ignore[arg-type]  # by name

    assert ids() == ["a3", "a2", "a1"]
    assert ids(limit=1) == ["a3"]
    assert ids(status="running") == ["a2", "a1"]
    assert ids(issue_id="two", agent_type="test-engineer") == ["a2"]
    with pytest.raises(NotFound):
        house.agents.listing("q")


def test_totals() -> None:
    """The totals count every end once, also over a restart."""
    house = House(places=10)
    for _ in range(4):
        house.spawn()
    house.launcher.end("a1", 0, at=2.0)
    house.launcher.end("a2", 1, at=4.0)
    house.kill("a3")
    house.launcher.end("a3", -15, at=6.0)
    totals = house.restart(snapshot=True).agents.totals()
    assert (totals.active, totals.completed, totals.failed, totals.spawned_total) == (1, 1, 2, 4)
    assert totals.by_type == {"python-specialist": 1}
    assert totals.avg_execution_time_ms == 4000.0


def test_rows_are_bounded() -> None:
    """Of those that ended only the newest are kept, with a short task; all are counted, also from a snapshot."""
    house = House()
    template = house.spawn(task="x" * 5_000)[0]
    assert isinstance(template, Agent)
    rows = AgentRows(most_ended=3)
    for number in range(10):
        fields = msgspec.to_builtins(template) | {"agent_id": f"e{number}", "status": "completed"}
        rows.put(msgspec.convert(fields, Agent))
    assert [agent.agent_id for agent in rows] == ["e7", "e8", "e9"]
    assert all(len(agent.task) == 1_000 for agent in rows)
    again = AgentRows(most_ended=3)
    for _ in range(2):  # two snapshots, as in two segments
        for kind, body in rows.snapshot():
            again.restore(kind, msgspec.Raw(msgspec.json.encode(body)))
    assert again.totals == rows.totals
    assert again.totals.completed == 10


class AgentsModel(RuleBasedStateMachine):
    """Random lives: at most one process an agent, at most one terminal event, never more than the cap."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(places=2, queue=5)
        self.running: dict[str, bool] = {}
        self.started: list[str] = []
        self.events: list[tuple[str, str, str]] = []

    def look(self) -> None:
        for order in self.house.launcher.orders:
            self.started.append(order.agent_id)
            self.running[order.agent_id] = True
        self.house.launcher.orders.clear()
        self.events.extend(self.house.said)
        self.house.said.clear()

    @rule(priority=st.sampled_from(["high", "normal", "low"]))
    def spawn(self, priority: str) -> None:
        self.house.spawn(priority)
        self.look()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), exit_code=st.sampled_from([0, 1, -9, None]))
    def end(self, data: st.DataObject, exit_code: int | None) -> None:
        agent_id = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[agent_id]
        self.house.launcher.end(agent_id, exit_code)
        self.look()

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        known = [agent.agent_id for agent in self.house.agents.listing("p")]
        if known:
            self.house.kill(data.draw(st.sampled_from(sorted(known))))
            self.look()

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        self.house = self.house.restart(snapshot)
        self.house.agents.readopt()
        assert sorted(self.house.launcher.adopted) == sorted(self.running)
        self.look()

    @invariant()
    def promises(self) -> None:
        assert len(self.running) <= 2
        assert len(self.started) == len(set(self.started))
        terminal = [agent_id for event, agent_id, _ in self.events if event != "agent_spawned"]
        assert len(terminal) == len(set(terminal))
        ended = {agent.agent_id for agent in self.house.agents.listing("p", limit=10_000) if agent.ended}
        assert ended == set(terminal)
        assert self.house.agents.totals().active == len(self.running)


test_lives = AgentsModel.TestCase
