"""The client against a real sidecar that restarts, is killed, and loses answers: nothing lost, nothing done twice."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cco_sidecar.client import Client, NotAllowed
from cco_sidecar.client.tokens import claims_of
from tests.system.sidecar_process import Sidecar

MANY = 60
PATIENCE_SECONDS = 60.0


class Reader:
    """Takes events in a thread of its own, and counts what was in the way."""

    def __init__(self, url: str, token: str) -> None:
        self.got: list[int] = []
        self.troubles: list[str] = []
        self.client = Client(url, token, environ={}, on_retry=lambda error, _: self.troubles.append(str(error)))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for event in self.client.events("tick"):
            self.got.append(event["data"])

    def until(self, many: int) -> None:
        """Wait until so many have come."""
        until(lambda: len(self.got) >= many, f"{len(self.got)} of {many} events: {self.troubles}")

    def close(self) -> None:
        """End it, and wait until it has."""
        self.client.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


def until(true: Callable[[], object], what: str) -> None:
    """Wait for what happens elsewhere."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def publish(client: Client, numbers: range) -> None:
    """Publish an event for each number."""
    for number in numbers:
        client.publish_event("tick", "time", number)


def test_restarts_in_the_middle(tmp_path: Path) -> None:
    """A loop of events goes through a restart and a kill, and so does a publisher: each event once, in order."""
    with Sidecar(tmp_path) as sidecar:
        url = f"http://127.0.0.1:{sidecar.port}/api"
        reader = Reader(url, sidecar.agent_token("reader"))
        publisher = Client(url, sidecar.agent_token("publisher"), environ={}, patience_seconds=PATIENCE_SECONDS)
        publishing = threading.Thread(target=publish, args=(publisher, range(MANY)))
        try:
            publishing.start()
            reader.until(10)
            sidecar.stop()
            time.sleep(0.3)
            sidecar.start()
            reader.until(30)
            sidecar.kill()
            sidecar.start()
            publishing.join(PATIENCE_SECONDS)
            reader.until(MANY)
        finally:
            reader.close()
            publisher.close()
        assert reader.got == list(range(MANY))
        assert reader.troubles, "it was never away"


class LossyProxy:
    """Passes bytes on, and loses one answer in five.

    :param hides: the sidecar does not see that an answer was lost: its connection is closed as if all was well.
    """

    def __init__(self, port: int, hides: bool, seed: int) -> None:
        self._port = port
        self._hides = hides
        self._random = random.Random(seed)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.answers = 0
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._port))
        try:
            while request := near.recv(1 << 20):
                far.sendall(request)
                answer = _whole(far)
                self.answers += 1
                # Where the sidecar is not shown the loss, the reader needs a cursor: the first answer must arrive.
                if self.answers > 4 and self._random.random() < 0.2:
                    self.lost += 1
                    if not self._hides:
                        _reset(far)
                    _reset(near)
                    return
                near.sendall(answer)
        except OSError:
            pass
        finally:
            far.close()
            near.close()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()


def _whole(far: socket.socket) -> bytes:
    """Read one answer, which has a length."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _some(far)
    head, _, body = answer.partition(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += _some(far)
    return head + b"\r\n\r\n" + body


def _some(far: socket.socket) -> bytes:
    found = far.recv(1 << 20)
    if not found:
        raise OSError("it closed")
    return found


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def losing(sidecar: Sidecar, *, hides: bool, seed: int) -> Iterator[LossyProxy]:
    """Have a lossy proxy before the sidecar."""
    proxy = LossyProxy(sidecar.port, hides, seed)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.parametrize("hides", [False, True], ids=["resets", "hidden"])
def test_lost_answers(tmp_path: Path, hides: bool) -> None:
    """One answer in five is lost, of the publisher's and the reader's: each event is published once and read once."""
    with Sidecar(tmp_path) as sidecar:
        publisher_token, reader_token = sidecar.agent_token("publisher"), sidecar.agent_token("reader")
        with losing(sidecar, hides=hides, seed=7) as there, losing(sidecar, hides=hides, seed=8) as here:
            reader = Reader(here.url, reader_token)
            publisher = Client(there.url, publisher_token, environ={}, patience_seconds=PATIENCE_SECONDS)
            try:
                publish(publisher, range(MANY))
                reader.until(MANY)
            finally:
                reader.close()
                publisher.close()
            assert reader.got == list(range(MANY))
            assert there.lost >= 5
            assert here.lost >= 2
        status, history = sidecar.call("GET", "/api/events?type=tick&order=asc&limit=1000")
        assert status == 200
        assert [event["data"] for event in history["events"]] == list(range(MANY))


def test_results_are_stored_once(tmp_path: Path) -> None:
    """A result whose answer is lost is stored once."""
    with Sidecar(tmp_path) as sidecar:
        token = sidecar.agent_token("worker")
        with losing(sidecar, hides=True, seed=3) as proxy:
            with Client(proxy.url, token, environ={}, patience_seconds=PATIENCE_SECONDS) as client:
                stored = [client.store_result({"status": "partial", "n": number})["id"] for number in range(20)]
            assert proxy.lost >= 2
        _, found = sidecar.call("GET", "/api/results?limit=1000")
        assert sorted(result["id"] for result in found["results"]) == sorted(stored)
        assert len(set(stored)) == 20


def test_a_short_token_lives_on(tmp_path: Path) -> None:
    """Without a file, a token of four seconds is followed by the next again and again; nothing is ever refused."""
    with Sidecar(tmp_path) as sidecar:
        asked = {"agent_type": "python-specialist", "issue_id": "issue-1", "agent_id": "a-1", "ttl_seconds": 4}
        _, made = sidecar.call("POST", "/api/tokens", asked)
        troubles: list[Any] = []
        url = f"http://127.0.0.1:{sidecar.port}/api"
        with Client(url, made["token"], environ={}, on_retry=lambda *told: troubles.append(told)) as client:
            first = claims_of(made["token"])["exp"]
            client.wait_for_event("never", timeout=9000)
            before = client.desk.tokens.claims["exp"]
            assert before >= first + 5
            until(lambda: client.desk.tokens.is_due, "the token does not end")
            client.heartbeat()  # after a while of nothing the successor is asked for by the route
            assert client.desk.tokens.claims["exp"] > before
        assert troubles == []
        assert 'status="401"' not in _metrics(sidecar)


def _metrics(sidecar: Sidecar) -> str:
    with Client(f"http://127.0.0.1:{sidecar.port}", "none", environ={}) as client:
        return client.request("GET", "/metrics").body.decode()


def test_revoked_in_the_middle_of_a_wait(tmp_path: Path) -> None:
    """A parked wait whose token is revoked goes on under the one that the file has by then; without one it ends."""
    with Sidecar(tmp_path) as sidecar:
        old, new = sidecar.agent_token("a-1"), sidecar.agent_token("a-1")
        file = tmp_path / "token"
        file.write_text(old)
        client = Client(f"http://127.0.0.1:{sidecar.port}/api", token_file=file, environ={})
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(client.wait_for_event("x", timeout=20_000)))
        waiting.start()
        until(lambda: sidecar.call("GET", "/status")[1]["events"]["active_subscriptions"] == 1, "it is not parked")
        file.write_text(new)
        sidecar.call("DELETE", f"/api/tokens/{claims_of(old)['jti']}")
        until(lambda: sidecar.call("GET", "/status")[1]["events"]["active_subscriptions"] == 1, "it is not parked")
        sidecar.call("POST", "/api/events/x", {"topic": "t", "data": 1})
        waiting.join(20)
        assert [event["data"] for event in found[0]] == [1]
        sidecar.call("DELETE", f"/api/tokens/{claims_of(new)['jti']}")
        with pytest.raises(NotAllowed, match="AUTH_004"):
            client.heartbeat()
        client.close()


def test_an_event_for_a_thread_that_waits(tmp_path: Path) -> None:
    """One client publishes what another thread of it waits for; it comes at once, not with the timeout."""
    with Sidecar(tmp_path) as sidecar:
        client = Client(f"http://127.0.0.1:{sidecar.port}/api", sidecar.agent_token("a-1"), environ={})
        woken: list[float] = []

        def wait() -> None:
            client.wait_for_event("x", timeout=20_000)
            woken.append(time.monotonic())

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: sidecar.call("GET", "/status")[1]["events"]["active_subscriptions"] == 1, "it is not parked")
        began = time.monotonic()
        answer = client.publish_event("x", "t")
        waiting.join(20)
        assert answer["subscribers_notified"] == ["a-1"]
        assert woken[0] - began < 2
        client.close()
