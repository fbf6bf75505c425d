"""The storage directory: ours alone, or refused in one line that says what to do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cco_sidecar.backends.private import read_private, remove_private, write_private
from cco_sidecar.backends.storage import StorageError, claim_storage, make_below


@pytest.fixture
def handles() -> Iterator[list[int]]:
    """Handles to close at the end."""
    found: list[int] = []
    yield found
    for handle in found:
        os.close(handle)


def refusal(path: Path) -> str:
    with pytest.raises(StorageError) as refused:
        claim_storage(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_made(tmp_path: Path, handles: list[int]) -> None:
    """A directory that is not there is made, for its owner alone, whatever the umask."""
    before = os.umask(0)
    try:
        handles.append(claim_storage(tmp_path / "a" / "storage"))
    finally:
        os.umask(before)
    assert oct((tmp_path / "a" / "storage").stat().st_mode & 0o777) == "0o700"


def test_again(tmp_path: Path) -> None:
    """What an earlier run made is taken again, once that has ended."""
    for _ in range(2):
        os.close(claim_storage(tmp_path / "storage"))


def test_symlink(tmp_path: Path) -> None:
    """A link is refused, wherever it leads: somebody else may have put it there."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert "is a symlink" in refusal(tmp_path / "link")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert "is a symlink" in refusal(tmp_path / "dangling")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770, 0o720, 0o702])
def test_writable_by_others(tmp_path: Path, mode: int) -> None:
    """A directory that others can write is refused, with the command that mends it."""
    path = tmp_path / "storage"
    path.mkdir()
    path.chmod(mode)
    assert f"chmod go-w {path}" in refusal(path)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o700])
def test_not_writable_by_others(tmp_path: Path, handles: list[int], mode: int) -> None:
    """A directory that others can only read is ours to use."""
    path = tmp_path / "storage"
    path.mkdir()
    path.chmod(mode)
    handles.append(claim_storage(path))


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_no_directory(tmp_path: Path, kind: str) -> None:
    """Something that is no directory is refused, and blocks nobody."""
    path = tmp_path / "storage"
    if kind == "file":
        path.write_text("x")
    else:
        os.mkfifo(path)
    assert "is not a directory" in refusal(path)


def test_below_a_file(tmp_path: Path) -> None:
    """A parent that is no directory is said to be the trouble."""
    (tmp_path / "file").write_text("x")
    assert "cannot be used" in refusal(tmp_path / "file" / "storage")


def test_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's directory is refused by the owner's number."""
    path = tmp_path / "storage"
    path.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert f"belongs to user {path.stat().st_uid}" in refusal(path)


def test_second_claim(tmp_path: Path) -> None:
    """While another process has it, a claim is refused and names that process."""
    path = tmp_path / "storage"
    program = (
        "import sys; from pathlib import Path; from cco_sidecar.backends.storage import claim_storage\n"
        "claim_storage(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        line = refusal(path)
        assert "is in use" in line
        assert f"process {holder.pid} " in line or "another sidecar" in line
        assert Path("/proc/locks").exists() == (f"process {holder.pid} " in line)
        assert holder.stdin is not None
        holder.stdin.close()
    os.close(claim_storage(path))


def test_second_claim_in_one_process(tmp_path: Path, handles: list[int]) -> None:
    """Also one process gets it once only."""
    handles.append(claim_storage(tmp_path / "storage"))
    assert f"process {os.getpid()} " in refusal(tmp_path / "storage")


def test_below(tmp_path: Path) -> None:
    """Directories below are private, each on the way; made again they are the same."""
    before = os.umask(0)
    try:
        for _ in range(2):
            path = make_below(tmp_path, "logs", "agents")
    finally:
        os.umask(before)
    assert path == tmp_path / "logs" / "agents"
    assert {oct(found.stat().st_mode & 0o777) for found in (path, path.parent)} == {"0o700"}


def test_in_the_way_below(tmp_path: Path) -> None:
    """A file or a link where a directory must be stops the start."""
    (tmp_path / "logs").write_text("x")
    with pytest.raises(StorageError, match="cannot be made"):
        make_below(tmp_path, "logs", "agents")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is a symlink"):
        make_below(tmp_path, "results", "x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Private files


def test_private_file(tmp_path: Path) -> None:
    """A private file is for its owner alone, replaced whole, and leaves nothing else behind."""
    path = tmp_path / "run" / "file"
    before = os.umask(0)
    try:
        write_private(path, b"one")
        first = path.stat().st_ino
        write_private(path, b"two")
    finally:
        os.umask(before)
    assert (path.read_bytes(), read_private(path)) == (b"two", b"two")
    assert path.stat().st_ino != first
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
    assert os.listdir(path.parent) == ["file"]


def test_private_file_over_a_link(tmp_path: Path) -> None:
    """A link in its place is replaced, not written through."""
    target = tmp_path / "target"
    target.write_bytes(b"not mine")
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").symlink_to(target)
    write_private(home / "file", b"x")
    assert target.read_bytes() == b"not mine"
    assert not (home / "file").is_symlink()


def test_private_directory_that_is_a_link(tmp_path: Path) -> None:
    """A link in place of the directory is refused."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        write_private(tmp_path / "home" / "file", b"x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_private_file_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written leaves the old file, and nothing else."""
    write_private(tmp_path / "home" / "file", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_private(tmp_path / "home" / "file", b"new")
    assert (tmp_path / "home" / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path / "home") == ["file"]


def test_private_file_that_is_not_there(tmp_path: Path) -> None:
    """There is nothing to read, and nothing to remove."""
    assert read_private(tmp_path / "x") is None
    remove_private(tmp_path / "x")
    write_private(tmp_path / "home" / "x", b"x")
    remove_private(tmp_path / "home" / "x")
    assert read_private(tmp_path / "home" / "x") is None
