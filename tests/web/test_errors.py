"""Every refusal of contract section 4, each provoked through the public door."""

import errno
import os
import resource
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import jwt
import psutil
import pytest
from attrs import frozen

from cco_sidecar.core.events.history import History
from cco_sidecar.web.errors import STATUS
from tests.conftest import LoggedFailures
from tests.web.forging import LONG_AGO, signed
from tests.web.sidecar import Answer, Client, Sidecar, unique, until
from tests.writers import writer_of

CONTRACT: Mapping[str, set[int]] = {
    "AUTH_001": {401}, "AUTH_002": {401}, "AUTH_004": {401},
    "AUTH_003": {403}, "AUTH_005": {403},
    "SEC_001": {403}, "SEC_002": {403},
    "VAL_001": {400}, "VAL_002": {400},
    "NOT_FOUND": {404},
    "HTTP_405": {405}, "HTTP_411": {411}, "HTTP_413": {413}, "HTTP_415": {415}, "HTTP_431": {431},
    "VAL_003": {422},
    "RATE_001": {429}, "RATE_002": {429},
    "EVT_002": {400}, "EVT_003": {400}, "EVT_004": {403},
    "CTX_001": {500}, "STR_001": {500}, "STR_002": {500},
    "EVT_001": {503}, "STR_003": {503},
    "AGT_002": {400, 404},
    "AGT_001": {500},
    "CLM_001": {409}, "TSK_001": {409},
}  # fmt: skip
"""The table of contract section 4."""

LATER = {"CLM_001", "TSK_001"}
"""Codes of routes that are not served yet."""

BEYOND = {"HTTP_400", "INTERNAL", "VAL_004", "MSG_001"}
"""Ours, where the contract names no code: bytes that are no request, our own mistakes, a second run beside one, a
message to nobody who lives."""

EVENT = {"topic": "t", "data": {}}


@frozen
class World:
    """What a provocation may use; ``start`` makes a sidecar with settings of its own."""

    sidecar: Sidecar
    start: Callable[..., Sidecar]
    patch: pytest.MonkeyPatch


Provocation = Callable[[World], Answer]
PROVOCATIONS: dict[tuple[str, int], list[Provocation]] = {}


def provokes(code: str, status: int) -> Callable[[Provocation], Provocation]:
    """Enter a function into the table."""

    def enter(provocation: Provocation) -> Provocation:
        PROVOCATIONS.setdefault((code, status), []).append(provocation)
        return provocation

    return enter


def failing_write(directory: Path, number: int) -> Callable[[int, bytes], int]:
    """Make an ``os.write`` that, below a directory, writes a little and fails, as on a disk that fills up."""
    write = os.write

    def failing(handle: int, data: bytes) -> int:
        if not os.readlink(f"/proc/self/fd/{handle}").startswith(str(directory)):
            return write(handle, data)
        write(handle, data[:10])
        raise OSError(number, os.strerror(number))

    return failing


@provokes("AUTH_001", 401)
def no_token(world: World) -> Answer:
    return world.sidecar.anyone().get("/api/agents")


@provokes("AUTH_002", 401)
def expired(world: World) -> Answer:
    return world.sidecar.anyone(signed(world.sidecar, now=LONG_AGO)).get("/api/agents")


@provokes("AUTH_004", 401)
def revoked(world: World) -> Answer:
    token = signed(world.sidecar)
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    world.sidecar.admin.delete(f"/api/tokens/{jti}").ok()
    return world.sidecar.anyone(token).get("/api/agents")


@provokes("AUTH_003", 403)
def permission_missing(world: World) -> Answer:
    agent = world.sidecar.agent("python-specialist")
    return agent.post("/api/agents/spawn", {"agent_type": "python-specialist", "issue_id": agent.issue_id})


@provokes("AUTH_005", 403)
def other_issue(world: World) -> Answer:
    return world.sidecar.agent().get("/api/context/someone-elses/python-specialist")


@provokes("SEC_001", 403)
def foreign_host(world: World) -> Answer:
    return world.sidecar.admin.request("GET", "/api/agents", headers={"Host": "evil.example"})


@provokes("SEC_002", 403)
def foreign_origin(world: World) -> Answer:
    return world.sidecar.admin.request("GET", "/health", headers={"Origin": "https://evil.example"})


@provokes("VAL_001", 400)
def bad_identifier(world: World) -> Answer:
    return world.sidecar.admin.get("/api/agents/..%00")


@provokes("VAL_001", 400)
def unknown_parameter(world: World) -> Answer:
    answer = world.sidecar.admin.get("/api/events", topik="x")
    assert "did you mean 'topic'" in answer.json["message"]
    return answer


@provokes("VAL_001", 400)
def repeated_parameter(world: World) -> Answer:
    return world.sidecar.admin.get("/api/events?topic=a&topic=b")


@provokes("VAL_001", 400)
def no_text_in_query(world: World) -> Answer:
    return world.sidecar.admin.get("/api/events?topic=%ff")


@provokes("VAL_001", 400)
def no_text_in_path(world: World) -> Answer:
    return world.sidecar.admin.get("/api/agents/%ff")


@provokes("VAL_001", 400)
def no_number(world: World) -> Answer:
    return world.sidecar.admin.get("/api/events/wait/x", timeout="nan")


@provokes("VAL_001", 400)
def empty_key(world: World) -> Answer:
    return world.sidecar.admin.request("POST", "/api/events/x", EVENT, headers={"Idempotency-Key": ""})


@provokes("VAL_002", 400)
def no_json(world: World) -> Answer:
    return world.sidecar.admin.post("/api/tokens", b"{")


@provokes("VAL_002", 400)
def no_utf8(world: World) -> Answer:
    return world.sidecar.admin.post("/api/events/x", b'{"topic": "t", "data": "\xff"}')


@provokes("VAL_002", 400)
def nested_too_deeply(world: World) -> Answer:
    return world.sidecar.admin.post("/api/tokens", b"[" * 100_000)


@provokes("VAL_002", 400)
def empty_body(world: World) -> Answer:
    return world.sidecar.admin.post("/api/tokens", b"")


@provokes("VAL_002", 400)
def not_what_the_route_takes(world: World) -> Answer:
    body = {"agent_type": "python-specialist", "issue_id": "i", "permissions": ["read_context", 7]}
    answer = world.sidecar.admin.post("/api/tokens", body)
    assert answer.json["details"]["path"] == "$.permissions[1]"
    return answer


@provokes("VAL_002", 400)
def wider_than_the_type(world: World) -> Answer:
    body = {"agent_type": "python-specialist", "issue_id": "i", "permissions": ["spawn_agents"]}
    return world.sidecar.admin.post("/api/tokens", body)


@provokes("MSG_001", 409)
def nobody_to_hear_it(world: World) -> Answer:
    agent = world.sidecar.agent()
    return agent.post("/api/messages", {"to": f"issue:{agent.issue_id}", "body": "anybody?"})


@provokes("VAL_004", 409)
def issue_busy(world: World) -> Answer:
    path = f"/api/issues/{unique('issue')}/start"
    world.sidecar.admin.post(path, {"runner": "idle", "task": "one"}).ok(201)
    return world.sidecar.admin.post(path, {"runner": "idle", "task": "two"})


@provokes("VAL_003", 422)
def key_reused(world: World) -> Answer:
    key = {"Idempotency-Key": unique("key")}
    world.sidecar.admin.request("POST", "/api/events/x", EVENT, headers=key).ok(202)
    return world.sidecar.admin.request("POST", "/api/events/x", {**EVENT, "data": 1}, headers=key)


@provokes("NOT_FOUND", 404)
def no_such_route(world: World) -> Answer:
    return world.sidecar.admin.get("/api/nowhere")


@provokes("NOT_FOUND", 404)
def no_such_agent(world: World) -> Answer:
    return world.sidecar.admin.get("/api/agents/nobody")


@provokes("NOT_FOUND", 404)
def no_such_result(world: World) -> Answer:
    return world.sidecar.admin.get("/api/results/id/res-0")


@provokes("NOT_FOUND", 404)
def no_such_event(world: World) -> Answer:
    return world.sidecar.admin.get("/api/events/evt-0")


@provokes("HTTP_405", 405)
def wrong_method(world: World) -> Answer:
    answer = world.sidecar.admin.request("PUT", "/api/agents/x")
    assert answer.headers["Allow"] == "DELETE, GET"
    return answer


@provokes("HTTP_411", 411)
def no_length(world: World) -> Answer:
    wire = world.sidecar.wire()
    wire.send(world.sidecar.admin.raw("POST", "/api/events/x"))
    return wire.answer()


@provokes("HTTP_413", 413)
def too_large(world: World) -> Answer:
    return world.sidecar.admin.post("/api/events/x", b'"' + b"a" * 1024 * 1024 + b'"')


@provokes("HTTP_413", 413)
def result_too_large(world: World) -> Answer:
    return world.sidecar.admin.post("/api/results", b'"' + b"a" * 16 * 1024 * 1024 + b'"')


@provokes("HTTP_415", 415)
def not_json(world: World) -> Answer:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return world.sidecar.admin.request("POST", "/api/events/x", EVENT, headers=headers)


@provokes("HTTP_431", 431)
def headers_too_large(world: World) -> Answer:
    return world.sidecar.admin.request("GET", "/health", headers={"X-Long": "a" * 20_000})


@provokes("RATE_001", 429)
def too_many_requests(world: World) -> Answer:
    bucket = {"per_minute": 1, "burst": 3}
    agent = world.start(rate_limits={"categories": {"coding": bucket}}).agent("python-specialist")
    for left in (2, 1, 0):
        answer = agent.get("/api/agents")
        answer.ok()
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert answer.headers["X-RateLimit-Remaining"] == str(left)
    refused = agent.get("/api/agents")
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert int(refused.headers["X-RateLimit-Reset"]) > 1_700_000_000
    assert 50 <= int(refused.headers["Retry-After"]) <= 60
    return refused


@provokes("RATE_002", 429)
def too_many_polls(world: World) -> Answer:
    sidecar = world.start(events={"max_parked_polls": 1})
    parked = sidecar.later(sidecar.agent().wait, "never", timeout=3000)
    sidecar.until_parked(1)
    answer = sidecar.agent().get("/api/events/wait/never")
    assert int(answer.headers["Retry-After"]) > 0
    sidecar.admin.publish("never")
    parked.result()
    return answer


@provokes("EVT_002", 400)
def no_event(world: World) -> Answer:
    return world.sidecar.admin.post("/api/events/x", {"data": {}})


@provokes("EVT_002", 400)
def ttl_out_of_range(world: World) -> Answer:
    return world.sidecar.admin.post("/api/events/x", {**EVENT, "ttl_seconds": 86401})


@provokes("EVT_002", 400)
def two_types(world: World) -> Answer:
    return world.sidecar.admin.post("/api/events/x", {**EVENT, "event_type": "y"})


@provokes("EVT_002", 400)
def unknown_field(world: World) -> Answer:
    return world.sidecar.admin.post("/api/events/x", {**EVENT, "prority": "high"})


@provokes("EVT_003", 400)
def no_filter(world: World) -> Answer:
    answer = world.sidecar.admin.get("/api/events", filter="status==passed")
    assert answer.json["details"]["position"] == 6
    assert "status:passed" in str(answer.json["details"])
    return answer


@provokes("EVT_003", 400)
def empty_filter(world: World) -> Answer:
    answer = world.sidecar.admin.get("/api/events/wait/x", filter="")
    assert "position" in answer.json["details"]
    return answer


@provokes("EVT_003", 400)
def long_filter(world: World) -> Answer:
    return world.sidecar.admin.get("/api/events/wait/x", filter="a:" + "b" * 1023)


@provokes("EVT_004", 403)
def foreign_publisher(world: World) -> Answer:
    return world.sidecar.agent().post("/api/events/x", {**EVENT, "publisher": "somebody-else"})


@provokes("EVT_001", 503)
def log_broken(world: World) -> Answer:
    sidecar = world.start()
    agent = sidecar.agent()
    answer = agent.post("/api/events/x", EVENT)
    while answer.status == 202 or "restarted" not in answer.json["message"]:
        writer = writer_of(sidecar.storage / "events" / "alpha")
        with suppress(psutil.NoSuchProcess):
            if writer is not None:
                writer.kill()
        answer = agent.post("/api/events/x", EVENT)
    # When its writers die again and again, nothing more is taken; reading goes on.
    agent.post("/api/events/x", EVENT).refused(503, "EVT_001")
    assert agent.get("/api/events").ok()["events"]
    assert sidecar.admin.get("/readyz").status == 503
    assert sidecar.admin.get("/health").json["status"] == "unhealthy"
    return answer


@provokes("STR_003", 503)
def log_full(world: World) -> Answer:
    sidecar = world.start()
    agent = sidecar.agent()
    directory = sidecar.storage / "events" / "alpha"
    writer = writer_of(directory)
    assert writer is not None
    writer.rlimit(resource.RLIMIT_FSIZE, (max(path.stat().st_size for path in directory.iterdir()), -1))
    answer = agent.post("/api/events/x", EVENT)
    assert answer.headers["Retry-After"]
    assert agent.get("/api/events").ok()["events"] == []
    assert sidecar.admin.get("/readyz").status == 503
    writer.rlimit(resource.RLIMIT_FSIZE, (-1, -1))
    until(lambda: sidecar.admin.get("/readyz").status == 200, "that it looks by itself whether there is room")
    agent.publish("space_again")
    assert [event["event_type"] for event in agent.wait("*")["events"]] == ["space_again"]
    return answer


def _store(agent: Client) -> Answer:
    body = {
        "agent_id": agent.agent_id,
        "agent_type": "chief-architect",
        "issue_id": agent.issue_id,
        "project_id": "alpha",
        "result": {"status": "success"},
    }
    return agent.post("/api/results", body)


def _store_failing(world: World, number: int) -> Answer:
    agent = world.sidecar.agent()
    with world.patch.context() as patch:
        patch.setattr(os, "write", failing_write(world.sidecar.storage / "results", number))
        answer = _store(agent)
    # Nothing of it remains, and nobody heard of it.
    assert agent.get("/api/results").ok()["results"] == []
    assert not list((world.sidecar.storage / "results" / "alpha" / agent.issue_id).rglob("*.json*"))
    assert agent.get("/api/events", type="result_stored", issue=agent.issue_id).ok()["events"] == []
    _store(agent).ok(201)
    return answer


@provokes("STR_001", 500)
def result_not_written(world: World) -> Answer:
    return _store_failing(world, errno.EIO)


@provokes("STR_003", 503)
def results_full(world: World) -> Answer:
    return _store_failing(world, errno.ENOSPC)


@provokes("STR_002", 500)
def result_damaged(world: World) -> Answer:
    agent = world.sidecar.agent()
    whole, damaged = (_store(agent).ok(201) for _ in range(2))
    folder = Path(damaged["storage_path"]).parent
    for path in (folder / "chief-architect.json", folder / "history" / f"{damaged['id']}.json"):
        path.write_bytes(b'{"id": "res')
    listing = agent.get("/api/results").ok()
    assert [line["id"] for line in listing["results"]] == [whole["id"]]
    assert listing["damaged"] == [f"results/alpha/{agent.issue_id}/history/{damaged['id']}.json"]
    agent.get(f"/api/results/id/{whole['id']}").ok()
    agent.get(f"/api/results/id/{damaged['id']}").refused(500, "STR_002")
    return agent.get(f"/api/results/{agent.issue_id}/chief-architect")


@provokes("CTX_001", 500)
def project_gone(world: World) -> Answer:
    sidecar = world.start()
    agent = sidecar.agent()
    shutil.rmtree(sidecar.settings.projects["alpha"])
    return agent.get(f"/api/context/{agent.issue_id}/chief-architect")


@provokes("AGT_002", 404)
def type_in_path(world: World) -> Answer:
    answer = world.sidecar.admin.get("/api/context/i/pyton-specialist")
    assert "did you mean 'python-specialist'" in answer.json["message"]
    return answer


@provokes("AGT_002", 400)
def type_in_body(world: World) -> Answer:
    return world.sidecar.admin.post("/api/agents/spawn", {"agent_type": "pyton-specialist", "issue_id": "i"})


@provokes("AGT_001", 500)
def program_missing(world: World) -> Answer:
    body = {"agent_type": "python-specialist", "issue_id": "i", "runner": "missing"}
    answer = world.sidecar.admin.post("/api/agents/spawn", body)
    assert answer.json["details"]["reason"]
    return answer


@provokes("HTTP_400", 400)
def no_request(world: World) -> Answer:
    wire = world.sidecar.wire()
    wire.send(b"hello\r\n\r\n")
    return wire.answer()


@provokes("INTERNAL", 500)
def our_mistake(world: World) -> Answer:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"Traceback: a secret of {__file__}")

    world.patch.setattr(History, "page", broken)
    answer = world.sidecar.admin.get("/api/events")
    world.patch.undo()
    assert "secret" not in answer.body.decode()
    assert __file__ not in answer.body.decode()
    return answer


def test_every_code_is_provoked() -> None:
    """The contract's table, the code's table and the tests below name the same codes with the same status."""
    provoked: dict[str, set[int]] = {}
    for code, status in PROVOCATIONS:
        provoked.setdefault(code, set()).add(status)
    assert {code: provoked[code] for code in CONTRACT if code not in LATER} == {
        code: statuses for code, statuses in CONTRACT.items() if code not in LATER
    }
    assert set(provoked) == set(CONTRACT) - LATER | BEYOND
    ours: dict[str, set[int]] = {}
    for refusal, (status, _) in STATUS.items():
        ours.setdefault(refusal.code, set()).add(status)
    assert {code: ours.get(code) for code in provoked} == provoked
    assert set(ours) <= set(CONTRACT) | BEYOND


@pytest.fixture
def world(sidecar: Sidecar, start: Callable[..., Sidecar], monkeypatch: pytest.MonkeyPatch) -> World:
    return World(sidecar, start, monkeypatch)


@pytest.mark.parametrize(
    ("code", "status", "provocation"),
    [(*key, provocation) for key, provocations in PROVOCATIONS.items() for provocation in provocations],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_refusal(
    code: str, status: int, provocation: Provocation, world: World, logged_failures: LoggedFailures
) -> None:
    """Each refusal has its status and code, in the contract's form (which `Answer` checks)."""
    provocation(world).refused(status, code)
    expected: dict[str, tuple[type[BaseException], ...]] = {"INTERNAL": (RuntimeError,), "EVT_001": (OSError,)}
    if code in expected:
        assert logged_failures.flush(*expected[code]), "the log knows of it"


def test_request_id(sidecar: Sidecar) -> None:
    """The request's id comes back, in answers and refusals; one unfit for a log is replaced."""
    for path in ("/health", "/nowhere", "/api/agents"):
        answer = sidecar.anyone().request("GET", path, headers={"X-Request-ID": "req-17"})
        assert answer.headers["X-Request-ID"] == "req-17"
    made = {sidecar.anyone().get("/health").headers["X-Request-ID"] for _ in range(3)}
    assert len(made) == 3
    for unfit in ("a" * 129, "\t", "caf\xe9"):
        answer = sidecar.anyone().request("GET", "/health", headers={"X-Request-ID": unfit})
        assert answer.headers["X-Request-ID"] != unfit
