"""The stream of events: what is sent, where it resumes, and what ends it."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlencode

import jwt

from cco_sidecar.core.events.selection import Selection
from cco_sidecar.web.stream import STUCK_LINGER_SECONDS, EventStream
from tests.fakes import EventHouse
from tests.web.sidecar import PATIENCE_SECONDS, Client, Sidecar, until

Block = dict[str, str]


class Following:
    """A reader of a stream; a block is its fields by name, comments under the empty name."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.connection = connection
        self.response = response

    def block(self) -> Block:
        """Read the next block; an empty one is the end."""
        found: Block = {}
        while line := self.response.readline().decode():
            if line == "\n":
                break
            name, _, value = line.rstrip("\n").partition(":")
            found[name] = value.removeprefix(" ")
        return found

    def numbers(self, many: int) -> list[int]:
        """Read so many events, and give the numbers that they carry."""
        return [json.loads(self.block()["data"])["data"]["n"] for _ in range(many)]

    def last_words(self) -> str:
        """Read to the end; gives the last comment."""
        said = ""
        while block := self.block():
            said = block.get("", said)
        return said


@contextmanager
def following(agent: Client, last_event_id: str | None = None, **query: Any) -> Iterator[Following]:
    """Open a stream, and read how it begins."""
    headers = {"Authorization": f"Bearer {agent.token}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    connection = http.client.HTTPConnection("127.0.0.1", agent.sidecar.port, timeout=PATIENCE_SECONDS)
    connection.request("GET", f"/api/events/stream?{urlencode(query)}", headers=headers)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    try:
        yield Following(connection, response)
    finally:
        response.close()
        connection.close()


def publish(agent: Client, *which: int, event_type: str = "count", topic: str = "work") -> list[str]:
    return [agent.publish(event_type, topic=topic, n=n)["cursor"] for n in which]


def test_form(sidecar: Sidecar) -> None:
    """A stream begins with retry and the place where it stands; an event has its cursor, type and JSON on one line."""
    agent = sidecar.agent()
    here = publish(agent, 0)[0]
    with following(agent, type="count", publisher=agent.agent_id) as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
        assert stream.block() == {"retry": "2000", "": "events follow as they come", "id": here}
        made = agent.post("/api/events/count", {"topic": "work", "data": {"text": "a\nb\r\u2028"}}).ok(202)
        block = stream.block()
        assert (block["id"], block["event"]) == (made["cursor"], "count")
        assert json.loads(block["data"]) == agent.get(f"/api/events/{made['event_id']}").ok()


def test_selection(sidecar: Sidecar) -> None:
    """Several types by comma, and all that history selects by."""
    agent, other = sidecar.agent(), sidecar.agent()
    publish(agent, 1)
    publish(agent, 2, event_type="tick")
    publish(agent, 3, topic="play")
    publish(agent, 4, event_type="tock")
    publish(other, 5)
    wanted: list[tuple[dict[str, str], list[int]]] = [
        ({"type": "count,tick", "topic": "work", "publisher": agent.agent_id}, [1, 2]),
        ({"issue": agent.issue_id}, [1, 2, 3, 4]),
        ({"issue": other.issue_id, "filter": "n:>4"}, [5]),
        ({"issue": agent.issue_id, "filter": "n:>4"}, []),
    ]
    for query, numbers in wanted:
        with following(agent, since="earliest", until="latest", **query) as stream:
            stream.block()
            assert stream.numbers(len(numbers)) == numbers
            assert stream.last_words() == "the stream ends: 'until' is reached"


def test_resume(sidecar: Sidecar) -> None:
    """Last-Event-ID beats since; nothing is lost or repeated between what was there and what comes."""
    agent = sidecar.agent()
    cursors = publish(agent, 1, 2, 3)
    with following(agent, cursors[0], since="latest", issue=agent.issue_id) as stream:
        assert stream.block()["id"] == cursors[0]
        publish(agent, 4)
        assert stream.numbers(3) == [2, 3, 4]


def test_refusals(sidecar: Sidecar) -> None:
    """What is no place or no parameter is refused before a stream begins; HEAD begins none."""
    agent = sidecar.agent()
    refused = agent.request("GET", "/api/events/stream", headers={"Last-Event-ID": "c-00000000-1"})
    assert refused.refused(400, "VAL_001").json["details"]["parameter"] == "Last-Event-ID"
    agent.get("/api/events/stream", limit=1).refused(400, "VAL_001")
    assert agent.request("HEAD", "/api/events/stream").status == 200
    sidecar.until_parked(0)


def test_hang_up(sidecar: Sidecar) -> None:
    """A stream counts as a parked poll; a peer that hangs up frees the place at once."""
    agent = sidecar.agent()
    streams = [following(agent) for _ in range(32)]
    for stream in streams:
        stream.__enter__()
    assert sidecar.parked == 32
    agent.get("/api/events/stream").refused(429, "RATE_002")
    for stream in streams:
        stream.__exit__(None, None, None)
    sidecar.until_parked(0)
    with following(agent, since="earliest", until="latest"):
        pass


def test_revoke(sidecar: Sidecar) -> None:
    """A revoked token ends its streams, with a word about why."""
    agent = sidecar.agent()
    with following(agent) as stream:
        stream.block()
        jti = jwt.decode(str(agent.token), options={"verify_signature": False})["jti"]
        sidecar.admin.delete(f"/api/tokens/{jti}").ok()
        assert stream.last_words().startswith("the stream ends: AUTH_004 ")


def test_gap(start: Callable[..., Sidecar]) -> None:
    """What retention took is told without an id of its own."""
    sidecar = start(events={"max_events": 2})
    agent = sidecar.agent()
    cursors = publish(agent, 1, 2, 3, 4)
    with following(agent, cursors[0]) as stream:
        assert stream.block()["id"] == cursors[0]
        assert stream.block() == {
            "event": "gap",
            "data": json.dumps({"oldest_cursor": cursors[1]}, separators=(",", ":")),
        }
        assert stream.numbers(2) == [3, 4]


def test_shutdown(start: Callable[..., Sidecar]) -> None:
    """Shutting down ends every stream whole: its last chunk comes."""
    sidecar = start()
    with following(sidecar.agent()) as stream:
        stream.block()
        stopping = sidecar.later(sidecar.stop)
        assert stream.last_words() == "the stream ends: the sidecar is stopping"
        stopping.result(PATIENCE_SECONDS)


@contextmanager
def unread(agent: Client) -> Iterator[socket.socket]:
    """Open a stream of the agent's issue that nobody reads, with as small a buffer as there is."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", agent.sidecar.port))
        connection.sendall(agent.raw("GET", f"/api/events/stream?issue={agent.issue_id}"))
        agent.sidecar.until_parked(1)
        yield connection


def test_slow_reader(sidecar: Sidecar) -> None:
    """A connection that is not read is dropped and cut off, while another gets everything."""
    agent = sidecar.agent()
    with unread(agent):
        with following(agent, issue=agent.issue_id) as stream:
            stream.block()
            for n in range(20):
                agent.publish("count", n=n, text="x" * 500_000)
                assert stream.numbers(1) == [n]
            sidecar.until_parked(1)
        until(lambda: not sidecar.service.parts.web.site.connections, "the slow connection is cut off")


def test_late_reader(sidecar: Sidecar) -> None:
    """Who was dropped and reads after all gets what was sent, in order, and why there is no more."""
    agent = sidecar.agent()
    with unread(agent) as connection:
        for n in range(20):
            agent.publish("count", n=n, text="x" * 500_000)
        sidecar.until_parked(0)
        response = http.client.HTTPResponse(connection, method="GET")
        response.begin()
        *blocks, last, end = response.read().decode().split("\n\n")
    assert (last, end) == (": the stream ends: events came faster than this connection was read", "")
    given = [json.loads(block.partition("data: ")[2])["data"]["n"] for block in blocks[1:]]
    assert given == list(range(len(given)))
    assert 0 < len(given) < 20


def test_cut_off() -> None:
    """A connection that takes nothing does not outlive its stream by more than a moment."""
    house, request = EventHouse(), Mock()
    request.site.clock = house.clock
    followers = house.hub.followers
    follower = followers.open(house.reader(), Selection(), resume=None, since=None, until=None)
    stream = EventStream(followers, follower, request)
    followers.begin(follower, stream, 3600)
    stream.pauseProducing()
    house.hub.drain()
    house.clock.advance(STUCK_LINGER_SECONDS - 0.1)
    request.channel.cut_off.assert_not_called()
    house.clock.advance(0.1)
    request.channel.cut_off.assert_called_once_with()
