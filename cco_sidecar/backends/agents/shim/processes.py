"""The process table: who is below whom, and how to end a process without ever ending another."""

import _signal as signal  # type: ignore[import-not-found]  # not `signal`: its enums weigh 0.9 MB an agent
import os


class Process:
    """A line of the process table; ``started`` is in clock ticks since boot, ``ticks`` what it and its dead used."""

    __slots__ = ("group", "parent", "pid", "session", "started", "state", "ticks")

    def __init__(self, pid: int, stat: bytes) -> None:
        fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
        self.pid = pid
        self.state = fields[0]
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.ticks = sum(map(int, fields[11:15]))
        self.started = int(fields[19])


def find(pid: int) -> Process | None:
    """Look a process up; None when there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        return Process(pid, os.read(fd, 4096))
    except (OSError, ValueError):
        return None  # it went away while we looked
    finally:
        os.close(fd)


def alive() -> "list[Process]":
    """List all processes that are alive (a zombie is not)."""
    found = [find(int(name)) for name in os.listdir("/proc") if name.isdigit()]
    return [each for each in found if each is not None and each.state not in {b"Z", b"X"}]


def below(roots: "set[int]", table: "list[Process]") -> "list[Process]":
    """Pick the descendants of ``roots`` out of a process table, parents first."""
    children: dict[int, list[Process]] = {}
    for each in table:
        children.setdefault(each.parent, []).append(each)
    found: list[Process] = []
    waiting = list(roots)
    while waiting:
        for child in children.pop(waiting.pop(), ()):
            found.append(child)
            waiting.append(child.pid)
    return found


def kill(victim: Process) -> None:
    """SIGKILL a process and its group, if it is still that process; our own group is spared."""
    _send(victim, signal.SIGKILL)


def hold(victim: Process) -> None:
    """Stop a process and its group, if it is still that process, so that it can't fork any more."""
    _send(victim, signal.SIGSTOP)


def _send(victim: Process, number: int) -> None:
    try:
        fd = os.pidfd_open(victim.pid)
    except OSError:
        return
    try:
        now = find(victim.pid)
        if now is None or now.started != victim.started:
            return
        if now.group != os.getpgrp():
            os.killpg(now.group, number)  # in one stroke: a group that forks fast can't run away from it
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return  # gone, or of another user: then it is counted as a survivor
    finally:
        os.close(fd)


def boot_id() -> str:
    """Name this boot of the machine: pids and start times mean nothing across boots."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read().strip()
