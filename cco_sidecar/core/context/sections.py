"""The sections of an answer beside files and git: each a JSON text within its slice of the budget."""

from collections.abc import Iterable, Mapping, Sequence

from cco_sidecar.core.context.fitting import Fitted, FittedList, decoded, encode, fit_list, joined, shown, tail_of
from cco_sidecar.core.context.project import Omission, Project
from cco_sidecar.core.context.request import PreviousOutput
from cco_sidecar.core.secrets.redacting import redact_value, redactions_in

LISTED_OMISSIONS = 500
_WORTH_CUTTING = 64


def structure_section(project: Project, most_bytes: int) -> Fitted:
    """Encode the tree; when it does not fit, what lies deepest goes first."""
    paths = [file.path for file in project.files]
    root = encode(tail_of(shown(project.root), most_bytes // 3))
    total = len(paths) + project.unlisted
    counts = b'"total_files":%d,"total_size_bytes":%d' % (total, sum(file.size for file in project.files))
    left = most_bytes - len(b'{"root":,"files":,"directories":,}') - len(root) - len(counts)
    directories = _names(_directories(paths), max(left // 4, 2))
    files = _names(paths, left - len(directories.json))
    body = b'{"root":%b,"files":%b,"directories":%b,%b}' % (root, files.json, directories.json, counts)
    cut = files.cut or directories.cut or project.unlisted > 0
    return Fitted(body, cut, redactions=redactions_in(body))


def results_section(results: Sequence[PreviousOutput], most_bytes: int) -> Fitted:
    """Encode what earlier agents reported, newest first; the last that goes in may have its lists cut.

    The secrets that an agent wrote into it are replaced.
    """
    parts: list[bytes] = []
    redactions = 0
    left = most_bytes - 1
    for result in results:
        decisions, in_decisions = _redacted(result.decisions)
        files, in_files = _redacted([decoded(path) for path in result.files_affected])
        whole = _result(result, encode(decisions), encode(files))
        if len(whole) + 1 > left:
            lists = left - 1 - len(_result(result, b"", b""))
            if lists >= _WORTH_CUTTING:
                some = fit_list(decisions, lists // 2)
                parts.append(_result(result, some.json, fit_list(files, lists - len(some.json)).json))
                redactions += in_decisions + in_files
            return Fitted(joined(parts), True, redactions=redactions)
        parts.append(whole)
        redactions += in_decisions + in_files
        left -= len(whole) + 1
    return Fitted(joined(parts), redactions=redactions)


def metadata_section(metadata: Mapping[str, object], most_bytes: int) -> Fitted:
    """Encode the metadata, in the order given; what does not fit is cut (lists, objects) or null (all else)."""
    parts: list[bytes] = []
    cut = False
    left = most_bytes - 2 - sum(len(encode(name)) + 2 + len(b"null") for name in metadata)
    for name, value in metadata.items():
        fitted = _member(value, left + len(b"null"))
        left -= len(fitted.json) - len(b"null")
        cut = cut or fitted.cut
        parts.append(encode(name) + b":" + fitted.json)
    return Fitted(b"{" + b",".join(parts) + b"}", cut)


def omitted_section(omissions: Sequence[Omission], most_bytes: int) -> Fitted:
    """Encode the first 500 omissions, as far as they fit."""
    listed = omissions[:LISTED_OMISSIONS]
    return fit_list(({"path": shown(one.path), "size": one.size, "why": one.why} for one in listed), most_bytes)


def _redacted(values: Iterable[object]) -> tuple[list[object], int]:
    pairs = [redact_value(value) for value in values]
    return [value for value, _ in pairs], sum(count for _, count in pairs)


def _directories(paths: Iterable[str]) -> list[str]:
    found: set[str] = set()
    for path in paths:
        above = path.rpartition("/")[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return sorted(found)


def _names(paths: Sequence[str], most_bytes: int) -> FittedList:
    """Encode names in their order; if not all fit, those that lie deepest go first."""
    fitted = fit_list(map(shown, paths), most_bytes)
    if not fitted.cut:
        return fitted
    shallow_first = sorted(paths, key=lambda path: (path.count("/"), path))
    count = fit_list(map(shown, shallow_first), most_bytes).count
    return FittedList(encode([shown(path) for path in sorted(shallow_first[:count])]), True, count)


def _result(result: PreviousOutput, decisions: bytes, files: bytes) -> bytes:
    return (
        b'{"agent":%b,"agent_type":%b,"timestamp":%b,"status":%b,"decisions":%b,"files_affected":%b,"result_id":%b}'
        % (
            encode(result.agent),
            encode(result.agent_type),
            encode(result.timestamp),
            encode(result.status),
            decisions,
            files,
            encode(result.result_id),
        )
    )


def _member(value: object, most_bytes: int) -> Fitted:
    whole = encode(value)
    if len(whole) <= most_bytes:
        return Fitted(whole)
    if isinstance(value, list):
        return fit_list(value, most_bytes)
    if isinstance(value, dict):
        return _first_members(value, most_bytes)
    return Fitted(b"null", True)


def _first_members(value: Mapping[str, object], most_bytes: int) -> Fitted:
    parts: list[bytes] = []
    left = most_bytes - 1
    for name, member in value.items():
        part = encode(name) + b":" + encode(member)
        left -= len(part) + 1
        if left < 0:
            break
        parts.append(part)
    return Fitted(b"{" + b",".join(parts) + b"}", True)
