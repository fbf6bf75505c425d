"""Issues over HTTP: what they are about, and the workflows that are run for them (contract section 9)."""

import heapq
from collections.abc import Collection, Mapping
from typing import Annotated

import msgspec
from attrs import define
from msgspec import Meta

from cco_sidecar.core.agents import Agents
from cco_sidecar.core.identifiers import nearest
from cco_sidecar.core.issue_texts import MOST_BODY, MOST_TITLE
from cco_sidecar.core.projects import Project
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.workflows.engine import Engine
from cco_sidecar.core.workflows.orders import StartOrder
from cco_sidecar.core.workflows.run import STATUSES
from cco_sidecar.errors import InvalidBody, InvalidParameter, NotFound
from cco_sidecar.interfaces import IResultStore
from cco_sidecar.web.agents import MOST_TASK, KillQuery, Name, known_runner
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.issue_answers import (
    NEW,
    IssuesAnswer,
    issue_answer,
    issue_line,
    issue_state,
    run_answer,
)
from cco_sidecar.web.request import SidecarRequest
from cco_sidecar.web.routing import Call, ProjectQuery, Route, audit, plain_body

USUAL_WORKFLOW = "default"
MOST_AGENTS = 1_000
MOST_RESULTS = 100


class IssueRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What an issue is about."""

    title: Annotated[str, Meta(min_length=1, max_length=MOST_TITLE)]
    body: Annotated[str, Meta(max_length=MOST_BODY)] = ""


class StartRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to work on an issue: by default on its text, by the workflow ``default``, with the usual runner."""

    task: Annotated[str, Meta(min_length=1, max_length=MOST_TASK)] | None = None
    workflow: Name | None = None
    runner: Name | None = None


class IssuesQuery(ProjectQuery):
    """Which issues."""

    status: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


def read_start(request: SidecarRequest, route: Route, path: Mapping[str, str]) -> StartRequest:
    """Read the body of a start; nothing in it has to be there, and so neither has it."""
    headers = request.requestHeaders
    is_there = headers.hasHeader(b"Transfer-Encoding") or (request.getHeader("content-length") or "0") != "0"
    found: StartRequest = plain_body(request, route, path) if is_there else StartRequest()
    return found


@define(eq=False)
class IssuesAPI:
    """Parse, delegate, encode; ``engines`` are the projects' workflow engines."""

    _engines: Mapping[str, Engine]
    _agents: Agents
    _store: IResultStore
    _roster: Roster
    _runners: Collection[str]
    _default_runner: str
    _default_timeout_seconds: int
    _url: str

    async def describe(self, call: Call[ProjectQuery, IssueRequest]) -> Reply:
        """Keep an issue's text; it is on disk when this answers."""
        text = await call.project.texts.write(call.path["issue_id"], call.body.title, call.body.body)
        return Reply(issue_answer(call.project, text.issue_id))

    async def list(self, call: Call[IssuesQuery, None]) -> Reply:
        """List issues; an agent sees its own alone."""
        query, project = call.query, call.project
        known = (NEW, *STATUSES)
        if query.status is not None and query.status not in known:
            raise InvalidParameter(f"status must be one of {', '.join(known)}.", parameter="status")
        names = _names(project) if call.holder.is_admin else {call.holder.issue_id}
        found = (name for name in names if query.status in {None, _status(project, name)})
        newest = heapq.nlargest(query.limit, found, key=lambda name: (_moved_at(project, name), name))
        return Reply(IssuesAnswer([issue_line(project, name) for name in newest]))

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Give an issue with all that was done for it."""
        issue_id, project = call.path["issue_id"], call.project
        if all(place.find(issue_id) is None for place in (project.issues, project.texts, project.runs)):
            raise NotFound(f"There is no issue '{issue_id}': nobody has described it, and no agent works on it.")
        listing = await self._store.listing(project.id, issue_id)
        run = project.runs.find(issue_id)
        workflow = None if run is None else self._roster.workflows.get(run.workflow)
        agents = self._agents.listing(project.id, issue_id=issue_id, limit=MOST_AGENTS)
        results = [*listing.entries[:MOST_RESULTS]]
        usage_of, why_waits = self._agents.work.usage_of, self._agents.why_waits
        state = issue_state(project, issue_id, workflow, agents, results, usage_of=usage_of, why_waits=why_waits)
        return Reply(state)

    async def start(self, call: Call[ProjectQuery, StartRequest]) -> Reply:
        """Run a workflow for an issue; asked again for the same while it runs, it is the same run."""
        body, project, issue_id = call.body, call.project, call.path["issue_id"]
        order = StartOrder(
            issue_id=issue_id,
            workflow=self._workflow(body.workflow),
            runner=known_runner(body.runner, self._runners, self._default_runner),
            task=body.task or project.texts.text_of(issue_id)[:MOST_TASK] or f"Work on the issue {issue_id}.",
            parent=call.holder.sub,
            timeout_seconds=self._default_timeout_seconds,
        )
        run, is_new = await self._engines[project.id].start(order)
        if is_new:
            audit(call.request, "workflow started", target=issue_id, workflow=run.workflow, runner=run.runner)
        return Reply(run_answer(project, run, self._url), 201 if is_new else 200)

    async def stop(self, call: Call[KillQuery, None]) -> Reply:
        """End the work on an issue; answers when its agents are gone."""
        issue_id = call.path["issue_id"]
        grace = 0 if call.query.force else call.query.timeout_seconds
        run = await self._engines[call.project.id].stop(issue_id, grace)
        audit(call.request, "workflow stopped", target=issue_id)
        return Reply(run_answer(call.project, run, self._url))

    def _workflow(self, name: str | None) -> str:
        known = self._roster.workflows
        if name is None and len(known) == 1:
            return next(iter(known))
        wanted = name or USUAL_WORKFLOW
        if wanted in known:
            return wanted
        meant = nearest(wanted, known)
        there = f"there are {', '.join(sorted(known))}" if known else "the roster has none; write one there"
        hint = f"did you mean '{meant}'?" if meant else f"{there}."
        raise InvalidBody(f"There is no workflow '{wanted}': {hint}", path="$.workflow")


def _names(project: Project) -> set[str]:
    return {*project.issues.names, *project.texts.names, *(run.issue_id for run in project.runs)}


def _status(project: Project, issue_id: str) -> str:
    run = project.runs.find(issue_id)
    return NEW if run is None else run.status


def _moved_at(project: Project, issue_id: str) -> float:
    run, seen, text = project.runs.find(issue_id), project.issues.find(issue_id), project.texts.find(issue_id)
    if run is not None:
        return run.started_at
    if seen is not None:
        return seen.first_seen
    return 0.0 if text is None else text.at
