"""Large and hostile trees: many files, what is no file, and what is swapped for a link while it is looked at."""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from benchmarks.context_tree import generate_tree
from cco_sidecar.backends.gatherer import gathering, texts
from cco_sidecar.backends.gatherer import survey as survey_module
from cco_sidecar.backends.gatherer.opener import Found, Root
from cco_sidecar.backends.gatherer.repository import Repository
from cco_sidecar.backends.gatherer.survey import Survey
from cco_sidecar.core.context.filesection import OUT_OF_TIME
from tests.backends.test_gatherer import Gatherings, commit_all, git, put

SECRET_TEXT = "what lies outside\n"


@pytest.fixture
def gatherings() -> Iterator[Gatherings]:
    made = Gatherings()
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    put(tmp_path, "outside/secret.py", SECRET_TEXT)
    put(root, "a/b/c.py", "inside = 1\n")
    put(root, "top.py", "inside = 2\n")
    commit_all(root)
    return root


@pytest.mark.parametrize("files", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_many_files(tmp_path: Path, gatherings: Gatherings, files: int) -> None:
    """Very many files are all counted, the answer keeps to its budget, and an edit among them is seen."""
    root = generate_tree(tmp_path / "large", files, mean_bytes=100)
    time.sleep(0.03)
    answer = gatherings.answer(root, budget_bytes=200_000, task="the frame queue of the driver")
    assert len(answer.body) <= 200_000
    body = gatherings.body(root, budget_bytes=200_000, task="the frame queue of the driver")
    assert body["cache_hit"]
    assert body["truncated"]
    assert body["context"]["project_structure"]["total_files"] == files
    edited = next(root.glob("**/*.c"))
    edited.write_text("int frame_queue;\n")
    found = gatherings.body(root, budget_bytes=200_000)["context"]["relevant_files"][0]
    assert found["path"] == str(edited.relative_to(root))


@pytest.mark.parametrize("tracked", [True, False], ids=["repository", "plain"])
def test_no_regular_files(root: Path, gatherings: Gatherings, tracked: bool) -> None:
    """Pipes, sockets and devices are named at most, and nobody waits for them."""
    if not tracked:
        (root / ".git").rename(root.parent / "was-git")
    os.mkfifo(root / "pipe.py")
    (root / "top.py").unlink()
    os.mkfifo(root / "top.py")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket.py"))
    with suppress(PermissionError):  # only root may
        os.mknod(root / "zero.py", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    body = gatherings.body(root)
    assert [file["path"] for file in body["context"]["relevant_files"]] == ["a/b/c.py"]


def swap_file(root: Path) -> None:
    (root / "a/b/c.py").unlink()
    (root / "a/b/c.py").symlink_to(root.parent / "outside" / "secret.py")


def swap_directory(root: Path) -> None:
    (root / "a/b").rename(root.parent / "b-was")
    (root / "a/b").symlink_to(root.parent / "outside")
    (root.parent / "outside" / "c.py").write_text(SECRET_TEXT)


def swap_high_directory(root: Path) -> None:
    (root / "a").rename(root.parent / "a-was")
    put(root.parent, "outside/b/c.py", SECRET_TEXT)
    (root / "a").symlink_to(root.parent / "outside")


def swap_for_pipe(root: Path) -> None:
    (root / "a/b/c.py").unlink()
    os.mkfifo(root / "a/b/c.py")


@pytest.mark.parametrize("swap", [swap_file, swap_directory, swap_high_directory, swap_for_pipe])
@pytest.mark.parametrize("task", ["", "what lies inside"])
def test_swapped_after_the_listing(
    root: Path, gatherings: Gatherings, swap: Callable[[Path], None], task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What becomes a link or a pipe between listing and reading is not followed, and the next answer is true."""
    original = survey_module.survey

    def survey(opened: Root, repository: Repository | None, before: Survey | None = None) -> Survey:
        found = original(opened, repository, before)
        monkeypatch.setattr(gathering, "survey", original)
        swap(root)
        return found

    monkeypatch.setattr(gathering, "survey", survey)
    for _ in range(2):
        answer = gatherings.answer(root, task=task)
        assert SECRET_TEXT.strip().encode() not in answer.body
    assert [file["path"] for file in gatherings.body(root, task=task)["context"]["relevant_files"]] == ["top.py"]


def test_changed_between_listing_and_reading(
    root: Path, gatherings: Gatherings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written after the listing is shown as it is then, and not taken for what is listed later."""
    original = Root.read

    def read(opened: Root, path: str, most_bytes: int) -> Found:
        if path == "top.py":
            monkeypatch.setattr(Root, "read", original)
            put(root, "top.py", "between = 2\n")
        return original(opened, path, most_bytes)

    monkeypatch.setattr(Root, "read", read)
    time.sleep(0.03)
    gatherings.answer(root)
    git(root, "checkout", "-q", "-f", "--", "top.py")
    contents = {file["path"]: file["content"] for file in gatherings.body(root)["context"]["relevant_files"]}
    assert contents["top.py"] == "inside = 2\n"


def test_out_of_time(root: Path, gatherings: Gatherings) -> None:
    """When time runs out the answer is what there is, says so, and is not kept."""
    for number in range(40):
        put(root, f"f{number:02}.py", "x = 1\n")
    seconds = count()
    gatherings.room._seconds = lambda: float(next(seconds))
    body = gatherings.body(root)
    assert body["truncated"]
    assert 0 < body["file_count"] < 42
    late = [one for one in body["omitted"] if one["why"] == OUT_OF_TIME]
    assert len(late) == 42 - body["file_count"] == body["omitted_count"]
    gatherings.room._seconds = time.monotonic
    again = gatherings.body(root)
    assert not again["cache_hit"]
    assert again["file_count"] == 42


def test_index_out_of_time(root: Path, gatherings: Gatherings, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no time to read all texts, those that were read rank, and the answer is not kept."""
    moment = 0.0
    gatherings.room._seconds = lambda: moment
    original = texts.TextCache.studied

    def studied(*arguments: object) -> object:
        nonlocal moment
        moment += 6.0
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("cco_sidecar.backends.gatherer.index._BATCH", 1)
    monkeypatch.setattr(texts.TextCache, "studied", studied)
    body = gatherings.body(root, task="what is inside")
    reasons = [file["reason"] for file in body["context"]["relevant_files"]]
    assert sum("its text has" in reason for reason in reasons) == 1
    assert not gatherings.body(root, task="what is inside")["cache_hit"]
