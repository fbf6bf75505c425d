"""The git program, run so that it cannot hang, fill the memory, or read a configuration but ours."""

import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from attrs import define, field, frozen

MOST_SECONDS = 20.0
_CHUNK = 1 << 18
_STDERR_BYTES = 4096
_OPTIONS = (
    "--no-optional-locks",
    "--no-pager",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.quotepath=off",
    "-c",
    "core.bigFileThreshold=1m",  # what is bigger gets no diff, so that no one file can keep git busy
    "-c",
    "protocol.allow=never",
)
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


class GitError(Exception):
    """Git could not be run, ran too long, or says that something is wrong; the message is a sentence."""


@frozen
class Output:
    """What git wrote; ``cut`` says that it was stopped at the bound."""

    data: bytes = field(repr=False)
    cut: bool


@define(eq=False)
class Git:
    """Runs git; may be used by several threads. `stop` ends what runs and refuses the rest."""

    _seconds: float = MOST_SECONDS
    _running: "set[subprocess.Popen[bytes]]" = field(factory=set, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _stopped: bool = field(default=False, init=False)

    def run(
        self,
        arguments: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        most_bytes: int,
        given: bytes = b"",
    ) -> Output:
        """Run ``git ARGUMENTS`` and give what it writes, at most ``most_bytes``; blocks.

        :param environment: the variables beside those that are always set (GIT_DIR and its like).
        :param given: what it reads from its standard input.
        :raises GitError: see there.
        """
        with _stdin(given) as stdin:
            process = self._start(arguments, directory, environment, stdin)
            try:
                output, complaint = _collect(process, most_bytes, time.monotonic() + self._seconds)
            except (TimeoutError, subprocess.TimeoutExpired):
                raise GitError(f"git {arguments[0]} took longer than {self._seconds:.0f} seconds.") from None
            finally:
                self._finish(process)
        if process.returncode != 0 and not output.cut:
            raise GitError(f"git {arguments[0]} failed: {complaint or 'it gave no reason'}")
        return output

    def stop(self) -> None:
        """End every git that runs; may be called from any thread."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()

    def _start(
        self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str], stdin: IO[bytes] | int
    ) -> "subprocess.Popen[bytes]":
        path = os.environ.get("PATH", os.defpath)
        program = shutil.which("git", path=path)
        if program is None:
            raise GitError("git is not installed, or not on the PATH of the sidecar.")
        with self._lock:
            if self._stopped:
                raise GitError("the sidecar is stopping.")
            try:
                process = subprocess.Popen(
                    [program, *_OPTIONS, *arguments],
                    cwd=directory,
                    env={"PATH": path, **_ENVIRONMENT, **environment},
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            except OSError as error:
                raise GitError(f"git could not be started: {error.strerror}.") from error
            self._running.add(process)
        return process

    def _finish(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        with self._lock:
            self._running.discard(process)


@contextmanager
def _stdin(given: bytes) -> Iterator[IO[bytes] | int]:
    """Make what a program reads: a file, for one that reads slowly must not hold us up."""
    if not given:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        yield file


def _collect(process: "subprocess.Popen[bytes]", most_bytes: int, deadline: float) -> tuple[Output, str]:
    """Read both pipes to their ends, or until there is enough; raises TimeoutError at the deadline."""
    assert process.stdout is not None and process.stderr is not None
    parts: dict[int, list[bytes]] = {process.stdout.fileno(): [], process.stderr.fileno(): []}
    size = 0
    with selectors.DefaultSelector() as selector:
        for fd in parts:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fd)
                elif key.fd == process.stdout.fileno():
                    size += len(chunk)
                    parts[key.fd].append(chunk)
                elif not parts[key.fd]:
                    parts[key.fd].append(chunk[:_STDERR_BYTES])
            if size > most_bytes:
                return Output(b"".join(parts[process.stdout.fileno()])[:most_bytes], True), ""
    process.wait(max(deadline - time.monotonic(), 0.1))
    said = b"".join(parts[process.stderr.fileno()]).decode("utf-8", "replace").strip()
    return Output(b"".join(parts[process.stdout.fileno()]), False), said.splitlines()[-1][:200] if said else ""
