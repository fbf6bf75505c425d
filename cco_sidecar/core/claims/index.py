"""Claims found by what they are about: a search looks at those that lie on its way or below, not at all.

Each resource is filed under its head, the path before its first wildcard. What conflicts with a resource is filed under
a directory above its head, under the head itself or, if it is a glob, below it; the heads below a path stand together
in a sorted list.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from attrs import define, field

from cco_sidecar.core.claims.resources import Resource, conflict

Owner = TypeVar("Owner", bound=Hashable)

_AFTER_SLASH = chr(ord("/") + 1)


@define(eq=False)
class ResourceIndex(Generic[Owner]):
    """Who has which resources."""

    _by_head: "dict[str, dict[tuple[Owner, Resource], None]]" = field(factory=dict)
    _heads: list[str] = field(factory=list)  # sorted
    _count: int = 0
    looked_at: int = 0
    """How many resources all searches together have looked at: what they have cost."""

    def __len__(self) -> int:
        return self._count

    def add(self, owner: Owner, resources: Iterable[Resource]) -> None:
        """File an owner's resources."""
        for resource in resources:
            filed = self._by_head.get(resource.head)
            if filed is None:
                filed = self._by_head[resource.head] = {}
                insort(self._heads, resource.head)
            filed[owner, resource] = None
            self._count += 1

    def remove(self, owner: Owner, resources: Iterable[Resource]) -> None:
        """Take an owner's resources out."""
        for resource in resources:
            filed = self._by_head[resource.head]
            del filed[owner, resource]
            self._count -= 1
            if not filed:
                del self._by_head[resource.head]
                del self._heads[bisect_left(self._heads, resource.head)]

    def conflicting(self, wanted: Resource, counts: Callable[[Owner], bool]) -> Iterator[tuple[Owner, Resource]]:
        """Give every resource that conflicts with ``wanted``, and whose it is, of those owners that count."""
        tail, start = wanted.tail, wanted.start
        for filed in self._near(wanted):
            self.looked_at += len(filed)
            for entry in filed:
                # The cheapest questions first: nearly all that a wide glob is held against fail them.
                other = entry[1]
                if not (tail.endswith(other.tail) or other.tail.endswith(tail)):
                    continue
                if not (start.startswith(other.start) or other.start.startswith(start)):
                    continue
                if counts(entry[0]) and conflict(wanted, other):
                    yield entry

    def _near(self, wanted: Resource) -> Iterator[Mapping[tuple[Owner, Resource], None]]:
        by_head = self._by_head
        for head in _ways(wanted):
            if (filed := by_head.get(head)) is not None:
                yield filed
        if wanted.is_glob:
            heads = self._heads
            # The name of a claim is filed beside paths, but a path of that form is no name: './name:x'.
            start, end = (0, len(heads)) if not wanted.head else _range(heads, wanted.head)
            for head in heads[start:end]:
                if head:
                    yield by_head[head]


def _ways(wanted: Resource) -> Iterator[str]:
    """Give the heads of all that can lie above a resource, its own last."""
    if wanted.is_name:
        yield wanted.head
        return
    yield ""
    place = 0
    while (place := wanted.head.find("/", place + 1)) > 0:
        yield wanted.head[:place]
    if wanted.head:
        yield wanted.head


def _range(heads: list[str], above: str) -> tuple[int, int]:
    return bisect_left(heads, f"{above}/"), bisect_left(heads, f"{above}{_AFTER_SLASH}")
