"""The watch over one agent, to its end and over it."""

import _signal as signal  # type: ignore[import-not-found]  # see processes.py
import os
import select
import time

from cco_sidecar.backends.agents.shim import cgroup, processes
from cco_sidecar.backends.agents.shim.answering import Listener, usage
from cco_sidecar.backends.agents.shim.log import Log
from cco_sidecar.backends.agents.shim.order import Order
from cco_sidecar.backends.agents.shim.starting import StartError, start
from cco_sidecar.backends.agents.shim.state import End, State, remove

GRACE_SECONDS = 30.0
TIMEOUT_GRACE_SECONDS = 10.0
SWEEP_SECONDS = 10.0
HOLD_SECONDS = 8.0
"""Of the sweep's: to kill before all are held would only make room for more."""
CHUNK_BYTES = 65_536


class Shim:
    """Watches one agent to its end, and over it."""

    def __init__(self, order: Order, state: State) -> None:
        self._order = order
        self._state = state
        self._log = Log(order.log_path)
        self._listener = Listener(order.state_path)
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
        name = b"cco-%d-%d" % (self._state.shim.pid, self._state.shim.started)
        self._state.cgroup = self._group = cgroup.make(self._order.cgroup, name)
        try:
            pid = start(self._order, umask, self._input, self._group)
        except StartError:
            cgroup.remove(self._group)
            raise
        if self._group and cgroup.is_empty(self._group):  # it could not enter, or has ended already
            cgroup.remove(self._group)
            self._state.cgroup = self._group = b""
        os.close(self._input)
        self._timeout_at = time.monotonic() + self._order.timeout_seconds
        agent = processes.find(pid)  # at least a zombie: nobody but us can reap it
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
            self._listener.close()
            survivors = self._sweep()
            self._copy_rest()
            end = End(
                self._exit_code,
                time.time(),
                timed_out=self._timed_out,
                survivors=survivors,
                dropped_lines=self._log.dropped_lines,
            )
            self._state.write(self._agent, end)
            remove(self._order.stop_path)

    def _note(self, number: int, _frame: object) -> None:
        self._stop_asked = self._stop_asked or number == signal.SIGTERM
        self._kill_asked = self._kill_asked or number == signal.SIGUSR1

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._output, select.POLLIN)
        door = self._listener.open()
        if door >= 0:
            poll.register(door, select.POLLIN)
        while not self._over():
            for fd, _event in poll.poll(self._patience()):
                if fd == self._wake:
                    self._drain_wake()
                elif fd == door:
                    self._listener.answer(self._facts())
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

    def _facts(self) -> bytes:
        """Tell how the agent is, in a line of JSON."""
        seconds, living = usage()
        log = self._log
        return (
            f'{{"agent": [{self._agent.pid}, {self._agent.started}], "cpu_seconds": {seconds:.2f}, '
            f'"processes": {living}, "output_bytes": {log.written_bytes + log.dropped_bytes}, '
            f'"dropped_bytes": {log.dropped_bytes}, "dropped_lines": {log.dropped_lines}}}\n'
        ).encode()

    def _obey(self) -> None:
        if self._kill_asked:
            return
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
        """Kill until nobody is left; gives how many could not be killed.

        Without a control group those found are stopped first, again and again until nobody new is found: who is stopped
        forks no more, and still takes the place that its sibling would fork into. Then all are killed.
        """
        if self._exit_code is None:
            self._signal_group(signal.SIGKILL)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        pause = 1
        held: set[tuple[int, int]] = set()
        began = time.monotonic()
        while self._reap():
            in_one_stroke = bool(self._group) and cgroup.kill(self._group)
            left = processes.below({os.getpid()}, processes.alive())
            now = time.monotonic()
            if now > began + SWEEP_SECONDS:
                return len(left)
            new = [each for each in left if (each.pid, each.started) not in held]
            if new and not in_one_stroke and now < began + HOLD_SECONDS:
                held.update((each.pid, each.started) for each in new)
                for each in new:
                    processes.hold(each)
                continue
            for each in left:
                processes.kill(each)
            poll.poll(pause)
            self._drain_wake()
            pause = min(2 * pause, 50)
        cgroup.remove(self._group)
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
