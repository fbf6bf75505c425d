"""Does the sidecar answer while it gathers? ``/livez`` while four clients have contexts gathered, again and again.

`python -m benchmarks.context_livez [--seconds N] [REPOSITORY]` takes the path of a local repository; without one it
makes a generated one of 5,000 files. It prints one JSON line; the ratio is that of the 99th percentiles, busy / idle.
"""

import argparse
import http.client
import json
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.context_tree import generate_tree
from benchmarks.machine import disk_directory, load_average, resident_bytes
from tests.system.sidecar_process import Sidecar

CLIENTS = ("python-specialist", "code-reviewer", "documentation-expert", "test-engineer")
PAUSE_SECONDS = 0.005
PATIENCE_SECONDS = 120.0


class Clients:
    """Four clients, each of another type and issue, that have their contexts gathered anew until they are stopped."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in CLIENTS]
        self.seconds: list[float] = []
        self.trouble: list[str] = []

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, agent_type: str) -> None:
        token = self._sidecar.admin_token()
        path = f"/api/context/issue-{agent_type}/{agent_type}?refresh=true&task=Mend%20what%20{agent_type}%20found"
        while not self._over.is_set():
            began = time.perf_counter()
            status, size = ask(self._sidecar.port, path, token)
            self.seconds.append(time.perf_counter() - began)
            if status != 200 or size < 1000:
                self.trouble.append(f"{path}: {status}")
                return


def ask(port: int, path: str, token: str | None = None) -> tuple[int, int]:
    """Make one request on a connection of its own; gives the status and the size of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, len(response.read())
    finally:
        connection.close()


def probe(port: int, seconds: float) -> list[float]:
    """Ask /livez again and again; gives how long each answer took, in milliseconds."""
    found = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        status, _ = ask(port, "/livez")
        assert status == 200
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE_SECONDS)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that so large a share of the others do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def measure(directory: Path, repository: Path, seconds: float) -> dict[str, Any]:
    """Measure it on one repository."""
    made = Sidecar(directory)
    made.root = repository
    with made as sidecar:
        idle = probe(sidecar.port, min(seconds, 5.0))
        with Clients(sidecar) as clients:
            busy = probe(sidecar.port, seconds)
            resident = resident_bytes(sidecar.pid)
    assert not clients.trouble, clients.trouble
    return {
        "benchmark": "context_livez",
        "repository": repository.name,
        "clients": len(CLIENTS),
        "contexts": len(clients.seconds),
        "context_ms_median": round(statistics.median(clients.seconds) * 1000),
        "livez_p50_ms": round(percentile(busy, 0.5), 2),
        "livez_p99_ms": round(percentile(busy, 0.99), 2),
        "livez_most_ms": round(max(busy), 2),
        "probes": len(busy),
        "idle_p99_ms": round(percentile(idle, 0.99), 2),
        "resident_mb": resident >> 20,
        "load_average": load_average(),
        "ratio": round(percentile(busy, 0.99) / percentile(idle, 0.99), 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the repository that is named, or a generated one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.context_livez")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the clients ask")
    parser.add_argument("repository", nargs="?", type=Path)
    options = parser.parse_args(arguments)
    with disk_directory() as directory:
        repository = options.repository or generate_tree(directory / "generated", 5_000)
        print(json.dumps(measure(directory, repository.resolve(), options.seconds)), flush=True)


if __name__ == "__main__":
    main()
