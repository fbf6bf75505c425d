"""What ignore rules keep out of a project, and which rule each: looked up only when somebody asks."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from cco_sidecar.backends.gatherer.opener import Root
from cco_sidecar.backends.gatherer.repository import Repository
from cco_sidecar.backends.gatherer.survey import Survey
from cco_sidecar.backends.gatherer.tree import entries_of, is_never_walked
from cco_sidecar.core.context.explaining import Ignored, IgnoredPaths, rule_text
from cco_sidecar.core.context.ignoring import IgnoreRules

MOST_IGNORED = 1_000
_LIST_BYTES = 1 << 20


_NEVER = "never looked into"


def ignored(root: Root, repository: Repository | None, found: Survey) -> IgnoredPaths:
    """Name the first 1,000 files and directories that rules keep out; raises GitError or OSError."""
    own = _by_rules(((entry.path, False) for entry in found.entries), found.rules)
    others = _unwalked(root, found) if repository is None else _by_git(repository)
    kept = list(islice(chain(own, others), MOST_IGNORED + 1))
    return IgnoredPaths(kept[:MOST_IGNORED], len(kept) > MOST_IGNORED)


def _by_rules(paths: Iterable[tuple[str, bool]], rules: IgnoreRules) -> Iterator[Ignored]:
    for path, is_directory in paths:
        rule = rules.rule(path, is_directory)
        if rule is not None:
            yield Ignored(f"{path}/" if is_directory else path, rule_text(rule.source, rule.text))


def _unwalked(root: Root, found: Survey) -> Iterator[Ignored]:
    """Give what the walk passed over beside the files that it found, and in the directories above them."""
    for directory in sorted(_directories(entry.path for entry in found.entries)):
        prefix = f"{directory}/" if directory else ""
        names = entries_of(root, directory)
        yield from (Ignored(f"{prefix}{name}/", _NEVER) for name, is_there in names if is_never_walked(name, is_there))
        passable = ((prefix + name, is_there) for name, is_there in names if not is_never_walked(name, is_there))
        yield from _by_rules(passable, found.rules)


def _directories(paths: Iterable[str]) -> set[str]:
    found = {""}
    for path in paths:
        above = path.rpartition("/")[0]
        while above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return found


def _by_git(repository: Repository) -> Iterator[Ignored]:
    listed = repository.git(
        *("ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z", "--", "."),
        most_bytes=_LIST_BYTES,
    )
    paths = [path for path in listed.data.split(b"\0") if path][: MOST_IGNORED + 1]
    if not paths:
        return
    said = repository.ignoring(paths, _LIST_BYTES)
    fields = [os.fsdecode(field) for field in said.data.split(b"\0")]
    for source, line, pattern, path in zip(*(fields[place::4] for place in range(4)), strict=False):
        # Git is given a directory of ours; the only ignore file in there is the repository's own.
        file = ".git/info/exclude" if source.startswith("/") else source
        yield Ignored(path.removeprefix("./"), rule_text(f"{file}:{line}", pattern))
