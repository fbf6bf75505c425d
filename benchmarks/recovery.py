"""How long a start takes to read 10,000 events back: the journal with its checksums, hub and ring, beside SQLite.

The peer reads the same rows from a SQLite file (WAL, synchronous=FULL) and decodes their JSON. Prints one JSON line;
``ratio`` is our time to the peer's, the median of interleaved rounds.

    python -m benchmarks.recovery [ROUNDS]
"""

import json
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from twisted.internet.task import Clock

from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import recover_segments
from cco_sidecar.backends.rotation import Rotation
from cco_sidecar.backends.segments import frame, segment_name
from cco_sidecar.core.events.event import EventBody
from tests.fakes import START, EventHouse

EVENTS = 10_000
DATA = {"module": "core.events", "coverage": 91.5, "files": ["a.py", "b.py"], "message": "x" * 200}


def published() -> list[bytes]:
    """Give the records of so many events, as a hub writes them."""
    house = EventHouse(max_events=EVENTS)
    for _ in range(EVENTS):
        house.publish(data=DATA)
    return [record for record in house.journal.records if record.startswith(b'{"k":"event"')]


def lay_journal(storage: Path, records: list[bytes]) -> None:
    """Write them into a segment."""
    rotation = Rotation([], 1, 0, 0)
    lines = [rotation.slice(), rotation.end(0, 0, 0), *(frame(n, record) for n, record in enumerate(records, 3))]
    (storage / "events").mkdir()
    (storage / "events" / segment_name(1)).write_bytes(b"".join(lines))


def lay_database(storage: Path, records: list[bytes]) -> None:
    """Write them into a table."""
    with sqlite3.connect(storage / "peer.sqlite") as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE log (seq INTEGER PRIMARY KEY, body)"
        )
        database.executemany("INSERT INTO log VALUES (?, ?)", enumerate(records))
    database.close()


def ours(storage: Path) -> float:
    """Recover into a new hub; gives seconds."""
    clock = Clock()
    clock.advance(START)
    house = EventHouse(max_events=EVENTS, clock=clock)
    began = time.perf_counter()
    hub = house.hub
    recover_segments(
        storage / "events", house.ledger.restore, lambda: hub.last_numbered, Quarantine(storage, ("quarantine",))
    )
    seconds = time.perf_counter() - began
    assert len(hub.ring) == EVENTS
    return seconds


def theirs(storage: Path) -> float:
    """Read and decode the rows; gives seconds."""
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    began = time.perf_counter()
    database = sqlite3.connect(storage / "peer.sqlite")
    found = [
        msgspec.json.decode(decoder.decode(body)["b"], type=EventBody)
        for (body,) in database.execute("SELECT body FROM log ORDER BY seq")
    ]
    database.close()
    assert len(found) >= EVENTS
    return time.perf_counter() - began


def main(rounds: int) -> None:
    """Measure in turn."""
    records = published()
    with tempfile.TemporaryDirectory() as directory:
        storage = Path(directory)
        lay_journal(storage, records)
        lay_database(storage, records)
        pairs = [(ours(storage), theirs(storage)) for _ in range(rounds)]
    answer = {
        "benchmark": "recovery",
        "events": EVENTS,
        "ours_ms": round(1000 * statistics.median(mine for mine, _ in pairs), 1),
        "peer_ms": round(1000 * statistics.median(peer for _, peer in pairs), 1),
        "ratio": round(statistics.median(mine / peer for mine, peer in pairs), 2),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
