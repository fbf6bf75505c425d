"""Each call asks what the contract says, and gives what it says is answered."""

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

import cco_sidecar.client
import cco_sidecar.client.twisted
from cco_sidecar.client import Client, Conflict, NotConfigured, calls, sharing
from cco_sidecar.client.desk import Desk
from cco_sidecar.client.settings import Identity
from cco_sidecar.client.values import Answer, Request, Steps
from tests.client.driving import START, World, answered, refused
from tests.client.test_tokens import token

Call = Callable[[Desk], Steps[Any]]
ME = {"agent_id": "a-1", "agent_type": "python-specialist", "issue_id": "issue-1", "project_id": "p"}
KEYED = True

CASES: list[tuple[Call, str, Any, bool]] = [
    (
        lambda d: calls.publish_event(d, "custom_event", "coordination", {"message": "checkpoint"}),
        "POST /api/events/custom_event",
        {"topic": "coordination", "data": {"message": "checkpoint"}},
        KEYED,
    ),
    (
        lambda d: calls.publish_event(
            d, "x", "t", correlation_id="c", ttl_seconds=5, priority="high", references=("e-1",)
        ),
        "POST /api/events/x",
        {
            "topic": "t",
            "data": None,
            "correlation_id": "c",
            "ttl_seconds": 5,
            "priority": "high",
            "references": ["e-1"],
        },
        KEYED,
    ),
    (
        lambda d: calls.list_events(d, type="x", limit=5, order="asc"),
        "GET /api/events?type=x&limit=5&order=asc",
        None,
        False,
    ),
    (lambda d: calls.get_event(d, "evt-1"), "GET /api/events/evt-1", None, False),
    (
        lambda d: calls.store_result(d, {"status": "success"}),
        "POST /api/results",
        {**ME, "result": {"status": "success"}},
        KEYED,
    ),
    (
        lambda d: calls.list_results(d, issue="i", status="failed"),
        "GET /api/results?issue=i&status=failed",
        None,
        False,
    ),
    (lambda d: calls.get_result(d, "test-engineer"), "GET /api/results/issue-1/test-engineer", None, False),
    (lambda d: calls.get_result(d, "t", "i"), "GET /api/results/i/t", None, False),
    (lambda d: calls.get_result_by_id(d, "res-1"), "GET /api/results/id/res-1", None, False),
    (
        lambda d: calls.spawn_agent(d, "test-engineer", "Test it", runner="demo", environment={"A": "1"}),
        "POST /api/agents/spawn",
        {
            "agent_type": "test-engineer",
            "issue_id": "issue-1",
            "task": "Test it",
            "runner": "demo",
            "environment": {"A": "1"},
        },
        KEYED,
    ),
    (lambda d: calls.list_agents(d, status="running"), "GET /api/agents?status=running", None, False),
    (calls.get_agent, "GET /api/agents/a-1", None, False),
    (
        lambda d: calls.kill_agent(d, "a-2", force=True),
        "DELETE /api/agents/a-2?force=true&timeout_seconds=30",
        None,
        False,
    ),
    (calls.heartbeat, "POST /api/agents/a-1/heartbeat", {}, False),
    (
        lambda d: sharing.claim(d, "src/**", 60, wait=5000),
        "POST /api/claims?wait=5000",
        {"resources": ["src/**"], "ttl_seconds": 60, "mode": "exclusive"},
        KEYED,
    ),
    (
        lambda d: sharing.claim(d, ["a", "name:b"], mode="shared"),
        "POST /api/claims",
        {"resources": ["a", "name:b"], "ttl_seconds": 600, "mode": "shared"},
        KEYED,
    ),
    (lambda d: sharing.renew(d, "clm-1"), "POST /api/claims/clm-1/renew", {}, False),
    (lambda d: sharing.renew(d, "clm-1", 90), "POST /api/claims/clm-1/renew", {"ttl_seconds": 90}, False),
    (lambda d: sharing.get_task(d, "tsk-1"), "GET /api/tasks/tsk-1", None, False),
    (
        lambda d: sharing.checkpoint(d, "tsk-1", 7, lease_seconds=60),
        "POST /api/tasks/tsk-1/checkpoint",
        {"fence": 7, "lease_seconds": 60},
        KEYED,
    ),
    (
        lambda d: sharing.release_task(d, "tsk-1", 7, "too hard"),
        "POST /api/tasks/tsk-1/release",
        {"fence": 7, "reason": "too hard"},
        KEYED,
    ),
    (sharing.list_claims, "GET /api/claims", None, False),
    (lambda d: sharing.add_task(d, {"type": "review"}), "POST /api/tasks", {"type": "review"}, KEYED),
    (
        lambda d: sharing.claim_task(d, "review", issue="i", lease_seconds=9, wait=100),
        "POST /api/tasks/claim?wait=100",
        {"types": ["review"], "issue": "i", "lease_seconds": 9},
        KEYED,
    ),
    (sharing.claim_task, "POST /api/tasks/claim", {"lease_seconds": 300}, KEYED),
    (sharing.list_tasks, "GET /api/tasks", None, False),
    (
        lambda d: sharing.checkpoint(d, "tsk-1", 7, {"step": 2}),
        "POST /api/tasks/tsk-1/checkpoint",
        {"fence": 7, "checkpoint": {"step": 2}},
        KEYED,
    ),
    (
        lambda d: sharing.complete(d, "tsk-1", 7, {"ok": True}),
        "POST /api/tasks/tsk-1/complete",
        {"fence": 7, "result": {"ok": True}},
        KEYED,
    ),
    (lambda d: sharing.release_task(d, "tsk-1", 7), "POST /api/tasks/tsk-1/release", {"fence": 7}, KEYED),
    (lambda d: sharing.save_checkpoint(d, {"step": 2}), "PUT /api/agents/a-1/checkpoint", {"step": 2}, False),
    (sharing.load_checkpoint, "GET /api/agents/a-1/checkpoint", None, False),
    (lambda d: sharing.briefing(d, 2000), "GET /api/agents/a-1/briefing?budget_tokens=2000", None, False),
    (
        lambda d: sharing.send_message(d, "a-2", "look", kind="steer", ack=True),
        "POST /api/messages",
        {"to": "a-2", "kind": "steer", "body": "look", "ack": True},
        KEYED,
    ),
    (
        lambda d: sharing.acknowledge_message(d, "m-1", "done"),
        "POST /api/messages/m-1/ack",
        {"state": "done"},
        False,
    ),
    (sharing.list_messages, "GET /api/messages", None, False),
    (lambda d: sharing.get_message(d, "m-1"), "GET /api/messages/m-1", None, False),
    (calls.health, "GET /health", None, False),
]


@pytest.mark.parametrize(("call", "line", "body", "keyed"), CASES, ids=[case[1] for case in CASES])
def test_request(call: Call, line: str, body: Any, keyed: bool) -> None:
    """Method, path, body and key are the contract's, and the answer is given as it is."""
    world = World()
    assert world.do(call(world.desk()), answered({"said": "so"})) == {"said": "so"}
    (asked,) = world.asked
    assert f"{asked.method} {asked.target}" == line
    assert (None if asked.body is None else json.loads(asked.body)) == body
    assert ("Idempotency-Key" in asked.headers) is keyed
    assert asked.repeatable


def test_one_key_for_a_call() -> None:
    """Each call has a key of its own; a key that is given is sent."""
    world = World()
    desk = world.desk()
    for key in (None, None, "mine"):
        world.do(calls.publish_event(desk, "x", "t", idempotency_key=key), answered({}))
    first, second, third = (it.headers["Idempotency-Key"] for it in world.asked)
    assert first != second
    assert third == "mine"


def test_nothing_there() -> None:
    """What may be missing is None, and giving back what is gone is no error."""
    world = World()
    desk = world.desk()
    assert world.do(sharing.claim_task(desk), answered(None, 204)) is None
    assert world.do(sharing.load_checkpoint(desk), refused(404, "NOT_FOUND")) is None
    assert world.do(sharing.load_checkpoint(desk), answered(None, 204)) is None
    assert world.do(sharing.save_checkpoint(desk, {}), answered(None, 204)) is None
    assert world.do(sharing.complete(desk, "tsk-1", 1), answered(None, 204)) is None
    world.do(sharing.release(desk, "clm-1"), refused(404, "NOT_FOUND"))
    world.do(sharing.release(desk, "clm-1"), answered({"released": True}))


@pytest.mark.parametrize("call", [calls.heartbeat, calls.get_context, lambda d: calls.store_result(d, {})])
def test_without_identity(call: Call) -> None:
    """Who is nobody is told what is missing, before anything is sent."""
    world = World()
    desk = world.desk()
    desk.identity = Identity()
    with pytest.raises(NotConfigured, match=r"AGENT_ID|ISSUE_ID"):
        world.do(call(desk))
    assert world.asked == []


# Context

CONTEXT = {"issue_id": "issue-1", "context": {"relevant_files": []}}


def test_context_is_kept() -> None:
    """An unchanged context is not sent again; nobody who changes what was given changes what is kept."""
    world = World()
    desk = world.desk()
    first = world.do(calls.get_context(desk, task="x y"), answered(CONTEXT, ETag='"one"'))
    first["context"].clear()
    second = world.do(calls.get_context(desk, task="x y"), answered(None, 304, ETag='"one"'))
    assert [it.target for it in world.asked] == ["/api/context/issue-1/python-specialist?task=x+y"] * 2
    assert [it.headers.get("If-None-Match") for it in world.asked] == [None, '"one"']
    assert second == CONTEXT
    assert (first.is_unchanged, second.is_unchanged) == (False, True)
    assert second.size_bytes == len(json.dumps(CONTEXT))
    third = world.do(calls.get_context(desk, task="x y"), answered({**CONTEXT, "n": 1}, ETag='"two"'))
    assert (third["n"], third.etag) == (1, '"two"')


def test_contexts_that_are_kept_are_bounded() -> None:
    """A client remembers a few contexts, not all that it ever had."""
    world = World()
    desk = world.desk()
    for number in range(10):
        world.do(calls.get_context(desk, task=str(number)), answered(CONTEXT, ETag='"one"'))
    assert len(desk.contexts) == 4
    world.do(calls.get_context(desk, task="0"), answered(CONTEXT, ETag='"one"'))
    assert "If-None-Match" not in world.asked[-1].headers


def test_context_as_markdown() -> None:
    """For a prompt there is a text."""
    world = World()
    text = world.do(
        calls.get_context_markdown(world.desk(), budget_tokens=500), answered()._replace(body="# Schön".encode())
    )
    assert text == "# Schön"
    assert world.asked[0].target == "/api/context/issue-1/python-specialist?budget_tokens=500&format=markdown"
    assert world.asked[0].headers["Accept"] == "text/markdown"


def test_briefing_as_markdown() -> None:
    """So there is of a briefing."""
    world = World()
    text = world.do(sharing.briefing_markdown(world.desk(), 900), answered()._replace(body=b"# You"))
    assert (text, world.asked[0].target) == ("# You", "/api/agents/a-1/briefing?budget_tokens=900&format=markdown")


# Waiting for a claim, or a task


def taking(world: World, answer: Answer) -> Callable[[Request], Answer]:
    """Let the sidecar take all the time that it has."""

    def told(request: Request) -> Answer:
        world.time += int(request.target.partition("wait=")[2]) / 1000
        return answer

    return told


def test_long_wait_for_a_claim() -> None:
    """A queue is stood in for longer than the sidecar allows at a time; what it said last is told in the end."""
    world = World()
    busy = taking(world, refused(409, "CLM_001", {"agent_id": "a-2"}))
    with pytest.raises(Conflict, match="CLM_001"):
        world.do(sharing.claim(world.desk(), "x", wait=400_000), busy, busy)
    assert [it.target for it in world.asked] == ["/api/claims?wait=300000", "/api/claims?wait=100000"]
    assert len({it.headers["Idempotency-Key"] for it in world.asked}) == 2
    assert world.do(sharing.claim(world.desk(), "x", wait=400_000), busy, answered({"id": "c"}, 201)) == {"id": "c"}
    with pytest.raises(Conflict):
        world.do(sharing.claim(world.desk(), "x"), refused(409, "CLM_001"))


def test_long_wait_for_a_task() -> None:
    """So it is with tasks; and no wait goes on beyond the token's end."""
    world = World()
    none = taking(world, answered(None, 204))
    desk = world.desk(token(iat=START, exp=START + 200))
    assert world.do(sharing.claim_task(desk, wait=100_000), none) is None
    successor = answered({"token": token(iat=START + 100, exp=START + 1000)})
    assert world.do(sharing.claim_task(desk, wait=500_000), successor, none, none, none) is None
    assert [it.target.partition("wait=")[2] for it in world.asked] == ["100000", "", "90000", "300000", "110000"]


# One surface

PUBLIC = sorted(
    name
    for module in (calls, sharing)
    for name, found in vars(module).items()
    if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_")
)


@pytest.mark.parametrize("name", PUBLIC)
def test_both_clients_have_every_call(name: str) -> None:
    """A call is the same in both clients, with its text and its parameters."""
    call = getattr(calls, name, None) or getattr(sharing, name)
    wanted = list(inspect.signature(call).parameters.values())[1:]
    for kind in (Client, cco_sidecar.client.twisted.Client):
        method = getattr(kind, name)
        assert method.__doc__ == call.__doc__ is not None
        assert list(inspect.signature(method).parameters.values())[1:] == wanted


def test_both_clients_have_nothing_else() -> None:
    """What goes on in both is named the same, too."""
    blocking = {name for name in vars(Client) if not name.startswith("_")}
    deferring = {name for name in vars(cco_sidecar.client.twisted.Client) if not name.startswith("_")}
    assert deferring - blocking == set()
    assert blocking - deferring == {"follow", "is_closed", "pause", "seconds_left", "server"}


def test_functions() -> None:
    """What the package exports is there, and documented."""
    for name in cco_sidecar.client.__all__:
        assert getattr(cco_sidecar.client, name).__doc__, name
