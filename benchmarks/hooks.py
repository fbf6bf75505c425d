"""119 spawned agents whose hooks ask at once: how long Claude Code waits for an answer before and after each tool.

Each agent is a process with a claim and a hook key of its own; every half second it edits, reads, or runs something,
and asks as Claude Code does. Every fifth hook is about a file that another has claimed, and is to be denied. The peer
is the least that can answer: bare asyncio that parses the JSON. Prints one JSON line; ``ratio`` is ours to the peer's
p99, the median of interleaved rounds.

    python -m benchmarks.hooks [ROUNDS]
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from benchmarks import bare_hub
from benchmarks.fleet import AGENTS, Connection, p99
from cco_sidecar.core.hook_keys import HookKeys
from tests.system.sidecar_process import Sidecar

HOOKS_EACH = 20
PAUSE_SECONDS = 0.5
OUTPUT = "x" * 2_000
"""What a tool gave: it is part of what a hook is told."""
RUNNERS = {"idle": {"command": ["/bin/sleep", "300"], "env": {}}}


@define(eq=False)
class Agents:
    """The agents, by their hook keys, and how long each hook took; ``denied`` counts the edits that were."""

    port: int
    root: Path
    keys: Sequence[str]
    hooks_each: int = HOOKS_EACH
    seconds: list[float] = field(factory=list)
    denied: int = 0
    refused: int = 0

    async def run(self) -> None:
        """Let all of them work."""
        await asyncio.wait_for(asyncio.gather(*(self._work(n, key) for n, key in enumerate(self.keys))), 120)

    async def _work(self, number: int, key: str) -> None:
        connection = Connection(self.port, key)
        await connection.open()
        await asyncio.sleep(number * PAUSE_SECONDS / len(self.keys))
        for turn in range(self.hooks_each):
            body = json.dumps(self._hook(number, turn)).encode()
            began = time.perf_counter()
            status, answer = await connection.call("POST", "/api/hooks/claude", body)
            self.seconds.append(time.perf_counter() - began)
            self.refused += status not in {200, 202}
            self.denied += b'"deny"' in answer
            await asyncio.sleep(PAUSE_SECONDS)
        connection.close()

    def _hook(self, number: int, turn: int) -> dict[str, object]:
        name = file_of((number + 1) % len(self.keys) if turn % 5 == 0 else number)
        common = {"session_id": f"s{number}", "cwd": str(self.root), "data": {}}
        tool = {"tool_input": {"file_path": str(self.root / name), "old_string": "a", "new_string": "b"}}
        match turn % 5:
            case 0 | 1:
                return {**common, "hook_event_name": "PreToolUse", "tool_name": "Edit", **tool}
            case 2:
                return {
                    **common,
                    "hook_event_name": "PostToolUse",
                    "tool_name": "Edit",
                    **tool,
                    "tool_response": OUTPUT,
                }
            case 3:
                return {
                    **common,
                    "hook_event_name": "PostToolUse",
                    "tool_name": "Read",
                    **tool,
                    "tool_response": OUTPUT,
                }
        return {**common, "hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_response": OUTPUT}


def file_of(number: int) -> str:
    """Name the file that an agent has claimed."""
    return f"module{number}.py"


def ours(directory: Path, agents: int = AGENTS, hooks_each: int = HOOKS_EACH) -> Agents:
    """Let the agents work with a sidecar."""
    sidecar = Sidecar(directory, config={"agents": {"runners": RUNNERS, "max_per_parent": 0}})
    for number in range(agents):
        (sidecar.root / file_of(number)).write_text("a = 1\n" * 200)
    with sidecar:
        keys = HookKeys((sidecar.home / "hook-secret").read_bytes())
        order = {"agent_type": "python-specialist", "issue_id": "issue-1", "runner": "idle"}
        names = [str(sidecar.call("POST", "/api/agents/spawn", order)[1]["agent_id"]) for _ in range(agents)]
        try:
            for number, name in enumerate(names):
                token = sidecar.agent_token(name, agent_type="python-specialist", issue_id="issue-1")
                sidecar.call("POST", "/api/claims", {"resource": file_of(number)}, token=token)
            found = Agents(sidecar.port, sidecar.root, [keys.make("p", name) for name in names], hooks_each)
            asyncio.run(found.run())
        finally:
            for name in names:
                sidecar.call("DELETE", f"/api/agents/{name}?force=true")
    return found


def peer() -> Agents:
    """Let them ask the bare hub."""
    process, port = bare_hub.start()
    try:
        found = Agents(port, Path("/nowhere"), ["none"] * AGENTS)
        asyncio.run(found.run())
    finally:
        process.terminate()
        process.wait()
    return found


def main(rounds: int) -> None:
    """Measure, in turn."""
    mine, theirs = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            mine.append(ours(Path(directory)))
        theirs.append(peer())
    ours_ms = statistics.median(p99(run.seconds) for run in mine)
    peer_ms = statistics.median(p99(run.seconds) for run in theirs)
    line = {
        "agents": AGENTS,
        "hooks": len(mine[-1].seconds),
        "denied": mine[-1].denied,
        "refused": sum(run.refused for run in mine),
        "p50_ms": round(1000 * statistics.median(mine[-1].seconds), 2),
        "p99_ms": ours_ms,
        "most_ms": round(1000 * max(max(run.seconds) for run in mine), 2),
        "peer_p99_ms": peer_ms,
        "ratio": round(ours_ms / peer_ms, 2),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
