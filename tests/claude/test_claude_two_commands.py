"""From an empty repository to a coordinating `claude`: `cco daemon start`, `cco init`, as a person types them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

from tests.claude.fleet import PROGRAMS
from tests.claude.real_claude import RealClaude, needs_claude, result_of
from tests.claude.scripted_api import ScriptedApi, Text, ToolUse, in_order


@define
class Person:
    """Somebody with a home, an empty repository, and the programs that were installed."""

    directory: Path

    @property
    def repository(self) -> Path:
        """Where the person works."""
        return self.directory / "shop"

    @property
    def environment(self) -> dict[str, str]:
        """What their shell has; port and storage are their own, so that tests do not meet."""
        return {
            "PATH": f"{PROGRAMS}:/usr/bin:/bin",
            "HOME": str(self.directory / "home"),
            "CCO_SIDECAR_PORT": "0",
            "CCO_SIDECAR_STORAGE": str(self.directory / "storage"),
        }

    def types(self, *words: str) -> str:
        """Run a command as the person does; gives what it prints."""
        done = subprocess.run(
            words, cwd=self.repository, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """A person who has done nothing yet."""
    assert (PROGRAMS / "cco").exists(), "the package is not installed where this Python is"
    found = Person(tmp_path)
    (tmp_path / "home").mkdir()
    found.repository.mkdir()
    found.types("git", "init", "-q", ".")
    yield found
    found.types("cco", "daemon", "stop")


@needs_claude
def test_two_commands(tmp_path: Path, person: Person) -> None:
    """The server is connected; the model is told who it is, and publishes and claims as that."""
    person.types("cco", "daemon", "start")
    person.types("cco", "init")
    tell = {"event_type": "plan_made", "topic": "plans", "data": {"parts": 3}}
    file = person.repository / "shop.py"
    script = in_order(
        ToolUse("mcp__cco__publish_event", tell, call_id="toolu_p"),
        ToolUse("mcp__cco__claim", {"resource": "shop.py"}, call_id="toolu_c"),
        ToolUse("Write", {"file_path": str(file), "content": "price = 1\n"}, call_id="toolu_w"),
        Text("Done."),
    )
    with ScriptedApi(script) as api:
        claude = RealClaude(Path(person.environment["HOME"]), api, person.environment)
        claude.trust(person.repository)
        listed = claude.run(person.repository, "mcp", "list").stdout
        said = result_of(claude.ask(person.repository, "Plan the shop.", "--allowedTools", "Write"))
    [line] = [line for line in listed.splitlines() if line.startswith("cco:")]
    assert "Connected" in line
    assert said["permission_denials"] == []
    claimed = json.loads(api.turns[2].results["toolu_c"])
    me = claimed["agent_id"]
    assert me.startswith("chief-architect-")
    assert me in api.turns[0].text, "the briefing at the beginning"
    [event] = json.loads(person.types("cco", "events", "list", "--type", "plan_made"))["events"]
    assert (event["publisher"], event["issue_id"], event["data"]) == (me, "main", {"parts": 3})
    assert file.read_text() == "price = 1\n"
    assert said["result"] == "Done."
    assert json.loads(person.types("cco", "claims", "list"))["claims"] == [], "they ended with the session"
