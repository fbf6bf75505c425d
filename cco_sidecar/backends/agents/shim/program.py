"""Watches over one agent: starts it, keeps its log, ends it with all its descendants, writes down how it ended.

Runs as a process of its own, ``python -I -S program.py AGENT_ID``, and outlives the sidecar that started it. There is
one for each agent, so it imports next to nothing (not even pathlib); its modules are compiled already. It is a
*subreaper*: whatever its agent leaves behind becomes its child, also what left the process group, so when it has no
child left there is no descendant left.

- stdin: the order (`Order`), its length in a line before it; then a line ``go``.
- stdout: ``ready`` once the state file is there; after ``go``, ``started`` and five words (`State.identities`), or
  ``failed STAGE ERRNO``. Without a ``go`` (the sidecar died) nothing is started, and the state file is removed.
- signals: SIGTERM ends the agent, with the seconds of grace that the stop file names; SIGUSR1 ends it at once.
- the state file says which processes these are and, when all is over, how the agent ended.
- the socket beside it says how the agent is.
"""

import _signal as signal  # type: ignore[import-not-found]  # not `signal`: its enums weigh 0.9 MB an agent
import ctypes
import os
import sys

# The package is not where an isolated interpreter looks; at the end, so that nothing is taken for the library's own.
sys.path.append(__file__.rsplit("/", 5)[0])

from cco_sidecar.backends.agents.shim.order import Order
from cco_sidecar.backends.agents.shim.starting import StartError
from cco_sidecar.backends.agents.shim.state import State
from cco_sidecar.backends.agents.shim.watching import CHUNK_BYTES, Shim

PR_SET_CHILD_SUBREAPER = 36
CLAIM_SECONDS = 5.0


def read_order() -> bytes:
    """Read the order from stdin; empty when the sidecar went away."""
    text = b""
    while b"\n" not in text:
        piece = os.read(0, CHUNK_BYTES)
        if not piece:
            return b""
        text += piece
    length, _, text = text.partition(b"\n")
    while len(text) < int(length):
        piece = os.read(0, CHUNK_BYTES)
        if not piece:
            return b""
        text += piece
    return text


def say(line: bytes) -> None:
    """Tell the sidecar, if it is still there."""
    try:
        os.write(1, line + b"\n")
    except OSError:
        return


def stand_alone() -> None:
    """Leave the sidecar's session, descriptors and signals, and become the reaper of all descendants."""
    os.setsid()
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                continue  # that of the listing itself
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def let_go() -> None:
    """Close the pipes to the sidecar."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def start_agent(order: Order, umask: int) -> Shim | None:
    """Start the agent when the sidecar says go; None when it is not to run, or can't."""
    state = State(order.state_path)
    state.claim(CLAIM_SECONDS)
    started = False
    try:
        say(b"ready")
        if os.read(0, 3) != b"go\n":
            return None
        shim = Shim(order, state)
        identities = shim.start(umask)
        started = True
    finally:
        if not started:
            state.remove()
    say(b"started " + identities)
    return shim


def main() -> None:
    """Do one order."""
    umask = os.umask(0o077)
    try:
        stand_alone()
        text = read_order()
        shim = start_agent(Order(text), umask) if text else None
    except StartError as trouble:
        say(b"failed %s %d" % (trouble.args[0].encode(), trouble.args[1]))
        return
    except OSError as error:
        say(b"failed shim %d" % (error.errno or 0))
        return
    let_go()
    if shim is not None:
        shim.run()


if __name__ == "__main__":
    main()
