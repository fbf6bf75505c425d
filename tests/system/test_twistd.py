"""``twistd cco-sidecar``: the same service, started and ended as other Twisted services are."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cco_sidecar import runfile

TWISTD = Path(sys.executable).with_name("twistd")
PATIENCE_SECONDS = 20.0
STOP_SECONDS = 5.0


class Place:
    """A home, a storage and a project, and the twistd processes that were started on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.storage = directory / "storage"
        (directory / "project").mkdir()
        self.started: list[subprocess.Popen[str]] = []

    def command(self, *options: str, before: tuple[str, ...] = ("-n", "--pidfile=")) -> list[str]:
        """Make the command line; options given later beat those before."""
        project = f"p={self.directory / 'project'}"
        usual = ("--port", "0", "--storage", str(self.storage), "--project-root", project)
        return [str(TWISTD), *before, "cco-sidecar", *usual, *options]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of this process's settings."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.directory), "CCO_HOME": str(self.home)}

    def start(self, *options: str, before: tuple[str, ...] = ("-n", "--pidfile=")) -> "subprocess.Popen[str]":
        """Start one that stays."""
        process = subprocess.Popen(
            self.command(*options, before=before),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *options: str, before: tuple[str, ...] = ("-n", "--pidfile=")) -> "subprocess.CompletedProcess[str]":
        """Run one that ends by itself."""
        return subprocess.run(
            self.command(*options, before=before),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def run_file(self, port: int = 0) -> dict[str, Any]:
        """Wait for the run file, and read it."""
        path = self.home / "run" / f"{port}.json"
        until(path.exists, "there is no run file")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def until(condition: Callable[[], bool], complaint: str) -> None:
    """Wait for something of another process."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)


def health(url: str) -> str:
    """Ask how it is."""
    with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
        return str(json.load(answer)["status"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Give a place; whatever still runs there in the end is killed."""
    found = Place(tmp_path)
    yield found
    for process in found.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_it_serves_in_the_foreground_and_ends_on_sigterm(
    place: Place, record_property: Callable[[str, object], None]
) -> None:
    """The run file says where it is while it listens, and goes with it; SIGTERM ends it in time, as twistd ends."""
    began = time.monotonic()
    process = place.start()
    entry = place.run_file()
    record_property("start_up_seconds", round(time.monotonic() - began, 3))
    assert entry == {
        "url": f"http://127.0.0.1:{entry['port']}",
        "port": entry["port"],
        "pid": process.pid,
        "storage": str(place.storage),
        "admin_token_file": str(place.home / "admin-token"),
    }
    run_file = place.home / "run" / "0.json"
    assert run_file.stat().st_mode & 0o777 == 0o600
    assert health(entry["url"]) == "healthy"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert time.monotonic() - began < STOP_SECONDS
    # Once all is stopped, twistd ends by the signal that it got, so that its parent can tell.
    assert process.returncode == -signal.SIGTERM, output
    assert not run_file.exists()
    assert f"cco-sidecar listens on {entry['url']}" in output
    assert "Traceback" not in output


def test_it_runs_as_a_daemon(place: Place) -> None:
    """Without -n it goes into the background, with the pid file that was asked for, and ends on SIGTERM."""
    pid_file, log = place.directory / "sidecar.pid", place.directory / "sidecar.log"
    ran = place.run(before=(f"--pidfile={pid_file}", f"--logfile={log}"))
    assert ran.returncode == 0, ran.stderr
    entry = place.run_file()
    pid = int(pid_file.read_text())
    try:
        assert entry["pid"] == pid
        assert health(entry["url"]) == "healthy"
    finally:
        os.kill(pid, signal.SIGTERM)
    began = time.monotonic()
    until(lambda: not runfile.is_alive(pid), "it does not end")
    assert time.monotonic() - began < STOP_SECONDS
    assert not pid_file.exists()
    assert not (place.home / "run" / "0.json").exists()
    assert "cco-sidecar has stopped" in log.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "seventy"), ["--port", "from 0 to 65535", "seventy"]),
        (("--cache-size-mb", "0"), ["--cache-size-mb", "1 or more"]),
        (("--log-level", "loud"), ["--log-level", "debug, info, warning, error"]),
        (("--project-root", "/nowhere/at/all"), ["--project-root", "exists"]),
        (("--roster", "/nowhere.json"), ["--roster", "exists"]),
        (("--config", "/nowhere.json"), ["/nowhere.json"]),
        (("--host", "300.1.1.1"), ["--host", "300.1.1.1"]),
    ],
)
@pytest.mark.parametrize("before", [("-n", "--pidfile="), ("--pidfile=twistd.pid",)], ids=["foreground", "daemon"])
def test_a_wrong_value_stops_the_start_with_one_line(
    place: Place, options: tuple[str, ...], words: list[str], before: tuple[str, ...]
) -> None:
    """What is wrong is said in one line, also when it would have gone into the background."""
    ran = place.run(*options, before=before)
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    for word in words:
        assert word in ran.stderr
    assert not (place.home / "run").exists() or not list((place.home / "run").glob("*.json"))


def test_a_taken_port_and_a_taken_storage_say_who_has_them(place: Place) -> None:
    """Whoever starts a second one is told which process is in the way, and the first goes on."""
    process = place.start()
    entry = place.run_file()
    ran = place.run("--port", str(entry["port"]), "--storage", str(place.directory / "other"))
    assert ran.returncode != 0
    assert len(ran.stderr.splitlines()) == 1
    assert f"--port {entry['port']} is taken" in ran.stderr
    assert str(process.pid) in ran.stderr
    ran = place.run()
    assert ran.returncode != 0
    assert len(ran.stderr.splitlines()) == 1
    assert f"--storage {place.storage} is in use" in ran.stderr
    assert str(process.pid) in ran.stderr
    assert health(entry["url"]) == "healthy"


def test_its_log_can_be_json(place: Place) -> None:
    """``--logger`` takes our observer: one JSON object a line."""
    process = place.start(before=("-n", "--pidfile=", "--logger", "cco_sidecar.logs.json_observer"))
    entry = place.run_file()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    lines = [json.loads(line) for line in output.splitlines()]
    assert f"cco-sidecar listens on {entry['url']}" in {line["message"] for line in lines}


@pytest.mark.parametrize(("level", "speaks"), [("info", True), ("error", False)])
def test_the_log_level_holds(place: Place, level: str, speaks: bool) -> None:
    """At a higher level twistd's own log is quiet about what went well."""
    process = place.start("--log-level", level)
    place.run_file()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert ("listens on http://" in output) is speaks
