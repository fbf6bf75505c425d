"""``cco budget``: what it sends, what it prints, how it ends."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

BUDGET = {
    "kind": "issue", "id": "i", "project_id": "p", "state": "warned", "fraction": 0.8512, "nearest": "usd",
    "limits": {"tokens": None, "usd": 5.0, "seconds": 3600},
    "spent": {"tokens": 1234567, "usd": 4.256, "usd_estimated": 0.5, "seconds": 60.5},
    "since": None, "set_at": "now", "warned_at": "now", "exhausted_at": None,
}  # fmt: skip
LINE = "issue,i,warned,85%,1234567,4.256 of 5,60.5 of 3600,"


def test_set(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What is given is sent, and nothing else; without a limit it is no budget."""
    sidecar.on("PUT", "/api/budgets/issue/i", BUDGET)
    assert json.loads(cco("budget", "set", "issue", "i", "--usd", "5").stdout) == BUDGET
    assert sidecar.asked[-1].body == {"usd": 5.0}
    assert sidecar.asked[-1].query == {}
    words = ("--tokens", "7", "--seconds", "60", "--reset", "--project", "p", "--format", "csv")
    assert cco("budget", "set", "issue", "i", *words).stdout.splitlines()[1] == LINE
    assert sidecar.asked[-1].body == {"tokens": 7, "seconds": 60, "reset": True}
    assert sidecar.asked[-1].query == {"project": "p"}
    for wrong in ([], ["--reset"], ["--usd", "0"], ["--tokens", "0"], ["--seconds", "x"]):
        assert cco("budget", "set", "issue", "i", *wrong).exit_code == 2
    assert cco("budget", "set", "agent", "i", "--tokens", "1").exit_code == 2


def test_list_show_remove(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Each in a line: how much of how much."""
    sidecar.on("GET", "/api/budgets", {"budgets": [BUDGET, BUDGET]})
    sidecar.on("GET", "/api/budgets/issue/i", BUDGET)
    sidecar.on("DELETE", "/api/budgets/issue/i", {"kind": "issue", "id": "i", "removed": True})
    head, *lines = cco("budget", "list", "--format", "csv").stdout.splitlines()
    assert head == "kind,id,state,fraction,tokens,usd,seconds,since"
    assert lines == [LINE, LINE]
    assert cco("budget", "show", "issue", "i", "--format", "csv").stdout.splitlines() == [head, LINE]
    assert json.loads(cco("budget", "remove", "issue", "i", "--project", "p").stdout)["removed"] is True
    assert sidecar.asked[-1].query == {"project": "p"}
