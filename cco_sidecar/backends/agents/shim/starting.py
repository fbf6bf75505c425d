"""The start of the agent's program: in a group of its own, with limits, and nothing of its supervisor's."""

import _signal as signal  # type: ignore[import-not-found]  # see processes.py
import errno
import os
import resource

from cco_sidecar.backends.agents.shim import cgroup
from cco_sidecar.backends.agents.shim.order import Order


class StartError(Exception):
    """The agent's program does not run: ``args`` are the stage that failed and its errno."""


def start(order: Order, umask: int, output: int, group: bytes) -> int:
    """Start the agent in a process group of its own and give its pid once its program runs."""
    reader, writer = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        _become_agent(order, umask, output, writer, group)
    os.close(writer)
    trouble = os.read(reader, 100)
    os.close(reader)
    if trouble:
        os.waitpid(pid, 0)
        stage, number = trouble.decode().split()
        raise StartError(stage, int(number))
    return pid


def _become_agent(order: Order, umask: int, output: int, trouble: int, group: bytes) -> None:
    """Turn this forked process into the agent's program; does not return."""
    stage = b"process"
    try:
        os.setpgid(0, 0)
        if group:
            cgroup.enter(group)
        os.umask(umask)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number in range(1, signal.NSIG):
            if signal.getsignal(number) == signal.SIG_IGN:  # else the agent would ignore it, too
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        stage = b"directory"
        os.chdir(order.directory)
        stage = b"limit"
        for kind, soft, hard in order.limits:
            _bound(kind, soft, hard)
        stage = b"program"
        os.execvpe(order.command[0], order.command, order.environment)
    except (OSError, ValueError) as error:  # a limit that is none is a ValueError
        os.write(trouble, b"%s %d" % (stage, getattr(error, "errno", None) or errno.EINVAL))
    finally:
        os._exit(127)


def _bound(kind: int, soft: int, hard: int) -> None:
    """Set a limit; never above what is the highest here already."""
    most = resource.getrlimit(kind)[1]
    if hard < 0:
        hard = most
    elif most != resource.RLIM_INFINITY:
        hard = min(hard, most)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(kind, (soft, hard))
