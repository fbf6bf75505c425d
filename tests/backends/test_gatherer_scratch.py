"""Directories for a moment: private, gone afterwards, and if not, then with the next start."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from cco_sidecar.backends.gatherer import scratch
from cco_sidecar.backends.gatherer.gatherer_process import GathererProcess
from cco_sidecar.backends.gatherer.scratch import scratch_directory, sweep

PATIENCE_SECONDS = 20.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory that is this process's /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(place: Path, name: str = "cco-git-left", seconds: float = 3600.0) -> Path:
    """Make what a killed process leaves, so long ago."""
    directory = place / name
    (directory / "refs").mkdir(parents=True)
    directory.chmod(0o700)
    (directory / "HEAD").write_text("ref: refs/heads/main\n")
    age(directory, seconds)
    return directory


def age(directory: Path, seconds: float = 3600.0) -> None:
    at = time.time() - seconds
    os.utime(directory, (at, at))


def test_for_a_moment(place: Path) -> None:
    """It is there, empty and private, and then it is not, whatever lies in it."""
    with scratch_directory() as directory:
        assert directory.parent == place
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "below").mkdir()
        (directory / "link").symlink_to(place)
    assert list(place.iterdir()) == []


def test_in_use(place: Path) -> None:
    """What is in use stays, however old; afterwards it would not."""
    with scratch_directory() as directory:
        age(directory)
        sweep()
        assert directory.exists()
    left(place)
    sweep()
    assert list(place.iterdir()) == []


def test_what_stays(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is young, of another name, open to others, a file or a link stays, and so does what a link leads to."""
    elsewhere = left(tmp_path_factory.mktemp("elsewhere"))
    young = left(place, "cco-git-young", scratch._YOUNG_SECONDS / 2)
    other = left(place, "git-other")
    shared = left(place, "cco-git-shared")
    shared.chmod(0o755)
    file, link = place / "cco-git-file", place / "cco-git-link"
    file.touch(mode=0o600)
    age(file)
    link.symlink_to(elsewhere)
    linking = left(place, "cco-git-linking")
    (linking / "objects").symlink_to(elsewhere)
    age(linking)
    sweep()
    assert {*place.iterdir()} == {young, other, shared, file, link}
    assert (elsewhere / "HEAD").exists()


def test_next_start() -> None:
    """The process that gathers clears up after one that was killed."""
    directory = left(Path("/tmp"), f"cco-git-test-{os.getpid()}")  # its environment names no other place
    process = GathererProcess(1 << 20)
    try:
        process.start()
        ends = time.monotonic() + PATIENCE_SECONDS
        while directory.exists():
            assert time.monotonic() < ends
            time.sleep(0.01)
    finally:
        process.close()
