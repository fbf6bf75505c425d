"""The process that gathers: started when needed, told when its work is in vain, ended with the sidecar."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cco_sidecar.backends.gatherer.answers import Answers
from cco_sidecar.backends.gatherer.cache import ContextCache
from cco_sidecar.backends.gatherer.gatherer_process import GathererProcess
from cco_sidecar.backends.gatherer.room import Order
from cco_sidecar.core.context.request import ContextRequest
from cco_sidecar.errors import ContextFailed
from tests.backends.test_gatherer import ANY, commit_all, git, put


def go_on() -> None:
    """Let the work go on."""


def order(root: Path, **options: object) -> Order:
    return Order(ContextRequest("p", root, "issue-1", ANY, "", **options), time.monotonic_ns())  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "-q", "-b", "main")
    put(project, "app.py", "one = 1\n")
    commit_all(project)
    return project


@pytest.fixture
def process() -> Iterator[GathererProcess]:
    made = GathererProcess(1 << 26)
    yield made
    made.stop()
    made.close()


def pid_of(process: GathererProcess) -> int:
    assert process.pid is not None
    return process.pid


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_and_watches(process: GathererProcess, root: Path) -> None:
    """Answers come from another process, and the kernel's news of the project from here."""
    answers = Answers(ContextCache(1 << 20), process, lambda: 0.0)
    request = order(root).request
    answer, keep = answers.answer(request, time.monotonic_ns(), go_on)
    keep()
    assert b"one = 1" in answer.body
    assert pid_of(process) != os.getpid()
    again = answers.ready(request)
    assert again is not None
    assert again.etag == answer.etag
    put(root, "app.py", "two = 2\n")
    assert answers.ready(request) is None
    edited, _ = answers.answer(request, time.monotonic_ns(), go_on)
    assert b"two = 2" in edited.body
    answers.close()


def test_refusals_and_crashes(process: GathererProcess, root: Path) -> None:
    """A project that is gone is CTX_001 with its reason; a defect is told with its traceback; both leave it running."""
    with pytest.raises(ContextFailed, match="is the directory still there"):
        process.gather(order(root / "gone"), go_on)
    before = pid_of(process)
    with pytest.raises(RuntimeError, match="Traceback"):
        process.gather(order(root, budget_bytes="much"), go_on)
    assert process.gather(order(root), go_on).file_count == 1
    assert pid_of(process) == before


def test_dies(process: GathererProcess, root: Path) -> None:
    """Its death fails what it was at, with a sentence; the next order starts another, which watches anew."""
    process.gather(order(root), go_on)
    first = pid_of(process)
    os.kill(first, signal.SIGSTOP)
    timer = threading.Timer(0.2, os.kill, (first, signal.SIGKILL))
    timer.start()
    with pytest.raises(ContextFailed, match="ask again"):
        process.gather(order(root), go_on)
    timer.join()
    found = process.gather(order(root), go_on)
    assert found.is_watched
    assert found.watch is not None
    os.close(found.watch)
    assert pid_of(process) != first


def test_in_vain(process: GathererProcess, root: Path) -> None:
    """Work that nobody waits for ends early; the number of the order keeps the next one unharmed."""
    for number in range(3_000):
        put(root, f"many/f{number}.py", "x = 1\n" * 40)
    commit_all(root)
    process.gather(order(root / "many"), go_on)
    timer = threading.Timer(0.02, process.abandon)
    timer.start()
    with pytest.raises(ContextFailed, match="Nobody waits"):
        process.gather(order(root, refresh=True), go_on)
    timer.join()
    assert process.gather(order(root), go_on).file_count > 2_000


def test_forget_gives_memory_back(process: GathererProcess, root: Path) -> None:
    """What was kept goes with the process, to the last byte."""
    process.gather(order(root), go_on)
    before = pid_of(process)
    process.forget()
    assert not psutil.pid_exists(before)
    assert process.gather(order(root), go_on).file_count == 1


def test_stop_while_at_work(root: Path) -> None:
    """Stopping fails what it is at, starts no other, and leaves no process and no file."""
    process = GathererProcess(1 << 26)
    process.start()
    for number in range(2_000):
        put(root, f"many/f{number}.py", "x = 1\n" * 40)
    timer = threading.Timer(0.1, process.stop)
    timer.start()
    with suppress(ContextFailed):
        process.gather(order(root), go_on)
    timer.join()
    process.close()
    with pytest.raises(ContextFailed, match="stopping"):
        process.gather(order(root), go_on)
    assert process.pid is None


def test_ends_with_the_sidecar(root: Path) -> None:
    """When the sidecar is killed the process ends by itself."""
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from cco_sidecar.backends.gatherer.gatherer_process import GathererProcess\n"
        "made = GathererProcess(1 << 20)\nmade.start()\nprint(made.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as sidecar:
        assert sidecar.stdout is not None
        pid = int(sidecar.stdout.readline())
        sidecar.kill()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_memory_follows_the_budget(root: Path, tmp_path: Path) -> None:
    """With a small budget, texts of many times its size leave the process no larger than with few."""
    process = GathererProcess(1 << 20)
    process.gather(order(root), go_on)
    began = psutil.Process(pid_of(process)).memory_info().rss
    chance = os.urandom(600_000).hex()
    for turn in range(12):
        for number in range(20):
            put(root, f"many/f{number}.txt", f"{turn}\n{chance[turn * 1000 : 600_000 + turn * 1000]}")
        found = process.gather(order(root), go_on)
        assert found.kept_bytes <= 1 << 20
    grown = psutil.Process(pid_of(process)).memory_info().rss - began
    assert grown < 120 << 20
    process.stop()
    process.close()
