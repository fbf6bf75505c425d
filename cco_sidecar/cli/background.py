"""A sidecar in the background: started apart from the terminal, found by its run file, stopped by its pid."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import click

from cco_sidecar import runfile
from cco_sidecar.cli import place
from cco_sidecar.cli.output import visible
from cco_sidecar.cli.sidecar import Failed
from cco_sidecar.client.server import parse_server
from cco_sidecar.client.transport import BrokenError, Pool, TimedOutError, UnreachableError
from cco_sidecar.client.values import Request

START_SECONDS = 30.0
STOP_SECONDS = 10.0
_PROGRAM = (sys.executable, "-P", "-m", "cco_sidecar")
_LOOK_SECONDS = 0.05
_MAX_LOG_BYTES = 10 << 20
_SETTING_VARIABLES = ("CCO_", "PROJECT_ROOT")


class Started(NamedTuple):
    """A sidecar that answers, and the file that has its log."""

    entry: runfile.RunFile
    log: Path


def log_path(home: Path, port_as_given: int) -> Path:
    """Give the path of the log of a sidecar in the background."""
    return home / "run" / f"daemon-{port_as_given}.log"


def start(
    home: Path, port_as_given: int, arguments: Sequence[str], environ: Mapping[str, str], directory: Path
) -> Started:
    """Start a sidecar in ``directory`` and wait until it is ready.

    :param arguments: the options of `cco orchestration-server`.
    :raises Failed: it ended, or was not ready in time; the message has the last lines of its log.
    """
    log = log_path(home, port_as_given)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "ab") as opened:
        begin = opened.tell()
        child = subprocess.Popen(
            [*_PROGRAM, "orchestration-server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=opened,
            stderr=opened,
            cwd=directory,
            env=_environment(environ),
            start_new_session=True,
        )
    entry = _until(START_SECONDS, lambda: _ready(home, port_as_given, child))
    if entry is not None:
        return Started(entry, log)
    has_ended = child.poll() is not None
    how = (
        f"ended with {child.returncode}" if has_ended else f"(pid {child.pid}) is not ready after {START_SECONDS:.0f} s"
    )
    raise Failed(f"The sidecar {how}. Its log, {log}, ends:\n{_last_lines(log, begin)}")


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Let the child find this package without the working directory, whose files must not pass for modules (-P)."""
    package_root = str(Path(__file__).resolve().parents[2])
    others = environ.get("PYTHONPATH")
    if package_root.endswith("site-packages"):
        return dict(environ)
    return {**environ, "PYTHONPATH": package_root + (os.pathsep + others if others else "")}


class _EndedError(Exception):
    """The child has ended: waiting on is of no use."""


def _ready(home: Path, port_as_given: int, child: "subprocess.Popen[bytes]") -> runfile.RunFile | None:
    if child.poll() is not None:
        raise _EndedError
    entry = runfile.read(runfile.path_of(home, port_as_given))
    return entry if entry is not None and entry.pid == child.pid and answers(entry.url) else None


def answers(url: str) -> bool:
    """Say whether a sidecar at ``url`` is ready."""
    try:
        with closing(Pool(parse_server(url))) as pool, pool.send(Request("GET", "/readyz"), {}, 2.0) as stream:
            return stream.status == 200
    except (UnreachableError, BrokenError, TimedOutError, ValueError):
        return False


def _until(seconds: float, look: Callable[[], runfile.RunFile | None]) -> runfile.RunFile | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if (found := look()) is not None:
                return found
        except _EndedError:
            return None
        time.sleep(_LOOK_SECONDS)
    return None


def _last_lines(log: Path, begin: int) -> str:
    with log.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(begin, size - (8 << 10)))
        lines = opened.read().decode("utf-8", "replace").splitlines()
    return visible("\n".join(f"  {line}" for line in lines[-10:]) or "  (nothing)")


def stop(entry: runfile.RunFile) -> None:
    """Ask the sidecar to end, and wait until it has.

    :raises Failed: the process is no sidecar, is somebody else's, or does not end.
    """
    ticks = runfile.start_ticks(entry.pid)
    if not runfile.is_sidecar(entry.pid):
        raise Failed(f"Process {entry.pid} of the run file is no sidecar; it is left alone.")
    try:
        os.kill(entry.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise Failed(f"Process {entry.pid} belongs to somebody else.") from None
    deadline = time.monotonic() + STOP_SECONDS
    while runfile.is_alive(entry.pid) and runfile.start_ticks(entry.pid) == ticks:
        if time.monotonic() > deadline:
            raise Failed(f"The sidecar (pid {entry.pid}) still runs after {STOP_SECONDS:.0f} s: kill -9 {entry.pid}")
        time.sleep(_LOOK_SECONDS)


class Launch(NamedTuple):
    """How a running sidecar was started."""

    arguments: Sequence[str]
    environ: Mapping[str, str]
    directory: Path


def launch_of(entry: runfile.RunFile) -> Launch:
    """Find out how a sidecar was started, so that it can be started so again.

    :raises Failed: that cannot be known, or it was not started by `cco`.
    """
    line = runfile.command_line(entry.pid)
    if "orchestration-server" not in line:
        raise Failed(f"The sidecar (pid {entry.pid}) was not started by cco: restart it where it was started.")
    arguments = line[line.index("orchestration-server") + 1 :]
    try:
        directory = Path(f"/proc/{entry.pid}/cwd").readlink()
        block = Path(f"/proc/{entry.pid}/environ").read_bytes()
    except OSError as error:
        raise Failed(f"How the sidecar (pid {entry.pid}) was started cannot be read: {error.strerror}.") from None
    pairs = (os.fsdecode(item).partition("=") for item in block.split(b"\0") if item)
    before = {name: value for name, _, value in pairs if name.startswith(_SETTING_VARIABLES)}
    now = {name: value for name, value in os.environ.items() if not name.startswith(_SETTING_VARIABLES)}
    return Launch([it for it in arguments if it != "--daemon"], {**now, **before}, directory)


def check(launch: Launch) -> None:
    """Try the settings of a start to come, so that a running sidecar is not stopped for one that cannot start.

    :raises Failed: a setting is wrong; the message names it.
    """
    tried = subprocess.run(
        [*_PROGRAM, "config", "show", *launch.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=launch.directory,
        env=_environment(launch.environ),
        check=False,
    )
    if tried.returncode != 0:
        why = tried.stderr.decode("utf-8", "replace").strip().removeprefix("Error: ")
        raise Failed(f"It could not start again, so it was not stopped. {visible(why)}")


def chosen(port: str | None, url: str | None) -> runfile.RunFile | None:
    """Give the sidecar on ``port`` (as a text), at ``url`` or that of the environment, or that is set or runs alone.

    :raises click.UsageError: the port or the URL is none, the URL is another machine's, or several run and none is
        meant.
    """
    if port is not None and url is not None:
        raise click.UsageError("--port and --sidecar-url both say which sidecar is meant: give one of them.")
    if port is not None and not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise click.UsageError(f"--port must be a whole number from 0 to 65535, not {port!r}.")
    named = place.named(url, os.environ) if port is None else None
    if named is not None:
        if named.entry is None and not place.is_loopback(named.server.host):
            raise click.UsageError(
                f"{visible(named.server.url)} is no sidecar of yours on this machine: do this where it runs, "
                "or name one that runs here with --port."
            )
        return named.entry
    found = place.only_running(os.environ, None if port is None else int(port))
    if found is None and port is None and not place.wanted_port(os.environ)[1]:
        running = runfile.running(place.home(os.environ))
        if len(running) > 1:
            ports = ", ".join(str(entry.port) for entry in running)
            raise click.UsageError(f"Several sidecars run; choose one with --port: {ports}.")
    return found
