"""The service in the background and in the foreground, with a program in its place."""

import json
import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cco_sidecar import runfile
from cco_sidecar.cli import background

if TYPE_CHECKING:
    from cco_sidecar.settings import Settings
    from tests.cli.conftest import Cco

FAKE = Path(__file__).with_name("fake_sidecar.py")


@pytest.fixture(autouse=True)
def program(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the fake in the place of `cco`, and end what a test left running."""
    monkeypatch.setattr(background, "_PROGRAM", (sys.executable, str(FAKE)))
    monkeypatch.setenv("PROJECT_ROOT", str(home))
    yield
    for entry in runfile.running(home):
        assert str(FAKE) in runfile.command_line(entry.pid)
        os.kill(entry.pid, signal.SIGKILL)


@pytest.fixture
def port() -> str:
    """Give a free port, the same throughout a test."""
    return free_port()


def free_port() -> str:
    """Give a port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def started(home: Path) -> list[str]:
    """Give what the fake saw: its directory, the log level of its environment, its arguments."""
    return (home / "started").read_text().splitlines()


def test_start_status_stop(cco: "Cco", home: Path) -> None:
    """A sidecar is started once, is seen, and is stopped; the second time there is nothing to stop."""
    found = cco("daemon", "start", "--port", "0", "--storage", "my data")
    assert found.exit_code == 0
    shown = json.loads(found.stdout)
    (entry,) = runfile.running(home)
    assert (shown["url"], shown["pid"]) == (entry.url, entry.pid)
    assert Path(shown["log"]) == home / "run" / "daemon-0.log"
    assert Path(shown["log"]).stat().st_mode & 0o777 == 0o600
    assert "cco agent spawn" in found.stderr
    assert started(home) == [str(Path.cwd()), "", "orchestration-server", "--port=0", "--storage=my data"]
    assert "orchestration-server" in runfile.command_line(entry.pid)
    assert os.getsid(entry.pid) == entry.pid

    status = json.loads(cco("daemon", "status").stdout)
    assert (status["status"], status["pid"]) == ("running", entry.pid)
    assert cco("orchestration-server", "status", "--port", str(entry.port)).exit_code == 0

    stopped = cco("daemon", "stop")
    assert stopped.exit_code == 0
    assert str(entry.pid) in stopped.stderr
    assert not runfile.is_alive(entry.pid)
    again = cco("orchestration-server", "stop")
    assert (again.exit_code, again.stderr) == (0, "No sidecar runs.\n")
    assert cco("daemon", "status").exit_code == 3


def test_second_start(cco: "Cco", home: Path, port: str) -> None:
    """A second start leaves the first sidecar as it is, and is no failure."""
    assert cco("daemon", "start", "--port", port).exit_code == 0
    (entry,) = runfile.running(home)
    for command in (["daemon", "start", "--port", port], ["orchestration-server", "--port", port, "--daemon"]):
        found = cco(*command)
        assert found.exit_code == 0
        assert "runs already" in found.stderr
        assert json.loads(found.stdout)["url"] == entry.url
    assert runfile.running(home) == [entry]


def test_child_dies(cco: "Cco", home: Path, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sidecar that does not start says why, at once; older lines of the log are not taken for its own."""
    (home / "run").mkdir()
    (home / "run" / f"daemon-{port}.log").write_text("an old line\n")
    monkeypatch.setenv("FAKE", "dies")
    found = cco("daemon", "start", "--port", port)
    assert found.exit_code == 1
    assert "--port is taken by process 7." in found.stderr
    assert "\\u001b[31mThe end." in found.stderr
    assert "ended with 5" in found.stderr
    assert "an old line" not in found.stderr


def test_never_ready(cco: "Cco", home: Path, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sidecar that is not ready in time is a failure."""
    monkeypatch.setenv("FAKE", "never-ready")
    monkeypatch.setattr(background, "START_SECONDS", 0.5)
    found = cco("daemon", "start", "--port", port)
    assert found.exit_code == 1
    assert "not ready" in found.stderr


def test_long_log_is_put_aside(cco: "Cco", home: Path, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log does not grow for ever."""
    monkeypatch.setattr(background, "_MAX_LOG_BYTES", 5)
    (home / "run").mkdir()
    (home / "run" / f"daemon-{port}.log").write_text("an old line\n")
    assert cco("daemon", "start", "--port", port).exit_code == 0
    assert (home / "run" / f"daemon-{port}.log.1").read_text() == "an old line\n"


def test_wrong_setting(cco: "Cco", home: Path) -> None:
    """A wrong setting is told by the command itself, and nothing is started."""
    for command in (["daemon", "start"], ["orchestration-server"], ["config", "show"]):
        found = cco(*command, "--port", "x")
        assert found.exit_code == 2
        assert found.stderr == 'Error: --port must be a whole number from 0 to 65535, not "x".\n'
    assert not (home / "run").exists()


def test_stop_spares_others(cco: "Cco", home: Path) -> None:
    """A run file that names a process which is no sidecar ends nobody."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        runfile.write(home, 3001, runfile.RunFile("http://127.0.0.1:3001", 3001, child.pid, "/data", "/none"))
        found = cco("daemon", "stop")
        assert found.exit_code == 1
        assert "no sidecar" in found.stderr
        assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()
        child.kill()


def test_stop_of_one_that_stays(cco: "Cco", home: Path, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sidecar that does not end in time is a failure that says what is left to do."""
    monkeypatch.setenv("FAKE", "stays")
    monkeypatch.setattr(background, "STOP_SECONDS", 0.2)
    assert cco("daemon", "start", "--port", port).exit_code == 0
    (entry,) = runfile.running(home)
    found = cco("daemon", "stop")
    assert found.exit_code == 1
    assert f"kill -9 {entry.pid}" in found.stderr


def test_several_run(cco: "Cco", home: Path, port: str) -> None:
    """Which of several is meant must be said."""
    other = free_port()
    assert cco("daemon", "start", "--port", port).exit_code == 0
    assert cco("daemon", "start", "--port", other).exit_code == 0
    found = cco("daemon", "stop")
    assert found.exit_code == 2
    assert "--port" in found.stderr
    assert cco("daemon", "stop", "--port", "x").exit_code == 2
    assert cco("orchestration-server", "--port", other, "stop").exit_code == 0
    assert [json.loads(it.read_text())["pid"] for it in (home / "run").glob(f"{port}.json")] == [
        entry.pid for entry in runfile.running(home)
    ]


def test_named_by_url(cco: "Cco", home: Path, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL says which one, as for every other command: the flag, then the environment; --port beats the latter."""
    other = free_port()
    for each in (port, other):
        assert cco("daemon", "start", "--port", each).exit_code == 0
    monkeypatch.setenv("CCO_SIDECAR_URL", f"http://localhost:{other}/api")
    seen = [
        json.loads(cco("daemon", "status", *more).stdout)["port"]
        for more in ((), ("--sidecar-url", f"127.0.0.1:{port}"), ("--port", port))
    ]
    assert seen == [int(other), int(port), int(port)]
    before = runfile.running_on(home, int(other))
    assert cco("daemon", "restart").exit_code == 0
    after = runfile.running_on(home, int(other))
    assert before is not None and after is not None and before.pid != after.pid
    assert cco("daemon", "stop").exit_code == 0
    assert [entry.port for entry in runfile.running(home)] == [int(port)]
    assert cco("daemon", "stop").stderr == "No sidecar runs.\n"
    assert cco("daemon", "status").exit_code == 3
    assert cco("--sidecar-url", f"http://127.0.0.1:{port}", "orchestration-server", "stop").exit_code == 0
    assert runfile.running(home) == []


def test_restart_of_none_at_a_url(cco: "Cco", home: Path, port: str) -> None:
    """Where none runs at the URL, one is started there."""
    assert cco("daemon", "restart", "--sidecar-url", f"http://127.0.0.1:{port}").exit_code == 0
    assert started(home)[2:] == ["orchestration-server", f"--port={port}"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--sidecar-url", "http://elsewhere.example:3001"), "where it runs"),
        (("--sidecar-url", "http://"), "must be like"),
        (("--sidecar-url", "http://127.0.0.1:3001", "--port", "3001"), "one of them"),
    ],
)
def test_no_sidecar_of_this_machine(cco: "Cco", home: Path, port: str, words: tuple[str, ...], complaint: str) -> None:
    """What no process here can be is refused, and the one that runs here is left alone."""
    assert cco("daemon", "start", "--port", port).exit_code == 0
    for command in ("stop", "restart", "status"):
        found = cco("daemon", command, *words)
        assert found.exit_code == 2
        assert complaint in found.stderr
    assert len(runfile.running(home)) == 1


def test_restart(cco: "Cco", home: Path, port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart keeps the options, the settings of the environment and the directory, wherever it is asked for."""
    monkeypatch.setenv("CCO_SIDECAR_LOG_LEVEL", "debug")
    monkeypatch.chdir(tmp_path)
    assert cco("daemon", "start", "--port", port, "--cache-size-mb", "5").exit_code == 0
    (before,) = runfile.running(home)
    monkeypatch.delenv("CCO_SIDECAR_LOG_LEVEL")
    monkeypatch.chdir("/")
    found = cco("daemon", "restart")
    assert found.exit_code == 0
    (after,) = runfile.running(home)
    assert before.pid != after.pid
    assert json.loads(found.stdout)["pid"] == after.pid
    assert started(home) == [str(tmp_path), "debug", "orchestration-server", f"--port={port}", "--cache-size-mb=5"]


def test_restart_with_broken_settings(cco: "Cco", home: Path, port: str) -> None:
    """A sidecar is not stopped for one that could not start."""
    assert cco("daemon", "start", "--port", port).exit_code == 0
    (entry,) = runfile.running(home)
    (home / "broken").touch()
    found = cco("daemon", "restart")
    assert found.exit_code == 1
    assert "sidecar.port must be right" in found.stderr
    assert runfile.running(home) == [entry]


def test_restart_of_none(cco: "Cco", home: Path, port: str) -> None:
    """Where none runs, a restart is a start."""
    assert cco("daemon", "restart", "--port", port).exit_code == 0
    assert started(home)[2:] == ["orchestration-server", f"--port={port}"]


def test_foreground(cco: "Cco", home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The foreground service gets the settings, and its exit code is that of the command."""
    seen: list[Settings] = []

    def run(settings: "Settings") -> int:
        seen.append(settings)
        return 6

    module: Any = types.ModuleType("cco_sidecar.service")
    module.run = run
    monkeypatch.setitem(sys.modules, "cco_sidecar.service", module)
    options = ["--port", "4000", "--storage", "/custom/path", "--cache-size-mb", "512", "--host", "0.0.0.0"]
    assert cco("orchestration-server", *options, "--project-root", f"web={home}").exit_code == 6
    (settings,) = seen
    assert (settings.port, settings.cache_size_mb, settings.host) == (4000, 512, "0.0.0.0")
    assert (settings.storage, dict(settings.projects)) == (Path("/custom/path"), {"web": home})


def test_config_show(cco: "Cco", home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are shown as a config file, or each with its origin."""
    monkeypatch.setenv("CCO_SIDECAR_PORT", "4000")
    found = json.loads(cco("config", "show").stdout)
    assert found["sidecar"]["port"] == 4000
    found = json.loads(cco("config", "show", "--origin", "--log-level", "debug").stdout)
    assert found["sidecar.port"] == {"value": 4000, "origin": "environment CCO_SIDECAR_PORT"}
    assert found["sidecar.log_level"] == {"value": "debug", "origin": "flag --log-level"}
    assert found["home"] == {"value": str(home), "origin": "environment CCO_HOME"}
    assert found["projects"]["origin"] == "environment PROJECT_ROOT"
    assert cco("config", "show", "--origin", "--format", "table").stdout.startswith("NAME")
    assert "sidecar.port" in cco("config", "show", "--format", "table").stdout


def test_projects(cco: "Cco", home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Projects are added, listed and removed."""
    monkeypatch.delenv("PROJECT_ROOT")
    for name in ("shop", "web"):
        (tmp_path / name).mkdir()
    assert json.loads(cco("project", "add", str(tmp_path / "shop")).stdout)["id"] == "shop"
    assert cco("project", "add", "site", str(tmp_path / "web")).exit_code == 0
    listed = json.loads(cco("project", "list").stdout)
    assert [(it["id"], it["default"]) for it in listed["projects"]] == [("shop", True), ("site", False)]
    assert cco("project", "remove", "shop").exit_code == 0
    assert [it["id"] for it in json.loads(cco("project", "list").stdout)["projects"]] == ["site"]
    assert cco("project", "remove", "shop").exit_code == 2
    assert cco("project", "add", "a", "b", "c").exit_code == 2
    assert cco("project", "add", str(tmp_path / "missing")).exit_code == 2
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    assert "PROJECT_ROOT" in cco("project", "add", str(tmp_path / "shop")).stderr


def test_project_removed_when_its_directory_is_gone(
    cco: "Cco", home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project whose directory is gone stops the settings, but can be removed."""
    monkeypatch.delenv("PROJECT_ROOT")
    (tmp_path / "shop").mkdir()
    assert cco("project", "add", str(tmp_path / "shop")).exit_code == 0
    (tmp_path / "shop").rmdir()
    assert "projects.shop" in cco("project", "list").stderr
    assert cco("project", "remove", "shop").exit_code == 0
    assert cco("project", "list").exit_code == 0
