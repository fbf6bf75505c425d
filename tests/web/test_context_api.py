"""Context through the public door: what it has, when it is kept, how it travels (contract section 6)."""

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import zstandard

from tests.core.secret_samples import leaked, made
from tests.web.sidecar import Answer, Client, Sidecar

ANSWER = {
    "issue_id", "agent_type", "context", "truncated", "truncation_strategy", "omitted", "omitted_count",
    "total_size_bytes", "file_count", "timestamp", "cache_hit",
}  # fmt: skip
SECTIONS = {"project_structure", "relevant_files", "git_context", "previous_agent_outputs", "metadata"}


def git(root: Path, *words: str) -> None:
    names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *names, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture
def reader(start: Callable[..., Sidecar]) -> Callable[[], Client]:
    """Start a sidecar whose first project is a repository, with an agent in it; called in the test's thread."""

    def make() -> Client:
        sidecar = start()
        root = sidecar.settings.projects["alpha"]
        (root / "app.py").write_text("def app() -> int:\n    return 1\n" * 200)
        (root / "deploy.py").write_text("TARGET = 1\n")
        (root / ".env").write_text("PASSWORD=hunter2\n")
        (root / ".gitignore").write_text("ignored.py\n")
        (root / "ignored.py").write_text("IGNORED = 1\n")
        git(root, "init", "-q", "-b", "main")
        git(root, "add", ".gitignore", "main.py", "app.py", "deploy.py")
        git(root, "commit", "-q", "-m", "first")
        return sidecar.agent("python-specialist")

    return make


def path_of(agent: Client) -> str:
    return f"/api/context/{agent.issue_id}/python-specialist"


def context(agent: Client, *, headers: dict[str, str] | None = None, **query: Any) -> Answer:
    return agent.request("GET", path_of(agent), headers=headers, **query)


def without_moment(answer: Answer) -> Any:
    """Give an answer without what may differ for one state."""
    return {name: value for name, value in answer.ok().items() if name not in {"timestamp", "cache_hit"}}


def test_what_is_in_it(reader: Callable[[], Client]) -> None:
    """The answer has the contract's fields, and neither ignored files nor secrets."""
    agent = reader()
    answer = context(agent)
    body = answer.ok()
    assert set(body) == ANSWER
    assert set(body["context"]) >= SECTIONS
    paths = {file["path"] for file in body["context"]["relevant_files"]}
    assert {"app.py", "main.py", "deploy.py"} <= paths
    assert not {".env", "ignored.py"} & paths
    for secret in ("hunter2", "IGNORED"):
        assert secret not in answer.body.decode()
    assert body["context"]["git_context"]["branch"] == "main"
    assert (body["issue_id"], body["agent_type"]) == (agent.issue_id, "python-specialist")


def test_state_and_etag(reader: Callable[[], Client]) -> None:
    """For one state the answer is the same, kept, and named; a change makes another."""
    agent = reader()
    first, second = context(agent), context(agent)
    assert (first.ok()["cache_hit"], second.ok()["cache_hit"]) == (False, True)
    assert without_moment(first) == without_moment(second)
    assert first.headers["ETag"] == second.headers["ETag"]
    assert first.headers["Cache-Control"] == "private"
    root = agent.sidecar.settings.projects["alpha"]
    (root / "app.py").write_text("def other() -> int:\n    return 2\n")
    changed = context(agent)
    assert changed.headers["ETag"] != first.headers["ETag"]
    assert "def other" in changed.body.decode()
    git(root, "commit", "-q", "-am", "second words")
    assert "second words" in context(agent).body.decode()


def test_results_change_it(reader: Callable[[], Client]) -> None:
    """A result of the issue is in the next answer."""
    agent = reader()
    before = context(agent).headers["ETag"]
    body = {
        "agent_id": agent.agent_id,
        "agent_type": "python-specialist",
        "issue_id": agent.issue_id,
        "project_id": "alpha",
        "result": {"status": "success", "decisions": ["use-a-ring"], "files_modified": ["app.py"]},
    }
    agent.post("/api/results", body).ok(201)
    after = context(agent)
    assert after.headers["ETag"] != before
    [output] = after.ok()["context"]["previous_agent_outputs"]
    assert (output["decisions"], output["files_affected"]) == (["use-a-ring"], ["app.py"])


def test_a_result_made_by_hand_hides_no_other(reader: Callable[[], Client]) -> None:
    """A stored file whose result is no object is passed over; the agent still gets its context."""
    agent = reader()
    names = {"agent_id": agent.agent_id, "agent_type": "python-specialist", "issue_id": agent.issue_id}
    body = {**names, "project_id": "alpha", "result": {"status": "success", "decisions": ["kept"]}}
    stored = agent.post("/api/results", body).ok(201)
    odd = {**names, "project_id": "alpha", "id": "res-odd", "status": "success", "timestamp": "-", "result": 5}
    (Path(stored["storage_path"]).parent / "history" / "res-odd.json").write_text(json.dumps(odd))
    [output] = context(agent).ok()["context"]["previous_agent_outputs"]
    assert output["decisions"] == ["kept"]


def test_not_modified(reader: Callable[[], Client]) -> None:
    """Who has this state already is told so, in any encoding and form of the tag; who has another gets it whole."""
    agent = reader()
    tag = context(agent).headers["ETag"]
    zipped = context(agent, headers={"Accept-Encoding": "gzip"}).headers["ETag"]
    for given in (tag, zipped, f"W/{tag}", f'"other", {tag}', "*"):
        answer = context(agent, headers={"If-None-Match": given})
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"]
        assert answer.headers["Cache-Control"] == "private"
    for given in ('"other"', tag.strip('"')[:-1], ""):
        assert context(agent, headers={"If-None-Match": given}).status == 200


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (None, None),
        ("identity", None),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0", "gzip"),
        ("gzip;q=0", None),
        ("GZIP", "gzip"),
        ("br", None),
        ("*;q=0", None),
    ],
)
def test_encodings(accepted: str | None, encoding: str | None, reader: Callable[[], Client]) -> None:
    """The answer is encoded as the client can read it, and says so; the tag names the encoding, too."""
    agent = reader()
    plain = context(agent)
    answer = context(agent, headers={} if accepted is None else {"Accept-Encoding": accepted})
    assert answer.headers["Content-Encoding"] == encoding
    assert answer.headers["Vary"] == "Accept-Encoding"
    decode: dict[str | None, Callable[[bytes], bytes]] = {
        None: bytes,
        "gzip": gzip.decompress,
        "zstd": lambda text: zstandard.ZstdDecompressor().decompressobj().decompress(text),
    }
    body = json.loads(decode[encoding](answer.body))
    assert {name: body[name] for name in without_moment(plain)} == without_moment(plain)
    assert (answer.headers["ETag"] == plain.headers["ETag"]) is (encoding is None)


def test_budget(reader: Callable[[], Client]) -> None:
    """The whole answer stays within the budget, and says what it left out."""
    agent = reader()
    for budget in (4096, 6000, 20_000):
        answer = context(agent, budget_bytes=budget)
        assert len(answer.body) <= budget
        assert answer.ok()["total_size_bytes"] <= budget
    small = context(agent, budget_bytes=4096).ok()
    assert (small["truncated"], small["truncation_strategy"]) == (True, "smart")
    whole = context(agent).ok()
    assert (whole["truncated"], whole["truncation_strategy"]) == (False, "none")
    assert [left_out["path"] for left_out in whole["omitted"]] == [".env"]
    for wrong in ("4095", "10485761", "much"):
        context(agent, budget_bytes=wrong).refused(400, "VAL_001")


def test_clear(reader: Callable[[], Client]) -> None:
    """The admin clears an issue's contexts, a type's, or all, and is told how much went."""
    agent = reader()
    admin = agent.sidecar.admin
    other = agent.sidecar.agent("chief-architect", agent.issue_id)
    stranger = agent.sidecar.agent("python-specialist")
    architects = f"/api/context/{agent.issue_id}/chief-architect"

    def fill() -> None:
        context(agent)
        other.get(architects)
        context(stranger)

    fill()
    answer = admin.delete(f"/api/cache/context/{agent.issue_id}", agent_type="chief-architect").ok()
    assert set(answer) == {"cleared", "entries_removed", "bytes_freed", "timestamp"}
    assert (answer["cleared"], answer["entries_removed"]) == (True, 1)
    assert answer["bytes_freed"] > 1000
    assert (context(agent).ok()["cache_hit"], other.get(architects).ok()["cache_hit"]) == (True, False)
    assert admin.delete(f"/api/cache/context/{agent.issue_id}").ok()["entries_removed"] == 2
    assert context(stranger).ok()["cache_hit"]
    fill()
    assert admin.delete("/api/cache/all", project="beta").ok()["entries_removed"] == 0
    assert admin.delete("/api/cache/all").ok()["entries_removed"] == 3
    empty = admin.delete("/api/cache/all").ok()
    assert (empty["cleared"], empty["entries_removed"], empty["bytes_freed"]) == (True, 0, 0)
    assert not context(agent).ok()["cache_hit"]
    assert not context(agent, refresh="true").ok()["cache_hit"]


def test_no_repository(reader: Callable[[], Client]) -> None:
    """A project that is no repository works, without a git context."""
    agent = reader().sidecar.agent("python-specialist", project_id="beta")
    body = context(agent).ok()
    assert body["context"]["git_context"] is None
    assert [file["path"] for file in body["context"]["relevant_files"]] == ["main.py"]


def test_many_at_once(reader: Callable[[], Client]) -> None:
    """Many who ask the same at once get the same, and one who hangs up takes it from nobody."""
    agent = reader()
    gone = agent.sidecar.wire()
    gone.send(agent.raw("GET", path_of(agent)))
    asked = [agent.sidecar.later(context, agent) for _ in range(10)]
    gone.reset()
    answers = [future.result() for future in asked]
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert all(answer.status == 200 for answer in answers)


def test_secrets_in_text(reader: Callable[[], Client]) -> None:
    """A secret in a file, a diff, a commit, a branch or a result is replaced and counted; none is told in part."""
    agent = reader()
    keys = ["AK" + "IA" + name * 14 + "7Q" for name in "BCDEF"]
    keys = [key[:4] + "Z2X9W4V7"[place : place + 3] + key[7:13] + "H3K5M8P" for place, key in enumerate(keys)]
    in_file, in_diff, in_commit, in_branch, in_result = keys
    root = agent.sidecar.settings.projects["alpha"]
    (root / "deploy.py").write_text(f'KEY = "{in_file}"\n')
    git(root, "checkout", "-q", "-b", f"try-{in_branch}")
    git(root, "commit", "-q", "-am", "words " * 331 + f"key: {in_commit}")  # where messages are cut
    (root / "app.py").write_text(f'KEY = "{in_diff}"\n')
    body = {
        "agent_id": agent.agent_id,
        "agent_type": "python-specialist",
        "issue_id": agent.issue_id,
        "project_id": "alpha",
        "result": {"status": "success", "decisions": [{"why": f"use {in_result}"}], "files_modified": ["app.py"]},
    }
    agent.post("/api/results", body).ok(201)
    answer = context(agent)
    text = answer.body.decode()
    assert not [key for key in keys if key[:10] in text or key[-10:] in text]
    found = answer.ok()["context"]
    assert "[REDACTED:aws-access-key-id]" in text
    assert found["git_context"]["branch"] == "try-[REDACTED:aws-access-key-id]"
    assert found["previous_agent_outputs"][0]["decisions"] == [{"why": "use [REDACTED:aws-access-key-id]"}]
    # Two files, the diff of one, a commit, the branch and a decision.
    assert found["metadata"]["redactions"] == 6
    assert without_moment(context(agent, refresh="true")) == without_moment(answer)


def test_markdown(reader: Callable[[], Client]) -> None:
    """As Markdown it is a document of its own: named, kept, compressed and not modified like the JSON."""
    agent = reader()
    first, second = (context(agent, format="markdown", task="Fix app.py.") for _ in range(2))
    assert (first.status, first.headers["Content-Type"]) == (200, "text/markdown; charset=utf-8")
    assert (first.body, first.headers["ETag"]) == (second.body, second.headers["ETag"])
    assert first.headers["Cache-Control"] == "private"
    assert first.headers["ETag"] != context(agent, task="Fix app.py.").headers["ETag"]
    document = first.body.decode()
    assert document.startswith(f"# Context of python-specialist on {agent.issue_id}\n")
    for part in ("Fix app.py.", "### `app.py`", "named in the task", "- `.env` (17 bytes): secret by name"):
        assert part in document
    assert not {"hunter2", "IGNORED"} & set(document.split())
    zipped = context(agent, format="markdown", task="Fix app.py.", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(zipped.body) == first.body
    assert zipped.headers["Content-Type"] == "text/markdown; charset=utf-8"
    for tag in (first.headers["ETag"], zipped.headers["ETag"]):
        again = context(agent, format="markdown", task="Fix app.py.", headers={"If-None-Match": tag})
        assert (again.status, again.body) == (304, b"")
    (agent.sidecar.settings.projects["alpha"] / "app.py").write_text("changed = True\n")
    assert "changed = True" in context(agent, format="markdown").body.decode()


def test_token_budget(reader: Callable[[], Client]) -> None:
    """A document takes at most so many tokens (a third of its bytes), and so many bytes."""
    agent = reader()
    for tokens in (256, 300, 1_000, 2_000):
        assert len(context(agent, format="markdown", budget_tokens=tokens).body) <= tokens * 3
    assert len(context(agent, format="markdown", budget_tokens=100_000, budget_bytes=4096).body) <= 4096
    for wrong in ("255", "0", "-1", "3495254", "many"):
        context(agent, format="markdown", budget_tokens=wrong).refused(400, "VAL_001")
    refused = context(agent, budget_tokens=1_000).refused(400, "VAL_001")
    assert refused.json["details"] == {"parameter": "budget_tokens"}
    context(agent, format="html").refused(400, "VAL_001")


def explain(agent: Client, **query: object) -> Answer:
    return agent.get(f"{path_of(agent)}/explain?{urlencode(query)}")


def explanation(agent: Client, **query: object) -> Any:
    return explain(agent, **query).ok()


def test_explain(reader: Callable[[], Client]) -> None:
    """Each file is in or out for a reason; the list is bounded, and picked by a glob."""
    agent = reader()
    found = explanation(agent, task="Fix app.py.")
    fates = {one["path"]: one for one in found["files"]}
    assert next(iter(fates)) == "app.py"
    assert (fates["app.py"]["included"], fates["app.py"]["rank"]) == (True, 1)
    assert fates["app.py"]["reason"].startswith("named in the task")
    assert (fates[".env"]["included"], fates[".env"]["cut"]) == (False, "secret by name")
    assert (fates["ignored.py"]["cut"], fates["ignored.py"]["rule"]) == ("ignored", ".gitignore:1 ignored.py")
    assert found["totals"]["included"] == context(agent, task="Fix app.py.").ok()["file_count"]
    cut = explanation(agent, budget_bytes=4096)
    assert cut["totals"]["used_bytes"] <= 4096
    assert cut["totals"]["by_cut"].get("over the budget", 0) + cut["totals"]["truncated"] >= 1
    some = explanation(agent, path="*.py", limit=2)
    assert (some["listed"], some["matching"]) == (2, 4)
    wrong: list[dict[str, object]] = [
        {"limit": 0}, {"limit": 10_001}, {"path": "../*"}, {"path": "!a"}, {"budget_bytes": 4095}, {"x": 1},
    ]  # fmt: skip
    for query in wrong:
        explain(agent, **query).refused(400, "VAL_001")
    agent.get(f"/api/context/{agent.issue_id}/no-such-type/explain").refused(404, "AGT_002")


def test_text_of_the_issue(reader: Callable[[], Client]) -> None:
    """The text of an issue ranks files beside the task, and is in the document; another text is another context."""
    agent = reader()
    assert "named in" not in reason_of(context(agent), "deploy.py")
    admin = agent.sidecar.admin
    admin.post(f"/api/issues/{agent.issue_id}", {"title": "Deploying fails", "body": "See deploy.py."}).ok()
    assert reason_of(context(agent), "deploy.py").startswith("named in the task")
    both = context(agent, task="Look at main.py first.")
    assert all(reason_of(both, name).startswith("named in") for name in ("deploy.py", "main.py"))
    document = context(agent, format="markdown", task="Look at main.py first.").body.decode()
    assert "Look at main.py first.\n\nDeploying fails\n\nSee deploy.py.\n" in document
    admin.post(f"/api/issues/{agent.issue_id}", {"title": "Other"}).ok()
    assert "named in" not in reason_of(context(agent), "deploy.py")


def reason_of(answer: Answer, path: str) -> str:
    return next(str(file["reason"]) for file in answer.ok()["context"]["relevant_files"] if file["path"] == path)


def test_custom_context(start: Callable[..., Sidecar], tmp_path: Path) -> None:
    """A roster's globs, pinned files and sources decide what its type gets; what is not there is said."""
    wish = {
        "languages": ["python"], "include": ["web/*.js"], "exclude": ["old/**"], "pinned": ["RULES.md", "gone.md"],
        "sources": ["lib"],
    }  # fmt: skip
    (tmp_path / "roster.json").write_text(
        json.dumps({"codingAgents": [{"type": "python-specialist", "context": wish}]})
    )
    sidecar = start(sidecar={"roster": str(tmp_path / "roster.json")})
    root = sidecar.settings.projects["alpha"]
    for name in ("RULES.md", "web/a.js", "web/deep/b.js", "old/c.py", "lib/d.go", "e.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text\n")
    agent = sidecar.agent("python-specialist")
    body = context(agent).ok()
    paths = [file["path"] for file in body["context"]["relevant_files"]]
    assert paths[:2] == ["RULES.md", "lib/d.go"]
    assert set(paths) == {"RULES.md", "lib/d.go", "web/a.js", "e.py", "main.py"}
    why = {one["path"]: one["why"] for one in body["omitted"]}
    assert why["gone.md"] == "pinned for this agent type, but not in the project, or ignored"
    assert (why["old/c.py"], why["web/deep/b.js"]) == ("excluded for this agent type", "source in another language")
    rules = {one["path"]: one["rule"] for one in explanation(agent)["files"]}
    assert rules["old/c.py"] == "roster: old/**"


def test_secrets_everywhere(reader: Callable[[], Client]) -> None:
    """Names, remotes, Markdown and the explanation have no secret either; the stored result stays as it was sent."""
    agent = reader()
    root = agent.sidecar.settings.projects["alpha"]
    name, remote, file, result = (made("glpat-%an20%", place)[0] for place in ("name", "remote", "file", "result"))
    (root / f"{name}.py").write_text("n = 1\n")
    (root / "told.py").write_text(f'password = "{made("%word%", "told")[0]}"\nT = "{file}"\n')
    git(root, "remote", "add", "origin", f"https://joe:{remote}@git.example/a.git")
    git(root, "add", f"{name}.py")
    git(root, "commit", "-q", "-m", "name")
    sent = {
        "agent_id": agent.agent_id, "agent_type": "python-specialist",
        "issue_id": agent.issue_id, "project_id": "alpha",
        "result": {"status": "success", "decisions": [{"why": result}], "files_modified": [f"{name}.py"]},
    }  # fmt: skip
    agent.post("/api/results", sent).ok(201)
    answers = [context(agent, task="told.py"), context(agent, format="markdown", task="told.py"), explain(agent)]
    for answer in answers:
        assert answer.status == 200
        assert leaked([one[6:] for one in (name, remote, file, result)], answer.body.decode()) == []
        assert leaked([made("%word%", "told")[0]], answer.body.decode()) == []
    assert b"[REDACTED:gitlab-token].py" in answers[2].body
    assert b"[REDACTED:gitlab-token]" in answers[1].body
    found = answers[0].ok()["context"]
    assert found["metadata"]["redactions"] == answers[0].body.decode().count("[REDACTED:") >= 6
    stored = agent.get(f"/api/results/{agent.issue_id}/python-specialist").ok()
    assert stored["result"]["decisions"] == [{"why": result}]
    assert stored["result"]["files_modified"] == [f"{name}.py"]
