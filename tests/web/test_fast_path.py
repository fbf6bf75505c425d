"""The fast path, where it stands alone: mistakes of ours, and what a connection goes through between the two paths."""

import json
from typing import Any

import pytest

from cco_sidecar.web.events import EventsAPI
from cco_sidecar.web.hot import Publishing
from tests.conftest import LoggedFailures
from tests.web.sidecar import Sidecar


def broken(*_: object) -> Any:
    raise ZeroDivisionError("a mistake")


def test_a_mistake_in_answering(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    """Whatever goes wrong in answering, the answer is the contract's, and the connection goes on."""
    agent, wire = sidecar.agent(), sidecar.wire()
    request = agent.raw("POST", "/api/events/x", b'{"topic":"t","data":1}')
    with sidecar.connection() as connection:
        with monkeypatch.context() as patch:
            patch.setattr(EventsAPI, "waited", broken)
            agent.ask(connection, "GET", "/api/events/wait/x", timeout=0).refused(500, "INTERNAL")
        agent.ask(connection, "GET", "/api/events/wait/x", timeout=0).ok()
        with monkeypatch.context() as patch:
            patch.setattr("cco_sidecar.web.hot.publish_answer", broken)
            wire.send(request)
            wire.answer("POST").refused(500, "INTERNAL")
        wire.send(request)
        wire.answer("POST").ok(202)
        wire.close()
    assert len(logged_failures.flush(ZeroDivisionError)) == 2


def test_both_paths_share_a_connection(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection carries requests of both kinds, in any order; only what is of the one shape is taken."""
    taken: list[str] = []
    published = Publishing.published

    def watched(self: Publishing, told: Any) -> None:
        taken.append(self.route)
        published(self, told)

    monkeypatch.setattr(Publishing, "published", watched)
    agent, wire = sidecar.agent(), sidecar.wire()
    body = b'{"topic":"t","data":{}}'
    for number in range(3):
        wire.send(agent.raw("POST", "/api/events/x", body))
        wire.answer().ok(202)
        wire.send(agent.raw("POST", "/api/events/x", body, f"X-Number: {number}"))
        wire.answer().ok(202)
        wire.send(agent.raw("GET", "/api/events?limit=1"))
        wire.answer().ok()
        wire.send(agent.raw("GET", "/api/events/wait/x?timeout=0"))
        assert len(wire.answer().ok()["events"]) == 2
    wire.close()
    assert taken == ["POST /api/events/<event_type>"] * 3


def test_a_head_and_a_body_in_two_pieces(sidecar: Sidecar) -> None:
    """What does not arrive whole is read by twisted.web, and what follows it may be taken again."""
    agent = sidecar.agent()
    wire = sidecar.wire()
    request = agent.raw("POST", "/api/events/x", b'{"topic":"t","data":1}')
    for piece in (request[:60], request[60:-5], request[-5:]):
        wire.send(piece)
    assert wire.answer().ok(202)["published"]
    wire.send(request)
    assert wire.answer().ok(202)["published"]
    wire.send(request + request)
    assert [wire.answer().ok(202)["published"] for _ in range(2)] == [True, True]
    wire.close()


def test_a_request_behind_a_parked_poll(sidecar: Sidecar) -> None:
    """What a client sends while its poll is parked waits for its turn, however much it is."""
    agent = sidecar.agent()
    wire = sidecar.wire()
    wire.send(agent.raw("GET", "/api/events/wait/late?timeout=60000"))
    sidecar.until_parked(1)
    body = json.dumps({"topic": "t", "data": "x" * 100_000}).encode()
    wire.send(agent.raw("POST", "/api/events/behind", body))
    agent.publish("late")
    assert len(wire.answer().ok()["events"]) == 1
    assert wire.answer().ok(202)["published"]
    wire.close()
