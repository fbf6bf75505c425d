"""A real sidecar in a process of its own, and the least of a client for it."""

import atexit
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cco_sidecar.backends.keys import load_keys

PATIENCE_SECONDS = 20.0
CONNECTION_ERRORS = (OSError, http.client.HTTPException)


@functools.cache
def signing_keys() -> Path:
    """Give a directory with a signing key: making one for each sidecar takes a tenth of its start."""
    directory = Path(tempfile.mkdtemp(prefix="cco-test-keys-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    load_keys(directory / "keys")
    return directory / "keys"


class Sidecar:
    """A home, a storage and a project in a directory, and at most one sidecar that runs on them."""

    def __init__(
        self, directory: Path, *, config: Mapping[str, object] | None = None, module: str = "cco_sidecar"
    ) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.storage = directory / "storage"
        self.root = directory / "project"
        self.root.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(mode=0o700, exist_ok=True)
        if not (self.home / "keys").exists():
            shutil.copytree(signing_keys(), self.home / "keys")
        if config is not None:
            (self.home / "config.json").write_text(json.dumps(config))
        self._module = module
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The sidecar's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it wrote."""
        return (self.directory / "sidecar.log").read_text()

    def start(self) -> None:
        """Start it on the port it had, and wait until it listens."""
        options = ["--port", str(self.port), "--storage", str(self.storage), "--project-root", f"p={self.root}"]
        command = [sys.executable, "-m", self._module, "orchestration-server", *options]
        run_file = self.home / "run" / f"{self.port}.json"
        run_file.unlink(missing_ok=True)
        with (self.directory / "sidecar.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    "CCO_HOME": str(self.home),
                    **self.environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not run_file.exists():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)
        self.port = json.loads(run_file.read_text())["port"]

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill it, without a word."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def stop(self) -> float:
        """End it as a supervisor does; gives how many seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(PATIENCE_SECONDS)
        assert code == 0, self.log
        self._process = None
        return time.monotonic() - began

    def admin_token(self) -> str:
        """The token of the person at the machine."""
        return (self.home / "admin-token").read_text().strip()

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> tuple[int, Any]:
        """Make one request on a connection of its own; gives status and JSON."""
        client = Client(self, token or self.admin_token())
        try:
            return client.call(method, path, body)
        finally:
            client.close()

    def agent_token(self, agent_id: str, issue_id: str = "issue-1", agent_type: str = "chief-architect") -> str:
        """Issue a token."""
        request = {"agent_type": agent_type, "issue_id": issue_id, "agent_id": agent_id}
        status, answer = self.call("POST", "/api/tokens", request)
        assert status == 201, answer
        return str(answer["token"])


class Client:
    """One keep-alive connection."""

    def __init__(self, sidecar: Sidecar, token: str, seconds: float = 30.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=seconds)
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(
        self, method: str, path: str, body: object = None, more: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Make a request, with more headers if there are any; gives status and JSON."""
        headers = {**self._headers, **(more or {})}
        text = None
        if body is not None:
            text = json.dumps(body)
            headers["Content-Type"] = "application/json"
        self._connection.request(method, path, text, headers)
        response = self._connection.getresponse()
        answer = response.read()
        return response.status, json.loads(answer) if answer else None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
