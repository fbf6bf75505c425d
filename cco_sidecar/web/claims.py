"""Claims over HTTP: who works on what (contract section 10)."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from attrs import define
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.claims.entry import MOST_IN_ONE, ClaimRecord, Entry, Mode
from cco_sidecar.core.claims.resources import MOST_LENGTH
from cco_sidecar.core.events.waiting import Reader
from cco_sidecar.core.identifiers import identifier
from cco_sidecar.core.tenure import holder_of
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import Claims as TokenClaims
from cco_sidecar.errors import InvalidBody
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, ProjectQuery, audit

MOST_WAIT = 300_000
DEFAULT_SECONDS = 600
MOST_SECONDS = 86_400

Name = Annotated[str, Meta(max_length=128)]
# Longer than what is claimed can be: the root of the project may stand before it.
Text = Annotated[str, Meta(max_length=MOST_LENGTH + 4096)]
Seconds = Annotated[int, Meta(ge=1, le=MOST_SECONDS)]


class ClaimRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to claim, one or several, all or none; for how long, and whether others may share it."""

    resource: Text | None = None
    resources: Annotated[list[Text], Meta(min_length=1, max_length=MOST_IN_ONE)] | None = None
    ttl_seconds: Seconds = DEFAULT_SECONDS
    mode: Mode = "exclusive"


class ClaimQuery(ProjectQuery):
    """How long to wait for one's turn (milliseconds)."""

    wait: Annotated[int, Meta(ge=0, le=MOST_WAIT)] = 0


class RenewRequest(msgspec.Struct, forbid_unknown_fields=True):
    """For how long from now; as long as before, if it is not said."""

    ttl_seconds: Seconds | None = None


class ClaimAnswer(msgspec.Struct):
    """A claim that is held; ``fence`` is greater than that of any claim before it."""

    id: str
    fence: int
    resources: list[str]
    mode: Mode
    agent_id: str
    agent_type: str
    issue_id: str | None
    since: str
    ttl_seconds: int
    expires_at: str


class WaitingAnswer(msgspec.Struct):
    """A claim that waits for its turn."""

    resources: list[str]
    mode: Mode
    agent_id: str
    agent_type: str
    issue_id: str | None
    since: str


class ReleaseAnswer(msgspec.Struct):
    """The claim that is no more."""

    id: str
    released: bool


class ClaimsQuery(ProjectQuery):
    """Which claims; with ``resource``, those that conflict with it."""

    agent: Name | None = None
    issue: Name | None = None
    resource: Text | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ClaimsAnswer(msgspec.Struct):
    """Claims that are held, and those that wait, each the newest first."""

    claims: list[ClaimAnswer]
    waiting: list[WaitingAnswer]


@define(eq=False)
class ClaimsAPI:
    """Parse, delegate, encode; ``reader_of`` tells who waits."""

    _clock: IReactorTime
    _reader_of: Callable[[TokenClaims], Reader]

    async def claim(self, call: Call[ClaimQuery, ClaimRequest]) -> Reply:
        """Claim, now or in turn."""
        body, claims = call.body, call.project.claims
        wish = claims.wish(holder_of(call.holder), _named(body), body.mode, body.ttl_seconds)
        asked_at = self._clock.seconds()
        # Not longer than the token: the time limit then finds it expired, and says so.
        seconds = min(call.query.wait / 1000, call.holder.exp - asked_at)
        try:
            record = await claims.claim(self._reader_of(call.holder), wish, seconds)
        finally:
            if call.query.wait:
                call.request.parked_seconds = self._clock.seconds() - asked_at
        return Reply(_answer(record), 201)

    async def renew(self, call: Call[ProjectQuery, RenewRequest]) -> Reply:
        """Let a claim last longer."""
        claim_id, holder = call.path["claim_id"], holder_of(call.holder)
        return Reply(_answer(await call.project.claims.renew(holder, claim_id, call.body.ttl_seconds)))

    async def release(self, call: Call[ProjectQuery, None]) -> Reply:
        """End a claim."""
        record = await call.project.claims.release(holder_of(call.holder), call.path["claim_id"])
        if record.holder.agent_id != call.holder.sub:
            audit(call.request, "claim released", target=record.holder.agent_id, claim=record.id)
        return Reply(ReleaseAnswer(record.id, released=True))

    async def list(self, call: Call[ClaimsQuery, None]) -> Reply:
        """List claims."""
        query = call.query
        agent = None if query.agent is None else identifier(query.agent, "agent")
        issue = None if query.issue is None else identifier(query.issue, "issue")
        found = call.project.claims.listing(agent, issue, query.resource)
        held = [_answer(entry.record) for entry in found if entry.record is not None]
        waiting = [_waiting(entry) for entry in found if entry.record is None]
        return Reply(ClaimsAnswer(held[: query.limit], waiting[: query.limit]))


def _named(body: ClaimRequest) -> list[str]:
    if (body.resource is None) == (body.resources is None):
        raise InvalidBody("Name what to claim: 'resource', or 'resources' for several, not both.", path="$.resource")
    return [body.resource] if body.resource is not None else list(body.resources or ())


def _answer(record: ClaimRecord) -> ClaimAnswer:
    return ClaimAnswer(
        id=record.id,
        fence=record.fence,
        resources=record.resources,
        mode=record.mode,
        agent_id=record.holder.agent_id,
        agent_type=record.holder.agent_type,
        issue_id=record.holder.issue_id,
        since=rfc3339(record.since),
        ttl_seconds=record.ttl_seconds,
        expires_at=rfc3339(record.expires_at),
    )


def _waiting(entry: Entry) -> WaitingAnswer:
    holder = entry.wish.holder
    names = [one.text for one in entry.wish.resources]
    since = rfc3339(entry.since)
    return WaitingAnswer(names, entry.wish.mode, holder.agent_id, holder.agent_type, holder.issue_id, since)
