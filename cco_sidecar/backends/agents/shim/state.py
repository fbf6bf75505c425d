# ruff: noqa: PTH103, PTH104, PTH108, PTH120
"""The file that says which processes these are and how it ended."""

import errno
import os
import time

from cco_sidecar.backends.agents.shim import processes
from cco_sidecar.backends.agents.shim.processes import Process

STATE_BYTES = 1_024


class End:
    """How it ended; ``at`` is in seconds since the epoch."""

    __slots__ = ("at", "dropped_lines", "exit_code", "survivors", "timed_out")

    def __init__(self, exit_code: int | None, at: float | None, *, timed_out: bool, survivors: int, dropped_lines: int):
        self.exit_code = exit_code
        self.at = at
        self.timed_out = timed_out
        self.survivors = survivors
        self.dropped_lines = dropped_lines


NOT_YET = End(None, None, timed_out=False, survivors=0, dropped_lines=0)


class State:
    """One object of JSON, always of the same length; that it is there is the lock on the agent's id."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        me = processes.find(os.getpid())
        assert me is not None
        self.shim = me
        self.boot = processes.boot_id()
        self.cgroup = b""

    def claim(self, patience_seconds: float) -> None:
        """Make the file; raises FileExistsError when another shim has, or had, this agent.

        One that has started nothing yet may be about to give up, for its sidecar died: that is waited for.
        """
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        give_up = time.monotonic() + patience_seconds
        while True:
            try:
                return self._store(self._path, os.O_EXCL, self.text(None))
            except FileExistsError:
                if time.monotonic() > give_up or not self._may_be_removed():
                    raise
                time.sleep(0.02)

    def _may_be_removed(self) -> bool:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return True
        try:
            return b'"agent": null' in os.read(fd, STATE_BYTES)
        finally:
            os.close(fd)

    def write(self, agent: Process, end: End = NOT_YET) -> None:
        """Replace the file; on a full disk, write over it: its block is ours already."""
        text = self.text(agent, end)
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

    def text(self, agent: Process | None, end: End = NOT_YET) -> bytes:
        """Give the JSON."""

        def json(value: object) -> str:
            return "null" if value is None else str(value).lower()

        process_of_agent = None if agent is None else [agent.pid, agent.started]
        text = (
            f'{{"boot_id": "{self.boot}", "shim": [{self.shim.pid}, {self.shim.started}], '
            f'"agent": {json(process_of_agent)}, "exit_code": {json(end.exit_code)}, "ended_at": {json(end.at)}, '
            f'"timed_out": {json(end.timed_out)}, "survivors": {end.survivors}, "dropped_lines": {end.dropped_lines}, '
            f'"cgroup": "{os.fsdecode(self.cgroup)}"}}'
        )
        return os.fsencode(text).ljust(STATE_BYTES - 1) + b"\n"

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


def remove(path: bytes) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except OSError:
        return
