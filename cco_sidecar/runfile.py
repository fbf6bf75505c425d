"""Run files: ``<home>/run/<port as given>.json`` says that a sidecar runs, and how to reach it.

Read by `cco` at every start, so this imports nothing heavy.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_CLOCK_SLACK_SECONDS = 60.0


class RunFile(NamedTuple):
    """One running sidecar; ``url`` has no path and no slash at its end, ``port`` is the one it listens on."""

    url: str
    port: int
    pid: int
    storage: str
    admin_token_file: str


def path_of(home: Path, port_as_given: int) -> Path:
    """Give the run file's path; ``port_as_given`` is 0 for a sidecar that took any free port."""
    return home / "run" / f"{port_as_given}.json"


def write(home: Path, port_as_given: int, entry: RunFile) -> Path:
    """Write the run file (0600, whole or not at all) and give its path.

    :raises OSError: the home cannot be written.
    """
    target = path_of(home, port_as_given)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(target, entry._asdict())
    return target


def replace(target: Path, content: Mapping[str, object]) -> None:
    """Write JSON that only its owner can read (0600), whole or not at all; it may be lost with the machine's power.

    :raises OSError: the directory cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        json.dump(content, opened)
    temporary.replace(target)


def read(file: Path) -> RunFile | None:
    """Give what the file says, or None if it is missing or is no run file."""
    try:
        found = json.loads(file.read_bytes())
        entry = RunFile(**{name: found[name] for name in RunFile._fields})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    numbers = isinstance(entry.port, int) and isinstance(entry.pid, int) and entry.pid > 0
    texts = isinstance(entry.url, str) and isinstance(entry.admin_token_file, str)
    return entry if numbers and texts else None


def remove(home: Path, port_as_given: int, pid: int) -> None:
    """Remove the run file if it is still that of process ``pid``: a successor's stays."""
    file = path_of(home, port_as_given)
    entry = read(file)
    if entry is not None and entry.pid == pid:
        with contextlib.suppress(OSError):
            file.unlink()


def running(home: Path) -> list[RunFile]:
    """Give the sidecars that run, by their port."""
    files = (home / "run").glob("*.json")
    return sorted((entry for file in files if (entry := _live(file))), key=lambda entry: entry.port)


def running_on(home: Path, port: int) -> RunFile | None:
    """Give the sidecar that runs on ``port``, as it was given or as it was found free."""
    named = _live(path_of(home, port))
    return named or next((entry for entry in running(home) if entry.port == port), None)


def port_as_given(home: Path, entry: RunFile) -> int:
    """Give the port that the sidecar was told to take: 0, or the one that it took."""
    files = (path_of(home, port) for port in (entry.port, 0))
    return next((int(file.stem) for file in files if read(file) == entry), entry.port)


def _live(file: Path) -> RunFile | None:
    """A pid may have been given to another process since: that one started after the file was written."""
    entry = read(file)
    if entry is None or not is_alive(entry.pid):
        return None
    started = started_at(entry.pid)
    try:
        written = file.stat().st_mtime
    except OSError:
        return None
    return entry if started is None or started <= written + _CLOCK_SLACK_SECONDS else None


def is_alive(pid: int) -> bool:
    """Say whether there is such a process; one that ended and was not yet waited for (a zombie) is not alive."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    fields = stat_fields(pid)
    return fields is None or fields[0] not in {"Z", "X"}


def start_ticks(pid: int) -> int | None:
    """Give when the process started, in clock ticks since boot: with the pid it names a process for good."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def started_at(pid: int) -> float | None:
    """Give when the process started in seconds since the epoch, or None where that cannot be known."""
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def command_line(pid: int) -> list[str]:
    """Give the process's arguments; an empty list where they cannot be read."""
    try:
        return [os.fsdecode(it) for it in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def is_sidecar(pid: int) -> bool:
    """Say whether the process, by its arguments, is a sidecar (`cco orchestration-server` or `twistd cco-sidecar`)."""
    arguments = command_line(pid)
    return "orchestration-server" in arguments or "cco-sidecar" in arguments


def stat_fields(pid: int, proc: Path = PROC) -> list[str] | None:
    """Give ``/proc/PID/stat`` from its third field (the state) on; the second may hold blanks and brackets."""
    try:
        return (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
