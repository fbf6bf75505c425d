"""Tasks: one holder at a time, in order, back after an expired lease, failed after so many attempts; over restarts."""

from typing import Any

import msgspec
import pytest

from cco_sidecar.core.tasks import board
from cco_sidecar.core.tasks import tasks as module
from cco_sidecar.core.tasks.board import Wanted
from cco_sidecar.core.tasks.task import Lease, Task
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.errors import (
    Foreign,
    InvalidBody,
    NotFound,
    StaleFence,
    StorageFull,
    TokenExpired,
    TokenRevoked,
    TooManyPolls,
    TooManyRequests,
)
from tests.core.rights_house import GONE, RightsHouse
from tests.fakes import START, MemoryJournal, outcome, result_of

RAW = msgspec.Raw(b'{"step":1}')
NULL = msgspec.Raw(b"null")


@pytest.fixture
def house() -> RightsHouse:
    return RightsHouse()


def taken(house: RightsHouse, agent: str, **more: Any) -> Task:
    """Take a task that must be there."""
    task = result_of(house.take(agent, **more))
    assert task is not None
    return task


def lease_of(task: Task) -> Lease:
    assert task.state.lease is not None
    return task.state.lease


def complete(house: RightsHouse, agent: str, task: Task, fence: int | None = None) -> Task:
    fence = lease_of(task).fence if fence is None else fence
    return result_of(house.tasks.complete(house.holder(agent), task.id, fence, RAW))


# Order


def test_by_priority_then_age(house: RightsHouse) -> None:
    """The most urgent first, of those the oldest; one that comes back keeps its place."""
    for title, priority in (("1", "low"), ("2", "normal"), ("3", "high"), ("4", "normal")):
        result_of(house.add(title, priority=priority))  # type: ignore[arg-type]
    first, second = taken(house, "a"), taken(house, "a")
    assert (first.record.title, second.record.title) == ("3", "2")
    result_of(house.tasks.release(house.holder("a"), second.id, lease_of(second).fence, None))
    assert [taken(house, "a").record.title for _ in range(3)] == ["2", "4", "1"]
    assert result_of(house.take("a")) is None


def test_what_is_wanted(house: RightsHouse) -> None:
    """A type gets what is for it or for any; an issue what is its own or nobody's."""
    result_of(house.add("rust", types=("rust",)))
    result_of(house.add("other issue", issue="j"))
    result_of(house.add("any"))
    result_of(house.add("mine", types=("go", "python"), issue="i"))
    wanted = Wanted(frozenset({"python"}), "i")
    assert [taken(house, "a", wanted=wanted).record.title for _ in range(2)] == ["any", "mine"]
    assert result_of(house.take("a", wanted=wanted)) is None
    assert taken(house, "a", wanted=Wanted(frozenset({"rust"}), None)).record.title == "rust"
    assert taken(house, "a", wanted=Wanted(None, "j")).record.title == "other issue"


def test_waiting_for_one(house: RightsHouse) -> None:
    """Who waits gets the next one that it wants, first come, first served; the rest wait on, and their time ends."""
    picky = outcome(house.take("a", wait=60, wanted=Wanted(frozenset({"rust"}), None)))
    first, second = (outcome(house.take(agent, wait=60)) for agent in "bc")
    result_of(house.add("x", types=("python",)))
    assert (len(first), second, picky) == (1, [], [])
    assert house.room.used == 2
    house.pass_time(60)
    assert (second, picky) == ([None], [None])
    assert house.room.used == 0


def test_who_hung_up_is_passed_over(house: RightsHouse) -> None:
    """Its place is free, and the next one has the task."""
    gone = house.take("a", wait=60)
    outcome(gone)
    there = outcome(house.take("b", wait=60))
    gone.cancel()
    result_of(house.add("x"))
    assert len(there) == 1
    assert house.room.used == 0


def test_hung_up_while_it_was_written() -> None:
    """A lease that nobody could be told of is undone at once, and was no attempt."""
    house = RightsHouse()
    task = result_of(house.add("x"))
    house.journal.held = True
    asked = house.take("a")
    outcome(asked)
    asked.cancel()
    house.journal.held = False
    house.journal.write()
    assert (task.state.state, task.state.attempts) == ("ready", 0)
    assert house.restart().states() == {"x": "ready"}
    assert lease_of(taken(house, "b")).holder.agent_id == "b"


def test_agent_ends_while_its_lease_is_written() -> None:
    """Whoever is told has the task when it is told; then it goes to the next."""
    house = RightsHouse()
    result_of(house.add("x"))
    house.journal.held = True
    holders = []
    taking = house.take("a")
    taking.addCallback(lambda task: holders.append(task and lease_of(task).holder.agent_id))
    next_one = outcome(house.take("b", wait=60))
    house.tasks.end_agent("a", GONE)
    house.journal.held = False
    house.journal.write()
    assert holders == ["a"]
    [task] = next_one
    assert isinstance(task, Task)
    assert (lease_of(task).holder.agent_id, task.state.attempts) == ("b", 2)
    assert house.restart().tasks.get(task.id).state == task.state


def test_dead_token_while_waiting(house: RightsHouse) -> None:
    """A token that died meanwhile gets a refusal, and the next one the task."""
    dead, alive = (outcome(house.take(agent, wait=60)) for agent in "ab")
    house.dead_tokens["token of a"] = TokenExpired("It has expired.")
    result_of(house.add("x"))
    assert isinstance(dead[0], TokenExpired)
    assert isinstance(alive[0], Task)
    late = outcome(house.take("a", wait=5))
    house.pass_time(5)
    assert isinstance(late[0], TokenExpired)


def test_drain(house: RightsHouse) -> None:
    """At the end of the sidecar all that wait are told that there is nothing; nobody waits any more."""
    waited = outcome(house.take("a", wait=60))
    house.tasks.drain()
    assert waited == [None]
    assert result_of(house.take("a", wait=60)) is None


# Leases


def test_complete(house: RightsHouse) -> None:
    """Done is done, with its result, told in an event, and once, however often it is said."""
    result_of(house.add("x", issue="i"))
    task = taken(house, "a")
    fence = lease_of(task).fence
    for _ in range(2):
        assert complete(house, "a", task, fence).state.state == "completed"
    [data] = house.data("task_completed")
    assert data["task_id"] == task.id
    assert (data["result"], data["agent_id"], data["attempts"]) == ({"step": 1}, "a", 1)
    assert house.events("task_completed")[0].body.issue_id == "i"
    assert result_of(house.take("b")) is None


def test_stale(house: RightsHouse) -> None:
    """Who comes late, or was never meant, is refused, and told how it stands."""
    result_of(house.add("x"))
    task = taken(house, "a", seconds=60)
    old = lease_of(task).fence
    house.pass_time(60)
    assert task.state.state == "ready"
    assert taken(house, "b", seconds=100) is task
    assert lease_of(task).fence > old
    acts = [
        lambda who, fence: house.tasks.complete(who, task.id, fence, NULL),
        lambda who, fence: house.tasks.release(who, task.id, fence, None),
        lambda who, fence: house.tasks.checkpoint(who, task.id, fence, RAW, None),
    ]
    for act in acts:
        for who, fence in (("a", old), ("a", lease_of(task).fence), ("b", old), ("b", 10**6)):
            with pytest.raises(StaleFence) as caught:
                result_of(act(house.holder(who), fence))
            assert caught.value.details["agent_id"] == "b"
            assert caught.value.details["until"] == "2027-01-15T08:02:40.050Z"
    assert task.checkpoint is None
    complete(house, "b", task)
    with pytest.raises(StaleFence) as caught:
        complete(house, "a", task, old)
    assert (caught.value.details["state"], caught.value.details["agent_id"]) == ("completed", None)


def test_expired_before_the_timer_comes(house: RightsHouse) -> None:
    """A lease whose time is over is over, whether the timer came to it or not."""
    result_of(house.add("x"))
    task = taken(house, "a", seconds=60)
    house.clock.rightNow += 60
    with pytest.raises(StaleFence):
        complete(house, "a", task)
    assert task.state.state == "ready"


def test_checkpoint(house: RightsHouse) -> None:
    """A checkpoint renews the lease, and the next holder is given it; the lease alone can be renewed, too."""
    result_of(house.add("x"))
    task = taken(house, "a", seconds=60)
    fence = lease_of(task).fence
    house.clock.advance(50)
    result_of(house.tasks.checkpoint(house.holder("a"), task.id, fence, RAW, None))
    assert lease_of(task).expires_at == START + 110
    result_of(house.tasks.checkpoint(house.holder("a"), task.id, fence, None, 5))
    assert (lease_of(task).expires_at, lease_of(task).fence) == (START + 55, fence)
    house.pass_time(5)
    again = house.restart()
    task = taken(again, "b")
    assert task.checkpoint is not None
    assert (bytes(task.checkpoint.checkpoint), task.checkpoint.agent_id) == (b'{"step":1}', "a")
    assert task.state.attempts == 2


def test_release(house: RightsHouse) -> None:
    """Given back, it is ready at once, for whoever waits."""
    result_of(house.add("x"))
    task = taken(house, "a")
    waiting = outcome(house.take("b", wait=60))
    result_of(house.tasks.release(house.holder("a"), task.id, lease_of(task).fence, "out of budget"))
    assert len(waiting) == 1
    assert lease_of(task).holder.agent_id == "b"


def test_fails_after_so_many_attempts(house: RightsHouse) -> None:
    """It does not go around for ever: the last attempt fails it, with a dead letter and an event that say why."""
    result_of(house.add("x", attempts=2))
    for agent in "ab":
        task = taken(house, agent, seconds=60)
        house.pass_time(60)
    assert task.state.state == "failed"
    assert task.state.reason == "the lease of 'b' has expired, at attempt 2 of 2"
    assert result_of(house.take("c")) is None
    [event] = house.events("task_failed")
    [letter] = house.letters.listing()
    assert (letter.source, letter.attempts, letter.reason) == ("task", 2, task.state.reason)
    assert bytes(letter.event) == event.encoded


def test_the_last_attempt_released(house: RightsHouse) -> None:
    """Giving it back counts, too, else two agents could hand it to each other for ever."""
    result_of(house.add("x", attempts=1))
    task = taken(house, "a")
    result_of(house.tasks.release(house.holder("a"), task.id, lease_of(task).fence, "no idea"))
    assert (task.state.state, task.state.reason) == ("failed", "no idea, at attempt 1 of 1")
    assert house.restart().states() == {"x": "failed"}


def test_ends_with_its_agent(house: RightsHouse) -> None:
    """A dead agent's tasks are ready at once, and its own wait is over."""
    result_of(house.add("x"))
    task = taken(house, "a")
    waits = outcome(house.take("a", wait=60)), outcome(house.take("b", wait=60))
    house.tasks.end_agent("a", GONE)
    assert waits[0] == [GONE]
    assert len(waits[1]) == 1
    assert lease_of(task).holder.agent_id == "b"
    assert task.state.attempts == 2


def test_ends_with_its_token(house: RightsHouse) -> None:
    """So are those of an agent that was not started here, when its token is revoked, or ends."""
    for title in "xyz":
        result_of(house.add(title))
    task = taken(house, "a", seconds=10_000)
    short = taken(house, "b", seconds=10_000, holder=house.holder("b", "short", seconds=100))
    kept = taken(house, ADMIN, seconds=10_000)
    waits = outcome(house.take("a", wait=60, wanted=Wanted(None, "nothing like it")))
    house.book.revoke(["token of a"], int(START) + 10**6)
    house.tasks.end_tokens(["token of a"], TokenRevoked("Revoked."))
    assert isinstance(waits[0], TokenRevoked)
    assert (task.state.state, short.state.state) == ("ready", "leased")
    house.pass_time(100)
    assert (short.state.state, kept.state.state) == ("ready", "leased")
    assert short.state.reason == "'b' has ended"


def test_the_admin_may_all(house: RightsHouse) -> None:
    """The person at the machine may complete, renew and release what an agent has, by its fence."""
    result_of(house.add("x"))
    task = taken(house, "a")
    result_of(house.tasks.checkpoint(house.holder(ADMIN), task.id, lease_of(task).fence, RAW, 600))
    assert lease_of(task).holder.agent_id == "a"
    complete(house, ADMIN, task)


# Dependencies


def test_after(house: RightsHouse) -> None:
    """A task waits for those before it, and is ready when the last is completed; once for all over a restart."""
    one, two = (result_of(house.add(title)) for title in ("one", "two"))
    result_of(house.add("three", one.id, two.id))
    assert house.states() == {"one": "ready", "two": "ready", "three": "waiting"}
    complete(house, "a", taken(house, "a"))
    again = house.restart(snapshot=True)
    assert again.states() == {"one": "completed", "two": "ready", "three": "waiting"}
    last = taken(again, "a")
    waiting = outcome(again.take("b", wait=60))
    complete(again, "a", last)
    assert isinstance(waiting[0], Task)
    assert again.states()["three"] == "leased"
    result_of(again.add("four", one.id))
    assert again.restart().states()["four"] == "ready"


def test_after_one_that_fails(house: RightsHouse) -> None:
    """What can never begin fails, too, and says why, however long the line."""
    first = last = result_of(house.add("0", attempts=1))
    for number in range(1, 200):
        last = result_of(house.add(str(number), last.id))
    taken(house, "a", seconds=60)
    house.pass_time(60)
    house.clock.pump([0] * 10)
    assert set(house.states().values()) == {"failed"}
    assert first.state.reason == "the lease of 'a' has expired, at attempt 1 of 1"
    assert "is failed" in str(last.state.reason)
    assert len(house.letters) == 1
    assert len(house.events("task_failed")) == 200
    for name in (last.id, "task-none"):
        with pytest.raises(InvalidBody) as caught:
            house.add("x", name)
        assert caught.value.details["path"] == "$.after[0]"


def test_failed_while_the_next_was_written(house: RightsHouse) -> None:
    """One that is added while the one before it is cancelled fails at once."""
    one = result_of(house.add("one"))
    house.journal.held = True
    added = outcome(house.add("two", one.id))
    cancelled = outcome(house.tasks.cancel(house.holder("boss"), one.id))
    house.journal.write(1)
    assert house.states() == {"one": "ready", "two": "waiting"}
    house.journal.held = False
    house.journal.write()
    assert len(added) == len(cancelled) == 1
    assert house.states() == {"one": "cancelled", "two": "failed"}


# Cancelled


def test_cancel(house: RightsHouse) -> None:
    """Who added it, or the admin, takes it off the board; a holder's fence is stale then."""
    result_of(house.add("x", by="boss"))
    task = taken(house, "a")
    with pytest.raises(Foreign):
        house.tasks.cancel(house.holder("a"), task.id)
    for who in ("boss", ADMIN):
        assert result_of(house.tasks.cancel(house.holder(who), task.id)).state.state == "cancelled"
    with pytest.raises(StaleFence):
        complete(house, "a", task)
    assert house.restart().states() == {"x": "cancelled"}
    assert house.hub.ring.oldest is None, "a cancelled task makes no noise"


# On disk


def test_on_disk_first() -> None:
    """A task is not taken before it is on disk, and nobody is told of a lease before that is."""
    house = RightsHouse(journal=MemoryJournal(held=True))
    added, waiting = outcome(house.add("x")), outcome(house.take("a", wait=60))
    assert (added, waiting, house.states()) == ([], [], {})
    house.journal.write()
    assert len(added) == 1
    assert waiting == []
    house.journal.write()
    assert len(waiting) == 1


def test_a_full_disk(house: RightsHouse) -> None:
    """What the disk refuses has not happened."""
    task = result_of(house.add("x"))
    house.journal.refusal = StorageFull("full")
    assert isinstance(outcome(house.add("y"))[0], StorageFull)
    assert isinstance(outcome(house.take("a"))[0], StorageFull)
    assert (task.state.state, task.state.attempts) == ("ready", 0)
    house.journal.refusal = None
    taken(house, "a")
    house.journal.refusal = StorageFull("full")
    fence = lease_of(task).fence
    for act in (
        lambda: house.tasks.complete(house.holder("a"), task.id, fence, RAW),
        lambda: house.tasks.release(house.holder("a"), task.id, fence, None),
        lambda: house.tasks.cancel(house.holder(ADMIN), task.id),
        lambda: house.tasks.checkpoint(house.holder("a"), task.id, fence, RAW, None),
    ):
        assert isinstance(outcome(act())[0], StorageFull)
    assert (task.state.state, task.checkpoint) == ("leased", None)


def test_expired_while_it_was_completed(house: RightsHouse) -> None:
    """Who said in time that it is done has done it, though the lease and the agent end before that is on disk."""
    result_of(house.add("x"))
    task = taken(house, "a", seconds=60)
    house.journal.held = True
    done = outcome(house.tasks.complete(house.holder("a"), task.id, lease_of(task).fence, RAW))
    house.pass_time(60)
    house.tasks.end_agent("a", GONE)
    assert (done, task.state.state) == ([], "leased")
    house.journal.held = False
    house.journal.write()
    assert done == [task]
    assert house.states() == house.restart().states() == {"x": "completed"}


def test_a_full_disk_and_an_expired_lease(house: RightsHouse) -> None:
    """If it could not be written that it is done, what had to wait for that happens then."""
    result_of(house.add("x"))
    task = taken(house, "a", seconds=60)
    house.journal.held = True
    done = outcome(house.tasks.complete(house.holder("a"), task.id, lease_of(task).fence, RAW))
    house.tasks.end_agent("a", GONE)
    house.journal.refuse(StorageFull("full"))
    assert isinstance(done[0], StorageFull)
    assert (task.state.state, task.state.reason) == ("ready", "'a' has ended")


def test_one_thing_at_a_time(house: RightsHouse) -> None:
    """What comes while something is on its way to the disk takes its turn, and finds how it stands then."""
    result_of(house.add("x"))
    task = taken(house, "a")
    fence = lease_of(task).fence
    house.journal.held = True
    done = outcome(house.tasks.complete(house.holder("a"), task.id, fence, RAW))
    later = [
        outcome(house.tasks.checkpoint(house.holder("a"), task.id, fence, None, None)),
        outcome(house.tasks.cancel(house.holder(ADMIN), task.id)),
        outcome(house.tasks.complete(house.holder("a"), task.id, fence, RAW)),
    ]
    assert len(house.journal.waiting) == 1
    house.journal.held = False
    house.journal.write()
    assert done == later[1] == later[2] == [task]
    assert isinstance(later[0][0], StaleFence)
    assert house.states() == house.restart().states() == {"x": "completed"}


@pytest.mark.parametrize("snapshot", [False, True])
def test_lasts(house: RightsHouse, snapshot: bool) -> None:
    """After a restart every task stands as it did, with its lease, and the fence goes on."""
    for title in ("done", "failed", "leased", "ready"):
        result_of(house.add(title, attempts=1, data=RAW, types=("t",)))
    complete(house, "a", taken(house, "a"))
    taken(house, "a", seconds=10)
    leased = taken(house, "b", seconds=100)
    house.pass_time(10)
    again = house.restart(snapshot=snapshot).restart(snapshot=snapshot)
    expected = {"done": "completed", "failed": "failed", "leased": "leased", "ready": "ready"}
    assert again.states() == house.states() == expected
    assert len(again.letters) == 1
    assert len(again.events("task_completed")) == len(again.events("task_failed")) == 1
    same = again.tasks.get(leased.id)
    assert (same.record, same.state) == (leased.record, leased.state)
    complete(again, "b", same)
    assert lease_of(taken(again, "c")).fence > lease_of(leased).fence
    assert result_of(again.add("new")).record.number == 5


def test_ended_while_it_was_down(house: RightsHouse) -> None:
    """A lease that ended while no sidecar ran is over at the start; an end that nobody was told of is told then."""
    house.started_here.add("b")
    for title in "xy":
        result_of(house.add(title))
    taken(house, "a", seconds=60)
    taken(house, "b", seconds=600)
    house.gone.add("b")
    house.clock.rightNow += 61
    assert house.restart().states() == {"x": "ready", "y": "ready"}

    untold = RightsHouse()
    result_of(untold.add("z"))
    task = taken(untold, "a")
    untold.journal.held = True
    outcome(untold.tasks.complete(untold.holder("a"), task.id, lease_of(task).fence, RAW))
    untold.journal.write(1)  # and the event is lost
    again = untold.restart()
    assert len(again.data("task_completed")) == 1
    assert len(again.restart().data("task_completed")) == 1


# Bounds


def test_bounds(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open tasks, their size, leases of one agent and places to wait are bounded; what is over makes room."""
    monkeypatch.setattr(module, "MOST_OPEN", 3)
    for title in "xyz":
        result_of(house.add(title))
    with pytest.raises(TooManyRequests, match="open tasks"):
        house.add("one more")
    monkeypatch.setattr(module, "MOST_LEASES", 2)
    task, _ = taken(house, "a"), taken(house, "a")
    with pytest.raises(TooManyRequests, match="This agent has"):
        house.take("a")
    complete(house, "a", task)
    result_of(house.add("now", data=RAW))
    monkeypatch.setattr(module, "MOST_OPEN", 100)
    monkeypatch.setattr(module, "MOST_BYTES", 40)
    with pytest.raises(TooManyRequests, match="room"):
        house.add("x" * 40)
    with pytest.raises(TooManyRequests, match="room"):
        result_of(house.tasks.checkpoint(house.holder("a"), house.tasks.listing(state="leased")[0].id, 2, RAW, None))


def test_a_waiting_agent_with_enough_is_passed_over(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has as many as it may while it waits gets no more."""
    monkeypatch.setattr(module, "MOST_LEASES", 1)
    full = [outcome(house.take("a", wait=60)) for _ in range(2)]
    other = outcome(house.take("b", wait=60))
    for title in "xy":
        result_of(house.add(title))
    assert [len(wait) for wait in full] == [1, 0]
    assert len(other) == 1


def test_no_place_to_wait() -> None:
    """As for all that is parked."""
    house = RightsHouse(most_polls=1)
    outcome(house.take("a", wait=60))
    with pytest.raises(TooManyPolls):
        house.take("b", wait=60)


def test_what_is_over_is_forgotten_in_time(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest that are over stay; what waited for one that is forgotten is not held up by that."""
    monkeypatch.setattr(board, "MOST_ENDED", 2)
    one = result_of(house.add("one"))
    result_of(house.add("after one", one.id))
    for title in ("two", "three"):
        result_of(house.add(title))
    for _ in range(4):
        complete(house, "a", taken(house, "a"))
    assert len(house.states()) == 2
    with pytest.raises(NotFound):
        house.tasks.get(one.id)
    assert house.restart().states() == house.states()


def test_listing(house: RightsHouse) -> None:
    """By state, type, issue and agent; the newest first."""
    result_of(house.add("1", types=("rust",), issue="i"))
    result_of(house.add("2", types=("go",)))
    result_of(house.add("3"))
    taken(house, "a")
    titles = lambda **how: [task.record.title for task in house.tasks.listing(**how)]  # noqa: E731
    assert titles() == ["3", "2", "1"]
    assert titles(state="ready") == ["3", "2"]
    assert titles(agent_type="go") == ["3", "2"]
    assert titles(issue_id="i") == titles(agent="a") == ["1"]
    assert house.tasks.open_tasks == 3
