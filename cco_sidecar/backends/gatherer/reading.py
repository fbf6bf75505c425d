"""From the survey of a project to all that is known of it: texts, history, diffs, metadata."""

from collections.abc import Callable, Sequence

from attrs import evolve

from cco_sidecar.backends.gatherer.git import GitError
from cco_sidecar.backends.gatherer.gitfacts import Listing, diffs, footprints, history, remote
from cco_sidecar.backends.gatherer.opener import Root
from cco_sidecar.backends.gatherer.repository import Repository
from cco_sidecar.backends.gatherer.survey import Survey
from cco_sidecar.backends.gatherer.texts import FILE_BYTES, TextCache
from cco_sidecar.core.context.filesection import Reader
from cco_sidecar.core.context.generated import generated_path
from cco_sidecar.core.context.ignoring import IgnoreRules
from cco_sidecar.core.context.metadata import describe, manifest_paths
from cco_sidecar.core.context.project import (
    Change,
    Commit,
    Footprint,
    GitFacts,
    Project,
    ProjectFile,
    Text,
    Unreadable,
)
from cco_sidecar.core.context.redaction import is_secret_name
from cco_sidecar.core.secrets.redacting import redact

MOST_CHANGES = 200

Checkpoint = Callable[[], None]
"""Called now and then; raises to end the work."""


def reader(root: Root, texts: TextCache, check: Checkpoint) -> Reader:
    """Make what gives the text of one of the project's files."""

    def read(file: ProjectFile) -> Text | Unreadable:
        check()
        return texts.text(root, file)

    return read


def project_of(
    root: Root, repository: Repository | None, found: Survey, before: Project | None, read: Reader
) -> Project:
    """Gather what is known of a project before files are chosen; the history or diffs that git refuses are warnings.

    :param before: the same project at an earlier time: the history of one HEAD is read once.
    :param read: gives the texts of manifests.
    """
    files, omissions = found.visible()
    warnings: list[str] = []
    git = None
    if repository is not None and found.listing is not None:
        past = before.git if before else None
        git = _git_facts(repository, found, files, past, warnings)
    wanted = manifest_paths(files)
    by_path = {file.path: file for file in files if file.path in wanted}
    manifests = {path: read(by_path[path]) for path in wanted}
    known = {path: text.content for path, text in manifests.items() if isinstance(text, Text)}
    if found.unlisted:
        warnings.append("The project has more than 100,000 files; the rest was not looked at.")
    metadata = describe(files, known, warnings)
    return Project(str(root.path), files, git, metadata, omissions, found.unlisted)


def _git_facts(
    repository: Repository, found: Survey, files: Sequence[ProjectFile], before: GitFacts | None, warnings: list[str]
) -> GitFacts:
    listing, rules = found.listing, found.rules
    assert listing is not None  # there is a repository
    changed = [path for path in sorted(listing.statuses) if not rules.excludes(path.rstrip("/"))]
    listed = changed[:MOST_CHANGES]
    commits: list[Commit] = []
    past: Sequence[Footprint] = ()
    texts: dict[str, str] = {}
    if listing.head is not None:
        try:
            commits = [_visible(commit, rules) for commit in history(repository)]
            same = before is not None and before.head == listing.head and before.footprints
            past = same or footprints(repository)
            texts = diffs(repository, _with_diff(listed, listing, files))
        except GitError as error:
            warnings.append(f"History or diffs are missing: {error}")
    name, url = remote(repository.config, listing.branch)
    changes = [_change(path, listing.statuses[path], texts.get(path, "")) for path in listed]
    (branch, name, url), count = _redacted(listing.branch, name, url)
    return GitFacts(branch, listing.head, commits, changes, name, url, len(changed) - len(listed), count, past)


def _change(path: str, status: str, diff: str) -> Change:
    shown, counts = redact(diff)
    return Change(path, status, shown, counts.total())


def _redacted(*names: str | None) -> tuple[list[str | None], int]:
    pairs = [(None, 0) if name is None else ((found := redact(name))[0], found[1].total()) for name in names]
    return [name for name, _ in pairs], sum(count for _, count in pairs)


def _visible(commit: Commit, rules: IgnoreRules) -> Commit:
    files = [path for path in commit.files if not rules.excludes(path)]
    return evolve(commit, files=files)


def _with_diff(paths: Sequence[str], listing: Listing, files: Sequence[ProjectFile]) -> list[str]:
    """Choose what git may make a diff of: gone files, and regular ones of at most 1 MB (it would wait for a pipe).

    Lock files and their like would take the room of all others.
    """
    readable = {file.path for file in files if file.status and file.size <= FILE_BYTES}
    return [
        path
        for path in paths
        if not (is_secret_name(path) or generated_path(path))
        and (path in readable or listing.statuses[path] == "deleted")
        and listing.statuses[path] not in ("untracked", "conflicted")
    ]
