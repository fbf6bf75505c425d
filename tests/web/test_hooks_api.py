"""Claude Code's hooks over HTTP: under a hook key or a token, in its own forms."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.web.sidecar import RUNNERS, Client, Sidecar, unique, until


def hook(who: Client, event: str, **more: object) -> Any:
    return who.post("/api/hooks/claude", {"hook_event_name": event, "session_id": "s-1", **more}).ok()


def edit(who: Client, path: str, tool: str = "Edit") -> str | None:
    """Ask to edit a file; gives why not."""
    name = "notebook_path" if tool == "NotebookEdit" else "file_path"
    answer = hook(who, "PreToolUse", tool_name=tool, tool_input={name: path, "old_string": "a", "new_string": "b"})
    if answer == {}:
        return None
    said = answer["hookSpecificOutput"]
    assert (said["hookEventName"], said["permissionDecision"]) == ("PreToolUse", "deny")
    return str(said["permissionDecisionReason"])


def after(who: Client, tool: str, path: str = "", **more: object) -> str | None:
    """Tell that a tool was used; gives what the model is told beside."""
    answer = hook(who, "PostToolUse", tool_name=tool, tool_input={"file_path": path} if path else {}, **more)
    return None if answer == {} else str(answer["hookSpecificOutput"]["additionalContext"])


def spawned(sidecar: Sidecar, runner: str = "idle") -> tuple[Client, Client]:
    """Start an agent; gives it by its token's rights, and by its hook key."""
    issue = unique("issue")
    order = {"agent_type": "python-specialist", "issue_id": issue, "runner": runner, "task": "Mend the wheel."}
    agent_id = sidecar.admin.post("/api/agents/spawn", order).ok(201)["agent_id"]
    key = sidecar.ground.hook_keys.make("alpha", agent_id)
    return sidecar.agent("python-specialist", issue), Client(sidecar, key, agent_id, issue)


def root(sidecar: Sidecar) -> Path:
    return sidecar.settings.projects["alpha"]


def test_the_key_is_in_the_environment(sidecar: Sidecar) -> None:
    """A spawned agent finds it there; it opens this route and no other, and ends with its agent."""
    agent, hooks = spawned(sidecar, "hooked")
    until(lambda: b"CCO_HOOK_KEY" in log_of(sidecar, hooks), "the agent's environment")
    assert f'"CCO_HOOK_KEY": "{hooks.token}"'.encode() in log_of(sidecar, hooks)
    until(lambda: agent.get(f"/api/agents/{hooks.agent_id}").json["ended_at"], "the agent's end")
    refused = hooks.post("/api/hooks/claude", {"hook_event_name": "Stop"}).refused(401, "AUTH_004")
    assert "has ended" in refused.json["message"]


def log_of(sidecar: Sidecar, agent: Client) -> bytes:
    return sidecar.admin.get(f"/api/agents/{agent.agent_id}/logs").body


def test_a_hook_key_opens_nothing_else(sidecar: Sidecar) -> None:
    """And is refused with a sentence that says where the token is."""
    _, hooks = spawned(sidecar)
    assert hook(hooks, "Stop")["decision"] == "block"
    for path in ("/api/agents", "/api/events", "/api/events/wait/x", f"/api/agents/{hooks.agent_id}/briefing"):
        assert "JWT_TOKEN_FILE" in hooks.get(path).refused(401, "AUTH_001").json["message"]
    hooks.post("/api/events/mine", {"topic": "t", "data": {}}).refused(401, "AUTH_001")
    hooks.post("/api/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"}).refused(401, "AUTH_001")
    assert str(hooks.token) not in str(hooks.get("/api/agents").json)


def test_keys_that_are_none(sidecar: Sidecar) -> None:
    """A key of another agent, another project, another secret: nobody's."""
    _, hooks = spawned(sidecar)
    key = str(hooks.token)
    proof = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
    for wrong in (key[:-2], key.replace("alpha", "beta"), f"cch_alpha/{hooks.agent_id}/{proof}", "cch_", "cch_a/b/c"):
        Client(sidecar, wrong).post("/api/hooks/claude", {"hook_event_name": "Stop"}).refused(401, "AUTH_001")
    nobody = sidecar.ground.hook_keys.make("alpha", "agent-that-never-was")
    Client(sidecar, nobody).post("/api/hooks/claude", {"hook_event_name": "Stop"}).refused(401, "AUTH_001")


@pytest.mark.parametrize("tool", ["Edit", "Write", "MultiEdit", "NotebookEdit"])
def test_a_claimed_file(sidecar: Sidecar, tool: str) -> None:
    """Denied with who and until when; the advice changes; free again when the claim is."""
    holder = sidecar.agent("python-specialist")
    _, hooks = spawned(sidecar)
    name = unique("file")
    claim = holder.post("/api/claims", {"resource": f"{name}.py"}).ok(201)
    path = str(root(sidecar) / f"{name}.py")
    first = edit(hooks, path, tool) or ""
    assert holder.agent_id in first
    assert claim["expires_at"] in first
    said = [first] + [edit(hooks, path, tool) or "" for _ in range(2)]
    assert len(set(said)) == 3
    denied = holder.wait("edit_denied", since="earliest", filter=f"resource:{name}.py", timeout=5000)["events"]
    assert [event["data"]["agent_id"] for event in denied] == [hooks.agent_id]
    assert edit(holder, path, tool) is None, "its own"
    holder.delete(f"/api/claims/{claim['id']}").ok()
    assert edit(hooks, path, tool) is None


def test_a_file_that_changed(sidecar: Sidecar) -> None:
    """Sent back once with the name of who changed it."""
    one, two = sidecar.agent("python-specialist"), sidecar.agent("python-specialist")
    file = root(sidecar) / f"{unique('file')}.py"
    file.write_text("one")
    after(one, "Read", str(file))
    assert edit(one, str(file)) is None
    file.write_text("two")
    after(two, "Write", str(file))
    why = edit(one, str(file)) or ""
    assert "Read it again" in why
    assert two.agent_id in why
    assert edit(one, str(file)) is None
    assert edit(two, str(file)) is None


def test_a_budget_that_is_used_up(sidecar: Sidecar) -> None:
    """Nothing is edited any more, and the sentence says which budget it is, and what to do."""
    _, hooks = spawned(sidecar)
    path = str(root(sidecar) / "main.py")
    assert edit(hooks, path) is None
    budget = f"/api/budgets/issue/{hooks.issue_id}"
    sidecar.admin.request("PUT", budget, {"seconds": 1}).ok()
    until(lambda: sidecar.admin.get(budget).ok()["state"] == "exhausted", "the budget used up")
    why = edit(hooks, path) or ""
    assert f"the budget of issue '{hooks.issue_id}' is used up" in why
    assert "write a checkpoint" in why
    sidecar.admin.delete(budget).ok()
    assert edit(hooks, path) is None


def test_messages_come_along(sidecar: Sidecar) -> None:
    """With a prompt or after a tool; the next hook proves them seen; a sub-agent does not take them away."""
    _, hooks = spawned(sidecar)
    sent = sidecar.admin.post("/api/messages", {"to": hooks.agent_id, "kind": "steer", "body": "Stop at noon."}).ok(201)

    def state() -> str:
        return str(sidecar.admin.get(f"/api/messages/{sent['id']}").ok()["state"])

    assert after(hooks, "Bash", agent_id="sub-1") is None
    assert after(hooks, "mcp__cco__claim") is None, "its own result has them"
    assert state() == "queued"
    assert "Stop at noon." in (after(hooks, "Bash") or "")
    assert state() == "offered"
    hook(hooks, "PreToolUse", tool_name="Bash", agent_id="sub-1")
    assert state() == "offered", "the sub-agent was not told"
    assert after(hooks, "mcp__cco__claim") is None
    assert state() == "offered", "this hook is of the answer that might have carried it"
    assert hook(hooks, "UserPromptSubmit", prompt="go on") == {}
    assert state() == "seen"
    sidecar.admin.post("/api/messages", {"to": hooks.agent_id, "kind": "steer", "body": "Or at one."}).ok(201)
    assert hook(hooks, "PostToolUseFailure", tool_name="mcp__cco__claim", error="x") == {}
    said = hook(hooks, "PostToolUseFailure", tool_name="Bash", error="Exit code 1")["hookSpecificOutput"]
    assert said["hookEventName"] == "PostToolUseFailure"
    assert "Or at one." in said["additionalContext"]


def test_a_sub_agents_call_of_our_tools(sidecar: Sidecar) -> None:
    """Does not bring it what is written to its agent, who gets that with a call of its own."""
    agent = sidecar.agent("python-specialist")
    sent = sidecar.admin.post("/api/messages", {"to": agent.agent_id, "kind": "steer", "body": "Stop at noon."}).ok(201)

    def call(call_id: str) -> str:
        params = {"name": "list_events", "arguments": {}, "_meta": {"claudecode/toolUseId": call_id}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return str(agent.post("/api/mcp", body).ok()["result"])

    def state() -> str:
        return str(sidecar.admin.get(f"/api/messages/{sent['id']}").ok()["state"])

    tool = {"tool_name": "mcp__cco__list_events", "tool_use_id": "toolu_1"}
    assert hook(agent, "PreToolUse", agent_id="sub-1", **tool) == {}
    assert "Stop at noon." not in call("toolu_1")
    assert state() == "queued"
    assert hook(agent, "PreToolUse", **{**tool, "tool_use_id": "toolu_2"}) == {}
    assert "Stop at noon." in call("toolu_2")
    assert state() == "offered"
    call("toolu_1")
    assert state() == "offered", "the sub-agent proves nothing"
    call("toolu_3")
    assert state() == "seen"


def test_the_beginning(sidecar: Sidecar) -> None:
    """A briefing, with the task and what is waiting; after a compaction also a wish."""
    _, hooks = spawned(sidecar)
    sidecar.admin.post("/api/messages", {"to": hooks.agent_id, "body": "Good morning."}).ok(201)
    said = hook(hooks, "SessionStart", source="startup")["hookSpecificOutput"]
    assert said["hookEventName"] == "SessionStart"
    assert "Mend the wheel." in said["additionalContext"]
    assert said["additionalContext"].count("Good morning.") == 1
    assert "compacted" not in said["additionalContext"]
    assert hook(hooks, "UserPromptSubmit") == {}, "it was told at the beginning"
    again = hook(hooks, "SessionStart", source="compact")["hookSpecificOutput"]["additionalContext"]
    assert again.startswith("Your context was just compacted")
    assert "you have none yet" in again
    assert len(again) < 10_000


def test_before_a_compaction(sidecar: Sidecar) -> None:
    """What the summary must keep, and a checkpoint to be made."""
    agent = sidecar.agent("python-specialist")
    agent.post("/api/claims", {"resource": "src/wheel/**"}).ok(201)
    agent.request("PUT", f"/api/agents/{agent.agent_id}/checkpoint", {"next_step": "oil"}).ok()
    said = hook(agent, "PreCompact", trigger="auto")["systemMessage"]
    for part in (agent.agent_id, agent.issue_id, "src/wheel/**", "checkpoint", "0 min old"):
        assert part in said


def test_the_end(sidecar: Sidecar) -> None:
    """Held back once while there is no result, whoever started it."""
    agent, hooks = spawned(sidecar)
    assert "store_result" in hook(hooks, "Stop", stop_hook_active=False)["reason"]
    assert hook(hooks, "Stop", stop_hook_active=True) == {}
    assert hook(hooks, "Stop") == {}
    assert hook(agent, "Stop", stop_hook_active=True) == {}
    store(agent)
    assert hook(agent, "Stop") == {}


def store(agent: Client) -> None:
    names = {"agent_id": agent.agent_id, "agent_type": "python-specialist", "issue_id": agent.issue_id}
    body = {**names, "project_id": "alpha", "result": {"status": "success"}}
    agent.post("/api/results", body).ok(201)


def test_the_end_of_a_session(sidecar: Sidecar) -> None:
    """What a person's agent holds is free; what a spawned one holds is while it runs."""
    agent, hooks = spawned(sidecar)
    for who, resource in ((agent, "name:mine"), (sidecar.agent("python-specialist"), "name:others")):
        who.post("/api/claims", {"resource": unique(resource)}).ok(201)
    hook(agent, "SessionEnd", reason="clear")
    assert len(agent.get("/api/claims", agent=agent.agent_id).ok()["claims"]) == 1
    hook(agent, "SessionEnd", reason="other")
    assert agent.get("/api/claims", agent=agent.agent_id).ok()["claims"] == []
    hook(hooks, "SessionEnd", reason="other")
    assert agent.get(f"/api/agents/{hooks.agent_id}").ok()["status"] == "running"


def test_a_sign_of_life(sidecar: Sidecar) -> None:
    """A hook is a request of its agent's."""
    agent, hooks = spawned(sidecar)
    assert agent.get(f"/api/agents/{hooks.agent_id}").ok()["last_request_at"] is None
    hook(hooks, "PostToolUse", tool_name="Bash")
    assert agent.get(f"/api/agents/{hooks.agent_id}").ok()["last_request_at"] is not None


@pytest.mark.parametrize("event", ["Notification", "SubagentStop", "SomethingNew"])
def test_other_events(sidecar: Sidecar, event: str) -> None:
    """What Claude Code has beside these is no mistake."""
    assert hook(sidecar.agent("python-specialist"), event, whatever={"a": [1]}) == {}


def test_what_is_wrong(sidecar: Sidecar) -> None:
    """It is refused as everywhere; Claude Code shows it and goes on."""
    agent = sidecar.agent("python-specialist")
    agent.post("/api/hooks/claude", b"{").refused(400, "VAL_002")
    assert agent.post("/api/hooks/claude", {}).refused(400, "VAL_002").json["details"]["path"] == "$"
    agent.post("/api/hooks/claude", {"hook_event_name": 7}).refused(400, "VAL_002")
    agent.post("/api/hooks/claude", {"hook_event_name": "x" * 65}).refused(400, "VAL_002")
    long = {"hook_event_name": "PreToolUse", "tool_name": "Edit", "tool_input": {"file_path": "x" * 5000}}
    assert agent.post("/api/hooks/claude", long).ok() == {}, "there is no such file"
    odd = {"hook_event_name": "PreToolUse", "tool_name": "Edit", "tool_input": {"file_path": 7}}
    assert agent.post("/api/hooks/claude", odd).ok() == {}


def test_a_long_output_is_taken(sidecar: Sidecar) -> None:
    """What a tool gave comes with its hook, and may be long."""
    agent = sidecar.agent("python-specialist")
    assert hook(agent, "PostToolUse", tool_name="Bash", tool_response={"stdout": "x" * 3_000_000}) == {}


def test_hooks_have_a_bucket_of_their_own(start: Callable[..., Sidecar]) -> None:
    """What hooks ask is not at the cost of what the agent asks."""
    made = start(agents={"runners": RUNNERS})
    _, hooks = spawned(made)
    answers = [hooks.post("/api/hooks/claude", {"hook_event_name": "PostToolUse"}) for _ in range(80)]
    assert {answer.status for answer in answers} == {200}
    assert answers[0].headers["X-RateLimit-Limit"] == "240"


def test_a_restart_changes_no_key(start: Callable[..., Sidecar]) -> None:
    """The key of an agent that runs on is good under the next sidecar, too, and what it holds is its own."""
    made = start(agents={"runners": RUNNERS})
    _, hooks = spawned(made)
    made.inside(made.service.stopService)
    made.let_go()
    again = start(agents={"runners": RUNNERS})
    until(lambda: again.admin.get(f"/api/agents/{hooks.agent_id}").ok()["status"] == "running", "found again")
    assert hook(Client(again, hooks.token), "Stop")["decision"] == "block"
