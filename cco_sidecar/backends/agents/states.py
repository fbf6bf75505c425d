"""What shims wrote down about themselves and their agents; everything here blocks and belongs into a thread."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import msgspec

from cco_sidecar.backends.agents.shim import cgroup, processes
from cco_sidecar.interfaces import Ended, Launched, Look, ProcessIdentity

_FIND_SECONDS = 5.0
_ORPHAN_SECONDS = 10.0
_HOLD_SECONDS = 8.0
_LOOK_SECONDS = 2.0
_MOST_LOOK_BYTES = 4_096


class ShimState(msgspec.Struct, frozen=True):
    """A state file: processes are (pid, started); ``agent`` is None until it runs."""

    boot_id: str
    shim: tuple[int, int]
    agent: tuple[int, int] | None
    exit_code: int | None
    ended_at: float | None
    timed_out: bool
    survivors: int
    dropped_lines: int = 0
    cgroup: str = ""

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
    if identity.boot_id != processes.boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    found = processes.find(identity.pid)  # the pidfd is open: from here on the pid can't change hands unseen
    if found is not None and found.started == identity.started:
        return pidfd
    os.close(pidfd)
    return None


def _ours(
    agent_id: str, leader: ProcessIdentity, table: list[processes.Process], carriers: dict[tuple[int, int], bool]
) -> list[processes.Process]:
    """Pick what a shim that is gone left behind: its session, what carries the agent's id, and all below these.

    :param carriers: remembers from one time to the next who carries it: each look costs, and the sweep must be quick.
    """
    by_pid = {each.pid: each for each in table}
    holder = by_pid.get(leader.pid)
    same_session = holder is None or holder.started == leader.started  # else the session's number is another's now
    mark = b"AGENT_ID=" + agent_id.encode()
    roots = {
        each.pid
        for each in table
        if each.started >= leader.started
        and ((same_session and each.session == leader.pid) or _carries(each, mark, carriers))
    }
    found = {pid: by_pid[pid] for pid in roots} | {each.pid: each for each in processes.below(roots, table)}
    own: int = os.getpid()
    while own in by_pid:  # a sidecar that an agent started must not end itself
        found.pop(own, None)
        own = by_pid[own].parent
    return list(found.values())


def _carries(each: processes.Process, mark: bytes, carriers: dict[tuple[int, int], bool]) -> bool:
    identity = (each.pid, each.started)
    if identity not in carriers:
        try:
            environment = Path(f"/proc/{each.pid}/environ").read_bytes()
        except OSError:
            return False
        if not environment:
            return False  # perhaps not yet: it may be about to run another program
        carriers[identity] = mark in environment.split(b"\0")
    return carriers[identity]


def kill_orphans(agent_id: str, leader: ProcessIdentity, group: str = "") -> int:
    """Kill what a shim that died before its agent left behind; gives how many withstood.

    Without a control group they are stopped first, as in the shim's own sweep.

    :param leader: the shim.
    :param group: directory of the agent's control group; empty if it has none.
    """
    if leader.boot_id != processes.boot_id():
        return 0
    began = time.monotonic()
    empty_passes = 0
    held: set[tuple[int, int]] = set()
    left: list[processes.Process] = []
    carriers: dict[tuple[int, int], bool] = {}
    while empty_passes < 2 and time.monotonic() < began + _ORPHAN_SECONDS:
        in_one_stroke = bool(group) and cgroup.kill(os.fsencode(group))
        left = _ours(agent_id, leader, processes.alive(), carriers)
        empty_passes = 0 if left else empty_passes + 1
        new = [each for each in left if (each.pid, each.started) not in held]
        if new and not in_one_stroke and time.monotonic() < began + _HOLD_SECONDS:
            held.update((each.pid, each.started) for each in new)
            for each in new:
                processes.hold(each)
            continue
        for each in left:
            processes.kill(each)
        time.sleep(0.01)
    if group:
        cgroup.remove(os.fsencode(group))
    return len(left)


def how_it_ended(path: Path, agent_id: str, launched: Launched, now: float) -> tuple[Ended, int]:
    """Tell how an agent ended whose shim is gone, and how many of its processes could not be killed."""
    state = read_state(path)
    if state is None or state.shim_identity != launched.shim:
        return Ended(None, now), kill_orphans(agent_id, launched.shim)
    if state.ended is not None:
        return state.ended, state.survivors
    return Ended(None, now), kill_orphans(agent_id, launched.shim, state.cgroup)


def find_launched(path: Path, agent_id: str) -> Launched | None:
    """Find an agent whose start was not recorded; None when it was never started, and never will be.

    A shim that lost its sidecar before it was told to go removes its state file and ends. Of one that did not come so
    far nobody knows what it started: then it stands for its agent, too, and who follows it finds the agent lost.
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
            kill_orphans(agent_id, state.shim_identity, state.cgroup)
            break
        time.sleep(0.01)
    if state is None:
        return None
    return state.launched or Launched(state.shim_identity, state.shim_identity)


def look(path: Path) -> Look | None:
    """Ask a shim how its agent is; None when it does not say.

    :param path: of its socket.
    """
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(_LOOK_SECONDS)
            peer.connect(f"/proc/self/fd/{directory}/{path.name}")  # the whole path may be too long for a socket
            return msgspec.json.decode(_all_of(peer), type=Look)
    except (OSError, msgspec.DecodeError):
        return None
    finally:
        os.close(directory)


def _all_of(peer: socket.socket) -> bytes:
    text = b""
    while len(text) < _MOST_LOOK_BYTES and (piece := peer.recv(_MOST_LOOK_BYTES)):
        text += piece
    return text


def remove_notes(path: Path) -> None:
    """Remove a state file and what lies beside it."""
    for suffix in (".stop", ".sock", ".json"):
        path.with_name(path.name.removesuffix(".json") + suffix).unlink(missing_ok=True)


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
