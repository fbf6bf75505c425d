"""Admission: the cap, the order of the queue and its bound."""

import pytest
from attrs import define
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cco_sidecar.core.admission import PRIORITIES, Admission, Applicant
from cco_sidecar.errors import TooManyRequests


def test_full_queue() -> None:
    """Who finds places and queue taken is told to come again, and nothing is kept of it."""
    admission = Admission(1, 1)
    for name in ("a", "b"):
        admission.reserve()
        admission.enter(Applicant(name), "normal")
        admission.release()
        admission.admit(0.0)
    with pytest.raises(TooManyRequests) as refused:
        admission.reserve()
    assert refused.value.retry_after > 0
    admission.leave("b")
    admission.reserve()


def test_withheld() -> None:
    """Who is withheld keeps their place in the queue, holds up nobody behind, and no time brings them in."""
    why = {"a": "no budget"}
    admission = Admission(5, withheld=why.get)
    for name in "abc":
        admission.enter(Applicant(name), "normal")
    assert [admission.admit(0.0) for _ in range(3)] == ["b", "c", None]
    assert (admission.why_waits("a", 0.0), admission.next_at(0.0)) == ("no budget", None)
    why.clear()
    assert admission.next_at(0.0) == 0.0
    assert admission.admit(0.0) == "a"


def test_reservations_count() -> None:
    """Those on their way into the queue count, so that many at once can't overfill it."""
    admission = Admission(1, 2)
    for _ in range(3):
        admission.reserve()
    with pytest.raises(TooManyRequests):
        admission.reserve()
    admission.release()
    admission.reserve()


def test_more_inside_than_places() -> None:
    """Agents found again after the cap was lowered keep their places; nobody enters until there is room."""
    admission = Admission(1)
    admission.occupy(Applicant("x"))
    admission.occupy(Applicant("y"))
    admission.enter(Applicant("a"), "high")
    admission.leave("x")
    assert admission.admit(0.0) is None
    admission.leave("y")
    assert admission.admit(0.0) == "a"


def enter(admission: Admission, *names: str, priority: str = "normal", group: str = "type") -> None:
    """Queue up members of the group that their first letter names."""
    for name in names:
        admission.enter(Applicant(name, ((group, name[0]),)), priority)


def admitted(admission: Admission, now: float = 0.0) -> list[str]:
    found = []
    while (name := admission.admit(now)) is not None:
        found.append(name)
    return found


def test_caps() -> None:
    """Of one group only so many are inside; those behind them pass, and they come when one of theirs has left."""
    admission = Admission(5, caps={"type": 2, "parent": 0})
    enter(admission, "a1", "a2", "a3", "b1")
    enter(admission, "a4", priority="high")
    enter(admission, "c1", "c2", "c3", group="parent", priority="low")
    assert admitted(admission) == ["a4", "a1", "b1", "c1", "c2"]
    assert admission.why_waits("a2", 0.0) == "all 5 places are taken"
    admission.leave("c1")
    assert admission.why_waits("a2", 0.0) == "2 agents of its type 'a' run already"
    assert admission.next_at(0.0) == 0.0  # c3 may
    assert admitted(admission) == ["c3"]
    admission.leave("b1")
    assert (admitted(admission), admission.next_at(0.0)) == ([], None)
    admission.leave("a4")
    assert admitted(admission) == ["a2"]
    assert admission.why_waits("a2", 0.0) is None


def test_starts_per_minute() -> None:
    """As many as there are places start at once, then one after the other."""
    admission = Admission(3, per_minute=60)
    enter(admission, *(f"a{number}" for number in range(9)))
    assert admitted(admission) == ["a0", "a1", "a2"]
    for name in ("a0", "a1", "a2"):
        admission.leave(name)
    assert admission.why_waits("a3", 0.0) == "at most 60 agents start in a minute"
    assert admission.next_at(0.0) == 1.0
    assert admitted(admission, 0.9) == []
    assert admitted(admission, 1.0) == ["a3"]
    assert admitted(admission, 0.0) == []  # a clock set back
    assert admitted(admission, 3.0) == ["a4", "a5"]


def test_held() -> None:
    """Another try of what is held back waits; others pass it."""
    held = {"x": 5.0}
    admission = Admission(3, held_until=lambda what: held.get(what, 0.0))
    admission.enter(Applicant("a", attempt_at="x"), "high")
    admission.enter(Applicant("b", attempt_at="y"), "low")
    assert admitted(admission, 1.0) == ["b"]
    assert admission.next_at(1.0) == 5.0
    why = admission.why_waits("a", 1.0)
    assert why is not None
    assert why.endswith("it waits 4 s more")
    assert admitted(admission, 5.0) == ["a"]


class AdmissionModel(RuleBasedStateMachine):
    """Admission against a sorted list."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(3, 100)
        self.waiting: list[tuple[int, int, str]] = []
        self.inside: list[str] = []
        self.number = 0

    @rule(priority=st.sampled_from(PRIORITIES))
    def enter(self, priority: str) -> None:
        self.number += 1
        name = f"a{self.number}"
        self.admission.enter(Applicant(name), priority)
        self.waiting.append((PRIORITIES.index(priority), self.number, name))

    @rule()
    def admit(self) -> None:
        expected = None
        if len(self.inside) < 3 and self.waiting:
            first = min(self.waiting)
            self.waiting.remove(first)
            expected = first[2]
            self.inside.append(expected)
        assert self.admission.admit(0.0) == expected

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.inside))
        self.inside.remove(name)
        self.admission.leave(name)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        waiting = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(waiting)
        self.admission.leave(waiting[2])

    @invariant()
    def same_queue(self) -> None:
        assert self.admission.queued == len(self.waiting)
        assert all(self.admission.waits(name) for _, _, name in self.waiting)


test_order = AdmissionModel.TestCase


def test_who_returns_first() -> None:
    """Who ran before comes before those of its priority, and behind those of a higher one."""
    admission = Admission(10)
    for name, returns, priority in [("new", False, "normal"), ("back", True, "normal"), ("high", False, "high")]:
        admission.enter(Applicant(name, returns=returns), priority)
    assert [admission.admit(0.0) for _ in range(4)] == ["high", "back", "new", None]


@define
class Breakers:
    """Holds one account."""

    until: float

    def held_until(self, account: str) -> float:
        return self.until if account == "held" else 0.0

    def why_held(self, account: str) -> str:
        return f"{account} is held"


def test_held_account() -> None:
    """Whose account is held waits, and nobody waits for it; that nobody knows until when is no time to wake up at."""
    breakers = Breakers(float("inf"))
    admission = Admission(2, breakers=breakers)
    admission.enter(Applicant("a", account="held"), "high")
    admission.enter(Applicant("b", account="free"), "low")
    admission.enter(Applicant("c"), "low")
    assert [admission.admit(0.0), admission.admit(0.0)] == ["b", "c"]
    admission.leave("b")
    assert admission.next_at(0.0) is None
    assert admission.why_waits("a", 0.0) == "held is held"
    breakers.until = 7.0
    assert (admission.admit(6.0), admission.next_at(6.0)) == (None, 7.0)
    assert admission.admit(7.0) == "a"
