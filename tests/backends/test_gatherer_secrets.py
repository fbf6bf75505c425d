"""No secret of a project gets into an answer, wherever in the project it stands; each that is replaced is counted."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cco_sidecar.core.context.request import Inquiry, PreviousOutput
from tests.backends.test_gatherer import Gatherings, commit_all, contents, git, omitted, put
from tests.core.secret_samples import leaked, made

MARK = "[REDACTED:gitlab-token]"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    put(root, "app.py", "print('hello')\n")
    commit_all(root, "first")
    return root


@pytest.fixture
def gatherings() -> Gatherings:
    return Gatherings()


@pytest.fixture
def secrets() -> dict[str, str]:
    """Give a token for each place, unlike each other."""
    kinds = ["file", "diff", "commit", "author", "branch", "remote", "name", "directory", "untracked", "result", "gone"]
    return {kind: made("glpat-%an20%", kind)[0] for kind in kinds}


def plant(root: Path, secrets: dict[str, str]) -> PreviousOutput:
    """Put each secret where its name says."""
    put(root, "config.py", f'TOKEN = "{secrets["file"]}"\n')
    put(root, "edited.py", "x = 1\n")
    put(root, f"dumps/{secrets['name']}.txt", "nothing\n")
    put(root, f"of-{secrets['directory']}/a.py", "y = 1\n")
    put(root, f"old-{secrets['gone']}.txt", "gone\n")
    commit_all(root, f"Take {secrets['commit']} out")
    put(root, "more.py", "m = 1\n")
    git(root, "add", "more.py")
    git(root, "commit", "-q", "-m", "more", "--author", f"Bot {secrets['author']} <bot@example.org>")
    git(root, "checkout", "-q", "-b", f"fix/{secrets['branch']}")
    git(root, "remote", "add", "origin", f"https://joe:{secrets['remote']}@git.example/a.git")
    put(root, "edited.py", f'x = "{secrets["diff"]}"\n')
    put(root, "new.py", f'z = "{secrets["untracked"]}"\n')
    (root / f"old-{secrets['gone']}.txt").unlink()
    return PreviousOutput(
        agent="a", agent_type="worker", timestamp="2026-01-01T00:00:00Z", status="success",
        decisions=[{"why": f"use {secrets['result']}"}, {secrets["result"]: 1}],
        files_affected=[f"dumps/{secrets['name']}.txt"], result_id="r",
    )  # fmt: skip


def left(secrets: dict[str, str], body: bytes) -> list[str]:
    """Give the places whose secret is still in the body, in part or whole."""
    return [place for place, secret in secrets.items() if leaked([secret.partition("-")[2]], body.decode())]


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_everywhere(repository: Path, gatherings: Gatherings, secrets: dict[str, str], form: Any) -> None:
    """Files, diffs, commits, authors, branches, remotes, names, results: nothing of a secret is left in any of them."""
    result = plant(repository, secrets)
    body = gatherings.answer(repository, results=[result], task="config.py", form=form).body
    assert left(secrets, body) == []
    assert MARK in body.decode()


def test_each_is_counted(repository: Path, gatherings: Gatherings, secrets: dict[str, str]) -> None:
    """``metadata.redactions`` is the number of marks; each place has its own."""
    result = plant(repository, secrets)
    answer = gatherings.answer(repository, results=[result])
    body = msgspec.json.decode(answer.body)
    context = body["context"]
    assert context["metadata"]["redactions"] == answer.body.decode().count("[REDACTED:") > len(secrets)
    files = contents(body)
    assert (files["config.py"], files["new.py"]) == (f'TOKEN = "{MARK}"\n', f'z = "{MARK}"\n')
    assert {f"dumps/{MARK}.txt", f"of-{MARK}/a.py"} <= set(context["project_structure"]["files"])
    assert f"of-{MARK}" in context["project_structure"]["directories"]
    facts = context["git_context"]
    assert (facts["branch"], facts["remote_url"]) == (f"fix/{MARK}", "https://git.example/a.git")
    changes = {one["path"]: one["diff"] for one in facts["uncommitted_changes"]}
    assert f'+x = "{MARK}"' in changes["edited.py"]
    assert f"a/old-{MARK}" in changes[f"old-{MARK}.txt"]
    newest, taken, *_ = facts["recent_commits"]
    assert (newest["author"], taken["message"]) == (f"Bot {MARK}", f"Take {MARK} out")
    assert f"dumps/{MARK}.txt" in taken["files_changed"]
    [told] = context["previous_agent_outputs"]
    assert told["decisions"] == [{"why": f"use {MARK}"}, {MARK: 1}]
    assert told["files_affected"] == [f"dumps/{MARK}"]


def test_in_names_of_what_is_left_out(repository: Path, gatherings: Gatherings, secrets: dict[str, str]) -> None:
    """What is too big, binary or secret by its name is named without the secret, and counted."""
    put(repository, f"{secrets['name']}.bin", b"a\0b")
    put(repository, f"{secrets['directory']}.pem", "x")
    answer = gatherings.answer(repository)
    assert left(secrets, answer.body) == []
    body = msgspec.json.decode(answer.body)
    assert {f"{MARK}.bin", f"{MARK}.pem"} <= set(omitted(body))
    assert body["context"]["metadata"]["redactions"] == answer.body.decode().count(MARK)


def test_explained_without_them(repository: Path, gatherings: Gatherings, secrets: dict[str, str]) -> None:
    """Why a file is in or out is told without the secrets in its name, or in the ignore file's line."""
    plant(repository, secrets)
    put(repository, ".gitignore", f"of-{secrets['directory']}-x/\n")
    put(repository, f"of-{secrets['directory']}-x/b.py", "b = 1\n")
    body = gatherings.answer(repository, inquiry=Inquiry("", 10_000)).body
    assert left(secrets, body) == []
    assert f"dumps/{MARK}.txt" in {one["path"] for one in msgspec.json.decode(body)["files"]}


def test_the_result_itself_stays(repository: Path, gatherings: Gatherings, secrets: dict[str, str]) -> None:
    """What an agent reported is not changed by being shown."""
    result = plant(repository, secrets)
    before = msgspec.json.encode([result.decisions, result.files_affected])
    gatherings.answer(repository, results=[result])
    assert msgspec.json.encode([result.decisions, result.files_affected]) == before


def test_ordinary_names_stay(repository: Path, gatherings: Gatherings) -> None:
    """In names nothing is guessed: hashes in them, and words that speak of secrets, stay."""
    names = [
        "assets/main.4f3a9c2b1d8e7f60.chunk.js",
        "tests/test_password_reset_token_2.py",
        "keys/AKIAExampleOfKeys.py",
        "3f786850e387550fdab836ed7e6dc881de23001b.txt",
        "cHJvamVjdA1x2y3z4w5v6u7t8s9r0Q.txt",
    ]
    for name in names:
        put(repository, name, "a = 1\n")
    body = gatherings.body(repository)
    assert set(names) <= set(body["context"]["project_structure"]["files"])
    assert body["context"]["metadata"]["redactions"] == 0
