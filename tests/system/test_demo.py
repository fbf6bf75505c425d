"""``cco demo`` as a person starts it: real processes, a real repository, nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cco_sidecar.demo.script import FIRST_EVENT, chain

DEMO = [sys.executable, "-P", "-m", "cco_sidecar", "demo"]
SECONDS = 90


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Give a directory that is in no repository."""
    directory = tmp_path / "outside"
    directory.mkdir()
    return directory


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a repository with a commit, an uncommitted change, and a module named like one of Python's."""
    root = tmp_path / "a checkout"
    (root / "below").mkdir(parents=True)
    (root / "json.py").write_text("raise SystemExit('the project is not to be imported')\n")
    (root / "below" / "notes.md").write_text("# Notes\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "Begin")
    (root / "below" / "notes.md").write_text("# Notes\n\nUncommitted.\n")
    return root


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def state_of(root: Path) -> dict[str, int]:
    """Give when each file below, git's own too, was last written."""
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Give an environment whose settings would break the demo if it took them for its own."""
    places = {"TMPDIR": str(tmp_path), "CCO_HOME": str(tmp_path / "mine"), "CCO_SIDECAR_PORT": "not a port"}
    return {**os.environ, **places, **more}


def run(tmp_path: Path, directory: Path, *options: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DEMO, *options],
        cwd=directory,
        env=environment(tmp_path, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@contextmanager
def running(tmp_path: Path, directory: Path) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        DEMO,
        cwd=directory,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def read_until(process: "subprocess.Popen[str]", pattern: str) -> "re.Match[str]":
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no line with {pattern!r}")


def left_over(tmp_path: Path) -> list[str]:
    """Name the processes that were started with the demo's directory in their arguments or environment."""
    needle = str(tmp_path / "cco-demo-").encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if needle in text:
            found.append(f"{process.name}: {text[:200]!r}")
    return found


def assert_told(out: str) -> None:
    """Every step is a line of the timeline, and every agent is in the tables."""
    assert re.search(rf"\d+\.\d\d s  you +published {FIRST_EVENT} ", out)
    for step in chain():
        name = re.escape(step.agent_type)
        for words in (
            r"spawned.* \(process \d+\)",
            r"context of [1-9]\d* files?, \d+ kB; asked again: not modified \(304\)",
            rf"(woken \d+ ms after|asks late and is given) {step.trigger} ",
            r"stored result \S+ \(success\)",
            rf"published {step.publishes} ",
            r"completed, exit code 0",
        ):
            assert re.search(rf"^ +\d+\.\d\d s  {name} +{words}", out, re.MULTILINE), f"{step.agent_type}: {words}"
        assert re.search(rf"^{name} +completed +\d+ +0 +\d", out, re.MULTILINE)
        assert re.search(rf"^{name} +success +\S.*/results/demo/demo-1/{name}\.json$", out, re.MULTILINE)
        assert re.search(rf"^{step.publishes} +1$", out, re.MULTILINE)


def test_outside_of_a_repository(tmp_path: Path, outside: Path) -> None:
    """It makes a repository of its own, shows every step, and leaves neither process nor file."""
    done = run(tmp_path, outside)
    assert (done.returncode, done.stderr) == (0, "")
    assert "made for the demo" in done.stdout
    assert_told(done.stdout)
    assert "Every step happened" in done.stdout
    assert left_over(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert list(outside.iterdir()) == []


def test_in_a_repository(tmp_path: Path, checkout: Path) -> None:
    """It works on the repository that it is started in, and only reads it."""
    before = state_of(checkout)
    done = run(tmp_path, checkout / "below")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{checkout} (only read; 2 files, " in done.stdout
    assert_told(done.stdout)
    assert state_of(checkout) == before
    assert left_over(tmp_path) == []


def test_kept(tmp_path: Path, outside: Path) -> None:
    """With ``--keep`` results and logs lie where the tables say."""
    done = run(tmp_path, outside, "--keep")
    assert done.returncode == 0
    paths = [Path(path) for path in re.findall(r"success +(/.*\.json)$", done.stdout, re.MULTILINE)]
    assert len(paths) == len(chain())
    assert all(path.is_file() for path in paths)
    logs = paths[0].parents[3] / "logs" / "agents"
    assert len(list(logs.glob("*.log"))) == len(chain())
    assert left_over(tmp_path) == []


def test_an_agent_dies(tmp_path: Path, outside: Path) -> None:
    """An agent that is killed fails the demo: exit code 1, with what is missing; the others are stopped."""
    with running(tmp_path, outside) as process:
        victim = read_until(process, r"security-auditor +spawned \(process (\d+)\)")
        read_until(process, rf"published {FIRST_EVENT} ")
        os.kill(int(victim[1]), signal.SIGKILL)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "security-auditor is failed with exit code -9" in errors
    assert "security_audited was published 0 times" in errors
    assert left_over(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGINT, r"^Storage "),
        (signal.SIGINT, r"work_started|woken"),
        (signal.SIGTERM, r"asked again"),
    ],
)
def test_interrupted(tmp_path: Path, outside: Path, number: signal.Signals, at: str) -> None:
    """Ctrl-C and SIGTERM stop everything, whenever they come."""
    with running(tmp_path, outside) as process:
        read_until(process, at)
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (130, "Interrupted; what was started is stopped.\n")
    assert left_over(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_the_reader_leaves(tmp_path: Path, outside: Path) -> None:
    """A pipe that is closed early, as by ``head``, ends the demo and what it started."""
    with running(tmp_path, outside) as process:
        read_until(process, "spawned")
        assert process.stdout is not None
        process.stdout.close()
        process.wait(SECONDS)
    assert process.returncode != 0
    assert left_over(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_no_git(tmp_path: Path, outside: Path) -> None:
    """Without git there is no real repository, and the demo says so."""
    done = run(tmp_path, outside, PATH=str(outside))
    assert (done.returncode, done.stdout) == (1, "")
    assert "git is not installed" in done.stderr
