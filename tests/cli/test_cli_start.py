"""How `cco` starts and ends: fast, and with the right exit codes."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cco_sidecar import __version__

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

HEAVY = {"twisted", "klein", "treq", "rich", "cryptography", "msgspec", "attr", "http.client", "yaml", "asyncio", "ssl"}

PROBE = """
import sys
sys.argv = ["cco", *sys.argv[1:]]
from cco_sidecar.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
else:
    code = 0
print(repr((code, sorted(sys.modules))), file=sys.stderr)
"""


def probed(*arguments: str) -> tuple[int, set[str], str]:
    """Run `cco` in a process of its own; give its exit code, what it imported, and its stdout."""
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True)
    code, modules = ast.literal_eval(done.stderr.splitlines()[-1])
    return code, set(modules), done.stdout


@pytest.mark.parametrize("arguments", [["--version"], ["orchestration-server", "--version"]])
def test_version_imports_nothing(home: Path, arguments: list[str]) -> None:
    """``cco --version`` does not even need click."""
    code, modules, output = probed(*arguments)
    assert (code, output) == (0, f"cco {__version__}\n")
    assert not modules & (HEAVY | {"click", "json", "socket"})


def test_one_shot_is_light(sidecar: "ScriptedSidecar") -> None:
    """A command that asks the sidecar imports nothing heavy."""
    sidecar.on("GET", "/api/agents", {"agents": []})
    code, modules, output = probed("agent", "list")
    assert (code, json.loads(output)) == (0, {"agents": []})
    assert "click" in modules
    assert not modules & HEAVY
    assert "cco_sidecar.cli.events" not in modules


def test_help_imports_no_command(home: Path) -> None:
    """The list of commands is known without importing them."""
    code, modules, output = probed("--help")
    assert code == 0
    assert "cco daemon start" in output
    assert "orchestration-server" in output
    assert not modules & (HEAVY | {"cco_sidecar.cli.agent", "cco_sidecar.cli.daemon"})


def test_every_listed_command_exists(cco: "Cco") -> None:
    """Each command of the list has a help text of its own, and the same global options."""
    from cco_sidecar.cli.root import cli

    for name in cli.list_commands(None):  # type: ignore[arg-type]  # it asks no context
        found = cco(name, "--help")
        assert found.exit_code == 0
        assert "--sidecar-url" in found.stdout


def test_version_of_the_server(cco: "Cco") -> None:
    """The FAQ's way to verify an installation works."""
    assert cco("orchestration-server", "--version").stdout == f"cco {__version__}\n"
    assert cco("--version").stdout == f"cco {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["agnet"], "'agent'"), (["agent", "lst"], "'list'"), (["--frmat", "json"], "--format"), (["xyzzy"], "xyzzy")],
)
def test_wrong_words(cco: "Cco", arguments: list[str], hint: str) -> None:
    """A wrong word is wrong usage, and the message has the right one."""
    found = cco(*arguments)
    assert found.exit_code == 2
    assert hint in found.stderr
    assert found.stdout == ""


def test_interrupted(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130 and without a traceback."""
    from cco_sidecar.cli.sidecar import Sidecar

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sidecar, "call", interrupt)
    found = cco("agent", "list")
    assert found.exit_code == 130
    assert found.stderr.strip() == ""


def test_reader_has_gone(sidecar: "ScriptedSidecar", monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed pipe is silent."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it, Python itself drops what a pipe did not take
    sidecar.on("GET", "/api/agents", {"agents": [{"agent_id": "x" * 1000}] * 1000})
    command = [sys.executable, "-m", "cco_sidecar", "agent", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(1)
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1


def test_completion(cco: "Cco") -> None:
    """Each shell gets a script that calls back."""
    for shell in ("bash", "zsh", "fish"):
        found = cco("completion", shell)
        assert found.exit_code == 0
        assert "_CCO_COMPLETE" in found.stdout
    assert cco("completion", "tcsh").exit_code == 2


def test_completion_answers(home: Path) -> None:
    """The script is told the commands and their options."""
    import os

    environ = {**os.environ, "_CCO_COMPLETE": "bash_complete", "COMP_WORDS": "cco even", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "cco_sidecar"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout == "plain,events\n"


def test_demo(cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """``cco demo`` ends as the demo ends."""
    import types

    module = types.ModuleType("cco_sidecar.demo.main")
    module.run = lambda keep: 7  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, "cco_sidecar.demo.main", module)
    assert cco("demo").exit_code == 7
