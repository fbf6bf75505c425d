"""The watch over logged failures must itself be able to fail a test."""

import shutil
import subprocess
import sys
from pathlib import Path

CASES = """
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
import pytest

def test_logs():
    try:
        1 / 0
    except ZeroDivisionError:
        Logger().failure("it broke")

def test_drops_a_deferred():
    fail(ValueError("nobody looks"))

def test_drops_a_deferred_in_a_circle():
    waiting = Deferred()
    waiting.circle = waiting
    waiting.errback(ValueError("nobody looks"))

def test_expects_it(logged_failures):
    fail(ValueError("expected"))
    assert len(logged_failures.flush(ValueError)) == 1

def test_expects_something_else(logged_failures):
    fail(ValueError("not expected"))
    assert logged_failures.flush(KeyError) == []

def test_says_nothing():
    Logger().error("no failure in it")
"""


def test_a_logged_failure_fails_its_test(tmp_path: Path) -> None:
    """Logged failures and unhandled Deferreds fail the test that made them; flushed ones do not."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    summary = ran.stdout.rpartition("short test summary")[2]
    bad = {line.split("::")[1].split()[0] for line in summary.splitlines() if line.startswith("ERROR")}
    assert bad == {
        "test_logs",
        "test_drops_a_deferred",
        "test_drops_a_deferred_in_a_circle",
        "test_expects_something_else",
    }, ran.stdout
