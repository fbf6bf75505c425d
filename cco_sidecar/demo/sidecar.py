"""The demo's own sidecar: a child process with a home, a port and a storage that are nobody else's."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from cco_sidecar import runfile
from cco_sidecar.client import Client
from cco_sidecar.demo.script import ROSTER

PROJECT = "demo"
START_SECONDS = 30.0
STOP_SECONDS = 8.0
_LOOK_SECONDS = 0.02
_LAST_LINES = 12
_SOMEBODY_ELSES = ("CCO_", "GIT_", "PROJECT_ROOT")


class StartError(Exception):
    """It did not start; the text has the end of its log."""


class Sidecar:
    """A sidecar over one repository; all its files are below ``directory``."""

    def __init__(self, directory: Path, repository: Path) -> None:
        self._repository = repository
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._entry: runfile.RunFile | None = None
        self.home = directory / "home"
        self.storage = directory / "storage"
        self.log = directory / "sidecar.log"

    def start(self) -> runfile.RunFile:
        """Start it, and wait until it listens.

        :raises StartError: it ended, or took too long.
        """
        self._write_config()
        options = ["--port=0", f"--storage={self.storage}", f"--project-root={PROJECT}={self._repository}"]
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which ends the agents first.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cco_sidecar", "orchestration-server", *options, f"--roster={ROSTER}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=self._environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            self._entry = runfile.read(runfile.path_of(self.home, 0))
            if self._entry is not None:
                return self._entry
            time.sleep(_LOOK_SECONDS)
        raise StartError(f"The sidecar did not start. Its log ends:\n{self.last_lines()}")

    def _write_config(self) -> None:
        """Let a sidecar that is ended take its agents along, whoever ends it."""
        self.home.mkdir(mode=0o700)
        (self.home / "config.json").write_text(json.dumps({"agents": {"on_shutdown": "stop"}}))

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SOMEBODY_ELSES)}
        return {**inherited, "CCO_HOME": str(self.home)}

    def last_lines(self) -> str:
        """Give the end of its log."""
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return "  (nothing)"
        return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:]) or "  (nothing)"

    @property
    def is_running(self) -> bool:
        """Whether it listens, and its process is there."""
        return self._entry is not None and self._process is not None and self._process.poll() is None

    def client(self, seconds: float) -> Client:
        """Give a client that may do everything, for so long.

        :raises StartError: it was not started.
        """
        if self._entry is None:
            raise StartError("The sidecar is not started.")
        return Client(
            self._entry.url,
            token_file=self._entry.admin_token_file,
            patience_seconds=seconds,
            lifetime_seconds=seconds,
            environ={},
        )

    def stop(self) -> int | None:
        """End it and wait until it is gone; gives its exit code, None if it was never started."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
