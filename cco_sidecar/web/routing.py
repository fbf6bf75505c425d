"""What every route has in common: who may call it, what it takes and gives, and the way through a request."""

import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cco_sidecar.core.agents import Agents
from cco_sidecar.core.hook_keys import PREFIX as HOOK_PREFIX
from cco_sidecar.core.hook_keys import HookKeys
from cco_sidecar.core.idempotency import Answered
from cco_sidecar.core.identifiers import event_type, identifier
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.limits import RateLimit, RateLimiter
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.tokens import ADMIN, LONGEST_SECONDS, Claims, TokenAuthority
from cco_sidecar.errors import (
    Foreign,
    InvalidBody,
    InvalidParameter,
    NoSuchAgentType,
    PermissionMissing,
    Refusal,
    TokenRevoked,
    Unauthenticated,
    UnknownAgentType,
)
from cco_sidecar.logs import AUDIT
from cco_sidecar.web.codec import Reply, Stream, read_body, read_query, write_refusal, write_reply
from cco_sidecar.web.errors import InternalError, status_of
from cco_sidecar.web.request import SidecarRequest

_log = Logger()
_audit = Logger(namespace=AUDIT)

Query = TypeVar("Query")
Body = TypeVar("Body")

MOST_KEY_LENGTH = 255
HOOK_KEY = "hook"
"""What stands for the id of a token in the claims of a hook key; ids are longer."""
HOOK_LIMIT = RateLimit(per_minute=1200, burst=240)
"""A model calls a tool every few seconds, sometimes a dozen at once; each call has up to two hooks."""
_FIT_FOR_A_SHELL = re.compile(r"[A-Z]{1,16} [A-Za-z0-9/._:-]{1,200}")


@frozen
class Access:
    """Who may call a route.

    ``open`` needs no token; ``admin`` only the admin's. Else any agent, with ``permission`` if one is named; with
    ``own_issue`` only for the issue that its token names; ``owner`` says who exactly, in words, where the handler asks
    the registry. ``hook``: a hook key opens it, too, and no other.
    """

    open: bool = False
    admin: bool = False
    permission: str | None = None
    own_issue: bool = False
    owner: str = ""
    hook: bool = False


OPEN = Access(open=True)
ADMIN_ONLY = Access(admin=True)
ANY_AGENT = Access()


class NoQuery(msgspec.Struct):
    """A route without parameters."""


class ProjectQuery(msgspec.Struct):
    """The parameter that every route with a token has: which project (the admin's choice; an agent's own)."""

    project: str | None = None


@define(eq=False)
class Call(Generic[Query, Body]):
    """A request on its way through a handler: checked, decoded, and known whose it is."""

    request: SidecarRequest
    path: Mapping[str, str]
    query: Query
    body: Body
    claims: Claims | None
    _project: Project | None

    @property
    def holder(self) -> Claims:
        """The token's claims; only routes with a token ask."""
        assert self.claims is not None
        return self.claims

    @property
    def project(self) -> Project:
        """The project it is about; only routes with a token ask."""
        assert self._project is not None
        return self._project


class Audited(Protocol):
    """What the audit log wants to know of a request."""

    @property
    def agent(self) -> str | None:
        """Whose it is."""

    @property
    def route(self) -> str:
        """Which route it took."""

    @property
    def request_id(self) -> str:
        """What it is called."""


class Renewed(Protocol):
    """A request whose answer may carry the token that follows its own."""

    successor: str | None


Handler = Callable[[Call[Any, Any]], Awaitable[Reply]]


def plain_body(request: SidecarRequest, route: "Route", path: Mapping[str, str]) -> Any:
    """Read the body of a request as the route's type; raises as `read_body`."""
    return read_body(request, route.body, route.body_refusal)


def optional_body(request: SidecarRequest, route: "Route", path: Mapping[str, str]) -> Any:
    """Read the body of a request as the route's type, or, where there is none, make one without anything."""
    return plain_body(request, route, path) if request.content.getbuffer().nbytes else route.body()


@frozen
class Route:
    """One line of the route table; ``body`` and ``answer`` are the types of both, for decoding and for OpenAPI.

    ``body_forms`` and ``answer_forms`` are other media types, with the type of each; ``read`` knows those of bodies.
    Where ``is_rpc``, what is wrong with a message is said in an ``answer``, too.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    access: Access = ANY_AGENT
    query: type[Any] = ProjectQuery
    body: Any = None
    body_refusal: type[Refusal] = InvalidBody
    answer: Any = None
    status: int = 200
    most_body_bytes: int = 1024 * 1024
    read: Callable[[SidecarRequest, "Route", Mapping[str, str]], Any] = plain_body
    body_forms: Mapping[str, Any] = field(factory=dict)
    answer_forms: Mapping[str, Any] = field(factory=dict)
    is_rpc: bool = False


@define(eq=False)
class Gate:
    """Decides who passes: token, project, permission, rate."""

    projects: Projects
    tokens: TokenAuthority
    roster: Roster
    limiter: RateLimiter
    agents: Agents
    hook_keys: HookKeys

    def authenticate(self, request: SidecarRequest, access: Access = ANY_AGENT) -> Claims:
        """Say whose request it is.

        :raises Unauthenticated: no token, or none of ours; also `TokenExpired`, `TokenRevoked`.
        """
        header = request.getHeader("authorization")
        if header is None:
            raise Unauthenticated(self._how_to_authenticate(request))
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The Authorization header must be 'Bearer <token>'; 'cco token' prints the admin's.")
        token = token.strip()
        if token.startswith(HOOK_PREFIX):
            claims = self._holder_of_hook_key(token, access)
        else:
            claims = self.tokens.verify(token.encode("utf-8", "replace"))
        request.agent = claims.sub
        self.agents.signs.heard(claims.sub, request.arrived)
        return claims

    def _holder_of_hook_key(self, key: str, access: Access) -> Claims:
        if not access.hook:
            raise Unauthenticated(
                "This is a hook key, which opens POST /api/hooks/claude alone. The agent's token is in the file "
                "JWT_TOKEN_FILE."
            )
        named = self.hook_keys.holder(key)
        agent = None if named is None else self.agents.find(*named)
        if agent is None:
            raise Unauthenticated("This is no hook key of this sidecar, or its agent is long gone.")
        if self.agents.is_gone(agent.project_id, agent.agent_id):
            raise TokenRevoked(f"The agent '{agent.agent_id}' has ended, and its hook key with it.")
        since = math.floor(agent.created_at)
        return Claims(
            agent.agent_id,
            agent.agent_type,
            agent.project_id,
            agent.issue_id,
            permissions=frozenset(),
            iat=since,
            exp=since + LONGEST_SECONDS,
            jti=HOOK_KEY,
        )

    def _how_to_authenticate(self, request: SidecarRequest) -> str:
        host = request.getHeader("host") or "localhost:3001"
        path = request.path.decode("ascii", "replace")
        method = request.method.decode("ascii", "replace")
        line = 'curl -H "Authorization: Bearer $(cco token)" …'
        if _FIT_FOR_A_SHELL.fullmatch(f"{method} {host}{path}"):
            line = f'curl -X {method} -H "Authorization: Bearer $(cco token)" http://{host}{path}'
        return f"This needs a token. As the person at the machine: {line}"

    def project_of(self, claims: Claims, wanted: str | None) -> Project:
        """Give the project that a request is about.

        :raises Foreign: an agent asks for another than its own.
        :raises NotFound: there is no such project.
        """
        named = None if wanted is None else identifier(wanted, "project")
        if claims.is_admin:
            return self.projects.default if named is None else self.projects.get(named)
        if named is not None and named != claims.project_id:
            raise Foreign(f"This token is for the project '{claims.project_id}' alone.")
        return self.projects.get(claims.project_id)

    def authorise(self, access: Access, claims: Claims, path: Mapping[str, str]) -> None:
        """Check permission and scope.

        :raises PermissionMissing: the token lacks the permission.
        :raises Foreign: it is another issue's.
        """
        if claims.is_admin:
            return
        if access.admin:
            raise PermissionMissing("Only the admin may do this: the person at the machine, with 'cco'.")
        if access.permission is not None and access.permission not in claims.permissions:
            raise PermissionMissing(
                f"This needs the permission '{access.permission}', which this token of type '{claims.agent_type}' "
                "does not carry.",
                permission=access.permission,
                agent_type=claims.agent_type,
            )
        if access.own_issue and path.get("issue_id", claims.issue_id) != claims.issue_id:
            raise Foreign(f"This token is for the issue '{claims.issue_id}' alone.")

    def limit_of(self, claims: Claims) -> RateLimit | None:
        """Give the bucket that an agent's type has; None if nothing limits it."""
        if claims.jti == HOOK_KEY:
            return HOOK_LIMIT
        kind = self.roster.types.get(claims.agent_type)
        return None if claims.sub == ADMIN or kind is None else kind.rate_limit

    def limit(self, request: SidecarRequest, claims: Claims) -> None:
        """Take the request from the agent's bucket, if its type has one.

        :raises TooManyRequests: the bucket is empty.
        """
        limit = self.limit_of(claims)
        if limit is not None:
            # What its hooks ask must not be at the cost of what the agent asks.
            bucket = f"{claims.place}/{HOOK_KEY}" if claims.jti == HOOK_KEY else claims.place
            request.allowance = self.limiter.take(bucket, limit)

    def renew(self, request: Renewed, claims: Claims) -> None:
        """Put the next token beside the answer when this one ends soon; none beside one that has died meanwhile."""
        if claims.is_admin or claims.jti == HOOK_KEY or not self.tokens.wants_successor(claims):
            return
        request.successor = None
        if self.tokens.refusal_of(claims) is None:
            request.successor = self.tokens.successor(claims).text

    def check_path(self, path: Mapping[str, str]) -> None:
        """Check every identifier of a path before it reaches anything.

        :raises InvalidParameter: one is none.
        :raises NoSuchAgentType: the roster has no such type.
        """
        for name, value in path.items():
            if name == "types":
                continue
            if name == "event_type":
                event_type(value)
            else:
                identifier(value, name)
        if "agent_type" in path:
            try:
                self.roster.get(path["agent_type"])
            except UnknownAgentType as error:
                raise NoSuchAgentType(error.message, **error.details) from None


@define(eq=False)
class Pipeline:
    """Takes a request through gate, codec, handler and back; nothing else writes an answer."""

    gate: Gate

    async def run(self, route: Route, request: SidecarRequest, path: Mapping[str, str]) -> None:
        """Answer a request; whatever happens, the answer is the contract's."""
        request.route = f"{route.method} {route.path}"
        try:
            reply = await self._answer(route, request, path)
        except CancelledError:
            raise  # the peer is gone: there is nobody to answer
        except Refusal as refusal:
            self.refuse(request, refusal)
        except Exception:  # noqa: BLE001 - the last line of defence: contract section 4, "for every exception"
            self.fail(request)
        else:
            await self._write(request, reply)

    async def _write(self, request: SidecarRequest, reply: Reply) -> None:
        write_reply(request, reply)
        if isinstance(reply, Stream) and reply.more is not None:
            try:
                await reply.more(request)
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - the head is out: all that is left is to end
                _log.failure("a stream failed", request_id=request.request_id, route=request.route)

    async def _answer(self, route: Route, request: SidecarRequest, path: Mapping[str, str]) -> Reply:
        gate = self.gate
        claims = None if route.access.open else gate.authenticate(request, route.access)
        project = None
        if claims is not None:
            gate.limit(request, claims)
            gate.renew(request, claims)
        gate.check_path(path)
        if claims is not None:
            gate.authorise(route.access, claims, path)
        query = read_query(request.args or {}, route.query)
        if claims is not None:
            project = gate.project_of(claims, getattr(query, "project", None))
        body = None if route.body is None else route.read(request, route, path)
        call: Call[Any, Any] = Call(request, path, query, body, claims, project)
        try:
            return await route.handler(call)
        finally:
            if claims is not None:
                gate.renew(request, claims)  # again, for a refusal, too: it may have taken until now

    def refuse(self, request: SidecarRequest, refusal: Refusal) -> None:
        """Answer with a refusal."""
        status = status_of(refusal)[0]
        audit_refusal(request, status, refusal)
        # A successor goes to nobody whose token turned out bad.
        if status == 401:
            request.successor = None
        allowance = refusal.details
        if refusal.code == "RATE_001" and "limit" in allowance:
            for name in ("limit", "remaining", "reset"):
                request.setHeader(f"X-RateLimit-{name.title()}", str(allowance[name]))
        write_refusal(request, refusal)

    def fail(self, request: SidecarRequest) -> None:
        """Answer for a mistake of ours: the log has it, under the request's id; the answer tells nothing."""
        _log.failure("a handler failed", request_id=request.request_id, route=request.route)
        write_refusal(request, internal_error())


def internal_error() -> Refusal:
    """Make what a mistake of ours is answered with."""
    return InternalError(
        "The sidecar made a mistake. Its log says more under this request_id; please report it with both."
    )


def audit_refusal(request: Audited, status: int, refusal: Refusal) -> None:
    """Write into the audit log that somebody was not let in, if that is what the refusal says."""
    if status in {401, 403, 429}:
        audit(request, "refused", code=refusal.code)


def audit(request: Audited, decision: str, **facts: object) -> None:
    """Write a decision about access to the audit log; never a token."""
    _audit.info(
        "{decision}: {agent} on {route}",
        decision=decision,
        agent=request.agent,
        route=request.route,
        request_id=request.request_id,
        **facts,
    )


async def idempotent(
    call: Call[Any, Any],
    project: Project,
    work: Callable[[Callable[[int, object], KeyRecord] | None], Awaitable[Answered]],
    own_key: str | None = None,
) -> Answered:
    """Do the work of a request once per Idempotency-Key, if the request has one.

    :param project: where the work is done, and so remembered.
    :param own_key: what stands in for the header, if the body itself names the request.
    :raises InvalidParameter: the key is empty or too long.
    :raises KeyReused: it came before with another body.
    """
    key = call.request.getHeader("idempotency-key")
    if key is None:
        if own_key is None:
            return await work(None)
        key = own_key
    elif not 1 <= len(key) <= MOST_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise InvalidParameter(
            f"Idempotency-Key must be 1 to {MOST_KEY_LENGTH} printable ASCII characters.", parameter="Idempotency-Key"
        )
    call.request.content.seek(0)
    digest = request_digest(call.request.uri, call.request.content.read())
    return await project.keys.once((call.holder.sub, call.request.route, key), digest, work)


def request_digest(target: bytes, body: bytes) -> str:
    """Name what a request asks for: the same key with another of these is a mistake of the sender's."""
    return hashlib.sha256(target + b"\n" + body).hexdigest()
