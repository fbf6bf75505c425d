"""What 10,000 events in the log add to a start: from exec until it listens, less what a start on no events takes.

The log is what a sidecar left that was killed after 10,000 publishes. The peer is a Python program that reads the same
10,000 events out of SQLite, a JSON text each, less what it takes on an empty table. Both find their files in the page
cache. Prints one JSON line; ``ratio`` is our added time to the peer's, the medians of interleaved rounds.

    python -m benchmarks.recovery [ROUNDS]
"""

import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.load import Load
from benchmarks.machine import SERVER_CORE, disk_directory, load_average, pinned
from benchmarks.sidecars import agents, publishing, sidecar
from tests.system.sidecar_process import Sidecar

EVENTS = 10_000
PUBLISHERS = 100
PEER = """
import json, sqlite3, sys
rows = sqlite3.connect(sys.argv[1]).execute("SELECT event FROM events ORDER BY sequence")
assert len([json.loads(event) for event, in rows]) == int(sys.argv[2])
"""


def fill(directory: Path) -> list[dict[str, Any]]:
    """Publish that many events to a sidecar in this directory, and kill it; gives the events."""
    with sidecar(directory) as running:
        with Load(running.port, [publishing(token) for token in agents(running, PUBLISHERS)]) as load:
            for _ in range(EVENTS // PUBLISHERS):
                told = load.run(0)  # one event each
                assert told["refused"] == 0, told
        events: list[dict[str, Any]] = []
        since = "earliest"
        while len(events) < EVENTS:
            query = f"limit=1000&order=asc&type=benchmark&since={since}"
            status, page = running.call("GET", f"/api/events?{query}")
            assert status == 200 and page["events"], page
            events += page["events"]
            since = page["next_cursor"]
    return events


def fill_table(path: Path, events: list[dict[str, Any]]) -> None:
    """Put events into a table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, event TEXT NOT NULL)")
        rows = ((event["sequence"], json.dumps(event)) for event in events)
        connection.executemany("INSERT INTO events VALUES (?, ?)", rows)
        connection.commit()


def our_start(directory: Path, log: Path | None, oldest: list[dict[str, Any]]) -> float:
    """Start a sidecar on a copy of that log, or on none; gives the milliseconds until it listens.

    ``oldest`` is the page of history that must be there then.
    """
    stopped = Sidecar(directory)
    shutil.rmtree(stopped.storage, ignore_errors=True)
    if log is not None:
        shutil.copytree(log, stopped.storage)
    began = time.perf_counter()
    with sidecar(directory) as running:
        took = 1000 * (time.perf_counter() - began)
        assert running.call("GET", "/api/events?limit=1&order=asc&type=benchmark")[1]["events"] == oldest
    return took


def peer_start(table: Path, expected: int) -> float:
    """Let the peer read a table; gives the milliseconds until it is done."""
    with pinned(SERVER_CORE):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", PEER, str(table), str(expected)], check=True)
        return 1000 * (time.perf_counter() - began)


def main(rounds: int) -> None:
    """Measure, in turn."""
    times: dict[str, list[float]] = {}
    with disk_directory() as directory:
        full, empty, log = directory / "full.sqlite", directory / "empty.sqlite", directory / "log"
        events = fill(directory)
        fill_table(full, events)
        fill_table(empty, [])
        (directory / "storage").rename(log)
        for _ in range(rounds):
            times.setdefault("our_ms", []).append(our_start(directory, log, events[:1]))
            times.setdefault("our_empty_ms", []).append(our_start(directory, None, []))
            times.setdefault("peer_ms", []).append(peer_start(full, EVENTS))
            times.setdefault("peer_empty_ms", []).append(peer_start(empty, 0))
    line = {name: round(statistics.median(taken), 1) for name, taken in times.items()}
    added = {who: round(line[f"{who}_ms"] - line[f"{who}_empty_ms"], 1) for who in ("our", "peer")}
    ratio = round(added["our"] / added["peer"], 2)
    told = {"ratio": ratio, "our_added_ms": added["our"], "peer_added_ms": added["peer"], **line}
    print(json.dumps({**told, "load_average": load_average()}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
