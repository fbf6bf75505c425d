"""Run files: who runs, and who only seems to."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cco_sidecar.runfile import (
    RunFile,
    is_alive,
    path_of,
    port_as_given,
    read,
    remove,
    running,
    running_on,
    started_at,
    write,
)


def entry(port: int = 4000, pid: int | None = None) -> RunFile:
    """Make an entry, of this process if no other is named."""
    return RunFile(f"http://127.0.0.1:{port}", port, pid or os.getpid(), "/data", "/home/admin-token")


def ended_pid() -> int:
    """Give the pid of a process that is gone."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return child.pid


def test_written_as_promised(tmp_path: Path) -> None:
    """The file has the contract's fields and is its owner's alone; nothing else is left beside it."""
    file = write(tmp_path, 4000, entry())
    assert json.loads(file.read_text()) == {
        "url": "http://127.0.0.1:4000",
        "port": 4000,
        "pid": os.getpid(),
        "storage": "/data",
        "admin_token_file": "/home/admin-token",
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert [it.name for it in (tmp_path / "run").iterdir()] == ["4000.json"]
    assert running(tmp_path) == [entry()]


def test_found_by_either_port(tmp_path: Path) -> None:
    """A sidecar that took any free port is found as 0 and by the port it got."""
    write(tmp_path, 0, entry(41234))
    assert running_on(tmp_path, 0) == running_on(tmp_path, 41234) == entry(41234)
    assert running_on(tmp_path, 3001) is None
    assert port_as_given(tmp_path, entry(41234)) == 0
    write(tmp_path, 4000, entry())
    assert port_as_given(tmp_path, entry()) == 4000


def test_process_is_gone(tmp_path: Path) -> None:
    """The run file of a process that was killed does not count."""
    write(tmp_path, 4000, entry(pid=ended_pid()))
    assert running(tmp_path) == []


def test_zombie_is_gone() -> None:
    """A process that ended is gone, also before its parent looked."""
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # ends when the process has closed it
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid)
    child.wait()
    child.stdout.close()


def test_pid_was_given_again(tmp_path: Path) -> None:
    """A process that started long after the file was written is another one."""
    file = write(tmp_path, 4000, entry())
    started = started_at(os.getpid())
    assert started is not None
    os.utime(file, (started - 3600, started - 3600))
    assert running(tmp_path) == []


def test_damaged(tmp_path: Path) -> None:
    """What is no run file is passed over."""
    file = path_of(tmp_path, 4000)
    file.parent.mkdir()
    good = entry()._asdict()
    for text in ("", "[]", "{}", "null", json.dumps({**good, "pid": "x"}), json.dumps({**good, "pid": -1})):
        file.write_text(text)
        assert read(file) is None
    assert running(tmp_path / "missing") == []


def test_remove_only_ones_own(tmp_path: Path) -> None:
    """A sidecar that ends late does not remove its successor's file."""
    write(tmp_path, 4000, entry())
    remove(tmp_path, 4000, os.getpid() + 1)
    assert path_of(tmp_path, 4000).exists()
    remove(tmp_path, 4000, os.getpid())
    assert not path_of(tmp_path, 4000).exists()
    remove(tmp_path, 4000, os.getpid())
