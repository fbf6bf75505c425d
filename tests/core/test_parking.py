"""Lines: who waits leaves once, whatever ends the wait, and holds a place among the parked polls until then."""

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from cco_sidecar.core.events.waiting import PollRoom, Reader
from cco_sidecar.core.parking import Parking, WaitingLine
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import Refusal, TokenRevoked

GONE = TokenRevoked("It is gone.")


class Hall:
    """A line, and the polls' room that it stands in."""

    def __init__(self) -> None:
        self.clock, self.room = Clock(), PollRoom(10)
        self.dead: set[str] = set()
        parking = Parking(TimerWheel(self.clock), self.room)
        self.line: WaitingLine[str, str] = WaitingLine(parking, lambda: "nothing")


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_hang_up_after_its_turn_has_come(hall: Hall) -> None:
    """Who is taken out of the line may hang up before it is answered: that is no mistake, and frees nothing twice."""
    reader = Reader("a", None, "t", lambda: None, "a")
    waits = hall.line.enter("a", reader, 10.0)
    assert hall.line.take("a") is waits
    waits.cancel()
    assert hall.room.used == len(hall.line) == 0
    waits.addErrback(lambda failure: failure.trap(CancelledError))


def test_leaving_while_it_is_walked(hall: Hall) -> None:
    """Whoever leaves meanwhile is not come to any more."""
    for wish in "abc":
        hall.line.enter(wish, Reader(wish, None, f"token-{wish}", lambda: None, wish), 10.0).addErrback(lambda _: None)
    met = []
    for wish in hall.line:
        met.append(wish)
        if wish == "a":
            hall.line.turn_away("b", GONE)
    assert met == ["a", "c"]
    assert list(hall.line) == ["a", "c"]
    assert hall.room.used == 2


def test_every_end(hall: Hall) -> None:
    """Time, a token that dies, a revocation and the end of the line: each ends the waits that it is about."""
    told: dict[str, object] = {}
    for wish, seconds in (("short", 1.0), ("dies", 2.0), ("dead", 10.0), ("revoked", 10.0), ("stays", 10.0)):
        reader = Reader(wish, None, f"token-{wish}", lambda wish=wish: GONE if wish in hall.dead else None, wish)  # type: ignore[misc]
        waits = hall.line.enter(wish, reader, seconds)
        waits.addCallbacks(
            lambda found, wish=wish: told.setdefault(wish, found),
            lambda failure, wish=wish: told.setdefault(wish, failure.value),
        )
    hall.clock.advance(1.5)
    assert told == {"short": "nothing"}
    hall.dead.add("dies")
    hall.clock.advance(1.0)  # its time is up, and its token is no good any more: that is what it is told
    assert isinstance(told["dies"], Refusal)
    hall.dead.add("dead")
    hall.line.end_refused()
    assert isinstance(told["dead"], Refusal)
    hall.line.end_tokens({"token-revoked"}, GONE)
    assert told["revoked"] is GONE
    assert list(hall.line) == ["stays"]
    hall.line.close()
    assert (told["stays"], hall.line.is_closed, len(hall.line), hall.room.used) == ("nothing", True, 0, 0)
