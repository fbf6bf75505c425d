"""A backup of a sidecar that runs: what was acknowledged before it began is in there, and starts elsewhere."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.sidecar_process import Client, Sidecar
from tests.system.test_restart import Publisher

PUBLISHERS = 4


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar that runs, and keeps all that is published."""
    config = {"events": {"max_events": 1_000_000}}
    with Sidecar(tmp_path / "first", config=config) as running:
        yield running


def storage_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``cco storage``."""
    command = [sys.executable, "-m", "cco_sidecar", "storage", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def event_ids(sidecar: Sidecar) -> set[str]:
    """Give all events of its log."""
    found: set[str] = set()
    since = "earliest"
    client = Client(sidecar, sidecar.admin_token())
    while True:
        status, answer = client.call("GET", f"/api/events?order=asc&limit=1000&since={since}")
        assert status == 200, answer
        found.update(event["event_id"] for event in answer["events"])
        since = answer["next_cursor"]
        if not answer["more_available"]:
            client.close()
            return found


def test_live_backup(sidecar: Sidecar, tmp_path: Path) -> None:
    """Under load, again and again: verify finds nothing, and every backup starts with all that it must have."""
    stop = threading.Event()
    publishers = [Publisher(sidecar, f"publisher-{number}", stop) for number in range(PUBLISHERS)]
    for publisher in publishers:
        publisher.start()
    written: list[tuple[Path, set[str]]] = []
    for number in range(4):
        body = {
            "agent_id": "admin",
            "agent_type": "python-specialist",
            "issue_id": "issue-1",
            "result": {"status": "success"},
        }
        status, answer = sidecar.call("POST", "/api/results", {**body, "project_id": "p"})
        assert status == 201, answer
        archive = tmp_path / f"{number}.tar{'.zst' if number % 2 else ''}"
        before = {event_id for publisher in publishers for event_id in publisher.acknowledged}
        done = storage_command("backup", str(archive), "--storage", str(sidecar.storage))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["results"] == number + 1
        written.append((archive, before))
        verified = storage_command("verify", "--storage", str(sidecar.storage))
        assert verified.returncode == 0, verified.stdout
        assert json.loads(verified.stdout)["sidecar_pid"] is not None
        assert json.loads(verified.stdout)["findings"] == []
    refused = storage_command("restore", str(written[0][0]), "--storage", str(sidecar.storage), "--force")
    assert refused.returncode == 1
    assert f"process {sidecar.pid} holds it" in refused.stderr
    stop.set()
    for publisher in publishers:
        publisher.join()
    sidecar.stop()
    assert len(written[-1][1]) > 20
    for number in (0, 3):
        _starts_with(tmp_path / f"other-{number}", *written[number], results=number + 1)


def _starts_with(directory: Path, archive: Path, before: set[str], *, results: int) -> None:
    other = Sidecar(directory, config={"events": {"max_events": 1_000_000}})
    done = storage_command("restore", str(archive), "--storage", str(other.storage))
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["findings"] == []
    with other:
        assert before <= event_ids(other)
        status, answer = other.call("GET", "/api/results?issue=issue-1")
        assert (status, len(answer["results"]), answer["damaged"]) == (200, results, [])
        other.stop()
