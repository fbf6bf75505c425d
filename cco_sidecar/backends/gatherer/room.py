"""Where gatherings are made, one at a time, and what one leaves behind for the next."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from attrs import define, field, frozen

from cco_sidecar.backends.gatherer import watch
from cco_sidecar.backends.gatherer.gathering import Gathering, Reserves
from cco_sidecar.backends.gatherer.git import Git, GitError
from cco_sidecar.backends.gatherer.parser_process import ParserProcess
from cco_sidecar.backends.gatherer.reading import Checkpoint
from cco_sidecar.backends.gatherer.repository import Repository
from cco_sidecar.backends.gatherer.watching import directories_of
from cco_sidecar.core.context.request import ContextRequest

_MOST_WATCHED = 32
"""So many projects have an inotify instance; a user may have 128 of them, and other programs want some."""
_AGAIN_SECONDS = 300.0
"""For so long a project that could not be watched is not tried again."""


@frozen
class Order:
    """What is to be gathered: ``asked_ns`` is when it was asked for, monotonic.

    ``known`` is the digest of the project's state from which there is an answer already, if there is one. ``arm`` says
    that the directories to watch may be others than before.
    """

    request: ContextRequest
    asked_ns: int
    known: bytes | None = None
    arm: bool = True


@frozen
class Gathered:
    """What came of it: ``head`` is the answer but for its ending, None if ``known`` is still the state.

    ``looked`` says that the project was looked at for this, ``is_watched`` that its directories were watched before:
    then the state is still this one while the watch is silent. ``watch`` is a new inotify instance, the receiver's.
    ``is_whole`` is False if time ran out. ``kept_bytes`` is what is kept for the next.
    """

    digest: bytes
    head: bytes | None = field(repr=False)
    truncated: bool
    file_count: int
    is_whole: bool
    looked: bool
    is_watched: bool
    kept_bytes: int
    watch: int | None = None


class Worker(ABC):
    """What carries out orders, one at a time; blocks."""

    @abstractmethod
    def start(self) -> None:
        """Do what is better done before the first order."""

    @abstractmethod
    def abandon(self) -> None:
        """Say that nobody waits any more for the order that is carried out; may be called from any thread."""

    @abstractmethod
    def gather(self, order: Order, check: Checkpoint) -> Gathered:
        """Carry one out; ``check`` is called now and then, and raises to end the work.

        :raises ContextFailed: the project cannot be read.
        """

    @abstractmethod
    def forget(self) -> None:
        """Give back what is kept for the next."""

    @abstractmethod
    def stop(self) -> None:
        """End what runs, and refuse the rest; may be called from any thread."""

    @abstractmethod
    def close(self) -> None:
        """Clear up after `stop`, when nothing runs any more."""


@define(eq=False)
class Room(Worker):
    """Gathers in the caller's own process."""

    _most_bytes: int
    _seconds: Callable[[], float] = time.monotonic
    _parser: ParserProcess = field(factory=ParserProcess, init=False)
    _git: Git = field(factory=Git, init=False)
    _reserves: Reserves = field(init=False)
    _watches: dict[Path, int] = field(factory=dict, init=False)
    _unwatchable: dict[Path, float] = field(factory=dict, init=False)

    def start(self) -> None:
        """See `Worker.start`: there is nothing."""

    def abandon(self) -> None:
        """See `Worker.abandon`: who gave the order says so in its ``check``."""

    def __attrs_post_init__(self) -> None:
        self._reserves = Reserves.of(self._most_bytes, self._git, self._parser.parse)

    def gather(self, order: Order, check: Checkpoint) -> Gathered:
        """See `Worker.gather`."""
        project = order.request.project_root
        instances = _Instances(self._watches.get(project))

        def arm(root: Path, repository: Repository | None) -> None:
            if instances.current is None or order.arm:
                self._arm(project, root, repository, instances)

        try:
            made = Gathering(
                order.request, self._reserves, order.asked_ns, check, order.known, arm, self._seconds
            ).made()
        except BaseException:
            instances.give_up()
            handle = self._watches.pop(project, None)
            if handle is not None:
                os.close(handle)
            raise
        answer = made.answer
        return Gathered(
            made.digest,
            None if answer is None else answer.head,
            answer is not None and answer.truncated,
            0 if answer is None else answer.file_count,
            answer is None or answer.is_whole,
            made.looked,
            made.is_quiet and instances.current is not None,
            self._reserves.size_bytes,
            instances.new,
        )

    def forget(self) -> None:
        """See `Worker.forget`."""
        self._reserves = Reserves.of(self._most_bytes, self._git, self._parser.parse)

    def stop(self) -> None:
        """See `Worker.stop`."""
        self._git.stop()
        self._parser.stop()

    def close(self) -> None:
        """See `Worker.close`."""
        self._parser.close()
        for handle in self._watches.values():
            os.close(handle)
        self._watches.clear()

    def _arm(self, project: Path, root: Path, repository: Repository | None, instances: "_Instances") -> None:
        """Watch all directories of a project; what cannot be watched is asked about each time."""
        if self._unwatchable.get(project, -_AGAIN_SECONDS) + _AGAIN_SECONDS > self._seconds():
            return
        if instances.current is None:
            if len(self._watches) >= _MOST_WATCHED:
                return
            handle = watch.new_instance()
            if handle is None:
                return
            self._watches[project] = handle
            instances.begin(handle)
        try:
            is_done = watch.add(self._watches[project], directories_of(root, repository))
        except (GitError, OSError):
            is_done = False
        if not is_done:
            instances.give_up()
            os.close(self._watches.pop(project))
            self._unwatchable[project] = self._seconds()


@define(eq=False)
class _Instances:
    """The inotify instance of a project: the one that there is, and a copy for the receiver if it is new."""

    current: int | None
    new: int | None = None

    def begin(self, handle: int) -> None:
        self.current, self.new = handle, os.dup(handle)

    def give_up(self) -> None:
        if self.new is not None:
            os.close(self.new)
        self.current = self.new = None
