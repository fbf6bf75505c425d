"""Which `claude` started this program: the same one for its MCP server and for each of its hooks.

Claude Code 2.1 starts an MCP server itself and a hook through a shell; a wrapper may stand between in both cases. It
gives both the id of its session, which does not tell what belongs together: ``--continue`` and ``--fork-session`` give
the server another one than the hooks, and ``/clear`` changes it. The process is what stays.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cco_sidecar import runfile

SESSION = "CLAUDE_CODE_SESSION_ID"
_CHILD = "CLAUDECODE"
_NAME = "claude"
_MOST_ANCESTORS = 16


class Process(NamedTuple):
    """A process, named for good: within ``machine``, a boot and a space of pids, no other has both numbers."""

    machine: str
    pid: int
    start_ticks: int

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; only to be asked of one of this machine."""
        return runfile.start_ticks(self.pid) == self.start_ticks and runfile.is_alive(self.pid)


def claude_above(environ: Mapping[str, str], parent: int, proc: Path = runfile.PROC) -> Process | None:
    """Find the `claude` that this program belongs to; None if it was not started by one, or that cannot be known.

    :param environ: of this program.
    :param parent: the pid of this program's parent.
    """
    session = environ.get(SESSION)
    if not session and not environ.get(_CHILD):
        return None
    mark = f"{SESSION}={session}".encode() if session else None
    for pid in _upwards(parent, proc):
        try:
            # What claude starts has the session's id from the beginning; claude itself has none, or that of another
            # claude that started it.
            is_it = mark not in _read(pid, "environ", proc).split(b"\0") if mark else _name(pid, proc) == _NAME
        except OSError:
            return None
        if is_it:
            is_orphan = pid == 1 and _name(pid, proc) != _NAME  # the claude has gone, and init has what it left
            return None if is_orphan else _process(pid, proc)
    return None


def machine(proc: Path = runfile.PROC) -> str:
    """Name this boot and this space of pids.

    :raises OSError: it can't be known.
    """
    boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    space = (proc / "self/ns/pid").readlink().name
    return f"{boot[:8]}.{''.join(filter(str.isdigit, space))}"


def _process(pid: int, proc: Path) -> Process | None:
    fields = runfile.stat_fields(pid, proc)
    try:
        return Process(machine(proc), pid, int(fields[19])) if fields else None
    except OSError:
        return None


def _upwards(pid: int, proc: Path) -> Iterator[int]:
    for _ in range(_MOST_ANCESTORS):
        if pid < 1:
            return
        yield pid
        fields = runfile.stat_fields(pid, proc)
        pid = int(fields[1]) if fields else 0


def _name(pid: int, proc: Path) -> str:
    """Give the name that a process has in `ps`: Claude Code calls itself so, whether it is run by Node.js or not."""
    return _read(pid, "comm", proc).decode(errors="replace").strip()


def _read(pid: int, name: str, proc: Path) -> bytes:
    return (proc / str(pid) / name).read_bytes()
