"""The answer as JSON, put together within its budget, to the byte."""

from collections.abc import Callable

from attrs import field, frozen

from cco_sidecar.core.context.budget import slices
from cco_sidecar.core.context.filesection import FileSection
from cco_sidecar.core.context.fitting import Fitted, encode, joined
from cco_sidecar.core.context.gitsection import git_section
from cco_sidecar.core.context.project import Project
from cco_sidecar.core.context.request import ContextRequest
from cco_sidecar.core.context.sections import metadata_section, omitted_section, results_section, structure_section
from cco_sidecar.core.context.selection import Selection
from cco_sidecar.core.secrets.redacting import redactions_in
from cco_sidecar.core.times import rfc3339

_NUMBER_BYTES = 12
_FRAMES = (
    b'{"issue_id":,"agent_type":,"context":{"project_structure":,"relevant_files":,"git_context":,'
    b'"previous_agent_outputs":,"metadata":},"truncated":false,"truncation_strategy":"none","omitted":,'
    b'"omitted_count":,"total_size_bytes":,"file_count":'
)


@frozen
class Assembled:
    """An answer but for its end (`ending`): ``head`` is the JSON object up to there."""

    head: bytes = field(repr=False)
    truncated: bool
    file_count: int
    is_whole: bool = True
    """Whether there was time for all."""


@frozen
class _Maker:
    """Makes a section of at most so many bytes; ``share`` is what it gets before it is known what the others leave."""

    make: Callable[[int], Fitted]
    share: int


def ending(seconds: float, cache_hit: bool) -> bytes:
    """Make the end of an answer: its time (seconds since the epoch), and whether it came from the cache."""
    return b',"timestamp":"%b","cache_hit":%b}' % (rfc3339(seconds).encode(), b"true" if cache_hit else b"false")


ENDING_BYTES = len(ending(0, False))


def assemble(request: ContextRequest, project: Project, selection: Selection, files: FileSection) -> Assembled:
    """Put the answer together; with its ending it takes at most ``request.budget_bytes``.

    Each section first gets no more than its slice. What files and omissions leave then goes to the sections that were
    cut, results before git before the tree.

    :param files: takes the selection, and can tell afterwards what became of each file.
    """
    names = encode(request.issue_id), encode(request.agent_type.type)
    available = request.budget_bytes - len(_FRAMES) - ENDING_BYTES - 4 * _NUMBER_BYTES - sum(map(len, names))
    share = slices(available)
    makers = {
        "results": _Maker(lambda most: results_section(request.results, most), share.results),
        "git": _Maker(lambda most: git_section(project.git, most), share.git),
        "structure": _Maker(lambda most: structure_section(project, most), share.structure),
        "metadata": _Maker(lambda most: metadata_section(project.metadata, most), share.metadata),
    }
    fitted = {name: maker.make(maker.share) for name, maker in makers.items()}
    left = available - sum(len(section.json) for section in fitted.values())
    files.take(selection.picks, left - share.omitted - len(b'[],"redactions":'))
    fragments = joined(files.fragments)
    omissions = [*files.omitted, *project.omissions, *selection.omitted]
    left -= len(fragments) + len(b',"redactions":')
    omitted = omitted_section(omissions, left)
    left -= len(omitted.json)
    for name, maker in makers.items():
        if fitted[name].cut:
            left += len(fitted[name].json)
            fitted[name] = maker.make(left)
            left -= len(fitted[name].json)
    results, git, structure, metadata = fitted.values()
    redactions = sum(one.redactions for one in (files, structure, git, results)) + redactions_in(omitted.json)
    truncated = files.cut or any(section.cut for section in fitted.values())
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
        files.is_whole,
    )
