"""What an agent is to be told when it has forgotten: gathered from all rooms, for `core.briefing` to put into words."""

from collections.abc import Iterable, Sequence

import msgspec
from attrs import define
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.briefing import Facts, Other
from cco_sidecar.core.context.request import PreviousOutput
from cco_sidecar.core.events.unread import unread
from cco_sidecar.core.projects import Project
from cco_sidecar.core.tokens import Claims
from cco_sidecar.errors import Refusal
from cco_sidecar.interfaces import IResultStore, ResultEntry
from cco_sidecar.web.outputs import output_of

MOST_OWN = 10
MOST_OTHERS = 20


@define(eq=False)
class Briefings:
    """Gathers the facts of briefings."""

    _clock: IReactorTime
    _agents: Agents
    _store: IResultStore

    async def facts(self, project: Project, asker: Claims, agent_id: str) -> Facts:
        """Gather what an agent is to be told."""
        row = self._agents.get(project.id, agent_id) if self._agents.knows(project.id, agent_id) else None
        agent_type, issue_id = _who(asker, row, agent_id)
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


def _who(claims: Claims, row: Agent | None, agent_id: str) -> tuple[str | None, str | None]:
    """Say of which type the agent is and on which issue; of one that was not started here, its token says so."""
    if row is not None:
        return row.agent_type, row.issue_id
    return (claims.agent_type, claims.issue_id) if claims.sub == agent_id and not claims.is_admin else (None, None)
