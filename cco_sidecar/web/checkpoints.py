"""What agents write down, and what they are told when they have forgotten, over HTTP (contract section 10)."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from attrs import define
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.briefing import (
    DEFAULT_TOKENS,
    LEAST_TOKENS,
    MOST_TOKENS,
    Facts,
    Other,
    briefing,
    briefing_markdown,
)
from cco_sidecar.core.checkpoints import MOST_SIZE
from cco_sidecar.core.context.request import PreviousOutput
from cco_sidecar.core.events.unread import unread
from cco_sidecar.core.projects import Project
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import Foreign, NotFound, Refusal
from cco_sidecar.interfaces import IResultStore, ResultEntry
from cco_sidecar.web.codec import JSON, Reply, compact
from cco_sidecar.web.errors import TooLarge
from cco_sidecar.web.outputs import output_of
from cco_sidecar.web.routing import Call, ProjectQuery

MARKDOWN = b"text/markdown; charset=utf-8"
MOST_OWN = 10
MOST_OTHERS = 20


class CheckpointAnswer(msgspec.Struct):
    """The checkpoint that was written down."""

    agent_id: str
    size_bytes: int
    updated_at: str


class BriefingQuery(ProjectQuery):
    """How long the answer may be, and in what form."""

    budget_tokens: Annotated[int, Meta(ge=LEAST_TOKENS, le=MOST_TOKENS)] = DEFAULT_TOKENS
    format: Literal["json", "markdown"] = "json"


class BriefingAnswer(msgspec.Struct):
    """What an agent needs to go on.

    ``omitted`` counts what did not fit; a checkpoint that is itself too long is a text, its beginning.
    """

    agent_id: str
    agent_type: str | None
    issue_id: str | None
    project_id: str
    status: str | None
    task: str
    checkpoint: Any
    checkpoint_at: str | None
    tasks: list[dict[str, Any]]
    claims: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    results: list[dict[str, Any]]
    unread_events: list[dict[str, Any]]
    others: list[dict[str, Any]]
    truncated: bool
    omitted: dict[str, int]
    budget_tokens: int
    timestamp: str


@define(eq=False)
class CheckpointsAPI:
    """Parse, delegate, encode."""

    _clock: IReactorTime
    _agents: Agents
    _store: IResultStore

    async def write(self, call: Call[ProjectQuery, msgspec.Raw]) -> Reply:
        """Keep how far an agent has come."""
        agent_id = _itself(call)
        text = compact(call.body, "$")
        if len(bytes(text)) > MOST_SIZE:
            raise TooLarge(
                f"A checkpoint is at most {MOST_SIZE} bytes of JSON: write down where things are, not the things.",
                most_bytes=MOST_SIZE,
            )
        kept = await call.project.checkpoints.write(agent_id, text)
        return Reply(CheckpointAnswer(agent_id, kept.size, rfc3339(kept.at)))

    async def read(self, call: Call[ProjectQuery, None]) -> Reply:
        """Give what an agent wrote down, as it was."""
        agent_id = _itself(call)
        kept = call.project.checkpoints.find(agent_id)
        if kept is None:
            raise NotFound(f"The agent '{agent_id}' has no checkpoint: PUT one here.")
        return Reply(bytes(kept.text), headers={b"X-Checkpoint-At": rfc3339(kept.at).encode()})

    async def brief(self, call: Call[BriefingQuery, None]) -> Reply:
        """Tell an agent what it needs to go on."""
        facts = await self._facts(call, _itself(call))
        if call.query.format == "markdown":
            return Reply(briefing_markdown(facts, call.query.budget_tokens), content_type=MARKDOWN)
        return Reply(briefing(facts, call.query.budget_tokens), content_type=JSON)

    async def _facts(self, call: Call[BriefingQuery, None], agent_id: str) -> Facts:
        project = call.project
        row = self._agents.get(project.id, agent_id) if self._agents.knows(project.id, agent_id) else None
        agent_type, issue_id = _who(call, row, agent_id)
        entries = await self._entries(project, issue_id)
        own = [entry for entry in entries if entry.agent_id == agent_id][:MOST_OWN]
        results = await self._outputs(project, own)
        others = await self._others(project, agent_id, issue_id, entries)
        tasks = project.tasks.listing(state="leased", agent=agent_id)
        claims = [entry.record for entry in project.claims.listing(agent=agent_id) if entry.record is not None]
        text = project.texts.text_of(issue_id) if issue_id is not None else ""
        now = self._clock.seconds()
        return Facts(
            agent_id=agent_id,
            agent_type=agent_type,
            issue_id=issue_id,
            project_id=project.id,
            status=None if row is None else row.status,
            task=text if row is None or not row.task else row.task,
            checkpoint=project.checkpoints.find(agent_id),
            tasks=tasks,
            claims=claims,
            messages=project.messages.inbox(agent_id),
            results=list(results.values()),
            unread=unread(project.hub, agent_id, now),
            others=others,
            at=now,
        )

    async def _entries(self, project: Project, issue_id: str | None) -> Sequence[ResultEntry]:
        if issue_id is None:
            return ()
        return (await self._store.listing(project.id, issue_id)).entries

    async def _others(
        self, project: Project, agent_id: str, issue_id: str | None, entries: Iterable[ResultEntry]
    ) -> list[Other]:
        """Say what the others on the issue did: those that reported, the newest first, then those that did not."""
        newest: dict[str, ResultEntry] = {}
        for entry in entries:
            if entry.agent_id != agent_id:
                newest.setdefault(entry.agent_id, entry)
        rows: dict[str, Agent] = {}
        if issue_id is not None:
            listed = self._agents.listing(project.id, issue_id=issue_id)
            rows = {row.agent_id: row for row in listed if row.agent_id != agent_id}
        reported = list(newest.values())[:MOST_OTHERS]
        results = await self._outputs(project, reported)
        found = []
        for entry in reported:
            row = rows.get(entry.agent_id)
            status = None if row is None else row.status
            found.append(Other(entry.agent_id, entry.agent_type, status, results.get(entry.id)))
        silent = [row for row in rows.values() if row.agent_id not in newest]
        return found + [Other(row.agent_id, row.agent_type, row.status, None) for row in silent[:MOST_OTHERS]]

    async def _outputs(self, project: Project, entries: Iterable[ResultEntry]) -> dict[str, PreviousOutput]:
        found = {}
        for entry in entries:
            try:
                found[entry.id] = output_of(await self._store.by_id(project.id, entry.id, entry.issue_id))
            except (Refusal, msgspec.MsgspecError):
                continue  # pruned or damaged meanwhile, or made by hand: the others still help
        return found


def _who(call: Call[BriefingQuery, None], row: Agent | None, agent_id: str) -> tuple[str | None, str | None]:
    """Say of which type the agent is and on which issue; of one that was not started here, its token says so."""
    if row is not None:
        return row.agent_type, row.issue_id
    claims = call.holder
    return (claims.agent_type, claims.issue_id) if claims.sub == agent_id and not claims.is_admin else (None, None)


def _itself(call: Call[Any, Any]) -> str:
    agent_id = call.path["agent_id"]
    if not call.holder.is_admin and call.holder.sub != agent_id:
        raise Foreign("An agent reads and writes its own checkpoint and briefing alone.")
    return agent_id
