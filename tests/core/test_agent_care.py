"""Care for agents: one that never asked for anything is started again once; all else is reported. By facts alone."""

import pytest
from twisted.internet.defer import succeed

from cco_sidecar.core.agent_care import Patience, judge
from cco_sidecar.core.agent_rows import Agent, LastWords
from cco_sidecar.core.agent_signs import Signs
from cco_sidecar.errors import EventLogUnavailable
from cco_sidecar.interfaces import Look
from tests.core.agents_fakes import House, launched


def ask(house: House, agent_id: str = "a1") -> None:
    house.agents.signs.heard(agent_id, house.clock.seconds())


def wait(house: House, seconds: float, step: float = 5.0) -> None:
    """Let time pass, with a check every so often."""
    end = house.clock.seconds() + seconds
    while house.clock.seconds() < end:
        house.clock.advance(step)
        house.care.check()


def agent(house: House, agent_id: str = "a1") -> Agent:
    return house.agents.get("p", agent_id)


def test_first_request_in_time() -> None:
    """Who asks for something in time works, and that is never forgotten."""
    house = House()
    house.spawn()
    wait(house, 55)
    ask(house)
    wait(house, 300)
    assert (agent(house).condition, house.launcher.stops) == ("", [])
    assert agent(house).first_request_at == 55
    after = house.restart()
    after.agents.readopt()
    wait(after, 300)
    assert after.launcher.stops == []


def test_never_asked() -> None:
    """Who asks for nothing is reported, ended and started again, once; then given up, with the end of its log."""
    house = House()
    house.spawn(environment={"A": "b"})
    wait(house, 55)
    assert house.launcher.stops == []
    wait(house, 5)
    assert house.said[-1] == ("agent_stalled", "a1", "running")
    assert house.launcher.stops == [("a1", 5.0)]
    assert not house.agents.is_gone("p", "a1")
    wait(house, 60)  # it takes its time to end: nothing more is done
    assert len(house.launcher.stops) == 1
    house.launcher.end("a1", -15)
    assert [order.agent_id for order in house.launcher.orders] == ["a1", "a1"]
    assert house.launcher.forgotten == ["a1"]
    assert (agent(house).status, agent(house).restarts, agent(house).condition) == ("running", 1, "stalled")
    assert agent(house).seconds_until(house.clock.seconds()) == 120.0
    assert "gone a1" not in house.steps
    wait(house, 60)
    assert house.said[-1][0] == "agent_stalled"
    assert house.agents.is_gone("p", "a1")  # the token dies first
    assert house.steps[-1] == "gone a1"
    assert house.launcher.stops[1:] == [("a1", 5.0)]
    house.launcher.end("a1", 0)
    given_up = agent(house)
    assert (given_up.status, given_up.exit_code, given_up.log_tail) == ("failed", 0, "the last line of a1")
    assert given_up.reason == "it made no request within 60 s of its start, twice"
    assert [event for event, _, _ in house.said] == [
        "agent_spawned",
        "agent_stalled",
        "agent_stalled",
        "agent_failed",
    ]


def test_started_again_with_its_conversation() -> None:
    """What the model has answered before it was ended is not lost, nor what that took."""
    house = House()
    house.spawn()
    wait(house, 60)
    words = LastWords({"turns": 1.0}, answered=True, session_id="session-1")
    house.words = succeed(words)
    house.launcher.end("a1", -15)
    assert (agent(house).status, agent(house).session_id, agent(house).restarts) == ("running", "session-1", 1)
    assert agent(house).usage == {"turns": 1.0}
    house.words = succeed(LastWords({"turns": 3.0}))
    house.launcher.end("a1", 0)
    assert (agent(house).status, agent(house).usage) == ("completed", {"turns": 3.0})


def test_second_try_works() -> None:
    """An agent that works after it was started again is not stalled any more."""
    house = House()
    house.spawn()
    wait(house, 60)
    house.launcher.end("a1", -15)
    wait(house, 10)
    ask(house)
    wait(house, 200)
    assert (agent(house).condition, agent(house).restarts) == ("", 1)
    house.launcher.end("a1", 0)
    assert agent(house).status == "completed"


def test_restart_of_the_sidecar_in_between() -> None:
    """The sidecar may go at any moment of this: the process is ended, the agent started again, once."""
    house = House()
    house.spawn()
    wait(house, 60)
    during = house.restart()
    during.agents.readopt()
    assert during.launcher.stops == [("a1", 5.0)]
    during.launcher.end("a1", None)  # nobody knows any more how it ended
    assert [order.agent_id for order in during.launcher.orders] == ["a1"]
    during.launcher.held = True
    before = during.restart()
    before.launcher.found["a1"] = launched(9)
    before.agents.readopt()
    assert (agent(before).status, agent(before).restarts) == ("running", 1)
    wait(before, 60)
    assert agent(before).giving_up
    last = before.restart()
    last.agents.readopt()
    assert last.agents.is_gone("p", "a1")
    assert last.launcher.stops == [("a1", 5.0)]
    last.launcher.end("a1", -15)
    assert agent(last).status == "failed"


def test_ends_while_the_sidecar_stops() -> None:
    """What ends after the sidecar began to stop is started again by the next one."""
    house = House()
    house.spawn()
    wait(house, 60)
    house.agents.close()
    house.launcher.end("a1", -15)
    assert len(house.launcher.orders) == 1
    after = house.restart()
    after.agents.readopt()
    after.launcher.end("a1", None)
    assert len(after.launcher.orders) == 1


def test_killed_instead() -> None:
    """A kill overtakes another start."""
    house = House()
    house.spawn()
    wait(house, 60)
    seen = house.kill("a1", 0.0)
    house.launcher.end("a1", -9)
    assert (agent(house).status, len(seen), len(house.launcher.orders)) == ("killed", 1, 1)


def test_event_waits_for_the_log() -> None:
    """What befell an agent is published when the event log takes events again, before its end."""
    house = House()
    house.spawn()
    house.unpublished = EventLogUnavailable("The event log is stopping.")
    wait(house, 60)
    house.launcher.end("a1", -15)
    house.unpublished = None
    wait(house, 10)
    assert [event for event, _, _ in house.said] == ["agent_spawned", "agent_stalled"]


def test_no_patience() -> None:
    """0 is for ever."""
    house = House(patience=Patience(0, 0, 0, 0))
    house.spawn()
    wait(house, 100_000, 1_000)
    assert (house.launcher.stops, agent(house).condition) == ([], "")


def working(house: House, seconds: float, *, cpu: float = 0.0, output: int = 0, step: float = 30.0) -> None:
    """Let time pass in which the agent uses so much of a processor, and writes so much in a second."""
    end = house.clock.seconds() + seconds
    while house.clock.seconds() < end:
        look = house.launcher.looks.get("a1", Look(0.0, 1, 0, 0))
        used, written = look.cpu_seconds + cpu * step, look.output_bytes + int(output * step)
        house.launcher.looks["a1"] = Look(used, 1, written, 0)
        wait(house, step, step)


def begun() -> House:
    house = House()
    house.spawn()
    ask(house)
    return house


def test_silent() -> None:
    """Who neither asks nor computes nor writes for long is reported, not ended; a request takes it back."""
    house = begun()
    working(house, 840)
    assert agent(house).condition == ""
    working(house, 120)
    assert (agent(house).condition, house.said[-1][0], house.launcher.stops) == ("stalled", "agent_stalled", [])
    working(house, 600)
    assert len(house.said) == 2  # said once
    ask(house)
    working(house, 30)
    assert (agent(house).condition, agent(house).reason) == ("", "")
    working(house, 960)
    assert [event for event, _, _ in house.said[1:]] == ["agent_stalled", "agent_stalled"]


@pytest.mark.parametrize(("cpu", "output"), [(0.05, 0), (0.0, 10)])
def test_works_silently(cpu: float, output: int) -> None:
    """Computing and writing are signs of life."""
    house = begun()
    working(house, 5_000, cpu=cpu, output=output)
    assert agent(house).condition == ""


def test_waits() -> None:
    """Who waits for an event has reason to be silent."""
    house = begun()
    house.parked.add("a1")
    working(house, 5_000)
    assert agent(house).condition == ""


def test_unknown_is_not_judged() -> None:
    """Without facts from its supervisor nobody is called silent."""
    house = begun()
    wait(house, 5_000, 30)
    assert agent(house).condition == ""


def test_busy() -> None:
    """Who computes for long without asking for anything is reported as going in circles."""
    house = begun()
    working(house, 1_700, cpu=0.9)
    assert agent(house).condition == ""
    working(house, 400, cpu=0.9)
    assert (agent(house).condition, house.said[-1][0], house.launcher.stops) == ("looping", "agent_looping", [])
    ask(house)
    working(house, 60, cpu=0.9)
    assert agent(house).condition == ""


def test_repeats() -> None:
    """The same request with the same outcome, again and again, is reported; another one takes it back."""
    house = begun()
    signs = house.agents.signs
    for _ in range(99):
        signs.answered("a1", "GET", "/api/x", 404)
    wait(house, 5)
    assert agent(house).condition == ""
    signs.answered("a1", "GET", "/api/x", 404)
    wait(house, 5)
    assert (agent(house).condition, house.launcher.stops) == ("looping", [])
    assert agent(house).reason == "it asked GET /api/x 100 times in a row and was answered 404"
    signs.answered("a1", "GET", "/api/y", 200)
    ask(house)
    wait(house, 5)
    assert agent(house).condition == ""


def test_progress_is_no_repetition() -> None:
    """Who does something in between does not go in circles."""
    house = begun()
    for _ in range(300):
        house.agents.signs.answered("a1", "GET", "/api/x", 200)
        house.agents.signs.answered("a1", "POST", "/api/events/progress", 202)
        wait(house, 1, 1)
    assert agent(house).condition == ""


def test_strangers() -> None:
    """Of agents that do not run here nothing is noted."""
    house = House()
    for agent_id in ("stranger", "admin"):
        ask(house, agent_id)
        house.agents.signs.answered(agent_id, "GET", "/", 200)
        assert house.agents.signs.of(agent_id) is None
    house.spawn()
    house.launcher.end("a1", 0)
    assert house.agents.signs.of("a1") is None


def test_judge_needs_no_clock_to_go_forward() -> None:
    """A clock that is set back makes nobody stalled."""
    house = begun()
    signs = Signs(1_000.0, asked_at=1_000.0, looked_at=1_000.0)
    assert judge(agent(house), signs, house.patience, 0.0, False) is None
