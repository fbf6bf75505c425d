"""The shim against real processes: nobody is left, the end is written down, a start that fails says so at once."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Timer

import pytest
from attrs import define, field

from cco_sidecar.backends.agents.cgroups import delegated_group
from cco_sidecar.backends.agents.shim import processes, program
from cco_sidecar.backends.agents.shim.log import Log
from cco_sidecar.backends.agents.shim.order import encode_order
from cco_sidecar.backends.agents.states import how_it_ended, look, read_state
from cco_sidecar.interfaces import Ended
from tests.system.agent_programs import HOSTILE, PRELUDE

PATIENCE_SECONDS = 30.0


def until(true: Callable[[], object], what: str) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


@define(eq=False)
class Guard:
    """A shim, started as the launcher does it."""

    directory: Path
    agent_id: str = "a1"
    timeout_seconds: float = 60.0
    cgroup: bytes = b""
    limits: list[tuple[int, int, int]] = field(factory=list)
    words: list[str] = field(factory=list)
    process: "subprocess.Popen[bytes]" = field(init=False)

    def begin(self, command: Sequence[str], directory: Path | None = None) -> None:
        """Give the order, up to where the shim waits to be told to go."""
        order = encode_order(
            [os.fsencode(path) for path in (self.state_path, self.stop_path, self.log, directory or self.directory)],
            self.timeout_seconds,
            [os.fsencode(argument) for argument in command],
            [os.fsencode(f"{name}={value}") for name, value in self.environment.items()],
            cgroup=self.cgroup,
            limits=self.limits,
        )
        arguments = [sys.executable, "-I", "-S", program.__file__, self.agent_id]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})
        self.send(b"%d\n" % len(order) + order)
        self.words = self.hear()

    def run(self, command: Sequence[str], directory: Path | None = None) -> "Guard":
        self.begin(command, directory)
        if self.words == ["ready"]:
            self.send(b"go\n")
            self.words = self.hear()
        return self

    def script(self, text: str) -> "Guard":
        return self.run([sys.executable, "-I", "-S", "-c", PRELUDE + text])

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def hear(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().split()

    def stop(self, grace: float) -> None:
        """Ask as the launcher does."""
        if grace > 0:
            self.stop_path.write_text(str(grace))
        self.process.send_signal(signal.SIGTERM if grace > 0 else signal.SIGUSR1)

    def over(self) -> dict[str, object]:
        """Wait for the shim's end and give what it wrote down."""
        assert self.process.wait(PATIENCE_SECONDS) == 0
        return self.state()

    def state(self) -> dict[str, object]:
        found = json.loads(self.state_path.read_bytes())
        assert isinstance(found, dict)
        return found

    def noted(self) -> set[int]:
        """The pids that the agent's processes noted."""
        return set(map(int, self.pids.read_text().split())) if self.pids.exists() else set()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            self.process.wait(PATIENCE_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "PIDS": str(self.pids), "AGENT_ID": self.agent_id}

    @property
    def state_path(self) -> Path:
        return self.directory / "run" / f"{self.agent_id}.json"

    @property
    def stop_path(self) -> Path:
        return self.directory / "run" / f"{self.agent_id}.stop"

    @property
    def log(self) -> Path:
        return self.directory / "logs" / f"{self.agent_id}.log"

    @property
    def pids(self) -> Path:
        return self.directory / "pids"


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    made = Guard(tmp_path)
    yield made
    made.close()


def marked(directory: Path) -> list[int]:
    """Who, of all processes, has the environment of this test's agents."""
    mark = f"PIDS={directory / 'pids'}".encode()
    found = []
    for each in processes.alive():
        try:
            environment = Path(f"/proc/{each.pid}/environ").read_bytes()
        except OSError:
            continue
        if mark in environment.split(b"\0"):
            found.append(each.pid)
    return found


GROUPS = [pytest.param(delegated_group(), id="cgroup"), pytest.param(b"", id="sweep")]
"""Ends are made with a control group where there can be one, and without: both ways must hold."""


@pytest.mark.parametrize("cgroup", GROUPS[0 if delegated_group() else 1 :])
@pytest.mark.parametrize("grace", [0.0, 0.3])
@pytest.mark.parametrize("name", HOSTILE)
def test_nobody_is_left(guard: Guard, name: str, grace: float, cgroup: bytes) -> None:
    """Whatever an agent does, none of its processes is left, not even as a zombie, and soon after the grace."""
    guard.cgroup = cgroup
    end_one(guard, name, grace)


def end_one(guard: Guard, name: str, grace: float) -> float:
    """Start a hostile agent, end it, and look whether anything is left of it; gives how long the end took."""
    guard.script(HOSTILE[name])
    until(guard.noted, "the agent runs")
    asked = time.monotonic()
    guard.stop(grace)
    state = guard.over()
    took = time.monotonic() - asked
    assert took < grace + 5
    assert state["survivors"] == 0
    assert state["exit_code"] is not None
    assert marked(guard.directory) == []
    assert [pid for pid in guard.noted() if processes.find(pid) is not None] == []
    assert bool(state["cgroup"]) == bool(guard.cgroup)
    assert not guard.cgroup or not Path(str(state["cgroup"])).exists()
    assert not guard.state_path.with_suffix(".sock").exists()
    return took


@pytest.mark.parametrize("cgroup", GROUPS[0 if delegated_group() else 1 :])
@pytest.mark.parametrize("name", HOSTILE)
def test_nobody_is_left_without_a_supervisor(guard: Guard, name: str, cgroup: bytes) -> None:
    """Nor is anybody left when the shim itself is killed: its sidecar finds them, wherever they went."""
    guard.agent_id = f"orphans-{os.getpid()}"
    guard.cgroup = cgroup
    guard.script(HOSTILE[name])
    until(guard.noted, "the agent runs")
    state = read_state(guard.state_path)
    assert state is not None
    assert state.launched is not None
    guard.process.kill()
    guard.process.wait()
    ended, survivors = how_it_ended(guard.state_path, guard.agent_id, state.launched, 5.0)
    assert (ended, survivors) == (Ended(None, 5.0), 0)
    until(lambda: marked(guard.directory) == [], "the dead are gone")
    assert not state.cgroup or not Path(state.cgroup).exists()


@pytest.mark.skipif(not delegated_group(), reason="no control group may be made here")
def test_no_way_out_of_a_control_group(guard: Guard) -> None:
    """With a control group even who hides name, session and parents is found when the shim is gone."""
    guard.cgroup = delegated_group()
    hidden = "import os, time; open('hidden', 'w').write(str(os.getpid())); time.sleep(60)"
    guard.script(f"""
def hide():
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", {hidden!r}], {{}})
child(lambda: child(hide, leave=True), leave=True)
stay()
""")
    file = guard.directory / "hidden"
    until(lambda: file.exists() and file.read_text(), "it hides")
    state = read_state(guard.state_path)
    assert state is not None
    assert state.launched is not None
    guard.process.kill()
    guard.process.wait()
    assert how_it_ended(guard.state_path, "a1", state.launched, 5.0)[1] == 0
    found = processes.find(int(file.read_text()))
    assert found is None or found.state == b"Z"


BARRED = [
    "ignores SIGTERM",
    "leaves the group by setsid and a double fork",
    "starts a session",
    "forks on SIGTERM",
    "is stopped",
    "fills its log",
    "closes its pipes",
    "forks a storm under a cap",
]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cgroup", GROUPS[0 if delegated_group() else 1 :])
@pytest.mark.parametrize("name", BARRED)
def test_two_hundred_kills(tmp_path: Path, name: str, cgroup: bytes) -> None:
    """200 kills of each hostile child leave nobody, in either way."""
    took = []
    for number in range(200):
        directory = tmp_path / str(number)
        directory.mkdir()
        guard = Guard(directory, cgroup=cgroup)
        try:
            took.append(end_one(guard, name, 0.0 if number % 2 else 0.1))
        finally:
            guard.close()
            shutil.rmtree(directory)
    sys.stdout.write(f"\n{name}: 200 kills, 0 survivors; slowest {max(took):.2f} s, median {sorted(took)[100]:.3f} s\n")


def test_orphans_go_when_the_agent_ends(guard: Guard) -> None:
    """An agent that ends by itself keeps its exit code, and what it left behind is ended."""
    guard.script(HOSTILE["ends and leaves orphans everywhere"])
    assert guard.over()["exit_code"] == 7
    assert marked(guard.directory) == []


def test_graceful_end(guard: Guard) -> None:
    """SIGTERM reaches the whole group, and who ends in time is not killed."""
    guard.script("""
def bye(*_):
    os.write(1, b"bye\\n")
    time.sleep(0.05)
    os._exit(3)
signal.signal(signal.SIGTERM, bye)
child(stay)
stay()
""")
    until(lambda: len(guard.noted()) == 2, "both run")
    guard.stop(20.0)
    assert guard.over()["exit_code"] == 3
    assert guard.log.read_text() == "bye\nbye\n"
    assert not guard.stop_path.exists()


def test_stopped_agent_ends_gracefully(guard: Guard) -> None:
    """An agent that is stopped is let go on, so that it sees the SIGTERM."""
    guard.script("""
signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
note()
os.kill(os.getpid(), signal.SIGSTOP)
stay()
""")
    until(guard.noted, "the agent runs")
    guard.stop(20.0)
    assert guard.over()["exit_code"] == 3


def test_second_stop_is_harder(guard: Guard) -> None:
    """A kill at once overtakes a long grace."""
    guard.script(HOSTILE["ignores SIGTERM"])
    until(guard.noted, "the agent runs")
    guard.stop(60.0)
    guard.stop(0.0)
    assert guard.over()["exit_code"] == -9


def test_timeout(guard: Guard) -> None:
    """An agent's time is kept by its shim."""
    guard.timeout_seconds = 0.3
    guard.run(["sleep", "60"])
    state = guard.over()
    assert (state["exit_code"], state["timed_out"]) == (-15, True)


def test_clean_start(guard: Guard, tmp_path: Path) -> None:
    """The agent has its directory, no stdin, no descriptor and no ignored signal more."""
    guard.script("""
import json
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"cwd": os.getcwd(), "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
    "stdin": os.readlink("/proc/self/fd/0"), "group": os.getpgrp() == os.getpid(), "blocked": int(status["SigBlk"], 16),
    "session": os.getsid(0) == os.getppid()}))
""")
    guard.over()
    found = json.loads(guard.log.read_text())
    assert found == {
        "cwd": str(tmp_path),
        "fds": [0, 1, 2, 3],  # 3 is the listing itself
        "stdin": "/dev/null",
        "group": True,
        "blocked": 0,
        "session": True,
    }


def test_environment(guard: Guard) -> None:
    """The agent's environment is exactly what it was given."""
    guard.run(["env"])
    guard.over()
    assert dict(line.split("=", 1) for line in guard.log.read_text().splitlines()) == guard.environment


def test_signals_are_not_ignored(guard: Guard) -> None:
    """What the shim ignores, its agent does not."""
    guard.run(["sh", "-c", "grep SigIgn /proc/self/status"])
    guard.over()
    # 32 and 33 are the C library's own: it ignores them in what posix_spawn starts (so does make): not ours to undo.
    of_the_library = 0b11 << 31
    assert int(guard.log.read_text().split()[1], 16) & ~of_the_library == 0


@pytest.mark.parametrize(
    ("command", "directory", "words"),
    [
        (["no-such-program-here"], ".", ["failed", "program", "2"]),
        (["/etc/passwd"], ".", ["failed", "program", "13"]),
        (["true"], "missing", ["failed", "directory", "2"]),
        (["true", "x" * 200_000], ".", ["failed", "program", "7"]),
    ],
)
def test_start_fails(tmp_path: Path, command: list[str], directory: str, words: list[str]) -> None:
    """A program that can't be executed is reported with its errno, and nothing is left of it."""
    guard = Guard(tmp_path).run(command, tmp_path / directory)
    assert guard.words == words
    guard.close()
    assert not guard.state_path.exists()


def test_no_go_no_start(guard: Guard) -> None:
    """When the sidecar dies before it says go, nothing was started and no state file says otherwise."""
    guard.begin(["touch", str(guard.directory / "started")])
    assert guard.words == ["ready"]
    assert guard.state()["agent"] is None
    assert guard.process.stdin is not None
    guard.process.stdin.close()
    guard.process.wait(PATIENCE_SECONDS)
    guard.process.stdin = None
    assert not guard.state_path.exists()
    assert not (guard.directory / "started").exists()


def test_one_shim_an_agent(guard: Guard, tmp_path: Path) -> None:
    """A second shim for the same agent does not start it."""
    guard.run(["sleep", "30"])
    second = Guard(tmp_path).run(["touch", str(tmp_path / "twice")])
    assert second.words == ["failed", "shim", "17"]
    second.close()
    assert not (tmp_path / "twice").exists()
    assert guard.state()["exit_code"] is None


def test_private_files(guard: Guard) -> None:
    """Logs and states are for this user only, whatever the umask; the agent keeps the umask it would have had."""
    before = os.umask(0o022)
    try:
        guard.run(["sh", "-c", "umask"])
    finally:
        os.umask(before)
    guard.over()
    assert guard.log.read_text().strip() == "0022"
    modes = [path.stat().st_mode & 0o777 for path in (guard.state_path, guard.log, guard.log.parent)]
    assert modes == [0o600, 0o600, 0o700]


def test_sidecar_gone(guard: Guard) -> None:
    """Closed pipes and a SIGHUP, as when the sidecar dies, change nothing for the agent."""
    guard.run(["sh", "-c", "sleep 0.3; echo done; exit 5"])
    guard.process.send_signal(signal.SIGHUP)
    for pipe in (guard.process.stdin, guard.process.stdout):
        assert pipe is not None
        pipe.close()
    assert guard.over()["exit_code"] == 5
    assert guard.log.read_text() == "done\n"


def test_reused_pid(guard: Guard) -> None:
    """A process that merely has the pid of one that was to be killed is spared."""
    guard.run(["sleep", "30"])
    agent = processes.find(int(guard.words[1]))
    assert agent is not None
    agent.started -= 1
    processes.kill(agent)
    guard.stop(5.0)
    assert guard.over()["exit_code"] == -15


def test_log_rotates(tmp_path: Path) -> None:
    """The log has a bounded number of bounded files that begin with whole lines, and the newest line is in it."""
    path = tmp_path / "a.log"
    log = Log(os.fsencode(path), most_bytes=1_000, files=3)
    for number in range(1_000):
        log.write(b"line %05d\n" % number)
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["a.log", "a.log.1", "a.log.2"]
    for name in names:
        text = (tmp_path / name).read_text()
        assert len(text) <= 1_100
        assert text.startswith("line ") and text.endswith("\n")
    assert path.read_text().endswith("line 00999\n")


def test_log_drops_on_trouble(tmp_path: Path) -> None:
    """A disk that takes nothing costs output, never the agent; what was lost is said when it works again."""
    blocked = tmp_path / "logs"
    blocked.write_text("a file where the directory should be")
    log = Log(os.fsencode(blocked / "a.log"))
    log.write(b"lost\n")
    blocked.unlink()
    log.write(b"kept\n")
    assert (blocked / "a.log").read_text() == "\n[1 lines (5 bytes) were dropped: the disk took none]\nkept\n"
    assert (log.dropped_lines, log.dropped_bytes, log.written_bytes) == (1, 5, 5)


def test_log_on_full_disk(guard: Guard) -> None:
    """An agent that writes to a full disk runs to its end."""
    guard.log.parent.mkdir()
    guard.log.symlink_to("/dev/full")  # refused as a symlink, as a full disk refuses a write
    guard.run(["sh", "-c", "head -c 1000000 /dev/zero; exit 4"])
    assert guard.over()["exit_code"] == 4


def test_small(guard: Guard) -> None:
    """A shim has little memory of its own: there is one for each agent."""
    guard.run(["sleep", "30"])
    rollup = Path(f"/proc/{guard.process.pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty"))
    assert private < 8_000  # kB


def test_idle(guard: Guard) -> None:
    """A shim that waits uses no processor time."""

    def ticks() -> int:
        stat = Path(f"/proc/{guard.process.pid}/stat").read_bytes()
        return sum(map(int, stat[stat.rindex(b")") + 2 :].split()[11:13]))

    guard.run(["sleep", "1"])
    before = ticks()
    ended = guard.process.pid
    until(lambda: guard.state()["exit_code"] == 0 or processes.find(ended) is None or ticks() > before + 20, "the end")
    assert guard.state()["exit_code"] == 0


def test_answers(guard: Guard) -> None:
    """A shim says on its socket how its agent is, also below a long path; at the end the socket is gone."""
    guard.directory = guard.directory / ("d" * 120)
    guard.directory.mkdir()
    guard.script("""
print("one")
print("two", flush=True)
child(lambda: [None for _ in range(10_000_000)])
stay()
""")
    path = guard.state_path.with_suffix(".sock")
    seen = []

    def busy() -> bool:
        seen.append(look(path))
        return seen[-1] is not None and seen[-1].output_bytes == 8 and seen[-1].cpu_seconds > 0.05

    until(busy, "an answer")
    assert seen[-1] is not None
    assert seen[-1].dropped_lines == 0
    assert seen[-1].processes in {1, 2}
    guard.stop(0)
    guard.over()
    assert look(path) is None
    assert not path.exists()


def test_limits(guard: Guard) -> None:
    """An agent has the limits it was given, never more than there are; others are as they were."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    guard.limits = [(resource.RLIMIT_NOFILE, 77, -1), (resource.RLIMIT_CORE, 0, 0), (resource.RLIMIT_FSIZE, 9, 1 << 62)]
    guard.script("""
import resource
print(*(resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)))
""")
    guard.over()
    assert guard.log.read_text().startswith(f"(77, {most}) (0, 0) (9, ")


def test_lost_lines_are_noted(guard: Guard) -> None:
    """How many lines a full disk cost is in the state file."""
    guard.log.parent.mkdir()
    guard.log.symlink_to("/dev/full")
    guard.run(["sh", "-c", "echo one; echo two"])
    assert guard.over()["dropped_lines"] == 2


def test_one_that_gives_up_is_waited_for(guard: Guard, tmp_path: Path) -> None:
    """A shim whose sidecar died before it said go lets the next one have the agent."""
    guard.begin(["touch", str(tmp_path / "first")])
    second = Guard(tmp_path)
    hanging = guard.process.stdin
    assert hanging is not None
    Timer(0.3, hanging.close).start()
    guard.process.stdin = None
    second.run(["touch", str(tmp_path / "second")])
    assert second.words[0] == "started"
    second.over()
    second.close()
    assert not (tmp_path / "first").exists()
    assert (tmp_path / "second").exists()
