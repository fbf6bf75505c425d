"""`cco events replay` as a person uses it: against a sidecar that runs, at the pace of then, until Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.sidecar_process import PATIENCE_SECONDS, Sidecar


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar that runs, with an incident in its log: three events, half a second between the last two."""
    with Sidecar(tmp_path) as running:
        for number, pause in ((1, 0), (2, 0), (3, 0.5)):
            time.sleep(pause)
            body = {"topic": "t", "data": {"n": number}, "correlation_id": "X"}
            assert running.call("POST", "/api/events/step", body)[0] == 202
        assert running.call("POST", "/api/events/step", {"topic": "t", "data": {}})[0] == 202
        yield running


def cco(sidecar: Sidecar, *arguments: str) -> "subprocess.Popen[str]":
    """Run `cco events replay`."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(sidecar.directory),
        "CCO_HOME": str(sidecar.home),
        "CCO_SIDECAR_URL": f"http://127.0.0.1:{sidecar.port}",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "cco_sidecar", "events", "replay", *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_watch_an_incident_again(sidecar: Sidecar) -> None:
    """The events of a correlation id are printed in order, each at its time, and nothing is published."""
    with cco(sidecar, "--correlation", "X", "--speed", "0.5") as watching:
        assert watching.stdout is not None
        came: list[tuple[float, Any]] = [(time.monotonic(), json.loads(line)) for line in watching.stdout]
        assert watching.wait(PATIENCE_SECONDS) == 0
    assert [event["data"]["n"] for _, event in came] == [1, 2, 3]
    assert all(event["replayed_from"] == event["event_id"] for _, event in came)
    assert came[2][0] - came[1][0] > 0.8  # half as fast: a second after the second
    assert len(sidecar.call("GET", "/api/events")[1]["events"]) == 4


def test_interrupt(sidecar: Sidecar) -> None:
    """Ctrl-C ends the command and the replay."""
    with cco(sidecar, "--correlation", "X", "--speed", "0.01") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        watching.stdout.readline()
        name = watching.stderr.readline().partition("(")[2].partition(")")[0]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_SECONDS) == 130
    state = sidecar.call("GET", f"/api/events/replay/{name}")[1]
    assert (state["state"], state["done"]) == ("cancelled", 2)


def test_to_a_topic_over_a_crash(sidecar: Sidecar) -> None:
    """What a replay to a topic published is there after a kill, marked; it does not go on by itself."""
    with cco(sidecar, "--correlation", "X", "--speed", "0.001", "--to", "topic", "--as-topic", "again") as begun:
        answer = json.loads(begun.communicate(timeout=PATIENCE_SECONDS)[0])
    assert (answer["events"], answer["to"]) == (3, "topic")
    found: list[Any] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < 1 and time.monotonic() < deadline:
        found = sidecar.call("GET", "/api/events/wait/*?topic=again&timeout=1000")[1]["events"]
    sidecar.kill()
    sidecar.start()
    kept = sidecar.call("GET", "/api/events?topic=again&order=asc")[1]["events"]
    assert kept[: len(found)] == found
    assert [event["replayed_from"].rpartition("-")[2] for event in kept] == ["1", "2"][: len(kept)]
    assert sidecar.call("GET", f"/api/events/replay/{answer['replay_id']}")[0] == 404
