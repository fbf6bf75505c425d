"""Work on several processors: as if it were done in one go, whatever becomes of the forks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cco_sidecar.backends.gatherer import forks
from cco_sidecar.backends.gatherer.forks import mapped

BIG = [forks._WORTH_FORKING] * 50


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def go_on() -> None:
    """Let the work go on."""


def children() -> set[str]:
    return set(Path("/proc/self/task").joinpath(str(os.getpid()), "children").read_text().split())


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Whatever becomes of a fork, it is gone afterwards; other tests' processes are their own."""
    before = children()
    yield
    assert children() <= before


def test_like_one_after_the_other() -> None:
    """Results come in the order of the items; part of the work is done in another process."""
    found = mapped(lambda item: (item * 2, os.getpid()), list(range(50)), BIG, go_on)
    assert [double for double, _ in found] == [item * 2 for item in range(50)]
    assert len({pid for _, pid in found}) == 2


def test_little_work_is_done_here() -> None:
    """A fork is not worth it for a few bytes."""
    assert set(mapped(lambda _: os.getpid(), list(range(50)), [10] * 50, go_on)) == {os.getpid()}


def test_large_results() -> None:
    """What a fork finds may be more than a pipe holds."""
    assert mapped(lambda item: b"x" * item, [300_000] * 20, BIG[:20], go_on) == [b"x" * 300_000] * 20


@pytest.mark.parametrize("end", ["exit", "raise", "no fork"])
def test_what_forks_fail_at_is_done_here(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork that dies, raises, or never begins leaves no hole."""
    parent = os.getpid()

    def work(item: int) -> int:
        if os.getpid() != parent and item > 20:
            if end == "exit":
                os._exit(0)
            raise ValueError(item)
        return item

    def no_fork() -> int:
        raise BlockingIOError

    if end == "no fork":
        monkeypatch.setattr(os, "fork", no_fork)
    assert mapped(work, list(range(50)), BIG, go_on) == list(range(50))


def test_ended_early() -> None:
    """When the work is in vain the forks end at once."""

    def check() -> None:
        raise TimeoutError

    def work(item: int) -> int:
        os.read(os.pipe()[0], 1)  # for ever
        return item

    with pytest.raises(TimeoutError):
        mapped(work, list(range(50)), BIG, check)
