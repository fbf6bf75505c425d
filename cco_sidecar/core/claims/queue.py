"""Whose turn it is: what stands in the way of a claim, and who goes on when something ends.

A claim that waits knows all that it waits for; when the last of it has ended, its turn has come. What comes later and
conflicts with it waits behind it, so nobody is passed over. There is one exception: who holds what a waiting claim
waits for may go on past it. It could not have its turn before that is released, and the two would wait for each other.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from attrs import define, field

from cco_sidecar.core.claims.entry import Entry, Wish
from cco_sidecar.core.claims.index import ResourceIndex
from cco_sidecar.core.claims.resources import Resource
from cco_sidecar.errors import TooManyRequests

MOST_LOOKS = 5_000
"""After so many looks at others' resources, some milliseconds, no further resource is searched for."""

Pair = tuple[Resource, Resource]
"""What is wanted, and what of another claim conflicts with it."""


@define(eq=False)
class Obstacles:
    """What stands in a claim's way; ``passed`` would, but waits itself for what the claim's agent holds."""

    found: dict[Entry, Pair] = field(factory=dict)
    passed: dict[Entry, Pair] = field(factory=dict)


@define(eq=False)
class ClaimQueue:
    """All claims of a project, held and waiting, in the order they came."""

    _index: ResourceIndex[Entry] = field(factory=ResourceIndex)
    _of_agent: dict[str, dict[Entry, None]] = field(factory=dict)
    _by_id: dict[str, Entry] = field(factory=dict)
    _free: deque[Entry] = field(factory=deque)
    waiting: int = 0
    awaited: int = 0
    """How many pairs there are of a claim that waits and one that it waits for."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._by_id.values()))

    @property
    def resources(self) -> int:
        """How many resources are claimed or waited for."""
        return len(self._index)

    def find(self, claim_id: str) -> Entry | None:
        """Give the claim of that id."""
        return self._by_id.get(claim_id)

    def of_agent(self, agent: str) -> list[Entry]:
        """Give an agent's claims, the oldest first."""
        return list(self._of_agent.get(agent, ()))

    def about(self, wanted: Resource) -> list[Entry]:
        """Give the claims that conflict with a resource, whosever they are."""
        return list(dict.fromkeys(entry for entry, _ in self._index.conflicting(wanted, lambda _: True)))

    def obstacles(self, wish: Wish, most: int) -> Obstacles:
        """Find what stands in the way of a wish.

        :param most: to stop at so many.
        :raises TooManyRequests: that would take too long.
        """
        began = self._index.looked_at
        obstacles = Obstacles()
        holds = any(entry.is_held for entry in self._of_agent.get(wish.holder.agent_id, ()))
        for mine in wish.resources:
            if self._index.looked_at - began > MOST_LOOKS:
                raise TooManyRequests(
                    "Too much is claimed to hold so many wide globs against it at once: claim fewer, or narrower ones.",
                    5,
                )
            for entry, theirs in self._index.conflicting(mine, lambda entry: entry.excludes(wish)):
                if entry in obstacles.found or entry in obstacles.passed:
                    continue
                if holds and not entry.is_held and self.leads_to([entry], wish.holder.agent_id):
                    obstacles.passed[entry] = (theirs, mine)
                    continue
                obstacles.found[entry] = (mine, theirs)
                if len(obstacles.found) >= most:
                    return obstacles
        return obstacles

    def leads_to(self, entries: Iterable[Entry], agent: str) -> bool:
        """Say whether one of these waits, or its holder does, however indirectly, for what the agent holds."""
        seen: set[Entry] = set()
        to_see = list(entries)
        while to_see:
            entry = to_see.pop()
            if entry in seen:
                continue
            seen.add(entry)
            if not entry.is_held:
                to_see.extend(entry.awaited)
            elif entry.agent == agent:
                return True
            else:
                for other in self._of_agent[entry.agent]:
                    to_see.extend(other.awaited)
        return False

    def add(self, entry: Entry, obstacles: Obstacles) -> None:
        """Take a claim in, behind what stands in its way and before what it may pass."""
        self._by_id[entry.id] = entry
        self._of_agent.setdefault(entry.agent, {})[entry] = None
        self._index.add(entry, entry.wish.resources)
        self.waiting += not entry.is_held
        for before, pair in obstacles.found.items():
            self._link(before, entry, pair)
        for after, pair in obstacles.passed.items():
            self._link(entry, after, pair)

    def _link(self, before: Entry, after: Entry, pair: Pair) -> None:
        after.awaited[before] = pair
        before.behind[after] = None
        self.awaited += 1

    def remove(self, entry: Entry) -> None:
        """Let a claim go; those that waited for nothing else are free."""
        del self._by_id[entry.id]
        mine = self._of_agent[entry.agent]
        del mine[entry]
        if not mine:
            del self._of_agent[entry.agent]
        self._index.remove(entry, entry.wish.resources)
        self.waiting -= not entry.is_held
        for before in entry.awaited:
            del before.behind[entry]
        self.awaited -= len(entry.awaited) + len(entry.behind)
        for after in sorted(entry.behind, key=_number):
            del after.awaited[entry]
            if not after.awaited:
                self._free.append(after)
        entry.awaited, entry.behind = {}, {}

    def next_free(self) -> Entry | None:
        """Give the next that waited, and now waits for nothing; None if there is none."""
        while self._free:
            entry = self._free.popleft()
            if entry.id in self._by_id and not entry.is_held and not entry.awaited:
                return entry
        return None

    def held(self) -> None:
        """Take note that a claim that was taken in without a record has one now."""
        self.waiting -= 1


def _number(entry: Entry) -> int:
    return entry.number
