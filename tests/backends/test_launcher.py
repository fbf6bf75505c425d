# mypy: disable-error-code="untyped-decorator"
"""The launcher with real shims: starts, ends, kills, and what an earlier sidecar left running."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from attrs import define, evolve, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from cco_sidecar.backends.agents import states
from cco_sidecar.backends.agents.launcher import AgentLauncher, IAgentReactor
from cco_sidecar.backends.agents.shim import processes
from cco_sidecar.errors import SpawnFailed
from cco_sidecar.interfaces import Ended, IAgentLauncher, Launched, LaunchOrder

REACTOR = cast(IAgentReactor, reactor)
PATIENCE_SECONDS = 20.0


@define(eq=False)
class Lab:
    """A launcher that can be replaced by the next one, as after a restart of the sidecar."""

    directory: Path
    ends: list[tuple[str, Ended]] = field(factory=list)
    launcher: AgentLauncher = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.launcher = AgentLauncher(REACTOR, self.directory / "logs", self.directory / "run")
        self.launcher.startService()

    async def restart(self) -> None:
        await Deferred.fromCoroutine(self.launcher.stopService())
        self.begin()

    async def launch(self, *command: str, agent_id: str = "a1", timeout: float = 60.0) -> Launched:
        environment = {"PATH": os.defpath, "AGENT_ID": agent_id}
        order = LaunchOrder(agent_id, command, environment, self.directory, timeout)
        return await self.launcher.launch(order, self.ended)

    async def script(self, text: str, agent_id: str = "a1") -> Launched:
        return await self.launch(sys.executable, "-I", "-S", "-c", text, agent_id=agent_id)

    def ended(self, agent_id: str, how: Ended) -> None:
        self.ends.append((agent_id, how))

    def adopt(self, launched: Launched, agent_id: str = "a1") -> None:
        self.launcher.adopt(agent_id, launched, self.ended)

    def state_path(self, agent_id: str = "a1") -> Path:
        return self.directory / "run" / f"{agent_id}.json"


async def until(true: Callable[[], object], what: str) -> None:
    """Wait for something that other processes do."""
    deadline = REACTOR.seconds() + PATIENCE_SECONDS
    while not true():
        assert REACTOR.seconds() < deadline, f"waited in vain: {what}"
        await deferLater(REACTOR, 0.005)


def gone(*pids: int) -> bool:
    return all(processes.find(pid) is None for pid in pids)


@pytest_twisted.async_yield_fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(tmp_path)
    yield made
    for path in (tmp_path / "run").glob("*.json"):
        await made.launcher.stop(path.stem, 0)
    await Deferred.fromCoroutine(made.launcher.stopService())


@pytest_twisted.ensureDeferred
async def test_interface(lab: Lab) -> None:
    """It is what the core asks for."""
    assert verifyObject(IAgentLauncher, lab.launcher)


@pytest_twisted.ensureDeferred
async def test_end(lab: Lab) -> None:
    """The end of a process is told once, with its exit code and the time; its output is in the log."""
    launched = await lab.launch("sh", "-c", "echo out; echo err >&2; exit 42")
    await until(lambda: lab.ends, "the end")
    ((agent_id, how),) = lab.ends
    assert (agent_id, how.exit_code, how.timed_out) == ("a1", 42, False)
    assert abs(how.ended_at - REACTOR.seconds()) < 10
    assert lab.launcher.log_path("a1").read_text() == "out\nerr\n"
    await until(lambda: gone(launched.agent.pid, launched.shim.pid), "no zombie")


@pytest_twisted.ensureDeferred
async def test_identities(lab: Lab) -> None:
    """The agent's own process is named, and the shim is its parent."""
    launched = await lab.launch("sleep", "30")
    agent, watcher = processes.find(launched.agent.pid), processes.find(launched.shim.pid)
    assert agent is not None
    assert watcher is not None
    assert agent.parent == watcher.pid
    assert (agent.started, watcher.started) == (launched.agent.started, launched.shim.started)
    assert Path(f"/proc/{agent.pid}/comm").read_text() == "sleep\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program-here", "no-such-program-here: No such file or directory"),
        ("/etc/passwd", "/etc/passwd: Permission denied"),
        ("a\0b", "its command or environment can't be passed on (embedded null byte)"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_start_fails(lab: Lab, command: str, reason: str) -> None:
    """A program that can't be executed is refused at once, with why; no end is told and nothing is left."""
    with pytest.raises(SpawnFailed) as refused:
        await lab.launch(command)
    assert refused.value.details["reason"] == reason
    assert reason in refused.value.message
    await lab.restart()
    assert lab.ends == []
    assert not lab.state_path().exists()


@pytest_twisted.ensureDeferred
async def test_bad_directory(lab: Lab) -> None:
    """A project root that is gone is named as the reason."""
    lab.directory /= "missing"
    with pytest.raises(SpawnFailed, match="its working directory: No such file or directory"):
        await lab.launch("true")


@pytest_twisted.ensureDeferred
async def test_logs_can_not_be_made(tmp_path: Path) -> None:
    """A state directory that can't be written refuses the start: its end could not be told."""
    (tmp_path / "run").write_text("in the way")
    lab = Lab(tmp_path)
    with pytest.raises(SpawnFailed, match="its supervisor: File exists"):
        await lab.launch("true")
    await Deferred.fromCoroutine(lab.launcher.stopService())


@pytest.mark.parametrize(("grace", "exit_code"), [(20.0, 7), (0.0, -9)])
@pytest_twisted.ensureDeferred
async def test_stop(lab: Lab, grace: float, exit_code: int) -> None:
    """A stop fires when all descendants are gone and the end was told; without grace it is SIGKILL."""
    ready = lab.directory / "ready"
    launched = await lab.script(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"    open({str(ready)!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(30)\n"
    )
    await until(lambda: ready.exists() and ready.read_text(), "the agent runs")
    await lab.launcher.stop("a1", grace)
    assert [how.exit_code for _, how in lab.ends] == [exit_code]
    assert gone(launched.agent.pid, int(ready.read_text()))
    await lab.launcher.stop("a1", grace)  # it is gone: nothing to wait for


@pytest_twisted.ensureDeferred
async def test_harder_stop(lab: Lab) -> None:
    """A stop without grace overtakes one with; both fire."""
    ready = lab.directory / "ready"
    await lab.launch("sh", "-c", f"trap '' TERM; : > {ready}; while :; do sleep 0.1; done")
    await until(ready.exists, "it ignores SIGTERM")  # before, that would end it
    first = lab.launcher.stop("a1", 60.0)
    await lab.launcher.stop("a1", 0)
    await first
    assert [how.exit_code for _, how in lab.ends] == [-9]


@pytest_twisted.ensureDeferred
async def test_stopped_shim(lab: Lab) -> None:
    """A shim that was stopped goes on when it is asked to end its agent."""
    launched = await lab.launch("sleep", "30")
    os.kill(launched.shim.pid, signal.SIGSTOP)
    await lab.launcher.stop("a1", 5.0)
    assert [how.exit_code for _, how in lab.ends] == [-15]


@pytest_twisted.ensureDeferred
async def test_killed_shim(lab: Lab) -> None:
    """An agent whose shim was killed is lost, and nothing of it is left, also not what left its group."""
    ready = lab.directory / "ready"
    launched = await lab.script(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        f"    open({str(ready)!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(30)\n"
    )
    await until(lambda: ready.exists() and ready.read_text(), "the agent runs")
    os.kill(launched.shim.pid, signal.SIGKILL)
    await until(lambda: lab.ends, "the end")
    assert [how.exit_code for _, how in lab.ends] == [None]
    left = [processes.find(pid) for pid in (launched.agent.pid, int(ready.read_text()))]
    assert [each for each in left if each is not None and each.state != b"Z"] == []  # init may be slow to reap


@pytest.mark.parametrize("before_restart", [True, False])
@pytest_twisted.ensureDeferred
async def test_exit_code_over_restart(lab: Lab, before_restart: bool) -> None:
    """An agent outlives the sidecar and is found again; its exit code is not lost, whenever it ended."""
    release = lab.directory / "release"
    launched = await lab.launch("sh", "-c", f"while [ ! -e {release} ]; do sleep 0.02; done; exit 42")
    await Deferred.fromCoroutine(lab.launcher.stopService())
    if before_restart:
        release.touch()
        await until(lambda: gone(launched.shim.pid), "the end")
    assert lab.ends == []
    lab.begin()
    lab.adopt(launched)
    release.touch()
    await until(lambda: lab.ends, "the end")
    assert [(agent_id, how.exit_code) for agent_id, how in lab.ends] == [("a1", 42)]


@pytest_twisted.ensureDeferred
async def test_stop_after_restart(lab: Lab) -> None:
    """An adopted agent is stopped like any other."""
    launched = await lab.launch("sleep", "30")
    await lab.restart()
    lab.adopt(launched)
    await lab.launcher.stop("a1", 10.0)
    assert [how.exit_code for _, how in lab.ends] == [-15]
    assert gone(launched.agent.pid)


@pytest_twisted.ensureDeferred
async def test_shutdown_hands_stops_over(lab: Lab) -> None:
    """A stop that was asked for just before the shutdown is carried out by the shim."""
    launched = await lab.launch("sleep", "30")
    lab.launcher.stop("a1", 5.0)
    await Deferred.fromCoroutine(lab.launcher.stopService())
    await until(lambda: gone(launched.agent.pid), "the agent's end")
    lab.begin()
    lab.adopt(launched)
    await until(lambda: lab.ends, "the end")
    assert [how.exit_code for _, how in lab.ends] == [-15]


@pytest_twisted.ensureDeferred
async def test_reused_pid(lab: Lab) -> None:
    """A process that merely has the pid of a shim is neither followed nor signalled: the agent is lost."""
    launched = await lab.launch("sleep", "30", agent_id="other")
    stranger = evolve(launched.shim, started=launched.shim.started - 1)
    lab.adopt(evolve(launched, shim=stranger), "a1")
    await until(lambda: lab.ends, "the end")
    assert [(agent_id, how.exit_code) for agent_id, how in lab.ends] == [("a1", None)]
    assert not gone(launched.agent.pid, launched.shim.pid)
    assert processes.find(launched.agent.pid) is not None


@pytest_twisted.ensureDeferred
async def test_other_boot(lab: Lab) -> None:
    """After a reboot an agent is lost, whoever has its pids now."""
    launched = await lab.launch("sleep", "30", agent_id="other")
    lab.adopt(evolve(launched, shim=evolve(launched.shim, boot_id="another")), "a1")
    await until(lambda: lab.ends, "the end")
    assert [how.exit_code for _, how in lab.ends] == [None]
    assert processes.find(launched.agent.pid) is not None


@pytest_twisted.ensureDeferred
async def test_find(lab: Lab) -> None:
    """An agent whose start was not recorded is found by its id; one that never started is not."""
    launched = await lab.launch("sleep", "30")
    await lab.restart()
    assert await lab.launcher.find("a1") == launched
    assert await lab.launcher.find("a2") is None
    lab.adopt(launched)


@pytest_twisted.ensureDeferred
async def test_forget(lab: Lab) -> None:
    """Notes on an end stay until they are not needed; a second start of the same agent is refused until then."""
    await lab.launch("true")
    await until(lambda: lab.ends, "the end")
    with pytest.raises(SpawnFailed, match="File exists"):
        await lab.launch("true")
    await lab.launcher.forget("a1")
    assert list((lab.directory / "run").iterdir()) == []
    await lab.launch("true")


@pytest_twisted.ensureDeferred
async def test_timeout(lab: Lab) -> None:
    """An agent whose time is up is ended, and that is told."""
    await lab.launch("sleep", "30", timeout=0.2)
    await until(lambda: lab.ends, "the end")
    assert [(how.exit_code, how.timed_out) for _, how in lab.ends] == [(-15, True)]


@pytest_twisted.ensureDeferred
async def test_stale_notes(lab: Lab) -> None:
    """What crashes left over is removed after a while, but never what belongs to a running agent."""
    launched = await lab.launch("sleep", "30")
    old = lab.directory / "run" / "old.json"
    old.write_bytes(b"{}")
    for path in (old, lab.state_path()):
        os.utime(path, (0, 0))
    await lab.restart()
    lab.launcher.tidy()
    await until(lambda: not old.exists(), "the removal")
    assert states.read_state(lab.state_path()) is not None
    lab.adopt(launched)


@pytest_twisted.ensureDeferred
async def test_many(lab: Lab) -> None:
    """All of a full orchestra start and end at once, each with its own exit code."""
    names = [f"n{number}" for number in range(119)]
    for number, name in enumerate(names):
        await lab.launch("sh", "-c", f"exit {number}", agent_id=name)
    await until(lambda: len(lab.ends) == len(names), "all ends")
    assert {agent_id: how.exit_code for agent_id, how in lab.ends} == {f"n{number}": number for number in range(119)}


@pytest_twisted.ensureDeferred
async def test_no_descriptor_stays(lab: Lab) -> None:
    """The sidecar keeps no descriptor of an agent that ended."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    await lab.launch("true", agent_id="first")
    await until(lambda: lab.ends, "the end")
    before = descriptors()
    for number in range(10):
        await lab.launch("true", agent_id=f"n{number}")
    await until(lambda: len(lab.ends) == 11, "all ends")
    await until(lambda: descriptors() <= before, "the descriptors are closed")
