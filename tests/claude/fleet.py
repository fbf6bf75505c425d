"""A real sidecar with real `claude` processes, whose models play the parts that a test gives them."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any, Self

import psutil
from attrs import define, field

from tests.claude.cast import Cast, Part, Role
from tests.claude.real_claude import CLAUDE, DUMMY_KEY
from tests.claude.scripted_api import ScriptedApi
from tests.system.sidecar_process import Sidecar

PATIENCE_SECONDS = 60.0
PROGRAMS = Path(sys.executable).parent
"""Where `cco` is installed."""
_LOOK_SECONDS = 0.05


def model_environment(url: str) -> dict[str, str]:
    """Give what makes `claude` ask the scripted model, and nobody else."""
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": DUMMY_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "ENABLE_TOOL_SEARCH": "false",
    }


def scripted_runner(url: str) -> dict[str, Any]:
    """Give the packaged runner `claude` as it is, but with another model behind it."""
    packaged = json.loads(resources.files("cco_sidecar.data").joinpath("runners.json").read_text())["claude"]
    return {**packaged, "env": {**packaged["env"], **model_environment(url)}}


def until(happened: Callable[[], object], what: Callable[[], str], seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until something is true, and give it; what was there instead is said when it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, what()
        time.sleep(_LOOK_SECONDS)
    return found


def command_of(pid: int) -> str:
    """Give a process's arguments; nothing of one that has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


@define(eq=False)
class Fleet:
    """A sidecar and a model; a context manager.

    ``cast`` gives every agent the part that `plays` has for its type, or for its id.
    """

    directory: Path
    plays: dict[str, Callable[[Role], Part]] = field(factory=dict)
    more: Mapping[str, Any] = field(factory=dict)
    """More settings of the agents."""
    cast: Cast = field(init=False)
    api: ScriptedApi = field(init=False)
    sidecar: Sidecar = field(init=False)
    _stack: ExitStack = field(factory=ExitStack)

    def __enter__(self) -> Self:
        assert CLAUDE is not None
        programs = self.directory / "bin"
        programs.mkdir()
        (programs / "claude").symlink_to(CLAUDE)
        self.cast = Cast(self._part)
        self.api = self._stack.enter_context(ScriptedApi(self.cast))
        agents = {"runners": {"claude": scripted_runner(self.api.url)}, "on_shutdown": "stop", **self.more}
        self.sidecar = Sidecar(self.directory, config={"agents": agents})
        self.sidecar.environment["PATH"] = f"{programs}:{PROGRAMS}:/usr/bin:/bin"
        subprocess.run(["git", "init", "-q", "."], cwd=self.sidecar.root, check=True)
        try:
            self._stack.enter_context(self.sidecar)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the sidecar and its agents, also those of a test that failed."""
        try:
            if self.sidecar.runs:
                self.sidecar.stop()
        finally:
            self._stack.close()

    def _part(self, role: Role) -> Part:
        return (self.plays.get(role.agent_id) or self.plays[role.agent_type])(role)

    @property
    def root(self) -> Path:
        """Where the agents work."""
        return self.sidecar.root

    def spawn(self, agent_type: str, task: str = "Play your part.", issue: str = "issue-1", **more: object) -> str:
        """Start an agent."""
        asked = {"agent_type": agent_type, "issue_id": issue, "task": task, **more}
        return str(self.ok("POST", "/api/agents/spawn", asked)["agent_id"])

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """Ask as the admin for what is not refused."""
        status, answer = self.sidecar.call(method, path, body)
        assert status < 300, answer
        return answer

    def agent(self, agent_id: str) -> dict[str, Any]:
        """Look at an agent."""
        return dict(self.ok("GET", f"/api/agents/{agent_id}"))

    def events(self, event_type: str, **selection: str) -> list[dict[str, Any]]:
        """Give the events of a type, oldest first."""
        query = "&".join(f"{name}={value}" for name, value in {"type": event_type, "order": "asc", **selection}.items())
        return list(self.ok("GET", f"/api/events?{query}")["events"])

    def claims(self) -> list[dict[str, Any]]:
        """Give the claims that hold."""
        return list(self.ok("GET", "/api/claims")["claims"])

    def ended(self, agent_id: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Give an agent when it has ended; nothing may have gone wrong in its part."""
        until(lambda: self.agent(agent_id)["ended_at"], lambda: self.story(agent_id), seconds)
        assert self.cast.troubles == [], self.story(agent_id)
        return self.agent(agent_id)

    def result_of(self, agent: Mapping[str, Any]) -> dict[str, Any]:
        """Give what an agent reported."""
        assert agent["result_id"], self.story(agent["agent_id"])
        return dict(self.ok("GET", f"/api/results/id/{agent['result_id']}")["result"])

    def log(self, agent_id: str) -> str:
        """Give what an agent wrote."""
        log = self.sidecar.storage / "logs" / "agents" / f"{agent_id}.log"
        return log.read_text() if log.exists() else ""

    def story(self, agent_id: str) -> str:
        """Tell what an agent wrote, and what was wrong: for a test that fails."""
        return f"{self.cast.troubles}\n{self.agent(agent_id)}\n{self.log(agent_id)[-8000:]}"
