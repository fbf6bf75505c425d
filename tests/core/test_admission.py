"""Admission: the cap, the order of the queue and its bound."""

import pytest
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
