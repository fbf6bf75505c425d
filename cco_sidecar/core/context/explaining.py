"""Why each file of a project is in an answer or not: rank, reason, and what cut it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from attrs import frozen

from cco_sidecar.core.context.assembly import ENDING_BYTES, Assembled
from cco_sidecar.core.context.filesection import Outcome
from cco_sidecar.core.context.fitting import encode, fit_list, shown
from cco_sidecar.core.context.ignoring import globs, matches_any
from cco_sidecar.core.context.project import Omission, Project
from cco_sidecar.core.context.request import MOST_BYTES, ContextRequest, Inquiry
from cco_sidecar.core.context.selection import EXCLUDED, Selection
from cco_sidecar.core.context.wishes import Wishes
from cco_sidecar.core.secrets.redacting import redact

IGNORED = "ignored"
_FRAME_BYTES = 16_384
_MOST_KINDS = 100
_DIGITS = 4


@frozen
class Ignored:
    """A file or directory (with a slash at its end) that an ignore rule keeps out; ``rule`` says which, and where."""

    path: str
    rule: str


@frozen
class IgnoredPaths:
    """What ignore rules keep out, as far as it is listed; ``more`` says that there is more."""

    paths: Sequence[Ignored]
    more: bool


class Fate(msgspec.Struct, frozen=True):
    """What became of a file; ``rank`` is its place among those that were to go in, from 1.

    ``reason`` says why it was to go in, and ``score`` how much speaks for it, which is the sum of its ``signals``. It
    decides among files of one group (named, changed, …). ``cut`` says what cut the file or kept it out, ``rule`` which
    line of an ignore file or glob of the roster that was.
    """

    path: str
    included: bool
    truncated: bool
    rank: int | None
    reason: str
    score: float | None
    signals: Mapping[str, float]
    size: int | None
    tokens: int | None
    cut: str | None
    rule: str | None


class Totals(msgspec.Struct, frozen=True):
    """How many files were considered, and what became of them.

    ``not_looked_at`` are beyond the most that is looked at; ``more_ignored`` says that more is ignored than is listed;
    ``used_bytes`` is what the answer takes.
    """

    considered: int
    included: int
    truncated: int
    left_out: int
    not_looked_at: int
    more_ignored: bool
    by_cut: dict[str, int]
    used_bytes: int


@frozen
class Evidence:
    """An answer, what it was made from, and what became of each file that was selected."""

    project: Project
    selection: Selection
    answer: Assembled
    outcomes: Mapping[str, Outcome]
    ignored: IgnoredPaths


def explain(request: ContextRequest, inquiry: Inquiry, evidence: Evidence) -> Assembled:
    """Say what became of each file of an answer; the result's head wants an ending, as an answer's does."""
    answer, ignored = evidence.answer, evidence.ignored
    fates = [*_ranked(evidence), *_left_out(request, evidence)]
    fates += [_out(one.path, None, IGNORED, one.rule) for one in ignored.paths]
    totals = _totals(fates, evidence)
    patterns = globs([inquiry.path]) if inquiry.path else []
    wanted = [fate for fate in fates if not inquiry.path or matches_any(patterns, fate.path.rstrip("/"))]
    names = encode(request.issue_id), encode(request.agent_type.type)
    rows = fit_list(wanted[: inquiry.limit], MOST_BYTES - _FRAME_BYTES)
    form = b'{"issue_id":%b,"agent_type":%b,"budget_bytes":%d,"files":%b,"listed":%d,"matching":%d,"totals":%b'
    head = form % (*names, request.budget_bytes, rows.json, rows.count, len(wanted), encode(totals))
    return Assembled(head, rows.count < len(wanted), answer.file_count)


def _ranked(evidence: Evidence) -> Iterator[Fate]:
    """Give the files that were to go in, best first."""
    for rank, pick in enumerate(evidence.selection.picks, 1):
        file, outcome = pick.file, evidence.outcomes[pick.file.path]
        yield Fate(
            path=shown(file.path),
            included=outcome.tokens is not None,
            truncated=outcome.tokens is not None and bool(outcome.cut),
            rank=rank,
            reason=pick.reason,
            score=round(pick.score, _DIGITS),
            signals={name: round(worth, _DIGITS) for name, worth in pick.signals.items()},
            size=file.size,
            tokens=outcome.tokens,
            cut=outcome.cut or None,
            rule=None,
        )


def _left_out(request: ContextRequest, evidence: Evidence) -> Iterator[Fate]:
    """Give the files that were never to go in."""
    wishes = Wishes(request.agent_type.context)
    omissions: Sequence[Omission] = [*evidence.selection.omitted, *evidence.project.omissions]
    for one in omissions:
        glob = wishes.exclusion(one.path) if one.why == EXCLUDED else None
        rule = None if glob is None else f"roster: {glob.text}"
        yield _out(one.path, one.size, one.why, rule)


def _out(path: str, size: int | None, cut: str, rule: str | None) -> Fate:
    return Fate(shown(path), False, False, None, "", None, {}, size, None, cut, rule)


def _totals(fates: Sequence[Fate], evidence: Evidence) -> Totals:
    cuts = Counter(fate.cut for fate in fates if fate.cut is not None and not fate.included)
    return Totals(
        considered=len(fates),
        included=sum(fate.included for fate in fates),
        truncated=sum(fate.truncated for fate in fates),
        left_out=sum(not fate.included for fate in fates),
        not_looked_at=evidence.project.unlisted,
        more_ignored=evidence.ignored.more,
        by_cut=dict(cuts.most_common(_MOST_KINDS)),
        used_bytes=len(evidence.answer.head) + ENDING_BYTES,
    )


def rule_text(source: str, pattern: str) -> str:
    """Name an ignore rule: where it stands, and what it says, without secrets."""
    return redact(shown(f"{source} {pattern}"))[0][:512]
