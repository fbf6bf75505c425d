"""The gatherer as a service: sharing, cancelling, refusing, counting, clearing, stopping."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cco_sidecar.backends.gatherer.gathering import Gathering
from cco_sidecar.backends.gatherer.service import Gatherer
from cco_sidecar.core.context.request import ContextAnswer, ContextRequest
from cco_sidecar.core.roster import AgentType, ContextWish
from cco_sidecar.errors import ContextFailed, TooManyRequests

ANY = AgentType(
    type="worker", name="", category="coding", model="", role="", capabilities=(), context=ContextWish(),
    publishes=(), subscribes=(), topics=None, permissions=frozenset(), rate_limit=None,
)  # fmt: skip


class PumpedClock(Clock):
    """A Clock that threads can call back to; the test runs what they asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., object], *arguments: object) -> None:
        self._calls.put(lambda: callable(*arguments))

    def run_until(self, *deferreds: "Deferred[Any]") -> None:
        """Run what threads ask for until the Deferreds have fired, at most ten seconds."""
        while not all(deferred.called for deferred in deferreds):
            self._calls.get(timeout=10)()


class Gate:
    """Holds every gathering before it looks at the project, so that tests decide when it goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.entered: queue.Queue[None] = queue.Queue()
        self.passed = 0
        original = Gathering.answer

        def answer(gathering: Gathering) -> ContextAnswer:
            self.entered.put(None)
            assert self.open.wait(10)
            self.passed += 1
            return original(gathering)

        monkeypatch.setattr(Gathering, "answer", answer)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.py").write_text("one")
    return project


@pytest.fixture
def clock() -> PumpedClock:
    return PumpedClock()


@pytest.fixture
def gatherer(clock: PumpedClock) -> Iterator[Gatherer]:
    made = Gatherer(clock, cache_bytes=1 << 20, threads=1, queue_limit=3)
    made.startService()
    yield made
    clock.run_until(made.stopService())


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open.set()


def request(root: Path, issue: str = "issue-1", **options: Any) -> ContextRequest:
    return ContextRequest("p", root, issue, **{"agent_type": ANY, "task": "", **options})


def outcome(deferred: "Deferred[ContextAnswer]") -> Any:
    """Give the result of a Deferred that has fired; a failure as its exception."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it has not fired"
    return found[0].value if isinstance(found[0], Failure) else found[0]


def test_gathers_and_counts(gatherer: Gatherer, clock: PumpedClock, root: Path) -> None:
    """An answer comes from a thread, the second from the cache, and both are counted."""
    for expected in (False, True):
        answer = gatherer.gather(request(root))
        clock.run_until(answer)
        assert outcome(answer).cache_hit is expected
    assert (gatherer.hits, gatherer.misses, gatherer.entries) == (1, 1, 1)
    assert gatherer.size_bytes > 500


def test_equal_requests_share(gatherer: Gatherer, clock: PumpedClock, root: Path, gate: Gate) -> None:
    """Those who ask the same before the work begins share it; one who leaves takes nothing from the others."""
    busy = gatherer.gather(request(root, "other"))
    gate.entered.get(timeout=10)
    waiting = [gatherer.gather(request(root)) for _ in range(20)]
    waiting[3].cancel()
    gate.open.set()
    clock.run_until(busy, *waiting)
    outcomes = [outcome(one) for one in waiting]
    assert isinstance(outcomes.pop(3), CancelledError)
    assert {one.body for one in outcomes} == {outcomes[0].body}
    assert gate.passed == 2


def test_later_request_sees_later_change(gatherer: Gatherer, clock: PumpedClock, root: Path, gate: Gate) -> None:
    """Who asks when the work has begun may know of a change that it did not see, and is not given its answer."""
    first = gatherer.gather(request(root))
    gate.entered.get(timeout=10)
    second = gatherer.gather(request(root))
    third = gatherer.gather(request(root))
    gate.open.set()
    clock.run_until(first, second, third)
    assert gate.passed == 2
    assert outcome(second) is outcome(third)


def test_abandoned_work_is_not_done(gatherer: Gatherer, clock: PumpedClock, root: Path, gate: Gate) -> None:
    """What nobody waits for any more is passed over."""
    busy = gatherer.gather(request(root, "first"))
    gate.entered.get(timeout=10)
    left = gatherer.gather(request(root, "second"))
    left.cancel()
    last = gatherer.gather(request(root, "third"))
    gate.open.set()
    clock.run_until(busy, last)
    assert isinstance(outcome(left), CancelledError)
    assert gate.passed == 2


def test_abandoned_work_is_not_joined(gatherer: Gatherer, clock: PumpedClock, root: Path, gate: Gate) -> None:
    """Who asks what others have just given up gets an answer."""
    busy = gatherer.gather(request(root, "other"))
    gate.entered.get(timeout=10)
    left = gatherer.gather(request(root))
    left.cancel()
    again = gatherer.gather(request(root))
    gate.open.set()
    clock.run_until(busy, again)
    assert isinstance(outcome(left), CancelledError)
    assert outcome(again).file_count == 1


def test_full_queue_refuses(gatherer: Gatherer, clock: PumpedClock, root: Path, gate: Gate) -> None:
    """When as much is waiting as may, the next is refused with a time to come back; sharing goes on."""
    waiting = [gatherer.gather(request(root, f"issue-{number}")) for number in range(3)]
    refused = outcome(gatherer.gather(request(root, "issue-9")))
    assert isinstance(refused, TooManyRequests)
    assert refused.retry_after > 0
    shared = gatherer.gather(request(root, "issue-2"))
    gate.open.set()
    clock.run_until(*waiting, shared)
    assert outcome(shared).file_count == 1


def test_failure_reaches_all(gatherer: Gatherer, clock: PumpedClock, tmp_path: Path, gate: Gate) -> None:
    """A project that is gone is CTX_001 for everybody who asked."""
    busy = gatherer.gather(request(tmp_path, "other"))
    gate.entered.get(timeout=10)
    waiting = [gatherer.gather(request(tmp_path / "gone")) for _ in range(2)]
    gate.open.set()
    clock.run_until(busy, *waiting)
    assert [type(outcome(one)) for one in waiting] == [ContextFailed, ContextFailed]


def test_clear(gatherer: Gatherer, clock: PumpedClock, root: Path) -> None:
    """Clearing removes the answers of an issue, or all, and says how much."""
    for issue in ("issue-1", "issue-2", "issue-3"):
        clock.run_until(gatherer.gather(request(root, issue)))
    before = gatherer.size_bytes
    assert gatherer.clear("another").entries_removed == 0
    cleared = gatherer.clear("p", "issue-1")
    assert (cleared.entries_removed, gatherer.entries) == (1, 2)
    assert cleared.bytes_freed == before - gatherer.size_bytes > 0
    assert gatherer.clear("p", None, "worker").entries_removed == 2
    anew = gatherer.gather(request(root))
    clock.run_until(anew)
    assert not outcome(anew).cache_hit
    assert gatherer.clear(None).entries_removed == 1
    assert gatherer.size_bytes == 0


def test_clear_forgets_the_index(gatherer: Gatherer, clock: PumpedClock, root: Path) -> None:
    """What was read for a task goes when all does, not when one issue's answers do."""
    clock.run_until(gatherer.gather(request(root, task="one")))
    gatherer.clear("p", "issue-1")
    kept = gatherer.size_bytes
    assert kept > 0
    assert gatherer.clear("p").bytes_freed == kept
    assert gatherer.size_bytes == 0


def test_cache_is_bounded(clock: PumpedClock, root: Path) -> None:
    """The cache stays within its bytes; an answer bigger than all of it is given and not kept."""
    gatherer = Gatherer(clock, cache_bytes=9_000, threads=1)
    gatherer.startService()
    for number in range(8):
        clock.run_until(gatherer.gather(request(root, f"issue-{number}")))
        assert gatherer.size_bytes <= 9_000
    assert 1 <= gatherer.entries < 8
    (root / "big.txt").write_text("x" * 20_000)
    big = gatherer.gather(request(root))
    clock.run_until(big)
    assert b"x" * 20_000 in outcome(big).body
    assert gatherer.size_bytes <= 9_000
    clock.run_until(gatherer.stopService())


def test_stop(clock: PumpedClock, root: Path, gate: Gate) -> None:
    """Stopping answers those who wait, blocks nobody, refuses what comes, and leaves no thread."""
    before = set(threading.enumerate())  # another test of this process may have a gatherer running
    gatherer = Gatherer(clock, cache_bytes=1 << 20, threads=1)
    gatherer.startService()
    waiting = [gatherer.gather(request(root, f"issue-{number}")) for number in range(3)]
    gate.entered.get(timeout=10)
    began = time.monotonic()
    stopped = gatherer.stopService()
    assert time.monotonic() - began < 1
    gate.open.set()
    clock.run_until(stopped, *waiting)
    assert [type(outcome(one)) for one in waiting[1:]] == [ContextFailed, ContextFailed]
    assert isinstance(outcome(waiting[0]), ContextFailed | ContextAnswer)
    assert isinstance(outcome(gatherer.gather(request(root))), ContextFailed)
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if "gatherer-stop" not in thread.name and "gatherer" in thread.name]


def test_starts_again(clock: PumpedClock, root: Path) -> None:
    """A stopped gatherer can be started again."""
    gatherer = Gatherer(clock, cache_bytes=1 << 20)
    for _ in range(2):
        gatherer.startService()
        answer = gatherer.gather(request(root))
        clock.run_until(answer)
        assert outcome(answer).file_count == 1
        clock.run_until(gatherer.stopService())


def test_parser_ends_with_the_service(gatherer: Gatherer, clock: PumpedClock, root: Path) -> None:
    """The process that parses is there while it is needed, its outlines count as cache, and stopping ends it."""
    (root / "big.py").write_text("def f():\n" + "    x = 1\n" * 5_000 + "def g():\n    pass\n")
    before = {process.pid for process in psutil.Process().children()}
    gathered = gatherer.gather(request(root, budget_bytes=8_192))
    clock.run_until(gathered)
    body = outcome(gathered).body
    assert b"def g():" in body
    (parser,) = [process for process in psutil.Process().children() if process.pid not in before]
    assert gatherer.size_bytes > len(body)
    clock.run_until(gatherer.stopService())
    assert not parser.is_running()
    gatherer.startService()
