"""Lets the agents of the demo play, and writes down what happens: all of it over HTTP, as anybody could."""

import json
import os
import re
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import define, field

from cco_sidecar import runfile
from cco_sidecar.client import Client, NotFound
from cco_sidecar.demo.script import FIRST_EVENT, Step
from cco_sidecar.demo.sidecar import PROJECT, Sidecar
from cco_sidecar.demo.story import Json, Story
from cco_sidecar.demo.timeline import show_event

ISSUE = "demo-1"
TASK = "Say more clearly what went wrong when an input is refused, and test it"
POLL_MS = 500
PARKED_POLL_MS = 50
MOST_POLLS_TO_PARK = 200
_LIVE = frozenset({"queued", "starting", "running"})
_ENDINGS = frozenset({"agent_completed", "agent_failed"})
_COUNTED = re.compile(r'sidecar_requests_total\{route="(?P<route>.*)",status="(?P<status>\d+)"\} (?P<number>\S+)')
_AGENT_MODULE = "cco_sidecar.demo.agent"


@define(eq=False)
class Stage:
    """Spawns the agents, gives the sign, and watches until all have ended.

    :param began_at: what the timeline counts from, in seconds since the epoch.
    """

    _client: Client
    _sidecar: Sidecar
    _story: Story
    _began_at: float
    _cursor: str = "earliest"
    status: Json = field(factory=dict)

    def play(self) -> None:
        """Play to the end, or until an agent fails.

        :raises SidecarError: the sidecar refused something, or did not answer.
        """
        self._spawn([step for step in self._story.steps if step.agent_type in self._story.early])
        self._await_parked()
        self._client.publish_event(FIRST_EVENT, "issue", {"issue_id": ISSUE, "task": TASK}, correlation_id=ISSUE)
        while not self._is_over() and self._client.seconds_left > 0:
            self._watch(POLL_MS)

    def _spawn(self, steps: Sequence[Step]) -> None:
        """Spawn agents all at once."""
        if not steps:
            return
        with ThreadPoolExecutor(len(steps)) as pool:
            answers = list(pool.map(self._spawn_one, steps))
        self._story.spawned.update({step.agent_type: answer for step, answer in zip(steps, answers, strict=True)})

    def _spawn_one(self, step: Step) -> Json:
        task = step.task.format(issue_id=ISSUE, task=TASK)
        return self._client.spawn_agent(step.agent_type, task, issue_id=ISSUE, runner="demo")

    def _await_parked(self) -> None:
        """Watch until every agent's poll is parked; what then is missing, `missing` says."""
        wanted = len(self._story.early)
        for _ in range(MOST_POLLS_TO_PARK):
            self._watch(PARKED_POLL_MS)
            self._story.parked = self._client.request("GET", "/status").json()["events"]["active_subscriptions"]
            if self._story.parked >= wanted or self._is_over():
                return

    def _watch(self, timeout_ms: int) -> None:
        """Take in what has happened since the last look."""
        found = self._client.wait_for_event("*", timeout_ms, since=self._cursor)
        self._cursor = found.next_cursor or self._cursor
        for event in found:
            self._story.events.append(event)
            show_event(self._story, event, self._began_at)
            self._spawn([step for step in self._story.steps if self._is_due(step, event)])

    def _is_due(self, step: Step, event: Json) -> bool:
        has_come = event["event_type"] == step.trigger
        return has_come and step.agent_type in self._story.late and step.agent_type not in self._story.spawned

    def _is_over(self) -> bool:
        endings = [event["event_type"] for event in self._story.events if event["event_type"] in _ENDINGS]
        return "agent_failed" in endings or len(endings) >= len(self._story.spawned) > 0

    def look_back(self) -> None:
        """Collect what is left of it all: agents, results, their files, and what the sidecar counted."""
        story = self._story
        agents = self._client.list_agents(issue=ISSUE)["agents"]
        story.agents = {agent["agent_type"]: agent for agent in agents}
        for step in story.steps:
            self._find_result(step.agent_type)
        counted = _COUNTED.finditer(self._client.request("GET", "/metrics").body.decode())
        story.requests = {(found["route"], found["status"]): float(found["number"]) for found in counted}
        self.status = self._client.request("GET", "/status").json()

    def _find_result(self, agent_type: str) -> None:
        try:
            stored = self._client.get_result(agent_type, ISSUE)
        except NotFound:
            return  # there is none: `missing` says so
        path = self._sidecar.storage / "results" / PROJECT / ISSUE / f"{agent_type}.json"
        self._story.results[agent_type] = stored
        self._story.paths[agent_type] = path
        self._story.files[agent_type] = _json_of(path)


def clear(client: Client) -> None:
    """End the agents that still run."""
    for agent in client.list_agents(issue=ISSUE)["agents"]:
        if agent["status"] in _LIVE:
            client.kill_agent(agent["agent_id"], force=True)


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def end_processes(story: Story) -> None:
    """End the agents of a sidecar that does not answer any more."""
    for pid in _processes(story):
        if _AGENT_MODULE in runfile.command_line(pid):
            os.kill(pid, signal.SIGKILL)


def left_over(story: Story) -> list[str]:
    """Name the agents that are still there."""
    return [f"process {pid}" for pid in _processes(story) if _AGENT_MODULE in runfile.command_line(pid)]


def _processes(story: Story) -> list[int]:
    return [answer["process_id"] for answer in story.spawned.values() if answer["process_id"] is not None]
