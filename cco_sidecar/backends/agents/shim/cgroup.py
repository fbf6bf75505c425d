# ruff: noqa: PTH102, PTH106
"""A control group (version 2) for one agent: what is in it can't leave it, and is killed in one stroke."""

import os
import time

MOST_NAME_BYTES = 400
"""A longer path does not fit into the state file."""


def make(parent: bytes, name: bytes) -> bytes:
    """Make a group, and give its directory; empty if none can be had: then ends are made by sweeping alone."""
    if not parent or len(parent) > MOST_NAME_BYTES or any(byte < 33 or byte in b'"\\' for byte in parent):
        return b""
    group = parent + b"/" + name
    try:
        os.mkdir(group)
    except OSError:
        return b""
    if os.path.exists(group + b"/cgroup.kill") and os.access(group + b"/cgroup.procs", os.W_OK):  # noqa: PTH110
        return group
    remove(group)
    return b""


def enter(group: bytes) -> None:
    """Move this process into it; outside of it, it is ended by sweeping."""
    try:
        _write(group + b"/cgroup.procs", b"0")
    except OSError:
        return


def is_empty(group: bytes) -> bool:
    """Say whether nobody is in it, or it can't be told."""
    try:
        fd = os.open(group + b"/cgroup.procs", os.O_RDONLY)
    except OSError:
        return True
    try:
        return not os.read(fd, 1)
    except OSError:
        return True
    finally:
        os.close(fd)


def kill(group: bytes) -> bool:
    """SIGKILL all that is in it, also what forks faster than anybody can look; False if there is no such group."""
    try:
        _write(group + b"/cgroup.kill", b"1")
    except OSError:
        return False
    return True


def remove(group: bytes) -> None:
    """Remove it; in vain while a process is in it."""
    for _ in range(50):
        try:
            os.rmdir(group)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.002)  # the dead leave it a moment after they were reaped
        else:
            return


def _write(path: bytes, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
