"""Damage to a log of several segments: never silent, never a wrong record, and clean at the next start."""

import os
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import Recovery, everything, recover_segments
from cco_sidecar.backends.rotation import Rotation
from cco_sidecar.backends.segments import frame, segment_name

Files = dict[str, bytes]


@frozen
class Found:
    """What a recovery gave."""

    records: list[bytes]
    recovery: Recovery


def entry(number: int) -> bytes:
    return b'{"k":"entry","b":{"number":%d}}' % number


def state(number: int) -> bytes:
    return b'{"k":"state","b":%d}' % number


@cache
def written() -> tuple[Files, list[bytes]]:
    """Make a log of three segments, the second begun while writing went on in the first; and what it holds."""
    first = Rotation([state(1)], 1, 0, 0)
    second = Rotation([state(2), state(3)], 8, 3, 0)
    third = Rotation([state(4)], 18, 8, 0)
    files = {
        segment_name(1): first.slice() + first.end(0, 0, 0) + lines(4, 3) + second.skip() + lines(12, 3, 4),
        segment_name(8): second.slice() + second.end(6, 1, 14) + lines(15, 2, 7),
        segment_name(18): third.slice() + third.end(8, 8, 16) + lines(21, 4, 9),
    }
    numbers = [entry(number) for number in range(1, 13)]
    return files, [state(1), *numbers[:3], state(2), state(3), *numbers[3:8], state(4), *numbers[8:]]


def lines(first: int, many: int, number: int = 1) -> bytes:
    return b"".join(frame(first + n, entry(number + n)) for n in range(many))


def is_entry(record: bytes) -> bool:
    return record.startswith(b'{"k":"entry"')


def recover(storage: Path, lasts: Callable[[bytes], bool] = everything) -> Found:
    records: list[bytes] = []
    directory = storage / "events"
    found = recover_segments(directory, records.append, lambda: 0, Quarantine(storage, ("quarantine",)), lasts)
    return Found(records, found.recovery)


def lay(files: Files, storage: Path) -> None:
    (storage / "events").mkdir()
    for name, text in files.items():
        (storage / "events" / name).write_bytes(text)


def after(change: Callable[[Files], None], lasts: Callable[[bytes], bool] = everything) -> Found:
    """Change the log, recover twice, and check what always holds."""
    files, records = written()
    files = dict(files)
    change(files)
    with TemporaryDirectory() as directory:
        storage = Path(directory)
        lay(files, storage)
        found = recover(storage, lasts)
        rest = iter(records)
        assert all(record in rest for record in found.records), "a wrong record, or a wrong order"
        again = recover(storage, lasts)
        assert again.records == found.records
        assert again.recovery == Recovery(len(found.records), 0, 0), "the second start is not clean"
        kept = sorted((storage / "quarantine").glob("*"))
        assert bool(kept) == bool(found.recovery.damaged)
        for path in kept:
            assert path.read_bytes() == files[path.name.rpartition(".")[0]], "not as it was"
    return found


def test_undamaged() -> None:
    """All is there, in the order of writing: the second segment's snapshot before what was written beside it."""
    files, records = written()
    found = after(lambda _: None)
    assert found == Found(records, Recovery(len(records), 0, 0))
    assert files[segment_name(1)].count(b'"skip"') == 1


def flipped(text: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(text)
    changed[place] ^= 1 << bit
    return bytes(changed)


def flip(name: str, place: int, bit: int) -> Found:
    return after(lambda files: files.update({name: flipped(files[name], place, bit)}))


def check_flip(name: str, place: int, bit: int) -> None:
    """At most one record goes, and not in silence; at the very end it looks like a write that was cut short."""
    files, records = written()
    found = flip(name, place, bit)
    assert len(found.records) >= len(records) - 1
    last_line = files[name].rindex(b'{"cco":1')
    if not found.recovery.damaged:
        assert (name, place >= last_line) == (max(files), True)
        assert found.recovery.torn_bytes


NAMES = sorted(written()[0])


@given(st.sampled_from(NAMES), st.data(), st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_flipped_bits(name: str, data: st.DataObject, bit: int) -> None:
    """A flipped bit anywhere."""
    check_flip(name, data.draw(st.integers(0, len(written()[0][name]) - 1)), bit)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_every_bit() -> None:
    """Every bit of the log, some 20,000."""
    flips = 0
    for name in NAMES:
        for place in range(len(written()[0][name])):
            for bit in range(8):
                check_flip(name, place, bit)
                flips += 1
    assert flips > 10_000


ENTRIES = [entry(number) for number in range(1, 13)]


def test_superseded() -> None:
    """Of what was written before the newest snapshot, entries are given, and no state."""
    assert after(lambda _: None, is_entry) == Found([*ENTRIES[:8], state(4), *ENTRIES[8:]], Recovery(13, 0, 0))


def places_behind_begin(text: bytes) -> range:
    """Give the places in a segment's snapshot behind its first line, which says nothing about the state."""
    return range(text.index(b"\n") + 1, text.index(b"\n", text.index(b'"k":"end"')))


def test_damaged_newest_snapshot() -> None:
    """A bit anywhere in the newest snapshot: the one before it counts, now and at the next start."""
    text = written()[0][NAMES[2]]
    for place in places_behind_begin(text):
        found = after(lambda files, place=place: files.update({NAMES[2]: flipped(text, place)}), is_entry)  # type: ignore[misc]
        states = [record for record in found.records if not is_entry(record)]
        assert states in ([state(2), state(3)], [state(2), state(3), state(4)]), place
        assert [record for record in found.records if is_entry(record)] == ENTRIES
        assert found.records.index(state(2)) == 3
        assert found.recovery.damaged == 1


def test_damaged_older_snapshot() -> None:
    """What is superseded is damaged: that is said, and changes nothing."""
    text = written()[0][NAMES[1]]
    for place in places_behind_begin(text)[::3]:
        found = after(lambda files, place=place: files.update({NAMES[1]: flipped(text, place)}), is_entry)  # type: ignore[misc]
        assert found.records == [*ENTRIES[:8], state(4), *ENTRIES[8:]]
        assert found.recovery.damaged == 1


@pytest.mark.parametrize("lost", [b'"state"', b'"end"'])
def test_damaged_snapshots(lost: bytes) -> None:
    """The oldest snapshot counts if no newer one is whole, whether a record was lost or the end."""

    def change(files: Files) -> None:
        for name in NAMES[1:]:
            files[name] = flipped(files[name], files[name].index(lost))

    found = after(change, is_entry)
    assert found.records[:4] == [state(1), *ENTRIES[:3]]
    assert found.recovery.damaged == 2


def test_unfinished_newest_snapshot() -> None:
    """One that was being written when the process ended is none: the one before it counts."""
    text = written()[0][NAMES[2]]

    def change(files: Files) -> None:
        files[NAMES[2]] = text[: text.index(b'{"cco":1', text.index(b'"state"'))]

    assert after(change, is_entry).records == [*ENTRIES[:3], state(2), state(3), *ENTRIES[3:8]]


@pytest.mark.parametrize("back", range(1, 4))
def test_cut_at_every_byte(back: int) -> None:
    """Cut anywhere in the last three records, the whole ones before are there, and nothing is damaged."""
    files, records = written()
    text = files[NAMES[-1]]
    starts = [place for place in range(len(text)) if text.startswith(b'{"cco":1', place)]
    starts.append(len(text))
    for cut in range(starts[-1 - back], starts[-back]):

        def change(files: Files, cut: int = cut) -> None:
            files[NAMES[-1]] = text[:cut]

        torn = cut - starts[-1 - back]
        assert after(change) == Found(records[:-back], Recovery(len(records) - back, torn, 0))


@pytest.mark.parametrize("name", NAMES[:-1])
def test_cut_of_an_earlier_segment(name: str) -> None:
    """Cut anywhere, an earlier segment is damaged: the next one knows how far it went."""
    text = written()[0][name]
    for cut in range(0, len(text), 3):

        def change(files: Files, cut: int = cut) -> None:
            files[name] = text[:cut]

        assert after(change).recovery.damaged


@given(st.sampled_from(NAMES), st.data())
@settings(max_examples=200, deadline=None)
def test_stretches(name: str, data: st.DataObject) -> None:
    """Zeros, garbage, a doubled, a missing or a moved stretch: what is lost is not lost in silence."""
    _, records = written()
    text = written()[0][name]
    begin = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(begin + 1, min(len(text), begin + 300)))
    piece = text[begin:end]
    instead = data.draw(st.sampled_from([b"\0" * len(piece), b"", piece * 2, b"\xff" * len(piece), piece[::-1]]))
    found = after(lambda files: files.update({name: text[:begin] + instead + text[end:]}))
    lost = len(records) - len(found.records)
    if lost and not found.recovery.damaged:
        # Only the newest segment's end can look like a write that was cut short, or like a segment never begun.
        assert name == NAMES[-1]
        assert records[: len(found.records)] == found.records


@given(st.sampled_from(NAMES), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_lines_in_another_order(name: str, source: random.Random) -> None:
    """Whatever order the lines are in, none is given in a wrong one."""
    shuffled = written()[0][name].splitlines(keepends=True)
    source.shuffle(shuffled)
    if b"".join(shuffled) != written()[0][name]:
        try:
            found = after(lambda files: files.update({name: b"".join(shuffled)}))
        except AssertionError as error:
            # A segment whose first line is another's is no segment by its name: it stays, and is said again.
            assert "not clean" in str(error) and not shuffled[0].startswith(b'{"cco":1,"seq":%d,' % int(name[:20]))
        else:
            assert found.recovery.damaged


def test_put_right_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy and its name are on disk before the segment is replaced, and that is when the start goes on."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def syncing(handle: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def renaming(old: Path, new: Path) -> None:
        done.append("rename")
        rename(old, new)

    files, _ = written()
    lay({**files, NAMES[0]: files[NAMES[0]][:-5]}, tmp_path)
    (tmp_path / "quarantine").mkdir()
    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    assert recover(tmp_path).recovery.damaged == 1
    assert done[-5:] == [f"{NAMES[0]}.1", "quarantine", ".new", "rename", "events"]


def test_quarantine_is_bounded(tmp_path: Path) -> None:
    """The newest files stay; one that is too large for all of it stays alone."""
    quarantine = Quarantine(tmp_path, ("quarantine",), most_files=3, most_bytes=100)
    damaged = tmp_path / "x.log"
    for number in range(1, 6):
        damaged.write_bytes(b"%d" % number * 10)
        assert quarantine.replace(damaged, b"whole").read_bytes() == b"%d" % number * 10
        assert damaged.read_bytes() == b"whole"
    directory = tmp_path / "quarantine"
    assert sorted(path.read_bytes()[:1] for path in directory.iterdir()) == [b"3", b"4", b"5"]
    damaged.write_bytes(b"9" * 200)
    quarantine.replace(damaged, b"")
    assert [path.stat().st_size for path in directory.iterdir()] == [200]
    assert not damaged.exists()
    assert oct(directory.stat().st_mode & 0o777) == "0o700"
    assert {oct(path.stat().st_mode & 0o777) for path in directory.iterdir()} == {"0o600"}
    shutil.rmtree(directory)
