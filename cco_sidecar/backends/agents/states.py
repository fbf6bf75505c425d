"""What shims wrote down about themselves and their agents; everything here blocks and belongs into a thread."""

import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec

from cco_sidecar.backends.agents import shim
from cco_sidecar.interfaces import Ended, Launched, ProcessIdentity

_FIND_SECONDS = 5.0
_ORPHAN_SECONDS = 10.0


class ShimState(msgspec.Struct, frozen=True):
    """A state file: processes are (pid, started); ``agent`` is None until it runs."""

    boot_id: str
    shim: tuple[int, int]
    agent: tuple[int, int] | None
    exit_code: int | None
    ended_at: float | None
    timed_out: bool
    survivors: int

    @property
    def shim_identity(self) -> ProcessIdentity:
        """The shim that wrote it."""
        return ProcessIdentity(self.boot_id, *self.shim)

    @property
    def launched(self) -> Launched | None:
        """Both processes, once the agent runs."""
        if self.agent is None:
            return None
        return Launched(ProcessIdentity(self.boot_id, *self.agent), self.shim_identity)

    @property
    def ended(self) -> Ended | None:
        """How the agent ended, if that is known."""
        if self.exit_code is None or self.ended_at is None:
            return None
        return Ended(self.exit_code, self.ended_at, self.timed_out)


def read_state(path: Path) -> ShimState | None:
    """Read a state file; None when there is none that says anything."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ShimState)
    except (OSError, msgspec.DecodeError):
        return None


def open_pidfd(identity: ProcessIdentity) -> int | None:
    """Open the process, and no other that got its pid; None when it is gone."""
    if identity.boot_id != shim.boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    found = shim.process(identity.pid)  # the pidfd is open: from here on the pid can't change hands unseen
    if found is not None and found.started == identity.started:
        return pidfd
    os.close(pidfd)
    return None


def _ours(agent_id: str, leader: ProcessIdentity, table: list[shim.Process]) -> list[shim.Process]:
    """Pick what a shim that is gone left behind: its session, what carries the agent's id, and all below these."""
    by_pid = {each.pid: each for each in table}
    holder = by_pid.get(leader.pid)
    same_session = holder is None or holder.started == leader.started  # else the session's number is another's now
    mark = b"AGENT_ID=" + agent_id.encode()
    roots = {
        each.pid
        for each in table
        if each.started >= leader.started
        and ((same_session and each.session == leader.pid) or _carries(each.pid, mark))
    }
    found = {pid: by_pid[pid] for pid in roots} | {each.pid: each for each in shim.below(roots, table)}
    own: int = os.getpid()
    while own in by_pid:  # a sidecar that an agent started must not end itself
        found.pop(own, None)
        own = by_pid[own].parent
    return list(found.values())


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def kill_orphans(agent_id: str, leader: ProcessIdentity) -> int:
    """Kill what a shim that died before its agent left behind; gives how many withstood.

    :param leader: the shim.
    """
    if leader.boot_id != shim.boot_id():
        return 0
    give_up = time.monotonic() + _ORPHAN_SECONDS
    empty_passes = 0
    left: list[shim.Process] = []
    while empty_passes < 2 and time.monotonic() < give_up:
        left = _ours(agent_id, leader, shim.processes())
        empty_passes = 0 if left else empty_passes + 1
        for each in left:
            shim.kill(each)
        time.sleep(0.01)
    return len(left)


def how_it_ended(path: Path, agent_id: str, launched: Launched, now: float) -> tuple[Ended, int]:
    """Tell how an agent ended whose shim is gone, and how many of its processes could not be killed."""
    state = read_state(path)
    if state is not None and state.shim_identity == launched.shim and state.ended is not None:
        return state.ended, state.survivors
    return Ended(None, now), kill_orphans(agent_id, launched.shim)


def find_launched(path: Path, agent_id: str) -> Launched | None:
    """Find an agent whose start was not recorded; None when it was never started, and never will be.

    A shim that lost its sidecar before it was told to go removes its state file and ends.
    """
    give_up = time.monotonic() + _FIND_SECONDS
    while (state := read_state(path)) is not None and state.launched is None:
        pidfd = open_pidfd(state.shim_identity)
        if pidfd is None:
            state = read_state(path)
            break
        late = time.monotonic() > give_up
        if late:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        if late:
            kill_orphans(agent_id, state.shim_identity)
            break
        time.sleep(0.01)
    return None if state is None else state.launched


def remove_stale(directory: Path, older_than: float) -> None:
    """Remove what a crash left over: files of before ``older_than`` (epoch seconds) whose shim is gone."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        state = read_state(path)
        pidfd = None if state is None else open_pidfd(state.shim_identity)
        if pidfd is not None:
            os.close(pidfd)
            continue
        with contextlib.suppress(FileNotFoundError):  # its shim may have removed it just now
            if path.lstat().st_mtime < older_than:
                path.unlink()
