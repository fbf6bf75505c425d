"""Webhooks of a real sidecar over kill -9: at least once, whatever the receiver does (contract section 5)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.sidecar_process import Sidecar
from tests.web.receiver import Receiver

CONFIG = {"webhooks": {"allowed_networks": ["127.0.0.0/8"], "first_retry_seconds": 1, "max_attempts": 20}}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    made = Receiver()
    yield made
    made.close()


def until_taken(receiver: Receiver, wanted: set[str], seconds: float = 25) -> None:
    """Wait until the receiver has all that it should have."""
    deadline = time.monotonic() + seconds
    while not wanted <= set(receiver.events()):
        assert time.monotonic() < deadline, wanted - set(receiver.events())
        time.sleep(0.02)


def test_at_least_once_over_kills(tmp_path: Path, receiver: Receiver) -> None:
    """Events that were acknowledged reach the receiver, although it fails and the sidecar is killed meanwhile."""
    with Sidecar(tmp_path, config=CONFIG) as sidecar:
        selection = {"types": ["x"]}
        status, made = sidecar.call("POST", "/api/webhooks", {"url": receiver.url, "selection": selection})
        assert status == 201, made
        token = sidecar.agent_token("worker")
        acknowledged: list[str] = []
        for life in range(3):
            elsewhere = {"Location": receiver.url + "/elsewhere"}
            receiver.script = [(500, {}), (302, elsewhere), (503, {"Retry-After": "1"})] * 2
            for number in range(15):
                body = {"topic": "t", "data": {"n": number, "life": life}}
                status, answer = sidecar.call("POST", "/api/events/x", body, token)
                assert status == 202, answer
                acknowledged.append(answer["event_id"])
            sidecar.kill()
            sidecar.start()
        until_taken(receiver, set(acknowledged))
        assert {got.path for got in receiver.got} == {"/hook"}
        assert all(got.is_signed_with(made["secret"]) for got in receiver.got)
        assert sidecar.call("GET", "/api/events/dead-letters")[1]["total"] == 0
        deadline = time.monotonic() + 10
        while sidecar.call("GET", f"/api/webhooks/{made['id']}")[1]["pending"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seen = len(receiver.got)
        assert sidecar.stop() < 5
        sidecar.start()
        time.sleep(0.3)
        assert len(receiver.got) == seen, "what was taken came again after an orderly restart"


def test_a_silent_receiver_holds_nobody_up(tmp_path: Path, receiver: Receiver) -> None:
    """With a receiver that never answers, others get theirs, publishing is quick, and so is stopping."""
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent, Sidecar(tmp_path, config=CONFIG) as sidecar:
        for url in (f"http://127.0.0.1:{silent.getsockname()[1]}/", receiver.url):
            assert sidecar.call("POST", "/api/webhooks", {"url": url, "selection": {}})[0] == 201
        token = sidecar.agent_token("worker")
        began = time.monotonic()
        events = set()
        for _ in range(20):
            events.add(sidecar.call("POST", "/api/events/x", {"topic": "t", "data": {}}, token)[1]["event_id"])
        until_taken(receiver, events, 5)
        assert time.monotonic() - began < 5
        assert sidecar.stop() < 3
