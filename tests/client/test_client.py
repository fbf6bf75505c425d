"""The blocking client over real sockets, with threads."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cco_sidecar.client
from cco_sidecar.client import (
    ClaimLost,
    Client,
    Closed,
    Conflict,
    Held,
    NotAllowed,
    NotConfigured,
    Unreachable,
    ambient,
)
from tests.cli.conftest import ScriptedSidecar
from tests.client.test_tokens import token
from tests.client.test_waiting import event

CLAIMED = {"id": "clm-1", "fence": 7, "expires_at": "2026-01-01T00:00:00.000Z"}


def waited(*numbers: int, cursor: str, **more: Any) -> dict[str, Any]:
    """Make the body of the answer to a wait."""
    events = [event(it) for it in numbers]
    return {"events": events, "next_cursor": cursor, "timeout": not events, "gap": False, **more}


def until(true: Callable[[], object]) -> None:
    """Wait for what happens in another thread."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def in_environment(sidecar: ScriptedSidecar, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedSidecar]:
    """Be an agent that was spawned."""
    monkeypatch.setenv("SIDECAR_URL", f"{sidecar.url}/api")
    monkeypatch.setenv("JWT_TOKEN", token(sub="a-1", issue_id="issue-1", agent_type="t", project_id="p"))
    monkeypatch.delenv("JWT_TOKEN_FILE", raising=False)
    yield sidecar
    ambient.connect().close()


def test_the_faq_as_it_is_written(in_environment: ScriptedSidecar) -> None:
    """The FAQ's two lines work in a spawned agent as they stand there."""
    in_environment.on("GET", "/api/events/wait/implementation_complete", waited(1, cursor="c"))
    in_environment.on("POST", "/api/events/custom_event", {"published": True}, 202)
    names: dict[str, Any] = {}
    exec(  # as an agent's program has it
        "from cco_sidecar.client import *\n"
        'events = wait_for_event("implementation_complete", timeout=30000)\n'
        'answer = publish_event("custom_event", "coordination", {"message": "checkpoint"})\n',
        names,
    )
    assert [it["sequence"] for it in names["events"]] == [1]
    assert names["answer"] == {"published": True}
    waited_, published = in_environment.asked
    assert waited_.query == {"timeout": "30000"}
    assert published.body == {"topic": "coordination", "data": {"message": "checkpoint"}}
    assert len({it.headers["authorization"] for it in in_environment.asked}) == 1


def test_one_client_for_the_process(in_environment: ScriptedSidecar) -> None:
    """The functions share a client, and make another one when it was closed."""
    first = cco_sidecar.client.connect()
    assert cco_sidecar.client.connect() is first
    first.close()
    assert cco_sidecar.client.connect() is not first


def test_functions_without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of an agent the functions say what is missing."""
    for name in ("JWT_TOKEN", "JWT_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotConfigured, match="JWT_TOKEN"):
        cco_sidecar.client.publish_event("x", "t")


def test_shown_on_the_wire(sidecar: ScriptedSidecar, client: Client) -> None:
    """The request is of the form that the sidecar's fast path takes: known headers, one spelling."""
    sidecar.on("GET", "/api/events/wait/x", waited(1, cursor="c"))
    client.wait_for_event("x")
    assert set(sidecar.asked[0].headers) == {"host", "authorization", "accept", "user-agent"}


def test_publish_while_another_thread_waits(sidecar: ScriptedSidecar, client: Client) -> None:
    """A parked wait holds nobody up."""
    release = threading.Event()
    sidecar.on("GET", "/api/events/wait/x", waited(1, cursor="c"))
    sidecar.on("POST", "/api/events/y", {}, 202)
    before = sidecar.reply_to

    def slowly(asked: Any) -> Any:
        if asked.method == "GET":
            release.wait(10)
        return before(asked)

    sidecar.reply_to = slowly  # type: ignore[method-assign]  # for this test
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(client.wait_for_event("x")[0]["sequence"]))
    thread.start()
    client.publish_event("y", "t")
    assert not found
    release.set()
    thread.join(10)
    assert found == [1]


@pytest.mark.parametrize("what", ["wait", "pause", "events"])
def test_close_ends_what_waits(sidecar: ScriptedSidecar, client: Client, what: str) -> None:
    """Whether it waits for an answer or before another try: it ends at once, and an iterator just ends."""
    if what == "pause":
        sidecar.refuse("GET", "/api/events/wait/x", 503, "EVT_001", "Later.", Retry_After="20")
    else:
        sidecar.reply_to = lambda _: time.sleep(1.5)  # type: ignore[method-assign, assignment, return-value]  # no answer
    threading.Timer(0.1, client.close).start()
    began = time.monotonic()
    if what == "events":
        assert list(client.events("x")) == []
    else:
        with pytest.raises(Closed):
            client.wait_for_event("x")
    assert time.monotonic() - began < 1.2
    with pytest.raises(Closed, match="closed"):
        client.heartbeat()


def test_unreachable() -> None:
    """Where nobody is, it says what to do."""
    client = Client("http://127.0.0.1:1/api", "t", patience_seconds=0.0, environ={})
    with pytest.raises(Unreachable, match="cco daemon start"):
        client.health()


def test_events(sidecar: ScriptedSidecar, client: Client) -> None:
    """Events come one by one, from wait to wait, each once; what was fetched and not taken is the next wait's."""
    path = "/api/events/wait/x"
    sidecar.on("GET", path, waited(1, 2, cursor="c-2"))
    sidecar.on("GET", path, waited(cursor="c-2"))
    sidecar.on("GET", path, waited(2, 3, 4, cursor="c-4"))
    sidecar.on("GET", path, waited(5, cursor="c-5"))
    got = []
    for found in client.events("x", filter="a:b"):
        got.append(found["sequence"])
        if len(got) == 3:
            break
    assert got == [1, 2, 3]
    assert [it["sequence"] for it in client.wait_for_event("x", filter="a:b")] == [4]
    assert [it["sequence"] for it in client.wait_for_event("x", filter="a:b")] == [5]
    assert [it.query.get("ack") for it in sidecar.asked] == [None, "c-2", "c-2", "c-4"]
    assert {it.query["filter"] for it in sidecar.asked} == {"a:b"}


def test_events_after(sidecar: ScriptedSidecar, client: Client) -> None:
    """With ``since`` a loop carries a cursor of its own."""
    sidecar.on("GET", "/api/events/wait/x", waited(1, cursor="c-1"))
    sidecar.on("GET", "/api/events/wait/x", waited(2, cursor="c-2"))
    events = client.events("x", since="evt-0")
    assert [next(events)["sequence"] for _ in range(2)] == [1, 2]
    assert [it.query["since"] for it in sidecar.asked] == ["evt-0", "c-1"]


def test_gap(sidecar: ScriptedSidecar, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever loses events is told: by a call, or in the log."""
    sidecar.on("GET", "/api/events/wait/x", waited(cursor="c", gap=True, timeout=False))
    sidecar.on("GET", "/api/events/wait/x", waited(1, cursor="c"))
    told: list[str] = []
    next(client.events("x", on_gap=lambda: told.append("gap")))
    assert told == ["gap"]
    sidecar.script.clear()
    sidecar.on("GET", "/api/events/wait/y", waited(2, cursor="c", gap=True))
    next(client.events("y"))
    assert "missing" in caplog.text


def test_new_token_in_the_file(sidecar: ScriptedSidecar, tmp_path: Path) -> None:
    """A token file that is replaced counts from the next request on."""
    file = tmp_path / "token"
    file.write_text("one")
    sidecar.on("GET", "/health", {})
    with Client(sidecar.url, token_file=file, environ={}) as client:
        client.health()
        file.write_text("another")
        client.health()
    assert [it.headers["authorization"] for it in sidecar.asked] == ["Bearer one", "Bearer another"]


def test_first_context(sidecar: ScriptedSidecar, tmp_path: Path) -> None:
    """What the sidecar put beside the token at the start is read; a missing or damaged file is none."""
    file = tmp_path / "context.json"
    client = Client(sidecar.url, "t", environ={"CONTEXT_FILE": str(file)})
    assert client.first_context() is None
    file.write_text('{"issue_id": "i"}')
    assert client.first_context() == {"issue_id": "i"}
    file.write_text("{")
    assert client.first_context() is None
    assert Client(sidecar.url, "t", environ={}).first_context() is None


def test_follow(sidecar: ScriptedSidecar, client: Client) -> None:
    """A body is read while it comes; what goes wrong is told as elsewhere."""
    sidecar.on("GET", "/api/agents/a-1/logs", b"one\ntwo\n")
    with client.follow("/api/agents/a-1/logs", {"follow": True}) as pieces:
        assert b"".join(pieces) == b"one\ntwo\n"
    assert sidecar.asked[0].headers["authorization"] == "Bearer t"
    sidecar.refuse("GET", "/api/agents/a-2/logs", 403, "AUTH_005", "No.")
    with pytest.raises(NotAllowed), client.follow("/api/agents/a-2/logs"):
        pass
    nobody = Client("http://127.0.0.1:1", "t", environ={})
    with pytest.raises(Unreachable), nobody.follow("/api/agents/a-1/logs"):
        pass


# What goes on


def test_holding(sidecar: ScriptedSidecar, client: Client) -> None:
    """A claim is renewed while the block runs, and released after it."""
    sidecar.on("POST", "/api/claims", CLAIMED, 201)
    sidecar.on("POST", "/api/claims/clm-1/renew", {**CLAIMED, "expires_at": "later"})
    sidecar.on("DELETE", "/api/claims/clm-1", {})
    with client.holding("src/**", ttl_seconds=1) as held:
        assert (held.id, held.fence) == ("clm-1", 7)
        until(lambda: held.expires_at == "later")
        held.check()
    assert sidecar.asked[-1].method == "DELETE"
    many = len(sidecar.asked)
    time.sleep(0.5)
    assert len(sidecar.asked) == many


def test_holding_what_another_has(sidecar: ScriptedSidecar, client: Client) -> None:
    """The block does not begin."""
    sidecar.refuse("POST", "/api/claims", 409, "CLM_001", "a-2 has it.")
    with pytest.raises(Conflict, match="a-2 has it"), client.holding("x"):
        pytest.fail("it began")


def test_holding_that_is_lost(sidecar: ScriptedSidecar, client: Client) -> None:
    """Who lost the claim meanwhile is told, at the check and at the end."""
    sidecar.on("POST", "/api/claims", CLAIMED, 201)
    sidecar.refuse("POST", "/api/claims/clm-1/renew", 409, "CLM_001", "It has ended.")
    lost = pytest.raises(ClaimLost, match=r"clm-1 ended while it was held\. It has ended")
    with lost, client.holding("x", ttl_seconds=1) as held:
        until(lambda: held.is_lost)
        with pytest.raises(ClaimLost):
            held.check()
    assert sidecar.asked[-1].method == "DELETE"


def test_error_in_the_block_comes_first(sidecar: ScriptedSidecar, client: Client) -> None:
    """What went wrong in the block is what is raised; the claim is given back all the same."""
    sidecar.on("POST", "/api/claims", CLAIMED, 201)
    sidecar.on("DELETE", "/api/claims/clm-1", {})
    with pytest.raises(ZeroDivisionError), client.holding("x"):
        _ = 1 / 0
    assert sidecar.asked[-1].method == "DELETE"


def test_held_by_the_clock() -> None:
    """A claim that could not be renewed in time counts as lost, counted from when it was asked for."""
    now = [100.0]
    held = Held(CLAIMED, 9, 100.0, lambda: now[0])
    assert held.every_seconds == 3.0
    assert held.failed(Unreachable("no"))
    now[0] = 104.0
    held.renewed({"expires_at": "later"}, 103.0)
    now[0] = 111.9
    assert not held.is_lost
    now[0] = 112.0
    assert not held.failed(Unreachable("no"))
    with pytest.raises(ClaimLost):
        held.check()


def test_heartbeats(sidecar: ScriptedSidecar, client: Client) -> None:
    """Heartbeats go on through troubles, until they are stopped."""
    path = "/api/agents/a-1/heartbeat"
    sidecar.refuse("POST", path, 500, "INTERNAL", "Oh.")
    sidecar.on("POST", path, {})
    with client.heartbeats(0.02) as beating:
        until(lambda: len(sidecar.asked) >= 3)
        assert beating.is_alive
    until(lambda: not beating.is_alive)


def test_heartbeats_of_an_agent_that_is_gone(sidecar: ScriptedSidecar, client: Client) -> None:
    """When the token has ended for good, there is nobody to speak for."""
    sidecar.refuse("POST", "/api/agents/a-1/heartbeat", 401, "AUTH_004", "Gone.")
    beating = client.heartbeats(0.01).start()
    until(lambda: not beating.is_alive)
    assert len(sidecar.asked) == 1
