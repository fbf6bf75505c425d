"""What it costs to publish an event: processor time per request, of all processes and threads of the server.

32 agents with a token each publish over keep-alive connections, as fast as they are answered; every answer means that
the event is on the disk. The peer is aiohttp, which keeps the same events in memory, for anybody, and answers the same.
Prints one JSON line; ``ratio`` is our microseconds to the peer's, the medians of interleaved rounds.

    python -m benchmarks.publish [ROUNDS]
"""

import json
import sys

from benchmarks.closed_loop import Contestant, aiohttp_load, sidecar_load, subdirectory, take_turns
from benchmarks.machine import disk_directory, load_average
from benchmarks.peers import AiohttpHub
from benchmarks.sidecars import sidecar


def main(rounds: int) -> None:
    """Measure, in turn."""
    with (
        disk_directory() as directory,
        sidecar(directory) as ours,
        AiohttpHub(subdirectory(directory, "aiohttp")) as peer,
        sidecar_load(ours) as our_load,
        aiohttp_load(peer) as peer_load,
    ):
        mine, theirs = Contestant(our_load, ours.pid), Contestant(peer_load, peer.pid)
        take_turns([mine, theirs], rounds)
    line = {**mine.report("our"), **theirs.report("peer")}
    ratio = round(line["our_cpu_us"] / line["peer_cpu_us"], 2)
    print(json.dumps({"ratio": ratio, **line, "load_average": load_average()}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
