"""``cco mcp`` as a program: many requests at once, and one that is given up."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.sidecar_process import Sidecar

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path) as found:
        yield found


def parked(sidecar: Sidecar) -> int:
    return int(sidecar.call("GET", "/status")[1]["events"]["active_subscriptions"])


def until_parked(sidecar: Sidecar, many: int) -> None:
    deadline = time.monotonic() + 10
    while parked(sidecar) != many:
        assert time.monotonic() < deadline, f"{parked(sidecar)} are parked, not {many}"
        time.sleep(0.02)


def test_waits_hold_up_nothing(sidecar: Sidecar) -> None:
    """Two waits, of which one is cancelled and has no answer, and a publish that the other one gets."""
    environ = {"PATH": os.environ["PATH"], "CCO_HOME": str(sidecar.home), "PYTHONPATH": str(ROOT), "CCO_ISSUE": "i"}
    environ |= {"CCO_SIDECAR_URL": f"http://127.0.0.1:{sidecar.port}", "HOME": str(sidecar.directory)}
    process = subprocess.Popen(
        [sys.executable, "-m", "cco_sidecar", "mcp"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def say(**message: Any) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()

    def call(request_id: int, name: str, **arguments: Any) -> None:
        say(id=request_id, method="tools/call", params={"name": name, "arguments": arguments})

    try:
        call(1, "wait_for_event", event_type="given_up", timeout=60_000)
        call(2, "wait_for_event", event_type="news", timeout=60_000)
        until_parked(sidecar, 2)
        say(method="notifications/cancelled", params={"requestId": 1})
        until_parked(sidecar, 1)
        call(3, "publish_event", event_type="news", topic="t", data=7)
        said = [json.loads(process.stdout.readline()) for _ in range(2)]
        answers = {one["id"]: one["result"]["structuredContent"] for one in said}
        assert answers[3]["published"] is True
        assert [event["data"] for event in answers[2]["events"]] == [7]
        assert answers[2]["events"][0]["agent_type"] == "chief-architect"
        process.stdin.close()
        assert process.wait(10) == 0
        assert process.stdout.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
