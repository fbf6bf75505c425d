"""Looking at a file for a hook: where it lies, what it is like, and never beyond the project."""

import os
from pathlib import Path

import pytest

from cco_sidecar.backends.looking import MOST_DIGESTED, look


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    (found / "src").mkdir(parents=True)
    (found / "src" / "a.py").write_text("one")
    (tmp_path / "secret").write_text("hush")
    return found


def test_absolute_and_relative(root: Path) -> None:
    """Both are named from the root; a digest tells the content."""
    seen = look(root, str(root / "src" / "a.py"))
    assert seen.names == ("src/a.py",)
    assert seen.stamp is not None
    assert (seen.stamp.size, len(seen.stamp.digest or "")) == (3, 32)
    assert look(root, "src/../src/./a.py") == seen
    (root / "src" / "a.py").write_text("two")
    again = look(root, "src/a.py").stamp
    assert again is not None
    assert not again.same(seen.stamp)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../secret", "..", ".", "/", "\0", "a\0b", "/proc/self/environ", "x" * 5000]
)
def test_outside(root: Path, path: str) -> None:
    """What is not below the root is not looked at."""
    seen = look(root, path)
    assert seen.stamp is None
    assert seen.names in {(), ("x" * 5000,)}


def test_links(root: Path) -> None:
    """A link has both names; one that leads out has its own, and what is there is not read."""
    (root / "link.py").symlink_to("src/a.py")
    (root / "out").symlink_to(root.parent / "secret")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    assert look(root, "link.py").names == ("link.py", "src/a.py")
    assert look(root, "link.py").stamp == look(root, "src/a.py").stamp
    for name in ("out", "up/secret"):
        seen = look(root, name)
        assert (seen.names, seen.stamp) == ((name,), None)
    assert look(root, "loop").names == ("loop",)


def test_a_root_by_another_name(root: Path) -> None:
    """An agent may name the project by a link to it, or the sidecar may."""
    other = root.parent / "other"
    other.symlink_to(root)
    for base in (root, other):
        for path in (root / "src" / "a.py", other / "src" / "a.py"):
            assert look(base, str(path)).names[-1] == "src/a.py"


def test_what_is_no_file(root: Path) -> None:
    """A directory, a pipe and a file that may not be read hold nobody up; what is new has no stamp."""
    os.mkfifo(root / "pipe")
    (root / "big").write_bytes(b"x" * (MOST_DIGESTED + 1))
    assert look(root, "new.py").stamp is None
    assert look(root, "new.py").names == ("new.py",)
    assert look(root, "src/a.py/b").stamp is None
    for name in ("pipe", "src", "big"):
        stamp = look(root, name).stamp
        assert stamp is not None
        assert stamp.digest is None
