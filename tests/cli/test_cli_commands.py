"""Each command that asks the sidecar: what it sends, what it prints, how it ends."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Asked, Cco, ScriptedSidecar

CONTEXT: dict[str, Any] = {
    "issue_id": "issue-123",
    "agent_type": "python-specialist",
    "context": {
        "relevant_files": [{"path": "a.py", "size": 3, "reason": "named in the task", "truncated": False, "tokens": 1}],
        "git_context": {"branch": "main"},
    },
    "file_count": 1,
    "total_size_bytes": 99,
    "truncated": False,
    "cache_hit": True,
}


def last(sidecar: "ScriptedSidecar") -> "Asked":
    """Give the last request, which must have shown the token."""
    asked = sidecar.asked[-1]
    assert asked.headers["authorization"] == "Bearer the-admin-token"
    return asked


def test_spawn_of_the_faq(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The FAQ's spawn sends what was given and nothing else."""
    sidecar.on("POST", "/api/agents/spawn", {"agent_id": "a-1", "status": "running"}, 201)
    found = cco("agent", "spawn", "--type", "python-specialist", "--issue", "issue-123")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["agent_id"] == "a-1"
    assert last(sidecar).body == {"agent_type": "python-specialist", "issue_id": "issue-123"}


def test_spawn_with_everything(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Every option of spawn reaches the sidecar."""
    sidecar.on("POST", "/api/agents/spawn", {"agent_id": "a-1", "queued": True}, 202)
    options = "--task do --priority high --env A=1 --env B=x=y --runner demo --timeout 9 --project web"
    found = cco("agent", "spawn", "--type", "t", "--issue", "i", *options.split(), "--idempotency-key", "k")
    assert found.exit_code == 0
    asked = last(sidecar)
    assert asked.headers["idempotency-key"] == "k"
    assert asked.query == {"project": "web"}
    assert asked.body == {
        "agent_type": "t",
        "issue_id": "i",
        "task": "do",
        "priority": "high",
        "runner": "demo",
        "timeout_seconds": 9,
        "project_id": "web",
        "environment": {"A": "1", "B": "x=y"},
    }


@pytest.mark.parametrize(
    "wrong",
    [["--env", "A"], ["--env", "=x"], ["--timeout", "0"], ["--idempotency-key", "a\nb"], ["--nonsense"], ["word"]],
)
def test_spawn_usage(sidecar: "ScriptedSidecar", cco: "Cco", wrong: list[str]) -> None:
    """Wrong usage is refused before anything is sent."""
    assert cco("agent", "spawn", "--type", "t", "--issue", "i", *wrong).exit_code == 2
    assert cco("agent", "spawn", "--type", "t").exit_code == 2
    assert sidecar.asked == []


def test_agent_list_filters(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Filters are passed on under the names of the contract."""
    sidecar.on("GET", "/api/agents", {"agents": []})
    cco("agent", "list", "--status", "running", "--type", "t", "--issue", "i", "--limit", "3")
    assert last(sidecar).query == {"status": "running", "type": "t", "issue": "i", "limit": "3"}


def test_agent_show(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """An agent is shown as the sidecar gives it."""
    sidecar.on("GET", "/api/agents/a-1", {"agent_id": "a-1"})
    assert json.loads(cco("agent", "show", "a-1").stdout) == {"agent_id": "a-1"}
    assert cco("agent", "show", "a-2").exit_code == 1


def test_agent_logs(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is passed on as it is into a pipe, and made harmless for a terminal."""
    sidecar.on("GET", "/api/agents/a-1/logs", "\x1b[1mgrün\r\n".encode() + b"\xff\n")
    assert cco("agent", "logs", "a-1").stdout_bytes.decode() == "\x1b[1mgrün\r\n\ufffd\n"
    assert last(sidecar).query == {}
    monkeypatch.setattr("cco_sidecar.cli.agent.is_terminal", lambda: True)
    assert cco("agent", "logs", "a-1", "-f", "--tail", "5").stdout == "\\u001b[1mgrün\n\ufffd\n"
    assert last(sidecar).query == {"follow": "true", "tail": "5"}
    assert cco("agent", "logs", "none").exit_code == 1


def test_agent_kill(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The FAQ's two ways to end an agent."""
    sidecar.on("DELETE", "/api/agents/a-1", {"agent_id": "a-1", "status": "killed"})
    assert cco("agent", "kill", "a-1").exit_code == 0
    assert last(sidecar).query == {}
    assert cco("agent", "kill", "a-1", "--force").exit_code == 0
    assert last(sidecar).query == {"force": "true"}
    assert cco("agent", "kill", "a-1", "--timeout", "3").exit_code == 0
    assert last(sidecar).query == {"timeout_seconds": "3"}


def test_context_get(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A pipe gets the whole context, a terminal its files."""
    sidecar.on("GET", "/api/context/issue-123/python-specialist", CONTEXT)
    assert json.loads(cco("context", "get", "issue-123", "python-specialist", "--task", "x").stdout) == CONTEXT
    assert last(sidecar).query == {"task": "x"}
    found = cco("context", "get", "issue-123", "python-specialist", "--format", "table")
    assert "a.py" in found.stdout
    assert "1 files, 99 bytes on branch main" in found.stderr


def test_context_to_file(sidecar: "ScriptedSidecar", cco: "Cco", tmp_path: Path) -> None:
    """--output writes JSON, its owner's alone, and keeps stdout empty."""
    sidecar.on("GET", "/api/context/issue-123/python-specialist", CONTEXT)
    file = tmp_path / "context.json"
    found = cco("context", "get", "issue-123", "python-specialist", "--output", str(file))
    assert (found.exit_code, found.stdout) == (0, "")
    assert json.loads(file.read_text()) == CONTEXT
    assert file.stat().st_mode & 0o777 == 0o600
    missing = tmp_path / "missing" / "context.json"
    assert cco("context", "get", "issue-123", "python-specialist", "--output", str(missing)).exit_code == 1


@pytest.mark.parametrize("form", ["markdown", "text"])
def test_context_as_markdown(form: str, sidecar: "ScriptedSidecar", cco: "Cco", tmp_path: Path) -> None:
    """Prose is the sidecar's own document, as it is, on stdout or in a file."""
    document = "# Context of t on i\n\n```text\n\u00e9\n```\n"
    sidecar.on("GET", "/api/context/i/t", document.encode(), Content_Type="text/markdown; charset=utf-8")
    asked = ("context", "get", "i", "t", "--format", form, "--budget-tokens", "8000", "--task", "x")
    assert cco(*asked).stdout == document
    assert last(sidecar).query == {"format": "markdown", "budget_tokens": "8000", "task": "x"}
    found = cco(*asked, "--output", str(tmp_path / "c.md"))
    assert (found.exit_code, found.stdout) == (0, "")
    assert (tmp_path / "c.md").read_text() == document


def test_context_budgets(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Bytes bound every form, tokens a document alone; no other command is printed as Markdown."""
    sidecar.on("GET", "/api/context/i/t", CONTEXT)
    assert cco("context", "get", "i", "t", "--budget-bytes", "9000").exit_code == 0
    assert last(sidecar).query == {"budget_bytes": "9000"}
    found = cco("context", "get", "i", "t", "--budget-tokens", "9000")
    assert found.exit_code == 2
    assert "--format markdown" in found.stderr
    assert cco("context", "explain", "i", "t", "--format", "markdown").exit_code == 2
    sidecar.on("GET", "/api/context/i/bad", b"\xff")
    assert cco("context", "get", "i", "bad", "--format", "markdown").exit_code == 1


FATES = {
    "files": [
        {"path": "a.py", "included": True, "truncated": True, "rank": 1, "reason": "named in the task", "score": 0.45,
         "signals": {"path": 0.45}, "size": 9, "tokens": 3, "cut": "over the budget", "rule": None},
        {"path": "build/", "included": False, "truncated": False, "rank": None, "reason": "", "score": None,
         "signals": {}, "size": None, "tokens": None, "cut": "ignored", "rule": ".gitignore:1 build/"},
    ],
    "listed": 2, "matching": 7, "totals": {"included": 1, "truncated": 1, "left_out": 6},
}  # fmt: skip


def test_context_explain(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A table has a line a file: in, cut or out, and why; what is counted goes to stderr; JSON is all of it."""
    sidecar.on("GET", "/api/context/i/t/explain", FATES)
    found = cco("context", "explain", "i", "t", "--format", "table")
    lines = [line.split() for line in found.stdout.splitlines()]
    assert lines[0] == ["RANK", "VERDICT", "PATH", "SCORE", "SIZE", "TOKENS", "REASON", "CUT", "RULE"]
    assert lines[1][:5] == ["1", "cut", "a.py", "0.45", "9"]
    assert lines[2] == ["out", "build/", "ignored", ".gitignore:1", "build/"]
    assert "2 of 7 files shown. In all: 1 in, of these 1 cut, 6 out" in found.stderr
    asked = ("--path", "src/**", "--limit", "5", "--budget-bytes", "9000", "--task", "x", "--project", "web")
    assert json.loads(cco("context", "explain", "i", "t", *asked).stdout) == FATES
    assert last(sidecar).query == {
        "path": "src/**", "limit": "5", "budget_bytes": "9000", "task": "x", "project": "web",
    }  # fmt: skip
    assert (
        cco("context", "explain", "i", "t", "--format", "csv").stdout.splitlines()[1].startswith("1,cut,a.py,0.45,9,3,")
    )


def test_issue_text(sidecar: "ScriptedSidecar", cco: "Cco", tmp_path: Path) -> None:
    """An issue is described by title and body, from the line, a file or stdin, and shown as prose."""
    told = {"issue_id": "i", "title": "Fix it", "body": "soon"}
    sidecar.on("POST", "/api/issues/i", told)
    sidecar.on("GET", "/api/issues/i", told)
    assert cco("issue", "describe", "i", "--title", "Fix it").exit_code == 0
    assert last(sidecar).body == {"title": "Fix it"}
    assert cco("issue", "describe", "i", "--title", "T", "--body", "soon", "--project", "web").exit_code == 0
    assert (last(sidecar).body, last(sidecar).query) == ({"title": "T", "body": "soon"}, {"project": "web"})
    (tmp_path / "issue.md").write_text("from a file\n")
    assert cco("issue", "describe", "i", "--title", "T", "--input", str(tmp_path / "issue.md")).exit_code == 0
    assert last(sidecar).body == {"title": "T", "body": "from a file\n"}
    assert cco("issue", "describe", "i", "--title", "T", "--input", "-", text="piped").exit_code == 0
    assert last(sidecar).body == {"title": "T", "body": "piped"}
    assert cco("issue", "describe", "i", "--title", "T", "--body", "x", "--input", "-").exit_code == 2
    assert cco("issue", "describe", "i").exit_code == 2
    assert cco("issue", "show", "i", "--format", "text").stdout == "Fix it\n\nsoon\n"
    assert json.loads(cco("issue", "show", "i").stdout) == told


def test_context_refresh_of_the_faq(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """All agent types of the issue are gathered anew, each once."""
    agents = [{"issue_id": "issue-123", "agent_type": it} for it in ("tester", "writer", "tester")]
    sidecar.on("GET", "/api/agents", {"agents": agents})
    sidecar.on("DELETE", "/api/cache/context/issue-123", {"cleared": True})
    sidecar.on("GET", "/api/context/issue-123/tester", CONTEXT)
    sidecar.on("GET", "/api/context/issue-123/writer", CONTEXT)
    found = cco("context", "refresh", "--issue", "issue-123", "--force")
    assert found.exit_code == 0
    assert [it["agent_type"] for it in json.loads(found.stdout)["refreshed"]] == ["tester", "writer"]
    assert [(it.method, it.path, it.query.get("refresh")) for it in sidecar.asked] == [
        ("DELETE", "/api/cache/context/issue-123", None),
        ("GET", "/api/agents", None),
        ("GET", "/api/context/issue-123/tester", "true"),
        ("GET", "/api/context/issue-123/writer", "true"),
    ]


def test_context_refresh_of_one(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """One context is refreshed without looking for agents; without --force nothing is thrown away."""
    sidecar.on("GET", "/api/context/i/t", CONTEXT)
    assert cco("context", "refresh", "--issue", "i", "--agent-type", "t").exit_code == 0
    assert [(it.method, it.path, it.query) for it in sidecar.asked] == [("GET", "/api/context/i/t", {})]


def test_context_refresh_of_none(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Where no agent was yet, there is nothing to do, and no failure."""
    sidecar.on("GET", "/api/agents", {"agents": []})
    found = cco("context", "refresh", "--issue", "i")
    assert (found.exit_code, json.loads(found.stdout)) == (0, {"cleared": None, "refreshed": []})


def test_context_clear(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Contexts are cleared by issue, by type or all; what is meant must be said."""
    sidecar.on("DELETE", "/api/cache/context/issue-123", {"cleared": True})
    sidecar.on("DELETE", "/api/cache/all", {"cleared": True})
    assert cco("context", "clear", "--issue", "issue-123").exit_code == 0
    assert last(sidecar).path == "/api/cache/context/issue-123"
    assert cco("context", "clear", "--all").exit_code == 0
    assert (last(sidecar).path, last(sidecar).query) == ("/api/cache/all", {})
    assert cco("context", "clear", "--agent-type", "t").exit_code == 0
    assert last(sidecar).query == {"agent_type": "t"}
    assert cco("context", "clear").exit_code == 2
    assert cco("context", "clear", "--all", "--issue", "i").exit_code == 2


def test_results_store(sidecar: "ScriptedSidecar", cco: "Cco", tmp_path: Path) -> None:
    """The admin says for whom a result is; JSON comes from a file, from stdin or from the line."""
    sidecar.on("POST", "/api/results", {"id": "r-1", "stored": True}, 201)
    file = tmp_path / "result.json"
    file.write_text('{"status": "partial", "x": "ü"}')
    who = ["--issue", "i", "--type", "t"]
    assert cco("results", "store", *who, "--input", str(file), "--project", "web").exit_code == 0
    assert last(sidecar).body == {
        "agent_id": "admin",
        "agent_type": "t",
        "issue_id": "i",
        "project_id": "web",
        "result": {"status": "partial", "x": "ü"},
    }
    assert cco("results", "store", *who, "--status", "success", text='{"n": 1}').exit_code == 0
    assert last(sidecar).body["result"] == {"n": 1, "status": "success"}
    assert cco("results", "store", *who, "--data", '{"status": "failed"}', "--agent-id", "a").exit_code == 0
    assert last(sidecar).body["agent_id"] == "a"


def test_results_store_by_an_agent(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawned agent need not say who it is."""
    sidecar.on("POST", "/api/results", {"id": "r-1"}, 201)
    for name, value in {"AGENT_ID": "a", "AGENT_TYPE": "t", "ISSUE_ID": "i", "PROJECT_ID": "p"}.items():
        monkeypatch.setenv(name, value)
    assert cco("results", "store", "--input", "-", text='{"status": "success"}').exit_code == 0
    names = {"agent_id": "a", "agent_type": "t", "issue_id": "i", "project_id": "p"}
    assert last(sidecar).body == {**names, "result": {"status": "success"}}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--type", "t"], "{}"),
        (["--issue", "i"], "{}"),
        (["--issue", "i", "--type", "t"], "[]"),
        (["--issue", "i", "--type", "t"], "{"),
        (["--issue", "i", "--type", "t"], '{"x": NaN}'),
        (["--issue", "i", "--type", "t", "--input", "missing.json"], ""),
        (["--issue", "i", "--type", "t", "--input", "-", "--data", "{}"], ""),
    ],
)
def test_results_store_usage(sidecar: "ScriptedSidecar", cco: "Cco", arguments: list[str], text: str) -> None:
    """What cannot be a result is wrong usage."""
    assert cco("results", "store", *arguments, text=text).exit_code == 2
    assert sidecar.asked == []


def test_results_list(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Results are listed; damaged ones are told of beside."""
    listing = {"results": [{"id": "r-1", "status": "success"}], "next_cursor": None, "damaged": ["p/i/x.json"]}
    sidecar.on("GET", "/api/results", listing)
    found = cco("results", "list", "--issue", "issue-123", "--type", "t", "--limit", "2")
    assert json.loads(found.stdout) == listing
    assert "p/i/x.json" in found.stderr
    assert last(sidecar).query == {"issue": "issue-123", "agent_type": "t", "limit": "2"}


def test_results_get(sidecar: "ScriptedSidecar", cco: "Cco", tmp_path: Path) -> None:
    """A result is found by its id, or by issue and type."""
    sidecar.on("GET", "/api/results/id/r-1", {"id": "r-1"})
    sidecar.on("GET", "/api/results/i/t", {"id": "r-2"})
    assert json.loads(cco("results", "get", "r-1").stdout) == {"id": "r-1"}
    assert json.loads(cco("results", "get", "i", "t").stdout) == {"id": "r-2"}
    assert json.loads(cco("results", "get", "--issue", "i", "--type", "t").stdout) == {"id": "r-2"}
    assert cco("results", "get", "i", "t", "--output", str(tmp_path / "r.json")).stdout == ""
    assert json.loads((tmp_path / "r.json").read_text()) == {"id": "r-2"}
    for wrong in ([], ["a", "b", "c"], ["a", "--issue", "i"], ["--issue", "i"], [""]):
        assert cco("results", "get", *wrong).exit_code == 2


def test_results_prune(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """An age is a number with its unit."""
    sidecar.on("DELETE", "/api/results", {"removed": 3})
    assert cco("results", "prune", "--older-than", "30d").exit_code == 0
    assert last(sidecar).query == {"older_than_seconds": str(30 * 86400)}
    for wrong in ("30", "d", "-1d", "1y", "1.5h"):
        assert cco("results", "prune", "--older-than", wrong).exit_code == 2


def test_health(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Health is data also when it is bad; then the exit code says so."""
    sidecar.on("GET", "/health", {"status": "degraded", "checks": {"storage": "ok"}})
    sidecar.on("GET", "/health", {"status": "unhealthy"}, 503)
    assert cco("health").exit_code == 0
    found = cco("health")
    assert (found.exit_code, json.loads(found.stdout)) == (1, {"status": "unhealthy"})


def test_status(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The status is printed as it is."""
    sidecar.on("GET", "/status", {"agents": {"active": 2}})
    assert json.loads(cco("status").stdout) == {"agents": {"active": 2}}
    assert cco("status", "--format", "table").stdout.split() == ["agents.active", "2"]


def test_status_watch(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """Watching into a pipe gives a line of JSON each time, until Ctrl-C."""
    sidecar.on("GET", "/status", {"n": 1})
    sidecar.on("GET", "/status", {"n": 2})
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("cco_sidecar.cli.health.time.sleep", sleep)
    found = cco("status", "--watch", "--interval", "0.5")
    assert found.exit_code == 130
    assert [json.loads(line) for line in found.stdout.splitlines()] == [{"n": 1}, {"n": 2}]
    assert pauses == [0.5, 0.5]


def test_token(sidecar: "ScriptedSidecar", cco: "Cco", home: Path) -> None:
    """The admin token is printed alone, without asking the sidecar."""
    assert cco("token").stdout == "the-admin-token\n"
    assert sidecar.asked == []
    (home / "admin-token").unlink()
    found = cco("token")
    assert found.exit_code == 3
    assert "cco daemon start" in found.stderr


def test_token_issue(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A token is asked for, and printed alone as text."""
    sidecar.on("POST", "/api/tokens", {"token": "ey.1", "agent_id": "a", "expires_at": "later"}, 201)
    arguments = ["token", "issue", "--type", "t", "--issue", "i"]
    assert json.loads(cco(*arguments).stdout)["token"] == "ey.1"
    assert last(sidecar).body == {"agent_type": "t", "issue_id": "i"}
    options = ["--agent-id", "a", "--ttl", "60", "--permissions", "read_context, publish_events", "--project", "web"]
    assert cco(*arguments, *options, "--permissions", "x", "--format", "text").stdout == "ey.1\n"
    assert last(sidecar).body == {
        "agent_type": "t",
        "issue_id": "i",
        "agent_id": "a",
        "ttl_seconds": 60,
        "project_id": "web",
        "permissions": ["read_context", "publish_events", "x"],
    }
