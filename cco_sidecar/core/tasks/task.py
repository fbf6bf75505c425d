"""A task, and what is written down of it: what is to do, how it stands, how far somebody came."""

from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec
from attrs import define, field

from cco_sidecar.core.tenure import Holder

Priority = Literal["high", "normal", "low"]
State = Literal["waiting", "ready", "leased", "completed", "failed", "cancelled"]

RANKS = {"high": 0, "normal": 1, "low": 2}
DEFAULT_ATTEMPTS = 5
OPEN = frozenset({"waiting", "ready", "leased"})
NOTHING = msgspec.Raw(b"null")


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is to do; it never changes. ``data`` is JSON text, ``added_at`` in seconds since the epoch.

    :param number: the order in which tasks were added.
    :param types: the agent types that it is for; empty for any.
    :param after: the tasks that must be completed before.
    """

    id: str
    number: int
    title: str
    task: str
    types: list[str]
    issue_id: str | None
    priority: Priority
    after: list[str]
    max_attempts: int
    added_by: str
    added_at: float
    data: msgspec.Raw = NOTHING


class Lease(msgspec.Struct, frozen=True):
    """Who works on a task, and until when; times are in seconds since the epoch."""

    id: str
    fence: int
    holder: Holder
    since: float
    lease_seconds: int
    expires_at: float


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    """How a task stands; of one that is over, ``lease`` is the last.

    :param reason: why it is ready again, has failed or was cancelled.
    :param result: what its agent said when it was complete; JSON text.
    """

    id: str
    state: State
    attempts: int = 0
    lease: Lease | None = None
    reason: str | None = None
    ended_at: float | None = None
    result: msgspec.Raw = NOTHING


class TaskCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far somebody came with a task; JSON text."""

    id: str
    agent_id: str
    at: float
    checkpoint: msgspec.Raw


@define(eq=False)
class Task:
    """A task of a project.

    :param left: the tasks that it still has to wait for.
    :param is_busy: something about it is on its way to the disk; what comes meanwhile takes its turn.
    :param lost_its_holder: whoever has it is gone.
    """

    record: TaskRecord
    state: TaskState
    checkpoint: TaskCheckpoint | None = None
    left: set[str] = field(factory=set)
    is_busy: bool = False
    lost_its_holder: bool = False
    turns: deque[Callable[[], None]] = field(factory=deque)
    slot: int = 0  # of the timer wheel

    @property
    def id(self) -> str:
        """Its name."""
        return self.record.id

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return self.state.state in OPEN

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands among those that are ready: by priority, then by age."""
        return RANKS[self.record.priority], self.record.number

    @property
    def size(self) -> int:
        """How many bytes it takes, at most."""
        texts = len(self.record.title.encode("utf-8", "replace")) + len(self.record.task.encode("utf-8", "replace"))
        raws = [self.record.data, self.state.result]
        if self.checkpoint is not None:
            raws.append(self.checkpoint.checkpoint)
        return texts + sum(len(bytes(raw)) for raw in raws)
