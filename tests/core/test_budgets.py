"""Budgets: what counts, that each limit is told of once, who is held back, who has to end, and what a restart keeps."""

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from cco_sidecar.core.agent_rows import Agent, SpawnOrder
from cco_sidecar.core.budgets import spending
from cco_sidecar.core.budgets.budget import BudgetRecord, Limits
from cco_sidecar.core.budgets.budgets import MOST_BUDGETS, Budgets
from cco_sidecar.core.budgets.spending import Kind, Spent, spent_of
from cco_sidecar.core.workflows.judging import ending_of
from cco_sidecar.errors import NotFound, StorageFull, TooManyRequests
from tests.core.workflow_world import GRACE_SECONDS, FlowHouse, World, packaged
from tests.fakes import outcome, result_of

ROSTER = packaged()
TYPE = "python-specialist"


def house(**more: Any) -> FlowHouse:
    """A sidecar in memory, whose agents do nothing but take tokens."""
    return FlowHouse(World(Clock(), lambda _: ()), ROSTER, **more)


def spawn(house: FlowHouse, name: str, issue: str = "i", agent_type: str = TYPE) -> Agent:
    """Start an agent."""
    order = SpawnOrder(agent_type, issue, "p", "admin", "do it", "claude", 3600.0, agent_id=name)
    started = outcome(house.agents.spawn(order))
    house.settle()
    assert isinstance(started[0], Agent)
    return started[0]


def take(house: FlowHouse, name: str, tokens: int = 0, usd: float = 0.0) -> None:
    """Let an agent have taken so much, in all; the sidecar looks."""
    house.world.usage[name] = {"input_tokens": float(tokens), "cache_read_tokens": 10.0**6, "cost_usd": usd}
    house.look()


def end(house: FlowHouse, name: str, exit_code: int = 0) -> None:
    """Let an agent end."""
    house.world.end(house.world.processes[name], exit_code)
    house.settle()


def budgets(house: FlowHouse) -> Budgets:
    return house.project.budgets


def set_budget(house: FlowHouse, kind: Kind, name: str, *, reset: bool = False, **limits: Any) -> BudgetRecord:
    record = result_of(house.steward.set("p", kind, name, Limits(**limits), reset=reset))
    house.settle()
    return record


def spent(house: FlowHouse, kind: Kind, name: str) -> Spent:
    record = budgets(house).get(kind, name)
    return record.spent(budgets(house).total(record))


def told(house: FlowHouse) -> list[tuple[str, str, str, str]]:
    """Give what was published of budgets, in order."""
    found = []
    for event in house.project.hub.ring.after(0):
        if event.body.topic == "budgets":
            assert event.body.publisher == "sidecar"
            data = msgspec.json.decode(event.data)
            found.append((event.body.event_type.removeprefix("budget_"), data["kind"], data["id"], data["what"]))
    return found


def advance(house: FlowHouse, seconds: float) -> None:
    house.world.clock.advance(seconds)
    house.look()


def test_what_counts() -> None:
    """What was read from a cache does not; an estimate does, and is told apart."""
    usage = {"input_tokens": 1.0, "output_tokens": 2.0, "cache_creation_tokens": 4.0, "cache_read_tokens": 100.0}
    cost = {"cost_usd": 0.5, "cost_usd_estimated": 0.25}
    assert spent_of({**usage, **cost}, 1.5) == Spent(7, 750_000, 250_000, 1500)
    assert spent_of(None, 2.0) == Spent(0, 0, 0, 2000)


def test_crossings_are_told_once() -> None:
    """At 80 % and at 100 %, once each, whatever comes after, and also over restarts."""
    here = house()
    set_budget(here, "issue", "i", tokens=100)
    spawn(here, "a")
    take(here, "a", 79)
    assert (told(here), budgets(here).get("issue", "i").state) == ([], "ok")
    take(here, "a", 80)
    take(here, "a", 99)
    warned = [("warning", "issue", "i", "tokens")]
    assert (told(here), budgets(here).get("issue", "i").state) == (warned, "warned")
    for snapshot in (False, True):
        here = here.restart(snapshot=snapshot)
        assert budgets(here).get("issue", "i").state == "warned"
        here.look()
        assert told(here) == warned
    take(here, "a", 100)
    take(here, "a", 150)
    over = [*warned, ("exhausted", "issue", "i", "tokens")]
    assert (told(here), budgets(here).get("issue", "i").state) == (over, "exhausted")
    for snapshot in (False, True):
        here = here.restart(snapshot=snapshot)
        here.steward.check()  # before anything was heard of the agent
        assert budgets(here).get("issue", "i").state == "exhausted"
        here.look()
        assert told(here) == over
    event = here.events("budget_exhausted")[0]
    data = msgspec.json.decode(event.data)
    assert (data["limit"], data["spent"], event.body.issue_id) == (100, 100, "i")
    assert "100 tokens of 100 tokens" in data["message"]


def test_told_long_ago() -> None:
    """What was told is not told again when nobody remembers its idempotency key any more."""
    here = house(retention_seconds=7 * 86_400.0)
    set_budget(here, "issue", "i", tokens=100)
    spawn(here, "a")
    take(here, "a", 80)
    for snapshot in (False, True):
        here = here.restart(snapshot=snapshot)
        advance(here, 25 * 3600)
        assert told(here) == [("warning", "issue", "i", "tokens")]


def test_both_at_once() -> None:
    """Whoever jumps over both limits crosses both."""
    here = house()
    set_budget(here, "project", "p", usd=1.0)
    spawn(here, "a")
    take(here, "a", usd=7)
    assert told(here) == [("warning", "project", "p", "usd"), ("exhausted", "project", "p", "usd")]


def test_several_budgets() -> None:
    """An agent takes from its project, its issue and its type; each of their limits counts by itself."""
    here = house()
    set_budget(here, "project", "p", tokens=1000, seconds=50)
    set_budget(here, "issue", "i", tokens=100)
    set_budget(here, "issue", "j", tokens=100)
    set_budget(here, "type", TYPE, tokens=500)
    spawn(here, "a")
    spawn(here, "b", "j", "rust-specialist")
    take(here, "a", 70)
    take(here, "b", 20)
    scopes: list[tuple[Kind, str]] = [("project", "p"), ("issue", "i"), ("issue", "j"), ("type", TYPE)]
    assert [spent(here, *scope).tokens for scope in scopes] == [90, 70, 20, 70]
    advance(here, 20)
    assert spent(here, "project", "p").milliseconds == 40_000
    assert told(here) == [("warning", "project", "p", "seconds")]
    end(here, "a")
    advance(here, 10)
    assert spent(here, "project", "p").milliseconds == 50_000
    assert told(here)[1:] == [("exhausted", "project", "p", "seconds")]
    assert here.steward.exhausted("p", "b") is not None


def test_what_was_before() -> None:
    """A new budget counts what its agents have taken already; one that is reset does not, nor of those who run."""
    here = house()
    spawn(here, "a")
    spawn(here, "b")
    take(here, "a", 60)
    take(here, "b", 30)
    end(here, "a")
    set_budget(here, "issue", "i", tokens=1000)
    assert spent(here, "issue", "i").tokens == 90
    advance(here, 5)
    record = set_budget(here, "issue", "i", tokens=1000, reset=True)
    assert (record.since, spent(here, "issue", "i")) == (5.0, Spent())
    take(here, "b", 50)
    assert spent(here, "issue", "i").tokens == 20
    assert set_budget(here, "issue", "i", tokens=500).since == 5.0
    here = here.restart(snapshot=True)
    here.look()
    assert spent(here, "issue", "i").tokens == 20


def test_exhausted() -> None:
    """Nobody starts; who runs is told, once, and is ended after the grace: killed, and it is said what for."""
    here = house()
    set_budget(here, "type", TYPE, tokens=100)
    spawn(here, "a")
    take(here, "a", 100)
    assert spawn(here, "b").status == "queued"
    assert spawn(here, "c", agent_type="rust-specialist").status == "running"
    why = here.agents.why_waits("b")
    assert why is not None
    assert why.startswith(f"the budget of agent type '{TYPE}' is used up (100 tokens of 100 tokens): it goes on when")
    assert here.steward.exhausted("p", "a") == why
    assert here.steward.exhausted("p", "c") is None
    assert here.steward.exhausted("p", "unknown") is None
    ((to, words),) = here.messages
    assert to == "agent:a"
    assert "Commit what you have" in words
    assert "60 s" in words
    advance(here, GRACE_SECONDS / 2)
    here = here.restart()
    advance(here, GRACE_SECONDS / 2 - 1)
    assert (here.messages, here.world.stopped) == ([], [])
    advance(here, 1)
    assert here.world.stopped == ["a"]
    agent = here.agents.get("p", "a")
    assert (agent.status, agent.failure) == ("killed", "budget")
    assert agent.reason == f"the budget of agent type '{TYPE}' is used up (100 tokens of 100 tokens)"
    assert here.agents.get("p", "b").status == "queued"
    assert here.agents.get("p", "c").status == "running"


def test_ends_by_itself() -> None:
    """Whoever ends in time with success has succeeded; else the budget is what it failed of."""
    here = house()
    set_budget(here, "issue", "i", tokens=100)
    for name in ("a", "b"):
        spawn(here, name)
    take(here, "a", 60)
    take(here, "b", 60)
    end(here, "a", 0)
    end(here, "b", 1)
    found = [here.agents.get("p", name) for name in ("a", "b")]
    assert [(agent.status, agent.failure) for agent in found] == [("completed", ""), ("failed", "budget")]
    assert here.world.stopped == []


def test_an_end_exhausts() -> None:
    """Who takes the last of it and ends leaves nothing to the next in the queue."""
    here = house(places=1)
    set_budget(here, "issue", "i", tokens=100)
    spawn(here, "a")
    spawn(here, "b")
    here.world.usage["a"] = {"output_tokens": 100.0}
    end(here, "a")
    assert here.agents.get("p", "b").status == "queued"
    assert "used up" in str(here.agents.why_waits("b"))


@pytest.mark.parametrize("how", ["raised", "removed", "reset"])
def test_goes_on(how: str) -> None:
    """When there is a budget again the queue moves, and who was told to end is told otherwise."""
    here = house()
    set_budget(here, "issue", "i", tokens=100)
    spawn(here, "a")
    take(here, "a", 110)
    spawn(here, "b")
    assert here.agents.get("p", "a").over_budget
    if how == "removed":
        assert result_of(here.steward.remove("p", "issue", "i")).id == "i"
        here.settle()
        with pytest.raises(NotFound):
            budgets(here).get("issue", "i")
    else:
        tokens = 200 if how == "raised" else 100
        assert set_budget(here, "issue", "i", tokens=tokens, reset=how == "reset").state == "ok"
    assert here.agents.get("p", "b").status == "running"
    assert [to for to, _ in here.messages] == ["agent:a", "agent:a"]
    assert "go on" in here.messages[1][1]
    advance(here, 10 * GRACE_SECONDS)
    assert (here.world.stopped, here.agents.get("p", "a").over_budget) == ([], "")
    here = here.restart()
    assert here.agents.get("p", "b").status == "running"
    before = told(here)
    take(here, "a", 400)
    again = [] if how == "removed" else [(it, "issue", "i", "tokens") for it in ("warning", "exhausted")]
    assert told(here) == [*before, *again]


def test_changed() -> None:
    """What a change leaves crossed is not told again; what it crosses is."""
    here = house()
    set_budget(here, "issue", "i", tokens=100)
    spawn(here, "a")
    take(here, "a", 90)
    assert set_budget(here, "issue", "i", tokens=110).state == "warned"
    assert told(here) == [("warning", "issue", "i", "tokens")]
    assert set_budget(here, "issue", "i", tokens=90).state == "exhausted"
    assert told(here)[1:] == [("exhausted", "issue", "i", "tokens")]
    assert set_budget(here, "issue", "i", usd=5.0).state == "ok"
    assert told(here)[2:] == []


def test_refused() -> None:
    """What is not on disk was not set, nor removed; there is a bound; what is published too late is published."""
    here = house()
    here.journal.refusal = StorageFull("The disk is full.")
    assert isinstance(outcome(here.steward.set("p", "issue", "i", Limits(1)))[0], StorageFull)
    with pytest.raises(NotFound):
        budgets(here).get("issue", "i")
    here.journal.refusal = None
    set_budget(here, "issue", "i", tokens=100)
    spawn(here, "a")
    here.journal.refusal = StorageFull("The disk is full.")
    assert isinstance(outcome(here.steward.remove("p", "issue", "i"))[0], StorageFull)
    take(here, "a", 85)
    assert told(here) == []
    here.journal.refusal = None
    here.look()
    assert told(here) == [("warning", "issue", "i", "tokens")]
    for number in range(MOST_BUDGETS - 1):
        set_budget(here, "issue", f"i{number}", tokens=1)
    with pytest.raises(TooManyRequests):
        here.steward.set("p", "issue", "one-more", Limits(1))
    set_budget(here, "issue", "i", tokens=200)


def test_dropped_rows_count() -> None:
    """What agents took whose rows are not kept any more still counts, also after a restart from a snapshot."""
    here = house()
    here.agents.home("p").rows._most_ended = 2
    set_budget(here, "project", "p", tokens=1000)
    for number in range(5):
        spawn(here, f"a{number}")
        here.world.usage[f"a{number}"] = {"input_tokens": 10.0}
        end(here, f"a{number}")
    assert len(list(here.agents.home("p").rows)) == 2
    assert spent(here, "project", "p").tokens == 50
    here = here.restart(snapshot=True)
    assert spent(here, "project", "p").tokens == 50
    set_budget(here, "issue", "i", tokens=1000)
    assert spent(here, "issue", "i").tokens == 50


def test_what_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many issues those dropped long ago are forgotten, but none that has a budget."""
    monkeypatch.setattr(spending, "MOST_DROPPED", 5)
    here = house()
    here.agents.home("p").rows._most_ended = 0
    set_budget(here, "issue", "i0", tokens=1000)
    for number in range(10):
        spawn(here, f"a{number}", f"i{number}")
        here.world.usage[f"a{number}"] = {"input_tokens": 10.0}
        end(here, f"a{number}")
    set_budget(here, "project", "p", tokens=1000)
    for name, tokens in (("i0", 10), ("i1", 0), ("i9", 10)):
        set_budget(here, "issue", name, tokens=1000)
        assert spent(here, "issue", name).tokens == tokens
    assert spent(here, "project", "p").tokens == 100


def test_seconds_of_all_starts() -> None:
    """An agent that was started again has run for as long as its processes did together."""
    agent = Agent("a", TYPE, "i", "p", "admin", "", "demo", "normal", 60.0, 0.0, started_at=10.0, earlier_seconds=5.0)
    assert agent.seconds_until(30.0) == 25.0


def test_a_workflow_waits() -> None:
    """A budget that is used up costs a workflow no try: the next agent waits, and goes on when there is a budget."""
    here = FlowHouse(World(Clock(), lambda agent: ("hello", "hang")), ROSTER)
    set_budget(here, "issue", "i", tokens=100)
    here.start()
    (first,) = here.run().live
    for number in range(1, 4):  # more often than there are tries
        attempt, before = here.run().live[-1], here.run()
        take(here, attempt.agent_id, 100)
        advance(here, GRACE_SECONDS)
        assert here.agents.get("p", attempt.agent_id).failure == "budget"
        ending = ending_of(before, here.events("agent_failed")[-1])  # all there is when its row is gone
        assert ending is not None
        assert ending.over_budget.startswith("the budget of issue 'i' is used up")
        (waiting,) = here.run().live
        assert (waiting.number, here.agents.get("p", waiting.agent_id).status) == (number + 1, "queued")
        here = here.restart()
        assert here.agents.get("p", waiting.agent_id).status == "queued"
        set_budget(here, "issue", "i", tokens=100 * (number + 1))
        assert here.agents.get("p", waiting.agent_id).status == "running"
    task = here.agents.get("p", waiting.agent_id).task
    assert task.startswith("This is try 1 of")
    assert "it had to end: the budget of issue 'i' is used up" in task
    assert (here.run().status, here.run().troubles) == ("running", [])
    tried = here.run().tries(first)
    assert [it.excused for it in tried] == [True, True, True, False]
    for _ in range(2):  # from here on it is its own fault
        end(here, here.run().live[-1].agent_id, 1)
    while here.run().live and here.run().live[-1].agent_type == first.agent_type:
        end(here, here.run().live[-1].agent_id, 1)
    assert here.run().troubles[0].why == "failed"


class SpendingMachine(RuleBasedStateMachine):
    """Agents start, take, end, are forgotten; budgets are set; sidecars die: what counts is what the agents took."""

    def __init__(self) -> None:
        super().__init__()
        self.house = house()
        self._bound()
        self.took: dict[str, tuple[str, int]] = {}
        self.since: dict[str, int] = {}
        self.highest: dict[str, int] = {}

    def _bound(self) -> None:
        self.house.agents.home("p").rows._most_ended = 3

    @property
    def live(self) -> list[str]:
        return [agent.agent_id for agent in self.house.agents.home("p").rows.live]

    def total(self, issue: str) -> int:
        return sum(tokens for of, tokens in self.took.values() if of == issue)

    @rule(issue=st.sampled_from("ij"))
    def start(self, issue: str) -> None:
        name = f"a{len(self.took)}"
        spawn(self.house, name, issue)
        self.took[name] = (issue, 0)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), more=st.integers(0, 1000))
    def take(self, data: st.DataObject, more: int) -> None:
        name = data.draw(st.sampled_from(self.live))
        issue, before = self.took[name]
        self.took[name] = (issue, before + more)
        take(self.house, name, before + more)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), code=st.sampled_from([0, 1]))
    def end(self, data: st.DataObject, code: int) -> None:
        end(self.house, data.draw(st.sampled_from(self.live)), code)

    @rule(issue=st.sampled_from("ij"), reset=st.booleans())
    def set(self, issue: str, reset: bool) -> None:
        if reset or issue not in self.since:
            self.since[issue] = self.total(issue) if reset else 0
            self.highest[issue] = 0
        set_budget(self.house, "issue", issue, tokens=10**9, reset=reset)

    @precondition(lambda self: self.since)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        issue = data.draw(st.sampled_from(sorted(self.since)))
        result_of(self.house.steward.remove("p", "issue", issue))
        del self.since[issue], self.highest[issue]

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        self.house = self.house.restart(snapshot=snapshot)
        self._bound()
        self.house.look()

    @invariant()
    def counts(self) -> None:
        for issue, since in self.since.items():
            tokens = spent(self.house, "issue", issue).tokens
            assert tokens == self.total(issue) - since
            assert tokens >= self.highest[issue]
            self.highest[issue] = tokens


TestSpending = SpendingMachine.TestCase
