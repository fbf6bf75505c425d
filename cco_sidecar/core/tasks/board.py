"""The tasks of a project in their order: which are ready, which wait for which, which are over."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from attrs import define, field, frozen

from cco_sidecar.core.tasks.task import Task, TaskCheckpoint, TaskState

MOST_ENDED = 2_000
"""So many tasks that are over are kept; the oldest go first."""
MOST_BYTES = 16 * 1024 * 1024
"""How much all tasks of a project may take: each segment of the journal begins with all of them."""


@frozen
class Wanted:
    """Which tasks an agent takes: of these types, and of this issue, or of none; None for any."""

    types: frozenset[str] | None
    issue_id: str | None

    def takes(self, task: Task) -> bool:
        """Say whether the task is wanted."""
        record = task.record
        if self.types is not None and record.types and self.types.isdisjoint(record.types):
            return False
        return self.issue_id is None or record.issue_id in {None, self.issue_id}


@define(eq=False)
class Board:
    """All tasks, by id, in the order in which they were added."""

    _all: dict[str, Task] = field(factory=dict)
    _ready: list[tuple[int, int, str]] = field(factory=list)  # sorted: the next one first
    _ended: dict[str, None] = field(factory=dict)  # the one that ended first is the first
    _followers: dict[str, dict[str, None]] = field(factory=dict)
    _leased: dict[str, dict[str, None]] = field(factory=dict)  # by agent
    open: int = 0
    open_bytes: int = 0
    _bytes: int = 0

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._all.values()))

    def find(self, task_id: str) -> Task | None:
        """Give the task of that id."""
        return self._all.get(task_id)

    def leased_by(self, agent: str) -> list[Task]:
        """Give the tasks that an agent has a lease on."""
        return [self._all[task_id] for task_id in self._leased.get(agent, ())]

    def followers(self, task: Task) -> list[Task]:
        """Give the tasks that wait for this one."""
        return [self._all[task_id] for task_id in self._followers.get(task.id, ()) if task_id in self._all]

    def first_ready(self, wanted: Wanted) -> Task | None:
        """Give the most urgent task that is wanted: by priority, then by age."""
        for _, _, task_id in self._ready:
            if wanted.takes(task := self._all[task_id]):
                return task
        return None

    def add(self, task: Task) -> None:
        """Take a task in as it is."""
        self._all[task.id] = task
        for name in task.left:
            self._followers.setdefault(name, {})[task.id] = None
        self._enter(task)
        self._drop()

    def put(self, task: Task, state: TaskState) -> None:
        """Let a task stand otherwise."""
        self._leave(task)
        task.state = state
        self._enter(task)
        self._drop()

    def keep(self, task: Task, checkpoint: TaskCheckpoint) -> None:
        """Keep how far somebody came with a task."""
        self._leave(task)
        task.checkpoint = checkpoint
        self._enter(task)

    def _enter(self, task: Task) -> None:
        state, lease = task.state.state, task.state.lease
        self._bytes += task.size
        if task.is_open:
            self.open += 1
            self.open_bytes += task.size
        if state == "ready":
            insort(self._ready, (*task.place, task.id))
        elif state == "leased" and lease is not None:
            self._leased.setdefault(lease.holder.agent_id, {})[task.id] = None
        elif not task.is_open:
            self._ended[task.id] = None
            for name in task.left:
                self._unfollow(name, task)
            task.left = set()

    def _leave(self, task: Task) -> None:
        state, lease = task.state.state, task.state.lease
        self._bytes -= task.size
        if task.is_open:
            self.open -= 1
            self.open_bytes -= task.size
        if state == "ready":
            del self._ready[bisect_left(self._ready, (*task.place, task.id))]
        elif state == "leased" and lease is not None:
            mine = self._leased[lease.holder.agent_id]
            del mine[task.id]
            if not mine:
                del self._leased[lease.holder.agent_id]
        self._ended.pop(task.id, None)

    def went_before(self, done: Task, task: Task) -> None:
        """Take note that a task need not wait for ``done`` any more."""
        task.left.discard(done.id)
        self._unfollow(done.id, task)

    def _unfollow(self, name: str, task: Task) -> None:
        followers = self._followers.get(name, {})
        followers.pop(task.id, None)
        if not followers:
            self._followers.pop(name, None)

    def _drop(self) -> None:
        while self._ended and (len(self._ended) > MOST_ENDED or self._bytes > MOST_BYTES):
            task = self._all.pop(next(iter(self._ended)))
            del self._ended[task.id]
            self._bytes -= task.size
