"""Context over HTTP: what an agent needs to know, and the cache that it comes from (contract section 6)."""

import gzip
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

import msgspec
import zstandard
from attrs import define
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.context.explaining import Fate, Totals
from cco_sidecar.core.context.request import (
    LEAST_BYTES,
    MOST_BYTES,
    ContextAnswer,
    ContextRequest,
    Form,
    Inquiry,
    PreviousOutput,
)
from cco_sidecar.core.context.tokens import BYTES_PER_TOKEN, LEAST_TOKENS, MOST_TOKENS
from cco_sidecar.core.context.wishes import pattern_refusal
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import InvalidParameter, Refusal
from cco_sidecar.interfaces import IResultStore
from cco_sidecar.web.codec import JSON, Reply
from cco_sidecar.web.outputs import output_of
from cco_sidecar.web.routing import Call, ProjectQuery

FIRST_BYTES = 1024 * 1024
"""How large the context may be that an agent finds at its start."""
MOST_EXPLAINED = 10_000
MARKDOWN = b"text/markdown; charset=utf-8"
MOST_PREVIOUS = 50
"""How many earlier results a context looks at, newest first."""


class ContextQuery(ProjectQuery):
    """How much, and what for."""

    task: Annotated[str, Meta(max_length=16384)] = ""
    budget_bytes: Annotated[int, Meta(ge=LEAST_BYTES, le=MOST_BYTES)] = MOST_BYTES
    refresh: bool = False
    format: Form = "json"
    budget_tokens: Annotated[int, Meta(ge=LEAST_TOKENS, le=MOST_TOKENS)] | None = None


class ExplainQuery(ProjectQuery):
    """The answer that is to be explained, and which files of it: those that a glob matches."""

    task: Annotated[str, Meta(max_length=16384)] = ""
    budget_bytes: Annotated[int, Meta(ge=LEAST_BYTES, le=MOST_BYTES)] = MOST_BYTES
    path: Annotated[str, Meta(max_length=256)] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_EXPLAINED)] = 1000


class ClearQuery(ProjectQuery):
    """Which agent type's contexts; all if none is named."""

    agent_type: Annotated[str, Meta(max_length=128)] | None = None


class ContextBody(msgspec.Struct):
    """A context; ``context`` has the sections of contract section 6."""

    issue_id: str
    agent_type: str
    context: dict[str, Any]
    truncated: bool
    truncation_strategy: Literal["none", "smart"]
    omitted: list[dict[str, Any]]
    omitted_count: int
    total_size_bytes: int
    file_count: int
    timestamp: str
    cache_hit: bool


class ExplainAnswer(msgspec.Struct):
    """Why each file is in the answer or not; ``listed`` of the ``matching`` ones are in ``files``, best first."""

    issue_id: str
    agent_type: str
    budget_bytes: int
    files: list[Fate]
    listed: int
    matching: int
    totals: Totals
    timestamp: str
    cache_hit: bool


class ClearedAnswer(msgspec.Struct):
    """What went from the cache."""

    cleared: bool
    entries_removed: int
    bytes_freed: int
    timestamp: str


class Cleared(Protocol):
    """What a gatherer says of a clearing."""

    @property
    def entries_removed(self) -> int:
        """How many contexts went."""

    @property
    def bytes_freed(self) -> int:
        """How large they were."""


class Gatherer(Protocol):
    """What the backend can do."""

    def gather(self, request: ContextRequest) -> "Deferred[ContextAnswer]":
        """Fire with a context."""

    def clear(self, project_id: str | None, issue_id: str | None = None, agent_type: str | None = None) -> Cleared:
        """Forget cached contexts."""


@define(eq=False)
class ContextAPI:
    """Parse, delegate, encode."""

    _clock: IReactorTime
    _gatherer: Gatherer
    _store: IResultStore
    _roster: Roster
    _projects: Projects
    _task_of: Callable[[str, str], str]
    _compress: "Callable[[Callable[[], bytes]], Deferred[bytes]]"

    async def get(self, call: Call[ContextQuery, None]) -> Reply:
        """Give the context of an issue for an agent type."""
        query = call.query
        answer = await self._gather(
            call.project,
            call.path["issue_id"],
            call.path["agent_type"],
            task=self._task(call, query.task),
            budget_bytes=_budget(query),
            refresh=query.refresh,
            form=query.format,
        )
        headers = {b"ETag": answer.etag.encode(), b"Cache-Control": b"private", b"Vary": b"Accept-Encoding"}
        if _same(call.request.getHeader("if-none-match"), answer.etag):
            return Reply(b"", 304, headers)
        kind = JSON if query.format == "json" else MARKDOWN
        return await self._encoded(answer.body, call.request.getHeader("accept-encoding"), headers, kind)

    async def explain(self, call: Call[ExplainQuery, None]) -> Reply:
        """Say why each file is in a context or not."""
        query = call.query
        if query.path:
            refusal = pattern_refusal(query.path)
            if refusal:
                raise InvalidParameter(f"path: {refusal}.", parameter="path")
        answer = await self._gather(
            call.project,
            call.path["issue_id"],
            call.path["agent_type"],
            task=self._task(call, query.task),
            budget_bytes=query.budget_bytes,
            inquiry=Inquiry(query.path, query.limit),
        )
        headers = {b"Vary": b"Accept-Encoding"}
        return await self._encoded(answer.body, call.request.getHeader("accept-encoding"), headers, JSON)

    async def first(self, agent: Agent) -> bytes:
        """Give the context that an agent finds at its start."""
        project = self._projects.get(agent.project_id)
        answer = await self._gather(
            project, agent.issue_id, agent.agent_type, task=agent.task, budget_bytes=FIRST_BYTES
        )
        return answer.body

    def _task(self, call: Call[Any, None], given: str) -> str:
        return given or self._task_of(call.project.id, call.holder.sub)

    async def _gather(
        self,
        project: Project,
        issue_id: str,
        agent_type: str,
        *,
        task: str,
        budget_bytes: int,
        refresh: bool = False,
        form: Form = "json",
        inquiry: Inquiry | None = None,
    ) -> ContextAnswer:
        results, version = await self._previous(project.id, issue_id)
        request = ContextRequest(
            project_id=project.id,
            project_root=project.root,
            issue_id=issue_id,
            agent_type=self._roster.get(agent_type),
            task=_with_issue(task, project.texts.text_of(issue_id)),
            budget_bytes=budget_bytes,
            refresh=refresh,
            results=results,
            results_version=version,
            form=form,
            inquiry=inquiry,
        )
        return await self._gatherer.gather(request)

    async def _encoded(self, body: bytes, accepted: str | None, headers: dict[bytes, bytes], kind: bytes) -> Reply:
        name = _encoding(accepted or "")
        if name is None or len(body) < 1024:
            return Reply(body, headers=headers, content_type=kind)
        headers[b"Content-Encoding"] = name.encode()
        if b"ETag" in headers:
            # An encoding of the same state is another representation: its tag must differ (RFC 9110 section 8.8.3.3).
            headers[b"ETag"] = headers[b"ETag"][:-1] + b"-" + name.encode() + b'"'
        return Reply(await self._compress(lambda: _ENCODERS[name](body)), headers=headers, content_type=kind)

    async def _previous(self, project_id: str, issue_id: str) -> tuple[list[PreviousOutput], str]:
        """Give what earlier agents of the issue reported, newest first, and a name for the state of it."""
        listing = await self._store.listing(project_id, issue_id)
        entries = listing.entries[:MOST_PREVIOUS]
        outputs = []
        for entry in entries:
            try:
                outputs.append(output_of(await self._store.by_id(project_id, entry.id, issue_id)))
            except (Refusal, msgspec.MsgspecError):
                continue  # pruned or damaged meanwhile, or made by hand: the others still help
        version = hashlib.sha256(" ".join(output.result_id for output in outputs).encode()).hexdigest()
        return outputs, version

    async def clear_issue(self, call: Call[ClearQuery, None]) -> Reply:
        """Forget the contexts of an issue, or of one agent type in it."""
        return self._cleared(self._gatherer.clear(call.project.id, call.path["issue_id"], self._type(call)))

    async def clear_all(self, call: Call[ClearQuery, None]) -> Reply:
        """Forget all contexts: of all projects, unless one is named."""
        project_id = None if call.query.project is None else call.project.id
        return self._cleared(self._gatherer.clear(project_id, None, self._type(call)))

    def _type(self, call: Call[ClearQuery, None]) -> str | None:
        return None if call.query.agent_type is None else self._roster.get(call.query.agent_type).type

    def _cleared(self, cleared: Cleared) -> Reply:
        now = rfc3339(self._clock.seconds())
        return Reply(ClearedAnswer(True, cleared.entries_removed, cleared.bytes_freed, now))


def _budget(query: ContextQuery) -> int:
    """Give the bytes that an answer may take: a document as many as its tokens have, too.

    :raises InvalidParameter: tokens are asked for where there are none.
    """
    if query.budget_tokens is None:
        return query.budget_bytes
    if query.format != "markdown":
        wrong = "budget_tokens goes with format=markdown; for JSON say budget_bytes."
        raise InvalidParameter(wrong, parameter="budget_tokens")
    return min(query.budget_bytes, query.budget_tokens * BYTES_PER_TOKEN)


def _with_issue(task: str, issue: str) -> str:
    """Join a task and the text of its issue, which an agent without a task of its own has as its task already."""
    return task if issue in task else f"{task}\n\n{issue}" if task else issue


def _same(header: str | None, etag: str) -> bool:
    """Say whether If-None-Match names this state, in any encoding (RFC 9110 section 13.1.2)."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    bare = etag.strip('"')
    given = (tag.strip().removeprefix("W/").strip('"') for tag in header.split(","))
    return any(tag in {bare, f"{bare}-gzip", f"{bare}-zstd"} for tag in given)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=1, mtime=0)


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(body)


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {"zstd": _zstd, "gzip": _gzip}


def _encoding(accepted: str) -> str | None:
    """Pick the encoding to answer in, the better one first; None for none (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameters = part.strip().partition(";")
        weight = parameters.strip().removeprefix("q=") if parameters.strip().startswith("q=") else "1"
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            weights[name.strip()] = 0.0
    return next((name for name in _ENCODERS if weights.get(name, 0.0) > 0), None)
