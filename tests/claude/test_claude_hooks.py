"""What the hooks do to a real `claude`: edits are denied or sent back, an end is held up, messages come along."""

import re

from tests.claude.cast import Part, Role, ask, cco, use
from tests.claude.fleet import Fleet
from tests.claude.real_claude import needs_claude
from tests.claude.scripted_api import Answer, Asked, Text, ToolUse, in_order

WELL = ToolUse("Bash", {"command": "true"})
BADLY = ToolUse("Bash", {"command": "false"})
OURS = ToolUse("mcp__cco__list_events")


@needs_claude
def test_an_edit_of_what_another_claimed(fleet: Fleet) -> None:
    """It is denied, with who, until when and what to do, which changes; what is advised works."""
    shop, other = fleet.root / "shop.py", fleet.root / "other.py"
    shop.write_text("price = 1\n")
    advice: list[str] = []
    heard: list[str] = []

    def holder(_: Role) -> Part:
        yield from ask("claim", resource="shop.py")
        yield from ask("publish_event", event_type="claimed", topic="files", data={})
        heard.append((yield from cco("wait_for_event", event_type="tried", timeout=30_000)))
        yield from use("Read", file_path=str(shop))
        mended = yield from use("Edit", file_path=str(shop), old_string="price = 1", new_string="price = 2")
        yield from ask("store_result", result={"status": "success", "mended": "updated" in mended})
        return "Mine."

    def intruder(_: Role) -> Part:
        yield from ask("wait_for_event", event_type="claimed", timeout=30_000)
        yield from use("Read", file_path=str(shop))
        for _try in range(3):
            edit = {"old_string": "price = 1", "new_string": "price = 0"}
            advice.append((yield from use("Edit", file_path=str(shop), **edit)))
        advice.append((yield from use("Write", file_path=str(shop), content="price = 0\n")))
        [command] = re.findall(r"cco msg send .* --kind request", advice[1])
        sent = yield from use("Bash", command=command)
        assert '"state": "queued"' in sent, sent
        written = yield from use("Write", file_path=str(other), content="tax = 0\n")
        yield from ask("publish_event", event_type="tried", topic="files", data={})
        yield from ask("store_result", result={"status": "partial", "written": "created" in written})
        return "I did something else."

    fleet.plays |= {"python-specialist": holder, "test-engineer": intruder}
    one, two = fleet.spawn("python-specialist"), fleet.spawn("test-engineer")
    assert fleet.result_of(fleet.ended(one)) == {"status": "success", "mended": True}
    assert fleet.result_of(fleet.ended(two)) == {"status": "partial", "written": True}
    assert all(f"'shop.py' is claimed by '{one}' (python-specialist, issue-1)" in text for text in advice), advice
    assert all("until 20" in text for text in advice), advice
    first, second, third, fourth = (text.partition("if it goes on). ")[2] for text in advice)
    assert len({first, second, third, fourth}) == 4, advice
    assert "Do other work first" in first
    assert f"cco msg send {one}" in second
    assert "Do not try this edit again" in third
    assert f"request from `{two}`" in heard[0]
    assert shop.read_text() == "price = 2\n"
    assert other.read_text() == "tax = 0\n"
    [told] = fleet.events("edit_denied")
    assert (told["publisher"], told["data"]["agent_id"], told["data"]["held_by"]) == ("sidecar", two, one)


@needs_claude
def test_an_edit_of_what_has_changed_since(fleet: Fleet) -> None:
    """It is sent back once, to read it again; then it is made."""
    shop = fleet.root / "shop.py"
    shop.write_text("price = 1\ntax = 0\n")
    answers: list[str] = []

    def late(_: Role) -> Part:
        yield from use("Read", file_path=str(shop))
        shop.write_text("price = 1\ntax = 1\n")
        edit = {"old_string": "price = 1", "new_string": "price = 2"}
        answers.append((yield from use("Edit", file_path=str(shop), **edit)))
        answers.append((yield from use("Read", file_path=str(shop))))
        answers.append((yield from use("Edit", file_path=str(shop), **edit)))
        yield from ask("store_result", result={"status": "success"})
        return "Done."

    fleet.plays["python-specialist"] = late
    assert fleet.ended(fleet.spawn("python-specialist"))["status"] == "completed"
    assert "Read it again" in answers[0]
    assert "tax = 1" in answers[1]
    assert "has been updated" in answers[2]
    assert shop.read_text() == "price = 2\ntax = 1\n"


@needs_claude
def test_an_end_without_a_result(fleet: Fleet) -> None:
    """It is held up once: one agent then stores a result, another insists and its last words become one."""

    def forgetful(role: Role) -> Part:
        asked = yield Text("I am done.")
        assert "You have not stored a result yet" in asked.last_text, asked.last_text
        yield from ask("store_result", result={"status": "success", "by": role.agent_id})
        return "Now I am."

    def stubborn(_: Role) -> Part:
        asked = yield Text("I am done.")
        assert "You have not stored a result yet" in asked.last_text, asked.last_text
        return "I have nothing to report."

    fleet.plays |= {"python-specialist": forgetful, "test-engineer": stubborn}
    one, two = fleet.spawn("python-specialist"), fleet.spawn("test-engineer")
    assert fleet.result_of(fleet.ended(one)) == {"status": "success", "by": one}
    last_words = {"status": "success", "summary": "I have nothing to report.", "source": "final_text"}
    assert fleet.result_of(fleet.ended(two)) == last_words
    assert (fleet.cast.turns[one], fleet.cast.turns[two]) == (3, 2)


@needs_claude
def test_a_message_to_a_running_agent(fleet: Fleet) -> None:
    """It comes with the next tool's answer, of whatever tool, and the call after that proves it seen."""
    states: list[str] = []

    def send(role: Role, body: str) -> str:
        return str(fleet.ok("POST", "/api/messages", {"to": role.agent_id, "kind": "steer", "body": body})["id"])

    def look(message_id: str) -> None:
        states.append(fleet.ok("GET", f"/api/messages/{message_id}")["state"])

    def steered(role: Role) -> Part:
        for body, call in ("First.", WELL), ("Second.", BADLY), ("Third.", OURS):
            message_id = send(role, body)
            asked = yield call
            look(message_id)
            assert body in asked.last_text, asked.last_text
            asked = yield call
            look(message_id)
            assert body not in asked.last_text, asked.last_text
        yield from ask("store_result", result={"status": "success"})
        return "Done."

    fleet.plays["python-specialist"] = steered
    assert fleet.ended(fleet.spawn("python-specialist"))["status"] == "completed"
    assert states == ["offered", "seen"] * 3


@needs_claude
def test_a_sub_agent(fleet: Fleet) -> None:
    """What it edits is its agent's edit; but what is written to that one, it is not told."""
    shop = fleet.root / "shop.py"
    shop.write_text("price = 1\n")
    other = fleet.sidecar.agent_token("the-other", agent_type="test-engineer")
    assert fleet.sidecar.call("POST", "/api/claims", {"resource": "shop.py", "ttl_seconds": 60}, token=other)[0] == 201
    heard: list[str] = []
    edit = {"file_path": str(shop), "old_string": "1", "new_string": "2"}
    steps = in_order(
        ToolUse("Read", {"file_path": str(shop)}), ToolUse("Edit", edit), WELL, OURS, last=Text("It is his.")
    )

    def script(asked: Asked) -> Answer:
        if not asked.is_turn or "Lower the price, sub." not in asked.prompt:
            return fleet.cast(asked)
        heard.append(asked.last_text)
        return steps(asked)

    def parent(role: Role) -> Part:
        fleet.ok("POST", "/api/messages", {"to": role.agent_id, "kind": "steer", "body": "Mind the tax."})
        arguments = {"description": "lower", "prompt": "Lower the price, sub.", "subagent_type": "general-purpose"}
        asked = yield ToolUse("Agent", arguments)
        assert "It is his." in asked.last_text, asked.last_text
        assert "Mind the tax." in asked.last_text, asked.last_text
        yield from ask("store_result", result={"status": "partial"})
        return "Not mine."

    fleet.api.script = script
    fleet.plays["python-specialist"] = parent
    assert fleet.ended(fleet.spawn("python-specialist"))["status"] == "completed"
    assert len(heard) == 5
    assert "'shop.py' is claimed by 'the-other'" in heard[2]
    assert [text for text in heard if "Mind the tax." in text] == []
    assert shop.read_text() == "price = 1\n"
