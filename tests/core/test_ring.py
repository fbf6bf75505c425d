"""The ring: what retention keeps, against a plain list."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.events import ring as module
from cco_sidecar.core.events.event import Event, EventBody
from cco_sidecar.core.events.ring import Ring
from cco_sidecar.core.times import rfc3339


def event(sequence: int, at: float) -> Event:
    body = EventBody(
        event_id=f"evt-00000001-{sequence}",
        sequence=sequence,
        event_type="t",
        topic="w",
        publisher="p",
        agent_type=None,
        project_id="p",
        issue_id=None,
        data=msgspec.Raw(b"{}"),
        correlation_id=None,
        references=[],
        priority="normal",
        ttl_seconds=60,
        timestamp=rfc3339(at),
    )
    return Event.of(body, at)


def sequences(events: object) -> list[int]:
    return [one.sequence for one in events]  # type: ignore[attr-defined]  # any iterable of events


def test_by_count() -> None:
    """The oldest goes when there is no room, and is remembered as gone."""
    ring = Ring(3, 100)
    for number in range(1, 6):
        ring.append(event(number, number))
    assert sequences(ring.after(0)) == [3, 4, 5]
    assert (ring.evicted_through, ring.evicted_at, ring.oldest, len(ring)) == (2, 2, 3, 3)


def test_by_age() -> None:
    """What has reached the retention time goes, nothing younger."""
    ring = Ring(10, 100)
    for number in (1, 2, 3):
        ring.append(event(number, number * 10))
    ring.evict(119.999)
    assert sequences(ring.after(0)) == [2, 3]
    ring.evict(120)
    assert sequences(ring.after(0)) == [3]
    ring.evict(1e9)
    assert (len(ring), ring.oldest, ring.evicted_through) == (0, None, 3)


def test_size() -> None:
    """The size is that of the texts it holds."""
    ring = Ring(2, 100)
    events = [event(number, number) for number in (1, 2, 3)]
    for one in events:
        ring.append(one)
    assert ring.size_bytes == len(events[1].encoded) + len(events[2].encoded)
    ring.evict(1e9)
    assert ring.size_bytes == 0


def test_evict_through() -> None:
    """What an earlier run had removed stays removed, and a lower number takes nothing back."""
    ring = Ring(10, 100)
    for number in (1, 2, 3):
        ring.append(event(number, number))
    ring.evict_through(2, 2.0)
    ring.evict_through(1, 1.0)
    assert sequences(ring.after(0)) == [3]
    assert (ring.evicted_through, ring.evicted_at) == (2, 2.0)


def test_times() -> None:
    """A time finds the newest event before it; one of that very moment belongs to what comes after."""
    ring = Ring(10, 100)
    for number, at in ((1, 10.0), (2, 20.0), (3, 20.0), (5, 30.0)):
        ring.append(event(number, at))
    assert [ring.sequence_at(at) for at in (5, 10, 10.1, 20, 20.1, 30, 31)] == [0, 0, 1, 1, 3, 3, 5]


@given(
    most=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(1, 3), st.floats(0, 30), st.booleans()), max_size=80),
    asked=st.integers(0, 250),
)
def test_model(most: int, steps: list[tuple[int, float, bool]], asked: int) -> None:
    """Numbers with holes, by count and by age: the ring is the list without what had to go, however it is cut."""
    compact, module._COMPACT_AT = module._COMPACT_AT, 4
    try:
        ring, kept, gone, number, now = Ring(most, 50.0), [], 0, 0, 0.0
        for hole, pause, evict in steps:
            number, now = number + hole, now + pause
            ring.append(event(number, now))
            kept.append((number, now))
            while len(kept) > most or (evict and kept and kept[0][1] + 50.0 <= now):
                gone = kept.pop(0)[0]
            if evict:
                ring.evict(now)
        assert sequences(ring.after(asked)) == [n for n, _ in kept if n > asked]
        assert sequences(ring.before(asked)) == [n for n, _ in reversed(kept) if n < asked]
        found = ring.get(asked)
        assert (None if found is None else found.sequence) == (asked if asked in {n for n, _ in kept} else None)
        assert (ring.evicted_through, len(ring)) == (gone, len(kept))
        at = asked * 3.0
        assert ring.sequence_at(at) == max([gone, *(n for n, when in kept if when < at)])
    finally:
        module._COMPACT_AT = compact


def test_large_events_leave_before_there_are_many() -> None:
    """What all events take together is bounded, and what had to go is a gap like any other."""
    ring = Ring(10, 3600, 2 * len(event(1, 1.0).encoded))
    for sequence in (1, 2, 3):
        ring.append(event(sequence, float(sequence)))
    assert sequences(ring.after(0)) == [2, 3]
    assert ring.evicted_through == 1
    assert ring.size_bytes == sum(len(kept.encoded) for kept in ring.after(0))
