"""The tasks of one project: taken by one agent at a time under a lease, completed, or failed after so many attempts.

A lease has a fence. Whoever comes late, after the lease has ended and another may have the task, has an old fence and
is refused. All decisions are taken in one place and in one turn of the reactor, so that a task never has two holders;
what an agent is told is on disk before.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec
from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.events.waiting import Reader
from cco_sidecar.core.fences import Fences
from cco_sidecar.core.ledger import KeyRecord, Ledger, Record
from cco_sidecar.core.parking import Parking, WaitingLine
from cco_sidecar.core.shielding import shielded
from cco_sidecar.core.tasks.board import MOST_BYTES, Board, Wanted
from cco_sidecar.core.tasks.news import TaskNews
from cco_sidecar.core.tasks.refusals import stale
from cco_sidecar.core.tasks.task import (
    NOTHING,
    Lease,
    Priority,
    State,
    Task,
    TaskCheckpoint,
    TaskRecord,
    TaskState,
)
from cco_sidecar.core.tenure import Holder, Tenure
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import Foreign, InvalidBody, NotFound, Refusal, TooManyRequests

_log = Logger()

MOST_OPEN = 10_000
ENDS_AT_ONCE = 64
MOST_LEASES = 64
"""How many tasks one agent may have at once."""


@frozen
class NewTask:
    """A task that somebody wants done; see `TaskRecord`."""

    title: str
    task: str
    types: Sequence[str]
    issue_id: str | None
    priority: Priority
    after: Sequence[str]
    max_attempts: int
    data: msgspec.Raw = NOTHING


@define(eq=False)
class _Waiting:
    """An agent that waits for a task."""

    holder: Holder
    wanted: Wanted
    lease_seconds: int


@define(eq=False)
class Tasks:
    """Gives each task to one agent at a time."""

    _clock: IReactorTime
    _ledger: Ledger
    _fences: Fences
    _tenure: Tenure
    _parking: Parking
    _wheel: TimerWheel
    _news: TaskNews
    _new_id: Callable[[], str]
    kinds: tuple[str, ...] = ("tasks", "task", "task_state", "task_checkpoint")
    _board: Board = field(factory=Board)
    _waiting: "WaitingLine[_Waiting, Task | None]" = field(
        init=False, default=Factory(lambda self: WaitingLine(self._parking, lambda: None), takes_self=True)
    )
    _coming: int = 0
    _numbered: int = 0
    _over: deque[tuple[Task, Task | None]] = field(factory=deque)  # ends to be told, and who waited for each

    # Adding

    def add(self, new: NewTask, added_by: str, key: Callable[[Task], KeyRecord] | None = None) -> "Deferred[Task]":
        """Fire with the task when it is on disk; whoever waits for one like it has it then.

        :param key: makes the idempotency record that is written together with it.
        :raises InvalidBody: it is to come after a task that is not there, or that will never be completed.
        :raises TooManyRequests: there are too many.
        """
        for number, name in enumerate(new.after):
            before = self._board.find(name)
            if before is None or before.state.state in {"failed", "cancelled"}:
                why = "is not there" if before is None else f"is {before.state.state}"
                raise InvalidBody(
                    f"The task '{name}', after which this one is to come, {why}.", path=f"$.after[{number}]"
                )
        if self._board.open + self._coming >= MOST_OPEN:
            raise TooManyRequests(f"This project has {MOST_OPEN} open tasks: complete or cancel some first.", 5)
        self._numbered += 1
        record = TaskRecord(
            id=f"task-{self._new_id()}",
            number=self._numbered,
            title=new.title,
            task=new.task,
            types=list(new.types),
            issue_id=new.issue_id,
            priority=new.priority,
            after=list(new.after),
            max_attempts=new.max_attempts,
            added_by=added_by,
            added_at=self._clock.seconds(),
            data=new.data,
        )
        task = Task(record, TaskState(id=record.id, state="waiting" if new.after else "ready"))
        self._check_bytes(task.size)
        self._coming += 1
        written = self._ledger.record("task", record, None if key is None else key(task))
        return shielded(written.addBoth(self._has_come, task))

    def _has_come(self, written: Failure | None, task: Task) -> Task | Failure:
        self._coming -= 1
        if isinstance(written, Failure):
            return written
        task.state = TaskState(id=task.id, state="waiting")
        self._take_in(task)
        self._look_at(task)
        return task

    def _check_bytes(self, more: int) -> None:
        if self._board.open_bytes + more > MOST_BYTES:
            raise TooManyRequests("The tasks of this project take too much room: complete or cancel some first.", 5)

    def _take_in(self, task: Task) -> None:
        befores = (self._board.find(name) for name in task.record.after)
        # One that is not there any more was completed, and is long over.
        task.left = {before.id for before in befores if before is not None and before.state.state != "completed"}
        self._board.add(task)

    def _look_at(self, task: Task) -> None:
        """Let a task that waits for others go on, if it can, or fail, if it never will."""
        if task.state.state != "waiting" or task.is_busy:
            return
        for name in task.left:
            before = self._board.find(name)
            if before is not None and not before.is_open:
                state = self._over_as(task, "failed", f"'{name}', after which it was to come, is {before.state.state}")
                self._note(state)
                self._apply(task, state)
                return
        if not task.left:
            self._apply(task, TaskState(id=task.id, state="ready"))

    # Taking

    def claim(
        self, reader: Reader, holder: Holder, wanted: Wanted, lease_seconds: int, seconds: float
    ) -> "Deferred[Task | None]":
        """Fire with a task, leased, when that is on disk; None when there is none in time.

        Cancelling gives back what nobody was told of.

        :param seconds: how long to wait for one.
        :raises TooManyPolls: there is no place to wait.
        :raises TooManyRequests: the agent has too many tasks already.
        """
        if len(self._board.leased_by(holder.agent_id)) >= MOST_LEASES:
            raise TooManyRequests(f"This agent has {MOST_LEASES} tasks: complete or release some first.", 5)
        waiting = _Waiting(holder, wanted, lease_seconds)
        task = self._board.first_ready(wanted)
        if task is not None:
            lease: Deferred[Task | None] = Deferred(lambda _: None)
            self._lease(task, waiting, lease)
            return lease
        if seconds <= 0 or self._waiting.is_closed:
            return succeed(None)
        return self._waiting.enter(waiting, reader, seconds)

    def _lease(self, task: Task, waiting: _Waiting, answer: "Deferred[Task | None]") -> None:
        now, before = self._clock.seconds(), task.state
        lease = Lease(
            f"lease-{self._new_id()}",
            self._fences.next(),
            waiting.holder,
            now,
            waiting.lease_seconds,
            now + waiting.lease_seconds,
        )
        state = TaskState(id=task.id, state="leased", attempts=before.attempts + 1, lease=lease)
        self._put(task, state)
        task.is_busy = True

        def written(_: object) -> None:
            task.is_busy = False
            if answer.called:  # hung up: nobody knows of it, and it was no attempt
                self._note(before)
                self._apply(task, before)
            else:
                answer.callback(task)
            self._go_on_with(task)

        def refused(failure: Failure) -> None:
            task.is_busy = False
            if not answer.called:
                answer.errback(failure)
            self._apply(task, before)
            self._go_on_with(task)

        self._ledger.record("task_state", state).addCallbacks(written, refused).addErrback(_unforeseen)

    def _offer(self, task: Task) -> None:
        """Give a task that is ready to the first that waits for one like it."""
        for waiting in self._waiting:
            if task.state.state != "ready" or task.is_busy:
                return
            if not waiting.wanted.takes(task) or self._waiting.is_refused(waiting):
                continue
            if len(self._board.leased_by(waiting.holder.agent_id)) < MOST_LEASES:
                self._lease(task, waiting, self._waiting.take(waiting))

    # Working

    def get(self, task_id: str) -> Task:
        """Look a task up.

        :raises NotFound: there is none by that id.
        """
        task = self._board.find(task_id)
        if task is None:
            raise NotFound(f"There is no task '{task_id}' in this project; GET /api/tasks lists those there are.")
        return task

    def checkpoint(
        self, holder: Holder, task_id: str, fence: int, checkpoint: msgspec.Raw | None, lease_seconds: int | None
    ) -> "Deferred[Task]":
        """Fire with the task when the checkpoint is on disk; the lease begins anew, also without a checkpoint.

        Fails with `StaleFence` if the lease is over, and with `TooManyRequests` if the tasks take too much room.

        :raises NotFound: there is no such task.
        """
        return self._in_turn(task_id, lambda task: self._checkpoint(task, holder, fence, checkpoint, lease_seconds))

    def _checkpoint(
        self, task: Task, holder: Holder, fence: int, checkpoint: msgspec.Raw | None, lease_seconds: int | None
    ) -> "Deferred[None]":
        lease = self._leased(task, holder, fence)
        if checkpoint is not None:
            self._check_bytes(len(bytes(checkpoint)))
            now = self._clock.seconds()
            kept = TaskCheckpoint(id=task.id, agent_id=holder.agent_id, at=now, checkpoint=checkpoint)
            written = self._ledger.record("task_checkpoint", kept)
            written.addCallbacks(lambda _: self._board.keep(task, kept), lambda _: None)  # the next record fails, too
        length = lease_seconds or lease.lease_seconds
        # The newest token is the one to live by; the admin works in the holder's name.
        own = holder if holder.agent_id == lease.holder.agent_id else lease.holder
        ends = self._clock.seconds() + length
        renewed = msgspec.structs.replace(lease, holder=own, lease_seconds=length, expires_at=ends)
        return self._become(task, msgspec.structs.replace(task.state, lease=renewed))

    def keep_alive(self, holder: Holder) -> None:
        """Let an agent's leases begin anew, for it is at work; only those with less than half of their time left."""
        now = self._clock.seconds()
        for task in self._board.leased_by(holder.agent_id):
            lease = task.state.lease
            if lease is not None and not task.is_busy and 0 < lease.expires_at - now < lease.lease_seconds / 2:
                renewed = self.checkpoint(holder, task.id, lease.fence, None, None)
                renewed.addErrback(_not_renewed, task.id)

    def complete(self, holder: Holder, task_id: str, fence: int, result: msgspec.Raw) -> "Deferred[Task]":
        """Fire with the task when that it is done is on disk; saying so twice is no mistake.

        Fails with `StaleFence` if the lease is over.

        :raises NotFound: there is no such task.
        """
        return self._in_turn(task_id, lambda task: self._complete(task, holder, fence, result))

    def _complete(self, task: Task, holder: Holder, fence: int, result: msgspec.Raw) -> "Deferred[None]":
        if task.state.state == "completed" and self._is_mine(task, holder, fence):
            return succeed(None)
        self._leased(task, holder, fence)
        state = self._over_as(task, "completed", None)
        return self._become(task, msgspec.structs.replace(state, result=result))

    def release(self, holder: Holder, task_id: str, fence: int, reason: str | None) -> "Deferred[Task]":
        """Fire with the task when it is given back: ready again, or failed if that was its last attempt.

        Fails with `StaleFence` if the lease is over.

        :raises NotFound: there is no such task.
        """
        return self._in_turn(task_id, lambda task: self._release(task, holder, fence, reason))

    def _release(self, task: Task, holder: Holder, fence: int, reason: str | None) -> "Deferred[None]":
        lease = self._leased(task, holder, fence)
        return self._become(task, self._given_back(task, reason or f"'{lease.holder.agent_id}' released it"))

    def cancel(self, holder: Holder, task_id: str) -> "Deferred[Task]":
        """Fire with the task when that nobody shall do it is on disk; one that is over stays as it is.

        :raises NotFound: there is no such task.
        :raises Foreign: another agent added it.
        """
        task = self.get(task_id)
        if holder.agent_id not in {ADMIN, task.record.added_by}:
            raise Foreign(f"Only '{task.record.added_by}', which added this task, and the admin may cancel it.")
        return self._in_turn(task_id, lambda task: self._cancel(task, holder))

    def _cancel(self, task: Task, holder: Holder) -> "Deferred[None]":
        if not task.is_open:
            return succeed(None)
        return self._become(task, self._over_as(task, "cancelled", f"cancelled by '{holder.agent_id}'"))

    def _leased(self, task: Task, holder: Holder, fence: int) -> Lease:
        lease = task.state.lease
        is_leased = lease is not None and task.state.state == "leased" and lease.expires_at > self._clock.seconds()
        if lease is None or not is_leased or not self._is_mine(task, holder, fence):
            raise stale(task, fence)
        return lease

    @staticmethod
    def _is_mine(task: Task, holder: Holder, fence: int) -> bool:
        lease = task.state.lease
        return lease is not None and lease.fence == fence and holder.agent_id in {ADMIN, lease.holder.agent_id}

    # One thing at a time

    def _in_turn(self, task_id: str, act: Callable[[Task], "Deferred[None]"]) -> "Deferred[Task]":
        """Do something to a task when what is on its way to the disk about it has arrived.

        So what is on disk last is what was decided last; a lease that ends meanwhile ends when that is done.
        """
        task = self.get(task_id)
        done: Deferred[Task] = Deferred()

        def begin() -> None:
            task.is_busy = True
            maybeDeferred(act, task).addBoth(settled)

        def settled(outcome: Failure | None) -> None:
            task.is_busy = False
            if isinstance(outcome, Failure):
                done.errback(outcome)
            else:
                done.callback(task)
            self._go_on_with(task)

        if task.is_busy:
            task.turns.append(begin)
        else:
            self._due(task)  # its time may be over, though the timer has not come to it yet
            begin()
        return shielded(done)

    def _go_on_with(self, task: Task) -> None:
        """Catch up on what had to wait while something about a task was on its way to the disk."""
        if task.is_busy:
            return
        self._due(task)
        self._look_at(task)
        if not task.turns:
            self._offer(task)
        if task.turns and not task.is_busy:
            task.turns.popleft()()

    def _become(self, task: Task, state: TaskState) -> "Deferred[None]":
        """Let a task stand otherwise as soon as that is on disk."""
        return self._ledger.record("task_state", state).addCallback(lambda _: self._apply(task, state))

    def _apply(self, task: Task, state: TaskState) -> None:
        self._put(task, state)
        if state.state == "ready":
            self._offer(task)
        elif not task.is_open:
            self._ended(task)

    # Ending

    def _ended(self, task: Task) -> None:
        """Publish what became of a task, and let those go on that waited for it; of a long line, some at a time."""
        self._over.append((task, None))
        if len(self._over) == 1:
            self._go_on()

    def _go_on(self) -> None:
        for _ in range(ENDS_AT_ONCE):
            task, follower = self._over[0]
            if follower is None:
                self._news.tell(task)
                self._over.extend((task, other) for other in self._board.followers(task))
            else:
                if task.state.state == "completed":
                    self._board.went_before(task, follower)
                self._look_at(follower)
            self._over.popleft()
            if not self._over:
                return
        self._clock.callLater(0, self._go_on)

    def _over_as(self, task: Task, state: State, reason: str | None) -> TaskState:
        before, now = task.state, self._clock.seconds()
        return TaskState(
            id=task.id, state=state, attempts=before.attempts, lease=before.lease, reason=reason, ended_at=now
        )

    def _given_back(self, task: Task, reason: str) -> TaskState:
        """Say how a task stands that its holder does not go on with."""
        attempts, most = task.state.attempts, task.record.max_attempts
        if attempts >= most:
            return self._over_as(task, "failed", f"{reason}, at attempt {attempts} of {most}")
        return TaskState(id=task.id, state="ready", attempts=attempts, reason=reason)

    def _put(self, task: Task, state: TaskState) -> None:
        task.lost_its_holder = task.lost_its_holder and state.state == "leased"
        self._wheel.clear(task, task.slot)
        self._board.put(task, state)
        if state.state == "leased" and state.lease is not None:
            until = self._tenure.until(state.lease.holder)
            ends = state.lease.expires_at if until is None else min(state.lease.expires_at, until)
            task.slot = self._wheel.set(task, max(0.0, ends - self._clock.seconds()), self._due)

    def _due(self, task: Task) -> None:
        """Look at a task whose lease, or whose holder's token, may be over."""
        lease = task.state.lease
        if lease is None or task.state.state != "leased" or task.is_busy:
            return
        if lease.expires_at <= self._clock.seconds():
            self._take_back(task, f"the lease of '{lease.holder.agent_id}' has expired")
        elif task.lost_its_holder or self._tenure.until(lease.holder) is None:
            self._take_back(task, f"'{lease.holder.agent_id}' has ended")
        else:
            self._put(task, task.state)

    def _take_back(self, task: Task, reason: str) -> None:
        state = self._given_back(task, reason)
        self._note(state)
        self._apply(task, state)

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """Take all tasks from an agent that is gone."""
        for waiting in self._waiting:
            if waiting.holder.agent_id == agent:
                self._waiting.turn_away(waiting, refusal)
        for task in self._board.leased_by(agent):
            task.lost_its_holder = True
            self._due(task)

    def end_refused(self) -> None:
        """Turn those away who wait under tokens that are no good any more."""
        self._waiting.end_refused()

    def end_tokens(self, token_ids: Iterable[str], refusal: Refusal) -> None:
        """Take the tasks from those who hung on tokens that were revoked."""
        self._waiting.end_tokens(frozenset(token_ids), refusal)
        for task in self._board:
            lease = task.state.lease
            if lease is not None and task.state.state == "leased" and self._tenure.until(lease.holder) is None:
                self._due(task)

    def drain(self) -> None:
        """Answer all that wait, and let nobody wait any more."""
        self._waiting.close()

    # Looking

    @property
    def open_tasks(self) -> int:
        """How many are not over."""
        return self._board.open

    def listing(
        self,
        state: str | None = None,
        agent_type: str | None = None,
        issue_id: str | None = None,
        agent: str | None = None,
    ) -> list[Task]:
        """List tasks, the newest first.

        :param agent_type: those for this type, and those for any.
        :param agent: those that this agent has, or had last.
        """
        return [
            task
            for task in reversed(list(self._board))
            if state in {None, task.state.state}
            and (agent_type is None or not task.record.types or agent_type in task.record.types)
            and issue_id in {None, task.record.issue_id}
            and (agent is None or (task.state.lease is not None and task.state.lease.holder.agent_id == agent))
        ]

    # What lasts

    def _note(self, state: TaskState) -> None:
        self._ledger.note("task_state", state)

    def open(self) -> None:
        """Begin, after recovery: leases that have ended meanwhile end now, and what was not told is."""
        for task in self._board:
            if task.state.state == "leased":
                self._due(task)
            self._look_at(task)
        self._news.open(self._board)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a task, how one stands, how far somebody came, or that what follows is all there is."""
        text = bytes(body)  # a copy: what is decoded as Raw would hold the whole segment in memory
        if kind == "tasks":
            self._board = Board()
        elif kind == "task":
            record = msgspec.json.decode(text, type=TaskRecord)
            self._numbered = max(self._numbered, record.number)
            self._take_in(Task(record, TaskState(id=record.id, state="waiting")))
        elif kind == "task_state":
            self._restore_state(msgspec.json.decode(text, type=TaskState))
        else:
            kept = msgspec.json.decode(text, type=TaskCheckpoint)
            task = self._board.find(kept.id)
            if task is not None:
                self._board.keep(task, kept)

    def _restore_state(self, state: TaskState) -> None:
        if state.lease is not None:
            self._fences.seen(state.lease.fence)
        task = self._board.find(state.id)
        if task is None:
            return
        self._board.put(task, state)
        if state.state == "completed":
            for follower in self._board.followers(task):
                self._board.went_before(task, follower)

    def snapshot(self) -> Iterable[Record]:
        """Give every task, how it stands, and how far somebody came."""
        yield "tasks", None
        for task in self._board:
            yield "task", task.record
            yield "task_state", task.state
            if task.checkpoint is not None:
                yield "task_checkpoint", task.checkpoint


def _not_renewed(failure: Failure, task_id: str) -> None:
    failure.trap(Refusal)
    _log.warn("the lease of {id} is not renewed: {why}", id=task_id, why=failure.getErrorMessage())


def _unforeseen(failure: Failure) -> None:
    _log.failure("a task could not be looked after", failure)
