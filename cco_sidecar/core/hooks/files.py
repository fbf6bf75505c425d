"""What agents have read and written, so far as their hooks told: to see that a file has changed since."""

from collections.abc import Iterable

from attrs import define, field, frozen
from cachetools import LRUCache

MOST_FILES = 500
"""So many files are remembered for each agent, those used last."""
MOST_AGENTS = 1_000
MOST_EDITED = 5_000
MOST_ASIDE = 64


@frozen
class Stamp:
    """What a file looked like: ``digest`` of its content, where it is not too long to be read."""

    modified_ns: int
    size: int
    digest: str | None = None

    def same(self, other: "Stamp") -> bool:
        """Say whether the content is the same, as far as can be seen: a file that was only touched is."""
        if self.digest is not None and other.digest is not None:
            return self.digest == other.digest
        return (self.modified_ns, self.size) == (other.modified_ns, other.size)


@frozen
class FileSeen:
    """A file below the project's root, as it is now.

    :param names: its path relative to the root, as it was asked for, and, where a link leads elsewhere below the root,
        also the one of the file itself, last; empty for a file outside of the project.
    :param stamp: None when there is no such file.
    """

    names: tuple[str, ...]
    stamp: Stamp | None

    @property
    def name(self) -> str:
        """The path of the file itself."""
        return self.names[-1]


@define
class Denials:
    """How often an edit of a file was denied to an agent, in a row, because of the same holder."""

    holder: str
    count: int = 0


@define(eq=False)
class _Memory:
    read: "LRUCache[str, Stamp]" = field(factory=lambda: LRUCache(MOST_FILES))
    denied: "LRUCache[str, Denials]" = field(factory=lambda: LRUCache(MOST_FILES))
    held_back: bool = False
    aside: "LRUCache[str, None]" = field(factory=lambda: LRUCache(MOST_ASIDE))


@define(eq=False)
class Remembered:
    """The memory of one project's hooks. It is not kept over a restart: then an agent is sent back once less."""

    _agents: "LRUCache[str, _Memory]" = field(factory=lambda: LRUCache(MOST_AGENTS))
    _edited: "LRUCache[str, tuple[str, float]]" = field(factory=lambda: LRUCache(MOST_EDITED))

    def _of(self, agent: str) -> _Memory:
        found: _Memory | None = self._agents.get(agent)
        if found is None:
            found = self._agents[agent] = _Memory()
        return found

    def read(self, agent: str, file: FileSeen) -> None:
        """Note that an agent knows a file as it is now."""
        if file.stamp is None:
            self._of(agent).read.pop(file.name, None)
        else:
            self._of(agent).read[file.name] = file.stamp

    def edited(self, agent: str, file: FileSeen, now: float) -> None:
        """Note that an agent has edited a file; it knows what it is like."""
        self.read(agent, file)
        self._edited[file.name] = (agent, now)
        for name in file.names:
            self._of(agent).denied.pop(name, None)

    def has_changed(self, agent: str, file: FileSeen) -> bool:
        """Say whether a file is not as the agent knows it; once for each change, for then it knows that."""
        memory = self._of(agent)
        known = memory.read.get(file.name)
        if known is None or (file.stamp is not None and known.same(file.stamp)):
            return False
        del memory.read[file.name]
        return True

    def last_editor(self, name: str) -> tuple[str, float] | None:
        """Give who edited a file last, and when, if a hook told."""
        found: tuple[str, float] | None = self._edited.get(name)
        return found

    def deny(self, agent: str, name: str, holder: str) -> int:
        """Count a denial; gives how many there were in a row."""
        denied = self._of(agent).denied
        found = denied.get(name)
        if found is None or found.holder != holder:
            found = denied[name] = Denials(holder)
        found.count += 1
        return found.count

    def allow(self, agent: str, names: Iterable[str]) -> None:
        """Forget the denials of a file: its way is free."""
        memory = self._agents.get(agent)
        if memory is not None:
            for name in names:
                memory.denied.pop(name, None)

    def hold_back(self, agent: str) -> bool:
        """Say whether an agent that wants to end may be held back, which it may once; then it has been."""
        memory = self._of(agent)
        was, memory.held_back = memory.held_back, True
        return not was

    def call_aside(self, agent: str, call_id: str) -> None:
        """Note that a sub-agent is about to call one of our tools."""
        self._of(agent).aside[call_id] = None

    def was_aside(self, agent: str, call_id: str) -> bool:
        """Say whether a call is a sub-agent's, so far as a hook told."""
        memory = self._agents.get(agent)
        return memory is not None and call_id in memory.aside

    def forget(self, agent: str) -> None:
        """Forget an agent that is gone."""
        self._agents.pop(agent, None)
