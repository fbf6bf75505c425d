"""``cco storage``: what it prints and how it ends; it needs no sidecar, and starts fast."""

import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backends.stored import PROJECT, content_of, make_storage, put
from tests.cli.test_cli_start import probed

if TYPE_CHECKING:
    from tests.cli.conftest import Cco


@pytest.fixture
def storage(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage where the settings say that it is."""
    found = make_storage(tmp_path / "storage")
    monkeypatch.setenv("CCO_SIDECAR_STORAGE", str(found))
    monkeypatch.chdir(tmp_path)
    return found


def test_verify_sound(storage: Path, cco: "Cco") -> None:
    """A sound storage ends with 0, with a line for a person and all the facts for a program."""
    found = cco("storage", "verify")
    assert found.exit_code == 0
    data = json.loads(found.stdout)
    assert (data["sound"], data["results"], data["findings"]) == (True, 3, [])
    assert data["projects"][PROJECT]["records"] == 10
    assert "is sound" in found.stderr
    table = cco("storage", "verify", "--format", "table")
    assert (table.exit_code, table.stdout) == (0, "")
    assert "is sound. Projects: 1, segments: 2, records: 10, results: 3, in quarantine: 0." in table.stderr
    assert cco("storage", "verify", "--format", "csv").stdout == "level,path,problem,advice\n"


def test_verify_damaged(storage: Path, cco: "Cco") -> None:
    """Damage ends with 1 and has a line each, in every format."""
    path = next((storage / "events" / PROJECT).iterdir())
    path.write_bytes(path.read_bytes().replace(b'"text":"x"', b'"text":"y"', 1))
    for name in ("json", "table", "csv", "text", "yaml"):
        found = cco("storage", "verify", "--format", name)
        assert found.exit_code == 1
        assert "1 stretch within it cannot be read" in found.stdout
        assert "is damaged" in found.stderr
    line = next(it for it in cco("storage", "verify", "--format", "table").stdout.splitlines() if "stretch" in it)
    assert line.startswith("damage  events/p/")
    assert "cco storage restore" in line


def test_verify_note(storage: Path, cco: "Cco") -> None:
    """What is no damage ends with 0."""
    put(storage / "stray\x1b[31m.txt", b"")
    found = cco("storage", "verify", "--format", "text")
    assert found.exit_code == 0
    assert found.stdout.startswith("note: stray")


def test_verify_none(storage: Path, cco: "Cco") -> None:
    """Without a storage, one sentence."""
    found = cco("storage", "verify", "--storage", "elsewhere")
    assert found.exit_code == 1
    assert found.stderr == f"Error: There is no storage at {storage.parent / 'elsewhere'}: name it with --storage.\n"


def test_backup_and_restore(storage: Path, cco: "Cco") -> None:
    """There and back: each says what is in it."""
    found = cco("storage", "backup", "b.tar.gz")
    assert (found.exit_code, found.stderr) == (0, "")
    data = json.loads(found.stdout)
    assert (data["files"], data["results"], data["projects"][PROJECT]["last_sequence"]) == (8, 3, 10)
    assert data["archive_bytes"] == Path("b.tar.gz").stat().st_size
    assert "members" not in data
    back = cco("storage", "restore", "b.tar.gz", "--storage", "new")
    assert back.exit_code == 0
    assert json.loads(back.stdout)["sound"] is True
    assert back.stderr.startswith("Restored. ")
    assert content_of(Path("new")) == content_of(storage)
    again = cco("storage", "restore", "b.tar.gz", "--storage", "new")
    assert (again.exit_code, "--force" in again.stderr) == (1, True)
    forced = cco("storage", "restore", "b.tar.gz", "--storage", "new", "--force", "--format", "table")
    assert forced.exit_code == 0
    assert "What was there lies in" in forced.stderr


def test_backup_to_stdout(storage: Path, cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` writes the archive alone to stdout, and never to a terminal."""
    found = cco("storage", "backup", "-")
    assert found.exit_code == 0
    Path("o.tar").write_bytes(found.stdout_bytes)
    with tarfile.open("o.tar") as tar:
        assert f"results/{PROJECT}/issue-1/coder.json" in tar.getnames()
    assert json.loads(found.stderr)["results"] == 3
    monkeypatch.setattr("cco_sidecar.cli.storage.is_terminal", lambda: True)
    assert cco("storage", "backup", "-").exit_code == 2


def test_backup_without_something(storage: Path, cco: "Cco") -> None:
    """What could not be read is named, and the end is 1; the archive has the rest."""
    put(storage / "results" / PROJECT / "issue-1" / "coder.json", b" " * (20 * 1024 * 1024 + 1))
    found = cco("storage", "backup", "b.tar")
    assert found.exit_code == 1
    assert "Left out, for it cannot be read: results/p/issue-1/coder.json (1 in all)." in found.stderr
    assert json.loads(found.stdout)["files"] == 7


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["backup", "b.zip"], 2, "FILE.tar.gz"),
        (["backup"], 2, "Missing argument"),
        (["backup", "none/b.tar"], 1, "No such file"),
        (["backup", "storage/b.tar"], 1, "in the storage itself"),
        (["restore", "none.tar", "--storage", "new"], 1, "none.tar cannot be read"),
        (["restore", "text.txt", "--storage", "new"], 1, "is no whole tar archive"),
        (["restore", "link.tar", "--storage", "new"], 1, "is no plain file"),
        (["restore", "text.txt", "--storage", "text.txt"], 1, "is not a directory"),
    ],
)
def test_refusals(storage: Path, cco: "Cco", arguments: list[str], code: int, words: str) -> None:
    """What cannot be done is one sentence, and leaves nothing behind."""
    Path("text.txt").write_text("no archive " * 100)
    with tarfile.open("link.tar", "w") as tar:
        info = tarfile.TarInfo("results/p/i/coder.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    before = sorted(os.listdir())
    found = cco("storage", *arguments)
    assert found.exit_code == code
    assert words in found.stderr
    assert found.stdout == ""
    assert sorted(os.listdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(storage: Path, cco: "Cco") -> None:
    """Where one may not write, one sentence."""
    Path("locked").mkdir(mode=0o500)
    found = cco("storage", "backup", "locked/b.tar")
    assert (found.exit_code, found.stderr.count("\n")) == (1, 1)
    assert "Permission denied" in found.stderr


def test_denied(storage: Path, cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is said in its words."""

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", deny)
    found = cco("storage", "backup", "b.tar")
    assert found.exit_code == 1
    assert found.stderr == f"Error: {storage.parent / 'b.tar'} cannot be written: Permission denied.\n"


def test_fast(storage: Path) -> None:
    """It needs neither Twisted nor HTTP."""
    for arguments in (["verify"], ["backup", "f.tar"], ["restore", "f.tar", "--storage", "fast"]):
        code, modules, _ = probed("storage", *arguments)
        assert code == 0
        assert not modules & {"twisted", "klein", "http.client", "yaml", "rich", "cryptography"}
