"""Seen from outside: health, status, metrics (contract section 11)."""

from collections.abc import Callable, Mapping
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cco_sidecar import __version__
from tests.web.sidecar import RUNNERS, TIME, Client, Sidecar, until

STATUS: Mapping[str, set[str]] = {
    "agents": {"active", "completed", "failed", "spawned_total", "by_type", "avg_execution_time_ms"},
    "storage": {
        "context_cache_entries", "context_cache_mb", "results_stored", "total_size_mb", "cache_hit_rate",
        "storage_path",
    },
    "events": {
        "total_published", "total_delivered", "active_subscriptions", "queue_depth", "avg_delivery_time_ms",
        "dead_letter_queue_size",
    },
    "performance": {
        "avg_response_time_ms", "p95_response_time_ms", "p99_response_time_ms", "requests_per_second",
        "errors_per_minute", "reactor_lag_ms",
    },
}  # fmt: skip
METRICS = {
    "sidecar_requests_total", "sidecar_request_duration_seconds", "sidecar_active_agents",
    "sidecar_events_published_total", "sidecar_events_delivered_total", "sidecar_event_delivery_seconds",
    "sidecar_parked_polls", "sidecar_cache_hits_total", "sidecar_cache_misses_total", "sidecar_storage_bytes",
    "sidecar_reactor_lag_seconds",
}  # fmt: skip


def status(who: Client) -> Any:
    return who.get("/status").ok()


def metrics(sidecar: Sidecar) -> dict[str, dict[tuple[str, ...], float]]:
    """Give the samples by name, each by its labels' values."""
    answer = sidecar.anyone().get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


@pytest.fixture
def fresh(start: Callable[..., Sidecar]) -> Callable[[], Sidecar]:
    """Start a sidecar where nothing has happened yet; called in the test's thread."""
    return lambda: start(agents={"runners": RUNNERS})


def test_health(sidecar: Sidecar) -> None:
    """Health has the contract's fields, and what it says is measured."""
    first = sidecar.anyone().get("/health").ok()
    assert set(first) == {"status", "service", "version", "uptime_seconds", "checks", "timestamp"}
    assert (first["status"], first["service"], first["version"]) == ("healthy", "orchestration-sidecar", __version__)
    assert set(first["checks"]) == {
        "storage", "event_bus", "memory_usage_mb", "cpu_usage_percent", "active_agents", "event_queue_size",
        "disk_space_available_mb",
    }  # fmt: skip
    resident = psutil.Process().memory_info().rss / 1024 / 1024
    assert resident / 2 < first["checks"]["memory_usage_mb"] < resident * 2
    assert first["checks"]["disk_space_available_mb"] > 0
    assert TIME.fullmatch(first["timestamp"])
    until(lambda: sidecar.anyone().get("/health").ok()["uptime_seconds"] > first["uptime_seconds"], "time passes")
    for probe in ("/livez", "/readyz"):
        assert sidecar.anyone().get(probe).ok()["status"] == "ok"


def test_degraded(start: Callable[..., Sidecar]) -> None:
    """A queue that is nearly full is said, and is no outage."""
    sidecar = start(events={"max_events": 10})
    agent = sidecar.agent()
    for _ in range(9):
        agent.publish("x")
    assert sidecar.anyone().get("/health").ok()["status"] == "healthy"
    agent.publish("x")
    health = sidecar.anyone().get("/health").ok()
    assert (health["status"], health["checks"]["event_queue_size"]) == ("degraded", 10)


def test_nothing_yet(fresh: Callable[[], Sidecar]) -> None:
    """Where nothing happened, nothing is counted; the fields are there."""
    found = status(fresh().admin)
    assert set(found) == {*STATUS, "timestamp"}
    assert {name: set(found[name]) for name in STATUS} == STATUS
    assert found["agents"] == {
        "active": 0,
        "completed": 0,
        "failed": 0,
        "spawned_total": 0,
        "by_type": {},
        "avg_execution_time_ms": 0.0,
    }
    assert {found["events"][name] for name in STATUS["events"]} == {0}
    assert (found["storage"]["results_stored"], found["storage"]["cache_hit_rate"]) == (0, 0.0)


def test_events_are_counted(fresh: Callable[[], Sidecar]) -> None:
    """What is published, delivered, retained and parked is what the numbers say."""
    sidecar = fresh()
    agent = sidecar.agent()
    parked = sidecar.later(agent.wait, "x")
    sidecar.until_parked(1)
    assert status(sidecar.admin)["events"]["active_subscriptions"] == 1
    assert metrics(sidecar)["sidecar_parked_polls"][()] == 1
    for _ in range(3):
        agent.publish("x")
    parked.result()
    agent.wait("x", since="earliest")
    found = status(sidecar.admin)["events"]
    assert (found["total_published"], found["total_delivered"], found["queue_depth"]) == (3, 4, 3)
    assert found["active_subscriptions"] == 0
    assert 0 < found["avg_delivery_time_ms"] < 5000
    measured = metrics(sidecar)
    assert measured["sidecar_events_published_total"][()] == 3
    assert measured["sidecar_events_delivered_total"][()] == 4
    assert measured["sidecar_event_delivery_seconds_count"][()] == 1


def test_agents_are_counted(fresh: Callable[[], Sidecar]) -> None:
    """Agents are counted as they live and end, by type only for those who may know."""
    sidecar = fresh()
    boss = sidecar.agent()

    def spawn(runner: str) -> str:
        body = {"agent_type": "python-specialist", "issue_id": boss.issue_id, "runner": runner}
        return str(boss.post("/api/agents/spawn", body).ok(201)["agent_id"])

    idle = spawn("idle")
    found = status(sidecar.admin)["agents"]
    assert (found["active"], found["by_type"], found["spawned_total"]) == (1, {"python-specialist": 1}, 1)
    assert status(sidecar.anyone())["agents"]["by_type"] == {}
    spawn("brief")
    spawn("failing")
    until(lambda: status(sidecar.admin)["agents"]["active"] == 1, "two ended")
    boss.delete(f"/api/agents/{idle}", force="true").ok()
    found = status(sidecar.admin)["agents"]
    assert (found["active"], found["completed"], found["failed"], found["spawned_total"]) == (0, 1, 2, 3)
    assert found["avg_execution_time_ms"] > 1
    assert metrics(sidecar)["sidecar_active_agents"][()] == 0


def test_storage_is_counted(fresh: Callable[[], Sidecar]) -> None:
    """Results, bytes and the cache are what they are."""
    sidecar = fresh()
    agent = sidecar.agent()
    before = metrics(sidecar)["sidecar_storage_bytes"][()]
    body = {
        "agent_id": agent.agent_id,
        "agent_type": "chief-architect",
        "issue_id": agent.issue_id,
        "project_id": "alpha",
        "result": {"status": "success", "text": "a" * 3_000_000},
    }
    agent.post("/api/results", body).ok(201)
    for _ in range(4):
        agent.get(f"/api/context/{agent.issue_id}/chief-architect").ok()
    found = status(sidecar.admin)["storage"]
    assert found["results_stored"] == 1
    assert found["total_size_mb"] > 2.8
    assert (found["context_cache_entries"], found["cache_hit_rate"]) == (1, 0.75)
    assert found["context_cache_mb"] > 0
    assert found["storage_path"] == str(sidecar.storage)
    measured = metrics(sidecar)
    assert measured["sidecar_storage_bytes"][()] > before + 2_900_000
    assert measured["sidecar_cache_hits_total"][()] == 3
    assert measured["sidecar_cache_misses_total"][()] == 1


def test_totals_only_without_a_token(sidecar: Sidecar) -> None:
    """Who shows no sound token sees no names."""
    for who in (sidecar.anyone(), sidecar.anyone("garbage")):
        answer = who.get("/status")
        assert answer.ok()["storage"]["storage_path"] is None
        for name in ("alpha", "beta", str(sidecar.storage), "python-specialist"):
            assert name not in answer.body.decode()
    for path in ("/health", "/metrics"):
        assert str(sidecar.storage) not in sidecar.anyone().get(path).body.decode()


def test_parked_time_is_no_response_time(fresh: Callable[[], Sidecar]) -> None:
    """A poll that was parked for long does not make the sidecar look slow."""
    sidecar = fresh()
    agent = sidecar.agent()
    assert agent.wait("never", timeout=600)["timeout"]
    found = status(sidecar.admin)["performance"]
    assert found["p99_response_time_ms"] < 500
    assert 0 < found["avg_response_time_ms"] <= found["p99_response_time_ms"]
    total = metrics(sidecar)["sidecar_request_duration_seconds_sum"][("GET /api/events/wait/<types>",)]
    assert total < 0.5


def test_requests_are_counted(fresh: Callable[[], Sidecar]) -> None:
    """Requests are counted by route and status, whatever their paths; rates and errors follow."""
    sidecar = fresh()
    for n in range(5):
        sidecar.admin.get(f"/api/agents/nobody-{n}")
        sidecar.admin.get(f"/nowhere-{n}")
    sidecar.anyone().get("/api/agents")
    found = metrics(sidecar)["sidecar_requests_total"]
    assert found["GET /api/agents/<agent_id>", "404"] == 5
    assert found["unrouted", "404"] == 5
    assert found["GET /api/agents", "401"] == 1
    assert not [labels for labels in found if "nobody" in labels[0] or "nowhere" in labels[0]]
    performance = status(sidecar.admin)["performance"]
    assert performance["requests_per_second"] > 1
    assert performance["errors_per_minute"] == 0
    assert performance["p95_response_time_ms"] <= performance["p99_response_time_ms"]


def test_metric_names(sidecar: Sidecar) -> None:
    """Every metric of the contract is there, under its name."""
    sidecar.agent().publish("x")
    found = metrics(sidecar)
    for name in METRICS:
        assert name in found or f"{name}_count" in found, name
    assert metrics(sidecar)["sidecar_reactor_lag_seconds_count"][()] > 0
