"""The timer wheel against plain delayed calls: never early, at most a tick late, each once, and never after a clear."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from cco_sidecar.core.wheel import MOST_AT_ONCE, TICK_SECONDS, TimerWheel
from tests.fakes import START


def made() -> tuple[Clock, TimerWheel]:
    clock = Clock()
    clock.advance(START)
    return clock, TimerWheel(clock)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.floats(0, 3)),
        st.tuples(st.just("clear"), st.integers(0, 30)),
        st.tuples(st.just("pass"), st.floats(0, 1)),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=300)
def test_each_limit_is_kept_once_and_in_time(plan: list[tuple[str, float]]) -> None:
    """Whatever is set and cleared in between, a limit fires within a tick after its time, or never."""
    clock, wheel = made()
    due: dict[int, float] = {}
    slots: dict[int, int] = {}
    fired: dict[int, float] = {}

    def act(number: int) -> None:
        assert number not in fired
        fired[number] = clock.seconds()

    for what, value in plan:
        if what == "set":
            number = len(slots)
            due[number] = clock.seconds() + value
            slots[number] = wheel.set(number, value, act)
        elif what == "clear":
            number = int(value)
            if number in slots and number not in fired:
                wheel.clear(number, slots[number])
                due.pop(number, None)
        else:
            for _ in range(int(value / TICK_SECONDS)):
                clock.advance(TICK_SECONDS)
    clock.pump([TICK_SECONDS / 2] * 200)
    assert fired.keys() == due.keys()
    for number, at in fired.items():
        assert -1e-5 <= at - due[number] <= 2 * TICK_SECONDS


def test_very_many_limits_at_once_let_the_reactor_breathe() -> None:
    """Ten thousand polls that time out together are answered in bounded turns."""
    clock, wheel = made()
    ended: list[int] = []
    for number in range(1000):
        wheel.set(number, 1.0, ended.append)
    seen_by_others: list[int] = []
    clock.callLater(1.0, lambda: seen_by_others.append(len(ended)))
    clock.advance(1.0)
    assert seen_by_others == [MOST_AT_ONCE]
    assert ended == list(range(1000))
    assert len(wheel) == 0
    assert clock.getDelayedCalls() == []


def test_an_earlier_limit_is_not_held_up_by_a_later_one() -> None:
    """The wheel turns for whatever is first, in whatever order it was set."""
    clock, wheel = made()
    ended: list[str] = []
    wheel.set("late", 10.0, ended.append)
    wheel.set("soon", 0.1, ended.append)
    clock.advance(0.1)
    assert ended == ["soon"]
    clock.advance(9.9)
    assert ended == ["soon", "late"]


def test_a_limit_set_by_a_limit_waits_for_its_turn() -> None:
    """What is set with no time left while the wheel turns is acted upon, too."""
    clock, wheel = made()
    ended: list[str] = []

    def again(_item: str) -> None:
        wheel.set("second", 0.0, ended.append)

    wheel.set("first", 0.0, again)
    clock.pump([0.0, TICK_SECONDS, TICK_SECONDS])
    assert ended == ["second"]
