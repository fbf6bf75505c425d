"""A project that is no git repository: its files by a walk of our own, with .gitignore and .ccoignore."""

import os
from collections.abc import Iterator

from cco_sidecar.backends.gatherer.opener import MOST_DEPTH, Root
from cco_sidecar.backends.gatherer.repository import is_git_directory
from cco_sidecar.core.context.ignoring import IgnoreRules

IGNORE_BYTES = 1 << 18
_NEVER_WORDS = ".git .hg .svn .bzr .jj node_modules __pycache__ .venv .tox .nox .mypy_cache .pytest_cache .ruff_cache"
_NEVER = frozenset(_NEVER_WORDS.split())


def walk(root: Root, rules: IgnoreRules) -> Iterator[str]:
    """Give the paths of all that is no directory and not ignored; ``rules`` takes up the ignore files on the way.

    The order is that of the names, so that a walk cut short is cut at the same place again.
    """
    pending = [""]
    while pending:
        directory = pending.pop()
        below = []
        for name, is_directory in _entries(root, directory, rules):
            path = f"{directory}/{name}" if directory else name
            if is_directory:
                below.append(path)
            else:
                yield path
        pending.extend(reversed(below))


def add_ignore_file(root: Root, rules: IgnoreRules, path: str) -> None:
    """Take up an ignore file, if it can be read."""
    try:
        found = root.read(path, IGNORE_BYTES)
    except OSError:
        return
    rules.add(path.rpartition("/")[0], found.data.decode("utf-8", "surrogateescape"), path)


def entries_of(root: Root, directory: str) -> list[tuple[str, bool]]:
    """Name what stands in a directory, in order, each with whether it is a directory."""
    try:
        with os.scandir(root.directory(directory)) as scan:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan)
    except OSError:
        return []  # gone, closed to us, or turned into a symlink


def is_never_walked(name: str, is_directory: bool) -> bool:
    """Say whether nothing by that name is looked at, whatever the ignore files say."""
    return (is_directory and name in _NEVER) or name == ".git"


def _entries(root: Root, directory: str, rules: IgnoreRules) -> list[tuple[str, bool]]:
    found = entries_of(root, directory)
    names = frozenset(name for name, _ in found)
    if is_git_directory(names) or directory.count("/") >= MOST_DEPTH:
        return []
    for name in (".gitignore", ".ccoignore"):
        if name in names:
            add_ignore_file(root, rules, f"{directory}/{name}" if directory else name)
    prefix = f"{directory}/" if directory else ""
    return [
        (name, is_directory)
        for name, is_directory in found
        if not is_never_walked(name, is_directory) and not rules.excludes(prefix + name, is_directory)
    ]
