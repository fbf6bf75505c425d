"""What is asked of the context service, and what it answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from attrs import frozen

from cco_sidecar.core.roster import AgentType

MOST_BYTES = 10_485_760
LEAST_BYTES = 4_096

Form = Literal["json", "markdown"]


@frozen
class PreviousOutput:
    """What an earlier agent reported, as far as the next one needs it; ``decisions`` is any JSON list."""

    agent: str
    agent_type: str
    timestamp: str
    status: str
    decisions: Sequence[object]
    files_affected: Sequence[str]
    result_id: str


@frozen
class Inquiry:
    """What is to be explained: at most ``limit`` files, of those that the glob ``path`` matches ("" is all)."""

    path: str
    limit: int


@frozen
class ContextRequest:
    """One request for context.

    ``task`` is the task and issue text ("" if there is none); ``budget_bytes`` (4096 to 10485760, as Markdown from 768)
    bounds the whole answer. ``results`` come newest first, since they are cut from the end; ``results_version`` names
    their state. With an ``inquiry`` the answer is why each file is in or out, instead of the context itself.
    """

    project_id: str
    project_root: Path
    issue_id: str
    agent_type: AgentType
    task: str
    budget_bytes: int = MOST_BYTES
    refresh: bool = False
    results: Sequence[PreviousOutput] = ()
    results_version: str = ""
    form: Form = "json"
    inquiry: Inquiry | None = None


class Body(Protocol):
    """The bytes of an answer."""

    @property
    def size_bytes(self) -> int:
        """How long it is, plain."""

    def encoded(self, encoding: str | None) -> bytes:
        """Give it plain (None), or as "zstd" or "gzip". May take tens of milliseconds."""


@frozen
class ContextAnswer:
    """The finished answer: ``content`` is complete, in the form asked for; ``etag`` is strong and quoted."""

    content: Body
    etag: str
    cache_hit: bool
    truncated: bool
    file_count: int

    @property
    def body(self) -> bytes:
        """The content, plain. May take some milliseconds."""
        return self.content.encoded(None)
