"""Claims, tasks, messages and checkpoints under kill -9: whatever was answered is so after the restart."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.sidecar_process import Client, Sidecar

WORKERS = 6
LOAD_SECONDS = 0.7
CONNECTION_ERRORS = (OSError, http.client.HTTPException)


class Worker(threading.Thread):
    """Claims, releases, takes and completes as fast as it can until the sidecar dies; remembers what was answered."""

    def __init__(self, sidecar: Sidecar, name: str, round_: int) -> None:
        super().__init__(name=name, daemon=True)
        self._client = Client(sidecar, sidecar.agent_token(name), 20)
        self._round = round_
        self.held: dict[str, int] = {}
        self.released: list[str] = []
        self.in_doubt: set[str] = set()  # asked for, and not answered
        self.leased: dict[str, int] = {}
        self.completed: list[str] = []
        self.sent: dict[str, str] = {}  # how far each message was said to be
        self.step = 0

    def call(self, method: str, path: str, body: object = None, subject: str = "") -> Any:
        self.in_doubt.add(subject)
        status, answer = self._client.call(method, path, body)
        assert status in {200, 201, 204}, answer
        self.in_doubt.discard(subject)
        return answer

    def run(self) -> None:
        with contextlib.suppress(*CONNECTION_ERRORS):
            for number in range(10_000):
                self.work(number)

    def work(self, number: int) -> None:
        made = self.call("POST", "/api/claims", {"resource": f"{self.name}/{self._round}/{number}/**"})
        self.held[made["id"]] = made["fence"]
        self.call("POST", "/api/tasks", {"title": f"{self.name}-{number}"})
        given = self.call("POST", "/api/tasks/claim", {})
        task, fence = given["task"]["id"], given["fence"]
        self.leased[task] = fence
        if number % 2:
            self.call("POST", f"/api/tasks/{task}/complete", {"fence": fence}, task)
            del self.leased[task]
            self.completed.append(task)
            fence = self.held.pop(made["id"])
            self.call("DELETE", f"/api/claims/{made['id']}", subject=made["id"])
            self.released.append(made["id"])
        elif number >= 2:
            task, fence = next(iter(self.leased.items()))
            del self.leased[task]
            self.call("POST", f"/api/tasks/{task}/release", {"fence": fence}, task)
        message = self.call("POST", "/api/messages", {"to": self.name, "body": number, "ack": True})["id"]
        self.sent[message] = "queued"
        for state in ("seen", "done"):
            self.call("POST", f"/api/messages/{message}/ack", {"state": state}, message)
            self.sent[message] = state
        self.call("PUT", f"/api/agents/{self.name}/checkpoint", {"step": number})
        self.step = number


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path) as running:
        yield running


def all_claims(sidecar: Sidecar) -> dict[str, int]:
    """Give every claim's fence."""
    status, answer = sidecar.call("GET", "/api/claims?limit=1000")
    assert status == 200
    return {one["id"]: one["fence"] for one in answer["claims"]}


def kill_rounds(sidecar: Sidecar, rounds: int) -> None:
    """Let agents work, kill the sidecar, look at what is there; again and again."""
    highest = 0
    for number in range(rounds):
        workers = [Worker(sidecar, f"w{number}-{index}", number) for index in range(WORKERS)]
        for worker in workers:
            worker.start()
        time.sleep(LOAD_SECONDS)
        sidecar.kill()
        for worker in workers:
            worker.join(20)
        sidecar.start()
        found = all_claims(sidecar)
        for worker in workers:
            check(sidecar, worker, found)
            highest = max([highest, *worker.held.values(), *worker.leased.values()])
        status, made = sidecar.call("POST", "/api/claims", {"resource": f"after-{number}"})
        assert status == 201, made
        assert made["fence"] > highest, "a fence was given twice"
        highest = made["fence"]


def check(sidecar: Sidecar, worker: Worker, claims: dict[str, int]) -> None:
    """Hold what a worker was told against what is there."""
    assert worker.step > 0, "it never worked"
    for claim_id, fence in worker.held.items():
        if claim_id not in worker.in_doubt:
            assert claims.get(claim_id) == fence, "a claim was lost"
    assert not set(worker.released) & set(claims), "a released claim came back"
    for task_id in worker.completed:
        assert sidecar.call("GET", f"/api/tasks/{task_id}")[1]["state"] == "completed"
    for task_id in worker.leased:
        task = sidecar.call("GET", f"/api/tasks/{task_id}")[1]
        assert task_id in worker.in_doubt or (task["state"], task["agent_id"]) == ("leased", worker.name)
    for message, state in worker.sent.items():
        found = sidecar.call("GET", f"/api/messages/{message}")[1]["state"]
        assert found == state or (message in worker.in_doubt and found in {"seen", "done"}), "a message was lost"
    status, checkpoint = sidecar.call("GET", f"/api/agents/{worker.name}/checkpoint")
    assert (status, checkpoint["step"] >= worker.step) == (200, True)


def test_kill_loses_nothing_that_was_answered(sidecar: Sidecar) -> None:
    """After kill -9 under load claims are held, releases are done, leases and completions stand, and fences go on."""
    kill_rounds(sidecar, 2)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_kills_lose_nothing(sidecar: Sidecar) -> None:
    """The same, long."""
    kill_rounds(sidecar, 20)
