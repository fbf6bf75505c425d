"""Verifying: whatever changed in a storage is found, nothing sound is called damaged, and nothing is touched."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cco_sidecar.backends.placing import read_regular
from cco_sidecar.backends.segments import frame, segment_name
from cco_sidecar.backends.storage import StorageError, claim_storage
from cco_sidecar.backends.storekeeping import findings as findings_module
from cco_sidecar.backends.storekeeping.findings import DAMAGE
from cco_sidecar.backends.storekeeping.looking import look_at
from cco_sidecar.backends.storekeeping.verifying import Report, verify
from tests.backends.stored import ISSUE, PROJECT, content_of, event, make_storage, put, result, segment

FIRST, SECOND = segment_name(1), segment_name(6)
HISTORY = "history/res-0000000000002-bbbbbbbb.json"
OTHER = "history/res-0000000000003-cccccccc.json"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return make_storage(tmp_path / "storage")


@pytest.fixture
def log(storage: Path) -> Path:
    return storage / "events" / PROJECT


@pytest.fixture
def issue(storage: Path) -> Path:
    return storage / "results" / PROJECT / ISSUE


def damage(report: Report) -> list[str]:
    """Say what is damaged."""
    assert report.sound is not any(it.level == DAMAGE for it in report.findings)
    assert all(it.advice and "\n" not in it.problem for it in report.findings)
    return [f"{it.path}: {it.problem}" for it in report.findings if it.level == DAMAGE]


def notes(report: Report) -> list[str]:
    """Say what is noted, where nothing is damaged."""
    assert damage(report) == []
    return [f"{it.path}: {it.problem}" for it in report.findings]


def test_sound(storage: Path) -> None:
    """Nothing is found in a sound storage, and nothing in it is touched."""
    before = content_of(storage)
    report = verify(storage)
    assert notes(report) == []
    assert (report.results, report.sidecar_pid, list(report.quarantine)) == (3, None, [])
    facts = report.projects[PROJECT]
    assert (facts.segments, facts.records, facts.first_sequence, facts.last_sequence) == (2, 10, 1, 10)
    assert content_of(storage) == before


def test_none(tmp_path: Path) -> None:
    """Where there is no storage, or only a link to one, that is said."""
    (tmp_path / "link").symlink_to(make_storage(tmp_path / "storage"))
    for name in ("none", "link"):
        with pytest.raises(StorageError, match=name):
            verify(tmp_path / name)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_byte(storage: Path, data: st.DataObject) -> None:
    """Any other value of any byte of a segment, or of a result that the history and the newest hold, is found."""
    names = [f"events/{PROJECT}/{FIRST}", f"events/{PROJECT}/{SECOND}"]
    names += [f"results/{PROJECT}/{ISSUE}/{name}" for name in ("coder.json", HISTORY, "tester.json", OTHER)]
    path = storage / data.draw(st.sampled_from(names))
    text = path.read_bytes()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != text[at]))
    path.write_bytes(text[:at] + bytes([other]) + text[at + 1 :])
    try:
        assert not verify(storage).sound
    finally:
        path.write_bytes(text)


@given(keep=st.integers(0, 2**20), zeros=st.integers(0, 600))
def test_any_end(keep: int, zeros: int) -> None:
    """However a write is cut short, with zeros behind it or not, it is a torn end and no damage."""
    whole = segment(1, 0, [event(1)])
    line = frame(5, event(2))
    rest = line[: keep % (len(line) - 1)]
    look = look_at(whole + rest + b"\0" * zeros)
    assert look.is_torn
    assert (look.what.damaged, look.what.torn, look.has_snapshot) == (0, len(rest) + zeros, True)


def test_any_byte_of_the_last_line() -> None:
    """The last line was written whole: another byte in it, its end included, is damage, and no torn end."""
    whole = segment(1, 0, [event(1)])
    begin = whole.rindex(b"\n", 0, -1) + 1
    for at in range(begin, len(whole)):
        for other in {whole[at] ^ 1, 0, ord("\n"), ord("}")} - {whole[at]}:
            look = look_at(whole[:at] + bytes([other]) + whole[at + 1 :])
            assert look.what.torn, (at, other)
            assert not look.is_torn, (at, other)


def test_torn_end(storage: Path, log: Path) -> None:
    """A torn end of the last segment is noted while no sidecar runs; one of an earlier segment is damage."""
    with (log / SECOND).open("ab") as file:
        file.write(frame(11, event(5))[:-7])
    torn = len(frame(11, event(5))) - 7
    problem = f"ends with an unfinished write of {torn} bytes: it was never acknowledged"
    assert notes(verify(storage)) == [f"events/p/{SECOND}: {problem}"]
    with (log / FIRST).open("ab") as file:
        file.write(b'{"cco":1')
    assert damage(verify(storage)) == [f"events/p/{FIRST}: the last 8 bytes cannot be read"]


@pytest.mark.parametrize("length", [0, 1, 50, 120])
def test_unfinished_segment(storage: Path, log: Path, length: int) -> None:
    """A last segment without a whole snapshot was never in use; the one before it may then have a torn end."""
    put(log / segment_name(11), segment(11, 4, [])[:length])
    with (log / SECOND).open("ab") as file:
        file.write(b'{"cco":1,"seq":11')
    assert [line.partition(": ")[2][:9] for line in notes(verify(storage))] == ["was never", "ends with"]


def test_missing_segment(storage: Path, log: Path) -> None:
    """A segment with events that is gone from between others is missed; the oldest may have expired."""
    put(log / segment_name(11), segment(11, 4, [event(5)]))
    (log / FIRST).unlink()
    assert notes(verify(storage)) == []
    put(log / FIRST, segment(1, 0, [event(1), event(2)]))
    (log / SECOND).unlink()
    assert damage(verify(storage)) == [f"events/p/{segment_name(11)}: events up to number 4 are missing before it"]


def test_missing_segment_without_events(storage: Path, log: Path) -> None:
    """A segment without events goes before older ones do: nobody misses it."""
    put(log / segment_name(40), segment(40, 4, [event(5)]))
    assert notes(verify(storage)) == []


def test_lost_end(storage: Path, log: Path) -> None:
    """A segment that says where the one before it ended tells of lines that are gone there."""
    end = b'{"k":"end","b":{"mark":4,"previous":6,"last":%d}}'
    put(log / segment_name(11), segment(11, 4, [event(5)], end % 10))
    assert notes(verify(storage)) == []
    put(log / segment_name(11), segment(11, 4, [event(5)], end % 11))
    assert damage(verify(storage)) == [
        f"events/p/{segment_name(11)}: the segment before it went on to 11, but ends at 10"
    ]


def test_quarantine(storage: Path, log: Path) -> None:
    """What a start has set aside is listed, and explains what is missing."""
    put(log / segment_name(11), segment(11, 4, [event(5)]))
    put(storage / "quarantine" / "events" / PROJECT / f"{SECOND}.1", (log / SECOND).read_bytes()[:-50])
    (log / SECOND).unlink()
    report = verify(storage)
    assert list(report.quarantine) == [f"quarantine/events/p/{SECOND}.1"]
    assert notes(report) == [f"quarantine/events/p/{SECOND}.1: was set aside by a start: it is damaged"]


def test_renamed_segment(storage: Path, log: Path) -> None:
    """A segment under another name than that of its first record is no longer where it was."""
    (log / SECOND).rename(log / segment_name(7))
    assert damage(verify(storage)) == [
        f"events/p/{segment_name(7)}: its first record is numbered 6, not as its name says"
    ]


@pytest.mark.parametrize("record", [b"nothing like it", b'{"k":1,"b":2}', b'{"k":"event","b":{}}'])
def test_no_record(storage: Path, log: Path, record: bytes) -> None:
    """A line whose checksum holds and that is no record is damage, too."""
    put(log / SECOND, segment(6, 2, [event(3), event(4), record]))
    assert damage(verify(storage)) == [f"events/p/{SECOND}: 1 record is no JSON of ours"]


def test_changed_meanwhile(storage: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sidecar there, damage is looked at twice: what a full disk took back is not there the second time."""
    from cco_sidecar.backends.storekeeping import logcheck, verifying

    right, texts = read_regular, [b"nonsense\n"]

    def read(directory: int, name: str, most_bytes: int) -> bytes:
        return texts.pop() if texts and name == FIRST else right(directory, name, most_bytes)

    monkeypatch.setattr(logcheck, "read_regular", read)
    monkeypatch.setattr(verifying, "lock_holder", lambda _: 1)
    assert notes(verify(storage)) == []
    texts.append(b"nonsense\n")
    monkeypatch.setattr(verifying, "lock_holder", lambda _: None)
    assert damage(verify(storage))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("coder.json", b"{}", "is no result"),
        ("coder.json", b"\xff", "is no result"),
        ("coder.json", result("res-1", "tester"), "is the result of a 'tester'"),
        ("coder.json", result("res-0000000000002-bbbbbbbb", text="else"), "is not what coder.json holds"),
        (HISTORY, result("res-2"), "holds the result 'res-2'"),
        (HISTORY, result("res-0000000000002-bbbbbbbb").replace(b"issue-1", b"issue-2"), "is a result of 'issue-2'"),
        (HISTORY, b"", "is no result"),
        (HISTORY, b" " * (20 * 1024 * 1024 + 1), "cannot be read: larger"),
    ],
)
def test_damaged_result(storage: Path, issue: Path, name: str, content: bytes, problem: str) -> None:
    """A result that is none, or another one than its place says, is damage, and only it."""
    put(issue / name, content)
    found = damage(verify(storage))
    assert found
    assert any(problem in line for line in found), found
    assert all("coder.json" in line or HISTORY in line for line in found)


def test_pruned(storage: Path, issue: Path) -> None:
    """A newest result whose history was pruned is sound."""
    for path in (issue / "history").iterdir():
        path.unlink()
    assert notes(verify(storage)) == []


def test_cut_short(storage: Path, issue: Path) -> None:
    """A result that never became the newest, and a file on its way, are what a crash leaves."""
    put(issue / "history" / "res-0000000000004-dddddddd.json", result("res-0000000000004-dddddddd"))
    put(issue / ".coder.json.new", b"half")
    (issue / "tester.json").unlink()
    found = notes(verify(storage))
    assert sorted(line.partition(":")[0].rpartition("/")[2] for line in found) == [
        ".coder.json.new",
        "coder.json",
        "tester.json",
    ]


def test_modes_and_strangers(storage: Path, log: Path, issue: Path) -> None:
    """What others may write is damage, what they may read is noted, and so is what does not belong."""
    log.chmod(0o755)
    (issue / "coder.json").chmod(0o644)
    put(log / "stray.txt", b"")
    put(storage / "notes" / "mine", b"")
    assert sorted(notes(verify(storage))) == [
        "events/p/stray.txt: does not belong into a storage",
        "events/p: can be read by others (mode 755)",
        "notes: does not belong into a storage",
        "results/p/issue-1/coder.json: can be read by others (mode 644)",
    ]
    storage.chmod(0o777)
    (log / FIRST).chmod(0o622)
    assert damage(verify(storage)) == [
        ".: can be written by others (mode 777)",
        f"events/p/{FIRST}: can be written by others (mode 622)",
    ]


def test_in_the_way(storage: Path, log: Path, issue: Path) -> None:
    """Links, pipes, and files where a directory belongs are damage, and are not followed or waited for."""
    (log / segment_name(99)).symlink_to(log / FIRST)
    os.mkfifo(issue / "history" / "res-9.json")
    put(storage / "results" / "other", b"")
    (storage / "logs" / "agents" / "agent-2.log").mkdir()
    (storage / "results" / "link").symlink_to(storage / "results" / PROJECT)
    found = damage(verify(storage))
    assert {line.partition(":")[0] for line in found} >= {
        f"events/p/{segment_name(99)}",
        "results/p/issue-1/history/res-9.json",
        "results/other",
        "results/link",
        "logs/agents/agent-2.log",
    }


def test_somebody_elses(storage: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to another user than the storage, and a storage that is not ours, are damage."""
    owner = os.getuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert damage(verify(storage)) == [f".: belongs to user {owner}, not to us"]
    monkeypatch.undo()
    if owner == 0:
        os.chown(log / FIRST, 12345, 12345)
        assert damage(verify(storage)) == [f"events/p/{FIRST}: belongs to user 12345, the storage to 0"]


def test_bounded(storage: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is wrong, so much is listed, and the rest is counted."""
    monkeypatch.setattr(findings_module, "MOST_FINDINGS", 3)
    for number in range(5):
        put(log / f"stray-{number}", b"")
    (log / SECOND).write_bytes(b"x")
    report = verify(storage)
    assert (len(report.findings), report.unlisted_findings, report.sound) == (3, 4, False)


def test_own_lock(storage: Path) -> None:
    """Who holds the lock itself is no sidecar."""
    handle = claim_storage(storage)
    try:
        assert verify(storage).sidecar_pid is None
    finally:
        os.close(handle)
