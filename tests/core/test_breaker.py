"""The breaker of an account: never more than one tries, nobody starts while it is open, all start after it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from cco_sidecar.core.account_watch import AccountWatch
from cco_sidecar.core.agent_parking import ParkingLimits
from cco_sidecar.core.agent_rows import Agent, LastWords
from cco_sidecar.core.breaker import MOST_ACCOUNTS, Breakers, Stopped, Waits
from cco_sidecar.core.events.hub import Draft
from cco_sidecar.errors import NotFound, StorageFull
from tests.core.agents_fakes import House

ACCOUNT = "key-1"
STOPPED = LastWords({"turns": 1.0}, "overloaded", "API Error: 529", answered=True, session_id="session-1")


def breakers(chance: Callable[[], float] = lambda: 0.0, **waits: float) -> tuple[Clock, Breakers]:
    clock = Clock()
    clock.advance(1_000)
    return clock, Breakers(clock, Waits(per_minute=0, **waits), chance)


def stopped(agent_id: str = "a1", failure: str = "overloaded", **more: object) -> Stopped:
    return Stopped(ACCOUNT, agent_id, "p", failure, **more)  # type: ignore[arg-type]  # each is of its field's type


# The breaker alone


def test_longer_and_longer() -> None:
    """Each try that fails doubles the wait, up to the most; whoever fails beside it changes nothing."""
    clock, made = breakers(first=30, most=100)
    waits = []
    made.stopped(stopped())
    for _ in range(4):
        made.stopped(stopped("beside"))
        waits.append(made.held_until(ACCOUNT) - clock.seconds())
        clock.advance(waits[-1])
        made.started(ACCOUNT, "probe")
        assert made.held_until(ACCOUNT) == float("inf")
        made.stopped(stopped("beside"))
        made.stopped(stopped("probe"))
    assert waits == [30, 60, 100, 100]


def test_chance() -> None:
    """Up to a quarter is added, so that several sidecars don't try at once."""
    clock, made = breakers(lambda: 1.0, first=40, most=100)
    made.stopped(stopped())
    assert made.held_until(ACCOUNT) == clock.seconds() + 50


@pytest.mark.parametrize(
    ("more", "wait"),
    [
        ({"resets_at": 8_000.0}, 7_000.0),
        ({"resets_at": 900.0}, 30.0),
        ({"resets_at": 1e12}, 30.0),
        ({"retry_after": 200.0}, 200.0),
        ({"retry_after": 0.5}, 30.0),
    ],
)
def test_known_end(more: dict[str, Any], wait: float) -> None:
    """A limit that says when it ends is waited for, if that can be true."""
    clock, made = breakers()
    made.stopped(stopped(failure="rate_limited", **more))
    assert made.held_until(ACCOUNT) == clock.seconds() + wait


def test_known_end_later() -> None:
    """One may know when it ends, and another not."""
    clock, made = breakers()
    made.stopped(stopped(failure="rate_limited"))
    made.stopped(stopped("a2", "rate_limited", resets_at=5_000.0))
    made.stopped(stopped("a3", "rate_limited", resets_at=1_010.0))
    made.stopped(stopped("a4", "overloaded", resets_at=9_000.0))
    assert made.held_until(ACCOUNT) == 5_000.0
    assert clock.seconds() < 5_000


def test_login_on_top() -> None:
    """An expired login beside an overload is what a person has to know; it is tried seldom."""
    clock, made = breakers(first=1, login=600)
    made.stopped(stopped())
    made.stopped(stopped("a2", "login"))
    assert made.held_until(ACCOUNT) == clock.seconds() + 600
    assert f"cco account resume {ACCOUNT}" in made.why_held(ACCOUNT)
    assert len(made.due()) == 1
    made.resume(ACCOUNT)
    assert made.held_until(ACCOUNT) == clock.seconds()


def test_pace() -> None:
    """After it is over, they start one after the other."""
    clock = Clock()
    made = Breakers(clock, Waits(per_minute=30), lambda: 0.0)
    made.stopped(stopped())
    clock.advance(30)
    made.started(ACCOUNT, "a1")
    made.got_through(ACCOUNT, "a1")
    made.started(ACCOUNT, "a2")
    assert made.held_until(ACCOUNT) == clock.seconds() + 2
    assert "one after the other" in made.why_held(ACCOUNT)
    clock.advance(600)
    made.started(ACCOUNT, "a3")
    assert made.held_until(ACCOUNT) == 0.0


def test_its_own_fault() -> None:
    """An agent that stops its account again and again, while others get through, is what is wrong."""
    clock, made = breakers()
    verdicts = []
    for _ in range(4):
        verdicts.append(made.stopped(stopped("odd")))
        clock.advance(400)
        made.started(ACCOUNT, "other")
        made.got_through(ACCOUNT, "other")
    assert verdicts == [True, True, True, False]
    assert made.stopped(stopped("odd", answered=True))


def test_alone_through_many_walls() -> None:
    """One that gets through itself in between is not to blame."""
    clock, made = breakers()
    for _ in range(10):
        assert made.stopped(stopped())
        clock.advance(400)
        made.started(ACCOUNT, "a1")
        made.got_through(ACCOUNT, "a1")


def test_bounded() -> None:
    """The oldest is forgotten when there are too many accounts."""
    _, made = breakers()
    for number in range(MOST_ACCOUNTS + 1):
        made.stopped(Stopped(f"key-{number}", "a", "p", "overloaded"))
    assert len(made.not_closed) == MOST_ACCOUNTS
    assert made.held_until("key-0") == 0.0


# With agents


def spawn(house: House, count: int = 1) -> None:
    for _ in range(count):
        house.spawn(environment={"ACCOUNT": ACCOUNT})


def stop(house: House, agent_id: str, words: LastWords = STOPPED) -> None:
    """Let the account stop an agent."""
    house.words = succeed(words)
    house.launcher.end(agent_id, 1, at=house.clock.seconds())
    house.words = None


def watch(house: House, answered: "Deferred[bool] | None" = None) -> tuple[AccountWatch, list[Draft]]:
    said: list[Draft] = []

    def publish(_: str, draft: Draft) -> "Deferred[object]":
        if house.unpublished is not None:
            return fail(house.unpublished)
        said.append(draft)
        return succeed(None)

    made = AccountWatch(house.clock, house.agents, lambda _: answered or succeed(False), publish)
    return made, said


def started(house: House) -> list[str]:
    return [order.agent_id for order in house.launcher.orders]


def test_parked() -> None:
    """Who is stopped waits as itself: nothing is taken from it, no end is told, its place is free."""
    house = House(places=1)
    spawn(house, 2)
    house.clock.advance(10)
    stop(house, "a1")
    agent = house.agents.get("p", "a1")
    assert (agent.status, agent.failure, agent.exit_code, agent.process_id) == ("queued", "overloaded", None, None)
    assert (agent.session_id, agent.parkings, agent.earlier_seconds) == ("session-1", 1, 10.0)
    assert not house.agents.is_gone("p", "a1")
    assert "gone a1" not in house.steps
    assert house.said == [("agent_spawned", "a1", "running")]
    assert house.agents.totals().active == 0
    assert "overloaded" in str(house.agents.why_waits("a1"))
    assert started(house) == ["a1"]
    spawn(house)
    assert house.status("a3") == "queued"
    house.spawn()  # of no account
    assert house.status("a4") == "running"


def test_one_tries_then_all() -> None:
    """When the wait is over one starts; when it was answered, the others do, with their conversations."""
    house = House(places=5)
    spawn(house, 3)
    for agent_id in ("a1", "a2", "a3"):
        stop(house, agent_id)
    looking, said = watch(house, succeed(True))
    house.clock.advance(30)
    assert started(house)[3:] == ["a1"]
    assert house.launcher.forgotten == ["a1"]
    assert "a1 tries" in str(house.agents.why_waits("a2"))
    looking.check()
    assert started(house)[3:] == ["a1", "a2", "a3"]
    assert said == []  # it was over before anybody had to be told
    agent = house.agents.get("p", "a2")
    assert (agent.status, agent.failure, agent.parked_seconds, agent.session_id) == ("running", "", 30.0, "session-1")
    house.words = succeed(LastWords({"turns": 3.0}))  # its whole output says
    house.launcher.end("a2", 0)
    assert house.agents.get("p", "a2").usage == {"turns": 3.0}
    assert [kind for kind, _, _ in house.said] == ["agent_spawned"] * 3 + ["agent_completed"]


def test_told_once() -> None:
    """One event for the opening and one for the end, however many agents; what can't be published is, later."""
    house = House(places=5)
    spawn(house, 3)
    looking, said = watch(house)
    house.unpublished = StorageFull("full")
    for agent_id in ("a1", "a2", "a3"):
        stop(house, agent_id)
        looking.check()
    house.unpublished = None
    looking.check()
    looking.check()
    house.clock.advance(30)
    stop(house, "a1")
    looking.check()
    assert [draft.event_type for draft in said] == ["account_parked"]
    told = msgspec.json.decode(said[0].data)
    assert (told["account"], told["failure"], told["parked"]) == (ACCOUNT, "overloaded", 3)
    house.clock.advance(60)
    house.words = succeed(LastWords({}, answered=True))
    house.launcher.end("a2", 0)
    looking.check()
    looking.check()
    assert [draft.event_type for draft in said] == ["account_parked", "account_resumed"]
    assert house.breakers.due() == []


def test_failed_probe_goes_last() -> None:
    """Another one tries the next time: one that is itself the matter does not keep the others waiting."""
    house = House()
    spawn(house, 2)
    stop(house, "a1")
    stop(house, "a2")
    house.clock.advance(30)
    stop(house, "a1")
    house.clock.advance(59)
    assert started(house)[2:] == ["a1"]
    house.clock.advance(1)
    assert started(house)[2:] == ["a1", "a2"]


def test_new_one_tries() -> None:
    """Who only now wants to start tries, too, when the only one that was parked tried in vain."""
    house = House()
    spawn(house)
    stop(house, "a1")
    spawn(house)
    house.clock.advance(30)
    stop(house, "a1")
    house.clock.advance(60)
    assert started(house) == ["a1", "a1", "a2"]


def test_others_prove_nothing() -> None:
    """An agent that was answered before the wall may well come to its end behind it: that is no try."""
    house = House()
    spawn(house, 2)
    stop(house, "a1")
    house.words = succeed(LastWords({}, answered=True))
    house.launcher.end("a2", 0)
    assert house.status("a2") == "completed"
    assert [each.state(house.clock.seconds()) for each in house.breakers.not_closed] == ["open"]


def test_parked_before_new() -> None:
    """Who was stopped comes before who only now wants to start: others may wait for what it holds."""
    house = House(places=1)
    spawn(house, 2)
    stop(house, "a1")
    house.clock.advance(30)
    assert started(house) == ["a1", "a1"]


def test_kill_parked() -> None:
    """It is over at once; if it was the one that tries, the next one does."""
    house = House()
    spawn(house, 2)
    stop(house, "a1")
    stop(house, "a2")
    house.kill("a1")
    assert house.status("a1") == "killed"
    assert house.said[-1] == ("agent_failed", "a1", "killed")
    spawn(house)
    house.clock.advance(30)
    house.kill("a2")
    house.launcher.end("a2", -15)
    assert started(house)[2:] == ["a2", "a3"]


def test_killed_while_heard() -> None:
    """A kill that comes before it is known what an agent died of is its end."""
    house = House()
    spawn(house)
    words: Deferred[LastWords | None] = Deferred()
    house.words = words
    house.launcher.end("a1", 1)
    house.kill("a1")
    words.callback(STOPPED)
    assert house.status("a1") == "killed"
    assert house.breakers.not_closed == []


@pytest.mark.parametrize("snapshot", [False, True])
def test_restart(snapshot: bool) -> None:
    """The next sidecar knows who is parked and until when; only one tries there, too."""
    house = House(places=5)
    spawn(house, 3)
    for agent_id in ("a1", "a2", "a3"):
        stop(house, agent_id)
    house.clock.advance(10)
    after = house.restart(snapshot)
    after.agents.readopt()
    after.clock.advance(19)
    assert started(after) == []
    after.clock.advance(1)
    assert started(after) == ["a1"]
    again = after.restart(snapshot)
    again.launcher.found["a1"] = after.agents.get("p", "a1").launched  # type: ignore[assignment]  # it runs
    again.agents.readopt()
    again.clock.advance(1_000)
    assert (started(again), again.launcher.adopted) == ([], ["a1"])
    looking, _ = watch(again, succeed(True))
    looking.check()
    assert started(again) == ["a2", "a3"]


def test_probe_lost_in_restart() -> None:
    """If the one that tries was never started, it starts now: nobody waits for ever."""
    house = House()
    spawn(house, 2)
    stop(house, "a1")
    stop(house, "a2")
    house.launcher.held = True
    house.clock.advance(30)
    after = house.restart()
    after.agents.readopt()
    assert started(after) == ["a1"]


def test_probe_that_is_gone() -> None:
    """A breaker whose probe nobody knows tries with the next one."""
    house = House()
    spawn(house)
    stop(house, "a1")
    house.breakers.started(ACCOUNT, "nobody")
    looking, _ = watch(house)
    looking.check()
    house.clock.advance(30)
    assert started(house) == ["a1", "a1"]


def test_probe_that_is_stuck() -> None:
    """One that neither gets through nor ends does not hold the others up for good."""
    house = House()
    spawn(house, 2)
    stop(house, "a1")
    stop(house, "a2")
    house.clock.advance(30)
    looking, _ = watch(house)
    house.clock.advance(899)
    looking.check()
    assert started(house)[2:] == ["a1"]
    house.clock.advance(1)
    looking.check()
    assert started(house)[2:] == ["a1", "a2"]
    looking.check()
    assert [each.probe for each in house.breakers.not_closed] == ["a2"]


@pytest.mark.parametrize("limits", [ParkingLimits(most_times=1), ParkingLimits(most_seconds=29)])
def test_parked_enough(limits: ParkingLimits) -> None:
    """Who was parked too often, or for too long, fails of what it was parked for; the others are still held."""
    house = House(limits=limits)
    spawn(house)
    stop(house, "a1")
    house.clock.advance(30)
    if house.status("a1") == "running":
        stop(house, "a1")
    agent = house.agents.get("p", "a1")
    assert (agent.status, agent.failure) == ("failed", "overloaded")
    assert house.said[-1] == ("agent_failed", "a1", "failed")
    spawn(house)
    assert house.status("a2") == "queued"


def test_given_up_while_it_waits() -> None:
    """Who only waits behind the one that tries does not wait for ever."""
    house = House(limits=ParkingLimits(most_seconds=100))
    spawn(house, 2)
    stop(house, "a1")
    stop(house, "a2")
    house.clock.advance(99)
    looking, _ = watch(house)
    looking.check()
    assert house.status("a2") == "queued"
    house.clock.advance(1)
    looking.check()
    assert (house.status("a1"), house.status("a2")) == ("running", "failed")


def test_time_of_its_own() -> None:
    """What an agent waits is not of its time; what it ran before is."""
    house = House()
    spawn(house)
    house.clock.advance(20)
    stop(house, "a1")
    house.clock.advance(30)
    assert house.agents.get("p", "a1").seconds_left == 40.0


def test_no_crash_loop() -> None:
    """Being stopped again and again is no failure of its type on its issue."""
    house = House()
    for number in range(1, 5):
        spawn(house)
        stop(house, f"a{number}")
        house.kill(f"a{number}")
        house.clock.advance(1_000)
    assert house.agents.why_waits("a9") is None
    house.spawn()
    assert house.status("a5") == "running"


def test_lost_conversation() -> None:
    """Who is told that its conversation is not there starts from the beginning, at once."""
    house = House()
    spawn(house)
    stop(house, "a1")
    house.clock.advance(30)
    stop(house, "a1", LastWords({}, "error", "No conversation found", session_lost=True))
    agent = house.agents.get("p", "a1")
    assert (agent.status, agent.session_id, agent.failure, agent.parkings) == ("running", "", "", 1)
    assert started(house) == ["a1"] * 3
    stop(house, "a1", LastWords({}, "error", "No conversation found", session_lost=True))
    assert house.status("a1") == "failed"


def test_unanswered() -> None:
    """A run that was not answered leaves the conversation of the one before."""
    house = House()
    spawn(house)
    stop(house, "a1")
    house.clock.advance(30)
    stop(house, "a1", LastWords({}, "overloaded", "529", session_id="session-2"))
    assert house.agents.get("p", "a1").session_id == "session-1"


@pytest.mark.parametrize("words", [LastWords({}, "error"), LastWords({}, "max_turns"), LastWords({})])
def test_own_failure(words: LastWords) -> None:
    """What is not of its account ends it, as ever."""
    house = House()
    spawn(house)
    stop(house, "a1", words)
    assert house.status("a1") == "failed"
    assert house.breakers.not_closed == []


def test_forgotten() -> None:
    """An account that nobody works for any more is not listed for ever; one that somebody waits for is."""
    house = House()
    looking, said = watch(house)
    spawn(house)
    stop(house, "a1")
    house.kill("a1")
    house.clock.advance(80_000)
    looking.check()
    assert [each.state for each in looking.listing()] == ["half_open"]
    house.clock.advance(7_000)
    looking.check()
    assert looking.listing() == []
    assert house.restart().breakers.not_closed == []
    assert [draft.event_type for draft in said] == ["account_parked"]


def test_people() -> None:
    """The accounts that there are, and trying one now."""
    house = House()
    looking, _ = watch(house)
    spawn(house, 2)
    assert [(each.name, each.state, each.running) for each in looking.listing()] == [(ACCOUNT, "closed", 2)]
    stop(house, "a1", LastWords({}, "login", "run /login"))
    (found,) = looking.listing()
    assert (found.state, found.running, found.waiting, found.parked) == ("open", 1, 1, 1)
    assert looking.resume(ACCOUNT).state == "half_open"
    assert started(house)[2:] == ["a1"]
    assert looking.resume(ACCOUNT).state == "half_open"
    assert started(house)[2:] == ["a1"]
    with pytest.raises(NotFound):
        looking.resume("key-none")


class WallMachine(RuleBasedStateMachine):
    """Agents of one account, a wall that comes and goes, kills, and restarts of the sidecar."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(places=3)
        self.wall = False
        self.running: set[str] = set()

    def _sync(self) -> None:
        """Note who started: never one while it is open, never two that try at once."""
        breaker = self.house.breakers.find(ACCOUNT)
        now_running = {agent.agent_id for agent in self._agents("running")}
        begun = now_running - self.running
        if breaker is not None:
            assert begun <= {breaker.probe}, (begun, breaker)
        self.running = now_running

    def _agents(self, *states: str) -> list[Agent]:
        return [agent for agent in self.house.agents.listing("p") if agent.status in states]

    @rule()
    @precondition(lambda self: len(self._agents("running", "queued")) < 8)
    def spawn(self) -> None:
        spawn(self.house)
        self._sync()

    @rule(up=st.booleans())
    def build(self, up: bool) -> None:
        self.wall = up

    @rule(data=st.data())
    @precondition(lambda self: self._agents("running"))
    def meet(self, data: st.DataObject) -> None:
        """A running agent comes to its end, or to the wall."""
        agent = data.draw(st.sampled_from(self._agents("running")))
        self.running.discard(agent.agent_id)
        failure = data.draw(st.sampled_from(["overloaded", "rate_limited", "login"])) if self.wall else ""
        self.house.words = succeed(LastWords({}, failure, answered=True))
        self.house.launcher.end(agent.agent_id, 1 if self.wall else 0, at=self.house.clock.seconds())
        self._sync()

    @rule()
    def look(self) -> None:
        looking, _ = watch(self.house, succeed(not self.wall))
        closed_before = self.house.breakers.find(ACCOUNT) is None
        looking.check()
        if closed_before:
            self._sync()
        else:
            self.running = {agent.agent_id for agent in self._agents("running")}

    @rule(seconds=st.sampled_from([1, 30, 300, 1_000]))
    def wait(self, seconds: float) -> None:
        self.house.clock.advance(seconds)
        self._sync()

    @rule(data=st.data())
    @precondition(lambda self: self._agents("queued"))
    def kill(self, data: st.DataObject) -> None:
        agent = data.draw(st.sampled_from(self._agents("queued")))
        self.house.kill(agent.agent_id)
        assert self.house.status(agent.agent_id) == "killed"
        self._sync()

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        before, self.house = self.house, self.house.restart(snapshot)
        for agent_id in self.running:
            launched = before.agents.get("p", agent_id).launched
            assert launched is not None
            self.house.launcher.found[agent_id] = launched
        self.house.agents.readopt()
        self._sync()

    @invariant()
    def nobody_fails(self) -> None:
        assert self._agents("failed", "lost") == []

    @invariant()
    def somebody_will_try(self) -> None:
        """While somebody waits, a time is known at which one tries, or one tries, or all places are taken."""
        breaker = self.house.breakers.find(ACCOUNT)
        if breaker is not None and breaker.probe is not None:
            assert breaker.probe in self.running

    def teardown(self) -> None:
        """After the wall all start, and complete."""
        self.wall = False
        for _ in range(60):
            self.house.clock.advance(700)
            for agent in self._agents("running"):
                self.house.words = succeed(LastWords({}, answered=True))
                self.house.launcher.end(agent.agent_id, 0, at=self.house.clock.seconds())
        assert self._agents("running", "queued", "starting") == []


TestWallMachine = WallMachine.TestCase
