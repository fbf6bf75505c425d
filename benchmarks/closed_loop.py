"""The measure that `publish` and `durable` share: connections that ask, are answered, and ask again, for a while."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from benchmarks.load import Load, http_request, nats_request
from benchmarks.machine import CPUMeter
from benchmarks.peers import AiohttpHub, JetStream
from benchmarks.sidecars import BODY, EVENT_TYPE, agents, publishing
from tests.system.sidecar_process import Sidecar

CLIENTS = 32
SECONDS = 3.0
WARM_UP_SECONDS = 1.0


@define(eq=False)
class Contestant:
    """A server under load, and what each round showed."""

    _load: Load
    _pid: int
    cpu_us: list[float] = field(factory=list)
    per_second: list[float] = field(factory=list)
    p50_ms: list[float] = field(factory=list)
    p99_ms: list[float] = field(factory=list)
    client_busy: list[float] = field(factory=list)
    refused: int = 0

    def round(self, seconds: float) -> None:
        """Load it for so long."""
        meter = CPUMeter(self._pid)
        told = self._load.run(seconds)
        self.cpu_us.append(meter.microseconds() / told["answers"])
        self.per_second.append(told["answers"] / told["seconds"])
        self.p50_ms.append(told["p50_ms"])
        self.p99_ms.append(told["p99_ms"])
        self.client_busy.append(told["client_busy"])
        self.refused += told["refused"]

    def report(self, name: str) -> dict[str, float]:
        """Give the medians of all rounds."""
        return {
            f"{name}_cpu_us": round(statistics.median(self.cpu_us), 1),
            f"{name}_per_second": round(statistics.median(self.per_second)),
            f"{name}_p50_ms": round(statistics.median(self.p50_ms), 2),
            f"{name}_p99_ms": round(statistics.median(self.p99_ms), 2),
            f"{name}_client_busy": round(statistics.median(self.client_busy), 2),
            f"{name}_refused": self.refused,
        }


def sidecar_load(running: Sidecar, clients: int = CLIENTS) -> Load:
    """Agents that publish, each with its token on its connection."""
    return Load(running.port, [publishing(token) for token in agents(running, clients)])


def aiohttp_load(peer: AiohttpHub, clients: int = CLIENTS) -> Load:
    """The same events, from anybody."""
    return Load(peer.port, [http_request("POST", f"/api/events/{EVENT_TYPE}", None, BODY)] * clients)


def jetstream_load(peer: JetStream, clients: int = CLIENTS) -> Load:
    """The same events, as NATS takes them; each waits for its acknowledgement."""
    return Load(peer.port, [nats_request(number, "bench", BODY) for number in range(clients)], protocol="nats")


def take_turns(contestants: Sequence[Contestant], rounds: int) -> None:
    """Load one after the other, again and again; what they do while they warm up does not count."""
    for contestant in contestants:
        contestant.round(WARM_UP_SECONDS)
        for times in (contestant.cpu_us, contestant.per_second, contestant.p50_ms, contestant.p99_ms):
            times.clear()
    for _ in range(rounds):
        for contestant in contestants:
            contestant.round(SECONDS)


def subdirectory(parent: Path, name: str) -> Path:
    """Make a directory."""
    directory = parent / name
    directory.mkdir()
    return directory
