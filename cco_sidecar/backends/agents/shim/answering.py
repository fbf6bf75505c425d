"""The UNIX socket of a shim: who connects is told how the agent is, in one line of JSON."""

import _socket as socket  # not `socket`: its enums weigh as much as all else here
import os
import resource

from cco_sidecar.backends.agents.shim import processes
from cco_sidecar.backends.agents.shim.state import remove

MOST_WAITING = 4


class Listener:
    """Answers on ``<agent id>.sock`` beside the state file; an agent is watched without it, too."""

    def __init__(self, state_path: bytes) -> None:
        self.path = os.path.splitext(state_path)[0] + b".sock"  # noqa: PTH122
        self._socket: socket.socket | None = None

    def open(self) -> int:
        """Listen, and give the descriptor; -1 if that cannot be."""
        directory, name = os.path.split(self.path)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            os.chdir(directory)  # a path has no more than 107 bytes here, a name always fits
            remove(name)
            made.bind(name)
            made.listen(MOST_WAITING)
        except OSError:
            made.close()
            return -1
        finally:
            os.chdir("/")
        self._socket = made
        return made.fileno()

    def answer(self, text: bytes) -> None:
        """Tell one who connected, and hang up; who does not read is told nothing."""
        assert self._socket is not None
        try:
            descriptor, _ = self._socket._accept()  # type: ignore[attr-defined]  # typeshed does not know it
        except OSError:
            return
        try:
            os.set_blocking(descriptor, False)
            os.write(descriptor, text)
        except OSError:
            return
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Answer nobody any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            remove(self.path)


def usage() -> "tuple[float, int]":
    """Give the processor time of all our descendants, dead ones, too, in seconds, and how many live."""
    dead = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = processes.below({os.getpid()}, processes.alive())
    ticks = sum(each.ticks for each in living)
    return dead.ru_utime + dead.ru_stime + ticks / os.sysconf("SC_CLK_TCK"), len(living)
