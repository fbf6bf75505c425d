"""What git says, read: the listing, the state of the work tree, history and diffs."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from cco_sidecar.backends.gatherer.git import GitError
from cco_sidecar.backends.gatherer.repository import Repository
from cco_sidecar.core.context.gitsection import SHOWN_COMMITS
from cco_sidecar.core.context.project import Commit, Footprint
from cco_sidecar.core.context.redaction import without_userinfo
from cco_sidecar.core.context.terms import message_terms
from cco_sidecar.core.secrets.redacting import redact
from cco_sidecar.core.times import rfc3339

LISTING_BYTES = 64 << 20
_LOG_BYTES = 8 << 20
_DIFF_BYTES = 8 << 20
COMMIT_FILES = 50
HISTORY = 2_000
BULK_FILES = 20
"""A commit over more files says nothing about any one of them."""
_MESSAGE_CHARACTERS = 2_000
_TOO_MANY = "the project has more files than can be listed; exclude some by .gitignore."
_EDGE = "\n\0\n"
_MARK = "//"  # no path begins so, and fields come in a fixed order

_REGULAR = {b"100644", b"100755"}
_STATUSES = {"A": "added", "D": "deleted", "T": "type changed", "M": "modified"}


@frozen
class Listing:
    """All files below the root by git's word; ``raw`` is what their state hangs on besides the files themselves.

    ``tracked`` maps a path to "", or to why it can't be read ("symbolic link"); ``statuses`` has the uncommitted ones,
    ``blobs`` the object of each file whose changes git would see.
    """

    head: str | None
    branch: str | None
    tracked: Mapping[str, str]
    blobs: Mapping[str, str]
    statuses: Mapping[str, str]
    raw: Sequence[bytes]
    index: "Index | None" = None


@frozen
class Index:
    """What an index file lists, and when: as long as the file is the same it need not be read again."""

    identity: tuple[int, ...]
    tracked: Mapping[str, str]
    blobs: Mapping[str, str]
    digest: bytes


def listing(repository: Repository, before: Listing | None = None) -> Listing:
    """List tracked and untracked files; raises GitError."""
    identity = repository.index_identity()
    status = repository.git(
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--no-ahead-behind",
        "--untracked-files=all",
        "--ignore-submodules=all",
        "--no-renames",
        "--",
        ".",
        most_bytes=LISTING_BYTES,
    )
    if status.cut:
        raise GitError(_TOO_MANY)
    index = before.index if before is not None and before.index is not None else None
    if index is None or identity is None or index.identity != identity:
        index = _index(repository, identity)
    headers, statuses = _statuses(status.data, repository.prefix)
    head = headers.get("oid", "(initial)")
    branch = headers.get("head", "(detached)")
    return Listing(
        None if head == "(initial)" else head,
        None if branch == "(detached)" else branch,
        index.tracked,
        index.blobs,
        statuses,
        (status.data, index.digest),
        index,
    )


def _index(repository: Repository, identity: tuple[int, ...] | None) -> Index:
    staged = repository.git("ls-files", "--stage", "-v", "-z", "--", ".", most_bytes=LISTING_BYTES)
    if staged.cut:
        raise GitError(_TOO_MANY)
    return Index(identity or (), *_tracked(staged.data), hashlib.sha256(staged.data).digest())


def history(repository: Repository) -> list[Commit]:
    """Give the newest 20 commits below the root that HEAD reaches; raises GitError."""
    return list(_commits(_log(repository, f"--max-count={SHOWN_COMMITS}", "%H%x00%an%x00%ct%x00%B")))


def footprints(repository: Repository) -> list[Footprint]:
    """Give the newest 2,000 commits below the root that HEAD reaches, but merges and bulk; raises GitError."""
    records = _records(_log(repository, f"--max-count={HISTORY}", "%H%x00%B", "--no-merges"), 2)
    narrow = [(fields[0], fields[1], files) for fields, files in records if 0 < len(files) <= BULK_FILES]
    messages = _all_redacted([message for _, message, _ in narrow])
    return [
        Footprint(commit, files, message_terms(message))
        for (commit, _, files), message in zip(narrow, messages, strict=True)
    ]


def _all_redacted(messages: Sequence[str]) -> Sequence[str]:
    """Redact all at once, which takes a tenth of the time; one by one only if a secret seems to go over an edge."""
    whole = redact(_EDGE.join(messages))[0].split(_EDGE)
    return whole if len(whole) == len(messages) else [redact(message)[0] for message in messages]


def _log(repository: Repository, count: str, fields: str, *options: str) -> bytes:
    return repository.git(
        "log",
        count,
        *options,
        "-z",
        f"--format=%x00{_MARK}%x00{fields}%x00",
        "--encoding=UTF-8",
        "--name-only",
        "--relative",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--no-show-signature",
        "--no-mailmap",
        "--ignore-submodules=all",
        "HEAD",
        "--",
        ".",
        most_bytes=_LOG_BYTES,
    ).data


def diffs(repository: Repository, paths: Sequence[str]) -> dict[str, str]:
    """Give the diff against HEAD of each of the paths that has one; raises GitError."""
    if not paths:
        return {}
    output = repository.git(
        "diff",
        "--raw",
        "--patch",
        "-z",
        "--relative",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        "--ignore-submodules=all",
        "HEAD",
        "--",
        *paths,
        most_bytes=_DIFF_BYTES,
    )
    return _diffs(output.data, output.cut)


def remote(config: Mapping[str, str], branch: str | None) -> tuple[str | None, str | None]:
    """Give the name and the URL, without credentials, of the branch's remote, of origin, or of the first there is."""
    urls = {
        name.removeprefix("remote.").removesuffix(".url"): value
        for name, value in config.items()
        if name.startswith("remote.") and name.endswith(".url")
    }
    for name in (config.get(f"branch.{branch}.remote", ""), "origin", *sorted(urls)):
        if name in urls:
            return name, without_userinfo(urls[name])
    return None, None


def _statuses(data: bytes, prefix: bytes) -> tuple[dict[str, str], dict[str, str]]:
    headers: dict[str, str] = {}
    found: dict[str, str] = {}
    for record in data.split(b"\0"):
        kind = record[:2]
        if kind == b"# ":
            name, _, value = record[2:].decode("utf-8", "replace").partition(" ")
            headers[name.removeprefix("branch.")] = value
        elif kind == b"1 ":
            _, codes, *_, path = record.split(b" ", 8)
            found[below(path, prefix)] = _status(codes.decode("ascii"))
        elif kind == b"u ":
            found[below(record.split(b" ", 10)[10], prefix)] = "conflicted"
        elif kind == b"? ":
            found[below(record[2:], prefix)] = "untracked"
    return headers, found


def _status(codes: str) -> str:
    staged, unstaged = codes[0], codes[1]
    if "D" in (unstaged if unstaged != "." else staged):
        return "deleted"
    if staged == "A":
        return "added"
    return _STATUSES.get(unstaged if unstaged != "." else staged, "modified")


def below(path: bytes, prefix: bytes) -> str:
    """Give a path that git names from the top of the work tree as seen from the project's root."""
    return path.removeprefix(prefix).decode("utf-8", "surrogateescape")


def _tracked(data: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Read the index: each record begins with a tag, which is H but for what is in conflict or not to be looked at."""
    tracked: dict[str, str] = {}
    blobs: dict[str, str] = {}
    for record in data.split(b"\0"):
        about, _, name = record.partition(b"\t")
        if name:
            tag, mode, oid, _ = about.split(b" ")
            path = name.decode("utf-8", "surrogateescape")
            tracked[path] = "" if mode in _REGULAR else "submodule" if mode == b"160000" else "symbolic link"
            if tag == b"H":
                blobs[path] = oid.decode("ascii")
    return tracked, blobs


def _records(data: bytes, count: int) -> Iterator[tuple[list[str], list[str]]]:
    """Read a log: so many fields of each commit, and the names of its files."""
    tokens = data.split(b"\0")
    mark = _MARK.encode()
    starts = [place for place, token in enumerate(tokens) if token == mark]
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        fields = [token.decode("utf-8", "replace") for token in tokens[start + 1 : start + 1 + count]]
        if len(fields) == count:  # else it was cut off at the bound
            yield fields, list(_names(tokens[start + 1 + count : end]))


def _commits(data: bytes) -> Iterator[Commit]:
    for fields, files in _records(data, 4):
        if not fields[2].isdigit():
            continue
        # Before the cut, or half a secret would stay that no rule knows.
        message, in_message = redact(fields[3].strip())
        author, in_author = redact(fields[1])
        yield Commit(
            hash=fields[0],
            message=message[:_MESSAGE_CHARACTERS],
            author=author,
            timestamp=rfc3339(min(int(fields[2]), 253_402_300_799)),
            files=files[:COMMIT_FILES],
            redactions=in_message.total() + in_author.total(),
        )


def _names(tokens: Iterable[bytes]) -> Iterator[str]:
    """Read the names after a commit; the first has a line feed of git's own before it."""
    first = True
    for token in tokens:
        name = token.removeprefix(b"\n") if first and token else token
        first = first and not token
        if name:
            yield name.decode("utf-8", "surrogateescape")


def _diffs(data: bytes, cut: bool) -> dict[str, str]:
    """Read ``--raw -z`` records and the patches after them, which come in the same order."""
    raw, _, patches = data.partition(b"\0\0")
    fields = raw.split(b"\0")
    paths = [path.decode("utf-8", "surrogateescape") for path in fields[1::2]]
    starts = [found.start() for found in re.finditer(rb"^diff --git ", patches, re.MULTILINE)]
    if len(starts) != len(paths) and not cut:
        return {}  # something changed while git looked: which patch is whose cannot be known
    ends = [*starts[1:], len(patches)]
    texts = [patches[start:end].decode("utf-8", "replace") for start, end in zip(starts, ends, strict=True)]
    if cut:
        texts = texts[:-1]
    return dict(zip(paths, texts, strict=False))
