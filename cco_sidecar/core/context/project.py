"""A project as the gatherer found it: values only."""

from array import array
from collections.abc import Mapping, Sequence

from attrs import field, frozen

BINARY = "binary"
TOO_BIG = "larger than 1 MB"
NOT_REGULAR = "not a regular file"
GONE = "cannot be read"
SECRET = "secret by name"


@frozen
class ProjectFile:
    """A regular file; ``path`` is relative to the root and may carry bytes that are no UTF-8 (surrogate escapes).

    ``status`` says what is uncommitted about it ("modified", "untracked", …) and is "" when nothing is. Files
    with equal ``key`` have equal content.
    """

    path: str
    size: int
    modified_ns: int
    status: str = ""
    key: str = ""


@frozen
class Omission:
    """A file that is not in the answer, and why."""

    path: str
    size: int
    why: str


@frozen
class Commit:
    """A commit to be shown; ``files`` are the first of those it changed.

    ``redactions`` counts the secrets that were replaced in its message and author.
    """

    hash: str
    message: str
    author: str
    timestamp: str
    files: Sequence[str]
    redactions: int = 0


@frozen
class Footprint:
    """A commit reachable from HEAD, for ranking: what it changed, and the terms of its message."""

    hash: str
    files: Sequence[str]
    terms: "array[int]" = field(repr=False)


@frozen
class Change:
    """An uncommitted change; ``diff`` is against HEAD and "" where there is none to show.

    ``redactions`` counts the secrets that were replaced in the diff.
    """

    path: str
    status: str
    diff: str = ""
    redactions: int = 0


@frozen
class GitFacts:
    """The git section; ``footprints`` are the history that files are ranked by, newest first.

    ``redactions`` counts the secrets that were replaced in the names of branch and remote.
    """

    branch: str | None
    head: str | None
    commits: Sequence[Commit]
    changes: Sequence[Change]
    remote: str | None
    remote_url: str | None
    more_changes: int = 0
    redactions: int = 0
    footprints: Sequence[Footprint] = field(default=(), repr=False)


@frozen
class Project:
    """All that is known before the text of files is read.

    ``files`` are those that an agent may see, in order of path; ``unlisted`` counts files beyond the cap.
    """

    root: str
    files: Sequence[ProjectFile]
    git: GitFacts | None
    metadata: Mapping[str, object]
    omissions: Sequence[Omission] = ()
    unlisted: int = 0


@frozen
class Text:
    """The text of a file, without its secrets; ``checksum`` is the SHA-256 (hex) of its bytes on disk.

    ``redactions`` counts the secrets that were replaced.
    """

    content: str = field(repr=False)
    checksum: str
    redactions: int = 0


@frozen
class Unreadable:
    """A file that gives no text, and why."""

    why: str
