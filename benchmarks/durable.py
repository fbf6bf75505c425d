"""How many events a second can be on the disk before they are acknowledged.

32 agents with a token each publish, and each waits for its answer before its next event. The peer is NATS JetStream
with ``sync_interval: always``, its stream in files on the same disk, without tokens; its clients do the same over its
own protocol. Server and client have one core each. Prints one JSON line; ``ratio`` is our events a second to the
peer's, the medians of interleaved rounds. A client that is busy near 1 would bound what its server shows.

    python -m benchmarks.durable [ROUNDS]
"""

import json
import sys

from benchmarks.closed_loop import Contestant, jetstream_load, sidecar_load, subdirectory, take_turns
from benchmarks.machine import disk_directory, load_average
from benchmarks.peers import JetStream
from benchmarks.sidecars import sidecar


def main(rounds: int) -> None:
    """Measure, in turn."""
    with (
        disk_directory() as directory,
        sidecar(directory) as ours,
        JetStream(subdirectory(directory, "nats")) as peer,
        sidecar_load(ours) as our_load,
        jetstream_load(peer) as peer_load,
    ):
        mine, theirs = Contestant(our_load, ours.pid), Contestant(peer_load, peer.pid)
        take_turns([mine, theirs], rounds)
    line = {**mine.report("our"), **theirs.report("peer")}
    ratio = round(line["our_per_second"] / line["peer_per_second"], 2)
    print(json.dumps({"ratio": ratio, **line, "load_average": load_average()}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
