"""Backup and restore: all of it goes and comes back; what is hostile or broken is refused, without a trace."""

import errno
import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cco_sidecar.backends.segments import frame, segment_name
from cco_sidecar.backends.storage import StorageError, claim_storage
from cco_sidecar.backends.storekeeping import backup as backup_module
from cco_sidecar.backends.storekeeping import restoring, unpacking
from cco_sidecar.backends.storekeeping.archive import ArchiveError, Manifest
from cco_sidecar.backends.storekeeping.backup import Maker, backup_into, backup_to
from cco_sidecar.backends.storekeeping.layout import MANIFEST
from cco_sidecar.backends.storekeeping.logcheck import read_segment
from cco_sidecar.backends.storekeeping.restoring import Restored, restore
from cco_sidecar.backends.storekeeping.verifying import verify
from tests.backends.stored import ISSUE, PROJECT, content_of, event, make_storage, put, result, segment

NOW = 1_800_000_000.5
MAKER = Maker("9.9", NOW)
LOG = f"events/{PROJECT}"
NEWEST = f"results/{PROJECT}/{ISSUE}/coder.json"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return make_storage(tmp_path / "storage")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that holds nothing but what is restored."""
    found = tmp_path / "place"
    found.mkdir()
    return found


def backup(storage: Path, name: str = "b.tar", *, force: bool = False) -> Path:
    backup_into(storage.parent / name, storage, MAKER, force=force)
    return storage.parent / name


def bring_back(archive: Path, place: Path, *, force: bool = False) -> Restored:
    return restore(archive, place / "new", force=force, now=NOW)


def refusal(archive: Path, place: Path) -> str:
    """Give the sentence with which an archive is refused, and see that nothing of it is left."""
    before = sorted(place.iterdir())
    with pytest.raises(ArchiveError) as refused:
        bring_back(archive, place)
    assert sorted(place.iterdir()) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


def read_manifest(archive: Path) -> Manifest:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(MANIFEST)
        assert file is not None
        return msgspec.json.decode(file.read(), type=Manifest)


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tgz", "b.tar.zst"])
def test_there_and_back(storage: Path, place: Path, name: str) -> None:
    """What was stored comes back, private, with its times; the cache does not."""
    os.utime(storage / NEWEST, (1_000_000_000, 1_000_000_000))
    archive = backup(storage, name)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    found = bring_back(archive, place)
    assert content_of(place / "new") == content_of(storage)
    assert (place / "new" / NEWEST).stat().st_mtime == 1_000_000_000
    assert [path.name for path in place.iterdir()] == ["new"]
    assert list((place / "new" / "context-cache").iterdir()) == []
    assert found.report == verify(place / "new")
    assert (found.report.sound, found.report.findings, found.files, found.moved_aside) == (True, [], 8, None)


def test_manifest(storage: Path) -> None:
    """The manifest says what is in it, with a checksum of each file."""
    manifest = read_manifest(backup(storage))
    project = manifest.projects[PROJECT]
    assert (project.segments, project.records, project.first_sequence, project.last_sequence) == (2, 10, 1, 10)
    assert (manifest.results, manifest.logs, manifest.quarantined, manifest.left_out) == (3, 1, 0, [])
    assert {member.path for member in manifest.members} == set(content_of(storage))
    assert manifest.version == "9.9"
    assert manifest.created_at == "2027-01-15T08:00:00.500Z"


def test_as_tar_unpacks_it(storage: Path, place: Path) -> None:
    """What tar itself unpacks is a sound storage, too."""
    subprocess.run(["tar", "-xf", backup(storage), "-C", place], check=True)
    place.chmod(0o700)
    assert verify(place).findings == []


def test_to_a_pipe(storage: Path, place: Path) -> None:
    """A backup goes straight through, and is the same one."""
    sink = io.BytesIO()
    sink.seek = None  # type: ignore[assignment, method-assign]  # as a pipe
    manifest = backup_to(sink, storage, MAKER)
    put(place / "piped.tar", sink.getvalue())
    assert read_manifest(place / "piped.tar") == manifest


@pytest.mark.parametrize("prefix", ["storage", ".", "tmp/storage"])
def test_plain_tar(storage: Path, place: Path, tmp_path: Path, prefix: str) -> None:
    """A tar of a storage is taken, wherever its content begins; what was on its way is left away."""
    put(storage / "results" / PROJECT / ISSUE / ".coder.json.new", b"half")
    base = {"storage": tmp_path, ".": storage, "tmp/storage": tmp_path / "above"}[prefix]
    if prefix == "tmp/storage":
        (base / "tmp").mkdir(parents=True)
        storage.rename(base / prefix)
        storage = base / prefix
    archive = tmp_path / "plain.tar"
    subprocess.run(["tar", "-cf", archive, "-C", base, prefix], check=True)
    found = bring_back(archive, place)
    assert (found.manifest, found.report.sound, found.files) == (None, True, 8)
    (storage / "results" / PROJECT / ISSUE / ".coder.json.new").unlink()
    assert content_of(place / "new") == content_of(storage)


def test_under_way(storage: Path, place: Path) -> None:
    """A write that is under way, and a segment that is being made, were not acknowledged, and stay away."""
    whole = content_of(storage)
    with (storage / LOG / segment_name(6)).open("ab") as file:
        file.write(frame(11, event(5))[:-1])
    put(storage / LOG / segment_name(12), segment(12, 4, [])[:70])
    bring_back(backup(storage), place)
    assert content_of(place / "new") == whole


def test_damage_goes_along(storage: Path, place: Path) -> None:
    """What is damaged is carried as it is, and told of when it is back."""
    path = storage / LOG / segment_name(1)
    path.write_bytes(path.read_bytes().replace(b'"text":"x"', b'"text":"y"'))
    report = bring_back(backup(storage), place).report
    assert not report.sound
    assert content_of(place / "new") == content_of(storage)


def test_quarantine_goes_along(storage: Path, place: Path) -> None:
    """What a start has set aside is part of the storage."""
    put(storage / "quarantine" / "events" / PROJECT / f"{segment_name(3)}.1", b"damaged")
    assert read_manifest(backup(storage)).quarantined == 1
    bring_back(storage.parent / "b.tar", place)
    assert content_of(place / "new") == content_of(storage)


def test_not_ours(storage: Path) -> None:
    """Strangers are passed over, and what cannot be read is left out; both are said."""
    put(storage / "mine.txt", b"x")
    (storage / NEWEST).unlink()
    os.mkfifo(storage / NEWEST)
    put(storage / "results" / PROJECT / ISSUE / "tester.json", b" " * (20 * 1024 * 1024 + 1))
    manifest = read_manifest(backup(storage))
    assert sorted(manifest.passed_over) == ["mine.txt", NEWEST]
    assert manifest.left_out == [f"results/{PROJECT}/{ISSUE}/tester.json"]


def test_vanishing(storage: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What expires while it is copied is not missed."""
    right = read_segment

    def read(directory: int, name: str) -> object:
        (storage / LOG / segment_name(1)).unlink(missing_ok=True)
        (storage / "logs" / "agents" / "agent-1.log").unlink(missing_ok=True)
        return right(directory, name)

    monkeypatch.setattr(backup_module, "read_segment", read)
    bring_back(backup(storage), place)
    assert content_of(place / "new") == content_of(storage)


def test_target_is_there(storage: Path) -> None:
    """A file is replaced only if that is asked for, and nothing but a file ever is."""
    archive = put(storage.parent / "b.tar", b"precious")
    with pytest.raises(ArchiveError, match="--force"):
        backup(storage)
    assert archive.read_bytes() == b"precious"
    backup(storage, force=True)
    assert read_manifest(archive).results == 3
    (storage.parent / "d.tar").mkdir()
    with pytest.raises(ArchiveError, match="no regular file"):
        backup(storage, "d.tar", force=True)


def test_target_comes_meanwhile(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that came while the backup was written is not replaced."""
    target = storage.parent / "b.tar"
    monkeypatch.setattr(backup_module, "_check_target", lambda *_, **__: put(target, b"precious"))
    with pytest.raises(ArchiveError, match="--force"):
        backup(storage)
    assert target.read_bytes() == b"precious"
    assert sorted(path.name for path in storage.parent.iterdir()) == ["b.tar", "storage"]


def test_no_hard_links(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links takes a backup all the same."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert read_manifest(backup(storage)).results == 3


@pytest.mark.parametrize("name", ["b.zip", "b", ".tar", "b.tar.bz2"])
def test_unknown_name(storage: Path, name: str) -> None:
    """A name that does not say what to make is refused."""
    with pytest.raises(ArchiveError, match=r"FILE\.tar\.gz"):
        backup(storage, name)


def test_target_within(storage: Path) -> None:
    """A backup does not go into what it is of."""
    with pytest.raises(ArchiveError, match="storage itself"):
        backup_into(storage / "b.tar", storage, MAKER, force=False)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_disk_full_at_backup(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one sentence, and no half archive."""
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveError, match="No space left"):
        backup(storage)
    assert [path.name for path in storage.parent.iterdir()] == ["storage"]


def test_disk_full_at_restore(storage: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one sentence, and no half storage."""
    archive = backup(storage)
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refusal(archive, place)


def test_more_than_is_free(storage: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that holds more than the disk does is refused early."""
    archive = backup(storage)
    free = os.statvfs(place)
    monkeypatch.setattr(os, "statvfs", lambda _: type("Free", (), {"f_bavail": 1, "f_frsize": free.f_frsize // 8}))
    assert "free" in refusal(archive, place)


def test_in_use(storage: Path) -> None:
    """A storage that a sidecar holds is left alone, and the process is named."""
    archive = backup(storage)
    program = "import sys; from pathlib import Path; from cco_sidecar.backends.storage import claim_storage\n"
    program += "claim_storage(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, storage], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=f"process {holder.pid} holds it"):
            restore(archive, storage, force=True, now=NOW)
        assert verify(storage).sidecar_pid == holder.pid
        holder.communicate("")
    assert restore(archive, storage, force=True, now=NOW).report.sound


def test_not_empty(storage: Path, place: Path) -> None:
    """What is there is moved aside when asked for, never removed."""
    archive = backup(storage)
    mine = put(place / "new" / "mine.txt", b"precious")
    assert "not empty" in refusal(archive, place)
    assert mine.read_bytes() == b"precious"
    found = bring_back(archive, place, force=True)
    assert found.moved_aside is not None
    assert (found.moved_aside / "mine.txt").read_bytes() == b"precious"
    assert content_of(place / "new") == content_of(storage)


def test_empty(storage: Path, place: Path) -> None:
    """An empty directory is filled, and nothing is put aside."""
    (place / "new").mkdir(mode=0o700)
    assert bring_back(backup(storage), place).moved_aside is None
    assert [path.name for path in place.iterdir()] == ["new"]


def test_put_back(storage: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the last step fails, what was there is there again."""
    archive = backup(storage)
    put(place / "new" / "mine.txt", b"precious")
    monkeypatch.setattr(restoring, "_put_there", full)
    with pytest.raises(ArchiveError, match="No space left"):
        bring_back(archive, place, force=True)
    assert content_of(place) == {"new/mine.txt": b"precious"}


def test_locked_until_the_end(storage: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No sidecar starts on a storage before it is verified."""
    seen = []

    def look(path: Path) -> object:
        with pytest.raises(StorageError, match="in use"):
            os.close(claim_storage(path))
        seen.append(path)
        return verify(path)

    monkeypatch.setattr(restoring, "verify", look)
    bring_back(backup(storage), place)
    assert seen == [place / "new"]
    os.close(claim_storage(place / "new"))


def tarred(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, **options: int) -> Path:
    """Make a tar of such files."""
    with tarfile.open(path, "w", **options) as tar:  # type: ignore[call-overload]  # the format
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(b"\0" * member.size))
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = (NEWEST, result("res-1"))
HUGE = tarfile.TarInfo(NEWEST.replace("coder", "huge"))
HUGE.size = 20 * 1024 * 1024 + 1
HOSTILE: dict[str, tuple[str, bytes] | tarfile.TarInfo] = {
    "absolute": (f"/{NEWEST}", b"{}"),
    "above": (f"../{NEWEST}", b"{}"),
    "above within": ("results/p/../../../x/coder.json", b"{}"),
    "above at the end": ("results/..", b"{}"),
    "symlink": special(NEWEST.replace("coder", "link"), tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": special(NEWEST.replace("coder", "link"), tarfile.LNKTYPE, NEWEST),
    "device": special(NEWEST.replace("coder", "device"), tarfile.CHRTYPE),
    "pipe": special(NEWEST.replace("coder", "pipe"), tarfile.FIFOTYPE),
    "contiguous": special(NEWEST.replace("coder", "other"), tarfile.CONTTYPE),
    "linked directory": special("results/p/other", tarfile.SYMTYPE, "/etc"),
    "foreign file": ("bin/evil", b"#!/bin/sh\n"),
    "foreign file within": ("results/p/issue-1/coder.sh", b""),
    "hidden file": ("results/p/.ssh/coder.json", b""),
    "foreign directory": special("etc/cron.d", tarfile.DIRTYPE),
    "twice": GOOD,
    "other beginning": ("elsewhere/" + NEWEST, b"{}"),
    "no name": ("./", b"x"),
    "no text": ("results/p/i\udcff/coder.json", b"{}"),
    "deep": ("a/" * 40 + NEWEST, b"{}"),
    "long": ("results/p/i/" + "a" * 300 + ".json", b"{}"),
    "huge": HUGE,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("is_first", [True, False])
def test_hostile(tmp_path: Path, place: Path, name: str, is_first: bool) -> None:
    """What is no plain file of a storage is refused, before or behind what is one, and nothing of it is there."""
    members = [HOSTILE[name], GOOD] if is_first else [GOOD, HOSTILE[name]]
    said = refusal(tarred(tmp_path / "h.tar", *members), place)
    assert "refused" in said, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.tar", "place"]


@pytest.mark.parametrize("name", ["/" + NEWEST, "../" + NEWEST, NEWEST + "/../coder.json", "a/" * 40 + NEWEST])
def test_hostile_name(tmp_path: Path, place: Path, name: str) -> None:
    """A name that leads out of the directory is refused for that alone."""
    assert "no name within a directory" in refusal(tarred(tmp_path / "h.tar", (name, result("res-1"))), place)


def test_behind_the_end(storage: Path, place: Path) -> None:
    """What lies behind the end of a tar, or a wrong checksum there, is refused."""
    text = backup(storage).read_bytes()
    assert "behind its end" in refusal(put(storage.parent / "more.tar", text + b"x"), place)
    packed = bytearray(backup(storage, "b.tar.gz").read_bytes())
    packed[-8] ^= 1
    assert "CRC" in refusal(put(storage.parent / "c.tar.gz", bytes(packed)), place)


def test_hostile_headers(tmp_path: Path, place: Path) -> None:
    """A head that takes more than any name needs is not read into memory, nor a chain of them."""
    info = tarfile.TarInfo(NEWEST)
    info.pax_headers = {"comment": "x" * 100_000}
    assert "head" in refusal(tarred(tmp_path / "h.tar", GOOD, info), place)
    head = tarfile.TarInfo("././@PaxHeader")
    head.type, head.size = tarfile.XHDTYPE, 1 << 40
    text = io.BytesIO(head.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    put(tmp_path / "b.tar", text.getvalue())
    assert "head" in refusal(tmp_path / "b.tar", place)
    chain = tarfile.TarInfo("././@PaxHeader")
    chain.type, chain.size = tarfile.XHDTYPE, 0
    put(tmp_path / "c.tar", chain.tobuf(tarfile.GNU_FORMAT) * 5000)
    refusal(tmp_path / "c.tar", place)


def test_sparse(tmp_path: Path, place: Path) -> None:
    """A file with holes, which is larger than what the archive holds, is refused."""
    info = tarfile.TarInfo(NEWEST)
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000000", "GNU.sparse.major": "0"}
    assert "plain file" in refusal(tarred(tmp_path / "h.tar", info), place)


def test_too_many(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many members, and no more."""
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 3)
    many = [(f"results/p/i/t{number}.json", b"{}") for number in range(4)]
    assert "more than 3" in refusal(tarred(tmp_path / "h.tar", *many), place)
    assert bring_back(tarred(tmp_path / "g.tar", *many[:3]), place).files == 3


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\0" * 10240, b"PK\3\4" + b"x" * 2000, b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]
)
def test_no_archive(tmp_path: Path, place: Path, content: bytes) -> None:
    """What is no tar at all, or an empty one, is refused."""
    refusal(put(tmp_path / "n.tar", content), place)


def test_no_such_file(tmp_path: Path, place: Path) -> None:
    """A file that is not there, or a directory, is one sentence."""
    assert "No such file" in refusal(tmp_path / "none.tar", place)
    assert "directory" in refusal(tmp_path, place)


def changed_manifest(archive: Path, change: Callable[[Manifest], Manifest]) -> Path:
    """Give the archive another manifest."""
    found = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(found, "w") as new:
        for info in old:
            if not info.isfile():
                continue
            file = old.extractfile(info)
            assert file is not None
            text = file.read()
            if info.name == MANIFEST:
                text = msgspec.json.encode(change(msgspec.json.decode(text, type=Manifest)))
                info.size = len(text)
            new.addfile(info, io.BytesIO(text))
    return found


def test_manifest_disagrees(storage: Path, place: Path) -> None:
    """A file that the manifest does not know, misses, or knows otherwise, is a refusal."""
    archive = backup(storage)
    fewer = changed_manifest(archive, lambda it: msgspec.structs.replace(it, members=it.members[1:]))
    assert "manifest" in refusal(fewer, place)
    more = changed_manifest(
        archive,
        lambda it: msgspec.structs.replace(
            it, members=[*it.members, msgspec.structs.replace(it.members[0], path="results/p/i/x.json")]
        ),
    )
    assert "manifest" in refusal(more, place)
    newer = changed_manifest(archive, lambda it: msgspec.structs.replace(it, form=2))
    assert "form 2" in refusal(newer, place)
    assert "manifest" in refusal(tarred(storage.parent / "m.tar", GOOD, (MANIFEST, b"[]")), place)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage(storage: Path, place: Path, data: st.DataObject) -> None:
    """A backup with any byte changed, or cut short anywhere, is refused or comes back as it was."""
    name = data.draw(st.sampled_from(["b.tar", "b.tar.gz", "b.tar.zst"]))
    text = (storage.parent / name if (storage.parent / name).exists() else backup(storage, name)).read_bytes()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + bytes([data.draw(st.integers(0, 255))]) + text[at + 1 :]
    broken = put(storage.parent / "broken", data.draw(st.sampled_from([changed, text[:at]])))
    try:
        bring_back(broken, place)
    except ArchiveError:
        assert list(place.iterdir()) == []
    else:
        assert content_of(place / "new") == content_of(storage)
        subprocess.run(["rm", "-r", place / "new"], check=True)


def test_bomb(tmp_path: Path, place: Path) -> None:
    """What unpacks to far more than it is, is bounded by the size of its kind."""
    info = tarfile.TarInfo(f"{LOG}/{segment_name(1)}")
    info.size = 1 << 33
    head = info.tobuf()
    put(tmp_path / "z.tar.gz", gzip.compress(head + b"\0" * (1 << 20)))
    put(tmp_path / "z.tar.zst", zstandard.compress(head + b"\0" * (1 << 20)))
    for name in ("z.tar.gz", "z.tar.zst"):
        assert "refused" in refusal(tmp_path / name, place) or "free" in refusal(tmp_path / name, place)
