"""Was the answer of a wait received? What connections show, and what follows from it (contract section 5)."""

import json
import socket
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jwt
import pytest

from tests.web.sidecar import Answer, Client, Sidecar, Wire, unique, until


def numbers(answer: Any) -> list[int]:
    """Give the numbers that the events of an answer carry."""
    return [event["data"]["n"] for event in answer["events"]]


def publish(agent: Client, *which: int, topic: str = "work") -> None:
    for n in which:
        agent.publish("count", topic=topic, n=n)


def quiet(sidecar: Sidecar) -> None:
    """Wait until every connection has ended, each with its verdict."""
    until(lambda: not sidecar.service.parts.web.site.connections, "all connections ended")


def test_loop_on_one_connection(sidecar: Sidecar) -> None:
    """A plain loop without any cursor loses nothing and repeats nothing."""
    agent = sidecar.agent()
    got: list[int] = []
    with sidecar.connection() as connection:
        for start in range(0, 30, 3):
            publish(agent, start, start + 1, start + 2)
            got += numbers(agent.ask(connection, "GET", "/api/events/wait/count", limit=2).ok())
        while len(got) < 30:
            got += numbers(agent.ask(connection, "GET", "/api/events/wait/count").ok())
        assert agent.ask(connection, "GET", "/api/events/wait/count", timeout=0).ok()["timeout"]
    assert got == list(range(30))


def test_loop_against_a_publisher(sidecar: Sidecar) -> None:
    """The same while the polls are parked and events come at any moment."""
    agent = sidecar.agent()
    writer = sidecar.later(publish, agent, *range(60))
    got: list[int] = []
    with sidecar.connection() as connection:
        while len(got) < 60:
            got += numbers(agent.ask(connection, "GET", "/api/events/wait/count", limit=3).ok())
    writer.result()
    assert got == list(range(60))


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
def test_loop_of_connections(headers: dict[str, str], sidecar: Sidecar) -> None:
    """The same with a connection for each wait, closed by the one side or the other."""
    agent = sidecar.agent()
    got: list[int] = []
    for n in range(15):
        publish(agent, n)
        got += numbers(agent.request("GET", "/api/events/wait/count", headers=headers).ok())
    quiet(sidecar)
    assert agent.wait("count", timeout=0)["events"] == []
    assert got == list(range(15))


def test_urllib(sidecar: Sidecar) -> None:
    """The same for the standard library's simplest client, parked and not."""
    agent = sidecar.agent()

    def wait() -> Any:
        url = f"http://127.0.0.1:{sidecar.port}/api/events/wait/count?timeout=5000"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {agent.token}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return numbers(json.load(response))

    for n in range(5):
        parked = sidecar.later(wait)
        sidecar.until_parked(1)
        publish(agent, n)
        assert parked.result() == [n]
    publish(agent, 5, 6)
    assert wait() == [5, 6]


def test_old_client(sidecar: Sidecar) -> None:
    """The same for HTTP/1.0."""
    agent = sidecar.agent()
    publish(agent, 1)
    for expected in ([1], []):
        wire = sidecar.wire()
        wire.send(agent.raw("GET", "/api/events/wait/count?timeout=0").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert numbers(wire.answer().ok()) == expected
        assert wire.rest() == b""
        wire.close()


def test_settled_without_another_wait(sidecar: Sidecar) -> None:
    """A clean close settles by itself, soon, on either side's initiative."""
    for lines in ((), ("Connection: close",)):
        agent = sidecar.agent()
        publish(agent, 1)
        wire = sidecar.wire()
        wire.send(agent.raw("GET", "/api/events/wait/count", b"", *lines))
        assert numbers(wire.answer().ok()) == [1]
        wire.close()
        [subscription] = sidecar.service.parts.projects.default.hub.subscriptions._of_agent[agent.agent_id].values()
        until(lambda: subscription.offered is None, "the verdict")  # noqa: B023 - called at once
        assert subscription.position > 0


Ending = Callable[[Wire], object]


def _close_unread(wire: Wire) -> None:
    until(lambda: wire.socket.recv(1, socket.MSG_PEEK), "an answer in the socket")
    wire.close()


def _reset_unread(wire: Wire) -> None:
    until(lambda: wire.socket.recv(1, socket.MSG_PEEK), "an answer in the socket")
    wire.reset()


def _reset_read(wire: Wire) -> None:
    wire.answer().ok()
    wire.reset()


def _half_read(wire: Wire) -> None:
    wire.socket.recv(30)
    wire.close()


LOSSES: list[Ending] = [_close_unread, _reset_unread, _reset_read, _half_read, Wire.close, Wire.reset]


@pytest.mark.parametrize("lines", [(), ("Connection: close",)], ids=["kept", "closing"])
@pytest.mark.parametrize("ending", LOSSES, ids=lambda ending: ending.__name__)
def test_not_received(ending: Ending, lines: tuple[str, ...], sidecar: Sidecar) -> None:
    """Who resets, or closes before reading, is given the same events again, at once or later."""
    for wait_for_verdict in (False, True):
        agent = sidecar.agent()
        publish(agent, 1, 2)
        wire = sidecar.wire()
        wire.send(agent.raw("GET", "/api/events/wait/count?limit=1", b"", *lines))
        ending(wire)
        if wait_for_verdict:
            quiet(sidecar)
        assert numbers(agent.wait("count", timeout=0)) == [1, 2]


@pytest.mark.parametrize("lines", [(), ("Connection: close",)], ids=["kept", "closing"])
@pytest.mark.parametrize("ending", LOSSES, ids=lambda ending: ending.__name__)
def test_parked_and_not_received(ending: Ending, lines: tuple[str, ...], sidecar: Sidecar) -> None:
    """The same when the poll was parked."""
    agent = sidecar.agent()
    wire = sidecar.wire()
    wire.send(agent.raw("GET", "/api/events/wait/count", b"", *lines))
    sidecar.until_parked(1)
    if ending in {Wire.close, Wire.reset}:
        ending(wire)
        sidecar.until_parked(0)
    publish(agent, 1, 2)
    if ending not in {Wire.close, Wire.reset}:
        ending(wire)
    assert numbers(agent.wait("count", timeout=0)) == [1, 2]


def test_idle_connection_shows_nothing(sidecar: Sidecar) -> None:
    """An answer on a connection that is still open and silent does not count as received; ``ack`` settles it."""
    agent = sidecar.agent()
    publish(agent, 1, 2)
    with sidecar.connection() as idle, sidecar.connection() as other:
        first = agent.ask(idle, "GET", "/api/events/wait/count", limit=1).ok()
        assert numbers(first) == [1]
        again = agent.ask(other, "GET", "/api/events/wait/count").ok()
        assert numbers(again) == [1, 2]
    with sidecar.connection() as idle, sidecar.connection() as other:
        agent.ask(idle, "GET", "/api/events/wait/count", subscription="s", limit=1).ok()
        cursor = first["next_cursor"]
        rest = agent.ask(other, "GET", "/api/events/wait/count", subscription="s", ack=cursor).ok()
        assert numbers(rest) == [2]


def test_any_request_is_proof(sidecar: Sidecar) -> None:
    """The connection's next request settles, whatever it asks."""
    agent = sidecar.agent()
    publish(agent, 1)
    with sidecar.connection() as connection:
        assert numbers(agent.ask(connection, "GET", "/api/events/wait/count").ok()) == [1]
        agent.ask(connection, "GET", "/health").ok()
        assert agent.wait("count", timeout=0)["events"] == []


def test_ack_must_be_a_cursor(sidecar: Sidecar) -> None:
    """An ack that is no place in the log is refused, and one backwards moves nothing."""
    agent = sidecar.agent()
    publish(agent, 1, 2)
    agent.get("/api/events/wait/count", ack="nonsense", timeout=0).refused(400, "VAL_001")
    first = agent.wait("count", limit=1)
    assert numbers(agent.wait("count")) == [2]
    assert numbers(agent.wait("count", ack=first["next_cursor"], timeout=0)) == []


def test_newer_ends_older(sidecar: Sidecar) -> None:
    """Of two waits on one subscription the older ends, empty and unmoved; names keep them apart."""
    agent = sidecar.agent()
    older = sidecar.later(agent.wait, "count")
    sidecar.until_parked(1)
    newer = sidecar.later(agent.wait, "count")
    ended = older.result(timeout=5)
    assert (ended["events"], ended["timeout"], ended["gap"]) == ([], False, False)
    named = sidecar.later(agent.wait, "count", subscription="mine")
    sidecar.until_parked(2)
    publish(agent, 1)
    assert numbers(newer.result()) == numbers(named.result()) == [1]
    assert numbers(agent.wait("count", since=ended["next_cursor"])) == [1]


def test_since_leaves_the_subscription_alone(sidecar: Sidecar) -> None:
    """A wait with ``since`` neither reads nor moves the stored position, and many may park side by side."""
    agent = sidecar.agent()
    cursor = agent.publish("start")["cursor"]
    parked = [sidecar.later(agent.wait, "count", since=cursor) for _ in range(3)]
    sidecar.until_parked(3)
    publish(agent, 1)
    assert [numbers(future.result()) for future in parked] == [[1]] * 3
    assert numbers(agent.wait("count", since="earliest", filter=f"publisher:{agent.agent_id}")) == [1]
    assert numbers(agent.wait("count")) == [1]


def test_admin_has_no_position(sidecar: Sidecar) -> None:
    """The admin starts at the earliest event each time."""
    agent = sidecar.agent()
    publish(agent, 1)
    for _ in range(2):
        assert numbers(sidecar.admin.wait("count", filter=f"publisher:{agent.agent_id}")) == [1]


def test_late_agent_gets_what_it_missed(sidecar: Sidecar) -> None:
    """The first wait starts where the issue was first seen, whenever its agents ask."""
    early = sidecar.agent()
    before = sidecar.agent()
    publish(before, 1)
    issue = sidecar.agent().issue_id
    publish(early, 2)
    late = sidecar.agent(issue_id=issue)
    assert numbers(late.wait("count", timeout=0)) == [2]


# Limits


def test_most_subscriptions(sidecar: Sidecar) -> None:
    """An agent has at most 64 subscriptions; those it has go on."""
    agent = sidecar.agent()
    with sidecar.connection() as connection:
        for n in range(64):
            agent.ask(connection, "GET", "/api/events/wait/x", timeout=0, subscription=f"s{n}").ok()
        refused = agent.ask(connection, "GET", "/api/events/wait/x", timeout=0, subscription="s64")
        refused.refused(400, "VAL_001")
        agent.ask(connection, "GET", "/api/events/wait/x", timeout=0, subscription="s63").ok()
        agent.ask(connection, "GET", "/api/events/wait/x", timeout=0, since="latest").ok()


def test_most_parked_polls(sidecar: Sidecar) -> None:
    """An agent has at most 32 polls parked; the admin more."""
    agent = sidecar.agent()
    mine = [sidecar.later(agent.wait, "count", since="latest") for _ in range(32)]
    sidecar.until_parked(32)
    refused = agent.get("/api/events/wait/count", since="latest").refused(429, "RATE_002")
    assert int(refused.headers["Retry-After"]) >= 1
    admins = [sidecar.later(sidecar.admin.wait, "count", since="latest") for _ in range(40)]
    sidecar.until_parked(72)
    assert sidecar.parked == 72
    publish(agent, 1)
    assert [numbers(future.result()) for future in [*mine, *admins]] == [[1]] * 72
    assert agent.wait("never", since="latest", timeout=0)["timeout"]


@pytest.mark.parametrize("ending", [Wire.close, Wire.reset], ids=lambda ending: ending.__name__)
def test_hang_up_frees_the_poll(ending: Ending, sidecar: Sidecar) -> None:
    """A client that goes away leaves no poll behind, at once."""
    agent = sidecar.agent()
    wires = [sidecar.wire() for _ in range(5)]
    for wire in wires:
        wire.send(agent.raw("GET", "/api/events/wait/never?since=latest&timeout=300000"))
    sidecar.until_parked(5)
    for wire in wires:
        ending(wire)
    sidecar.until_parked(0)
    assert sidecar.parked == 0
    assert agent.publish("never")["subscriber_count"] == 0


# Tokens that end while a poll is parked


def _refusal(parked: "Future[Answer]") -> tuple[int, str]:
    answer = parked.result(timeout=8)
    return answer.status, answer.code


def test_revoked_while_parked(sidecar: Sidecar) -> None:
    """A poll parked under a token that is revoked is answered 401, at once."""
    agent = sidecar.agent()
    parked = sidecar.later(agent.get, "/api/events/wait/never")
    sidecar.until_parked(1)
    jti = jwt.decode(str(agent.token), options={"verify_signature": False})["jti"]
    sidecar.admin.delete(f"/api/tokens/{jti}").ok()
    assert _refusal(parked) == (401, "AUTH_004")


def test_expired_while_parked(sidecar: Sidecar) -> None:
    """A poll parked under a token that expires is answered 401 when it does."""
    agent = sidecar.agent(ttl_seconds=2)
    parked = sidecar.later(agent.get, "/api/events/wait/never")
    sidecar.until_parked(1)
    assert _refusal(parked) == (401, "AUTH_002")
    agent.get("/api/agents").refused(401, "AUTH_002")


def test_position_of_an_expired_poll(sidecar: Sidecar) -> None:
    """A poll that ends with its token moves nothing: with the next token the agent gets what came meanwhile."""
    agent = sidecar.agent(ttl_seconds=2)
    kind = unique("kind")
    agent.wait(kind, timeout=0)
    other = sidecar.agent(issue_id=agent.issue_id)
    parked = sidecar.later(agent.get, f"/api/events/wait/{kind}")
    sidecar.until_parked(1)
    assert _refusal(parked) == (401, "AUTH_002")
    event_id = other.publish(kind)["event_id"]
    renewed = sidecar.agent(agent_id=agent.agent_id, issue_id=agent.issue_id)
    assert [event["event_id"] for event in renewed.wait(kind, timeout=0)["events"]] == [event_id]


# Stopping


def test_stop_answers_parked_polls(start: Callable[..., Sidecar]) -> None:
    """A sidecar that stops answers its parked polls, empty and with their cursor unmoved, before it goes."""
    sidecar = start()
    agent = sidecar.agent()
    cursor = agent.publish("before")["cursor"]
    wires = [sidecar.wire() for _ in range(3)]
    for wire, query in zip(wires, ("", f"?since={cursor}", "?subscription=s&topic=t"), strict=True):
        wire.send(agent.raw("GET", f"/api/events/wait/never{query}"))
    sidecar.until_parked(3)
    stopped = sidecar.later(sidecar.stop)
    for wire in wires:
        answer = wire.answer()
        assert answer.headers["Connection"] == "close"
        assert (answer.ok()["events"], answer.ok()["timeout"], answer.ok()["next_cursor"]) == ([], False, cursor)
        wire.close()
    stopped.result(5)
