"""A git repository, read through a git directory of our own, so that nothing in its configuration can run.

A repository's configuration names programs: ``core.fsmonitor``, ``diff.external``, ``filter.*.clean``, ``gpg.program``,
``core.sshCommand`` and more with each version of git. An agent may write there. So git gets a directory of ours, with
links to the repository's objects and refs and a copy of HEAD, and a configuration of a few harmless values.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

from cco_sidecar.backends.gatherer.git import Git, GitError, Output
from cco_sidecar.backends.gatherer.opener import is_young
from cco_sidecar.backends.gatherer.scratch import scratch_directory

_CONFIG_BYTES = 1 << 20
_SHARED = ("objects", "refs", "packed-refs", "reftable", "info", "shallow")
_HARMLESS_WORDS = (
    "core.filemode core.autocrlf core.eol core.ignorecase core.symlinks core.precomposeunicode "
    "core.sparsecheckout core.sparsecheckoutcone extensions.objectformat extensions.refstorage"
)
_HARMLESS = frozenset(_HARMLESS_WORDS.split())


@frozen
class Location:
    """Where a repository lies: ``top`` is its work tree, ``common`` its ``.git`` (the main one, if several)."""

    top: Path
    private: Path
    common: Path
    is_file: bool


@frozen
class Repository:
    """A repository that is open for one gathering; ``root`` is the project, at or below ``location.top``."""

    root: Path
    location: Location
    config: Mapping[str, str]
    _git: Git
    _environment: Mapping[str, str] = field(repr=False)

    def git(self, *arguments: str, most_bytes: int) -> Output:
        """Run git in the project's root; raises GitError."""
        return self._git.run(arguments, directory=self.root, environment=self._environment, most_bytes=most_bytes)

    def ignoring(self, paths: Sequence[bytes], most_bytes: int) -> Output:
        """Ask git which rule ignores each path: a file, a line, a pattern and the path (``./…``); raises GitError."""
        return self._git.run(
            ("check-ignore", "--verbose", "-z", "--stdin"),
            directory=self.root,
            # It refuses literal pathspecs; but what begins with "./" is none of the others.
            environment={**self._environment, "GIT_LITERAL_PATHSPECS": "0"},
            most_bytes=most_bytes,
            given=b"".join(b"./%b\0" % path for path in paths),
        )

    def index_identity(self) -> tuple[int, ...] | None:
        """Name the state of the index; None if it is too young to be told from one that follows at once."""
        try:
            status = (self.location.private / "index").lstat()
        except OSError:
            return None
        if is_young(status.st_ctime_ns):
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    @property
    def prefix(self) -> bytes:
        """The project's root as seen from the top of the work tree: empty, or with a slash at its end."""
        relative = os.fsencode(self.root.relative_to(self.location.top))
        return b"" if relative == b"." else relative + b"/"


@contextmanager
def opened_repository(root: Path, git: Git) -> Iterator[Repository | None]:
    """Open the repository that ``root`` (a real path) is part of, or give None; raises GitError."""
    location = locate(root)
    if location is None:
        yield None
        return
    with scratch_directory() as ours:
        _link(location, ours)
        environment = {"GIT_DIR": str(ours), "GIT_WORK_TREE": str(location.top)}
        config = _configuration(location, git, environment)
        (ours / "config").write_text(_our_config(config))
        environment["GIT_INDEX_FILE"] = str(location.private / "index")
        if location.is_file and not _belongs(location, config):
            yield None
        else:
            yield Repository(root, location, config, git, environment)


def locate(root: Path) -> Location | None:
    """Find the repository by its ``.git``, in the root or above it."""
    for top in (root, *root.parents):
        marker = top / ".git"
        try:
            mode = marker.lstat().st_mode
        except OSError:
            continue
        private = marker if stat.S_ISDIR(mode) else _pointed_at(marker) if stat.S_ISREG(mode) else None
        if private is None:
            continue
        common = _common(private)
        if _is_file(private / "HEAD") and _is_directory(common / "objects") and _is_safe_index(private / "index"):
            return Location(top, private, common, stat.S_ISREG(mode))
    return None


def is_git_directory(names: frozenset[str]) -> bool:
    """Say whether a directory with these entries looks like a git directory (of a bare repository, say)."""
    return {"HEAD", "objects", "refs"} <= names


def _link(location: Location, ours: Path) -> None:
    for name in _SHARED:
        if _is_file(location.common / name) or _is_directory(location.common / name):
            (ours / name).symlink_to(location.common / name)
    if not (ours / "refs").exists():
        (ours / "refs").mkdir()
    for shared in location.private.glob("sharedindex.*"):
        (ours / shared.name).symlink_to(shared)
    try:
        (ours / "HEAD").write_bytes((location.private / "HEAD").read_bytes()[:4096])
    except OSError as error:
        raise GitError(f"the repository's HEAD cannot be read: {error.strerror}.") from error


def _configuration(location: Location, git: Git, environment: Mapping[str, str]) -> dict[str, str]:
    """Read the repository's configuration as data, without what it includes; of a repeated name the last counts."""
    path = location.common / "config"
    if not _is_file(path):
        return {}
    arguments = ("config", "--file", str(path), "--no-includes", "-z", "--list")
    output = git.run(arguments, directory=location.top, environment=environment, most_bytes=_CONFIG_BYTES)
    pairs = (entry.decode("utf-8", "replace").partition("\n") for entry in output.data.split(b"\0") if entry)
    return {name: value if newline else "true" for name, newline, value in pairs}


def _our_config(config: Mapping[str, str]) -> str:
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false"]
    for name, value in sorted(config.items()):
        if name in _HARMLESS and value.isalnum() and value.isascii():
            section, _, key = name.partition(".")
            lines += [f"[{section}]", f"\t{key} = {value}"]
    return "\n".join(lines) + "\n"


def _belongs(location: Location, config: Mapping[str, str]) -> bool:
    """Say whether a repository elsewhere, that a ``.git`` file points at, knows this work tree as its own."""
    marker = location.top / ".git"
    if location.common != location.private:
        back = _small(location.private / "gitdir").strip()
        return bool(back) and (location.private / back).resolve() == marker
    worktree = config.get("core.worktree", "")
    return bool(worktree) and (location.private / worktree).resolve() == location.top


def _pointed_at(marker: Path) -> Path | None:
    text = _small(marker)
    if not text.startswith("gitdir:"):
        return None
    return (marker.parent / text.removeprefix("gitdir:").strip()).resolve()


def _common(private: Path) -> Path:
    named = _small(private / "commondir").strip()
    return (private / named).resolve() if named else private


def _small(path: Path) -> str:
    if not _is_file(path):
        return ""
    try:
        with path.open("rb") as file:
            return os.fsdecode(file.read(4096)).replace("\0", "")
    except OSError:
        return ""


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except (OSError, ValueError):
        return 0


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(_mode(path))


def _is_directory(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _is_safe_index(path: Path) -> bool:
    return _mode(path) == 0 or _is_file(path)
