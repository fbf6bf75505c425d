"""The answer as JSON, put together within its budget, to the byte."""

from collections.abc import Callable, Sequence

from attrs import define, field, frozen

from cco_sidecar.core.context.budget import most_for_one_file, slices
from cco_sidecar.core.context.fitting import encode, head_of, joined, shown
from cco_sidecar.core.context.gitsection import git_section
from cco_sidecar.core.context.languages import language_of
from cco_sidecar.core.context.project import TOO_BIG, Omission, Project, Text, Unreadable
from cco_sidecar.core.context.request import ContextRequest
from cco_sidecar.core.context.secrets import redactions_in
from cco_sidecar.core.context.sections import metadata_section, omitted_section, results_section, structure_section
from cco_sidecar.core.context.selection import Pick, Selection
from cco_sidecar.core.context.tokens import tokens_in
from cco_sidecar.core.times import rfc3339

OUT_OF_BUDGET = "over the budget"
_NUMBER_BYTES = 12
_LEAST_HEAD = 256
_LAST_SECOND = 253_402_300_799  # of the year 9999: a file's time can be anything
_FRAMES = (
    b'{"issue_id":,"agent_type":,"context":{"project_structure":,"relevant_files":,"git_context":,'
    b'"previous_agent_outputs":,"metadata":},"truncated":false,"truncation_strategy":"none","omitted":,'
    b'"omitted_count":,"total_size_bytes":,"file_count":'
)

Reader = Callable[[str], Text | Unreadable]
"""Gives the text of a file by its path; it may raise to end the gathering."""


@frozen
class Assembled:
    """An answer but for its end (`ending`): ``head`` is the JSON object up to there."""

    head: bytes = field(repr=False)
    truncated: bool
    file_count: int


def ending(seconds: float, cache_hit: bool) -> bytes:
    """Make the end of an answer: its time (seconds since the epoch), and whether it came from the cache."""
    return b',"timestamp":"%b","cache_hit":%b}' % (rfc3339(seconds).encode(), b"true" if cache_hit else b"false")


ENDING_BYTES = len(ending(0, False))


def assemble(request: ContextRequest, project: Project, selection: Selection, read: Reader) -> Assembled:
    """Put the answer together; with its ending it takes at most ``request.budget_bytes``.

    :param read: is asked for the files that go in, best first, one at a time.
    """
    names = encode(request.issue_id), encode(request.agent_type.type)
    available = request.budget_bytes - len(_FRAMES) - ENDING_BYTES - 4 * _NUMBER_BYTES - sum(map(len, names))
    share = slices(available)
    metadata = metadata_section(project.metadata, share.metadata)
    structure = structure_section(project, share.structure)
    git = git_section(project.git, share.git)
    results = results_section(request.results, share.results)
    left = available - sum(len(section.json) for section in (metadata, structure, git, results))
    files = _Files(read, left - share.omitted - len(b'[],"redactions":'))
    files.take(selection.picks)
    fragments = joined(files.fragments)
    omissions = [*files.omitted, *project.omissions, *selection.omitted]
    omitted = omitted_section(omissions, left - len(fragments) - len(b',"redactions":'))
    redactions = sum(one.redactions for one in (files, structure, git, results)) + redactions_in(omitted.json)
    truncated = files.cut or any(section.cut for section in (metadata, structure, git, results))
    return Assembled(
        b"".join(
            (
                b'{"issue_id":%b,"agent_type":%b,"context":{"project_structure":' % names,
                structure.json,
                b',"relevant_files":',
                fragments,
                b',"git_context":',
                git.json,
                b',"previous_agent_outputs":',
                results.json,
                b',"metadata":',
                metadata.json[:-1],
                b',"redactions":%d}},' % redactions,
                b'"truncated":true,"truncation_strategy":"smart"'
                if truncated
                else b'"truncated":false,"truncation_strategy":"none"',
                b',"omitted":',
                omitted.json,
                b',"omitted_count":%d' % (len(omissions) + project.unlisted),
                b',"total_size_bytes":%d' % files.content_bytes,
                b',"file_count":%d' % len(files.fragments),
            )
        ),
        truncated,
        len(files.fragments),
    )


@define(eq=False)
class _Files:
    """Takes files, best first, until ``left`` bytes are used up."""

    _read: Reader
    left: int
    fragments: list[bytes] = field(factory=list, init=False)
    omitted: list[Omission] = field(factory=list, init=False)
    content_bytes: int = field(default=0, init=False)
    redactions: int = field(default=0, init=False)
    cut: bool = field(default=False, init=False)

    def take(self, picks: Sequence[Pick]) -> None:
        for pick in picks:
            if pick.file.size > self.left and self.left < 2 * _LEAST_HEAD:
                self._leave_out(pick, OUT_OF_BUDGET)
                continue
            text = self._read(pick.file.path)
            if isinstance(text, Unreadable):
                self._leave_out(pick, text.why)
            else:
                self._put(pick, text)

    def _leave_out(self, pick: Pick, why: str) -> None:
        self.omitted.append(Omission(pick.file.path, pick.file.size, why))
        self.cut = self.cut or why in (OUT_OF_BUDGET, TOO_BIG)

    def _put(self, pick: Pick, text: Text) -> None:
        most = most_for_one_file(self.left) - 1
        content = text.content
        fragment = _fragment(pick, text, content)
        if len(fragment) > most:
            frame = len(fragment) - len(encode(content))
            if most - frame < _LEAST_HEAD:
                self._leave_out(pick, OUT_OF_BUDGET)
                return
            content = head_of(content, most - frame)
            fragment = _fragment(pick, text, content)
            self.cut = True
        self.fragments.append(fragment)
        self.left -= len(fragment) + 1
        self.content_bytes += len(content.encode("utf-8", "replace"))
        self.redactions += text.redactions + redactions_in(shown(pick.file.path))


def _fragment(pick: Pick, text: Text, content: str) -> bytes:
    """Encode one file; ``tokens`` is an estimate."""
    return encode(
        {
            "path": shown(pick.file.path),
            "content": content,
            "last_modified": rfc3339(min(max(pick.file.modified_ns / 1e9, 0), _LAST_SECOND)),
            "size": pick.file.size,
            "language": language_of(pick.file.path),
            "checksum": f"sha256:{text.checksum}",
            "reason": pick.reason,
            "truncated": len(content) < len(text.content),
            "tokens": tokens_in(len(content.encode("utf-8", "replace"))),
        }
    )
