"""The machine under a benchmark: a core for the server, one for the client, a real disk, and what processes use of it.

Processor time is summed over a server's process, its descendants and all their threads, in nanoseconds, from the
kernel's own account (``/proc/PID/task/TID/schedstat``): unlike the time on the wall it hardly changes when other work
runs beside. A thread that ends between two readings takes what it used since the first one with it.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from attrs import define, field

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
CLIENT_CORE = _CORES[-1]


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes that are started within run on this core alone, with all that they start."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cache_directory() -> Path:
    """Where peers are installed, once, and where servers have their data: on a disk."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = home / "cco-sidecar-benchmarks"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def disk_directory() -> Iterator[Path]:
    """A directory for a server's data, gone afterwards; in memory it would make fsync a lie.

    Waits until no other benchmark has one: they would share the cores. From here on a SIGTERM ends the servers, too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (cache_directory() / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=cache_directory()) as name:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kind = subprocess.run(["stat", "-f", "-c", "%T", name], capture_output=True, text=True, check=True)
        if kind.stdout.strip() in {"tmpfs", "ramfs"}:
            raise SystemExit(f"{name} is in memory: set XDG_CACHE_HOME to a directory on a disk.")
        yield Path(name)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def resident_bytes(pid: int) -> int:
    """How much memory a process and its descendants have, together."""
    return sum(int(process.memory_info().rss) for process in _family(pid))


def _thread_nanoseconds(pid: int) -> dict[str, int]:
    used = {}
    for process in _family(pid):
        for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # it has just ended
                used[str(path)] = int(path.read_text().split()[0])
    return used


@define(eq=False)
class CPUMeter:
    """What a process and its descendants compute from now on."""

    _pid: int
    _before: dict[str, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._before = _thread_nanoseconds(self._pid)

    def microseconds(self) -> float:
        """How much since this meter was made."""
        now = _thread_nanoseconds(self._pid)
        return sum(used - self._before.get(thread, 0) for thread, used in now.items()) / 1000


def load_average() -> float:
    """How busy the machine was in the last minute; a benchmark itself makes it one or two."""
    return round(os.getloadavg()[0], 2)
