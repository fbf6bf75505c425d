"""Claims: granted in turn, all or none, ended by time or with their agents, the same after a restart."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from cco_sidecar.core.claims import claims as module
from cco_sidecar.core.claims import queue
from cco_sidecar.core.claims.entry import ClaimRecord
from cco_sidecar.core.events.waiting import MOST_PER_AGENT
from cco_sidecar.core.token_book import Succession
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.errors import (
    Claimed,
    Foreign,
    InvalidBody,
    InvalidParameter,
    NotFound,
    Refusal,
    StorageFull,
    TokenExpired,
    TokenRevoked,
    TooManyPolls,
    TooManyRequests,
)
from tests.core.rights_house import GONE, RightsHouse
from tests.fakes import START, MemoryJournal, outcome, result_of


@pytest.fixture
def house() -> RightsHouse:
    return RightsHouse()


def refused(house: RightsHouse, agent: str, *resources: str, **more: Any) -> Claimed:
    with pytest.raises(Claimed) as caught:
        result_of(house.claim(agent, *resources, **more))
    return caught.value


# Granted and refused


def test_who_has_it_is_said(house: RightsHouse) -> None:
    """A conflict names who, their type and issue, what, since when, until when, and the way out."""
    claim = result_of(house.claim("a", "src/**", "name:db", ttl=60))
    assert (claim.resources, claim.mode, claim.fence, claim.expires_at) == (
        ["src/**", "name:db"],
        "exclusive",
        1,
        START + 60,
    )
    house.clock.advance(10)
    refusal = refused(house, "b", "docs/a.md", "src/a.md")
    assert refusal.details == {
        "wanted": "src/a.md",
        "resource": "src/**",
        "claim_id": claim.id,
        "state": "held",
        "mode": "exclusive",
        "agent_id": "a",
        "agent_type": "t",
        "issue_id": "i",
        "since": "2027-01-15T08:00:00.000Z",
        "until": "2027-01-15T08:01:00.000Z",
        "conflicts": [{name: value for name, value in refusal.details.items() if name != "conflicts"}],
    }
    for word in ("'src/a.md'", "'src/**'", "'a' (t, i)", "2027-01-15T08:01:00.000Z", "wait=60000"):
        assert word in refusal.message


def test_all_or_none(house: RightsHouse) -> None:
    """What is refused leaves nothing behind, also of its free part."""
    result_of(house.claim("a", "x"))
    refused(house, "b", "y", "x")
    assert house.held == [("a", "x")]
    result_of(house.claim("c", "y"))


def test_shared(house: RightsHouse) -> None:
    """Several may share; an exclusive one and a shared one exclude each other."""
    for agent in "ab":
        result_of(house.claim(agent, "src/**", mode="shared"))
    refused(house, "c", "src/x")
    result_of(house.claim("d", "name:x"))
    refused(house, "a", "name:x", mode="shared")


def test_nobody_is_in_their_own_way(house: RightsHouse) -> None:
    """An agent that claims what it holds has it renewed, the same claim; more of it is another claim."""
    first = result_of(house.claim("a", "src/a", "src/b", ttl=100))
    house.clock.advance(50)
    again = result_of(house.claim("a", "src/b", "./src//a", ttl=100))
    assert (again.id, again.fence, again.expires_at) == (first.id, first.fence, START + 150)
    shorter = result_of(house.claim("a", "src/a", "src/b", ttl=1))
    assert shorter.expires_at == START + 150, "it takes nothing away"
    wider = result_of(house.claim("a", "src/**"))
    assert wider.id != first.id
    assert wider.fence > first.fence
    result_of(house.claims.release(house.holder("a"), wider.id))
    refused(house, "b", "src/a")
    result_of(house.claim("b", "src/c"))


def test_upgrade(house: RightsHouse) -> None:
    """Who shares alone may have it exclusively; among several, nobody."""
    result_of(house.claim("a", "x", mode="shared"))
    result_of(house.claim("a", "x"))
    refused(house, "b", "x", mode="shared")
    result_of(house.claim("c", "y", mode="shared"))
    result_of(house.claim("d", "y", mode="shared"))
    refused(house, "c", "y")


def test_many_conflicts_are_cut(house: RightsHouse) -> None:
    """Of very many, the first are shown."""
    for number in range(30):
        result_of(house.claim(f"a{number}", f"src/{number}"))
    assert len(refused(house, "z", "src/**").details["conflicts"]) == 16  # type: ignore[arg-type]


@pytest.mark.parametrize(("texts", "path"), [(["../x"], "$.resource"), (["a", "b**"], "$.resources[1]")])
def test_no_resource(house: RightsHouse, texts: list[str], path: str) -> None:
    """What is none is refused, with its place."""
    with pytest.raises(InvalidBody) as caught:
        house.claim("a", *texts)
    assert caught.value.details == {"path": path}


# In turn


def test_first_come_first_served(house: RightsHouse) -> None:
    """Who waits is served in the order they came, one after the other."""
    held = result_of(house.claim("a", "x"))
    waits = [outcome(house.claim(agent, "x", wait=60)) for agent in "bcd"]
    assert house.waiting == ["b", "c", "d"]
    for number, agent in enumerate("bcd"):
        result_of(house.claims.release(held.holder, held.id))
        assert house.held == [(agent, "x")]
        [got] = waits[number]
        assert isinstance(got, ClaimRecord)
        held = got
    assert house.room.used == 0


def test_nobody_is_passed(house: RightsHouse) -> None:
    """What comes later does not go past one that waits, whether it waits or not; what is free of it does."""
    first = result_of(house.claim("a", "src/a"))
    wide = outcome(house.claim("b", "src/**", wait=60))
    refusal = refused(house, "c", "src/c")
    assert refusal.details["state"] == "waiting"
    assert refusal.details["until"] is None
    assert "waited for by 'b'" in refusal.message
    late = outcome(house.claim("c", "src/c", wait=60))
    result_of(house.claim("d", "docs/d"))
    result_of(house.claims.release(first.holder, first.id))
    assert (len(wide), late) == (1, [])


def test_shared_do_not_pass_either(house: RightsHouse) -> None:
    """A stream of readers does not starve a writer."""
    reader = result_of(house.claim("a", "x", mode="shared"))
    writer = outcome(house.claim("b", "x", wait=60))
    later = outcome(house.claim("c", "x", wait=60, mode="shared"))
    result_of(house.claims.release(reader.holder, reader.id))
    assert (len(writer), later) == (1, [])
    result_of(house.claims.release(house.holder("b"), writer[0].id))  # type: ignore[union-attr]
    assert len(later) == 1


def test_time_is_up(house: RightsHouse) -> None:
    """Who waited in vain is told who had it all the time."""
    result_of(house.claim("a", "x"))
    waited = outcome(house.claim("b", "x", wait=5))
    house.pass_time(5)
    assert isinstance(waited[0], Claimed)
    assert waited[0].details["agent_id"] == "a"
    assert (house.waiting, house.room.used) == ([], 0)


def test_hanging_up_frees_the_place(house: RightsHouse) -> None:
    """Who hangs up is passed over, and stands in nobody's way any more."""
    result_of(house.claim("a", "src/a"))
    gone = house.claim("b", "src/**", wait=60)
    behind = outcome(house.claim("c", "src/c", wait=60))
    outcome(gone)
    gone.cancel()
    assert len(behind) == 1
    assert (house.waiting, house.room.used) == ([], 0)


def test_hanging_up_while_it_is_written() -> None:
    """A claim that nobody could be told of is released at once."""
    house = RightsHouse(journal=MemoryJournal(held=True))
    asked = house.claim("a", "x")
    outcome(asked)
    asked.cancel()
    house.journal.write()
    assert house.held == []
    house.journal.held = False
    house.journal.write()
    result_of(house.claim("b", "x"))
    assert house.restart().held == [("b", "x")]


def test_dead_token_while_waiting(house: RightsHouse) -> None:
    """A token that died while its holder waited gets nothing, and the next one does."""
    held = result_of(house.claim("a", "x"))
    dead = outcome(house.claim("b", "x", wait=60))
    alive = outcome(house.claim("c", "x", wait=60))
    house.dead_tokens["token of b"] = TokenExpired("It has expired.")
    result_of(house.claims.release(held.holder, held.id))
    assert isinstance(dead[0], TokenExpired)
    assert isinstance(alive[0], ClaimRecord)


def test_places_are_bounded(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent, a project and the sidecar have so many places to wait, and no more."""
    result_of(house.claim("a", "x"))
    for _ in range(MOST_PER_AGENT):
        outcome(house.claim("b", "x", wait=60))
    with pytest.raises(TooManyPolls):
        house.claim("b", "x", wait=60)
    monkeypatch.setattr(module, "MOST_WAITING", MOST_PER_AGENT + 1)
    outcome(house.claim("c", "x", wait=60))
    with pytest.raises(TooManyPolls):
        house.claim("d", "x", wait=60)
    monkeypatch.setattr(module, "MOST_WAITING", 1000)
    monkeypatch.setattr(module, "MOST_AWAITED", 40)
    with pytest.raises(TooManyPolls):
        house.claim("d", "x", wait=60)
    assert house.room.used == MOST_PER_AGENT + 1


def test_searches_are_bounded(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """No list of wide globs holds up the reactor, and nobody waits for very many."""
    for number in range(8):
        result_of(house.claim(f"a{number}", f"src/{number}"))
    monkeypatch.setattr(module, "MOST_AWAITED_BY_ONE", 7)
    with pytest.raises(TooManyPolls, match="More than 7"):
        house.claim("b", "**", wait=60)
    monkeypatch.setattr(queue, "MOST_LOOKS", 10)
    result_of(house.claim("b", "**/x", "**/y"))
    with pytest.raises(TooManyRequests, match="narrower"):
        house.claim("c", "**/v", "**/w", "**/z")
    result_of(house.claim("c", *(f"docs/{number}" for number in range(4))))


def test_resources_are_bounded(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are the resources of an agent, and of all."""
    monkeypatch.setattr(module, "MOST_OF_AGENT", 3)
    monkeypatch.setattr(module, "MOST_RESOURCES", 5)
    claim = result_of(house.claim("a", "1", "2", "3"))
    with pytest.raises(TooManyRequests, match="An agent"):
        house.claim("a", "4")
    result_of(house.claim("b", "4", "5"))
    with pytest.raises(TooManyRequests, match="This project"):
        house.claim("c", "6")
    result_of(house.claims.release(claim.holder, claim.id))
    result_of(house.claim("c", "6"))


def test_who_asks_twice_has_one(house: RightsHouse) -> None:
    """A second wait of the same agent for the same thing ends with the same claim."""
    held = result_of(house.claim("a", "x"))
    first, second = (outcome(house.claim("b", "x", wait=60)) for _ in range(2))
    result_of(house.claims.release(held.holder, held.id))
    assert first[0].id == second[0].id  # type: ignore[union-attr]
    assert house.held == [("b", "x")]
    assert house.waiting == []


def test_who_asks_twice_and_hangs_up_once(house: RightsHouse) -> None:
    """The one that hung up takes nothing from the other."""
    held = result_of(house.claim("a", "x"))
    first, second = (house.claim("b", "x", wait=60) for _ in range(2))
    seen = outcome(first), outcome(second)
    house.journal.held = True
    released = outcome(house.claims.release(held.holder, held.id))
    house.journal.write(1)
    second.cancel()
    house.journal.held = False
    house.journal.write()
    assert len(released) == 1
    assert isinstance(seen[0][0], ClaimRecord)
    assert isinstance(seen[1][0], CancelledError)
    assert house.held == [("b", "x")]


# Round and round


def test_deadlock_is_refused(house: RightsHouse) -> None:
    """Who would wait for one that waits for it is told so at once."""
    result_of(house.claim("a", "x"))
    result_of(house.claim("b", "y"))
    result_of(house.claim("c", "z"))
    waits = [outcome(house.claim("a", "y", wait=60)), outcome(house.claim("b", "z", wait=60))]
    refusal = refused(house, "c", "x", wait=60)
    assert refusal.details["deadlock"] is True
    assert "release that first" in refusal.message
    assert waits == [[], []]


def test_two_that_share_and_want_all(house: RightsHouse) -> None:
    """Both want it exclusively, neither lets go: the second is refused, and the first has it when that one releases."""
    result_of(house.claim("a", "x", mode="shared"))
    shared = result_of(house.claim("b", "x", mode="shared"))
    first = outcome(house.claim("a", "x", wait=60))
    assert refused(house, "b", "x", wait=60).details["deadlock"] is True
    result_of(house.claims.release(shared.holder, shared.id))
    assert len(first) == 1


def test_a_holder_may_pass_who_waits_for_it(house: RightsHouse) -> None:
    """Who holds what a waiting claim waits for goes on past it, else both would wait; then that one waits for both."""
    one = result_of(house.claim("a", "src/a"))
    wide = outcome(house.claim("b", "src/**", wait=60))
    two = result_of(house.claim("a", "src/b"))
    result_of(house.claims.release(one.holder, one.id))
    assert wide == []
    result_of(house.claims.release(two.holder, two.id))
    assert len(wide) == 1


# Ending


def test_expires(house: RightsHouse) -> None:
    """Its time over, a claim ends by itself: it is free, and there is an event that says so."""
    claim = result_of(house.claim("a", "x", ttl=60))
    waiting = outcome(house.claim("b", "x", wait=300))
    house.pass_time(59)
    assert (len(house.held), waiting) == (1, [])
    house.pass_time(1)
    assert house.held == [("b", "x")]
    assert len(waiting) == 1
    [data] = house.data("claim_expired")
    assert data.pop("expired_at") == "2027-01-15T08:01:00.000Z"
    assert data == {
        "claim_id": claim.id,
        "resources": ["x"],
        "mode": "exclusive",
        "fence": 1,
        "agent_id": "a",
        "agent_type": "t",
        "issue_id": "i",
        "since": "2027-01-15T08:00:00.000Z",
    }
    with pytest.raises(NotFound):
        house.claims.renew(house.holder("a"), claim.id, None)


def test_expired_is_expired_before_the_timer_comes(house: RightsHouse) -> None:
    """Whoever asks in the moment between has it."""
    result_of(house.claim("a", "x", ttl=60))
    house.clock.rightNow += 60  # no timer was called
    result_of(house.claim("b", "x"))
    assert house.held == [("b", "x")]
    assert len(house.data("claim_expired")) == 1


def test_renew(house: RightsHouse) -> None:
    """Renewed for as long as before, or as is said; the fence stays."""
    claim = result_of(house.claim("a", "x", ttl=60))
    house.clock.advance(50)
    assert result_of(house.claims.renew(house.holder("a"), claim.id, None)).expires_at == START + 110
    renewed = result_of(house.claims.renew(house.holder("a"), claim.id, 5))
    assert (renewed.expires_at, renewed.ttl_seconds, renewed.fence) == (START + 55, 5, claim.fence)
    house.pass_time(5)
    assert house.held == []


def test_only_ones_own(house: RightsHouse) -> None:
    """Nobody renews or releases another's; the admin does."""
    claim = result_of(house.claim("a", "x"))
    for act in (lambda who: house.claims.renew(who, claim.id, None), lambda who: house.claims.release(who, claim.id)):
        with pytest.raises(Foreign):
            act(house.holder("b"))
        with pytest.raises(NotFound):
            house.claims.release(house.holder("a"), "clm-none")
    assert result_of(house.claims.renew(house.holder(ADMIN), claim.id, 60)).holder.agent_id == "a"
    result_of(house.claims.release(house.holder(ADMIN), claim.id))
    assert house.held == []


def test_ends_with_its_agent(house: RightsHouse) -> None:
    """What an agent held is free when it ends, and what it waited for is refused; nothing is said to have expired."""
    house.started_here.add("a")
    result_of(house.claim("a", "x", "y"))
    result_of(house.claim("b", "z"))
    waited = outcome(house.claim("a", "z", wait=60))
    next_one = outcome(house.claim("c", "x", wait=60))
    house.gone.add("a")
    house.claims.end_agent("a", GONE)
    assert waited == [GONE]
    assert len(next_one) == 1
    assert house.data("claim_expired") == []
    assert house.restart().held == [("b", "z"), ("c", "x")]


def test_ends_with_its_token(house: RightsHouse) -> None:
    """An agent that was not started here lives as long as its token or one that followed it, and its claims with it."""
    short = house.holder("a", "t0", seconds=100)
    result_of(house.claim("a", "x", ttl=10_000, holder=short))
    result_of(house.claim("b", "y", ttl=10_000, holder=house.holder("b", "s0", seconds=100)))
    house.book.follow(Succession("t0", "t1", int(START), int(START) + 500, int(START) + 100))
    house.pass_time(101)
    assert house.held == [("a", "x")]
    house.pass_time(398)
    assert house.held == [("a", "x")]
    house.pass_time(2)
    assert house.held == []
    assert house.data("claim_expired") == []


def test_renewed_by_a_newer_token(house: RightsHouse) -> None:
    """The token that renewed it last is the one that it lives by."""
    claim = result_of(house.claim("a", "x", ttl=10_000, holder=house.holder("a", "old", seconds=100)))
    result_of(house.claims.renew(house.holder("a", "new", seconds=1_000), claim.id, None))
    house.pass_time(500)
    assert house.held == [("a", "x")]
    house.pass_time(501)
    assert house.held == []


def test_ends_with_a_revoked_token(house: RightsHouse) -> None:
    """A revocation frees at once what hung on that token; and not what is the admin's or of a watched agent."""
    house.started_here.add("w")
    for agent in ("a", "w", ADMIN):
        result_of(house.claim(agent, agent))
    result_of(house.claim("b", "z"))
    waited = outcome(house.claim("a", "z", wait=60))
    house.book.revoke(["token of a", "token of w", f"token of {ADMIN}"], int(START) + 10**6)
    house.claims.end_tokens(["token of a"], TokenRevoked("Revoked."))
    assert house.held == [("w", "w"), (ADMIN, ADMIN), ("b", "z")]
    assert isinstance(waited[0], TokenRevoked)


def test_drain(house: RightsHouse) -> None:
    """At the end of the sidecar all that wait are answered, and nobody waits any more; who holds goes on holding."""
    result_of(house.claim("a", "x"))
    waited = outcome(house.claim("b", "x", wait=60))
    house.claims.drain()
    assert isinstance(waited[0], Claimed)
    refused(house, "c", "x", wait=60)
    assert house.held == [("a", "x")]


# On disk


def test_on_disk_first() -> None:
    """Nobody is told before it is on disk; it excludes others from the moment it is decided."""
    house = RightsHouse(journal=MemoryJournal(held=True))
    asked = outcome(house.claim("a", "x"))
    refused(house, "b", "x")
    assert (asked, house.claims.listing()) == ([], [])
    house.journal.write()
    assert len(asked) == 1
    assert house.held == [("a", "x")]


def test_a_full_disk(house: RightsHouse) -> None:
    """What the disk refuses was never granted, renewed or released."""
    claim = result_of(house.claim("a", "x", ttl=60))
    house.journal.refusal = StorageFull("full")
    for act in (
        lambda: house.claim("b", "y"),
        lambda: house.claims.renew(claim.holder, claim.id, 600),
        lambda: house.claims.release(claim.holder, claim.id),
    ):
        assert isinstance(outcome(act())[0], StorageFull)
    house.journal.refusal = None
    assert house.held == [("a", "x")]
    result_of(house.claim("c", "y"))
    house.pass_time(60)
    assert house.held == [("c", "y")]


def test_a_full_disk_and_who_waits() -> None:
    """If the disk refuses the one whose turn it is, the next one is tried."""
    house = RightsHouse()
    held = result_of(house.claim("a", "x"))
    first, second = (outcome(house.claim(agent, "x", wait=60)) for agent in "bc")
    house.journal.held = True
    released = outcome(house.claims.release(held.holder, held.id))
    house.journal.write()
    house.journal.refuse(StorageFull("full"), 1)
    house.journal.held = False
    house.journal.write()
    assert len(released) == 1
    assert isinstance(first[0], StorageFull)
    assert isinstance(second[0], ClaimRecord)


def test_ended_while_it_was_written() -> None:
    """An agent that ended before its claim was on disk has none, after a restart either."""
    house = RightsHouse(journal=MemoryJournal(held=True))
    asked = outcome(house.claim("a", "x"))
    house.claims.end_agent("a", GONE)
    house.journal.held = False
    house.journal.write()
    assert isinstance(asked[0], NotFound)
    assert (house.held, house.restart().held) == ([], [])


@pytest.mark.parametrize("snapshot", [False, True])
def test_lasts(house: RightsHouse, snapshot: bool) -> None:
    """After a restart all is as it was: who holds what, until when; who waited asks again. The fence goes on."""
    first = result_of(house.claim("a", "src/**", "name:db", ttl=60))
    house.clock.advance(10)
    result_of(house.claim("b", "docs/*", mode="shared", ttl=1000))
    result_of(house.claims.renew(first.holder, first.id, 100))
    dropped = result_of(house.claim("c", "x"))
    result_of(house.claims.release(dropped.holder, dropped.id))
    outcome(house.claim("d", "docs/a", wait=60))
    again = house.restart(snapshot=snapshot).restart(snapshot=snapshot)
    assert again.held == house.held == [("a", "src/**,name:db"), ("b", "docs/*")]
    assert again.waiting == []
    assert refused(again, "z", "src/a").details["until"] == "2027-01-15T08:01:50.000Z"
    result_of(again.claim("z", "docs/a", mode="shared"))
    assert result_of(again.claim("z", "new")).fence > dropped.fence
    again.pass_time(100)
    assert "a" not in dict(again.held)


def test_ended_while_it_was_down(house: RightsHouse) -> None:
    """What expired, or whose agent ended, while no sidecar ran is over at the start."""
    house.started_here.update("ab")
    result_of(house.claim("a", "x", ttl=60))
    result_of(house.claim("b", "y", ttl=600))
    result_of(house.claim("c", "z", ttl=600))
    house.gone.add("b")
    house.clock.rightNow += 61
    again = house.restart()
    assert again.held == [("c", "z")]
    assert [data["claim_id"] for data in again.data("claim_expired")] == [refused_id(again, "x")]


def refused_id(house: RightsHouse, resource: str) -> str:
    """Give the id of the claim that an expired event tells of."""
    return next(str(data["claim_id"]) for data in house.data("claim_expired") if data["resources"] == [resource])


def test_an_end_that_could_not_be_written(house: RightsHouse) -> None:
    """If the disk took no word of it, the next whole state on disk still does not have it."""
    result_of(house.claim("a", "x"))
    house.journal.refusal = StorageFull("full")
    house.claims.end_agent("a", GONE)
    house.journal.refusal = None
    assert house.restart(snapshot=True).held == []


def test_fence_after_damage(house: RightsHouse) -> None:
    """Numbers that may have been in what cannot be read are not given again."""
    result_of(house.claim("a", "x"))
    house.fences.open(5)
    assert result_of(house.claim("b", "y")).fence == 7


# Looking


def test_listing(house: RightsHouse) -> None:
    """By agent, by issue, and by what a resource conflicts with, whosever it is; the newest first."""
    result_of(house.claim("a", "src/**"))
    result_of(house.claim("b", "docs/a"))
    result_of(house.claim(ADMIN, "name:x"))
    outcome(house.claim("c", "src/c", wait=60))
    agents = lambda **how: [entry.agent for entry in house.claims.listing(**how)]  # noqa: E731
    assert agents() == ["c", ADMIN, "b", "a"]
    assert agents(agent="b") == ["b"]
    assert agents(issue="i") == ["c", "b", "a"]
    assert agents(about="src/c") == ["c", "a"]
    assert agents(about="nothing/there") == []
    with pytest.raises(InvalidParameter):
        agents(about="..")


def test_very_many_turns_are_taken_in_slices(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one release lets many go on, the reactor breathes in between; all have their turn."""
    monkeypatch.setattr(module, "GRANTS_AT_ONCE", 3)
    held = result_of(house.claim("a", "x"))
    waits = [outcome(house.claim(f"b{number}", "x", wait=60, mode="shared")) for number in range(8)]
    result_of(house.claims.release(held.holder, held.id))
    assert [len(wait) for wait in waits] == [1] * 3 + [0] * 5
    refused(house, "late", "x")
    house.clock.pump([0, 0, 0])
    assert [len(wait) for wait in waits] == [1] * 8
    assert all(not isinstance(wait[0], Refusal) for wait in waits)
