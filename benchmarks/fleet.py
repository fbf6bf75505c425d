"""119 agents at once: how long from a publish until the last parked agent has the event, and what it costs.

Each agent of the packaged roster has a token of its own, waits in a loop, publishes now and then, and asks for its
context twice. The peer is the least that could do the job: a hub in memory on bare asyncio, without tokens, disk,
filters or positions. Prints one JSON line; ``ratio`` is ours to the peer's p99, the median of interleaved rounds.

    python -m benchmarks.fleet [ROUNDS]
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks import bare_hub
from tests.system.sidecar_process import Sidecar

AGENTS = 119
PUBLISHERS = 20
EVENTS_EACH = 2
PAUSE_SECONDS = 6.0  # the narrowest bucket of the roster takes 120 requests a minute, 30 at once
FILES = 300


class Connection:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=32 * 1024 * 1024)

    async def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Make a request; gives status and body."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length:"))
        return int(lines[0].split()[1]), await self._reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Fleet:
    """The agents, and what they saw."""

    def __init__(self, port: int, tokens: list[tuple[str, str]], *, contexts: bool) -> None:
        self._port = port
        self._tokens = tokens
        self._contexts = contexts
        self._expected = PUBLISHERS * EVENTS_EACH
        self.latencies: list[float] = []
        self.refused = 0
        self.context_seconds: list[float] = []

    async def run(self) -> None:
        """Let all agents do their work."""
        waiting = [asyncio.create_task(self._wait(token)) for _, token in self._tokens]
        await asyncio.sleep(0.5)
        others = [asyncio.create_task(self._publish(n, self._tokens[n][1])) for n in range(PUBLISHERS)]
        if self._contexts:
            others += [asyncio.create_task(self._context(kind, token)) for kind, token in self._tokens]
        await asyncio.wait_for(asyncio.gather(*waiting, *others), 120)

    async def _wait(self, token: str) -> None:
        connection = Connection(self._port, token)
        await connection.open()
        seen = 0
        while seen < self._expected:
            status, body = await connection.call("GET", "/api/events/wait/beat?timeout=30000")
            now = time.perf_counter()
            self.refused += status != 200
            for event in json.loads(body)["events"]:
                self.latencies.append(now - event["data"]["at"])
                seen += 1
        connection.close()

    async def _publish(self, number: int, token: str) -> None:
        connection = Connection(self._port, token)
        await connection.open()
        await asyncio.sleep(number * PAUSE_SECONDS / PUBLISHERS)
        for turn in range(EVENTS_EACH):
            if turn:
                await asyncio.sleep(PAUSE_SECONDS)
            body = json.dumps({"topic": "t", "data": {"at": time.perf_counter()}}).encode()
            status, _answer = await connection.call("POST", "/api/events/beat", body)
            self.refused += status != 202
        connection.close()

    async def _context(self, kind: str, token: str) -> None:
        connection = Connection(self._port, token)
        await connection.open()
        for _ in range(2):
            began = time.perf_counter()
            status, _body = await connection.call("GET", f"/api/context/issue-1/{kind}?budget_bytes=200000")
            self.context_seconds.append(time.perf_counter() - began)
            self.refused += status != 200
        connection.close()


def agent_types() -> list[str]:
    """Name the packaged agent types."""
    text = (Path(__file__).parent.parent / "cco_sidecar" / "data" / "roster.json").read_text()
    roster = json.loads(text)
    listed = [entry["type"] for name, entries in roster.items() if name.endswith("Agents") for entry in entries]
    return [roster["architect"]["type"], *listed]


def make_project(root: Path) -> None:
    """Make a git repository of some size."""
    for number in range(FILES):
        path = root / f"package{number % 10}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""Module {number}."""\n' + "def function():\n    return 1\n" * 60)
    identity = ["-c", "user.name=b", "-c", "user.email=b@example.org"]
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null"}
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=root, env=env, check=True)


def p99(seconds: list[float]) -> float:
    """Give the 99th percentile in milliseconds."""
    return round(1000 * sorted(seconds)[int(len(seconds) * 0.99)], 2)


def ours(directory: Path) -> tuple[Fleet, dict[str, Any]]:
    """Let the fleet run against a sidecar."""
    sidecar = Sidecar(directory)
    make_project(sidecar.root)
    with sidecar:
        kinds = agent_types()[:AGENTS]
        tokens = [(kind, sidecar.agent_token(f"agent-{n}", agent_type=kind)) for n, kind in enumerate(kinds)]
        fleet = Fleet(sidecar.port, tokens, contexts=True)
        process = psutil.Process(sidecar.pid)
        asyncio.run(fleet.run())
        status = sidecar.call("GET", "/status")[1]
        cpu = process.cpu_times()
        return fleet, {
            "rss_mb": round(process.memory_info().rss / 1048576, 1),
            "cpu_seconds": round(cpu.user + cpu.system, 2),
            "reactor_lag_ms": status["performance"]["reactor_lag_ms"],
        }


def peer(_directory: Path) -> tuple[Fleet, dict[str, Any]]:
    """Let the fleet run against the bare hub."""
    process, port = bare_hub.start()
    try:
        fleet = Fleet(port, [("", "none")] * AGENTS, contexts=False)
        asyncio.run(fleet.run())
    finally:
        process.terminate()
        process.wait()
    return fleet, {}


def main(rounds: int) -> None:
    """Measure, in turn."""
    runs: dict[Callable[[Path], tuple[Fleet, dict[str, Any]]], list[tuple[float, Fleet, dict[str, Any]]]] = {}
    for _ in range(rounds):
        for contestant in (ours, peer):
            with tempfile.TemporaryDirectory() as directory:
                fleet, extra = contestant(Path(directory))
            runs.setdefault(contestant, []).append((p99(fleet.latencies), fleet, extra))
    mine = statistics.median(run[0] for run in runs[ours])
    floor = statistics.median(run[0] for run in runs[peer])
    last = runs[ours][-1]
    line = {
        "agents": AGENTS,
        "deliveries": len(last[1].latencies),
        "refused": sum(run[1].refused for run in runs[ours]),
        "publish_to_wake_p99_ms": mine,
        "peer_p99_ms": floor,
        "ratio": round(mine / floor, 2),
        "context_p99_ms": p99(last[1].context_seconds),
        **last[2],
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
