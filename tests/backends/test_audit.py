"""The audit log: every decision is a line of a private file, in order, and a slow or full disk stops nobody."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field
from twisted.logger import LogEvent, LogLevel

from cco_sidecar.backends import audit as module
from cco_sidecar.backends.audit import AuditLog
from cco_sidecar.logs import AUDIT
from tests.fakes import ThreadsReactor


def decision(number: int, namespace: str = AUDIT) -> LogEvent:
    return {
        "log_namespace": namespace,
        "log_format": "{code} for {agent}",
        "log_time": 1_800_000_000.0,
        "log_level": LogLevel.info,
        "code": "AUTH_001",
        "agent": f"a{number}",
    }


@define(eq=False)
class Office:
    """An audit log on a file of the test's."""

    path: Path
    reactor: ThreadsReactor = field(factory=ThreadsReactor)
    log: AuditLog = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = AuditLog(self.reactor, self.path)
        self.log.startService()

    def close(self) -> None:
        if self.log.running:
            self.reactor.result_of(self.log.stopService())

    def agents(self) -> list[str]:
        return [json.loads(line)["agent"] for line in self.path.read_bytes().splitlines()]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path / "audit.log")
    yield office
    office.close()


def test_lines(office: Office) -> None:
    """Every decision is one JSON line, in order, for the owner alone; a stop waits for all of them."""
    for number in range(50):
        office.log(decision(number))
    office.close()
    assert office.agents() == [f"a{number}" for number in range(50)]
    line = json.loads(office.path.read_bytes().splitlines()[0])
    assert (line["message"], line["time"]) == ("AUTH_001 for a0", "2027-01-15T08:00:00.000Z")
    assert oct(office.path.stat().st_mode & 0o777) == "0o600"


def test_nothing_else(office: Office) -> None:
    """Other logs' events do not get in, nor anything before the start or after the stop."""
    AuditLog(office.reactor, office.path)(decision(1))
    office.log(decision(2, "cco_sidecar.access"))
    office.log(decision(3))
    office.close()
    office.log(decision(4))
    assert office.agents() == ["a3"]


def test_appended(tmp_path: Path) -> None:
    """Another run goes on behind the last."""
    for number in range(3):
        office = Office(tmp_path / "audit.log")
        office.log(decision(number))
        office.close()
    assert office.agents() == ["a0", "a1", "a2"]


def test_older_file(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is full is put aside, one of them is kept."""
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    for number in range(3):
        office.log(decision(number))
        office.reactor.step()
    office.close()
    assert not office.path.exists()
    assert json.loads(office.path.with_suffix(".1").read_bytes())["agent"] == "a2"
    assert sorted(os.listdir(office.path.parent)) == ["audit.1"]


def test_symlink(office: Office, tmp_path: Path) -> None:
    """A link in its place is not written through; the lines are counted as lost, and nothing breaks."""
    (tmp_path / "elsewhere").write_text("")
    office.path.symlink_to(tmp_path / "elsewhere")
    office.log(decision(1))
    office.close()
    assert (tmp_path / "elsewhere").read_text() == ""
    while office.log.dropped == 0:
        office.reactor.step()
    assert office.log.dropped == 1


def test_write_of_partial_length(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is written to its end, also when the disk takes it bit by bit."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    office.log(decision(1))
    office.close()
    assert office.agents() == ["a1"]


def test_slow_disk(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is slow lines wait, so many and no more; what is dropped is counted."""
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    gate, real = threading.Event(), os.write

    def slow(handle: int, data: "memoryview[int]") -> int:
        assert gate.wait(20)
        return real(handle, data)

    monkeypatch.setattr(os, "write", slow)
    for number in range(6):
        office.log(decision(number))
    assert office.log.dropped == 2
    gate.set()
    office.close()
    assert office.agents() == ["a0", "a1", "a2", "a3"]
