"""The waiting loop: cut into waits, from where the last ended; nothing lost, nothing twice, whatever happens."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.client import calls
from cco_sidecar.client.errors import NotASidecar, Refused, Unreachable
from cco_sidecar.client.values import Answer, Request, Trouble
from cco_sidecar.client.waiting import Events, Standing, Wanted, types_of
from cco_sidecar.client.waits import fill
from tests.client.driving import BROKEN, LATE, START, UNREACHABLE, World, answered, refused
from tests.client.test_tokens import token


def event(number: int) -> dict[str, Any]:
    """Make an event."""
    return {"event_id": f"evt-{number}", "sequence": number, "event_type": "done", "data": number}


def waited(*numbers: int, cursor: str = "c", **more: object) -> Answer:
    """Make the answer to a wait."""
    events = [event(number) for number in numbers]
    rest = {"more_available": False, "next_cursor": cursor, "timeout": not events, "gap": False}
    return answered({"events": events, **rest, **more})


def query(request: Request) -> dict[str, str]:
    """Give the parameters of a request."""
    return dict(parse_qsl(urlsplit(request.target).query))


def numbers(found: Events) -> list[int]:
    """Give which events these are."""
    return [it["sequence"] for it in found]


def test_call_of_the_faq() -> None:
    """``wait_for_event("implementation_complete", timeout=30000)`` asks just that, and gives the events."""
    world = World()
    found = world.do(calls.wait_for_event(world.desk(), "implementation_complete", timeout=30000), waited(1, 2))
    assert world.asked[0].target == "/api/events/wait/implementation_complete?timeout=30000"
    assert numbers(found) == [1, 2]
    assert (found.next_cursor, found.gap) == ("c", False)
    assert world.seconds == [40.0]


def test_everything_is_sent() -> None:
    """All that can be wanted reaches the sidecar."""
    world = World()
    wait = calls.wait_for_event(
        world.desk(), ["a", "b"], 5, filter="x:1", topic="t", subscription="s", limit=7, project="p"
    )
    world.do(wait, waited(1))
    assert world.asked[0].target.startswith("/api/events/wait/a,b?")
    wanted = {"timeout": "5", "filter": "x:1", "topic": "t", "subscription": "s", "limit": "7", "project": "p"}
    assert query(world.asked[0]) == wanted


def test_next_wait_says_what_was_had() -> None:
    """The second wait for the same acknowledges the first; a wait for something else knows nothing of it."""
    world = World()
    desk = world.desk()
    world.do(calls.wait_for_event(desk, "a"), waited(1, cursor="c-1"))
    world.do(calls.wait_for_event(desk, "a"), waited(2, cursor="c-2"))
    world.do(calls.wait_for_event(desk, "a", topic="t"), waited(2, cursor="c-2"))
    assert [query(it).get("ack") for it in world.asked] == [None, "c-1", None]


def test_own_cursor() -> None:
    """With ``since`` the place is the caller's: nothing is acknowledged, and nothing is kept for the next."""
    world = World()
    desk = world.desk()
    found = world.do(calls.wait_for_event(desk, "a", since="earliest"), waited(cursor="c-1"), waited(1, cursor="c-2"))
    assert [query(it)["since"] for it in world.asked] == ["earliest", "c-1"]
    assert found.next_cursor == "c-2"
    world.do(calls.wait_for_event(desk, "a"), waited(1))
    assert "ack" not in query(world.asked[-1])


@pytest.mark.parametrize("is_in_file", [False, True])
def test_admin_has_a_place_here(is_in_file: bool) -> None:
    """The sidecar keeps no place for the admin: the client does, and begins at the oldest event."""
    world = World()
    admin = token(sub="admin", iat=START, exp=START + 3600)
    desk = world.desk(None, source=lambda: admin) if is_in_file else world.desk(admin)
    world.do(calls.wait_for_event(desk, "a"), waited(1, cursor="c-1"))
    world.do(calls.wait_for_event(desk, "a"), waited(2, cursor="c-2"))
    assert [query(it)["since"] for it in world.asked] == ["earliest", "c-1"]


def test_after_a_lost_answer() -> None:
    """When an answer may have been lost, the next try asks by cursor, for the sidecar may believe it arrived."""
    world = World()
    desk = world.desk()
    world.do(calls.wait_for_event(desk, "a"), waited(1, cursor="c-1"))
    world.do(calls.wait_for_event(desk, "a"), UNREACHABLE, BROKEN, waited(2, cursor="c-2"))
    world.do(calls.wait_for_event(desk, "a"), waited(3, cursor="c-3"))
    places = [{name: value for name, value in query(it).items() if name in {"since", "ack"}} for it in world.asked]
    assert places == [{}, {"ack": "c-1"}, {"ack": "c-1"}, {"since": "c-1"}, {"ack": "c-2"}]


def taking(world: World, answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """Let each wait take all its time before it is answered."""

    def told(request: Request) -> Answer:
        world.time += int(query(request)["timeout"]) / 1000
        return answer(request)

    return told


def test_long_wait_is_cut() -> None:
    """A wait that is longer than the sidecar allows is made of several; time that is up is no error."""
    world = World()
    found = world.do(
        calls.wait_for_event(world.desk(), "a", timeout=700_000), *[taking(world, lambda _: waited(cursor="c"))] * 3
    )
    assert [query(it)["timeout"] for it in world.asked] == ["300000", "300000", "100000"]
    assert found == []


def test_wait_ends_before_the_token() -> None:
    """A wait comes back before its token ends, so that it is answered, with the next token, and not refused."""
    world = World(time=3000.0)
    second = token(iat=START + 3200, exp=START + 6800)
    desk = world.desk(token(iat=START, exp=START + 3301))
    told = taking(world, lambda _: waited(X_Refreshed_Token=second))
    answer = told  # the header comes with the answer

    def renewed(request: Request) -> Answer:
        found = answer(request)
        return found._replace(headers={"x-refreshed-token": second})

    world.do(calls.wait_for_event(desk, "a", timeout=600_000), renewed, told, told)
    assert [query(it)["timeout"] for it in world.asked] == ["291000", "300000", "9000"]
    assert world.shown[1:] == [second, second]


def test_no_time() -> None:
    """A wait without time asks once."""
    world = World()
    assert world.do(calls.wait_for_event(world.desk(), "a", timeout=0), waited()) == []


def test_ended_before_its_time() -> None:
    """A wait that ends early and empty (the sidecar stops, another wait took over) goes on, with a pause."""
    world = World()
    found = world.do(calls.wait_for_event(world.desk(), "a", 60_000), *[waited(timeout=False)] * 10, waited(1))
    assert numbers(found) == [1]
    assert 5 < world.time < 30
    assert int(query(world.asked[-1])["timeout"]) < 60_000


def test_gap_is_told_with_what_comes() -> None:
    """A gap does not end the wait, and is told once."""
    world = World()
    desk = world.desk()
    found = world.do(calls.wait_for_event(desk, "a"), waited(gap=True, timeout=False), waited(1))
    assert (numbers(found), found.gap) == ([1], True)
    assert not world.do(calls.wait_for_event(desk, "a"), waited(2)).gap


def test_after_an_answer_of_a_proxy() -> None:
    """A proxy that has given up may have had the answer that it did not pass on."""
    world = World()
    desk = world.desk()
    world.do(calls.wait_for_event(desk, "a"), waited(1, cursor="c-1"))
    world.do(calls.wait_for_event(desk, "a"), answered(None, 504), waited(2, cursor="c-2"))
    assert query(world.asked[-1])["since"] == "c-1"


def test_places_that_are_remembered_are_bounded() -> None:
    """Whoever waits for ever new things does not fill the memory; the place that is used stays."""
    desk = World().desk()
    first = desk.standing(Wanted("a"))
    for number in range(1000):
        desk.standing(Wanted("a", filter=f"x:{number}"))
        assert desk.standing(Wanted("a")) is first
    assert len(desk._standings) == 128


def test_sidecar_has_another_storage() -> None:
    """A place of a storage that is gone is forgotten; one that the caller named is refused."""
    world = World()
    desk = world.desk()
    world.do(calls.wait_for_event(desk, "a"), waited(1, cursor="c-1"))
    unknown = refused(400, "VAL_001", {"parameter": "ack"})
    world.do(calls.wait_for_event(desk, "a"), unknown, waited(2, cursor="d-2"))
    assert [query(it).get("ack") for it in world.asked] == [None, "c-1", None]
    with pytest.raises(Refused):
        world.do(calls.wait_for_event(desk, "a", since="c-1"), refused(400, "VAL_001", {"parameter": "since"}))


def test_refused_is_not_tried_again() -> None:
    """What is wrong with the wait is told at once, also in a loop that goes on for ever."""
    world = World()
    with pytest.raises(Refused, match="EVT_003"):
        world.do(fill(world.desk(), Wanted("a"), Standing(), 1000), refused(400, "EVT_003", {"position": 3}))


def test_unreachable_wait() -> None:
    """A wait is patient as every call; a loop is for ever."""
    world = World()
    with pytest.raises(Unreachable):
        world.do(calls.wait_for_event(world.desk(patience_seconds=5.0), "a"), lambda _: UNREACHABLE)
    standing = Standing()
    world.do(fill(world.desk(), Wanted("a"), standing, 1000), *[UNREACHABLE] * 100, waited(1))
    assert standing.pop() is not None


def test_not_a_sidecar() -> None:
    """An answer without events is nobody's we know."""
    world = World()
    with pytest.raises(NotASidecar):
        world.do(calls.wait_for_event(world.desk(), "a"), answered({"hello": 1}))


def test_replay_says_when_it_is_over() -> None:
    """A wait on a replay ends with it, and says how it ended."""
    world = World()
    found = world.do(
        calls.wait_for_event(world.desk(), "*", 60_000, subscription="replay-1"),
        waited(timeout=False, replay="running"),
        waited(timeout=False, replay="done"),
    )
    assert found.replay == "done"


@pytest.mark.parametrize(("given_", "expected"), [("a", "a"), ("a,b", "a,b"), (["a", "b"], "a,b"), (("*",), "*")])
def test_types(given_: str, expected: str) -> None:
    """Types may be a text or a list."""
    assert types_of(given_) == expected


@pytest.mark.parametrize("nothing", ["", [], ()])
def test_no_types(nothing: str) -> None:
    """No type at all is a mistake."""
    with pytest.raises(ValueError, match="event type"):
        types_of(nothing)


def test_events_left_over_are_given_next() -> None:
    """What was fetched and not taken is given to the next wait, and nothing is asked for."""
    world = World()
    desk = world.desk()
    standing = desk.standing(Wanted("a"))
    world.do(fill(desk, Wanted("a"), standing, 1000), waited(1, 2, 3))
    standing.pop()
    assert numbers(world.do(calls.wait_for_event(desk, "a"))) == [2, 3]
    assert len(world.asked) == 1


def test_what_is_remembered_is_bounded() -> None:
    """A loop that runs for weeks remembers a bounded number of events."""
    standing = Standing()
    for start in range(0, 10_000, 1000):
        standing.take({"events": [event(start + n) for n in range(1000)], "next_cursor": "c"})
        standing.drain()
    assert len(standing._had) == 2000


class Log:
    """A sidecar's log and one agent's place in it, as the contract has them."""

    def __init__(self) -> None:
        self.published = 0
        self.position = 0

    def wait(self, request: Request, limit: int) -> tuple[Answer, int]:
        """Answer a wait; gives how far the place moves if the answer arrives."""
        asked = query(request)
        if "ack" in asked:
            self.position = max(self.position, int(asked["ack"].removeprefix("c-")))
        start = int(asked["since"].removeprefix("c-")) if "since" in asked else self.position
        found = list(range(start + 1, self.published + 1))[:limit]
        through = found[-1] if found else self.published
        more = through < self.published
        return waited(
            *found, cursor=f"c-{through}", more_available=more
        ), self.position if "since" in asked else through


FATES = ("arrives", "arrives unseen", "reset", "hidden", "late", "unreachable", "early", "busy")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 5), st.integers(1, 3)), max_size=60))
def test_nothing_lost_and_nothing_twice(fates: list[tuple[str, int, int]]) -> None:
    """Whatever becomes of answers, every event is given once and in order.

    ``unseen``: the sidecar restarts before it noted that the answer arrived. ``hidden``: a proxy took the answer, so
    that the sidecar believes it arrived, and lost it; only the very first answer cannot be recovered then.
    """
    log, world = Log(), World()
    desk = world.desk(patience_seconds=None)
    standing = desk.standing(Wanted("*"))
    left = list(fates)

    def sidecar(request: Request) -> Answer | Trouble:
        fate, more, limit = left.pop(0) if left else ("arrives", 0, 3)
        log.published += more
        if fate == "unreachable":
            return UNREACHABLE
        if fate == "busy":
            return refused(503, "EVT_001", Retry_After="1")
        if fate == "early":
            return waited(cursor=f"c-{log.position}" if standing.cursor is None else standing.cursor, timeout=False)
        assert len(world.asked) < 2000, "it asks for ever"
        answer, through = log.wait(request, limit)
        if not answer.json()["events"]:
            world.time += int(query(request)["timeout"]) / 1000
        if fate in {"reset", "late"} or (fate == "hidden" and standing.cursor is None):
            return BROKEN if fate == "reset" else LATE
        if fate != "arrives unseen":
            log.position = max(log.position, through)
        return BROKEN if fate == "hidden" else answer

    got: list[int] = []
    while left or len(got) < log.published:
        if len(got) < log.published:
            world.do(fill(desk, Wanted("*"), standing, 1000, 3), sidecar)
            while (taken := standing.pop()) is not None:
                got.append(taken["sequence"])
        else:
            got += numbers(world.do(calls.wait_for_event(desk, "*", timeout=100, limit=3), sidecar))
    assert got == list(range(1, log.published + 1))
