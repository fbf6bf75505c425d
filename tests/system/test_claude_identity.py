"""Programs of two `claude`, all started at the same moment: two agents, each with one token."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.cli.conftest import Asked, Reply, ScriptedSidecar

ROOT = Path(__file__).resolve().parents[2]
HOOKS = 4

# Passes for a claude: what it starts has a session in its environment that it does not have itself. It ends when all
# have ended.
CLAUDE = """
import json, os, subprocess, sys
session, hooks = sys.argv[1], int(sys.argv[2])
environ = {**os.environ, "CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": session}
def start(*words):
    command = [sys.executable, "-m", "cco_sidecar", *words]
    return subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
hook = json.dumps({"hook_event_name": "Stop", "session_id": session}).encode()
ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode() + b"\\n"
said = [(start("mcp"), ping)] + [(start("hook", "stop"), hook) for _ in range(hooks)]
sys.stdin.readline()
for process, text in said:
    process.stdin.write(text)
    process.stdin.close()
sys.exit(max(process.wait() for process, _ in said))
"""


class SlowSidecar(ScriptedSidecar):
    """Takes its time to give a token, so that the others want one, too, meanwhile."""

    def reply_to(self, asked: Asked) -> Reply:
        """Answer."""
        self.asked.append(asked)
        if asked.path == "/api/tokens":
            time.sleep(0.3)
            return Reply(201, {"token": f"token-{len(self.asked)}-of-{asked.body['agent_id']}"}, {})
        return Reply(200, {"jsonrpc": "2.0", "id": 1, "result": {}} if asked.path == "/api/mcp" else {}, {})


def test_a_race(tmp_path: Path) -> None:
    """Whoever comes first asks, and the others wait for what it gets."""
    sidecar = SlowSidecar()
    (tmp_path / "admin-token").write_text("the-admin-token")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CCO_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environ["CCO_SIDECAR_URL"] = sidecar.url
    claudes = [
        subprocess.Popen([sys.executable, "-c", CLAUDE, name, str(HOOKS)], env=environ, stdin=subprocess.PIPE)
        for name in ("s-1", "s-2")
    ]
    try:
        for claude in claudes:
            claude.communicate(b"go\n", timeout=60)
        assert [claude.returncode for claude in claudes] == [0, 0]
        tokens = [one.body["agent_id"] for one in sidecar.asked if one.path == "/api/tokens"]
        assert len(tokens) == len(set(tokens)) == 2
        shown = Counter(one.headers["authorization"] for one in sidecar.asked if one.path != "/api/tokens")
        assert sorted(shown.values()) == [HOOKS + 1, HOOKS + 1]
        assert {name.partition("-of-")[2] for name in shown} == set(tokens)
        sessions = json.loads((tmp_path / "run/persons/sessions.json").read_text())
        assert {session["agent_id"] for session in sessions.values()} == set(tokens)
    finally:
        for claude in claudes:
            claude.kill()
            claude.wait()
        sidecar.close()
