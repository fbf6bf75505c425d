"""Our side of the benchmarks: a sidecar on the server's core, and agents that talk to it.

The agents are chief architects, whose requests are not counted by the rate limit: everything else is as it comes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import http_request
from benchmarks.machine import SERVER_CORE, pinned
from tests.system.sidecar_process import Client, Sidecar

EVENT_TYPE = "benchmark"
BODY = b'{"topic":"benchmark","data":{"status":"green","coverage":91,"files":["src/shop/cart.py","tests/x.py"]}}'


@contextmanager
def sidecar(directory: Path) -> Iterator[Sidecar]:
    """Run a sidecar in a directory, with its descendants on the server's core."""
    made = Sidecar(directory)
    try:
        with pinned(SERVER_CORE):
            made.start()
        yield made
    finally:
        made.kill()


def agents(running: Sidecar, count: int) -> list[str]:
    """Make so many agents; gives their tokens."""
    client = Client(running, running.admin_token())
    tokens = []
    for number in range(count):
        request = {"agent_type": "chief-architect", "issue_id": "issue-1", "agent_id": f"agent-{number}"}
        status, answer = client.call("POST", "/api/tokens", request)
        assert status == 201, answer
        tokens.append(str(answer["token"]))
    client.close()
    return tokens


def publishing(token: str) -> bytes:
    """Write down how an agent publishes."""
    return http_request("POST", f"/api/events/{EVENT_TYPE}", token, BODY)
