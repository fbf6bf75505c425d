"""A whole sidecar, or its log's writer, killed at every call of a kind while agents publish over HTTP: the long form.

`test_journal_kills` does the same to the journal alone, in seconds.
"""

import http.client
import json
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.system.sidecar_process import Sidecar
from tests.writers import writer_of

PUBLISHERS = 3
EVENTS_EACH = 6
LARGE = "x" * 700_000
"""So large that a new segment is begun in the middle of it."""


class Publisher(threading.Thread):
    """Publishes numbered events, each under a key of its own; what was not acknowledged can be sent again."""

    def __init__(self, sidecar: Sidecar, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._sidecar = sidecar
        self._token = sidecar.agent_token(name)
        self.acknowledged: dict[int, str] = {}

    def run(self) -> None:
        for number in range(EVENTS_EACH):
            if not self._publish(number):
                return

    def complete(self) -> None:
        """Send again, under the same keys, what was not acknowledged."""
        for number in range(EVENTS_EACH):
            if number not in self.acknowledged:
                assert self._publish(number)

    def _publish(self, number: int) -> bool:
        """Try until there is an answer that stays; False if nobody answers any more."""
        body = json.dumps({"topic": "t", "data": {"n": f"{self.name}-{number}", "more": LARGE}})
        for _ in range(200):
            connection = http.client.HTTPConnection("127.0.0.1", self._sidecar.port, timeout=20)
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"{self.name}-{number}"}
            headers["Authorization"] = f"Bearer {self._token}"
            try:
                connection.request("POST", "/api/events/numbered", body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError):
                return False
            finally:
                connection.close()
            if response.status == 202:
                self.acknowledged[number] = answer["event_id"]
                return True
            assert (response.status, answer["code"]) == (503, "EVT_001"), answer
            time.sleep(0.02)
        return False


@contextmanager
def under_strace(pid: int, call: str, number: int) -> Iterator[None]:
    """Let a process be killed at its next so many-th call of a kind."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is missing: install it (apt-get install strace)")
    options = ["-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
    tracer = subprocess.Popen([strace, *options, "-p", str(pid)])
    try:
        deadline = time.monotonic() + 10
        while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
            assert tracer.poll() is None, "strace may not look at it"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield
    finally:
        tracer.kill()  # not asked: it might wait for a thread of the killed one that nobody else may bury
        tracer.wait()


def history(sidecar: Sidecar) -> list[tuple[str, int, str]]:
    """Give id, sequence and name of every event."""
    found: list[tuple[str, int, str]] = []
    cursor = "earliest"
    while True:
        status, page = sidecar.call("GET", f"/api/events?order=asc&limit=10&since={cursor}")
        assert status == 200, page
        found += [(event["event_id"], event["sequence"], event["data"]["n"]) for event in page["events"]]
        cursor = page["next_cursor"]
        if not page["more_available"]:
            return found


def one_round(directory: Path, who: str, call: str, number: int) -> bool:
    """Publish with a kill in the way; True if the kill never came."""
    with Sidecar(directory) as sidecar:
        log = sidecar.storage / "events" / "p"
        writer = writer_of(log)
        assert writer is not None
        publishers = [Publisher(sidecar, f"p-{n}") for n in range(PUBLISHERS)]
        with under_strace(sidecar.pid if who == "sidecar" else writer.pid, call, number):
            for publisher in publishers:
                publisher.start()
            for publisher in publishers:
                publisher.join()
        now = writer_of(log)
        whole = (
            now is not None and now.pid == writer.pid and all(len(p.acknowledged) == EVENTS_EACH for p in publishers)
        )
        acknowledged = {event for publisher in publishers for event in publisher.acknowledged.values()}
        sidecar.kill()
        sidecar.start()
        found = history(sidecar)
        assert acknowledged <= {event for event, _, _ in found}, "an acknowledged event was lost"
        for publisher in publishers:
            publisher.complete()
        found = history(sidecar)
        sequences = [sequence for _, sequence, _ in found]
        assert sequences == sorted(set(sequences)), "a sequence was given twice, or the order was lost"
        names = Counter(name for _, _, name in found)
        wanted = Counter(f"p-{n}-{m}" for n in range(PUBLISHERS) for m in range(EVENTS_EACH))
        assert names == wanted, "a key did not keep its event from being published twice"
        assert sidecar.call("GET", "/health")[1]["status"] == "healthy"
        assert "damaged stretches" not in sidecar.log
    return whole


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("who", "call"),
    [
        ("writer", "fsync"),
        ("writer", "openat"),
        ("writer", "fdatasync"),
        ("writer", "write"),
        ("sidecar", "sendto"),
        ("sidecar", "recvfrom"),
    ],
)
def test_killed_at_every_call(tmp_path: Path, who: str, call: str) -> None:
    """All that was acknowledged is there; what was not is published once, by the key under which it is sent again."""
    for number in count(1):
        if one_round(tmp_path / f"{number}", who, call, number):
            break
        shutil.rmtree(tmp_path / f"{number}")
    assert number > 1
