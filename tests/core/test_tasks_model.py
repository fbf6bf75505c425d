"""Tasks in whatever order things happen: one holder at a time, nothing lost, nothing completed by two."""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred

from cco_sidecar.core.tasks.board import Wanted
from cco_sidecar.core.tasks.task import OPEN, Task
from cco_sidecar.errors import StaleFence, StorageFull, TokenRevoked
from tests.core.rights_house import RightsHouse
from tests.fakes import outcome

AGENTS = ["a", "b", "c"]
ATTEMPTS = 3
LEASE = 40
NULL = msgspec.Raw(b"null")
WANTED = [Wanted(None, None), Wanted(frozenset({"x"}), None), Wanted(frozenset({"y"}), "i")]

Grant = tuple[str, str, int]
"""Agent, task and fence."""


class TasksMachine(RuleBasedStateMachine):
    """Does what agents, time and the disk do."""

    def __init__(self) -> None:
        super().__init__()
        self.house = RightsHouse()
        self.added: set[str] = set()  # told to be on disk
        self.grants: list[Grant] = []  # told
        self.completed: dict[str, int] = {}  # told: task and fence
        self.waits: list[tuple[str, Deferred[Task | None], list[Any]]] = []

    # What happens

    @rule(
        priority=st.sampled_from(["high", "normal", "low"]),
        types=st.sampled_from([(), ("x",), ("y",)]),
        issue=st.sampled_from([None, "i"]),
        data=st.data(),
    )
    def add(self, priority: Any, types: tuple[str, ...], issue: str | None, data: st.DataObject) -> None:
        possible = [task.id for task in self.house.tasks.listing() if task.state.state not in {"failed", "cancelled"}]
        after = data.draw(st.lists(st.sampled_from(possible), max_size=2, unique=True)) if possible else []
        adding = self.house.add("t", *after, priority=priority, types=types, issue=issue, attempts=ATTEMPTS)
        adding.addCallbacks(lambda task: self.added.add(task.id), lambda _: None)

    @rule(agent=st.sampled_from(AGENTS), wanted=st.sampled_from(WANTED), wait=st.sampled_from([0, 0, 20, 100]))
    def take(self, agent: str, wanted: Wanted, wait: int) -> None:
        ready = [task for task in self.house.tasks.listing(state="ready") if wanted.takes(task)]
        first = min(ready, key=lambda task: task.place, default=None)
        taking = self.house.take(agent, wait=wait, wanted=wanted, seconds=LEASE)
        if first is None:
            assert taking.called is (wait == 0)
        else:
            assert first.state.state == "leased"
            assert first.state.lease is not None
            assert first.state.lease.holder.agent_id == agent

        house = self.house

        def told(task: Task | None) -> Task | None:
            if task is not None and self.house is house:
                assert task.state.lease is not None
                assert task.state.lease.holder.agent_id == agent
                self.grants.append((agent, task.id, task.state.lease.fence))
            return task

        taking.addCallback(told)
        self.waits.append((agent, taking, outcome(taking)))

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), what=st.sampled_from(["complete", "complete", "release", "checkpoint"]))
    def work(self, data: st.DataObject, what: str) -> None:
        agent, task_id, fence = grant = data.draw(st.sampled_from(self.grants))
        tasks, holder = self.house.tasks, self.house.holder(agent)
        is_current, is_busy = self._is_current(grant), tasks.get(task_id).is_busy
        was_completed = self.completed.get(task_id) == fence
        if what == "complete":
            done = tasks.complete(holder, task_id, fence, NULL)
            done.addCallback(self._told_complete, fence)
        elif what == "release":
            done = tasks.release(holder, task_id, fence, None)
        else:
            done = tasks.checkpoint(holder, task_id, fence, NULL, None)
        seen = outcome(done)
        if is_busy:
            return  # it takes its turn
        if not is_current:
            assert seen
            if not (what == "complete" and was_completed):
                assert isinstance(seen[0], StaleFence), "somebody else was let in"
        elif seen:
            assert not isinstance(seen[0], StaleFence), "the holder was refused"

    def _told_complete(self, task: Task, fence: int) -> Task:
        assert self.completed.setdefault(task.id, fence) == fence, "completed by two"
        return task

    def _is_current(self, grant: Grant) -> bool:
        state = self.house.tasks.get(grant[1]).state
        if state.state != "leased" or state.lease is None or state.lease.fence != grant[2]:
            return False
        return state.lease.expires_at > self.house.clock.seconds()

    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        still = [wait for wait in self.waits if not wait[2]]
        if still:
            _, taking, seen = data.draw(st.sampled_from(still))
            taking.cancel()
            assert isinstance(seen[0], CancelledError)

    @rule(agent=st.sampled_from(AGENTS))
    def end_agent(self, agent: str) -> None:
        self.house.tasks.end_agent(agent, TokenRevoked("Gone."))
        assert all(task.is_busy for task in self.house.tasks.listing(state="leased", agent=agent))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        tasks = self.house.tasks.listing()
        if tasks:
            task = data.draw(st.sampled_from(tasks))
            outcome(self.house.tasks.cancel(self.house.holder("boss"), task.id))

    @rule(seconds=st.sampled_from([1, 19, 41]))
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

    @rule(snapshot=st.booleans(), crash=st.booleans())
    def restart(self, snapshot: bool, crash: bool) -> None:
        if not crash:
            self.house.journal.held = False
            self.house.journal.write()
        before = {task.id: task.state.state for task in self.house.tasks.listing()}
        self.house = self.house.restart(snapshot=snapshot and not crash)
        if not crash:
            assert {task.id: task.state.state for task in self.house.tasks.listing()} == before
        self.waits = [wait for wait in self.waits if wait[2]]

    # What must hold

    @invariant()
    def nothing_is_lost(self) -> None:
        states = {task.id: task.state.state for task in self.house.tasks.listing()}
        assert self.added <= set(states)
        assert all(states[task_id] == "completed" for task_id in self.completed)

    @invariant()
    def fences_are_given_once(self) -> None:
        fences = [fence for _, _, fence in self.grants]
        assert len(fences) == len(set(fences))

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        ready = self.house.tasks.listing(state="ready")
        for waiting in self.house.tasks._waiting:
            assert not any(waiting.wanted.takes(task) for task in ready)
        assert self.house.room.used == len(self.house.tasks._waiting)

    @invariant()
    def who_waits_for_others_has_one_that_is_open(self) -> None:
        for task in self.house.tasks.listing(state="waiting"):
            befores = [self.house.tasks.get(name).state.state for name in task.left]
            assert befores
            assert set(befores) <= OPEN

    @invariant()
    def nothing_goes_around_for_ever(self) -> None:
        assert all(task.state.attempts <= ATTEMPTS for task in self.house.tasks.listing())

    def teardown(self) -> None:
        self.house.journal.held = False
        self.house.journal.write()
        for _ in range(3):
            self.house.pass_time(101)
        assert self.house.room.used == 0
        assert all(seen for _, _, seen in self.waits)
        told = self.house.data("task_completed")
        assert {data["task_id"] for data in told} >= set(self.completed)


TestTasks = TasksMachine.TestCase
TestTasks.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
