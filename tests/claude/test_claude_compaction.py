"""A real `claude` whose context is full: what it is asked before, and what it is told after."""

from tests.claude.cast import Part, Role, ask, use
from tests.claude.fleet import Fleet
from tests.claude.real_claude import needs_claude
from tests.claude.scripted_api import Text, Trouble

TOO_LONG = Trouble(400, message="prompt is too long: 210000 tokens > 200000 maximum")


@needs_claude
def test_a_compaction(fleet: Fleet) -> None:
    """The summary is asked to keep who it is and what it has; then it is told its task, checkpoint and claims again."""
    heard: dict[str, str] = {}

    def worker(_: Role) -> Part:
        yield from ask("claim", resource="shop.py")
        yield from ask("checkpoint", checkpoint={"next_step": "round the price half up"})
        yield from use("Bash", command="echo much to read")
        asked = yield TOO_LONG
        assert asked.is_compaction, asked.last_text
        heard["before"] = asked.last_text
        asked = yield Text("<summary>I looked at the shop.</summary>")
        assert not asked.is_compaction
        heard["summary"], _between, heard["after"] = asked.text.partition("Your context was just compacted")
        yield from ask("checkpoint", checkpoint={"next_step": "test it"})
        yield from ask("store_result", result={"status": "success"})
        return "Done."

    fleet.plays["python-specialist"] = worker
    agent = fleet.ended(fleet.spawn("python-specialist", task="Mend the price of the shop."))
    assert agent["status"] == "completed", fleet.story(agent["agent_id"])
    for part in agent["agent_id"], "issue-1", "shop.py", "checkpoint", "0 min old":
        assert part in heard["before"], heard["before"]
    assert "I looked at the shop." in heard["summary"]
    assert "Mend the price of the shop." not in heard["summary"]
    for part in "round the price half up", "Mend the price of the shop.", "shop.py":
        assert part in heard["after"], heard["after"]
    assert fleet.result_of(agent) == {"status": "success"}
