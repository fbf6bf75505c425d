"""For all tests: a failure that is logged fails the test, unless the test says that it was to be expected.

Without this a plain test passes although something broke where nobody looks: in a Deferred that nobody waits for, or in
a loop that logs what it catches.
"""

import gc
import os
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import pytest
from twisted.internet import defer
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

# For `import tests.…`; at the end, so that an installed wheel comes before the tree.
sys.path.append(str(Path(__file__).resolve().parents[1]))


_failed: "WeakSet[_DebugInfo]" = WeakSet()


class _DebugInfo(defer.DebugInfo):
    """What a Deferred that failed logs its error with when it goes; these are known, see `_settle`."""

    def __init__(self) -> None:
        _failed.add(self)


defer.DebugInfo = _DebugInfo  # type: ignore[misc]


def _settle() -> None:
    """Let what nobody has any more go: an unhandled error in a Deferred is logged when the Deferred goes.

    Looking through everything takes milliseconds, and after nearly every test there is nothing to be found.
    """
    if any(info.failResult is not None for info in _failed):
        gc.collect()


@implementer(ILogObserver)
class LoggedFailures:
    """The failures that were logged during a test, and not flushed since."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        """Take an event up if it has a failure."""
        if "log_failure" in event:
            self._failures.append(event["log_failure"])

    def flush(self, *kinds: type[BaseException]) -> list[Failure]:
        """Give those that were to be expected (of these kinds; all, if none is named) and forget them."""
        _settle()
        found = [failure for failure in self._failures if not kinds or failure.check(*kinds)]
        self._failures = [failure for failure in self._failures if failure not in found]
        return found


@pytest.fixture(autouse=True)
def logged_failures(request: pytest.FixtureRequest) -> Iterator[LoggedFailures]:
    """Watch the log; a test that expects failures there calls ``flush``."""
    found = LoggedFailures()
    globalLogPublisher.addObserver(found)
    try:
        yield found
        unexpected = found.flush()
    finally:
        globalLogPublisher.removeObserver(found)
    if isinstance(request.instance, unittest.TestCase):
        return  # trial does this itself, with flushLoggedErrors
    if unexpected:
        texts = "\n".join(failure.getTraceback() for failure in unexpected)
        pytest.fail(f"{len(unexpected)} failures were logged:\n{texts}", pytrace=False)


_LONG_FIRST = ("docs", "system", "claude", "web", "backends")
"""Directories whose files take longest; a long file that begins last is waited for with an idle core."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Say how many are at work: one more than there are cores, for a good part of the tests waits."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the long files begin first where several are at work (with ``--no-loadscope-reorder``)."""
    if not hasattr(config, "workerinput"):
        return  # one after the other, what is quick says first what is wrong
    places = {name: place for place, name in enumerate(_LONG_FIRST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


def pytest_collection_finish() -> None:
    """Put what is there now out of the collector's sight: it will all be there to the end."""
    gc.collect()
    gc.freeze()
