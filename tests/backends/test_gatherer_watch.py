"""A cached answer is given only while it is true: every way in which a tree can change, watched and not."""

import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cco_sidecar.backends.gatherer import room as room_module
from cco_sidecar.backends.gatherer import survey as survey_module
from cco_sidecar.backends.gatherer import texts, watch
from cco_sidecar.backends.gatherer.repository import Repository
from cco_sidecar.core.context.request import ContextAnswer, ContextRequest
from tests.backends.test_gatherer import ANY, Gatherings, commit_all, git, put

Change = Callable[[Path], object]


@pytest.fixture
def gatherings() -> Iterator[Gatherings]:
    made = Gatherings()
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a bit of everything, whose newest change is older than a tick of the clock."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    put(root, "app.py", "first = 1\n")
    put(root, "src/deep/below/one.py", "one = 1\n")
    put(root, ".gitignore", "ignored/\n*.log\n")
    put(root, "ignored/inside.py", "hidden = 1\n")
    put(root, "named.log", "log\n")
    commit_all(root)
    git(root, "branch", "other")
    put(root, "app.py", "second = 2\n")
    commit_all(root, "second")
    (root / "empty" / "below").mkdir(parents=True)
    put(root, "untracked.txt", "u\n")
    put(root, "staged.py", "s = 1\n")
    git(root, "add", "staged.py")
    settle()
    return root


def settle() -> None:
    """Let the clock that files are stamped by move on, as it does between people's edits."""
    time.sleep(0.03)


def in_place(path: Path, text: bytes) -> None:
    with path.open("r+b", buffering=0) as file:
        file.write(text)


def keeping_its_time(root: Path) -> None:
    """Change a file, of the same size, and give it its time back: only what the kernel stamps by itself tells."""
    path = root / "app.py"
    before = path.stat()
    in_place(path, b"SECOND = 3")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def by_mapping(root: Path) -> None:
    with (root / "app.py").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:3] = b"THI"


def in_a_new_directory_of_an_empty_one(root: Path) -> None:
    (root / "empty" / "below" / "new").mkdir()
    settle()
    put(root, "empty/below/new/file.py", "new = 1\n")


def by_rename(root: Path) -> None:
    put(root, ".swap", "r = 1\n")
    (root / ".swap").rename(root / "app.py")


def into_a_link(root: Path) -> None:
    (root / "app.py").unlink()
    (root / "app.py").symlink_to("untracked.txt")


CHANGES: dict[str, Change] = {
    "edit": lambda root: put(root, "app.py", "third = 3\n"),
    "edit in place": lambda root: in_place(root / "app.py", b"T"),
    "edit that keeps size and time": keeping_its_time,
    "edit through a mapping": by_mapping,
    "deep edit": lambda root: put(root, "src/deep/below/one.py", "one = 2\n"),
    "edit of an untracked file": lambda root: put(root, "untracked.txt", "v\n"),
    "new file": lambda root: put(root, "new.py", "n = 1\n"),
    "new file below": lambda root: put(root, "src/deep/new.py", "n = 1\n"),
    "new file in a new directory": lambda root: put(root, "fresh/deep/new.py", "n = 1\n"),
    "new file in an empty directory": lambda root: put(root, "empty/below/new.py", "n = 1\n"),
    "new file in a directory made in an empty one": in_a_new_directory_of_an_empty_one,
    "delete": lambda root: (root / "app.py").unlink(),
    "delete a directory": lambda root: shutil.rmtree(root / "src"),
    "rename": lambda root: (root / "app.py").rename(root / "moved.py"),
    "rename a directory": lambda root: (root / "src").rename(root / "lib"),
    "replace by a rename": by_rename,
    "become a link": into_a_link,
    "checkout": lambda root: git(root, "checkout", "-q", "-f", "other"),
    "branch of the same commit": lambda root: git(root, "switch", "-q", "-c", "third"),
    "detached": lambda root: git(root, "switch", "-q", "--detach"),
    "commit": lambda root: git(root, "commit", "-q", "-m", "staged"),
    "empty commit": lambda root: git(root, "commit", "-q", "--allow-empty", "-m", "empty"),
    "reset": lambda root: git(root, "reset", "-q", "--hard", "HEAD~1"),
    "soft reset": lambda root: git(root, "reset", "-q", "--soft", "HEAD~1"),
    "stash": lambda root: git(root, "stash", "-q", "-u"),
    "stage": lambda root: git(root, "add", "untracked.txt"),
    "unstage": lambda root: git(root, "rm", "-q", "--cached", "staged.py"),
    "ref moved alone": lambda root: git(root, "update-ref", "refs/heads/main", "refs/heads/other"),
    "packed refs moved": lambda root: (git(root, "pack-refs", "--all"), git(root, "reset", "-q", "--soft", "other")),
    ".gitignore": lambda root: put(root, ".gitignore", "ignored/\n*.log\nuntracked.txt\n"),
    ".gitignore that ignores less": lambda root: put(root, ".gitignore", "*.log\n"),
    ".git/info/exclude": lambda root: put(root, ".git/info/exclude", "untracked.txt\n"),
    ".ccoignore": lambda root: put(root, ".ccoignore", "app.py\n"),
    "remote": lambda root: git(root, "remote", "add", "origin", "https://example.org/r.git"),
    "no longer a repository": lambda root: (root / ".git").rename(root / "was-git"),
}


def twice(gatherings: Gatherings, root: Path) -> ContextAnswer:
    """Ask until the answer is given without a look, as it is from the second time on."""
    gatherings.answer(root)
    answer = gatherings.answer(root)
    assert answer.cache_hit
    return answer


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "asked"])
@pytest.mark.parametrize("name", CHANGES)
def test_change_is_seen(
    root: Path, gatherings: Gatherings, name: str, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any change the next answer is the one that somebody who asks for the first time gets."""
    if not watched:
        monkeypatch.setattr(watch, "MOST_WATCHES", 3)
    before = twice(gatherings, root)
    assert is_ready(gatherings, root) is watched
    CHANGES[name](root)
    after = gatherings.answer(root)
    anew = Gatherings()
    expected = anew.answer(root)
    anew.close()
    assert after.etag == expected.etag != before.etag


def is_ready(gatherings: Gatherings, root: Path) -> bool:
    return gatherings.answers.ready(ContextRequest("p", root, "issue-1", ANY, "")) is not None


@pytest.mark.parametrize("times", range(5))
def test_edits_within_a_tick(root: Path, gatherings: Gatherings, times: int) -> None:
    """Files written, asked for and written again, faster than the clock that stamps them moves, are seen each time."""
    for number in range(20):
        text = f"at = {number:04}\n"
        put(root, "app.py", text)
        body = gatherings.body(root)
        assert text in [file["content"] for file in body["context"]["relevant_files"]], number


def test_clock_that_stands_still(root: Path, gatherings: Gatherings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written within a tick of the clock looks the same to all but a reader: so it is read each time."""
    monkeypatch.setattr(survey_module, "_identity", lambda _status: "as before")
    for module in (survey_module, texts):
        monkeypatch.setattr(module, "is_young", lambda _time: True)
    for text in ("at = 1\n", "at = 2\n", "at = 3\n"):
        in_place(root / "untracked.txt", text.encode())
        contents = [file["content"] for file in gatherings.body(root)["context"]["relevant_files"]]
        assert text in contents


def test_directory_that_is_no_longer_ignored(root: Path, gatherings: Gatherings) -> None:
    """What belongs to the project since a rule went is watched from then on."""
    twice(gatherings, root)
    put(root, ".gitignore", "*.log\n")
    settle()
    before = twice(gatherings, root)
    assert is_ready(gatherings, root)
    in_place(root / "ignored" / "inside.py", b"SHOWN!")
    assert gatherings.answer(root).etag != before.etag


def test_silence_runs_no_git(root: Path, gatherings: Gatherings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked while nothing happens; also when what is ignored changes, or is read."""
    twice(gatherings, root)
    monkeypatch.setattr(gatherings.room, "gather", None)
    put(root, "ignored/inside.py", "hidden = 2\n")
    (root / "app.py").read_text()
    list((root / "src").iterdir())
    assert gatherings.answer(root).cache_hit


def test_trust_ends(root: Path, gatherings: Gatherings) -> None:
    """A silent watch is not believed for ever."""
    now = 0.0
    gatherings.answers._monotonic = lambda: now
    twice(gatherings, root)
    now = 59.0
    assert is_ready(gatherings, root)
    now = 61.0
    assert not is_ready(gatherings, root)
    assert gatherings.answer(root).cache_hit
    assert is_ready(gatherings, root)


def test_files_of_several_names_are_asked_about(root: Path, gatherings: Gatherings, tmp_path: Path) -> None:
    """A file that has another name can be changed there without a word: such a project is looked at each time."""
    other = tmp_path / "other.py"
    other.hardlink_to(root / "app.py")
    settle()
    before = twice(gatherings, root)
    assert not is_ready(gatherings, root)
    in_place(other, b"CHANGED")
    assert gatherings.answer(root).etag != before.etag


def test_other_root_by_the_same_name(root: Path, gatherings: Gatherings, tmp_path: Path) -> None:
    """A link that points elsewhere now, or a directory in the root's place, is another project."""
    link = tmp_path / "link"
    link.symlink_to(root)
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    put(tmp_path / "copy", "app.py", "copy = 1\n")
    twice(gatherings, link)
    link.unlink()
    link.symlink_to(tmp_path / "copy")
    contents = [file["content"] for file in gatherings.body(link)["context"]["relevant_files"]]
    assert "copy = 1\n" in contents
    twice(gatherings, root)
    root.rename(tmp_path / "away")
    (tmp_path / "copy").rename(root)
    contents = [file["content"] for file in gatherings.body(root)["context"]["relevant_files"]]
    assert "copy = 1\n" in contents


def test_worktree(root: Path, gatherings: Gatherings, tmp_path: Path) -> None:
    """Of a linked work tree its own HEAD and index count, and the branch in the main repository."""
    tree = tmp_path / "tree"
    git(root, "worktree", "add", "-q", str(tree), "other")
    settle()
    before = twice(gatherings, tree)
    git(root, "update-ref", "refs/heads/other", "main")
    second = gatherings.answer(tree)
    assert second.etag != before.etag
    settle()
    twice(gatherings, tree)
    git(tree, "reset", "-q", "--hard", "other")
    assert gatherings.answer(tree).etag not in (before.etag, second.etag)


def test_submodule(root: Path, gatherings: Gatherings, tmp_path: Path) -> None:
    """A submodule that the project takes up, or moves to another commit, is seen."""
    part = tmp_path / "part"
    part.mkdir()
    git(part, "init", "-q", "-b", "main")
    put(part, "p.py", "p = 1\n")
    commit_all(part)
    before = twice(gatherings, root)
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
    second = gatherings.answer(root)
    assert second.etag != before.etag
    commit_all(root, "part")
    settle()
    twice(gatherings, root)
    put(root, "part/p.py", "p = 2\n")
    commit_all(root / "part", "two")
    git(root, "add", "part")
    assert not is_ready(gatherings, root)


def test_project_below_the_top(root: Path, gatherings: Gatherings) -> None:
    """The ignore files between the repository's top and the project's root count."""
    before = twice(gatherings, root / "src" / "deep")
    put(root / "src" / "deep", "below/new.py", "x = 1\n")
    settle()
    second = twice(gatherings, root / "src" / "deep")
    assert second.etag != before.etag
    assert is_ready(gatherings, root / "src" / "deep")
    put(root, "src/.gitignore", "new.py\n")
    assert gatherings.answer(root / "src" / "deep").etag == before.etag


def test_overflow_is_distrusted(root: Path, gatherings: Gatherings) -> None:
    """More events than the kernel keeps mean that something has happened, and then all is as before."""
    twice(gatherings, root)
    for _ in range(12_000):
        (root / "untracked.txt").touch()
        (root / "app.py").touch()
    settle()
    assert not is_ready(gatherings, root)
    twice(gatherings, root)
    assert is_ready(gatherings, root)
    put(root, "app.py", "after = 1\n")
    assert not is_ready(gatherings, root)


@pytest.mark.parametrize("refusal", ["no instance", "no watch", "too many"])
def test_without_watches(root: Path, gatherings: Gatherings, refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are no watches to be had the project is asked about each time, and nobody waits for them again."""
    if refusal == "no instance":
        monkeypatch.setattr(watch, "new_instance", lambda: None)
    elif refusal == "no watch":
        monkeypatch.setattr(watch, "add", lambda _handle, _directories: False)
    else:
        monkeypatch.setattr(room_module, "_MOST_WATCHED", 0)
    before = len(os.listdir("/proc/self/fd"))
    twice(gatherings, root)
    assert not is_ready(gatherings, root)
    assert len(os.listdir("/proc/self/fd")) == before
    put(root, "app.py", "third = 3\n")
    assert not gatherings.answer(root).cache_hit


def test_failed_look_leaves_nothing_trusted(
    root: Path, gatherings: Gatherings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gathering that fails after the events were read does not make what was known before true again."""
    twice(gatherings, root)
    put(root, "app.py", "third = 3\n")
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "git", None)
        with pytest.raises(TypeError):
            gatherings.answer(root)
    assert not is_ready(gatherings, root)
    assert not gatherings.answer(root).cache_hit


def test_plain_directory(tmp_path: Path, gatherings: Gatherings) -> None:
    """A project without git is watched, too, and becomes one with git when it does."""
    put(tmp_path, "a/b/c.py", "c = 1\n")
    put(tmp_path, "node_modules/x.js", "x\n")
    settle()
    before = twice(gatherings, tmp_path)
    assert is_ready(gatherings, tmp_path)
    put(tmp_path, "node_modules/x.js", "y\n")
    assert is_ready(gatherings, tmp_path)
    put(tmp_path, "a/b/new.py", "new = 1\n")
    second = gatherings.answer(tmp_path)
    assert second.etag != before.etag
    settle()
    twice(gatherings, tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    assert gatherings.answer(tmp_path).etag not in (before.etag, second.etag)


def test_watches_are_given_back(root: Path) -> None:
    """Nothing stays open when all is over."""
    before = len(os.listdir("/proc/self/fd"))
    made = Gatherings()
    twice(made, root)
    assert len(os.listdir("/proc/self/fd")) > before
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before
