# ruff: noqa: PTH103, PTH104, PTH108, PTH120
"""Watches over one agent: starts it, keeps its log, ends it with all its descendants, writes down how it ended.

Runs as a process of its own, ``python -I -S shim.py AGENT_ID``, and outlives the sidecar that started it. There is one
for each agent, so it imports next to nothing (not even pathlib). It is a *subreaper*: whatever its agent leaves behind
becomes its child, also what left the process group, so when it has no child left there is no descendant left.

- stdin: the order (`Order`), its length in a line before it; then a line ``go``.
- stdout: ``ready`` once the state file is there; after ``go``, ``started`` and five words (`identities`), or
  ``failed STAGE ERRNO``. Without a ``go`` (the sidecar died) nothing is started, and the state file is removed.
- signals: SIGTERM ends the agent, with the seconds of grace that the stop file names; SIGUSR1 ends it at once.
- the state file says which processes these are and, when all is over, how the agent ended.
"""

import _signal as signal  # type: ignore[import-not-found]  # not `signal`: its enums weigh 0.9 MB an agent
import ctypes
import errno
import os
import select
import time

LOG_BYTES = 10_000_000
LOG_FILES = 5
GRACE_SECONDS = 30.0
TIMEOUT_GRACE_SECONDS = 10.0
SWEEP_SECONDS = 10.0
CHUNK_BYTES = 65_536
STATE_BYTES = 512
PR_SET_CHILD_SUBREAPER = 36


class Process:
    """A line of the process table; ``started`` is in clock ticks since boot."""

    __slots__ = ("group", "parent", "pid", "session", "started", "state")

    def __init__(self, pid: int, stat: bytes) -> None:
        fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
        self.pid = pid
        self.state = fields[0]
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.started = int(fields[19])


def process(pid: int) -> Process | None:
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


def processes() -> "list[Process]":
    """List all processes that are alive (a zombie is not)."""
    found = [process(int(name)) for name in os.listdir("/proc") if name.isdigit()]
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
    try:
        fd = os.pidfd_open(victim.pid)
    except OSError:
        return
    try:
        now = process(victim.pid)
        if now is None or now.started != victim.started:
            return
        if now.group != os.getpgrp():
            os.killpg(now.group, signal.SIGKILL)  # in one stroke: a group that forks fast can't run away from it
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except OSError:
        return  # gone, or of another user: then it is counted as a survivor
    finally:
        os.close(fd)


def remove(path: bytes) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except OSError:
        return


def boot_id() -> str:
    """Name this boot of the machine: pids and start times mean nothing across boots."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read().strip()


class Order:
    """What to start and where to keep its files: NUL-separated, as `encode_order` writes it."""

    def __init__(self, text: bytes) -> None:
        fields = text.split(b"\0")
        self.state_path, self.stop_path, self.log_path, self.directory = fields[:4]
        self.timeout_seconds = float(fields[4])
        end = 6 + int(fields[5])
        self.command = fields[6:end]
        self.environment = dict(field.split(b"=", 1) for field in fields[end:])


def encode_order(
    paths: "list[bytes]", timeout_seconds: float, command: "list[bytes]", environment: "list[bytes]"
) -> bytes:
    """Write an order.

    :param paths: of the state, stop and log file, and the directory.
    :param environment: has ``NAME=VALUE``.

    :raises ValueError: there is a NUL in it.
    """
    numbers = [repr(float(timeout_seconds)).encode(), b"%d" % len(command)]
    fields = [*paths, *numbers, *command, *environment]
    if any(b"\0" in field for field in fields):
        raise ValueError("embedded null byte")
    return b"\0".join(fields)


class Log:
    """The agent's output on disk: rotated, and dropped rather than waited for when the disk takes none."""

    def __init__(self, path: bytes, most_bytes: int = LOG_BYTES, files: int = LOG_FILES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._files = files
        self._fd = -1
        self._size = 0
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Append; a new file begins with a new line where there is one."""
        if self._size >= self._most_bytes:
            cut = data.find(b"\n") + 1
            self._put(data[:cut])
            self._rotate()
            data = data[cut:]
        self._put(data)

    def _put(self, data: bytes) -> None:
        try:
            if self._fd < 0:
                self._open()
            if self._dropped:
                notice = b"\n[%d bytes of output were dropped: the disk took none]\n" % self._dropped
                self._size += os.write(self._fd, notice)
                self._dropped = 0
            written = os.write(self._fd, data)
        except OSError:
            self._close()
            written = 0
        self._size += written
        self._dropped += len(data) - written

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        # O_NONBLOCK: whoever puts a FIFO there must not stop us.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _rotate(self) -> None:
        self._close()
        for number in range(self._files - 1, 0, -1):
            older = self._path + b".%d" % number
            newer = self._path + b".%d" % (number - 1) if number > 1 else self._path
            try:
                os.rename(newer, older)
            except OSError:
                continue
        self._size = 0


class State:
    """The file that says which processes these are and how it ended; one object of JSON."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        me = process(os.getpid())
        assert me is not None
        self.shim = me
        self.boot = boot_id()

    def claim(self) -> None:
        """Make the file; raises FileExistsError when another shim has, or had, this agent."""
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        self._store(self._path, os.O_EXCL, self._text(None, None, None, False, 0))

    def write(
        self,
        agent: Process,
        exit_code: int | None = None,
        ended_at: float | None = None,
        timed_out: bool = False,
        survivors: int = 0,
    ) -> None:
        """Replace the file; on a full disk, write over it: its block is ours already."""
        text = self._text(agent, exit_code, ended_at, timed_out, survivors)
        fresh = self._path + b".new"
        try:
            self._store(fresh, os.O_TRUNC, text)
            os.rename(fresh, self._path)
        except OSError:
            self._overwrite(text)

    def remove(self) -> None:
        """Take the file back: nothing was started."""
        remove(self._path)

    def identities(self, agent: Process) -> bytes:
        """Agent's pid and start, the shim's pid and start, boot."""
        numbers = (agent.pid, agent.started, self.shim.pid, self.shim.started)
        return (" ".join(map(str, numbers)) + " " + self.boot).encode()

    def _text(
        self, agent: Process | None, exit_code: int | None, ended_at: float | None, timed_out: bool, survivors: int
    ) -> bytes:
        def json(value: object) -> str:
            return "null" if value is None else str(value).lower()

        process_of_agent = None if agent is None else [agent.pid, agent.started]
        text = (
            f'{{"boot_id": "{self.boot}", "shim": [{self.shim.pid}, {self.shim.started}], '
            f'"agent": {json(process_of_agent)}, "exit_code": {json(exit_code)}, "ended_at": {json(ended_at)}, '
            f'"timed_out": {json(timed_out)}, "survivors": {survivors}}}'
        )
        return text.encode().ljust(STATE_BYTES - 1) + b"\n"

    def _store(self, path: bytes, flags: int, text: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)
        try:
            if os.write(fd, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def _overwrite(self, text: bytes) -> None:
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
        except OSError:
            return  # then the exit code is lost, and the sidecar will say so
        try:
            os.pwrite(fd, text, 0)
        except OSError:
            return
        finally:
            os.close(fd)


class StartError(Exception):
    """The agent's program does not run: ``args`` are the stage that failed and its errno."""


def start(order: Order, umask: int, output: int) -> int:
    """Start the agent in a process group of its own and give its pid once its program runs."""
    reader, writer = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        become_agent(order, umask, output, writer)
    os.close(writer)
    trouble = os.read(reader, 100)
    os.close(reader)
    if trouble:
        os.waitpid(pid, 0)
        stage, number = trouble.decode().split()
        raise StartError(stage, int(number))
    return pid


def become_agent(order: Order, umask: int, output: int, trouble: int) -> None:
    """Turn this forked process into the agent's program; does not return."""
    stage = b"process"
    try:
        os.setpgid(0, 0)
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
        stage = b"program"
        os.execvpe(order.command[0], order.command, order.environment)
    except OSError as error:
        os.write(trouble, b"%s %d" % (stage, error.errno or 0))
    finally:
        os._exit(127)


class Shim:
    """Watches one agent to its end, and over it."""

    def __init__(self, order: Order, state: State) -> None:
        self._order = order
        self._state = state
        self._log = Log(order.log_path)
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._output, self._input = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)
        self._stop_asked = False
        self._kill_asked = False
        self._kill_at: float | None = None
        self._timed_out = False
        self._exit_code: int | None = None

    def start(self, umask: int) -> bytes:
        """Start the agent and give the identities of both; raises StartError."""
        pid = start(self._order, umask, self._input)
        os.close(self._input)
        self._timeout_at = time.monotonic() + self._order.timeout_seconds
        agent = process(pid)  # at least a zombie: nobody but us can reap it
        assert agent is not None
        self._agent = agent
        self._state.write(agent)
        del self._order.environment  # it holds the agent's token
        return self._state.identities(agent)

    def run(self) -> None:
        """Return when the agent and all its descendants are gone and the state file says how it ended."""
        survivors = 0
        try:
            self._watch()
        finally:
            survivors = self._sweep()
            self._copy_rest()
            self._state.write(self._agent, self._exit_code, time.time(), self._timed_out, survivors)
            remove(self._order.stop_path)

    def _note(self, number: int, _frame: object) -> None:
        self._stop_asked = self._stop_asked or number == signal.SIGTERM
        self._kill_asked = self._kill_asked or number == signal.SIGUSR1

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._output, select.POLLIN)
        while not self._over():
            for fd, _event in poll.poll(self._patience()):
                if fd == self._wake:
                    self._drain_wake()
                elif self._copy() == 0:
                    poll.unregister(fd)
            self._obey()
            if self._kill_asked:
                return

    def _over(self) -> bool:
        """Say whether the agent ended; orphans that ended are reaped by the way."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if self._exit_code is None and os.waitid(os.P_PID, self._agent.pid, flags):
            self._signal_group(signal.SIGKILL)  # before we reap it: until then its group's number is surely its own
        self._reap()
        return self._exit_code is not None

    def _patience(self) -> float:
        at = self._timeout_at if self._kill_at is None else self._kill_at
        return float(max(0.0, min(at - time.monotonic(), 86_400.0)) * 1000 + 1)

    def _obey(self) -> None:
        now = time.monotonic()
        if self._stop_asked:
            self._stop_asked = False
            self._terminate(now + self._grace())
        elif self._kill_at is None and now >= self._timeout_at:
            self._timed_out = True
            self._terminate(now + TIMEOUT_GRACE_SECONDS)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_asked = True

    def _terminate(self, kill_at: float) -> None:
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)
        self._signal_group(signal.SIGTERM)
        self._signal_group(signal.SIGCONT)  # a stopped process does not see a SIGTERM

    def _signal_group(self, number: int) -> None:
        """Signal the group that the agent, not yet reaped, is in now."""
        try:
            group = os.getpgid(self._agent.pid)
            if group == os.getpgrp():
                os.kill(self._agent.pid, number)
            else:
                os.killpg(group, number)
        except OSError:
            return  # all of them ended

    def _grace(self) -> float:
        try:
            fd = os.open(self._order.stop_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return GRACE_SECONDS
        try:
            return float(os.read(fd, 100))
        except (OSError, ValueError):
            return GRACE_SECONDS
        finally:
            os.close(fd)

    def _reap(self) -> bool:
        """Reap all that ended; False when no child, hence no descendant, is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._agent.pid:
                self._exit_code = os.waitstatus_to_exitcode(status)

    def _sweep(self) -> int:
        """Kill until nobody is left; gives how many could not be killed."""
        if self._exit_code is None:
            self._signal_group(signal.SIGKILL)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        pause = 1
        give_up = time.monotonic() + SWEEP_SECONDS
        while self._reap():
            left = below({os.getpid()}, processes())
            if time.monotonic() > give_up:
                return len(left)
            for each in left:
                kill(each)
            poll.poll(pause)
            self._drain_wake()
            pause = min(2 * pause, 50)
        return 0

    def _copy(self) -> int:
        """Copy a piece of output to the log and give its length: 0 at the end, -1 when there is none at the moment."""
        try:
            data = os.read(self._output, CHUNK_BYTES)
        except BlockingIOError:
            return -1
        if data:
            self._log.write(data)
        return len(data)

    def _copy_rest(self) -> None:
        """Copy what the pipe holds; bounded, for a survivor could write for ever."""
        for _ in range(64):
            if self._copy() <= 0:
                return

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake, CHUNK_BYTES)
        except BlockingIOError:
            return


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
    state.claim()
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
