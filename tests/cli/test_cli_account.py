"""``cco account``: what it sends, what it prints."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

PARKED = {
    "account": "login-1", "state": "open", "running": 0, "waiting": 2, "parked": 2,
    "failure": "login", "reason": "run /login",
    "since": "2026-11-22T08:59:02.163Z", "until": "2026-11-22T09:09:02.163Z", "tries": 1, "probe": None,
    "what_to_do": "log in again (claude, then /login), then: cco account resume login-1",
}  # fmt: skip


def test_list(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Each account with what is to be done about it."""
    sidecar.on("GET", "/api/accounts", {"accounts": [PARKED]})
    assert json.loads(cco("account", "list").stdout)["accounts"] == [PARKED]
    lines = cco("account", "list", "--format", "csv").stdout.splitlines()
    assert lines[0] == "account,state,failure,until,probe,running,waiting,parked,what_to_do"
    assert lines[1].startswith("login-1,open,login,2026-11-22T09:09:02.163Z,,0,2,2,")
    assert "cco account resume login-1" in lines[1]


def test_resume(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """It is tried now; of one that nobody knows the sidecar says so."""
    sidecar.on("POST", "/api/accounts/login-1/resume", {**PARKED, "state": "half_open", "probe": "agent-1"})
    assert json.loads(cco("account", "resume", "login-1").stdout)["probe"] == "agent-1"
    sidecar.refuse("POST", "/api/accounts/login-2/resume", 404, "NOT_FOUND", "There is no account 'login-2'.")
    found = cco("account", "resume", "login-2")
    assert found.exit_code == 1
    assert "no account 'login-2'" in found.stderr
