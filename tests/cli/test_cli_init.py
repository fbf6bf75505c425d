"""``cco init``: it adds, changes nothing else, and can be taken back."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cco_sidecar.cli.hook_call import EVENTS

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

URL = "http://127.0.0.1:4567"
FILES = [".mcp.json", ".claude/settings.json", ".claude/skills/cco/SKILL.md", "CLAUDE.md", ".gitignore"]
FOREIGN = {
    ".mcp.json": '{\n\t// theirs\n\t"mcpServers": {\n\t\t"other": {"command": "x"} // keep\n\t}\n}\n',
    ".claude/settings.json": """\
{
  "model": "opus",
  /* ask first */
  "permissions": {"deny": ["Bash(rm:*)"], "allow": ["Read"]},
  "hooks": {
    "PreToolUse": [
      {"matcher": "Bash", "hooks": [{"type": "command", "command": "./mine.sh"}]}
    ]
  }
}
""",
    "CLAUDE.md": "# Rules\r\n\r\nBe kind.\r\n",
    ".gitignore": "build/",
    ".claude/agents/mine.md": "---\nname: mine\n---\n",
}


@pytest.fixture
def repository(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty git repository, where the shell is."""
    found = tmp_path / "repository"
    found.mkdir()
    subprocess.run(["git", "init", "-q", "."], cwd=found, check=True)
    monkeypatch.chdir(found)
    monkeypatch.setenv("CCO_SIDECAR_URL", URL)
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/cco")
    return found


def content(repository: Path) -> dict[str, bytes]:
    """All files but git's."""
    paths = (path for path in repository.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(repository)): path.read_bytes() for path in paths}


def make_foreign(repository: Path) -> dict[str, bytes]:
    """Write files that a person has already."""
    for name, text in FOREIGN.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(text.encode())
    return content(repository)


def commands(settings: dict[str, Any], event: str) -> list[str]:
    """All commands that an event has."""
    return [hook["command"] for group in settings["hooks"][event] for hook in group["hooks"]]


def test_an_empty_repository(repository: Path, cco: "Cco") -> None:
    """All is there, with the URL written out; doing it again changes nothing; taking it out leaves nothing."""
    found = cco("init", "--format", "json")
    assert found.exit_code == 0, found.stderr
    assert [row["file"] for row in json.loads(found.stdout)["files"]] == FILES
    server = json.loads((repository / ".mcp.json").read_text())["mcpServers"]["cco"]
    assert server["args"] == ["mcp", "--sidecar-url", URL]
    assert server["alwaysLoad"] is True
    settings = json.loads((repository / ".claude/settings.json").read_text())
    assert settings["permissions"]["allow"] == ["mcp__cco"]
    assert settings["enabledMcpjsonServers"] == ["cco"]
    assert set(settings["hooks"]) == set(EVENTS.values())
    for event in settings["hooks"]:
        [command] = commands(settings, event)
        assert command.endswith(f" --sidecar-url {URL} || exit 1")
    before = content(repository)
    assert {row["state"] for row in json.loads(cco("init").stdout)["files"]} == {"unchanged"}
    assert content(repository) == before
    assert cco("init", "--check").exit_code == 0
    assert cco("init", "--diff").stdout == ""
    assert cco("init", "--remove").exit_code == 0
    assert content(repository) == {}
    assert not (repository / ".claude").exists()


def test_what_is_theirs_stays(repository: Path, cco: "Cco") -> None:
    """Foreign keys, order, comments and line ends stay; taking ours out gives the same bytes back."""
    before = make_foreign(repository)
    assert cco("init", "--agent", "python-specialist").exit_code == 0
    after = content(repository)
    assert after[".mcp.json"].startswith(b'{\n\t// theirs\n\t"mcpServers": {\n\t\t"other": {"command": "x"}, // keep\n')
    assert b"/* ask first */" in after[".claude/settings.json"]
    assert b'"allow": ["Read", "mcp__cco"]' in after[".claude/settings.json"]
    assert b"./mine.sh" in after[".claude/settings.json"]
    assert after["CLAUDE.md"].startswith(b"# Rules\r\n\r\nBe kind.\r\n\r\n<!-- cco: begin")
    assert b"\r\r" not in after["CLAUDE.md"]
    assert after[".gitignore"].startswith(b"build/\n# cco: begin")
    assert b"name: python-specialist" in after[".claude/agents/python-specialist.md"]
    assert cco("init", "--check").exit_code == 0
    assert cco("init", "--remove").exit_code == 0
    assert content(repository) == before


def test_what_is_theirs_and_empty_stays(repository: Path, cco: "Cco") -> None:
    """Empty objects that were there before are there afterwards, and so is a file of nothing else."""
    (repository / ".claude").mkdir()
    (repository / ".mcp.json").write_text("{}")
    (repository / ".claude/settings.json").write_text('{"hooks": {}, "permissions": {"allow": [ ]}}\n')
    before = content(repository)
    assert cco("init").exit_code == 0
    assert cco("init", "--check").exit_code == 0
    assert cco("init", "--remove").exit_code == 0
    assert content(repository) == before


def test_hooks_beside_ours_stay(repository: Path, cco: "Cco") -> None:
    """A person's hook in the group that we made is theirs; a hook of another port is brought up to date."""
    cco("init", "--sidecar-url", "http://127.0.0.1:1")
    path = repository / ".claude/settings.json"
    settings = json.loads(path.read_text())
    settings["hooks"]["Stop"][0]["hooks"].append({"type": "command", "command": "make test"})
    path.write_text(json.dumps(settings))
    cco("init")
    settings = json.loads(path.read_text())
    ours, theirs = commands(settings, "Stop")
    assert ours.endswith(f"cco hook stop --sidecar-url {URL} || exit 1")
    assert theirs == "make test"
    cco("init", "--remove")
    assert json.loads(path.read_text()) == {
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "make test"}]}]}
    }


def test_check_and_diff_write_nothing(repository: Path, cco: "Cco") -> None:
    """--check ends with 1 while something is missing; --diff shows it as patch(1) takes it."""
    make_foreign(repository)
    before = content(repository)
    found = cco("init", "--check")
    assert found.exit_code == 1
    assert {row["state"] for row in json.loads(found.stdout)["files"]} == {"changed", "missing"}
    diff = cco("init", "--diff")
    assert diff.exit_code == 0
    assert content(repository) == before
    assert "--- /dev/null\n+++ b/.claude/skills/cco/SKILL.md\n" in diff.stdout
    subprocess.run(["git", "apply", "--check", "-"], input=diff.stdout_bytes, check=True)
    cco("init")
    (repository / ".mcp.json").unlink()
    assert cco("init", "--check").exit_code == 1


def test_a_symlink_out_of_the_repository(repository: Path, tmp_path: Path, cco: "Cco") -> None:
    """It is refused, before anything is written; one within the repository is followed, and stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (repository / ".claude").symlink_to(outside)
    found = cco("init")
    assert found.exit_code == 1
    assert ".claude/settings.json leads out of the repository" in found.stderr
    assert (content(repository), list(outside.iterdir())) == ({}, [])
    (repository / ".claude").unlink()
    (repository / "AGENTS.md").write_text("# Rules\n")
    (repository / "CLAUDE.md").symlink_to("AGENTS.md")
    assert cco("init").exit_code == 0
    assert (repository / "CLAUDE.md").is_symlink()
    assert "mcp__cco__" in (repository / "AGENTS.md").read_text()


@pytest.mark.parametrize("text", ['{"mcpServers": }', "[1]", '{"mcpServers": 3}', "\xff"])
def test_what_is_no_json(repository: Path, cco: "Cco", text: str) -> None:
    """A file that can't be added to is named, and nothing is written at all."""
    (repository / ".mcp.json").write_bytes(text.encode("latin-1"))
    before = content(repository)
    found = cco("init")
    assert found.exit_code == 1
    assert ".mcp.json is " in found.stderr
    assert content(repository) == before


def test_a_mode_stays(repository: Path, cco: "Cco") -> None:
    """A file keeps its mode, and no other file is left beside it."""
    make_foreign(repository)
    (repository / "CLAUDE.md").chmod(0o640)
    cco("init")
    assert (repository / "CLAUDE.md").stat().st_mode & 0o777 == 0o640
    assert not [name for name in os.listdir(repository) if name.startswith(".CLAUDE")]


def test_agents(repository: Path, cco: "Cco") -> None:
    """Picked types stay up to date without being named again; a person's own by that name stays theirs."""
    assert cco("init", "--agent", "python-specialst").exit_code == 2
    cco("init", "--agent", "python-specialist")
    path = repository / ".claude/agents/python-specialist.md"
    text = path.read_text()
    path.write_text(text.replace("model: ", "model: old-"))
    assert cco("init", "--check").exit_code == 1
    cco("init")
    assert path.read_text() == text
    path.write_text("mine\n")
    found = cco("init", "--agent", "python-specialist")
    assert "Left as it is, for it was not written by init: .claude/agents/python-specialist.md" in found.stderr
    assert path.read_text() == "mine\n"
    cco("init", "--remove")
    assert path.read_text() == "mine\n"


def test_from_within(repository: Path, cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the root, the root is meant."""
    (repository / "src").mkdir()
    monkeypatch.chdir(repository / "src")
    cco("init")
    assert (repository / ".mcp.json").is_file()


def test_the_url_stays_while_no_sidecar_runs(repository: Path, cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found before is not replaced by a guess."""
    cco("init")
    monkeypatch.delenv("CCO_SIDECAR_URL")
    monkeypatch.setenv("CCO_SIDECAR_PORT", "1")
    found = cco("init", "--check")
    assert found.exit_code == 0
    assert f"No sidecar runs; {URL} is written" in found.stderr


def edit_hook(repository: Path) -> str:
    settings = json.loads((repository / ".claude/settings.json").read_text())
    (command,) = commands(settings, "PreToolUse")
    return command


def test_what_becomes_of_an_edit_in_doubt(repository: Path, cco: "Cco") -> None:
    """What was chosen stays until something else is, also to --check; only the hook of edits is another one."""
    assert cco("init").exit_code == 0
    as_it_was = content(repository)
    assert cco("init", "--check", "--on-failure", "deny").exit_code == 1
    assert "+" in cco("init", "--diff", "--on-failure", "deny").stdout
    assert content(repository) == as_it_was
    assert cco("init", "--on-failure", "deny").exit_code == 0
    assert edit_hook(repository).endswith(f" hook pre-tool-use --sidecar-url {URL} --on-failure deny || exit 2")
    text = (repository / ".claude/settings.json").read_text()
    assert text.count("deny") == 1
    assert cco("init", "--check").exit_code == 0
    assert cco("init").exit_code == 0
    assert "--on-failure deny" in edit_hook(repository)
    assert cco("init", "--check", "--on-failure", "allow").exit_code == 1
    assert cco("init", "--on-failure", "allow").exit_code == 0
    assert content(repository) == as_it_was
    assert cco("init", "--on-failure", "deny").exit_code == 0
    assert cco("init", "--remove").exit_code == 0
    assert content(repository) == {}
    assert cco("init", "--remove", "--on-failure", "deny").exit_code == 2
    assert cco("init", "--on-failure", "perhaps").exit_code == 2


@pytest.mark.parametrize("policy", ["allow", "deny"])
def test_the_hooks_work_as_they_are_written(
    repository: Path, cco: "Cco", sidecar: "ScriptedSidecar", tmp_path: Path, policy: str
) -> None:
    """Each is run by a shell as Claude Code does it, without a sidecar, with one, and for a spawned agent."""
    nobody, url = "http://127.0.0.1:9", sidecar.url
    sidecar.on("POST", "/api/tokens", {"token": "mine"}, 201)
    sidecar.on("POST", "/api/hooks/claude", {"x": 1})
    assert cco("init", "--sidecar-url", nobody, "--on-failure", policy).exit_code == 0
    settings = json.loads((repository / ".claude/settings.json").read_text())
    (tmp_path / "cco").write_text(f'#!/bin/sh\nexec {sys.executable} -m cco_sidecar "$@"\n')
    (tmp_path / "cco").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"}

    def run(event: str, command: str, **more: str) -> tuple[int, str]:
        said = json.dumps({"hook_event_name": event, "session_id": f"s-{event}"})
        shell = ["/bin/sh", "-c", command]
        done = subprocess.run(shell, input=said, env={**environ, **more}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    for event in settings["hooks"]:
        (command,) = commands(settings, event)
        is_denied = policy == "deny" and event == "PreToolUse"
        code, output = run(event, command)
        assert (code, "deny" in output) == ((0, True) if is_denied else (1, False)), event
        assert run(event, command.replace(nobody, url)) == (0, '{"x": 1}\n'), event
        assert run(event, command, AGENT_ID="a-1") == (0, ""), event
        assert run(event, command, PATH="/nowhere")[0] == (2 if is_denied else 1), event
