"""The git section of an answer, within its slice of the budget."""

from collections.abc import Sequence

from cco_sidecar.core.context.fitting import Fitted, encode, fit_list, head_of, joined, shown
from cco_sidecar.core.context.project import Change, Commit, GitFacts
from cco_sidecar.core.secrets.redacting import redactions_in

SHOWN_COMMITS = 20


def git_section(git: GitFacts | None, most_bytes: int) -> Fitted:
    """Encode the git section: the names of what changed come first, then history, then diffs as far as they fit."""
    if git is None:
        return Fitted(b"null")
    branch = encode(_clipped(git.branch, most_bytes // 6))
    head = encode(git.head)
    remote = encode(_clipped(git.remote, most_bytes // 12))
    url = encode(_clipped(git.remote_url, most_bytes // 6))
    frame = b'{"branch":,"head":,"recent_commits":,"uncommitted_changes":,"remote":,"remote_url":}'
    left = most_bytes - len(frame) - len(branch) - len(head) - len(remote) - len(url)
    changes = fit_list((_change(change, "") for change in git.changes), max(left * 6 // 10, 2))
    commits = fit_list(map(_commit, git.commits), left - len(changes.json))
    room = left - len(changes.json) - len(commits.json)
    diffs = _with_diffs(git.changes[: changes.count], room)
    body = b'{"branch":%b,"head":%b,"recent_commits":%b,"uncommitted_changes":%b,"remote":%b,"remote_url":%b}'
    return Fitted(
        body % (branch, head, commits.json, diffs.json, remote, url),
        changes.cut or commits.cut or diffs.cut or git.more_changes > 0,
        redactions=git.redactions + diffs.redactions + sum(map(_redactions_of, git.commits[: commits.count])),
    )


def _with_diffs(changes: Sequence[Change], room: int) -> Fitted:
    """Encode changes; ``room`` is what their diffs may add."""
    parts = []
    cut = False
    redactions = 0
    for change in changes:
        part, plain = encode(_change(change, change.diff)), encode(_change(change, ""))
        if len(part) - len(plain) > room:
            part, cut = plain, True
        else:
            redactions += change.redactions
        redactions += redactions_in(shown(change.path))
        room -= len(part) - len(plain)
        parts.append(part)
    return Fitted(joined(parts), cut, redactions=redactions)


def _change(change: Change, diff: str) -> dict[str, str]:
    return {"path": shown(change.path), "status": change.status, "diff": diff}


def _commit(commit: Commit) -> dict[str, object]:
    return {
        "hash": commit.hash,
        "message": commit.message,
        "author": commit.author,
        "timestamp": commit.timestamp,
        "files_changed": [shown(path) for path in commit.files],
    }


def _redactions_of(commit: Commit) -> int:
    return commit.redactions + sum(redactions_in(shown(path)) for path in commit.files)


def _clipped(text: str | None, most_bytes: int) -> str | None:
    return text if text is None or len(encode(text)) <= most_bytes else head_of(text, most_bytes)
