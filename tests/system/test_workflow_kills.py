"""The workflow ``tdd`` with real agents that crash, hang and lie, and a sidecar that is killed as rules fire."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import pytest

import cco_sidecar
from tests.system.flawed_agent import behaviour
from tests.system.sidecar_process import Sidecar

PATIENCE_SECONDS = 120.0
HANG_SECONDS = 6
PATIENT = 60
"""Where nobody hangs nobody is to be ended, on however busy a machine."""
TYPES = (
    "chief-architect", "test-engineer", "tdd-coding-agent", "test-automator", "security-auditor",
    "documentation-expert", "code-reviewer",
)  # fmt: skip
Outcome = tuple[str, Sequence[tuple[str, int, str, int, str]], Sequence[tuple[str, str]]]


def outcome_of(issue: Any) -> Outcome:
    """What must not hang on kills."""
    attempts = [
        (phase["phase"], it["round"], it["agent_type"], it["attempt"], it["state"])
        for phase in issue["phases"]
        for it in phase["agents"]
    ]
    return issue["status"], attempts, [(it["why"], it["rule"]) for it in issue["escalations"]]


def play(
    directory: Path, seed: int, share: float, lives: Iterator[str | None], hang_seconds: int = HANG_SECONDS
) -> tuple[Outcome, int]:
    """Let ``tdd`` run to its end, and give that; ``lives`` says how each life of the sidecar ends. Counts deaths."""
    directory.mkdir()
    source = str(Path(cco_sidecar.__file__).parents[1])
    program = str(Path(__file__).with_name("flawed_agent.py"))
    env = {"SEED": str(seed), "SHARE": str(share), "PYTHONPATH": source}
    runner = {"command": [sys.executable, program], "env": env}
    config = {"agents": {"default_timeout_seconds": hang_seconds, "runners": {"flawed": runner}}}
    sidecar = Sidecar(directory, config=config, module="tests.system.mortal_sidecar")
    deaths = 0
    try:
        begin(sidecar, next(lives))
        body = {"workflow": "tdd", "runner": "flawed", "task": "Do it"}
        with suppress(OSError):  # it dies of the first firing, which follows from the start
            sidecar.call("POST", "/api/issues/i/start", body)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            assert time.monotonic() < deadline, f"it is stuck:\n{sidecar.log[-3000:]}"
            if not sidecar.runs:
                deaths += 1
                begin(sidecar, next(lives))
                continue
            try:
                issue = sidecar.call("GET", "/api/issues/i")[1]
            except (OSError, ValueError):
                continue
            if issue["status"] != "running":
                return check(sidecar, issue), deaths
            time.sleep(0.1)
    finally:
        sidecar.kill()


def begin(sidecar: Sidecar, death: str | None) -> None:
    """Start the next life; one that dies while it starts is a life, too."""
    sidecar.environment = {} if death is None else {"MORTAL": death}
    try:
        sidecar.start()
    except AssertionError:
        if sidecar.runs:
            raise


def check(sidecar: Sidecar, issue: Any) -> Outcome:
    """Nothing happened twice; nobody is left."""
    assert issue["status"] in {"done", "escalated"}, issue
    rounds = [(it["rule"], event) for it in issue["rounds"] for event in it["events"]]
    assert len(rounds) == len(set(rounds)), "a rule fired twice for an event"
    events = sidecar.call("GET", "/api/events?issue=i&limit=1000")[1]["events"]
    spawned = [it["data"]["agent_id"] for it in events if it["event_type"] == "agent_spawned"]
    assert len(spawned) == len(set(spawned)), "an agent was started twice"
    told = [it["event_type"] for it in events if it["publisher"] == "sidecar"]
    assert told.count("issue_started") == 1
    assert told.count("escalation_required") == len(issue["escalations"])
    ends = {it["data"]["agent_id"] for it in events if it["event_type"] in {"agent_completed", "agent_failed"}}
    assert set(spawned) <= ends, "an agent is left"
    return outcome_of(issue)


def flawed_seed(first: int, share: float) -> int:
    """Give the next seed with which some agents crash or lie, at their first try, and none hangs: that takes long."""
    for seed in count(first):
        how = [behaviour(str(seed), share, name, number) for name in TYPES for number in (1, 2)]
        if any(each != "good" for each in how[::2]) and not any("hang" in each for each in how):
            return seed
    raise AssertionError


@pytest.mark.timeout(300)
def test_killed_at_firings(tmp_path: Path) -> None:
    """The end is the same whether the sidecar lives, or is killed as rules fire: before, after, and in the middle."""
    seed = flawed_seed(1, 0.2)
    wanted, deaths = play(tmp_path / "unharmed", seed, 0.2, repeat(None), PATIENT)
    assert deaths == 0
    kills = ("before:1", "after:1", "acting:1", "before:2", "after:1")
    found, deaths = play(tmp_path / "killed", seed, 0.2, chain(kills, repeat(None)), PATIENT)
    assert found == wanted
    assert deaths == len(kills)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_each_firing(tmp_path: Path, seed: int) -> None:
    """Long: for one in five agents that crash, hang or lie, a kill at each single firing, and at every one."""
    wanted, _ = play(tmp_path / "unharmed", seed, 0.2, repeat(None))
    for mode in ("before", "after", "acting"):
        for number in range(1, len(wanted[1]) + 1):
            lives = chain([f"{mode}:{number}"], repeat(None))
            found, deaths = play(tmp_path / f"{mode}-{number}", seed, 0.2, lives)
            assert (found, deaths) == (wanted, 1), (mode, number)
    for first, others in (("after:1", "after:1"), ("acting:1", "acting:1"), ("before:1", "before:2")):
        found, _ = play(tmp_path / f"every-{first}", seed, 0.2, chain([first], repeat(others)))
        assert found == wanted
