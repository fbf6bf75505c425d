"""An agent that does its part, or crashes, hangs or lies: which, follows from SEED, its type and the number of its try.

It goes on when the sidecar is away, and ends by itself within a minute.
"""

import os
import random
import re
import signal
import sys
import time

from cco_sidecar.client import Client
from cco_sidecar.demo.script import part_of

FLAWS = (
    "crash at once", "crash after the result", "crash after the news", "hang", "hang after the news",
    "lie about all", "lie about the news", "lie about the result", "admit it",
)  # fmt: skip


def behaviour(seed: str, share: float, agent_type: str, number: int) -> str:
    """Say what an agent does."""
    dice = random.Random(f"{seed} {agent_type} {number}")
    return dice.choice(FLAWS) if dice.random() < share else "good"


def number_of(task: str) -> int:
    """Read the number of the try out of the task."""
    found = re.match(r"This is try (\d+) of", task)
    return int(found[1]) if found else 1


class Agent:
    """The agent that the environment describes."""

    def __init__(self) -> None:
        env = os.environ
        self.id, self.type, self.issue = env["AGENT_ID"], env["AGENT_TYPE"], env["ISSUE_ID"]
        self.client = Client(environ=env, lifetime_seconds=45)

    def store(self, status: str = "success") -> None:
        """Store a result, once."""
        self.client.store_result({"status": status}, idempotency_key=f"{self.id} result")

    def publish(self) -> None:
        """Publish the type's good news, once."""
        event = part_of(self.type).publishes
        self.client.publish_event(event, "work", {"issue_id": self.issue}, idempotency_key=f"{self.id} {event}")

    def work(self, how: str) -> int:
        """Do it; gives the exit code."""
        sys.stdout.write(f"{self.type}: {how}\n")
        sys.stdout.flush()
        if how in {"crash at once", "lie about all"}:
            return 3 if "crash" in how else 0
        if how == "hang":
            time.sleep(60)
        if how == "admit it":
            self.store("failed")
            return 0
        if how != "lie about the result":
            self.store()
        if how not in {"crash after the result", "lie about the news"}:
            self.publish()
        if how == "hang after the news":
            time.sleep(60)
        return 3 if "crash" in how else 0


def main() -> int:
    """Be one."""
    signal.alarm(60)
    how = behaviour(
        os.environ["SEED"], float(os.environ["SHARE"]), os.environ["AGENT_TYPE"], number_of(os.environ["TASK"])
    )
    return Agent().work(how)


if __name__ == "__main__":
    sys.exit(main())
