"""Crash loops: who fails at once, again and again, waits longer each time; who works is forgiven."""

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.crash_loops import CrashLoops
from tests.core.agents_fakes import NO_PROGRAM, House


def fail(house: House, agent_id: str, seconds: float = 1.0) -> None:
    house.clock.advance(seconds)
    house.launcher.end(agent_id, 1, at=house.clock.seconds())


def test_waits() -> None:
    """From the third failure in a row on, the next start waits 1, 2, 4 s and so on, and the answer says so."""
    house = House(places=10)
    for number in (1, 2, 3):
        (agent,) = house.spawn()
        assert isinstance(agent, Agent)
        assert agent.status == "running"
        fail(house, f"a{number}")
    (agent,) = house.spawn()
    assert isinstance(agent, Agent)
    assert agent.status == "queued"
    why = house.agents.why_waits("a4")
    assert why is not None
    assert "failed on its issue again and again" in why
    house.clock.advance(0.99)
    assert house.status("a4") == "queued"
    house.clock.advance(0.02)
    assert house.status("a4") == "running"
    fail(house, "a4", 0.1)
    house.spawn()
    house.clock.advance(1.9)
    assert house.status("a5") == "queued"
    house.clock.advance(0.2)
    assert house.status("a5") == "running"
    assert house.agents.why_waits("a5") is None


def test_a_budget_is_no_fault() -> None:
    """Who had to end because a budget was used up makes no loop."""
    house = House(places=10)
    for number in (1, 2, 3):
        house.spawn()
        rows = house.agents.home("p").rows
        rows.put(evolve(rows.get(f"a{number}"), over_budget="it is used up"))
        fail(house, f"a{number}")
    (agent,) = house.spawn()
    assert isinstance(agent, Agent)
    assert agent.status == "running"


def test_only_its_own_kind() -> None:
    """Another type, or another issue, does not wait; nor does anybody behind one that does."""
    house = House(places=10)
    for number in (1, 2, 3):
        house.spawn()
        fail(house, f"a{number}")
    house.spawn("high")
    for more in ({"agent_type": "test-engineer"}, {"issue_id": "other"}):
        (agent,) = house.spawn("low", **more)
        assert isinstance(agent, Agent)
        assert agent.status == "running"
    assert house.status("a4") == "queued"


def test_one_at_a_time() -> None:
    """Of many that wait for the same, one is tried; the others wait for what comes of it."""
    house = House(places=10)
    for number in (1, 2, 3):
        house.spawn()
        fail(house, f"a{number}")
    for _ in range(3):
        house.spawn()
    house.clock.advance(1.01)
    assert [house.status(each) for each in ("a4", "a5", "a6")] == ["running", "queued", "queued"]
    house.launcher.end("a4", 0, at=house.clock.seconds())  # it works again
    assert [house.status(each) for each in ("a5", "a6")] == ["running", "running"]


def test_restart() -> None:
    """A restart of the sidecar is no way out of a loop."""
    house = House(places=10)
    for number in (1, 2, 3):
        house.spawn()
        fail(house, f"a{number}")
    house.spawn()
    after = house.restart(snapshot=True)
    after.agents.readopt()
    assert after.launcher.orders == []
    after.clock.advance(1.01)
    assert [order.agent_id for order in after.launcher.orders] == ["a4"]


def test_what_is_no_loop() -> None:
    """Kills, long lives and programs that do not run at all are none."""
    house = House(places=10)
    for _ in range(3):
        house.spawn()
    house.clock.advance(1)
    for number in (1, 2, 3):
        house.kill(f"a{number}")
        house.launcher.end(f"a{number}", -15, at=1.0)
    for number in (4, 5, 6, 7):
        house.spawn()
        fail(house, f"a{number}", 301.0)
    house.launcher.trouble = NO_PROGRAM
    for _ in range(5):
        assert house.spawn() == [NO_PROGRAM]
    house.launcher.trouble = None
    (agent,) = house.spawn()
    assert isinstance(agent, Agent)
    assert agent.status == "running"


@given(failures=st.integers(1, 2_000), chance=st.floats(0, 1))
def test_bounds(failures: int, chance: float) -> None:
    """The wait is never below the first, nor above the most and a quarter, however many failures there were."""
    loops = CrashLoops(1, 1, 300, lambda: chance)
    waits = [loops.failed("x", 0.0, 0.0) for _ in range(failures)]
    assert all(1 <= wait <= 375 for wait in waits)
    assert waits == sorted(waits)
    loops.succeeded("x")
    assert loops.held_until("x") == 0.0


def test_off() -> None:
    """0 failures make no loop."""
    loops = CrashLoops(0, 1, 300, lambda: 0.0)
    assert [loops.failed("x", 0.0, 0.0) for _ in range(9)] == [0.0] * 9
    assert loops.held_until("x") == 0.0
