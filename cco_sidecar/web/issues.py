"""Issues over HTTP: what they are about (contract section 9)."""

from typing import Annotated

import msgspec
from attrs import define
from msgspec import Meta

from cco_sidecar.core.issue_texts import MOST_BODY, MOST_TITLE, IssueText
from cco_sidecar.core.projects import Project
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import NotFound
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, ProjectQuery


class IssueRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What an issue is about."""

    title: Annotated[str, Meta(min_length=1, max_length=MOST_TITLE)]
    body: Annotated[str, Meta(max_length=MOST_BODY)] = ""


class IssueAnswer(msgspec.Struct):
    """An issue; ``first_seen`` is when a token or an agent first named it, ``updated_at`` when its text was written."""

    issue_id: str
    project_id: str
    title: str
    body: str
    first_seen: str | None
    updated_at: str | None


@define(eq=False)
class IssuesAPI:
    """Parse, delegate, encode."""

    async def describe(self, call: Call[ProjectQuery, IssueRequest]) -> Reply:
        """Keep an issue's text; it is on disk when this answers."""
        text = await call.project.texts.write(call.path["issue_id"], call.body.title, call.body.body)
        return Reply(_answer(call.project, text.issue_id, text))

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Give an issue's text."""
        issue_id = call.path["issue_id"]
        text = call.project.texts.find(issue_id)
        if text is None and call.project.issues.find(issue_id) is None:
            raise NotFound(f"There is no issue '{issue_id}': nobody has described it, and no agent works on it.")
        return Reply(_answer(call.project, issue_id, text))


def _answer(project: Project, issue_id: str, text: IssueText | None) -> IssueAnswer:
    seen = project.issues.find(issue_id)
    return IssueAnswer(
        issue_id=issue_id,
        project_id=project.id,
        title="" if text is None else text.title,
        body="" if text is None else text.body,
        first_seen=None if seen is None else rfc3339(seen.first_seen),
        updated_at=None if text is None else rfc3339(text.at),
    )
