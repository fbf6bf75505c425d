"""What agents write down, and what they are told when they have forgotten, over HTTP (contract section 10)."""

from typing import Annotated, Any, Literal

import msgspec
from attrs import define
from msgspec import Meta

from cco_sidecar.core.briefing import (
    DEFAULT_TOKENS,
    LEAST_TOKENS,
    MOST_TOKENS,
    briefing,
    briefing_markdown,
)
from cco_sidecar.core.checkpoints import MOST_SIZE
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import Foreign, NotFound
from cco_sidecar.web.briefings import Briefings
from cco_sidecar.web.codec import JSON, Reply, compact
from cco_sidecar.web.errors import TooLarge
from cco_sidecar.web.routing import Call, ProjectQuery

MARKDOWN = b"text/markdown; charset=utf-8"


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

    _briefings: Briefings

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
        facts = await self._briefings.facts(call.project, call.holder, _itself(call))
        if call.query.format == "markdown":
            return Reply(briefing_markdown(facts, call.query.budget_tokens), content_type=MARKDOWN)
        return Reply(briefing(facts, call.query.budget_tokens), content_type=JSON)


def _itself(call: Call[Any, Any]) -> str:
    agent_id = call.path["agent_id"]
    if not call.holder.is_admin and call.holder.sub != agent_id:
        raise Foreign("An agent reads and writes its own checkpoint and briefing alone.")
    return agent_id
