"""Tokens over HTTP: issue, renew, revoke, and the keys to check them with (contract section 3)."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from attrs import define
from msgspec import Meta

from cco_sidecar.core.identifiers import identifier, nearest
from cco_sidecar.core.projects import Projects
from cco_sidecar.core.roster import ALL_PERMISSIONS, Roster
from cco_sidecar.core.tenure import holder_of
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import ADMIN, Token, TokenAuthority
from cco_sidecar.errors import InvalidBody, TokenRevoked
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, NoQuery, ProjectQuery, audit

MOST_TTL_SECONDS = 86_400
RESERVED_AGENTS = frozenset({ADMIN, "sidecar"})


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """For whom a token is, and how much less than its type it may do."""

    agent_type: str
    issue_id: str
    project_id: str | None = None
    agent_id: str | None = None
    permissions: Annotated[list[str], Meta(max_length=16)] | None = None
    ttl_seconds: Annotated[int, Meta(ge=1, le=MOST_TTL_SECONDS)] | None = None


class TokenAnswer(msgspec.Struct):
    """A token and when it ends."""

    token: str
    agent_id: str
    expires_at: str


class RefreshAnswer(msgspec.Struct):
    """The successor of a token and when that ends."""

    token: str
    expires_at: str


class RevokeAnswer(msgspec.Struct):
    """The tokens that no longer count: the one named and its successors."""

    revoked: list[str]


class KeySet(msgspec.Struct):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


@define(eq=False)
class TokensAPI:
    """Parse, delegate, encode."""

    _tokens: TokenAuthority
    _roster: Roster
    _projects: Projects
    _new_id: Callable[[], str]

    async def issue(self, call: Call[ProjectQuery, TokenRequest]) -> Reply:
        """Issue a token; the first one that names an issue begins it."""
        body = call.body
        kind = self._roster.get(body.agent_type)
        issue_id = identifier(body.issue_id, "issue_id")
        named = body.project_id
        project = call.project if named is None else self._projects.get(identifier(named, "project_id"))
        made_up = f"{kind.type[:100]}-{self._new_id()[:12]}"
        agent_id = made_up if body.agent_id is None else identifier(body.agent_id, "agent_id")
        if agent_id in RESERVED_AGENTS:
            raise InvalidBody(f"No agent can be called '{agent_id}': the name is taken.", path="$.agent_id")
        permissions = kind.permissions if body.permissions is None else _narrowed(body.permissions, kind.permissions)
        project.issues.see(issue_id)
        token = self._tokens.issue(
            sub=agent_id,
            agent_type=kind.type,
            project_id=project.id,
            issue_id=issue_id,
            permissions=permissions,
            ttl_seconds=body.ttl_seconds,
        )
        project.messages.people.meet(holder_of(token.claims))
        audit(call.request, "token issued", to=agent_id, type=kind.type, issue=issue_id, jti=token.claims.jti)
        return Reply(TokenAnswer(token.text, agent_id, rfc3339(token.claims.exp)), 201)

    async def refresh(self, call: Call[NoQuery, None]) -> Reply:
        """Give the token's successor."""
        token: Token = self._tokens.successor(call.holder)
        return Reply(RefreshAnswer(token.text, rfc3339(token.claims.exp)))

    async def revoke(self, call: Call[ProjectQuery, None]) -> Reply:
        """End a token and its successors, and the polls that are parked under them."""
        # A token's id does not say its project: who names none means the token, wherever it counts.
        projects = [call.project] if call.query.project is not None else list(self._projects)
        revoked: dict[str, None] = {}
        written = []
        for project in projects:
            line, on_disk = self._tokens.revoke(project.id, call.path["jti"])
            project.end_tokens(line, TokenRevoked("This token was revoked. Ask the admin for another."))
            revoked.update(dict.fromkeys(line))
            written.append(on_disk)
        audit(call.request, "token revoked", jtis=" ".join(revoked))
        for on_disk in written:
            await on_disk
        return Reply(RevokeAnswer(list(revoked)))

    async def jwks(self, call: Call[NoQuery, None]) -> Reply:
        """Give the public keys."""
        return Reply(self._tokens.keys.jwks())


def _narrowed(wanted: list[str], allowed: frozenset[str]) -> frozenset[str]:
    for position, permission in enumerate(wanted):
        if permission in allowed:
            continue
        path = f"$.permissions[{position}]"
        if permission in ALL_PERMISSIONS:
            raise InvalidBody(
                f"A token can only be narrower than its type, and this type does not have '{permission}'.", path=path
            )
        meant = nearest(permission, ALL_PERMISSIONS)
        raise InvalidBody(
            f"There is no permission '{permission[:64]}'" + (f": did you mean '{meant}'?" if meant else "."), path=path
        )
    return frozenset(wanted)
