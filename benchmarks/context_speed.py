"""How long a context takes, against repomix, which packs the same repository: cold, unchanged, and after an edit.

`python -m benchmarks.context_speed [--rounds N] [--type TYPE] [--task TEXT] [REPOSITORY]` takes the path of a local
repository; without one it makes a generated one of 5,000 files. It prints one JSON line with three ratios.
"""

import argparse
import http.client
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.context_tree import generate_tree
from benchmarks.machine import disk_directory, load_average, resident_bytes
from benchmarks.peers import repomix
from tests.system.sidecar_process import Sidecar

PATIENCE_SECONDS = 300.0
_UNCHANGED = 20


class Repomix:
    """The peer: a command that writes one file; it keeps nothing from one run to the next."""

    def __init__(self, repository: Path, output: Path) -> None:
        self._command = [str(repomix()), "--quiet", "--output", str(output), "."]
        self._repository = repository
        self.output = output

    def seconds(self) -> float:
        """Pack the repository."""
        began = time.perf_counter()
        subprocess.run(self._command, cwd=self._repository, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


class Ours:
    """A sidecar for the repository, asked over HTTP on one connection."""

    def __init__(self, sidecar: Sidecar, path: str) -> None:
        self._path = path
        self._headers = {"Authorization": f"Bearer {sidecar.admin_token()}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=PATIENCE_SECONDS)

    def seconds(self) -> tuple[float, bytes]:
        """Ask for the context; gives the answer, too."""
        began = time.perf_counter()
        self._connection.request("GET", self._path, headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        took = time.perf_counter() - began
        if response.status != 200:
            raise SystemExit(f"{self._path}: {response.status} {body[:300]!r}")
        return took, body

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Timings:
    """What was measured, in seconds."""

    def __init__(self) -> None:
        self.peer: list[float] = []
        self.cold: list[float] = []
        self.unchanged: list[float] = []
        self.edited: list[float] = []
        self.bytes = 0
        self.files = 0
        self.resident = 0


def round_of(repository: Path, path: str, peer: Repomix, found: Timings) -> None:
    """Measure each once: the peer, and a sidecar that has just started, with nothing cached."""
    found.peer.append(peer.seconds())
    with tempfile.TemporaryDirectory(dir=peer.output.parent) as name:
        made = Sidecar(Path(name))
        made.root = repository
        with made as sidecar:
            ours = Ours(sidecar, path)
            took, body = ours.seconds()
            found.cold.append(took)
            found.unchanged.append(statistics.median(ours.seconds()[0] for _ in range(_UNCHANGED)))
            found.edited.append(_edited(repository, ours))
            found.bytes, found.files = len(body), json.loads(body)["file_count"]
            found.resident = max(found.resident, resident_bytes(sidecar.pid))
            ours.close()


def _edited(repository: Path, ours: Ours) -> float:
    """Edit one file that is in the answer, and see that the new text is there; gives the median of three."""
    edited = max((path for path in repository.glob("**/*.py") if path.is_file()), key=lambda path: path.stat().st_mtime)
    before = edited.read_bytes()
    times = []
    try:
        for number in range(3):
            mark = f"# edited by the benchmark: {number} {time.time_ns()}"
            edited.write_bytes(f"{mark}\n".encode() + before)
            took, body = ours.seconds()
            if mark.encode() not in body:
                raise SystemExit("The answer does not have the edit.")
            times.append(took)
    finally:
        edited.write_bytes(before)
    return statistics.median(times)


def measure(directory: Path, repository: Path, path: str, rounds: int) -> dict[str, Any]:
    """Measure it on one repository."""
    found = Timings()
    peer = Repomix(repository, directory / "packed.xml")
    peer.seconds()  # the files are in the page cache then, for both
    for _ in range(rounds):
        round_of(repository, path, peer, found)
    peer_seconds = statistics.median(found.peer)
    ours = {name: statistics.median(getattr(found, name)) for name in ("cold", "unchanged", "edited")}
    return {
        "benchmark": "context_speed",
        "repository": repository.name,
        "repomix_ms": round(peer_seconds * 1000),
        **{f"{name}_ms": round(seconds * 1000, 1) for name, seconds in ours.items()},
        "repomix_bytes": peer.output.stat().st_size,
        "our_bytes": found.bytes,
        "our_files": found.files,
        "resident_mb": found.resident >> 20,
        "load_average": load_average(),
        **{f"ratio_{name}": round(peer_seconds / seconds, 1) for name, seconds in ours.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the repository that is named, or a generated one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.context_speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--type", default="python-specialist", help="for which agent type it is gathered")
    parser.add_argument("--task", default="", help="with a task files are ranked by their texts, too")
    parser.add_argument("repository", nargs="?", type=Path)
    options = parser.parse_args(arguments)
    if shutil.which("npm") is None:
        raise SystemExit("repomix needs Node.js and npm.")
    path = f"/api/context/benchmark/{options.type}"
    path += f"?{urlencode({'task': options.task})}" if options.task else ""
    with disk_directory() as directory:
        repository = options.repository or generate_tree(directory / "generated", 5_000)
        print(json.dumps(measure(directory, repository.resolve(), path, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
