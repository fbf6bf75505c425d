"""Work on many files at once: forks of the process that gathers, which has no reactor, each do a part of it."""

import os
import pickle
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from attrs import define

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

MOST_FORKS = 2
"""Besides the process itself; each counts as much memory as it has, though nearly all of it is shared."""
_WORTH_FORKING = 1 << 20
_CHUNK = 1 << 20


def mapped(
    work: Callable[[_Item], _Result], items: Sequence[_Item], sizes: Sequence[int], check: Callable[[], None]
) -> list[_Result]:
    """Do the work on each item, on as many processors as there are; what a fork fails at is done here.

    :param sizes: how many bytes each item is.
    :param check: is called before each item, and raises to end the work.
    """
    count = min(len(os.sched_getaffinity(0)), MOST_FORKS + 1) if sum(sizes) >= _WORTH_FORKING else 1
    shares = _shares(sizes, count)
    found: dict[int, _Result] = {}
    forks = [_Fork.of(work, items, share) for share in shares[1:]]
    try:
        _work_through(work, items, shares[0], found, check)
        for fork in forks:
            found.update(fork.results())
    finally:
        for fork in forks:
            fork.end()
    _work_through(work, items, [place for place in range(len(items)) if place not in found], found, check)
    return [found[place] for place in range(len(items))]


def _work_through(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    places: Sequence[int],
    found: dict[int, _Result],
    check: Callable[[], None],
) -> None:
    for place in places:
        check()
        found[place] = work(items[place])


def _shares(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Deal the places of the items out, the largest first, each to who has least."""
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        least = loads.index(min(loads))
        shares[least].append(place)
        loads[least] += sizes[place] + _OF_ANY_FILE
    return shares


_OF_ANY_FILE = 2_000


@define(eq=False)
class _Fork:
    _pid: int
    _pipe: int

    @classmethod
    def of(cls, work: Callable[[_Item], _Result], items: Sequence[_Item], places: Sequence[int]) -> "_Fork":
        reading, writing = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(writing)  # what it would have done is missing, and is done one by one
            return cls(0, reading)
        if pid == 0:
            _be_forked(work, items, places, writing)
        os.close(writing)
        return cls(pid, reading)

    def results(self) -> Mapping[int, Any]:
        """Give what it found; nothing if it failed."""
        parts = []
        while part := os.read(self._pipe, _CHUNK):
            parts.append(part)
        text = b"".join(parts)
        return dict(pickle.loads(text)) if text.endswith(pickle.STOP) else {}  # our own fork's

    def end(self) -> None:
        os.close(self._pipe)
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _be_forked(work: Callable[[_Item], _Result], items: Sequence[_Item], places: Sequence[int], pipe: int) -> None:
    """Do a part and end, without a look at anything that the process had open."""
    code = 1
    try:
        text = memoryview(pickle.dumps([(place, work(items[place])) for place in places], pickle.HIGHEST_PROTOCOL))
        while text:
            text = text[os.write(pipe, text) :]
        code = 0
    finally:
        os._exit(code)
