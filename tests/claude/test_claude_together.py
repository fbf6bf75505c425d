"""Real `claude` processes beside each other: they wait for each other, and are ended."""

import time

import psutil

from tests.claude.cast import Part, Role, ask, cco, use
from tests.claude.fleet import Fleet, command_of, until
from tests.claude.real_claude import needs_claude


@needs_claude
def test_one_waits_for_the_others_event(fleet: Fleet) -> None:
    """Both ways, with the cursor that the wait before gave: each event is had once, and none is missed."""
    had: list[int] = []

    def waiter(_: Role) -> Part:
        first = yield from ask("wait_for_event", event_type="stage", timeout=20_000)
        had.extend(event["data"]["number"] for event in first["events"])
        yield from cco("publish_event", event_type="stage_seen", topic="stages", data={})
        later = yield from ask("wait_for_event", event_type="stage", timeout=20_000, since=first["next_cursor"])
        had.extend(event["data"]["number"] for event in later["events"])
        yield from cco("store_result", result={"status": "success", "had": had})
        return "I had both."

    def teller(_: Role) -> Part:
        yield from cco("publish_event", event_type="stage", topic="stages", data={"number": 1})
        seen = yield from ask("wait_for_event", event_type="stage_seen", timeout=20_000)
        assert len(seen["events"]) == 1, seen
        yield from cco("publish_event", event_type="stage", topic="stages", data={"number": 2})
        yield from cco("store_result", result={"status": "success"})
        return "I told both."

    fleet.plays |= {"python-specialist": waiter, "test-engineer": teller}
    one, other = fleet.spawn("python-specialist"), fleet.spawn("test-engineer")
    for agent_id in (one, other):
        assert fleet.ended(agent_id)["status"] == "completed", fleet.story(agent_id)
    assert had == [1, 2]
    assert fleet.result_of(fleet.agent(one)) == {"status": "success", "had": [1, 2]}
    assert fleet.result_of(fleet.agent(other)) == {"status": "success"}
    assert [event["publisher"] for event in fleet.events("stage")] == [other, other]


@needs_claude
def test_ended_in_its_work(fleet: Fleet) -> None:
    """With it go its MCP server, its shell and what that left behind, and its claims; its end is told once."""

    def worker(_: Role) -> Part:
        yield from ask("claim", resource="shop.py")
        yield from use("Bash", command="setsid sleep 298 > /dev/null 2>&1 & sleep 299")
        return "Nobody ended me."

    fleet.plays["python-specialist"] = worker
    agent_id = fleet.spawn("python-specialist")
    claude = psutil.Process(until(lambda: fleet.agent(agent_id)["process_id"], lambda: fleet.story(agent_id)))

    def family() -> list[psutil.Process]:
        found = [claude, *claude.children(recursive=True)]
        commands = [command_of(process.pid) for process in found]
        wanted = ("cco_sidecar mcp", "sleep 298", "sleep 299")
        return found if all(any(word in command for command in commands) for word in wanted) else []

    processes = until(family, lambda: fleet.story(agent_id))
    assert [claim["agent_id"] for claim in fleet.claims()] == [agent_id]
    began = time.monotonic()
    fleet.ok("DELETE", f"/api/agents/{agent_id}?timeout_seconds=10")
    assert time.monotonic() - began < 8, "it had to be killed"
    assert [process for process in processes if process.is_running()] == []
    assert fleet.claims() == []
    agent = fleet.ended(agent_id)
    assert (agent["status"], agent["result_id"]) == ("killed", None)
    assert agent["usage"]["turns"] == 2
    assert agent["usage"]["input_tokens"] > 100
    ends = until(lambda: fleet.events("agent_failed,agent_completed"), lambda: fleet.story(agent_id))
    assert [(event["data"]["agent_id"], event["data"]["status"]) for event in ends] == [(agent_id, "killed")]
