"""What a project is made of at this moment, without the text of its files; its digest names that state."""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence

from attrs import field, frozen

from cco_sidecar.backends.gatherer.gitfacts import Listing, listing
from cco_sidecar.backends.gatherer.opener import Root
from cco_sidecar.backends.gatherer.repository import Repository
from cco_sidecar.backends.gatherer.tree import add_ignore_file, walk
from cco_sidecar.core.context.ignoring import IgnoreRules
from cco_sidecar.core.context.project import NOT_REGULAR, SECRET, Omission, ProjectFile
from cco_sidecar.core.context.redaction import is_secret_name

MOST_FILES = 100_000
_BATCH = 1_000


@frozen
class Entry:
    """A path that is there; ``problem`` says why it gives no text, "" if it may; ``key`` names its content."""

    path: str
    size: int
    modified_ns: int
    status: str
    problem: str
    key: str


@frozen
class Survey:
    """The state of a project; ``newest_ns`` is when the inode that changed last did so, in nanoseconds.

    ``unlisted`` counts the files beyond the 100,000 that are looked at.
    """

    entries: Sequence[Entry] = field(repr=False)
    listing: Listing | None = field(repr=False)
    rules: IgnoreRules = field(repr=False)
    digest: bytes
    newest_ns: int
    unlisted: int

    def visible(self) -> tuple[list[ProjectFile], list[Omission]]:
        """Give the files that an agent may see, and those of which it sees no more than the name."""
        files = []
        omissions = []
        for entry in self.entries:
            if self.rules.excludes(entry.path):
                continue
            why = SECRET if is_secret_name(entry.path) else entry.problem
            if why:
                omissions.append(Omission(entry.path, entry.size, why))
            else:
                files.append(ProjectFile(entry.path, entry.size, entry.modified_ns, entry.status, entry.key))
        return files, omissions


def survey(root: Root, repository: Repository | None) -> Survey:
    """Look at a project; raises GitError or OSError."""
    digest = hashlib.sha256()
    rules = IgnoreRules()
    found = None
    if repository is None:
        paths, unlisted = _first(walk(root, rules))
    else:
        found = listing(repository)
        paths, unlisted = _first(sorted(_present(found)))
        _add_ccoignore(root, rules, paths)
        for part in (
            *found.raw,
            _ccoignore_state(root),
            repr(sorted(repository.config.items())).encode("utf-8", "replace"),
        ):
            digest.update(hashlib.sha256(part).digest())
    entries, newest_ns = _looked_at(root, paths, found, digest)
    return Survey(entries, found, rules, digest.digest(), newest_ns, unlisted)


def _present(found: Listing) -> set[str]:
    """A path is not looked at when git says it is gone: a symlink may now stand where its directory was."""
    tracked = {path for path in found.tracked if found.statuses.get(path) != "deleted"}
    return tracked | {path for path, status in found.statuses.items() if status == "untracked"}


def _first(paths: Iterable[str]) -> tuple[list[str], int]:
    kept: list[str] = []
    beyond = 0
    for path in paths:
        if len(kept) < MOST_FILES:
            kept.append(path)
        else:
            beyond += 1
            if beyond >= MOST_FILES:
                break  # enough to know that there are too many
    return kept, beyond


def _add_ccoignore(root: Root, rules: IgnoreRules, paths: Sequence[str]) -> None:
    """Take up the .ccoignore of the root, even if git ignores it, and those that git knows of."""
    below = (path for path in paths if path.endswith("/.ccoignore"))
    for path in (".ccoignore", *below):
        add_ignore_file(root, rules, path)


def _ccoignore_state(root: Root) -> bytes:
    try:
        return _identity(root.status(".ccoignore")).encode()
    except OSError:
        return b""


def _looked_at(
    root: Root, paths: Sequence[str], found: Listing | None, digest: "hashlib._Hash"
) -> tuple[list[Entry], int]:
    entries = []
    newest_ns = 0
    names: list[str] = []
    for path in paths:
        try:
            status = root.status(path.rstrip("/"))
        except OSError:
            names.append(f"{path}\0gone")
            continue
        newest_ns = max(newest_ns, status.st_ctime_ns)
        identity = _identity(status)
        names.append(f"{path}\0{identity}")
        entries.append(_entry(path, status, identity, found))
        if len(names) >= _BATCH:
            digest.update("\0".join(names).encode("utf-8", "surrogateescape"))
            names.clear()
    digest.update("\0".join(names).encode("utf-8", "surrogateescape"))
    return entries, newest_ns


def _identity(status: os.stat_result) -> str:
    return (
        f"{status.st_dev}.{status.st_ino}.{status.st_size}.{status.st_mtime_ns}.{status.st_ctime_ns}.{status.st_mode}"
    )


def _entry(path: str, status: os.stat_result, identity: str, found: Listing | None) -> Entry:
    change = found.statuses.get(path, "") if found else ""
    problem = found.tracked.get(path, "") if found else ""
    blob = found.blobs.get(path) if found and not change else None
    if path.endswith("/"):
        problem = "another repository"
    elif stat.S_ISLNK(status.st_mode):
        problem = "symbolic link"
    elif not stat.S_ISREG(status.st_mode):
        problem = problem or NOT_REGULAR
    return Entry(path.rstrip("/"), status.st_size, status.st_mtime_ns, change, problem, blob or identity)
