"""Which `claude` a program belongs to, from what ``/proc`` says."""

from pathlib import Path

import pytest

from cco_sidecar.cli.claude_process import Process, claude_above, machine

HERE = {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "s-1"}
MACHINE = "01234567.42"


class FakeProc:
    """A directory like ``/proc``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/kernel/random").mkdir(parents=True)
        (root / "sys/kernel/random/boot_id").write_text("01234567-89ab-cdef-0123-456789abcdef\n")
        (root / "self/ns").mkdir(parents=True)
        (root / "self/ns/pid").symlink_to("pid:[42]")

    def add(self, pid: int, parent: int, name: str, **environ: str) -> None:
        """Add a process, which began at its pid times ten."""
        directory = self.root / str(pid)
        directory.mkdir()
        fields = ["S", str(parent), *["0"] * 17, str(pid * 10), "0"]
        (directory / "stat").write_text(f"{pid} ({name}) in) {' '.join(fields)}")
        (directory / "comm").write_text(f"{name}\n")
        (directory / "environ").write_bytes(b"".join(f"{key}={value}\0".encode() for key, value in environ.items()))


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """A shell in which a person started `claude`."""
    found = FakeProc(tmp_path / "proc")
    found.add(1, 0, "init")
    found.add(50, 1, "bash", HOME="/h")
    found.add(60, 50, "2.1.197", HOME="/h")
    return found


def above(proc: FakeProc, parent: int, environ: dict[str, str] | None = None) -> Process | None:
    return claude_above(HERE if environ is None else environ, parent, proc.root)


def test_a_server_and_a_hook(proc: FakeProc) -> None:
    """The server's parent is claude, a hook has a shell between them, wrappers may be more; any name will do."""
    claude = Process(MACHINE, 60, 600)
    assert above(proc, 60) == claude
    proc.add(70, 60, "sh", **HERE)
    proc.add(71, 70, "wrapper (of) mine", **HERE)
    assert above(proc, 71) == claude


def test_a_claude_in_a_claude(proc: FakeProc) -> None:
    """One that a tool of another started has the other's session in its environment, and gives its own on."""
    proc.add(70, 60, "bash", **HERE)
    proc.add(80, 70, "claude", **HERE)
    inner = {**HERE, "CLAUDE_CODE_SESSION_ID": "s-2"}
    proc.add(90, 80, "sh", **inner)
    assert above(proc, 90, inner) == Process(MACHINE, 80, 800)


def test_an_older_claude(proc: FakeProc) -> None:
    """Without a session in the environment, the name says it."""
    older = {"CLAUDECODE": "1"}
    proc.add(65, 60, "claude")
    proc.add(70, 65, "sh", **older)
    assert above(proc, 70, older) == Process(MACHINE, 65, 650)
    assert above(proc, 60, older) is None


def test_no_claude(proc: FakeProc) -> None:
    """A person at a shell, or another client, is not a claude; nor is init, which has what a claude left behind."""
    assert above(proc, 60, {}) is None
    proc.add(70, 1, "sh", **HERE)
    assert above(proc, 70) is None


def test_claude_as_the_first_process(tmp_path: Path) -> None:
    """In a container it may be."""
    proc = FakeProc(tmp_path / "proc")
    proc.add(1, 0, "claude", HOME="/h")
    proc.add(7, 1, "sh", **HERE)
    assert above(proc, 7) == Process(MACHINE, 1, 10)


def test_what_cannot_be_known(proc: FakeProc, tmp_path: Path) -> None:
    """Without /proc, or with one that says nothing, there is no answer, and no failure."""
    assert claude_above(HERE, 60, tmp_path / "nothing") is None
    (proc.root / "60" / "environ").unlink()
    assert above(proc, 60) is None
    (proc.root / "50" / "environ").unlink()
    (proc.root / "60" / "environ").write_bytes(b"")
    (proc.root / "self/ns/pid").unlink()
    assert above(proc, 60) is None


def test_this_machine() -> None:
    """The real /proc has a name for it."""
    boot, _, space = machine().partition(".")
    assert len(boot) == 8
    assert space.isdigit()
