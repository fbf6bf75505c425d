"""The real `claude`, from npm, run as a stranger: an empty environment, a home of its own, a key that opens nothing.

`.ci/run` installs it with `tests/claude/install`, outside of the repository; where it is absent they are skipped.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from tests.claude.scripted_api import ScriptedApi

PATIENCE_SECONDS = 90.0
DUMMY_KEY = "sk-ant-none-of-anybody"


def find_claude() -> Path | None:
    """Give the program that `tests/claude/install` put there; never one of the person at this machine."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    program = Path(cache, "cco-sidecar", "claude", "node_modules", ".bin", "claude")
    return program if program.exists() else None


CLAUDE = find_claude()
needs_claude = pytest.mark.skipif(CLAUDE is None, reason="no claude: run tests/claude/install (npm, 235 MB)")


@define(eq=False)
class RealClaude:
    """A home, and how `claude` is run from it against a scripted model.

    :param more: variables beyond those that it always gets.
    """

    home: Path
    api: ScriptedApi
    more: dict[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """All variables that it gets."""
        return {
            "PATH": os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": self.api.url,
            "ANTHROPIC_API_KEY": DUMMY_KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "ENABLE_TOOL_SEARCH": "false",
            **self.more,
        }

    def trust(self, directory: Path) -> None:
        """Say yes, as a person does when `claude` asks whether a folder is to be trusted."""
        path = self.home / ".claude.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        known.setdefault("projects", {}).setdefault(str(directory.resolve()), {})["hasTrustDialogAccepted"] = True
        path.write_text(json.dumps(known))

    def run(
        self, directory: Path, *arguments: str, seconds: float = PATIENCE_SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        assert CLAUDE is not None
        return subprocess.run(
            [str(CLAUDE), *arguments],
            cwd=directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def ask(self, directory: Path, prompt: str, *options: str) -> list[dict[str, Any]]:
        """Give what ``claude -p`` says as a stream, line by line."""
        done = self.run(directory, "-p", prompt, "--output-format", "stream-json", "--verbose", *options)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done
        return lines


def result_of(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Give the last word of a stream."""
    assert lines[-1]["type"] == "result", lines[-1]
    return lines[-1]
