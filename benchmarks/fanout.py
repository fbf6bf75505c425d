"""One event to many parked polls: how long until the last of them has its answer, and what a parked poll weighs.

Agents park as many polls as they may, 32 each, under names of their own and with a filter that the event matches, on
connections that stay. One more agent publishes, the clock runs from there, and all park again. There are two crowds,
of 10,000 polls and of 119; the 119 are an agent each. The peer is nginx with nchan, in memory, without tokens, filters
or positions. Prints one JSON line for each crowd: ``ratio`` is our time to the peer's, the medians of interleaved
rounds, and ``ratio_of_fastest`` that of the best rounds, which other work on the machine disturbs least;
``kb_a_poll`` the resident memory that a parked poll adds; ``our_probe_ms`` how long ``/livez`` took at worst while an
event was given out, in rounds of their own: for so long nobody else is served.

    python -m benchmarks.fanout [ROUNDS [POLLS...]]
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field

from benchmarks.load import Load, http_request
from benchmarks.machine import CPUMeter, disk_directory, load_average, resident_bytes
from benchmarks.peers import Nchan
from benchmarks.sidecars import BODY, EVENT_TYPE, agents, publishing, sidecar
from tests.system.sidecar_process import Sidecar

CROWDS = (10_000, 119)
MOST_POLLS_AN_AGENT = 32
PROBING_ROUNDS = 3
SMALL_CROWD_TIMES = 5  # so many more rounds for a crowd of up to 1,000: they are short, and vary more
MARK = "src/shop/cart.py"  # it stands in the event's data
PATIENCE_SECONDS = 60.0
SETTLING_SECONDS = 0.1  # what is written down after the last poll has come is no part of the next event


@define(eq=False)
class Crowd:
    """Polls that are parked at a server, and what each round showed."""

    _pid: int
    _parked: Callable[[], int]
    _load: Load
    _size: int
    kb_a_poll: float = 0.0
    cpu_us_a_poll: list[float] = field(factory=list)
    rounds: list[dict[str, Any]] = field(factory=list)
    probe_ms: float = 0.0

    def park(self) -> None:
        """Have all polls sent, and wait until the server has them."""
        self._load.park()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._parked() != self._size:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._parked()} of {self._size} polls are parked.")
            time.sleep(0.05)
        time.sleep(SETTLING_SECONDS)

    def round(self) -> None:
        """Publish, and park again."""
        meter = CPUMeter(self._pid)
        told = self._load.fire()
        self.cpu_us_a_poll.append(meter.microseconds() / self._size)
        assert told["answers"] == self._size and told["refused"] == 0, told
        self.rounds.append(told)
        self.park()

    def probing_round(self) -> None:
        """Publish with somebody asking beside it, and park again."""
        self.probe_ms = max(self.probe_ms, self._load.fire(probing=True)["longest_probe_ms"])
        self.park()

    def report(self, name: str) -> dict[str, float]:
        """Give the medians of all rounds, and the fastest."""
        keys = ("acknowledged_ms", "first_ms", "p50_ms", "p99_ms", "last_ms", "client_busy")
        medians = {f"{name}_{key}": round(statistics.median(told[key] for told in self.rounds), 2) for key in keys}
        cpu = round(statistics.median(self.cpu_us_a_poll), 1)
        fastest = round(min(told["last_ms"] for told in self.rounds), 2)
        named = {"fastest_ms": fastest, "cpu_us_a_poll": cpu, "kb_a_poll": round(self.kb_a_poll, 1)}
        return {**medians, **{f"{name}_{key}": value for key, value in named.items()}}


def gathered(stack: ExitStack, pid: int, parked: Callable[[], int], load: Load, size: int) -> Crowd:
    """Open a crowd's connections and park it; the stack takes it down."""
    before = resident_bytes(pid)
    crowd = Crowd(pid, parked, stack.enter_context(load), size)
    crowd.park()
    crowd.kb_a_poll = (resident_bytes(pid) - before) / size / 1024
    return crowd


def polling(token: str, number: int) -> bytes:
    """Write down an agent's poll."""
    query = f"timeout=300000&filter=status:green&subscription=worker-{number}"
    return http_request("GET", f"/api/events/wait/{EVENT_TYPE}?{query}", token)


def our_load(running: Sidecar, size: int) -> Load:
    """Agents that wait, and one that publishes."""
    polls_each = 1 if size <= 1000 else MOST_POLLS_AN_AGENT
    publisher, *waiting = agents(running, 1 + -(-size // polls_each))
    polls = [polling(waiting[number // polls_each], number % polls_each) for number in range(size)]
    return Load(running.port, polls, publishing(publisher), http_request("GET", "/livez"), MARK)


def peer_load(peer: Nchan, size: int) -> Load:
    """Anybody who waits, and who publishes."""
    publish = http_request("POST", "/publish", None, BODY)
    return Load(peer.port, [http_request("GET", "/wait")] * size, publish, http_request("GET", "/status"), MARK)


def measure(directory: Path, size: int, rounds: int) -> dict[str, Any]:
    """Measure one crowd, in turn."""
    nginx = directory / "nginx"
    nginx.mkdir()
    with ExitStack() as stack:
        running = stack.enter_context(sidecar(directory))
        peer = stack.enter_context(Nchan(nginx))

        def parked() -> int:
            return int(running.call("GET", "/status")[1]["events"]["active_subscriptions"])

        ours = gathered(stack, running.pid, parked, our_load(running, size), size)
        theirs = gathered(stack, peer.pid, peer.parked, peer_load(peer, size), size)
        for _ in range(rounds if size > 1000 else SMALL_CROWD_TIMES * rounds):
            ours.round()
            theirs.round()
        for _ in range(PROBING_ROUNDS):
            ours.probing_round()
    mine, nchan = ours.report("our"), theirs.report("peer")
    ratio = round(mine["our_last_ms"] / nchan["peer_last_ms"], 2)
    of_fastest = round(mine["our_fastest_ms"] / nchan["peer_fastest_ms"], 2)
    told = {"polls": size, "ratio": ratio, "ratio_of_fastest": of_fastest, "our_probe_ms": ours.probe_ms}
    return {**told, **mine, **nchan}


def main(rounds: int, sizes: tuple[int, ...]) -> None:
    """Measure one crowd after the other."""
    for size in sizes:
        with disk_directory() as directory:
            print(json.dumps({**measure(directory, size, rounds), "load_average": load_average()}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, tuple(map(int, sys.argv[2:])) or CROWDS)
