"""Hooks: an edit is free, denied or sent back; advice changes; messages come along; an agent is held back once."""

import pytest
from attrs import define, evolve, field

from cco_sidecar.core.hook_keys import HookKeys
from cco_sidecar.core.hooks.files import MOST_AGENTS, MOST_FILES, FileSeen, Stamp
from cco_sidecar.core.hooks.hooks import DENIED_EVENT, MOST_MESSAGES, Hooks
from cco_sidecar.core.tenure import Holder
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import ADMIN
from tests.core.rights_house import RightsHouse
from tests.fakes import START, result_of


@define(eq=False)
class House:
    """Hooks, and what they look at."""

    rights: RightsHouse = field(factory=lambda: RightsHouse(started_here={"a", "b"}))
    hooks: Hooks = field(init=False)

    def __attrs_post_init__(self) -> None:
        house = self.rights
        self.hooks = Hooks(house.clock, house.hub, house.claims, house.tasks, house.messages)

    def who(self, agent: str) -> Holder:
        return self.rights.holder(agent)

    def edit(self, agent: str, file: FileSeen) -> str | None:
        return self.hooks.edit(self.who(agent), file)

    def end(self, agent: str, *, has_result: bool = False) -> str | None:
        return self.hooks.end(self.who(agent), has_result=has_result)


@pytest.fixture
def house() -> House:
    return House()


def seen(name: str = "src/a.py", content: str | None = "one", *also: str, modified: int = 1) -> FileSeen:
    stamp = None if content is None else Stamp(modified, len(content), content)
    return FileSeen((name, *also), stamp)


# Claims


def test_what_nobody_claims_may_be_edited(house: House) -> None:
    """And what one has claimed oneself."""
    assert house.edit("a", seen()) is None
    result_of(house.rights.claim("a", "src/**"))
    assert house.edit("a", seen()) is None
    assert house.edit("b", seen("docs/a.md")) is None


def test_what_another_has_claimed_may_not(house: House) -> None:
    """The refusal names the holder, the end and what to do instead."""
    result_of(house.rights.claim("a", "src/**"))
    why = house.edit("b", seen())
    assert why is not None
    assert "'src/a.py' is claimed as 'src/**' by 'a' (t, i)" in why
    assert f"until {rfc3339(START + 600)}" in why
    assert "'wait': 60000" in why


def test_the_advice_changes(house: House) -> None:
    """First wait, then ask, then leave it; at the third time the others hear of it, once."""
    result_of(house.rights.claim("a", "src/a.py"))
    first, second, third, fourth = (house.edit("b", seen()) or "" for _ in range(4))
    assert "wait for your turn" in first
    assert "cco msg send a 'I need src/a.py" in second
    assert "try 3" in third
    assert "try 4" in fourth
    assert len({first, second, third, fourth}) == 4
    [told] = house.rights.data(DENIED_EVENT)
    assert (told["agent_id"], told["held_by"], told["resource"], told["tries"]) == ("b", "a", "src/a.py", 3)


def test_another_holder_is_another_matter(house: House) -> None:
    """Tries are counted for one holder; an edit in between that goes through begins anew."""
    claim = result_of(house.rights.claim("a", "src/a.py"))
    assert [("wait for your turn" in (house.edit("b", seen()) or "")) for _ in range(2)] == [True, False]
    result_of(house.rights.claims.release(house.who("a"), claim.id))
    assert house.edit("b", seen()) is None
    result_of(house.rights.claim("a", "src/a.py"))
    assert "wait for your turn" in (house.edit("b", seen()) or "")


def test_who_shares_may_edit(house: House) -> None:
    """A shared claim keeps out those who do not share it."""
    result_of(house.rights.claim("a", "src/**", mode="shared"))
    assert house.edit("b", seen()) is not None
    result_of(house.rights.claim("b", "src/a.py", mode="shared"))
    assert house.edit("b", seen()) is None


def test_a_link_is_no_way_in(house: House) -> None:
    """What counts is the file that is written, and the name that was said."""
    result_of(house.rights.claim("a", "src/a.py"))
    assert house.edit("b", seen("link.py", "one", "src/a.py")) is not None
    assert house.edit("b", seen("src/a.py", "one", "elsewhere.py")) is not None


def test_who_only_waits_holds_nothing(house: House) -> None:
    """A claim in the queue denies nobody the edit."""
    claim = result_of(house.rights.claim("a", "src/**"))
    waiting = house.rights.claim("b", "src/a.py", wait=60)
    result_of(house.rights.claims.release(house.who("a"), claim.id))
    assert result_of(waiting).holder.agent_id == "b"
    assert house.edit("a", seen("src/other.py")) is None


def test_no_claim_no_file(house: House) -> None:
    """A file outside of the project, and one that no claim can name, are nobody's."""
    result_of(house.rights.claim("a", "**"))
    assert house.edit("b", FileSeen((), None)) is None
    assert house.edit("b", seen("a\\b.py")) is None


# What was read


def test_sent_back_once(house: House) -> None:
    """After a change that is not its own an agent has to read again; who insists goes through."""
    house.hooks.was_read(house.who("a"), seen())
    house.hooks.was_edited(house.who("b"), seen(content="two"))
    why = house.edit("a", seen(content="two"))
    assert why is not None
    assert "Read it again" in why
    assert f"by 'b' at {rfc3339(START)}" in why
    assert house.edit("a", seen(content="two")) is None
    house.hooks.was_read(house.who("a"), seen(content="two"))
    assert house.edit("a", seen(content="three")) is not None, "each change once"


def test_its_own_edits_are_no_change(house: House) -> None:
    """What it wrote it knows."""
    house.hooks.was_read(house.who("a"), seen())
    house.hooks.was_edited(house.who("a"), seen(content="two"))
    assert house.edit("a", seen(content="two")) is None


def test_a_touched_file_is_the_same(house: House) -> None:
    """Content counts; where there is none to compare, the time does."""
    house.hooks.was_read(house.who("a"), seen())
    assert house.edit("a", seen(modified=2)) is None
    large = FileSeen(("big.bin",), Stamp(1, 10**9))
    house.hooks.was_read(house.who("a"), large)
    assert house.edit("a", large) is None
    assert "Read it again" in (house.edit("a", FileSeen(("big.bin",), Stamp(2, 10**9))) or "")


def test_a_file_that_went(house: House) -> None:
    """Somebody removed what it had read."""
    house.hooks.was_read(house.who("a"), seen())
    assert "was removed" in (house.edit("a", seen(content=None)) or "")
    assert house.edit("a", seen(content=None)) is None


def test_what_was_never_read_may_be_written(house: House) -> None:
    """Only what an agent knows can have changed for it."""
    assert house.edit("a", seen(content="two")) is None
    assert house.edit("a", seen("new.py", None)) is None


def test_memory_is_bounded(house: House) -> None:
    """Of many files and agents the oldest are forgotten."""
    house.hooks.was_read(house.who("a"), seen())
    for number in range(MOST_FILES):
        house.hooks.was_read(house.who("a"), seen(f"{number}.py"))
    assert house.edit("a", seen(content="two")) is None, "forgotten"
    house.hooks.was_read(house.who("a"), seen())
    for number in range(MOST_AGENTS):
        house.hooks.was_read(house.who(f"agent-{number}"), seen())
    assert house.edit("a", seen(content="two")) is None, "forgotten"


# Words


def test_news_are_proven_by_the_next_call(house: House) -> None:
    """Three at a time, the most urgent first; that the agent calls again proves them seen."""
    sent = [result_of(house.rights.send("b", "a", f"message {number}")) for number in range(MOST_MESSAGES)]
    urgent = result_of(house.rights.send("b", "a", "stop it", "steer"))
    text = house.hooks.news(house.who("a")) or ""
    assert text.index("stop it") < text.index("message 0")
    assert "message 2" not in text
    assert urgent.state == "offered"
    house.rights.messages.called("a")
    assert [message.state for message in (urgent, *sent)] == ["seen", "seen", "seen", "queued"]
    assert "message 2" in (house.hooks.news(house.who("a")) or "")
    assert house.hooks.news(house.who("b")) is None
    assert house.hooks.news(house.who(ADMIN)) is None


def test_held_back_once_for_a_result(house: House) -> None:
    """Not twice, and not one that has stored one."""
    assert house.end("b", has_result=True) is None
    why = house.end("a")
    assert why is not None
    assert "store_result" in why
    assert house.end("a") is None


def test_held_back_for_what_it_has_to_hear(house: House) -> None:
    """A request is not left lying at the end of its work; what is only for its information is."""
    result_of(house.rights.send("b", "a", "by the way", "info"))
    assert house.end("a", has_result=True) is None
    result_of(house.rights.send("b", "a", "release it", "request"))
    assert "release it" in (house.end("a", has_result=True) or "")
    assert house.end("a", has_result=True) is None, "it has heard of it"


# What it holds


def test_claims_and_leases_go_on(house: House) -> None:
    """Each hook renews what has less than half of its time left."""
    rights = house.rights
    result_of(rights.claim("a", "src/**", ttl=100))
    result_of(rights.claim("b", "docs/**", ttl=100))
    result_of(rights.add("work"))
    result_of(rights.take("a", seconds=100))
    written = len(rights.journal.records)
    rights.pass_time(40)
    house.hooks.keep_alive(house.who("a"))
    assert len(rights.journal.records) == written, "there is time"
    rights.pass_time(40)
    house.hooks.keep_alive(house.who("a"))
    rights.pass_time(40)
    assert rights.held == [("a", "src/**")]
    assert rights.states() == {"work": "leased"}
    rights.pass_time(100)
    assert rights.held == []
    assert rights.states() == {"work": "ready"}


def test_a_claim_with_much_time_is_not_cut_short(house: House) -> None:
    """A renewal gives time, it takes none."""
    claim = result_of(house.rights.claim("a", "src/**", ttl=600))
    house.rights.pass_time(400)
    house.hooks.keep_alive(house.who("a"))
    [entry] = house.rights.claims.listing(agent="a")
    assert entry.record is not None
    assert entry.record.expires_at > claim.expires_at


def test_the_end_of_a_session(house: House) -> None:
    """Its claims are free and its tasks ready; the others' stay."""
    rights = house.rights
    result_of(rights.claim("a", "src/**"))
    result_of(rights.claim("b", "docs/**"))
    result_of(rights.add("work"))
    result_of(rights.take("a"))
    house.hooks.gone(house.who("a"))
    assert rights.held == [("b", "docs/**")]
    assert rights.states() == {"work": "ready"}
    assert house.end("a") is not None, "its next session is another one"


# Keys


def test_hook_keys() -> None:
    """A key says whose it is, and nothing else makes one."""
    keys = HookKeys(b"s" * 32)
    key = keys.make("p", "agent-1")
    assert keys.holder(key) == ("p", "agent-1")
    assert keys.make("p", "agent-1") == key
    wrong = [
        "",
        "cch_",
        key[:-1],
        key + "A",
        key.replace("agent-1", "agent-2"),
        key.replace("cch_p/", "cch_q/"),
        key.removeprefix("cch_"),
        f"{key}/x",
        "cch_p/agent-1/é",
        HookKeys(b"t" * 32).make("p", "agent-1"),
    ]
    assert [keys.holder(text) for text in wrong] == [None] * len(wrong)
    assert "ssss" not in repr(keys)


def test_stamps() -> None:
    """Two looks at one content are the same, whatever the clock says, if the content is known."""
    known = Stamp(1, 3, "abc")
    assert known.same(evolve(known, modified_ns=2))
    assert not known.same(evolve(known, digest="abd"))
    assert not known.same(Stamp(2, 3))
    assert known.same(Stamp(1, 3))
