"""Webhooks and dead letters over HTTP (contract section 5)."""

import re
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.web.receiver import Receiver
from tests.web.sidecar import TIME, Sidecar, until
from tests.web.test_status_api import metrics

SHOWN = {
    "id", "url", "selection", "created_at", "state", "reason", "position", "pending", "delivered", "expired",
    "dead_letters", "consecutive_failures", "last_success_at", "last_failure_at", "last_failure",
}  # fmt: skip
QUICK = {"allowed_networks": ["127.0.0.0/8"], "max_attempts": 2, "first_retry_seconds": 1, "timeout_seconds": 5}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def begin(start: Callable[..., Sidecar]) -> Callable[[], Sidecar]:
    """Start a sidecar that may send to this machine, and is quick to give up; called in the test's thread."""
    return lambda: start(webhooks=QUICK)


def registered(sidecar: Sidecar, url: str, **body: Any) -> Any:
    """Register a webhook; gives the answer."""
    return sidecar.admin.post("/api/webhooks", {"url": url, "selection": {}, **body}).ok(201)


def test_life(begin: Callable[[], Sidecar], receiver: Receiver) -> None:
    """A webhook gets signed events, shows how it does without its secret, and is gone when it is deleted."""
    sidecar = begin()
    made = registered(sidecar, receiver.url, selection={"types": ["build_done"], "filter": "n:>1"})
    assert set(made) == {*SHOWN, "secret"}
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    assert (made["url"], made["state"], made["pending"]) == (receiver.url, "active", 0)
    assert made["selection"] == {"types": ["build_done"], "filter": "n:>1"}
    assert TIME.fullmatch(made["created_at"])
    agent = sidecar.agent()
    agent.publish("build_done", n=1)
    event = agent.publish("build_done", n=2)
    until(lambda: receiver.got, "a message")
    (got,) = receiver.got
    assert got.is_signed_with(made["secret"])
    assert got.id == event["event_id"]
    assert got.body["data"] == agent.get(f"/api/events/{event['event_id']}").ok()
    assert (got.body["type"], got.body["timestamp"]) == ("build_done", event["timestamp"])
    assert got.headers["content-type"] == "application/json"
    until(lambda: sidecar.admin.get(f"/api/webhooks/{made['id']}").ok()["delivered"] == 1, "the count")
    shown = sidecar.admin.get(f"/api/webhooks/{made['id']}").ok()
    assert set(shown) == SHOWN
    assert (shown["position"], shown["consecutive_failures"]) == (event["cursor"], 0)
    assert TIME.fullmatch(shown["last_success_at"])
    assert sidecar.admin.get("/api/webhooks").ok() == {"webhooks": [shown]}
    assert sidecar.admin.get("/api/webhooks", project="beta").ok() == {"webhooks": []}
    assert metrics(sidecar)["sidecar_webhook_deliveries_total"] == {("delivered",): 1.0}
    assert sidecar.admin.delete(f"/api/webhooks/{made['id']}").ok() == {"id": made["id"], "deleted": True}
    sidecar.admin.get(f"/api/webhooks/{made['id']}").refused(404, "NOT_FOUND")
    agent.publish("build_done", n=3)
    assert list((sidecar.settings.home / "webhooks").iterdir()) == []
    assert len(receiver.got) == 1


def test_own_secret(begin: Callable[[], Sidecar], receiver: Receiver) -> None:
    """A secret that is given is the one that signs; it lies in the home, private, and nowhere in the storage or log."""
    sidecar = begin()
    secret = "whsec_" + "QUJD" * 10
    made = registered(sidecar, receiver.url + "/T0/path-password", secret=secret)
    assert made["secret"] == secret
    sidecar.agent().publish("x")
    until(lambda: receiver.got, "a message")
    assert receiver.got[0].is_signed_with(secret)
    file = sidecar.settings.home / "webhooks" / f"{made['id']}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for path in sidecar.storage.rglob("*"):
        if path.is_file():
            assert b"QUJDQUJD" not in path.read_bytes()
            assert b"path-password" not in path.read_bytes()
    assert "QUJDQUJD" not in (sidecar.settings.home / "audit.log").read_text()


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"url": "ftp://example.org/"}, "VAL_002", "$.url"),
        ({"url": "http://user:pw@example.org/"}, "VAL_002", "$.url"),
        ({"url": "http://10.0.0.1/"}, "VAL_002", "$.url"),
        ({"url": "http://[::1]/"}, "VAL_002", "$.url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "VAL_002", "$.url"),
        ({"url": "https://8.8.8.8/" + "a" * 2048}, "VAL_002", "$.url"),
        ({"url": "https://8.8.8.8/", "secret": "short"}, "VAL_002", "$.secret"),
        ({"url": "https://8.8.8.8/", "selection": {"typ": "x"}}, "VAL_002", "$.selection"),
        ({"url": "https://8.8.8.8/", "selection": {"type": "x", "types": ["x"]}}, "VAL_002", "$.selection.types"),
        ({"url": "https://8.8.8.8/", "selection": {"types": []}}, "VAL_002", "$.selection.types"),
        ({"url": "https://8.8.8.8/", "selection": {"types": ["a b"]}}, "VAL_001", None),
        ({"url": "https://8.8.8.8/", "selection": {"filter": "a==b"}}, "EVT_003", None),
        ({"url": "https://8.8.8.8/", "selection": {}, "more": 1}, "VAL_002", "$"),
        ({}, "VAL_002", "$"),
    ],
)
def test_refused(sidecar: Sidecar, body: Any, code: str, path: str | None) -> None:
    """What cannot be registered is refused with its place; out of the box, this machine and its networks are."""
    answer = sidecar.admin.post("/api/webhooks", body).refused(400, code)
    assert answer.json["details"].get("path") == path
    if code == "EVT_003":
        assert answer.json["details"]["suggestion"] == "a:b"
    if "10.0.0.1" in str(body):
        assert "webhooks.allowed_networks" in answer.json["message"]
    assert sidecar.admin.get("/api/webhooks").ok() == {"webhooks": []}


def test_test(begin: Callable[[], Sidecar], receiver: Receiver) -> None:
    """A test tells what the receiver says; a redirect is not followed."""
    sidecar = begin()
    made = registered(sidecar, receiver.url)
    receiver.script = [(200, {}), (307, {"Location": receiver.url + "/elsewhere"}), (500, {})]
    path = f"/api/webhooks/{made['id']}/test"
    said = [sidecar.admin.post(path).ok() for _ in range(3)]
    assert [(it["delivered"], it["status"]) for it in said] == [(True, 200), (False, 307), (False, 500)]
    assert said[0]["error"] is None
    assert "redirect" in said[1]["error"]
    assert all(it["duration_ms"] > 0 for it in said)
    assert [got.path for got in receiver.got] == ["/hook"] * 3
    assert {got.body["type"] for got in receiver.got} == {"webhook.test"}
    assert all(got.is_signed_with(made["secret"]) for got in receiver.got)
    receiver.close()
    nobody = sidecar.admin.post(path).ok()
    assert (nobody["delivered"], nobody["status"]) == (False, None)
    assert "no connection" in nobody["error"]


def test_dead_letters(begin: Callable[[], Sidecar], receiver: Receiver) -> None:
    """What is refused for good is a dead letter: listed, counted, delivered again under its id, cleared."""
    sidecar = begin()
    made = registered(sidecar, receiver.url)
    empty = {"dead_letters": [], "total": 0, "pushed_out": 0}
    assert sidecar.admin.get("/api/events/dead-letters").ok() == empty
    receiver.script = [(500, {})] * 4
    events = [sidecar.agent().publish("x", n=n)["event_id"] for n in range(2)]
    until(lambda: sidecar.admin.get("/api/events/dead-letters").ok()["total"] == 2, "two dead letters")
    found = sidecar.admin.get("/api/events/dead-letters", webhook=made["id"], limit=1).ok()
    assert (len(found["dead_letters"]), found["total"]) == (1, 2)
    letter = found["dead_letters"][0]
    assert (letter["source"], letter["webhook_id"], letter["attempts"]) == ("webhook", made["id"], 2)
    assert letter["reason"] == "the receiver answered 500"
    assert letter["event"]["event_id"] in events
    assert letter["lost"] is None
    assert sidecar.admin.get("/status").ok()["events"]["dead_letter_queue_size"] == 2
    shown = sidecar.admin.get(f"/api/webhooks/{made['id']}").ok()
    assert (shown["state"], shown["dead_letters"], shown["pending"]) == ("failing", 2, 0)
    counted = metrics(sidecar)["sidecar_webhook_deliveries_total"]
    assert counted == {("refused",): 4.0, ("dead",): 2.0}
    before = len(receiver.got)
    path = f"/api/webhooks/{made['id']}/redeliver"
    again = sidecar.admin.post(path, {"dead_letters": [letter["id"]]}).ok(202)
    assert again == {"id": made["id"], "dead_letters": 1, "cursor": None, "gap": False}
    until(lambda: sidecar.admin.get("/api/events/dead-letters").ok()["total"] == 1, "one dead letter")
    assert [got.id for got in receiver.got[before:]] == [letter["event"]["event_id"]]
    assert sidecar.admin.delete("/api/events/dead-letters", webhook="other").ok() == {"removed": 0}
    sidecar.admin.delete("/api/events/dead-letters", id=letter["id"]).refused(404, "NOT_FOUND")
    assert sidecar.admin.delete("/api/events/dead-letters").ok() == {"removed": 1}
    assert sidecar.admin.get("/api/events/dead-letters").ok() == empty


def test_redeliver_since(begin: Callable[[], Sidecar], receiver: Receiver) -> None:
    """Everything after a cursor comes again."""
    sidecar = begin()
    made = registered(sidecar, receiver.url)
    agent = sidecar.agent()
    events = [agent.publish("x", n=n) for n in range(3)]
    until(lambda: len(receiver.got) == 3, "three messages")
    path = f"/api/webhooks/{made['id']}/redeliver"
    again = sidecar.admin.post(path, {"since": events[0]["cursor"]}).ok(202)
    assert (again["cursor"], again["gap"]) == (events[0]["cursor"], False)
    until(lambda: len(receiver.got) == 5, "two more")
    assert sorted(receiver.events()[3:]) == sorted(event["event_id"] for event in events[1:])
    sidecar.admin.post(path, {"since": "yesterday"}).refused(400, "VAL_001")
    sidecar.admin.post(path, {"since": "earliest", "dead_letters": ["x"]}).refused(400, "VAL_002")
    sidecar.admin.post(path, {"dead_letters": ["x"]}).refused(404, "NOT_FOUND")


def test_stop(start: Callable[..., Sidecar], receiver: Receiver) -> None:
    """What is on its way when the sidecar stops holds nothing up, and comes with the next start."""
    sidecar = start(webhooks=QUICK)
    registered(sidecar, receiver.url)
    receiver.script = [(500, {})]
    event = sidecar.agent().publish("x")
    until(lambda: receiver.got, "an attempt")
    began = time.monotonic()
    sidecar.stop()
    assert time.monotonic() - began < 4
    for webhook in sidecar.service.parts.projects.default.webhooks.listing():
        assert (dict(webhook.unsettled), webhook.timers) == ({}, {}), "something is left that would go on"
    sidecar = start(webhooks=QUICK)
    until(lambda: len(receiver.got) >= 2, "another attempt")
    assert set(receiver.events()) == {event["event_id"]}
