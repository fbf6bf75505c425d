"""Claims in whatever order things happen: no two hold what excludes the other, and turns are kept."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred

from cco_sidecar.core.claims.entry import ClaimRecord
from cco_sidecar.core.claims.resources import conflict, resource
from cco_sidecar.errors import Claimed, Refusal, StorageFull, TokenRevoked
from tests.core.rights_house import RightsHouse
from tests.fakes import outcome

AGENTS = ["a", "b", "c", "d"]
RESOURCES = ["x", "src/a", "src/b", "src/*", "src/**", "**/b", "name:n"]
PARSED = {text: resource(text, "/") for text in RESOURCES}
TTL = 40

Names = tuple[str, ...]


class Asked:
    """A request of the test, with what came of it."""

    def __init__(self, number: int, agent: str, names: Names, mode: str, deferred: "Deferred[ClaimRecord]") -> None:
        self.number, self.agent, self.names, self.mode = number, agent, names, mode
        self.deferred, self.seen = deferred, outcome(deferred)
        self.hung_up = False

    def excludes(self, agent: str, names: Names, mode: str) -> bool:
        """Say, by looking at every pair, whether both cannot be at once."""
        if self.agent == agent or "exclusive" not in {self.mode, mode}:
            return False
        return any(conflict(PARSED[one], PARSED[other]) for one in self.names for other in names)


class ClaimsMachine(RuleBasedStateMachine):
    """Does what agents, time and the disk do."""

    def __init__(self) -> None:
        super().__init__()
        self.house = RightsHouse()
        self.asked: list[Asked] = []
        self.numbered = 0
        self.highest = 0  # fence
        self.fences: dict[str, int] = {}

    # What happens

    @rule(
        agent=st.sampled_from(AGENTS),
        names=st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=3, unique=True).map(tuple),
        mode=st.sampled_from(["exclusive", "exclusive", "shared"]),
        wait=st.sampled_from([0, 0, 20, 100]),
    )
    def ask(self, agent: str, names: Names, mode: Any, wait: int) -> None:
        held = {entry.id for entry in self.house.claims.listing() if entry.is_held}
        in_the_way = [one for one in self._current() if one.excludes(agent, names, mode)]
        self.numbered += 1
        try:
            deferred = self.house.claim(agent, *names, wait=wait, mode=mode, ttl=TTL)
        except Claimed as refusal:
            assert in_the_way, "refused, and nobody is in the way"
            assert refusal.details["agent_id"] in {one.agent for one in in_the_way}
            assert wait == 0 or refusal.details.get("deadlock")
            return
        asked = Asked(self.numbered, agent, names, mode, deferred)
        self.asked.append(asked)
        granted = asked.seen and isinstance(asked.seen[0], ClaimRecord)
        if granted and asked.seen[0].id not in held:  # type: ignore[union-attr]
            # Only of those that wait for what this agent holds may it stand before some.
            assert all(self._waits_for(one, agent) for one in in_the_way), "past somebody"

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self._with_claim(data, lambda record: self.house.claims.release(record.holder, record.id))

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self._with_claim(data, lambda record: self.house.claims.renew(record.holder, record.id, TTL))

    def _with_claim(self, data: st.DataObject, act: Callable[[ClaimRecord], "Deferred[ClaimRecord]"]) -> None:
        found = self.house.claims.listing()
        held = [entry.record for entry in found if entry.record is not None and not entry.is_ending]
        if held:
            outcome(act(data.draw(st.sampled_from(held))))

    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        open_ones = [one for one in self.asked if not one.seen]
        if open_ones:
            one = data.draw(st.sampled_from(open_ones))
            one.deferred.cancel()
            assert isinstance(one.seen[0], CancelledError)
            one.hung_up = True

    @rule(agent=st.sampled_from(AGENTS))
    def end_agent(self, agent: str) -> None:
        self.house.claims.end_agent(agent, TokenRevoked("Gone."))
        assert agent not in {entry.agent for entry in self.house.claims.listing()}

    @rule(seconds=st.sampled_from([1, 5, 19, 41]))
    def time_passes(self, seconds: int) -> None:
        self.house.pass_time(seconds)

    @rule()
    def the_disk_takes_its_time(self) -> None:
        self.house.journal.held = True

    @precondition(lambda self: self.house.journal.held)
    @rule()
    def the_disk_is_done(self) -> None:
        self.house.journal.held = False
        self.house.journal.write()

    @precondition(lambda self: self.house.journal.waiting)
    @rule()
    def the_disk_refuses(self) -> None:
        self.house.journal.refuse(StorageFull("full"))

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        self.house.journal.held = False
        self.house.journal.write()
        before = self._held()
        self.house = self.house.restart(snapshot=snapshot)
        assert self._held() == before
        self.asked = [one for one in self.asked if one.seen]

    # What must hold

    def _held(self) -> dict[str, tuple[str, Names, str, float]]:
        return {
            entry.id: (entry.agent, tuple(entry.record.resources), entry.record.mode, entry.record.expires_at)
            for entry in self.house.claims.listing()
            if entry.record is not None
        }

    def _current(self) -> list[Asked]:
        """Give all that are in the way of others: held, being written, or waiting."""
        found = []
        for entry in self.house.claims._queue:
            names = tuple(one.text for one in entry.wish.resources)
            found.append(Asked(entry.number, entry.agent, names, entry.wish.mode, Deferred()))
        return found

    def _waits_for(self, one: Asked, agent: str) -> bool:
        entry = next(entry for entry in self.house.claims._queue if entry.number == one.number)
        return not entry.is_held and self.house.claims._queue.leads_to([entry], agent)

    @invariant()
    def nobody_shares_what_is_exclusive(self) -> None:
        held = list(self._held().values())
        for number, (agent, names, mode, _) in enumerate(held):
            one = Asked(0, agent, names, mode, Deferred())
            assert not any(one.excludes(*other[:3]) for other in held[number + 1 :])

    @invariant()
    def fences_grow(self) -> None:
        for entry in sorted(self.house.claims.listing(), key=lambda entry: entry.record.fence if entry.record else 0):
            if entry.record is None:
                continue
            if entry.id not in self.fences:
                assert entry.record.fence > self.highest
                self.highest = self.fences[entry.id] = entry.record.fence
            assert self.fences[entry.id] == entry.record.fence

    @invariant()
    def who_waits_has_somebody_in_the_way(self) -> None:
        current = sorted(self._current(), key=lambda one: one.number)
        waiting = {entry.number for entry in self.house.claims._queue if not entry.is_held}
        for one in current:
            if one.number in waiting:
                assert any(other.excludes(one.agent, one.names, one.mode) for other in current if other is not one)

    @invariant()
    def who_hung_up_holds_nothing_that_is_theirs(self) -> None:
        ids = {one.seen[0].id for one in self.asked if one.seen and isinstance(one.seen[0], ClaimRecord)}
        if not self.house.journal.held:
            assert set(self._held()) <= ids | set(self.fences)
        waiting = sum(not entry.is_held for entry in self.house.claims._queue)
        assert self.house.room.used == waiting == self.house.claims._queue.waiting

    def teardown(self) -> None:
        self.house.journal.held = False
        self.house.journal.write()
        for _ in range(4):
            self.house.pass_time(101)
        queue = self.house.claims._queue
        assert (list(queue), queue.resources, queue.waiting, queue.awaited, self.house.room.used) == ([], 0, 0, 0, 0)
        assert all(one.seen for one in self.asked)
        wrong = [
            one.seen[0] for one in self.asked if not isinstance(one.seen[0], ClaimRecord | Refusal | CancelledError)
        ]
        assert wrong == []


TestClaims = ClaimsMachine.TestCase
TestClaims.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
