"""What the gatherer finds in real directories and repositories, also in hostile ones."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cco_sidecar.backends.gatherer import reading
from cco_sidecar.backends.gatherer.cache import ContextCache
from cco_sidecar.backends.gatherer.gathering import Gathering
from cco_sidecar.backends.gatherer.git import Git, GitError
from cco_sidecar.backends.gatherer.gitfacts import footprints
from cco_sidecar.backends.gatherer.index import TermIndex
from cco_sidecar.backends.gatherer.looks import Looks
from cco_sidecar.backends.gatherer.outlines import OutlineCache
from cco_sidecar.backends.gatherer.parsing import parsed_outline
from cco_sidecar.backends.gatherer.repository import Repository, opened_repository
from cco_sidecar.core.context.project import Footprint
from cco_sidecar.core.context.request import ContextAnswer, ContextRequest, Inquiry, PreviousOutput
from cco_sidecar.core.context.terms import term_of, terms_of_word
from cco_sidecar.core.roster import AgentType, ContextWish
from cco_sidecar.errors import ContextFailed

GIT_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, env=GIT_ENVIRONMENT, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


def write(root: Path, **files: str | bytes) -> None:
    """Write files; in names, ``__`` is a slash and ``_DOT_`` a dot."""
    for name, content in files.items():
        put(root, name.replace("__", "/").replace("_DOT_", "."), content)


def put(root: Path, name: str, content: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit_all(root: Path, message: str = "work") -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    return project


@pytest.fixture
def repository(root: Path) -> Path:
    git(root, "init", "-q", "-b", "main")
    put(root, "app.py", "print('hello')\n")
    put(root, "README.md", "# Hello\n")
    commit_all(root, "first")
    return root


def agent_type(*languages: str) -> AgentType:
    return AgentType(
        type="worker", name="", category="coding", model="", role="", capabilities=(),
        context=ContextWish(languages=languages), publishes=(), subscribes=(), topics=None,
        permissions=frozenset(), rate_limit=None,
    )  # fmt: skip


ANY = agent_type()


class Gatherings:
    """Gathers in the test's own thread, with one cache for the test."""

    def __init__(self) -> None:
        self.cache = ContextCache(1 << 26)
        self.index = TermIndex(1 << 26)
        self.git = Git()
        self.outlines = OutlineCache(1 << 20, lambda language, text: parsed_outline(language, text, time.thread_time))

    def answer(self, root: Path, looks: Looks | None = None, **options: Any) -> ContextAnswer:
        request = ContextRequest("p", root, "issue-1", **{"agent_type": ANY, "task": "", **options})
        now = time.monotonic_ns()
        seconds, check = (lambda: 1_700_000_000.0), (lambda: None)
        return Gathering(
            request, self.cache, self.index, self.git, looks or Looks(), self.outlines, now, seconds, check
        ).answer()

    def body(self, root: Path, **options: Any) -> dict[str, Any]:
        whole: dict[str, Any] = msgspec.json.decode(self.answer(root, **options).body)
        return whole


@pytest.fixture
def gatherings() -> Gatherings:
    return Gatherings()


def contents(body: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["content"] for file in body["context"]["relevant_files"]}


def omitted(body: dict[str, Any]) -> dict[str, str]:
    return {one["path"]: one["why"] for one in body["omitted"]}


def test_repository(repository: Path, gatherings: Gatherings) -> None:
    """A repository gives its files, branch, head, history and remote, the remote without credentials."""
    git(repository, "remote", "add", "origin", "https://me:hunter2@example.org/x.git")
    body = gatherings.body(repository)
    assert contents(body) == {"app.py": "print('hello')\n", "README.md": "# Hello\n"}
    facts = body["context"]["git_context"]
    assert (facts["branch"], facts["head"]) == ("main", git(repository, "rev-parse", "HEAD"))
    assert facts["recent_commits"][0]["message"] == "first"
    assert facts["recent_commits"][0]["author"] == "Ada"
    assert sorted(facts["recent_commits"][0]["files_changed"]) == ["README.md", "app.py"]
    assert (facts["remote"], facts["remote_url"]) == ("origin", "https://example.org/x.git")
    assert body["context"]["project_structure"]["root"] == str(repository)
    assert not body["truncated"]


def test_no_repository(root: Path, gatherings: Gatherings) -> None:
    """A plain directory works: git_context is null, both ignore files count, also nested ones."""
    write(
        root,
        a_DOT_py="a",
        b_DOT_log="b",
        sub__c_DOT_py="c",
        sub__d_DOT_tmp="d",
        node_modules__x_DOT_js="x",
        e_DOT_md="e",
    )
    write(root, _DOT_gitignore="*.log\n", sub___DOT_ccoignore="*.tmp\n", _DOT_ccoignore="e.md\n")
    body = gatherings.body(root)
    assert body["context"]["git_context"] is None
    assert set(contents(body)) == {"a.py", "sub/c.py", ".gitignore", ".ccoignore", "sub/.ccoignore"}


def test_ignored_in_repository(repository: Path, gatherings: Gatherings) -> None:
    """What .gitignore and .ccoignore exclude appears nowhere, neither as a name nor in changes and history."""
    put(repository, "private/plan.md", "v1")
    commit_all(repository)
    put(repository, "private/plan.md", "SECRETPLAN")
    put(repository, "junk.log", "SECRETPLAN")
    put(repository, ".gitignore", "*.log\n")
    put(repository, ".ccoignore", "private/\n")
    answer = gatherings.answer(repository)
    assert b"SECRETPLAN" not in answer.body
    assert b"plan.md" not in answer.body
    assert b"junk.log" not in answer.body


def test_ignored_ccoignore_counts(repository: Path, gatherings: Gatherings) -> None:
    """A .ccoignore at the root counts even if git ignores it, and a change of it shows."""
    put(repository, ".gitignore", ".ccoignore\n")
    assert "README.md" in contents(gatherings.body(repository))
    put(repository, ".ccoignore", "README.md\n")
    assert "README.md" not in contents(gatherings.body(repository))


def test_secrets_by_name(repository: Path, gatherings: Gatherings) -> None:
    """Secret files give neither content nor diff, tracked or not, changed or deleted; their names are in omitted."""
    put(repository, ".env", "TOKEN=hunter2\n")
    put(repository, "deploy/id_rsa", "hunter2\n")
    put(repository, "old.pem", "hunter2\n")
    commit_all(repository)
    put(repository, ".env", "TOKEN=hunter2x\n")
    put(repository, "credentials.json", "hunter2\n")
    (repository / "old.pem").unlink()
    answer = gatherings.answer(repository, task="look at .env and deploy/id_rsa and credentials.json")
    assert b"hunter2" not in answer.body
    body = msgspec.json.decode(answer.body)
    assert omitted(body) == dict.fromkeys([".env", "credentials.json", "deploy/id_rsa"], "secret by name")
    changes = {one["path"]: one["diff"] for one in body["context"]["git_context"]["uncommitted_changes"]}
    assert changes == {".env": "", "credentials.json": "", "old.pem": ""}


def test_changes(repository: Path, gatherings: Gatherings) -> None:
    """Uncommitted changes have a status and a diff against HEAD, staged or not."""
    put(repository, "app.py", "print('bye')\n")
    put(repository, "staged.py", "x = 1\n")
    git(repository, "add", "staged.py")
    put(repository, "new.py", "y = 1\n")
    (repository / "README.md").unlink()
    body = gatherings.body(repository)
    changes = {one["path"]: one for one in body["context"]["git_context"]["uncommitted_changes"]}
    assert {path: one["status"] for path, one in changes.items()} == {
        "README.md": "deleted",
        "app.py": "modified",
        "new.py": "untracked",
        "staged.py": "added",
    }
    assert "-print('hello')\n+print('bye')" in changes["app.py"]["diff"]
    assert "+x = 1" in changes["staged.py"]["diff"]
    assert "-# Hello" in changes["README.md"]["diff"]
    assert set(contents(body)) == {"app.py", "staged.py", "new.py"}


@pytest.mark.parametrize("branch", ["conflicted", "unborn", "detached", "worktree"])
def test_unusual_states(repository: Path, gatherings: Gatherings, tmp_path: Path, branch: str) -> None:
    """A conflict, no commit yet, a detached head, a linked work tree: all are answered."""
    root = repository
    if branch == "conflicted":
        git(root, "switch", "-q", "-c", "other")
        put(root, "app.py", "other\n")
        commit_all(root)
        git(root, "switch", "-q", "main")
        put(root, "app.py", "mine\n")
        commit_all(root)
        subprocess.run(["git", "merge", "-q", "other"], cwd=root, env=GIT_ENVIRONMENT, check=False, capture_output=True)
    elif branch == "unborn":
        git(root, "switch", "-q", "--orphan", "empty")
        put(root, "app.py", "new")
    elif branch == "detached":
        git(root, "switch", "-q", "--detach")
    else:
        root = tmp_path / "linked"
        git(repository, "worktree", "add", "-q", str(root))
    body = gatherings.body(root)
    assert "app.py" in contents(body)
    facts = body["context"]["git_context"]
    assert (facts["head"] is None) == (branch == "unborn")
    assert (facts["branch"] is None) == (branch == "detached")
    if branch == "conflicted":
        assert facts["uncommitted_changes"][0]["status"] == "conflicted"


def test_subdirectory_of_a_repository(repository: Path, gatherings: Gatherings) -> None:
    """A root inside a repository gives only what lies below it: files, changes and history."""
    put(repository, "service/main.py", "one\n")
    commit_all(repository, "service")
    put(repository, "app.py", "OUTSIDE\n")
    put(repository, "outside.py", "OUTSIDE\n")
    put(repository, "service/main.py", "two\n")
    put(repository, "service/new.py", "new\n")
    answer = gatherings.answer(repository / "service")
    body = msgspec.json.decode(answer.body)
    assert contents(body) == {"main.py": "two\n", "new.py": "new\n"}
    facts = body["context"]["git_context"]
    assert [one["path"] for one in facts["uncommitted_changes"]] == ["main.py", "new.py"]
    assert "+two" in facts["uncommitted_changes"][0]["diff"]
    assert [(one["message"], one["files_changed"]) for one in facts["recent_commits"]] == [("service", ["main.py"])]
    assert b"OUTSIDE" not in answer.body
    assert b"app.py" not in answer.body


def test_configuration_runs_nothing(repository: Path, gatherings: Gatherings, tmp_path: Path) -> None:
    """No program that the repository's configuration or attributes name is run."""
    marker = tmp_path / "marker"
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\necho "$0 $@" >> {marker}\ncat\n')
    script.chmod(0o755)
    for name in (
        "core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.clean",
        "filter.evil.smudge", "filter.evil.process", "core.pager", "gpg.program", "core.sshCommand", "core.editor",
        "pager.log", "pager.status", "pager.diff", "remote.origin.uploadpack", "credential.helper",
    ):  # fmt: skip
        git(repository, "config", name, str(script))
    included = tmp_path / "included"
    included.write_text(f"[core]\n\tfsmonitor = {script}\n[log]\n\tshowSignature = true\n")
    git(repository, "config", "include.path", str(included))
    hooks = repository / ".git" / "hooks"
    for name in ("post-index-change", "fsmonitor-watchman", "pre-commit"):
        (hooks / name).write_text(script.read_text())
        (hooks / name).chmod(0o755)
    put(repository, ".gitattributes", "*.py filter=evil diff=evil\n")
    put(repository, "app.py", "print('HELLO')\n")  # same size as before: git must read it to know
    os.utime(repository / "app.py", ns=(0, 0))
    marker.unlink(missing_ok=True)
    body = gatherings.body(repository)
    assert not marker.exists(), marker.read_text()
    changes = {one["path"]: one for one in body["context"]["git_context"]["uncommitted_changes"]}
    assert "+print('HELLO')" in changes["app.py"]["diff"]
    subprocess.run(["git", "status"], cwd=repository, env=GIT_ENVIRONMENT, check=False, capture_output=True, timeout=30)
    assert marker.exists()  # the trap was armed


def test_nothing_outside_the_root(repository: Path, gatherings: Gatherings, tmp_path: Path) -> None:
    """No symlink leads outside: neither a file's, nor a directory's that stands where a tracked one stood."""
    put(tmp_path, "outside/secret.py", "OUTSIDE\n")
    put(repository, "package/secret.py", "inside\n")
    commit_all(repository)
    (repository / "link.py").symlink_to(tmp_path / "outside" / "secret.py")
    (repository / "package" / "secret.py").unlink()
    (repository / "package").rmdir()
    (repository / "package").symlink_to(tmp_path / "outside")
    (repository / "loop").symlink_to(".")
    for commits in range(2):
        answer = gatherings.answer(repository, task="link.py package/secret.py")
        assert b"OUTSIDE" not in answer.body
        assert omitted(msgspec.json.decode(answer.body))["link.py"] == "symbolic link"
        if not commits:
            commit_all(repository)


def test_plain_directory_follows_no_symlink(root: Path, gatherings: Gatherings, tmp_path: Path) -> None:
    """Outside a repository no symlink is followed either, and a foreign .git is not believed."""
    put(tmp_path, "outside/secret.py", "OUTSIDE\n")
    git(tmp_path / "outside", "init", "-q")
    commit_all(tmp_path / "outside", "OUTSIDE")
    (root / "dir").symlink_to(tmp_path / "outside")
    (root / "file.py").symlink_to(tmp_path / "outside" / "secret.py")
    put(root, "a.py", "a")
    (root / ".git").symlink_to(tmp_path / "outside" / ".git")
    assert b"OUTSIDE" not in gatherings.answer(root).body
    (root / ".git").unlink()
    put(root, ".git", f"gitdir: {tmp_path}/outside/.git\n")
    answer = gatherings.answer(root)
    assert b"OUTSIDE" not in answer.body
    assert list(contents(msgspec.json.decode(answer.body))) == ["a.py"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("tracked", [True, False])
def test_special_files_do_not_block(repository: Path, gatherings: Gatherings, tracked: bool) -> None:
    """A pipe, a socket-like thing or a sparse giant is passed over, also where a tracked file stood."""
    if tracked:
        (repository / "app.py").unlink()
    os.mkfifo(repository / ("app.py" if tracked else "pipe.py"))
    with (repository / "giant.txt").open("wb") as giant:
        giant.truncate(1 << 40)
    put(repository, "big.txt", "x\n" * 600_000)
    body = gatherings.body(repository)
    assert "README.md" in contents(body)
    assert omitted(body)["giant.txt"] == "binary"
    assert omitted(body)["big.txt"] == "larger than 1 MB"
    assert body["truncated"]


def test_binaries_and_odd_text(root: Path, gatherings: Gatherings) -> None:
    """A file with a NUL byte is omitted; text that is no UTF-8 comes with replacements."""
    put(root, "a.bin", b"\x00\x01")
    put(root, "latin.txt", b"caf\xe9\n")
    body = gatherings.body(root)
    assert contents(body) == {"latin.txt": "caf\ufffd\n"}
    assert omitted(body) == {"a.bin": "binary"}


@pytest.mark.parametrize("in_repository", [True, False])
def test_hostile_names(root: Path, gatherings: Gatherings, in_repository: bool) -> None:
    """Names with line feeds, escapes, quotes, or bytes that are no UTF-8 arrive whole and break nothing."""
    names = [
        b"a\nb.py",
        b"\x1b[2J.py",
        b'q"uo\\te.py',
        b"\xff\xfe.py",
        b"-n.py",
        b":(top)x.py",
        " sp\u202e.py".encode(),
    ]
    if in_repository:
        git(root, "init", "-q")
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_text("one\n")
    if in_repository:
        commit_all(root)
        for name in names:
            Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_text("two\n")
    body = gatherings.body(root)
    expected = {name.decode("utf-8", "backslashreplace") for name in names}
    assert set(contents(body)) == expected
    if in_repository:
        changes = body["context"]["git_context"]["uncommitted_changes"]
        assert {one["path"] for one in changes} == expected
        assert all("-one\n+two" in one["diff"] for one in changes)
        assert set(body["context"]["git_context"]["recent_commits"][0]["files_changed"]) == expected


def footprints_of(root: Path) -> list[Footprint]:
    with opened_repository(root, Git()) as repository:
        assert repository is not None
        return footprints(repository)


def test_footprints(repository: Path) -> None:
    """The history that files are ranked by: newest first, without merges, bulk, and secrets in messages."""
    git(repository, "switch", "-q", "-c", "side")
    put(repository, "side.py", "x")
    put(repository, "a\nb.py", "x")
    commit_all(repository, "Leaky bucket with ghp_a8Kd0Lm3Qw5Zx7Vb9Nc1Rt2Yp4Us6Hj8Gk0f")
    git(repository, "switch", "-q", "main")
    put(repository, "app.py", "x")
    commit_all(repository, "main")
    git(repository, "merge", "-q", "--no-edit", "side")
    for number in range(21):
        put(repository, f"bulk/{number}.py", "x")
    commit_all(repository, "bulk")
    found = footprints_of(repository)
    assert sorted(sorted(one.files) for one in found) == [["README.md", "app.py"], ["a\nb.py", "side.py"], ["app.py"]]
    assert found[-1].hash == git(repository, "rev-list", "--max-parents=0", "HEAD")
    (side,) = [one for one in found if "side.py" in one.files]
    assert set(side.terms) >= {term_of("leaky"), term_of("bucket")}
    assert not {*terms_of_word(b"ghp_a8Kd0Lm3Qw5Zx7Vb9Nc1Rt2Yp4Us6Hj8Gk0f")}.intersection(side.terms)


def test_history_is_read_once(repository: Path, gatherings: Gatherings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit does not read the history again, a commit does."""
    calls = []

    def counted(opened: Repository) -> list[Footprint]:
        calls.append(opened)
        return footprints(opened)

    monkeypatch.setattr(reading, "footprints", counted)
    looks = Looks()
    for change in (lambda: None, lambda: put(repository, "app.py", "y"), lambda: commit_all(repository)):
        change()
        gatherings.answer(repository, looks=looks)
    assert len(calls) == 2


def test_bulk_commit_is_bounded(repository: Path, gatherings: Gatherings) -> None:
    """A commit over many files lists 50 of them, and at most 20 commits are shown."""
    for number in range(120):
        put(repository, f"d/f{number}.txt", "x")
    commit_all(repository, "bulk")
    for number in range(25):
        git(repository, "commit", "-q", "--allow-empty", "-m", f"empty {number}\n\nbody")
        put(repository, "app.py", f"{number}")
        commit_all(repository, f"c{number}")
    commits = gatherings.body(repository)["context"]["git_context"]["recent_commits"]
    assert len(commits) == 20
    assert commits[0]["message"] == "c24"
    assert commits[0]["files_changed"] == ["app.py"]
    git(repository, "reset", "-q", "--hard", "HEAD~50")
    commits = gatherings.body(repository)["context"]["git_context"]["recent_commits"]
    assert len(commits[0]["files_changed"]) == 50


def test_many_changes_are_bounded(repository: Path, gatherings: Gatherings) -> None:
    """At most 200 uncommitted changes are listed, and the cut is said."""
    for number in range(230):
        put(repository, f"f{number:03}.txt", "x")
    body = gatherings.body(repository)
    assert len(body["context"]["git_context"]["uncommitted_changes"]) == 200
    assert body["truncated"]


def edit_unseen(root: Path) -> None:
    put(root, "app.py", "print('HELLO')\n")
    os.utime(root / "app.py", ns=(1, 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "edit": lambda root: put(root, "app.py", "print('other')\n"),
    "edit of the same size and time": edit_unseen,
    "new file": lambda root: put(root, "new.py", "x"),
    "edit of an untracked file": lambda root: put(root, "draft.md", "d2"),
    "deletion": lambda root: (root / "app.py").unlink(),
    "commit": lambda root: git(root, "commit", "-q", "--allow-empty", "-m", "more"),
    "branch": lambda root: git(root, "switch", "-q", "-c", "feature"),
    "staging": lambda root: git(root, "add", "draft.md"),
    "ignoring": lambda root: put(root, ".ccoignore", "README.md\n"),
    "remote": lambda root: git(root, "remote", "add", "origin", "https://example.org/a"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_cache_is_true(repository: Path, gatherings: Gatherings, change: str) -> None:
    """The same state is served from the cache, byte for byte; every change makes the next answer anew."""
    put(repository, "draft.md", "d1")
    os.utime(repository / "app.py", ns=(1, 1))
    first, second = (gatherings.answer(repository) for _ in range(2))
    assert (first.cache_hit, second.cache_hit) == (False, True)
    assert first.etag == second.etag
    assert first.body.replace(b'"cache_hit":false', b'"cache_hit":true') == second.body
    CHANGES[change](repository)
    third = gatherings.answer(repository)
    assert not third.cache_hit
    assert third.etag != first.etag
    assert gatherings.answer(repository).cache_hit


def test_cache_of_a_plain_directory(root: Path, gatherings: Gatherings) -> None:
    """Without git, too, an unchanged project is a hit and a changed one is not."""
    put(root, "a.py", "one")
    assert [gatherings.answer(root).cache_hit for _ in range(2)] == [False, True]
    put(root, "a.py", "two")
    fresh = gatherings.answer(root)
    assert not fresh.cache_hit
    assert b'"two"' in fresh.body


def test_cache_of_a_plain_directory_sees_through_times(root: Path, gatherings: Gatherings) -> None:
    """An edit that keeps size and modification time still shows."""
    put(root, "a.py", "one")
    os.utime(root / "a.py", ns=(1, 1))
    gatherings.answer(root)
    with (root / "a.py").open("r+") as file:
        file.write("two")
    os.utime(root / "a.py", ns=(1, 1))
    assert b'"two"' in gatherings.answer(root).body


def test_cache_tells_questions_apart(repository: Path, gatherings: Gatherings) -> None:
    """Another task, budget, agent type or result is another answer; refresh gathers anew what is the same."""
    output = PreviousOutput("a-1", "architect", "t", "success", [], ["app.py"], "r-1")
    first = gatherings.answer(repository)
    others: list[dict[str, Any]] = [
        {"form": "markdown"}, {"task": "app.py"}, {"budget_bytes": 9_000}, {"agent_type": agent_type("go")},
        {"results": [output]}, {"results_version": "2"}, {"form": "markdown", "budget_bytes": 5_000},
    ]  # fmt: skip
    assert [gatherings.answer(repository, **other).cache_hit for other in others] == [False] * 7
    again = gatherings.answer(repository, refresh=True)
    assert not again.cache_hit
    assert again.body == first.body


def test_task_reranks(repository: Path, gatherings: Gatherings) -> None:
    """A task puts first what its words are about, and says so; another one ranks anew and reads nothing anew."""
    put(repository, "src/one.py", "def leaky_bucket(): pass\n")
    put(repository, "src/two.py", "def parse(): pass\n")
    commit_all(repository)

    def first(task: str) -> tuple[str, str]:
        file = gatherings.body(repository, task=task)["context"]["relevant_files"][0]
        return file["path"], file["reason"].split(",")[0]

    assert first("The bucket is empty") == ("src/one.py", "its text has bucket")
    size = gatherings.index.size_bytes
    assert first("Parsing: parse it all") == ("src/two.py", "its text has parse")
    assert gatherings.index.size_bytes == size > 0


def test_smallest_budget(repository: Path, gatherings: Gatherings) -> None:
    """4096 bytes are enough for an answer, and are not exceeded."""
    for number in range(40):
        put(repository, f"f{number}.py", "x = 1\n" * 500)
    answer = gatherings.answer(repository, budget_bytes=4096)
    assert len(answer.body) <= 4096
    assert answer.truncated
    assert msgspec.json.decode(answer.body)["truncation_strategy"] == "smart"


def test_missing_root(tmp_path: Path, gatherings: Gatherings) -> None:
    """A root that is gone is CTX_001 with a sentence."""
    with pytest.raises(ContextFailed, match="still there"):
        gatherings.answer(tmp_path / "nothing")


def test_damaged_repository(repository: Path, gatherings: Gatherings) -> None:
    """A repository that git can't read is CTX_001, not an empty answer."""
    (repository / ".git" / "index").write_bytes(b"garbage")
    with pytest.raises(ContextFailed, match="repository"):
        gatherings.answer(repository)


def test_bare_repository_is_not_shown(root: Path, gatherings: Gatherings) -> None:
    """A bare repository is no project: its configuration may hold credentials."""
    git(root, "init", "-q", "--bare")
    git(root, "config", "remote.origin.url", "https://u:hunter2@example.org/x")
    assert b"hunter2" not in gatherings.answer(root).body


def test_git_is_bounded(repository: Path) -> None:
    """Git's output stops at the bound, a git that takes too long is ended, and a stopped one starts no more."""
    environment = {"GIT_DIR": str(repository / ".git")}
    bounded = Git().run(["log"], directory=repository, environment=environment, most_bytes=10)
    assert (len(bounded.data), bounded.cut) == (10, True)
    os.mkfifo(repository / "pipe")
    slow = Git(seconds=0.2)
    with pytest.raises(GitError, match="longer"):
        slow.run(["hash-object", "pipe"], directory=repository, environment=environment, most_bytes=10)
    slow.stop()
    with pytest.raises(GitError, match="stopping"):
        slow.run(["log"], directory=repository, environment=environment, most_bytes=10)


def test_git_is_stopped_from_outside(repository: Path) -> None:
    """Stopping ends a git that runs."""
    os.mkfifo(repository / "pipe")
    runner = Git(seconds=20)
    threading.Timer(0.1, runner.stop).start()
    began = time.monotonic()
    with pytest.raises(GitError):
        runner.run(["hash-object", "pipe"], directory=repository, environment={}, most_bytes=10)
    assert time.monotonic() - began < 10


def fates(gatherings: Gatherings, root: Path, path: str = "") -> dict[str, Any]:
    """Give what became of each file."""
    body = msgspec.json.decode(gatherings.answer(root, inquiry=Inquiry(path, 10_000)).body)
    return {one["path"]: one for one in body["files"]}


def rules(found: dict[str, Any]) -> dict[str, str]:
    return {path: one["rule"] for path, one in found.items() if one["cut"] == "ignored"}


def test_explains_what_git_ignores(repository: Path, gatherings: Gatherings) -> None:
    """What .gitignore, .ccoignore or info/exclude keeps out is named with its rule, a directory as a whole."""
    write(repository, build__a="x", build__b="x", sub__x_DOT_log="x", own_DOT_txt="x", odd="x")
    put(repository, ":(glob)*.tmp", "x")
    put(repository, "a\nb.tmp", "x")
    put(repository, ".gitignore", "\n# comment\nbuild/\n*.tmp\n")
    put(repository, "sub/.gitignore", "*.log\n")
    put(repository, ".ccoignore", "own.*\n")
    put(repository, ".git/info/exclude", "odd\n")
    assert rules(fates(gatherings, repository)) == {
        "build/": ".gitignore:3 build/",
        ":(glob)*.tmp": ".gitignore:4 *.tmp",
        "a\nb.tmp": ".gitignore:4 *.tmp",
        "sub/x.log": "sub/.gitignore:1 *.log",
        "own.txt": ".ccoignore:1 own.*",
        "odd": ".git/info/exclude:1 odd",
    }


def test_explains_what_a_walk_passes_over(root: Path, gatherings: Gatherings) -> None:
    """The same without git; and what is never looked into."""
    write(root, a_DOT_py="x", build__a="x", sub__y_DOT_py="x", sub__x_DOT_log="x", node_modules__m_DOT_js="x")
    put(root, ".gitignore", "build/\n")
    put(root, "sub/.ccoignore", "# own\n*.log\n")
    assert rules(fates(gatherings, root)) == {
        "build/": ".gitignore:1 build/",
        "sub/x.log": "sub/.ccoignore:2 *.log",
        "node_modules/": "never looked into",
    }


def test_explains_what_the_answer_has(repository: Path, gatherings: Gatherings) -> None:
    """What is in the answer is explained as in, and nothing else; it is never from the cache."""
    put(repository, "big.py", "x = 1\n" * 10_000)
    put(repository, "image.png", b"\0\1")
    put(repository, ".env", "A=1")
    (repository / "link").symlink_to("/etc/passwd")
    options: dict[str, Any] = {"budget_bytes": 20_000, "task": "README.md"}
    files = msgspec.json.decode(gatherings.answer(repository, **options).body)["context"]["relevant_files"]
    for _ in range(2):
        answer = gatherings.answer(repository, **options, inquiry=Inquiry("", 100))
        assert not answer.cache_hit
        found = {one["path"]: one for one in msgspec.json.decode(answer.body)["files"]}
        included = {path: one["truncated"] for path, one in found.items() if one["included"]}
        assert included == {one["path"]: one["truncated"] for one in files}
        assert {path: found[path]["cut"] for path in ("image.png", ".env", "link")} == {
            "image.png": "binary", ".env": "secret by name", "link": "symbolic link",
        }  # fmt: skip
        assert found["README.md"]["rank"] == 1


def test_ignored_is_bounded(repository: Path, gatherings: Gatherings) -> None:
    """Of very many ignored files the first thousand are named, and it is said that there are more."""
    put(repository, ".gitignore", "*.o\n")
    for number in range(1_100):
        put(repository, f"f{number}.o", "")
    body = msgspec.json.decode(gatherings.answer(repository, inquiry=Inquiry("", 10_000)).body)
    assert body["totals"]["by_cut"]["ignored"] == 1_000
    assert body["totals"]["more_ignored"] is True


def test_markdown(repository: Path, gatherings: Gatherings) -> None:
    """As Markdown an answer is a document within its budget, the same for the same state."""
    put(repository, "app.py", "print('other')\n" * 500)
    options: dict[str, Any] = {"form": "markdown", "budget_bytes": 3_000, "task": "Fix app.py."}
    first, second = (gatherings.answer(repository, **options) for _ in range(2))
    assert (first.cache_hit, second.cache_hit) == (False, True)
    assert (first.body, first.etag) == (second.body, second.etag)
    assert len(first.body) <= 3_000
    document = first.body.decode()
    for part in ("Fix app.py.", "- `app.py`: modified", "+print('other')", "### `app.py`", "shortened", "# Hello"):
        assert part in document
    put(repository, "app.py", "print('more')\n")
    assert gatherings.answer(repository, **options).etag != first.etag


def test_big_file_is_cut_to_its_outline(repository: Path, gatherings: Gatherings) -> None:
    """A big file comes as its signatures, parsed, with the lines that are left out; the others come, too."""
    body = "".join(f"    value_{n} = {n}\n" for n in range(300))
    put(repository, "big.py", "".join(f'def big_{n}(a: int) -> None:\n    """Do {n}."""\n{body}' for n in range(20)))
    put(repository, "small.py", "x = 1\n")
    commit_all(repository)
    answer = gatherings.body(repository, budget_bytes=12_000)
    (big,) = [file for file in answer["context"]["relevant_files"] if file["path"] == "big.py"]
    assert all(f"def big_{n}(a: int) -> None:\n" in big["content"] for n in range(20))
    assert '    """Do 19."""\n' in big["content"]
    assert big["truncated"]
    assert big["omitted_lines"][-1][1] == 20 * 302
    assert {"app.py", "README.md", "small.py"} <= set(contents(answer))


def test_no_half_secret_at_any_budget(root: Path, gatherings: Gatherings) -> None:
    """A secret that the cut goes through is not there at all, be it in one line or in many."""
    secret = "ghp_" + "a8Kd0Lm3Qw5Zx7Vb9Nc1Rt2Yp4Us6Hj8Gk0f"
    key = (
        "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpQIBAAKCAQEA7bq9xkVgk2wq\n" * 20 + "-----END RSA PRIVATE KEY-----\n"
    )
    put(
        root,
        "a.py",
        "def f():\n" + f'    token = "{secret}"\n' * 40 + f'KEY = """{key}"""\n' + "def g():\n    pass\n" * 200,
    )
    put(root, "b.txt", f"{secret} " * 300)
    put(root, "c.md", f"# A\n\n{'word ' * 100} {secret}\n{key}\n" * 20)
    for budget in range(4_096, 14_000, 331):
        answer = gatherings.answer(root, budget_bytes=budget, task=f"token {secret} a.py MIIEpQIBAAKCAQEA7bq9xkVgk2wq")
        assert len(answer.body) <= budget
        assert b"ghp_" not in answer.body
        assert secret[6:14].encode() not in answer.body
        assert b"MIIE" not in answer.body


def test_lock_and_vendored_files_by_name(repository: Path, gatherings: Gatherings) -> None:
    """Lock files, vendored and generated ones are named with their sizes; the answer is not cut for them."""
    put(repository, "uv.lock", "x" * 999)
    put(repository, "vendor/lib.py", "x = 1\n")
    put(repository, "api.py", "# Code generated by openapi. DO NOT EDIT.\n")
    commit_all(repository)
    answer = gatherings.body(repository)
    assert set(contents(answer)) == {"app.py", "README.md"}
    assert omitted(answer) == {
        "uv.lock": "generated or lock file", "vendor/lib.py": "vendored", "api.py": "generated"
    }  # fmt: skip
    assert next(one["size"] for one in answer["omitted"] if one["path"] == "uv.lock") == 999
    assert not answer["truncated"]
    assert "uv.lock" in contents(gatherings.body(repository, task="why is uv.lock so odd?"))
    put(repository, "uv.lock", "y" * 999)
    put(repository, "app.py", "changed = 1\n")
    changes = gatherings.body(repository)["context"]["git_context"]["uncommitted_changes"]
    assert {one["path"]: bool(one["diff"]) for one in changes} == {"uv.lock": False, "app.py": True}
