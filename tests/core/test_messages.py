"""Messages: on disk first, offered until seen, in order, bounded, told when they cannot arrive; over restarts."""

from typing import Any

import msgspec
import pytest
from twisted.internet.defer import CancelledError

from cco_sidecar.core.messages import messages as module
from cco_sidecar.core.messages import people as people_module
from cco_sidecar.core.messages import post_room
from cco_sidecar.core.messages.message import Delivery, Message
from cco_sidecar.core.messages.messages import AGAIN_SECONDS, MOST_IN_INBOX, Looked
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.errors import (
    Foreign,
    InvalidBody,
    InvalidParameter,
    NotFound,
    RecipientGone,
    StorageFull,
    TokenRevoked,
    TooManyPolls,
    TooManyRequests,
)
from tests.core.rights_house import GONE, RightsHouse
from tests.fakes import outcome, result_of


@pytest.fixture
def house() -> RightsHouse:
    """Agents a, b and c were started here, of the type t, on the issue i."""
    return RightsHouse(started_here={"a", "b", "c"})


def bodies(deliveries: list[Delivery]) -> list[Any]:
    return [msgspec.json.decode(one.record.body) for one in deliveries]


def watched(deferred: Any) -> list[Any]:
    """Give a list that has what comes of it, once it has come."""
    found: list[Any] = outcome(deferred)
    return found


def received(house: RightsHouse, agent: str) -> list[Any]:
    return bodies(result_of(house.receive(agent)))


def state(message: Message, agent: str = "b") -> str:
    return message.deliveries[agent].state.state


def end(house: RightsHouse, agent: str) -> None:
    house.gone.add(agent)
    house.messages.end_agent(agent, GONE)


# The whole life


def test_offered_seen(house: RightsHouse) -> None:
    """On its way it is queued, then offered, and over when the agent has acknowledged it."""
    message = result_of(house.send("a", "b"))
    assert (message.state, message.is_open) == ("queued", True)
    assert received(house, "b") == ["hello"]
    assert (state(message), message.deliveries["b"].state.offers) == ("offered", 1)
    assert received(house, "b") == [], "offered lately"
    result_of(house.messages.acknowledge("b", message.record.id, "seen"))
    result_of(house.messages.acknowledge("b", message.record.id, "seen"))
    assert (message.state, message.is_open) == ("seen", False)
    house.pass_time(10_000)
    assert (message.state, house.data("message_dead")) == ("seen", [])


def test_offered_again(house: RightsHouse) -> None:
    """What nobody proves to have seen is offered again, and again, until its time is up."""
    message = result_of(house.send("a", "b", ttl=3 * AGAIN_SECONDS - 1))
    for offers in (1, 2, 3):
        assert received(house, "b") == ["hello"]
        assert message.deliveries["b"].state.offers == offers
        house.pass_time(AGAIN_SECONDS)
    assert (state(message), received(house, "b")) == ("expired", [])
    [told] = house.data("message_dead")
    assert (told["message_id"], told["agent_id"], told["from"]) == (message.record.id, "b", "a")
    assert (told["state"], told["offers"], told["reason"]) == ("expired", 3, "it was not seen in time")
    assert "body" not in told


def test_done(house: RightsHouse) -> None:
    """One that wants to be done is open until it is; nothing goes back."""
    message = result_of(house.send("a", "b", kind="request", ack=True))
    result_of(house.messages.acknowledge("b", message.record.id, "seen"))
    assert (message.state, message.is_open) == ("seen", True)
    assert received(house, "b") == []
    for word in ("done", "seen", "done"):
        result_of(house.messages.acknowledge("b", message.record.id, word))
        assert (message.state, message.is_open) == ("done", False)


def test_seen_and_not_done(house: RightsHouse) -> None:
    """Who wanted to hear that it was done hears that it was not."""
    message = result_of(house.send("a", "b", ack=True, ttl=10))
    result_of(house.messages.acknowledge("b", message.record.id, "seen"))
    house.pass_time(10)
    assert state(message) == "expired"
    assert house.data("message_dead")[0]["reason"] == "it was not done in time"


def test_a_reply_is_done(house: RightsHouse) -> None:
    """Who replies has done it; the reply belongs to the same."""
    asked = result_of(house.send("a", "b", kind="request", ack=True, correlation_id="c-1"))
    reply = result_of(house.send("b", "a", "yes", reply_to=asked.record.id))
    assert (state(asked), reply.record.correlation_id) == ("done", "c-1")
    assert received(house, "a") == ["yes"]
    with pytest.raises(NotFound):
        house.send("c", "a", reply_to=asked.record.id)
    with pytest.raises(NotFound):
        house.send("b", "a", reply_to="msg-x")


def test_order(house: RightsHouse) -> None:
    """What is to be obeyed comes first, then what is asked, each by age; so many at once."""
    for body, kind in ((1, "info"), (2, "request"), (3, "steer"), (4, "steer"), (5, "info")):
        result_of(house.send("a", "b", body, kind))  # type: ignore[arg-type]
    assert bodies(house.messages.inbox("b")) == [3, 4, 2, 1, 5]
    assert bodies(result_of(house.receive("b", most=3))) == [3, 4, 2]
    assert received(house, "b") == [1, 5]
    assert house.messages.unread("b") == 5


def test_seen_by_the_next_call(house: RightsHouse) -> None:
    """What an answer to a call carried is seen when the agent calls again, however late; what it asked for is not."""
    for body, kind in ((1, "info"), (2, "steer"), (3, "info")):
        result_of(house.send("a", "b", body, kind))  # type: ignore[arg-type]
    assert bodies(house.messages.hand_over("b", 2)) == [2, 1]
    assert house.messages.unread("b") == 3
    house.pass_time(AGAIN_SECONDS)
    house.messages.called("b")
    assert house.messages.unread("b") == 1
    assert bodies(house.messages.hand_over("b", 2)) == [3]
    assert [delivery.state.state for delivery in house.messages.inbox("b")] == ["offered"]
    house = house.restart()
    assert bodies(house.messages.inbox("b")) == [3]
    result_of(house.send("a", "b", 4))
    assert received(house, "b") == [4]
    house.messages.called("b")
    assert house.messages.hand_over("b", 2) == []
    assert bodies(house.messages.inbox("b")) == [4], "a request of its own is no proof"


# Whom it reaches


def test_types_and_issues(house: RightsHouse) -> None:
    """To a type or an issue: those who live, but not the sender, and not those who come later."""
    message = result_of(house.send("a", "t"))
    assert list(message.deliveries) == ["b", "c"]
    house.started_here.add("d")
    assert received(house, "d") == []
    assert list(result_of(house.send("a", "issue:i")).deliveries) == ["b", "c", "d"]
    assert list(result_of(house.send(ADMIN, "i")).deliveries) == ["a", "b", "c", "d"]
    assert (message.state, message.is_open) == ("queued", True)
    for agent in ("b", "c"):
        result_of(house.messages.acknowledge(agent, message.record.id, "seen"))
    assert (message.state, message.is_open) == ("seen", False)


def test_names_alike(house: RightsHouse) -> None:
    """A name is an agent's first; a word before it says what is meant."""
    house.started_here |= {"t", "i"}
    assert list(result_of(house.send("a", "t")).deliveries) == ["t"]
    assert list(result_of(house.send("a", "type:t")).deliveries) == ["b", "c", "i", "t"]
    assert list(result_of(house.send("a", "agent:i")).deliveries) == ["i"]


def test_nobody(house: RightsHouse) -> None:
    """Nobody of that name, nobody alive, no name: never silence."""
    with pytest.raises(NotFound) as unknown:
        house.send("a", "nobody")
    assert unknown.value.details == {"to": "nobody"}
    for to in ("u", "issue:j", "type:u"):
        with pytest.raises(RecipientGone):
            house.send("a", to)
    for to in ("", "type:", "a b", "../x", "type:type:t"):
        with pytest.raises(InvalidParameter):
            house.send("a", to)
    end(house, "b")
    with pytest.raises(RecipientGone) as gone:
        house.send("a", "b")
    assert gone.value.details["agents"] == ["a", "c"]
    assert "Write to who goes on: a, c." in gone.value.message


def test_the_admin(house: RightsHouse) -> None:
    """The person at the machine has an inbox, too."""
    message = result_of(house.send("a", ADMIN, "which one?", "request"))
    assert received(house, ADMIN) == ["which one?"]
    result_of(house.messages.acknowledge(ADMIN, message.record.id, "seen"))
    assert message.state == "seen"


def test_by_token(house: RightsHouse) -> None:
    """An agent that was not started here is known from its token on, and lives as long as that is good."""
    with pytest.raises(NotFound):
        house.send("a", "x")
    house.messages.people.meet(house.holder("x", seconds=100))
    message = result_of(house.send("a", "x"))
    house = house.restart()
    assert received(house, "x") == ["hello"]
    message = house.messages.get(message.record.id)
    house.pass_time(100)
    assert (state(message, "x"), house.data("message_dead")[0]["reason"]) == ("dead", "'x' has ended")
    with pytest.raises(RecipientGone):
        house.send("a", "x")


def test_revoked(house: RightsHouse) -> None:
    """A token that is revoked ends what was sent to its agent, and its wait."""
    house.messages.people.meet(house.holder("x"))
    waiting = watched(house.receive("x", wait=50))
    other = watched(house.receive("b", wait=50))
    message = result_of(house.send("a", "issue:i", kind="info"))
    assert len(waiting[0]) == len(other[0]) == 1
    waiting = watched(house.receive("x", wait=50))
    result_of(house.book.revoke(["token of x"], 2**40))
    house.messages.end_tokens(["token of x"], TokenRevoked("Gone."))
    assert isinstance(waiting[0], TokenRevoked)
    assert (state(message, "x"), state(message, "b")) == ("dead", "offered")


def test_few_are_remembered(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of agents by token those met last are known; one that was started here is known without."""
    monkeypatch.setattr(people_module, "MOST_KNOWN", 2)
    for agent in ("x", "y", "x", "z", "a"):
        house.messages.people.meet(house.holder(agent, token=f"{agent}{house.ids()}"))
    assert [record.agent_id for _, record in house.messages.people.snapshot()] == ["x", "z"]  # type: ignore[attr-defined]


def test_death(house: RightsHouse) -> None:
    """What an agent has not seen, or not done, when it ends is dead, and the sender is told."""
    kinds = [result_of(house.send("a", "b", ack=ack)) for ack in (False, False, True)]
    received(house, "b")
    result_of(house.messages.acknowledge("b", kinds[0].record.id, "seen"))
    result_of(house.messages.acknowledge("b", kinds[2].record.id, "seen"))
    end(house, "b")
    assert [state(message) for message in kinds] == ["seen", "dead", "dead"]
    told = {data["message_id"] for data in house.data("message_dead")}
    assert told == {kinds[1].record.id, kinds[2].record.id}
    assert house.messages.inbox("b") == []


# Waiting


def test_waiting(house: RightsHouse) -> None:
    """Who waits has it at once; who waited first gets it; nothing comes when time is up."""
    first, second = watched(house.receive("b", wait=50)), watched(house.receive("b", wait=50))
    result_of(house.send("a", "b"))
    assert bodies(first[0]) == ["hello"]
    assert second == []
    house.pass_time(50)
    assert second == [[]]
    assert house.room.used == 0


def test_waiting_for_another_kind(house: RightsHouse) -> None:
    """What is not wanted wakes nobody, and stays."""
    wanted = Looked(agent="b", kind="steer")
    waiting = watched(house.messages.receive(house.reader("b"), "b", wanted, 10, 50))
    result_of(house.send("a", "b", "for your information"))
    assert waiting == []
    result_of(house.send("a", "b", "stop", "steer"))
    assert bodies(waiting[0]) == ["stop"]
    assert received(house, "b") == ["for your information"]


def test_again_while_waiting(house: RightsHouse) -> None:
    """A message that comes back wakes whoever waits."""
    result_of(house.send("a", "b"))
    assert received(house, "b") == ["hello"]
    waiting = watched(house.receive("b", wait=200))
    house.pass_time(AGAIN_SECONDS)
    assert bodies(waiting[0]) == ["hello"]


def test_hanging_up(house: RightsHouse) -> None:
    """Who hangs up has been given nothing."""
    waiting = house.receive("b", wait=50)
    seen = watched(waiting)
    waiting.cancel()
    assert isinstance(seen[0], CancelledError)
    message = result_of(house.send("a", "b"))
    assert (state(message), house.room.used) == ("queued", 0)


def test_ends_of_waits(house: RightsHouse) -> None:
    """A dead token, an agent's end, a drain and a full house each end a wait, or keep it from beginning."""
    waiting = watched(house.receive("b", wait=50))
    house.dead_tokens["token of b"] = GONE
    house.messages.end_refused()
    assert isinstance(waiting[0], TokenRevoked)
    waiting = watched(house.receive("b", wait=50))
    message = result_of(house.send("a", "b"))
    assert isinstance(waiting[0], TokenRevoked)
    assert state(message) == "queued"
    waiting = watched(house.receive("c", wait=50))
    end(house, "c")
    assert isinstance(waiting[0], TokenRevoked)
    house.room._most = 0
    with pytest.raises(TooManyPolls):
        house.receive("a", wait=50)
    house.room._most = 10
    waiting = watched(house.receive("a", wait=50))
    house.messages.drain()
    assert waiting == [[]]
    assert result_of(house.receive("a", wait=50)) == []


# Who may


def test_whose_it_is(house: RightsHouse) -> None:
    """Sender and recipients read it, and the admin; only recipients say that they have seen it."""
    message = result_of(house.send("a", "b"))
    name = message.record.id
    for agent in ("a", "b", ADMIN):
        assert house.messages.read(name, agent) is message
    with pytest.raises(Foreign):
        house.messages.read(name, "c")
    for agent in ("a", "c", ADMIN):
        with pytest.raises(Foreign):
            house.messages.acknowledge(agent, name, "seen")
    with pytest.raises(NotFound):
        house.messages.acknowledge("b", "msg-x", "seen")


def test_listing(house: RightsHouse) -> None:
    """The newest first, those that are asked for, looking moves nothing."""
    one = result_of(house.send("a", "t", 1, "steer", correlation_id="k"))
    result_of(house.send("b", "a", 2))
    result_of(house.messages.acknowledge("b", one.record.id, "seen"))

    def found(limit: int = 100, **wanted: Any) -> list[tuple[int, str]]:
        looked = house.messages.listing(Looked(**wanted), limit)
        return [(int(bytes(it.record.body)), it.holder.agent_id) for it in looked]

    assert found() == [(2, "a"), (1, "b"), (1, "c")]
    assert found(2) == [(2, "a"), (1, "b")]
    assert found(state="seen") == [(1, "b")]
    assert found(unread=True) == [(2, "a"), (1, "c")]
    assert found(kind="steer", agent="c") == [(1, "c")]
    assert found(sender="b") == [(2, "a")]
    assert found(correlation_id="k", state="queued") == [(1, "c")]


# Bounds


def test_full_inbox(house: RightsHouse) -> None:
    """An inbox takes so many; of several recipients the others get it, and it says who does not."""
    house.journal.held = True
    for _ in range(MOST_IN_INBOX):
        house.send("a", "b")
    with pytest.raises(TooManyRequests) as full:
        house.send("a", "b")
    assert full.value.details["agents"] == ["b"]
    house.journal.held = False
    house.journal.write()
    with pytest.raises(TooManyRequests):
        house.send("a", "b")
    message = result_of(house.send("a", "t"))
    assert (state(message), state(message, "c")) == ("dead", "queued")
    assert house.data("message_dead")[0]["reason"] == "the inbox of 'b' is full"
    first = house.messages.inbox("b")[0]
    result_of(house.messages.acknowledge("b", first.record.id, "seen"))
    result_of(house.send("a", "b"))


def test_bounds(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipients, messages under way and their bytes are bounded."""
    monkeypatch.setattr(module, "MOST_RECIPIENTS", 1)
    with pytest.raises(InvalidBody):
        house.send("a", "t")
    monkeypatch.setattr(module, "MOST_OPEN", 2)
    house.journal.held = True
    house.send("a", "b")
    house.send("a", "c")
    with pytest.raises(TooManyRequests):
        house.send("b", "a")
    monkeypatch.setattr(module, "MOST_OPEN", 10)
    monkeypatch.setattr(module, "MOST_BYTES", 4000)
    with pytest.raises(TooManyRequests):
        house.send("b", "a", "x" * 1000)
    house.send("b", "a")


def test_old_ones_go(house: RightsHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are over the newest stay; what is open stays in any case."""
    monkeypatch.setattr(post_room, "MOST_ENDED", 2)
    messages = [result_of(house.send("a", "b", number)) for number in range(5)]
    for message in messages[1:]:
        result_of(house.messages.acknowledge("b", message.record.id, "seen"))
    assert sorted(bodies(house.messages.listing(Looked(), 100))) == [0, 3, 4]
    monkeypatch.setattr(post_room, "MOST_BYTES", 1)
    result_of(house.messages.acknowledge("b", messages[0].record.id, "seen"))
    assert house.messages.listing(Looked(), 100) == []
    assert (house.messages._room._bytes, house.messages._room.open, house.messages._room.open_bytes) == (0, 0, 0)


# What lasts


def test_many_ends_at_once(house: RightsHouse) -> None:
    """When time is up for very many, the reactor has its turns in between."""
    house.started_here |= {f"d{number}" for number in range(200)}
    result_of(house.send("a", "i", ttl=10))
    house.clock.rightNow += 10
    house.messages._wheel._turn()
    assert house.data("message_dead") == []
    house.messages._look_at_some()
    assert len(house.data("message_dead")) == module.ENDS_AT_ONCE
    house.pass_time(1)
    assert len(house.data("message_dead")) == 202


def test_on_disk_first(house: RightsHouse) -> None:
    """Nobody gets, and nobody has seen, what is not on disk; what is refused was never there."""
    house.journal.held = True
    sending = watched(house.send("a", "b"))
    assert (sending, received(house, "b")) == ([], [])
    house.journal.write()
    message = sending[0]
    seeing = watched(house.messages.acknowledge("b", message.record.id, "seen"))
    assert (seeing, state(message)) == ([], "queued")
    house.journal.refuse(StorageFull("full"))
    assert isinstance(seeing[0], StorageFull)
    assert state(message) == "queued"
    refused = watched(house.send("a", "b"))
    house.journal.refuse(StorageFull("full"))
    assert isinstance(refused[0], StorageFull)
    house.journal.held = False
    assert received(house, "b") == ["hello"]


def test_seen_in_time(house: RightsHouse) -> None:
    """What was said in time counts, though it is on disk late; so does a reply."""
    one, two = (result_of(house.send("a", "b", ack=True, ttl=10)) for _ in range(2))
    house.journal.held = True
    watched(house.messages.acknowledge("b", one.record.id, "done"))
    watched(house.send("b", "a", reply_to=two.record.id))
    house.pass_time(11)
    house.journal.held = False
    house.journal.write()
    assert (state(one), state(two)) == ("done", "done")
    again = house.restart()
    assert [again.messages.get(it.record.id).state for it in (one, two)] == ["done", "done"]


@pytest.mark.parametrize("snapshot", [False, True])
def test_restart(house: RightsHouse, snapshot: bool) -> None:
    """All is as it was: what is offered is offered again in time, what has ended meanwhile ends and is told once."""
    offered, seen, asked = (result_of(house.send("a", "b", ack=ack)) for ack in (False, False, True))
    received(house, "b")
    result_of(house.messages.acknowledge("b", seen.record.id, "seen"))
    result_of(house.send("b", "a", reply_to=asked.record.id))
    dead = result_of(house.send("a", "c"))
    house = house.restart(snapshot=snapshot)
    names = [message.record.id for message in (offered, seen, asked, dead)]
    assert [house.messages.get(name).state for name in names] == ["offered", "seen", "done", "queued"]
    house.pass_time(AGAIN_SECONDS)
    assert received(house, "b") == ["hello"]
    house.gone.add("c")
    house = house.restart(snapshot=snapshot).restart(snapshot=snapshot)
    assert house.messages.get(dead.record.id).state == "dead"
    assert [data["message_id"] for data in house.data("message_dead")] == [dead.record.id]
    assert result_of(house.send("a", "b")).record.number > dead.record.number


def test_told_after_a_crash(house: RightsHouse) -> None:
    """What ended, but could not be told any more, is told by the next."""
    message = result_of(house.send("a", "b"))
    house.journal.held = True
    end(house, "b")
    ended = [record for record in house.journal.records if b'"dead"' in record]
    again = house.restart()
    assert again.messages.get(message.record.id).state == "dead"
    assert len(again.data("message_dead")) == 1, ended
