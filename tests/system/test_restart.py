"""What a restart, graceful or not, does to those who publish and wait (contract sections 2 and 5)."""

import contextlib
import http.client
import json
import random
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.sidecar_process import CONNECTION_ERRORS, Client, Sidecar


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar that runs."""
    with Sidecar(tmp_path) as running:
        yield running


class Publisher(threading.Thread):
    """Publishes numbered events as fast as it can, and remembers which were acknowledged."""

    def __init__(self, sidecar: Sidecar, name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._sidecar = sidecar
        self._token = sidecar.agent_token(name)
        self._stop_asked = stop
        self.acknowledged: list[str] = []

    def run(self) -> None:
        number = 0
        client = Client(self._sidecar, self._token, 5)
        while not self._stop_asked.is_set():
            number += 1
            body = {"topic": "t", "data": {"n": f"{self.name}-{number}"}}
            try:
                status, answer = client.call("POST", "/api/events/numbered", body)
            except CONNECTION_ERRORS:
                client.close()
                time.sleep(0.02)
                client = Client(self._sidecar, self._token, 5)
                continue
            if status == 202:
                self.acknowledged.append(answer["event_id"])


class Reader(threading.Thread):
    """A plain loop of waits without any cursor; hangs up now and then without reading what it is given."""

    def __init__(self, sidecar: Sidecar, name: str, *, rude: bool) -> None:
        super().__init__(name=name, daemon=True)
        self._sidecar = sidecar
        self._token = sidecar.agent_token(name)
        self._rude = random.Random(name) if rude else None
        self.enough = threading.Event()
        self.seen: list[str] = []

    def run(self) -> None:
        client = Client(self._sidecar, self._token, 10)
        while not self.enough.is_set():
            try:
                if self._rude is not None and self._rude.random() < 0.2:
                    self._hang_up()
                    continue
                status, answer = client.call("GET", "/api/events/wait/numbered?timeout=500")
            except CONNECTION_ERRORS:
                client.close()
                time.sleep(0.02)
                client = Client(self._sidecar, self._token, 10)
                continue
            assert status == 200, answer
            self.seen += [event["event_id"] for event in answer["events"]]
        client.close()

    def _hang_up(self) -> None:
        """Ask, and reset the connection before or after the answer came, unread either way."""
        assert self._rude is not None
        with socket.create_connection(("127.0.0.1", self._sidecar.port), 5) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            head = "GET /api/events/wait/numbered?timeout=200 HTTP/1.1\r\nHost: localhost\r\n"
            peer.sendall(f"{head}Authorization: Bearer {self._token}\r\n\r\n".encode())
            if self._rude.random() < 0.5:
                peer.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    peer.recv(1, socket.MSG_PEEK)


def drain(reader: Reader, wanted: set[str], seconds: float = 20) -> None:
    """Let a reader go on until it has all that it should have."""
    deadline = time.monotonic() + seconds
    while not wanted <= set(reader.seen) and time.monotonic() < deadline:
        time.sleep(0.05)
    reader.enough.set()
    reader.join()


@pytest.mark.parametrize("rude", [False, True], ids=["plain", "hanging up"])
def test_loops_of_waits_lose_and_repeat_nothing_over_graceful_restarts(tmp_path: Path, rude: bool) -> None:
    """Agents that wait in a loop, without a cursor, get each acknowledged event once, in order."""
    with Sidecar(tmp_path) as sidecar:
        stop = threading.Event()
        readers = [Reader(sidecar, f"reader-{n}", rude=rude) for n in range(3)]
        publishers = [Publisher(sidecar, f"publisher-{n}", stop) for n in range(2)]
        for thread in (*readers, *publishers):
            thread.start()
        for _ in range(2):
            time.sleep(0.6)
            assert sidecar.stop() < 5
            sidecar.start()
        time.sleep(0.6)
        stop.set()
        acknowledged: set[str] = set()
        for publisher in publishers:
            publisher.join()
            acknowledged |= set(publisher.acknowledged)
        assert len(acknowledged) > 20
        for reader in readers:
            drain(reader, acknowledged)
            assert acknowledged <= set(reader.seen), "an acknowledged event was lost"
            assert len(reader.seen) == len(set(reader.seen)), "an event was given twice"
            numbers = [int(name.rpartition("-")[2]) for name in reader.seen]
            assert numbers == sorted(numbers)


def kill_rounds(tmp_path: Path, rounds: int) -> None:
    """Kill the sidecar under load again and again; nothing acknowledged may be lost, no number used twice."""
    with Sidecar(tmp_path) as sidecar:
        random_source = random.Random(7)
        for _ in range(rounds):
            stop = threading.Event()
            publishers = [Publisher(sidecar, f"p-{n}", stop) for n in range(4)]
            stored: list[str] = []
            for publisher in publishers:
                publisher.start()
            ends = time.monotonic() + 0.2 + random_source.random() * 0.4
            token = sidecar.agent_token("storer")
            while time.monotonic() < ends:
                stored.append(store(sidecar, token))
            sidecar.kill()
            stop.set()
            for publisher in publishers:
                publisher.join()
            sidecar.start()
            check_kept(sidecar, publishers, stored)


def store(sidecar: Sidecar, token: str) -> str:
    """Store a result; gives its id."""
    names = {"agent_id": "storer", "agent_type": "chief-architect", "issue_id": "issue-1", "project_id": "p"}
    status, answer = sidecar.call("POST", "/api/results", {**names, "result": {"status": "success"}}, token)
    assert status == 201, answer
    return str(answer["id"])


def check_kept(sidecar: Sidecar, publishers: list[Publisher], stored: list[str]) -> None:
    """Everything that was acknowledged is there; sequences are all different."""
    acknowledged = {event for publisher in publishers for event in publisher.acknowledged}
    assert acknowledged
    found: list[str] = []
    cursor = "earliest"
    while True:
        status, page = sidecar.call("GET", f"/api/events?order=asc&limit=1000&since={cursor}")
        assert status == 200, page
        found += [event["event_id"] for event in page["events"]]
        cursor = page["next_cursor"]
        if not page["more_available"]:
            break
    assert acknowledged <= set(found), f"{len(acknowledged - set(found))} acknowledged events lost"
    assert len(found) == len(set(found))
    for result_id in stored:
        status, answer = sidecar.call("GET", f"/api/results/id/{result_id}")
        assert status == 200, answer


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After kill -9 under load every acknowledged event and result is there."""
    kill_rounds(tmp_path, 3)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_many_kills_lose_nothing(tmp_path: Path) -> None:
    """The same, long."""
    kill_rounds(tmp_path, 60)


def test_torn_bytes_at_the_end_hurt_nobody(sidecar: Sidecar) -> None:
    """A write that was cut off by a crash is cut away, loudly, and everything before it is there."""
    status, first = sidecar.call("POST", "/api/events/kept", {"topic": "t", "data": 1})
    assert status == 202
    sidecar.kill()
    newest = max((sidecar.storage / "events" / "p").glob("*.log"))
    with newest.open("ab") as log:
        log.write(b'{"cco":1,"seq":99,"len":500,"crc":"deadbeef","rec":{"k":"event","b":{"ev')
    sidecar.start()
    assert sidecar.call("GET", f"/api/events/{first['event_id']}")[0] == 200
    status, second = sidecar.call("POST", "/api/events/kept", {"topic": "t", "data": 2})
    assert status == 202
    assert second["sequence"] == first["sequence"] + 1
    assert "unfinished write" in sidecar.log


def test_damage_in_the_middle_is_seen(sidecar: Sidecar) -> None:
    """What a disk did to the log stops nobody, and stays in sight: health, metrics, log, and the file in quarantine."""
    events = [sidecar.call("POST", "/api/events/kept", {"topic": "t", "data": n})[1]["event_id"] for n in range(3)]
    sidecar.kill()
    newest = max((sidecar.storage / "events" / "p").glob("*.log"))
    text = newest.read_bytes()
    place = text.index(f'"{events[1]}"'.encode()) + 2
    damaged = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
    newest.write_bytes(damaged)
    sidecar.start()
    assert [sidecar.call("GET", f"/api/events/{event}")[0] for event in events] == [200, 404, 200]
    status, health = sidecar.call("GET", "/health")
    assert (status, health["status"], health["checks"]["storage"]) == (200, "degraded", "damaged")
    with urllib.request.urlopen(f"http://127.0.0.1:{sidecar.port}/metrics") as metrics:
        assert b"\nsidecar_journal_damaged_total 1.0\n" in metrics.read()
    assert "1 damaged stretches in" in sidecar.log
    assert (sidecar.storage / "quarantine" / "events" / "p" / f"{newest.name}.1").read_bytes() == damaged
    assert {path.suffix for path in (sidecar.storage / "events" / "p").iterdir()} == {".log"}
    assert sidecar.call("POST", "/api/events/kept", {"topic": "t", "data": 3})[0] == 202
    sidecar.stop()
    sidecar.start()
    assert sidecar.call("GET", "/health")[1]["status"] == "healthy"
    assert [sidecar.call("GET", f"/api/events/{event}")[0] for event in events] == [200, 404, 200]


def test_a_parked_poll_is_answered_at_shutdown(sidecar: Sidecar) -> None:
    """SIGTERM gives every parked poll a whole, empty answer with its cursor unmoved, and is quick."""
    answers: list[tuple[int, dict[str, object]]] = []
    _, now = sidecar.call("GET", "/api/events/wait/never?timeout=0&since=latest")

    def park() -> None:
        answers.append(sidecar.call("GET", "/api/events/wait/never?timeout=60000&since=latest"))

    threads = [threading.Thread(target=park, daemon=True) for _ in range(20)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while sidecar.call("GET", "/status")[1]["events"]["active_subscriptions"] < 20:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sidecar.stop() < 5
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    for status, answer in answers:
        assert status == 200
        assert answer["events"] == []
        assert answer["next_cursor"] == now["next_cursor"]
    assert not (sidecar.home / "run" / "0.json").exists()


def test_a_copy_of_the_storage_starts_elsewhere(sidecar: Sidecar, tmp_path: Path) -> None:
    """What tar makes of a storage that is written to meanwhile holds every write acknowledged before it began."""
    import subprocess

    stop = threading.Event()
    publisher = Publisher(sidecar, "publisher", stop)
    publisher.start()
    time.sleep(0.5)
    before = list(publisher.acknowledged)
    archive = tmp_path / "backup.tar"
    code = subprocess.run(
        ["tar", "-cf", archive, "-C", sidecar.storage, "."], check=False, capture_output=True
    ).returncode
    assert code in {0, 1}
    stop.set()
    publisher.join()
    assert before
    elsewhere = Sidecar(tmp_path / "elsewhere")
    elsewhere.storage.mkdir(mode=0o700)
    subprocess.run(["tar", "-xf", archive, "-C", elsewhere.storage, "--no-same-permissions"], check=True)
    elsewhere.storage.chmod(0o700)
    with elsewhere:
        for event_id in before:
            assert elsewhere.call("GET", f"/api/events/{event_id}")[0] == 200


def test_an_idempotency_key_outlives_a_kill(sidecar: Sidecar) -> None:
    """The same key after kill -9 gives the same event; with another body it is refused."""
    token = sidecar.agent_token("worker")

    def publish(data: int) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=10)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": "k1"}
        connection.request("POST", "/api/events/once", json.dumps({"topic": "t", "data": data}), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    status, first = publish(1)
    assert status == 202
    sidecar.kill()
    sidecar.start()
    status, again = publish(1)
    assert (status, again["event_id"]) == (202, first["event_id"])
    status, refused = publish(2)
    assert (status, refused["code"]) == (422, "VAL_003")
