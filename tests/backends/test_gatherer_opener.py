"""Opening files below a root: regular ones only, through no symlink, not too big, never waiting."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cco_sidecar.backends.gatherer import opener
from cco_sidecar.backends.gatherer.opener import Found, NotRegularError, Root, opened_root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("OUTSIDE")
    (tmp_path / "project" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "project" / "deep" / "er" / "file").write_text("inside")
    with opened_root(tmp_path / "project") as opened:
        yield opened


def test_reads_a_regular_file(root: Root) -> None:
    """A file is read whole, and known not to be when it is bigger than asked for."""
    assert root.read("deep/er/file", 6) == Found(b"inside", True)
    assert not root.read("deep/er/file", 5).whole


@pytest.mark.parametrize("path", ["link", "deep/link", "way/secret", "deep/way/secret", "dangling"])
def test_follows_no_symlink(root: Root, path: str) -> None:
    """Neither the last name nor one on the way may be a symlink."""
    outside = root.path.parent / "outside"
    for place in (root.path, root.path / "deep"):
        (place / "link").symlink_to(outside / "secret")
        (place / "way").symlink_to(outside)
    (root.path / "dangling").symlink_to("nothing")
    with pytest.raises(OSError):
        root.read(path, 100)


@pytest.mark.parametrize(
    "path", ["../outside/secret", "deep/../../outside/secret", "deep//er/file", "/etc/passwd", "./deep/er/file"]
)
def test_stays_below(root: Root, path: str) -> None:
    """A path that is not plain names below the root is refused."""
    with pytest.raises(OSError):
        root.read(path, 100_000)


@pytest.mark.timeout(10)
def test_special_files(root: Root) -> None:
    """A pipe, a socket, a directory: refused, at once."""
    os.mkfifo(root.path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root.path / "socket"))
    for name in ("pipe", "deep"):
        with pytest.raises(NotRegularError):
            root.read(name, 100)
    with pytest.raises(OSError):
        root.read("socket", 100)


def test_descriptors_are_bounded(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories stay open for the next file, but never many of them, and none in the end."""
    monkeypatch.setattr(opener, "MOST_DIRECTORIES", 4)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(40):
        directory = root.path / f"d{number}" / "e"
        directory.mkdir(parents=True)
        (directory / "f").write_text(str(number))
        assert root.read(f"d{number}/e/f", 10).data == str(number).encode()
        assert len(os.listdir("/proc/self/fd")) - before <= 6


def test_depth_is_bounded(root: Root) -> None:
    """A path deeper than anybody's is refused, not followed."""
    with pytest.raises(NotRegularError):
        root.read("/".join(["d"] * 5_000), 10)
