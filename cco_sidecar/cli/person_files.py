"""What is kept of the agents that people's own `claude` are: ``<home>/run/persons``, private, never in a repository.

A file for each `claude` that runs, with its token; ``sessions.json`` says which agent a session was, without any token,
for ``claude --resume``. Read by every hook, so this imports nothing heavy.
"""

import binascii
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cco_sidecar import runfile
from cco_sidecar.cli.claude_process import Process

MOST_SESSIONS = 256
UNUSED_SECONDS = 86_400.0
"""So long after its last change a file goes of which nobody can say whether its `claude` still runs."""

_FILES = "*.*.*.json"
_LEFT_OVER = ".*.json.*"
_WAIT_STEP_SECONDS = 0.01


class Kept(NamedTuple):
    """What is known of one `claude`.

    :param project_id: None is the sidecar's default.
    :param session_id: the newest of its sessions that was seen.
    :param url: the sidecar that ``token`` is of; both are empty while there is none.
    :param told: the trouble that the person was told of last, until a hook goes well.
    """

    agent_id: str
    issue_id: str
    project_id: str | None
    session_id: str = ""
    url: str = ""
    token: str = ""
    told: str = ""


class Busy(Exception):
    """Another program of the same `claude` has been at it for too long."""


class PersonFiles:
    """The files, for one `claude`; all of it blocks.

    :param key: names the `claude`; see `key_of`.
    :param own_machine: what `claude_process.machine` says.
    """

    def __init__(self, home: Path, key: str, own_machine: str) -> None:
        self._directory = home / "run" / "persons"
        self._path = self._directory / f"{key}.json"
        self._machine = own_machine
        self._byte = 1 + binascii.crc32(key.encode())

    def read(self) -> Kept | None:
        """Give what is kept; None if there is nothing."""
        return _kept(self._path)

    def write(self, kept: Kept) -> None:
        """Keep this; the lock should be held.

        :raises OSError: it can't be written.
        """
        runfile.replace(self._path, kept._asdict())

    def remove(self) -> None:
        """Forget the `claude`, but not whose its sessions are."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    @contextlib.contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Keep the other programs of this `claude` out.

        :raises Busy: one of them had it for so long.
        :raises OSError: the directory can't be written.
        """
        with self._lock("claude.lock", self._byte, seconds):
            yield

    def agent_of(self, session_id: str, issue_id: str, project_id: str | None) -> str | None:
        """Say which agent a session was; None if that is not known, or another `claude` is that agent now."""
        found = self._sessions().get(session_id)
        if not isinstance(found, dict) or (found.get("issue_id"), found.get("project_id")) != (issue_id, project_id):
            return None
        agent_id = found.get("agent_id")
        return agent_id if isinstance(agent_id, str) and not self._is_taken(agent_id) else None

    @contextlib.contextmanager
    def all_locked(self, seconds: float) -> Iterator[None]:
        """Keep everybody out, for a moment: who became which agent must not change meanwhile.

        :raises Busy: somebody had it for so long.
        """
        with self._lock("sessions.lock", 0, seconds):
            yield

    def remember(self, kept: Kept) -> None:
        """Write down which agent the session is; everybody should be locked out."""
        if not _is_session(kept.session_id):
            return
        sessions = self._sessions()
        sessions.pop(kept.session_id, None)
        sessions[kept.session_id] = {name: getattr(kept, name) for name in ("agent_id", "issue_id", "project_id")}
        newest = list(sessions.items())[-MOST_SESSIONS:]
        runfile.replace(self._directory / "sessions.json", dict(newest))

    def sweep(self) -> None:
        """Remove the files of those that have gone."""
        for pattern in (_FILES, _LEFT_OVER):
            for path in self._directory.glob(pattern):
                if path != self._path and not self._is_used(path):
                    path.unlink(missing_ok=True)

    def _sessions(self) -> dict[str, Any]:
        found = _json(self._directory / "sessions.json")
        return found if isinstance(found, dict) else {}

    def _is_taken(self, agent_id: str) -> bool:
        files = (path for path in self._directory.glob(_FILES) if path != self._path)
        return any((kept := _kept(path)) and kept.agent_id == agent_id and self._is_used(path) for path in files)

    def _is_used(self, path: Path) -> bool:
        process = _process_of(path.stem)
        if process is not None and process.machine == self._machine:
            return process.is_alive
        try:
            return time.time() - path.stat().st_mtime < UNUSED_SECONDS
        except OSError:
            return False

    @contextlib.contextmanager
    def _lock(self, name: str, byte: int, seconds: float) -> Iterator[None]:
        """Lock a byte of a file. A process that closes the file loses all that it locked of it: one at a time."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + seconds
        try:
            while not _has_locked(handle, byte):
                if time.monotonic() >= deadline:
                    raise Busy
                time.sleep(_WAIT_STEP_SECONDS)
            yield
        finally:
            os.close(handle)  # which gives the lock back, as the end of the process would


class Unkept:
    """The same for a program of which nobody knows to which `claude` it belongs: it is an agent while it runs."""

    def __init__(self) -> None:
        self._kept: Kept | None = None

    def read(self) -> Kept | None:
        """Give what was written."""
        return self._kept

    def write(self, kept: Kept) -> None:
        """Keep this until the end of the program."""
        self._kept = kept

    def remove(self) -> None:
        """Forget it."""
        self._kept = None

    @contextlib.contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Keep nobody out: there is nobody."""
        yield

    all_locked = locked

    def agent_of(self, session_id: str, issue_id: str, project_id: str | None) -> str | None:
        """Say that nothing is known."""
        return None

    def remember(self, kept: Kept) -> None:
        """Do nothing."""

    def sweep(self) -> None:
        """Do nothing."""


def key_of(process: Process | None, session_id: str) -> str | None:
    """Name a `claude` by its process; where that is not known, by its session; None if neither is."""
    if process is not None:
        return f"{process.machine}.{process.pid}-{process.start_ticks}"
    return f"session.0.{session_id}" if _is_session(session_id) else None


def _is_session(text: str) -> bool:
    """Say whether it can be a session's id, and so part of a file's name."""
    return text.isascii() and text.replace("-", "").isalnum() and len(text) <= 64


def _process_of(key: str) -> Process | None:
    machine, _, numbers = key.rpartition(".")
    pid, _, ticks = numbers.partition("-")
    return Process(machine, int(pid), int(ticks)) if pid.isdigit() and ticks.isdigit() else None


def _has_locked(handle: int, byte: int) -> bool:
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _kept(path: Path) -> Kept | None:
    found = _json(path)
    try:
        kept = Kept(**found) if isinstance(found, dict) else None
    except TypeError:
        return None
    if kept is None:
        return None
    texts = kept._replace(project_id=kept.project_id or "")
    return kept if all(isinstance(text, str) for text in texts) else None


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
