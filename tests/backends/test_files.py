"""Result files: kept for ever under their own id, the newest under the type's name; nothing in the way is followed."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from attrs import define, evolve, field
from zope.interface.verify import verifyObject

from cco_sidecar.backends import placing
from cco_sidecar.backends.files import ResultFiles
from cco_sidecar.errors import NotFound, StorageFull, StorageReadFailed, StorageWriteFailed
from cco_sidecar.interfaces import IResultStore, ResultListing, StoredResult
from tests.fakes import ThreadsReactor


def make_result(
    result_id: str = "res-1", *, agent_type: str = "coder", issue: str = "i", project: str = "p"
) -> StoredResult:
    head = {
        "id": result_id,
        "agent_id": "a",
        "agent_type": agent_type,
        "issue_id": issue,
        "project_id": project,
        "status": "success",
        "timestamp": "2027-01-15T08:00:00.000Z",
    }
    body = msgspec.json.encode({**head, "result": {"status": "success", "text": "é"}})
    return StoredResult(result_id, "a", agent_type, issue, project, "success", head["timestamp"], body)


@define(eq=False)
class Cabinet:
    """Result files on a directory of the test's."""

    root: Path
    reactor: ThreadsReactor = field(factory=ThreadsReactor)
    files: ResultFiles = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.root.mkdir(mode=0o700, exist_ok=True)
        self.files = ResultFiles(self.reactor, self.root)
        self.files.startService()
        self.listing()  # the count at the start has ended

    def store(self, result: StoredResult | None = None) -> Path:
        return self.reactor.result_of(self.files.store(result or make_result()))

    def listing(self, issue: str | None = None) -> ResultListing:
        return self.reactor.result_of(self.files.listing("p", issue))

    def ids(self) -> list[str]:
        return [entry.id for entry in self.listing().entries]

    def newest(self, agent_type: str = "coder") -> bytes:
        return self.reactor.result_of(self.files.newest("p", "i", agent_type))

    def by_id(self, result_id: str = "res-1", issue: str | None = None) -> bytes:
        return self.reactor.result_of(self.files.by_id("p", result_id, issue))

    def prune(self, before: float) -> int:
        return self.reactor.result_of(self.files.prune("p", before))

    def close(self) -> None:
        if self.files.running:
            self.reactor.result_of(self.files.stopService())


@pytest.fixture
def open_cabinet(tmp_path: Path) -> Iterator[Callable[[], Cabinet]]:
    """Open the one cabinet, again and again: the last one is closed first."""
    opened: list[Cabinet] = []

    def make() -> Cabinet:
        for cabinet in opened:
            cabinet.close()
        opened.append(Cabinet(tmp_path / "results"))
        return opened[-1]

    yield make
    for cabinet in opened:
        cabinet.close()


@pytest.fixture
def cabinet(open_cabinet: Callable[[], Cabinet]) -> Cabinet:
    return open_cabinet()


def names_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def test_interface(cabinet: Cabinet) -> None:
    """It is the door that the core knows."""
    assert verifyObject(IResultStore, cabinet.files)


def test_layout(cabinet: Cabinet) -> None:
    """Files lie where contract section 2 says, for their owner alone, and hold the object as it was given."""
    result = make_result()
    path = cabinet.store(result)
    assert path == cabinet.root / "p" / "i" / "coder.json"
    assert names_below(cabinet.root) == ["p/i/coder.json", "p/i/history/res-1.json"]
    assert path.read_bytes() == (cabinet.root / "p/i/history/res-1.json").read_bytes() == result.body
    for found in cabinet.root.rglob("*"):
        assert oct(found.lstat().st_mode & 0o777) == ("0o700" if found.is_dir() else "0o600"), found


def test_private_whatever_the_umask(tmp_path: Path) -> None:
    """Also under an open umask nobody else can read."""
    before = os.umask(0)
    try:
        cabinet = Cabinet(tmp_path / "results")
        cabinet.store()
        modes = {oct(path.lstat().st_mode & 0o077) for path in cabinet.root.rglob("*")}
        cabinet.close()
    finally:
        os.umask(before)
    assert modes == {"0o0"}


def test_newest_and_history(cabinet: Cabinet) -> None:
    """The newest of a type is replaced, history stays as it was."""
    first, second, other = make_result("res-1"), make_result("res-2"), make_result("res-3", agent_type="tester")
    for result in (first, second, other):
        cabinet.store(result)
    assert cabinet.newest() == second.body
    assert cabinet.newest("tester") == other.body
    assert cabinet.by_id("res-1") == first.body
    assert cabinet.ids() == ["res-3", "res-2", "res-1"]
    assert (cabinet.files.stored, cabinet.files.size_bytes) == (3, sum(len(r.body) for r in (first, second, other)))


def test_two_at_once(cabinet: Cabinet) -> None:
    """Two results of one type, given at once, are both kept, and the later one is the newest."""
    stores = [cabinet.files.store(make_result(f"res-{number}")) for number in range(1, 20)]
    for store in stores:
        cabinet.reactor.result_of(store)
    assert cabinet.newest() == make_result("res-19").body
    assert len(cabinet.ids()) == 19


def test_history_is_never_rewritten(cabinet: Cabinet) -> None:
    """A second result of the same id is refused, and changes neither history nor the newest."""
    cabinet.store()
    with pytest.raises(StorageWriteFailed):
        cabinet.store(evolve(make_result(), body=b'{"other":1}'))
    assert cabinet.by_id() == cabinet.newest() == make_result().body


def test_not_found(cabinet: Cabinet) -> None:
    """What is not there is not found, whatever else is."""
    for ask in (cabinet.newest, cabinet.by_id, lambda: cabinet.by_id(issue="i")):
        with pytest.raises(NotFound):
            ask()
    assert cabinet.listing() == ResultListing([], [])
    cabinet.store()
    for ask in (lambda: cabinet.newest("x"), lambda: cabinet.by_id("x"), lambda: cabinet.by_id(issue="other")):
        with pytest.raises(NotFound):
            ask()


def test_listing_of_an_issue(cabinet: Cabinet) -> None:
    """One issue, or all; a listing has the names of each."""
    cabinet.store(make_result("res-1"))
    cabinet.store(make_result("res-2", issue="j"))
    (entry,) = cabinet.listing("j").entries
    assert (entry.id, entry.agent_id, entry.agent_type, entry.issue_id, entry.project_id, entry.status) == (
        "res-2",
        "a",
        "coder",
        "j",
        "p",
        "success",
    )
    assert cabinet.by_id("res-2") == cabinet.by_id("res-2", "j")


def test_restart(open_cabinet: Callable[[], Cabinet]) -> None:
    """Another run finds everything, and counts it."""
    before = open_cabinet()
    before.store(make_result("res-1"))
    before.store(make_result("res-2", issue="j"))
    counted = (before.files.stored, before.files.size_bytes)
    after = open_cabinet()
    assert (after.files.stored, after.files.size_bytes) == counted
    assert after.ids() == ["res-2", "res-1"]


def test_stop_finishes(open_cabinet: Callable[[], Cabinet]) -> None:
    """A stop waits for what was begun."""
    cabinet = open_cabinet()
    stores = [cabinet.files.store(make_result(f"res-{number}")) for number in range(5)]
    cabinet.close()
    for store in stores:
        cabinet.reactor.result_of(store)
    assert len(open_cabinet().ids()) == 5


# What a crash leaves


def test_leftovers_of_a_crash(open_cabinet: Callable[[], Cabinet]) -> None:
    """A temporary file is no result, stands in nobody's way, and is gone after the next start."""
    cabinet = open_cabinet()
    cabinet.store()
    left = [cabinet.root / "p/i/.coder.json.new", cabinet.root / "p/i/history/.res-9.json.new"]
    for path in left:
        path.write_bytes(b'{"half')
    assert (cabinet.ids(), cabinet.listing().damaged) == (["res-1"], [])
    cabinet.store(make_result("res-2"))
    assert not left[0].exists()
    left[0].write_bytes(b"x")
    again = open_cabinet()
    assert names_below(again.root) == ["p/i/coder.json", "p/i/history/res-1.json", "p/i/history/res-2.json"]
    assert again.files.stored == 2


# What cannot be read


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"id":"res-1"}', b"\0" * 100])
def test_damaged(cabinet: Cabinet, text: bytes) -> None:
    """A file that is damaged is listed as such, answers for itself alone, and hides nothing."""
    cabinet.store(make_result("res-1"))
    cabinet.store(make_result("res-2", agent_type="tester"))
    (cabinet.root / "p/i/history/res-1.json").write_bytes(text)
    (cabinet.root / "p/i/coder.json").write_bytes(text)
    listing = cabinet.listing()
    assert [entry.id for entry in listing.entries] == ["res-2"]
    assert listing.damaged == ["results/p/i/history/res-1.json"]
    for ask in (lambda: cabinet.by_id("res-1"), cabinet.newest):
        with pytest.raises(StorageReadFailed):
            ask()
    assert cabinet.by_id("res-2") == cabinet.newest("tester")


def test_cut_at_every_byte(cabinet: Cabinet) -> None:
    """Cut anywhere, a result is damaged, not another result."""
    whole = make_result().body
    cabinet.store()
    path = cabinet.root / "p/i/history/res-1.json"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert cabinet.listing().damaged == ["results/p/i/history/res-1.json"], cut
    path.write_bytes(whole)
    assert cabinet.ids() == ["res-1"]


def test_too_large(cabinet: Cabinet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is larger than any result is not read into memory."""
    monkeypatch.setattr(placing, "MOST_BYTES", 100)
    cabinet.store()
    assert cabinet.listing().damaged == ["results/p/i/history/res-1.json"]


def test_strange_name(cabinet: Cabinet) -> None:
    """A name that is no text is listed in a form that JSON has."""
    cabinet.store()
    with open(os.fsencode(cabinet.root / "p/i/history") + b"/\xff.json", "wb"):
        pass
    (damaged,) = cabinet.listing().damaged
    assert msgspec.json.encode(damaged) == b'"results/p/i/history/\\\\xff.json"'


# What stands in the way


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the storage, with a file that is nobody's business."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_bytes(make_result("secret").body)
    return outside


@pytest.mark.parametrize("place", ["p", "p/i", "p/i/history"])
def test_symlink_for_a_directory(cabinet: Cabinet, outside: Path, place: str) -> None:
    """A link where a directory should be is neither written through nor read through, and is said to be damaged."""
    link = cabinet.root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    before = names_below(outside)
    with pytest.raises(StorageWriteFailed):
        cabinet.store()
    assert names_below(outside) == before
    assert cabinet.listing() == ResultListing([], [f"results/{place}"] if place != "p/i" else ["results/p/i/history"])
    with pytest.raises((NotFound, StorageReadFailed)):
        cabinet.by_id("secret", "i")
    assert cabinet.prune(2e9) == 0
    assert names_below(outside) == before


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_in_the_place_of_a_file(cabinet: Cabinet, outside: Path, kind: str) -> None:
    """A link, a pipe or a directory in the place of a file is not read, blocks nobody, and prune leaves it alone."""
    cabinet.store(make_result("res-2"))
    for name in ("history/res-1.json", "tester.json"):
        path = cabinet.root / "p/i" / name
        if kind == "symlink":
            path.symlink_to(outside / "secret.json")
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
    listing = cabinet.listing()
    assert [entry.id for entry in listing.entries] == ["res-2"]
    assert listing.damaged == ["results/p/i/history/res-1.json"]
    for ask in (lambda: cabinet.by_id("res-1"), lambda: cabinet.newest("tester")):
        with pytest.raises(StorageReadFailed):
            ask()
    assert cabinet.prune(4e9) == 1
    assert (outside / "secret.json").exists()
    assert (cabinet.root / "p/i/history/res-1.json").lstat()


def test_newest_that_is_a_symlink_is_replaced(cabinet: Cabinet, outside: Path) -> None:
    """A link in the place of the newest is replaced, not written through."""
    cabinet.store()
    path = cabinet.root / "p/i/coder.json"
    path.unlink()
    path.symlink_to(outside / "secret.json")
    cabinet.store(make_result("res-2"))
    assert not path.is_symlink()
    assert (outside / "secret.json").read_bytes() == make_result("secret").body


def test_stray_file_hides_nothing(cabinet: Cabinet) -> None:
    """A file where an issue's directory could be keeps nobody from finding the results of others."""
    cabinet.store(make_result("res-1", issue="z"))
    (cabinet.root / "p" / "README").write_text("hello")
    (cabinet.root / "p" / "link").symlink_to("/")
    assert cabinet.by_id("res-1") == make_result("res-1", issue="z").body
    assert cabinet.ids() == ["res-1"]
    assert cabinet.prune(0) == 0


# A disk that fails


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "mkdir"])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(
    "failure",
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StorageWriteFailed),
        (errno.EROFS, StorageWriteFailed),
    ],
)
def test_failing_disk(
    cabinet: Cabinet, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, failure: tuple[int, type[Exception]]
) -> None:
    """Whatever call fails, what was there is untouched, what was refused is not there, and the next one is stored."""
    before = make_result("res-0")
    number, refusal = failure
    if call != "mkdir":
        cabinet.store(before)
    real, seen = getattr(os, call), [0]

    def failing(*args: object, **kwargs: object) -> object:
        counts = call != "open" or (len(args) > 1 and isinstance(args[1], int) and args[1] & os.O_CREAT)
        seen[0] += bool(counts)
        if counts and seen[0] == nth:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(refusal):
            cabinet.store(make_result("res-1"))
    assert cabinet.ids() == ([] if call == "mkdir" else ["res-0"])
    assert [name for name in names_below(cabinet.root) if name.endswith(".new")] == []
    if call != "mkdir":
        assert cabinet.newest() == before.body
    cabinet.store(make_result("res-2"))
    assert cabinet.newest() == make_result("res-2").body
    assert (cabinet.files.stored, cabinet.listing().damaged) == (1 if call == "mkdir" else 2, [])


def test_on_disk_before_the_answer(cabinet: Cabinet, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, name and new directories are synced, each before what builds on it."""
    calls: list[str] = []
    for name in ("mkdir", "fsync", "rename", "write"):
        real = getattr(os, name)

        def noted(*args: object, name: str = name, real: Callable[..., object] = real, **kwargs: object) -> object:
            calls.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, noted)
    cabinet.store()
    directories, file = ["mkdir", "fsync"] * 3, ["write", "fsync", "rename", "fsync"]
    assert [call for call in calls if call != "mkdir"] == [call for call in directories + file * 2 if call != "mkdir"]
    assert calls[-8:] == file * 2


# Pruning


def test_prune(cabinet: Cabinet) -> None:
    """Old history goes, young stays, the newest of each type stays in any case."""
    old, young = make_result("res-1"), make_result("res-2", agent_type="tester")
    cabinet.store(old)
    cabinet.store(young)
    os.utime(cabinet.root / "p/i/history/res-1.json", (1000, 1000))
    assert cabinet.prune(1000) == 0
    assert cabinet.prune(1001) == 1
    assert cabinet.ids() == ["res-2"]
    assert cabinet.newest() == old.body
    assert (cabinet.files.stored, cabinet.files.size_bytes) == (1, len(young.body))
    with pytest.raises(NotFound):
        cabinet.by_id("res-1")
    assert cabinet.reactor.result_of(cabinet.files.prune("other", 2e9)) == 0


def test_vanishing_file(cabinet: Cabinet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody removes while the directory is listed is missing, and nothing else is."""
    cabinet.store(make_result("res-1"))
    cabinet.store(make_result("res-2"))
    real = os.listdir

    def listing(directory: int) -> list[str]:
        return [*real(directory), "res-0.json"]

    monkeypatch.setattr(os, "listdir", listing)
    assert (cabinet.ids(), cabinet.listing().damaged) == (["res-2", "res-1"], [])
