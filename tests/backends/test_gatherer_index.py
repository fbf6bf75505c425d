"""The index of terms: as if made anew each time, but read only what is new, within its bytes."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.backends.gatherer import index as index_module
from cco_sidecar.backends.gatherer.git import Git
from cco_sidecar.backends.gatherer.index import TermIndex, indexed
from cco_sidecar.backends.gatherer.opener import opened_root
from cco_sidecar.backends.gatherer.reading import project_of
from cco_sidecar.backends.gatherer.repository import opened_repository
from cco_sidecar.backends.gatherer.survey import survey
from cco_sidecar.core.context.project import Footprint, GitFacts, Project, ProjectFile
from cco_sidecar.core.context.terms import Terms, message_terms, term_of, terms_of_word
from tests.backends.test_gatherer import commit_all, git, put


def look(root: Path) -> Project:
    with opened_root(root) as opened, opened_repository(root, Git()) as repository:
        return project_of(opened, repository, survey(opened, repository), None, lambda: None)


def documents(index: TermIndex, root: Path, project: Project | None = None) -> dict[str, Terms]:
    with opened_root(root) as opened:
        return index.documents(opened, project or look(root), lambda: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    put(tmp_path, "a.py", "def bucket(): pass\n")
    put(tmp_path, "b.py", "refill = 1\n")
    commit_all(tmp_path)
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths of what is read for the index."""
    paths: list[str] = []
    original = index_module._read

    def read(*arguments: object) -> Terms:
        paths.append(arguments[1].path)  # type: ignore[attr-defined]
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(index_module, "_read", read)
    yield paths


def test_reads_what_changed(root: Path, reads: list[str]) -> None:
    """Each content is read once: an edit costs one file, a commit or a new time of an unchanged file nothing."""
    index = TermIndex(1 << 20)
    assert set(documents(index, root)) == {"a.py", "b.py"}
    put(root, "b.py", "leak = 2\n")
    changed = documents(index, root)
    assert any(term == term_of("leak") for term, _ in changed["b.py"].found(frozenset([term_of("leak")])))
    assert reads == ["a.py", "b.py", "b.py"]
    os.utime(root / "a.py", ns=(1, 1))
    documents(index, root)
    assert reads == ["a.py", "b.py", "b.py"]
    commit_all(root)
    documents(index, root)
    assert reads == ["a.py", "b.py", "b.py", "b.py"]  # it has a blob now


def test_git_is_told_not_to_look(root: Path) -> None:
    """A change that git was told to overlook is seen all the same."""
    index = TermIndex(1 << 20)
    git(root, "update-index", "--assume-unchanged", "b.py")
    documents(index, root)
    put(root, "b.py", "leak = 2\n")
    assert documents(index, root)["b.py"] == documents(TermIndex(1 << 20), root)["b.py"]


def test_change_while_reading(root: Path) -> None:
    """What a file says after it was looked at is not kept as what it said then."""
    index = TermIndex(1 << 20)
    before = look(root)
    put(root, "b.py", "something = 'else'\n")
    documents(index, root, before)
    git(root, "checkout", "-q", "b.py")
    assert documents(index, root) == documents(TermIndex(1 << 20), root)


def test_no_text(root: Path) -> None:
    """Binaries, files that are too big or generated, and such as cannot be read have no terms."""
    put(root, "c.py", b"\0bucket")
    put(root, "d.py", "bucket " * 200_000)
    put(root, "package-lock.json", '{"bucket": 1}')
    project = look(root)
    (root / "a.py").unlink()
    assert set(documents(TermIndex(1 << 20), root, project)) == {"b.py"}


def test_secrets_have_no_terms(root: Path) -> None:
    """Nobody learns from a rank or a reason that he guessed a secret."""
    secret = "ghp_" + "a8Kd0Lm3Qw5Zx7Vb9Nc1Rt2Yp4Us6Hj8Gk0f"
    put(root, "a.py", f'token = "{secret}"\n')
    found = documents(TermIndex(1 << 20), root)["a.py"]
    assert found.found(frozenset(terms_of_word(b"token")))
    assert not found.found(frozenset(terms_of_word(secret.encode())))


def test_is_bounded(root: Path) -> None:
    """The bytes have a bound, whatever the texts; one project fits in it and is read once."""
    for number in range(60):
        put(root, f"f{number:02}.py", " ".join(f"w{number}x{word}" for word in range(400)))
    index = TermIndex(100_000)
    found = documents(index, root)
    assert 5 < len(found) < 60
    assert 20_000 < index.size_bytes <= 100_000
    assert documents(index, root) == found
    assert index.clear() > 20_000
    assert index.size_bytes == 0


def test_abandoned(root: Path) -> None:
    """Work that nobody waits for ends at the next file."""

    def check() -> None:
        raise InterruptedError

    with opened_root(root) as opened, pytest.raises(InterruptedError):
        TermIndex(1 << 20).documents(opened, look(root), check)


def test_choice_of_a_large_project() -> None:
    """If not all can be indexed: what changed, then by how recent it is, source before the rest, shallow first."""
    paths = ["a/b/deep.py", "doc.md", "dirty.md", "old.md", "shallow.py"]
    files = [ProjectFile(path, 1_000, 0, "modified" if path == "dirty.md" else "", path) for path in paths]
    steps = [Footprint("1", ["doc.md"], message_terms("")), Footprint("2", ["old.md", "doc.md"], message_terms(""))]
    project = Project("/p", files, GitFacts("main", None, (), (), None, None, footprints=steps), {})
    order = ["dirty.md", "doc.md", "old.md", "shallow.py", "a/b/deep.py"]
    for count in range(5):
        assert [file.path for file in indexed(project, count * 2_024)] == order[:count]
    assert [file.path for file in indexed(project, 5 * 2_024)] == paths
    assert indexed(evolve(project, git=None), 2_024)[0].path == "dirty.md"


EDITS = st.tuples(
    st.sampled_from(["a.py", "b.py", "src/c.py"]),
    st.sampled_from(["write", "delete", "commit", "stage", "restore", "touch"]),
    st.sampled_from(["bucket", "refill", "def leak(): pass", ""]),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(EDITS, min_size=1, max_size=6))
def test_like_a_fresh_one(edits: list[tuple[str, str, str]]) -> None:
    """Whatever happens to the files, the index that lived through it says what a fresh one says."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        git(root, "init", "-q", "-b", "main")
        put(root, "a.py", "bucket\n")
        commit_all(root)
        index = TermIndex(1 << 20)
        documents(index, root)
        for path, deed, text in edits:
            _do(root, path, deed, text)
            time.sleep(0.011)  # the kernel's clock for files moves in ticks
            assert documents(index, root) == documents(TermIndex(1 << 20), root)


def _do(root: Path, path: str, deed: str, text: str) -> None:
    if deed == "write":
        put(root, path, text)
    elif deed == "delete":
        (root / path).unlink(missing_ok=True)
    elif deed == "commit":
        commit_all(root)
    elif deed == "stage":
        git(root, "add", "-A")
    elif deed == "restore":
        git(root, "checkout", "-q", "-f", "HEAD")
    elif (root / path).exists():
        os.utime(root / path, ns=(5, 5))
