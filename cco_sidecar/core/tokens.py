"""Who is asking: signed tokens, their successors, their end (contract section 3).

A token says who somebody is; whether that agent still lives, and whether the token was revoked, is looked up at every
request, so that a cached verification never outlives either.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jwt
from attrs import define, evolve, field, frozen
from cachetools import LRUCache
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.keyring import KeyRing, SigningKey
from cco_sidecar.core.token_book import Epoch, Succession, TokenBook
from cco_sidecar.errors import NotFound, Refusal, TokenExpired, TokenRevoked, Unauthenticated

ISSUER = "cco-sidecar"
AUDIENCE = "cco-agents"
ADMIN = "admin"
ADMIN_SECONDS = 3600
EVERY_PROJECT = "*"
MOST_TOKEN_BYTES = 4096
MOST_VERIFIED = 4096
LONGEST_SECONDS = 366 * 86400
"""No token lives longer, unless the settings say so."""
_FORM = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = ["iss", "aud", "sub", "agent_type", "project_id", "issue_id", "permissions", "iat", "nbf", "exp", "jti"]


@frozen
class Claims:
    """What a token says, and which key signed it; times are in seconds since the epoch."""

    sub: str
    agent_type: str
    project_id: str
    issue_id: str
    permissions: frozenset[str]
    iat: int
    exp: int
    jti: str
    key_id: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether this is the person at the machine."""
        return self.sub == ADMIN and self.project_id == EVERY_PROJECT

    @property
    def place(self) -> str:
        """Name the holder over all projects."""
        return f"{self.project_id}/{self.sub}"


@frozen
class Token:
    """A signed token."""

    text: str
    claims: Claims


@define(eq=False)
class TokenAuthority:
    """Issues, verifies, renews and revokes tokens.

    ``book_of`` gives the memory of a project (the admin's tokens are kept by the default project); ``is_gone`` says
    whether an agent has ended.
    """

    _clock: IReactorTime
    keys: KeyRing
    _new_id: Callable[[], str]
    _book_of: Callable[[str], TokenBook | None]
    _is_gone: Callable[[str, str], bool]
    ttl_seconds: int
    refresh_before_seconds: float
    epoch: Epoch = field(factory=Epoch)
    _verified: "LRUCache[bytes, Claims]" = field(factory=lambda: LRUCache(MOST_VERIFIED))

    def issue(
        self,
        *,
        sub: str,
        agent_type: str,
        project_id: str,
        issue_id: str,
        permissions: Iterable[str],
        ttl_seconds: int | None = None,
    ) -> Token:
        """Make a token that lives from now on."""
        now = math.floor(self._clock.seconds())
        ends = now + (ttl_seconds or self.ttl_seconds)
        claims = Claims(sub, agent_type, project_id, issue_id, frozenset(permissions), now, ends, self._new_id())
        return self._sign(claims)

    def issue_admin(self, permissions: Iterable[str]) -> Token:
        """Make a token for the person at the machine; it lives an hour whatever the settings say."""
        return self.issue(
            sub=ADMIN,
            agent_type=ADMIN,
            project_id=EVERY_PROJECT,
            issue_id=EVERY_PROJECT,
            permissions=permissions,
            ttl_seconds=ADMIN_SECONDS,
        )

    def reissue(self, claims: Claims) -> Token:
        """Make another token for the same holder, as long as that one, from now on, with the key that signs now."""
        now = math.floor(self._clock.seconds())
        return self._sign(evolve(claims, iat=now, exp=now + claims.exp - claims.iat, jti=self._new_id()))

    def use(self, keys: KeyRing) -> None:
        """Sign and verify with these keys from now on; tokens of others are dead."""
        self.keys = keys
        self._verified.clear()
        self.epoch.turn()

    def _sign(self, claims: Claims, key: SigningKey | None = None) -> Token:
        key = key or self.keys.signing
        claims = evolve(claims, key_id=key.key_id)
        # The order is fixed: RS256 is deterministic, so a successor can be made again, byte for byte.
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": claims.sub,
            "agent_type": claims.agent_type,
            "project_id": claims.project_id,
            "issue_id": claims.issue_id,
            "permissions": sorted(claims.permissions),
            "iat": claims.iat,
            "nbf": claims.iat,
            "exp": claims.exp,
            "jti": claims.jti,
        }
        return Token(jwt.encode(payload, key.private, algorithm="RS256", headers={"kid": key.key_id}), claims)

    def verify(self, text: bytes) -> Claims:
        """Say who holds this token.

        :raises Unauthenticated: it is not one of ours.
        :raises TokenExpired: its time is over.
        :raises TokenRevoked: it was revoked, or its agent is gone.
        """
        claims = self._verified.get(text)
        if claims is None:
            claims = self._decode(text)
            self._verified[text] = claims
        refusal = self.refusal_of(claims)
        if refusal is not None:
            raise refusal
        return claims

    def refusal_of(self, claims: Claims) -> Refusal | None:
        """Say why a token that was good is not any more; None if it still is."""
        if claims.exp <= self._clock.seconds():
            return TokenExpired(
                "This token has expired. A spawned agent finds its newest token in the file JWT_TOKEN_FILE; "
                "others ask for one with 'cco token issue' or, in time, POST /api/tokens/refresh."
            )
        if self.keys.find(claims.key_id) is None:
            return TokenRevoked(
                "The key that signed this token was revoked. A spawned agent finds a new token in the file "
                "JWT_TOKEN_FILE; others ask the admin: 'cco token issue'."
            )
        book = self._book_of(claims.project_id)
        if book is None:
            return TokenRevoked(f"This sidecar no longer serves the project '{claims.project_id}' of this token.")
        if claims.jti in book.revoked:
            return TokenRevoked("This token was revoked. Ask the admin for another: 'cco token issue'.")
        if not claims.is_admin and self._is_gone(claims.project_id, claims.sub):
            return TokenRevoked(f"The agent '{claims.sub}' has ended, and its tokens with it.")
        return None

    def standing(self, claims: Claims) -> "Standing":
        """Give a cheap way to ask again and again whether a token is still good."""
        return Standing(self, claims)

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._clock.seconds()

    def _decode(self, text: bytes) -> Claims:
        if len(text) > MOST_TOKEN_BYTES:
            raise Unauthenticated("The token is longer than any that this sidecar makes.")
        # Decoders pass over foreign characters: one token must not have many spellings.
        if _FORM.fullmatch(text) is None:
            raise Unauthenticated("The token is not of the form xxx.yyy.zzz: send it whole and unchanged.")
        try:
            header = jwt.get_unverified_header(text)
            key = self.keys.find(header.get("kid"))
            if key is None or "crit" in header:
                raise Unauthenticated(
                    "The token was not signed by this sidecar (unknown key). Take the token from the running one: "
                    "'cco token'."
                )
            payload = jwt.decode(
                text,
                key.public,
                algorithms=["RS256"],
                audience=AUDIENCE,
                issuer=ISSUER,
                # Its times are checked by us, against our clock, at every use.
                options={"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise Unauthenticated(
                "The token is not a valid one of this sidecar: send 'Authorization: Bearer <token>' as 'cco token' "
                "prints it, whole and unchanged."
            ) from error
        return self._claims(payload, key.key_id)

    def _claims(self, payload: Mapping[str, Any], key_id: str) -> Claims:
        texts = [payload[name] for name in ("sub", "agent_type", "project_id", "issue_id", "jti")]
        times = [payload[name] for name in ("iat", "nbf", "exp")]
        permissions = payload["permissions"]
        sound = (
            all(isinstance(text, str) for text in texts)
            and all(type(time) is int and time >= 0 for time in times)
            and isinstance(permissions, list)
            and all(isinstance(permission, str) for permission in permissions)
        )
        if not sound:
            raise Unauthenticated("The token's claims are not of the form that this sidecar makes.")
        if not 0 < times[2] - times[0] <= max(self.ttl_seconds, LONGEST_SECONDS):
            raise Unauthenticated("The token lives longer than any that this sidecar makes.")
        if times[1] > self._clock.seconds() + 1:
            raise Unauthenticated("The token is not valid yet: check the clock.")
        sub, agent_type, project_id, issue_id, jti = texts
        return Claims(sub, agent_type, project_id, issue_id, frozenset(permissions), times[0], times[2], jti, key_id)

    def successor(self, claims: Claims) -> Token:
        """Give the one token that follows this one: as often as asked, the same (a lost answer strands nobody)."""
        book = self._book_of(claims.project_id)
        if book is None:
            raise NotFound(f"There is no project '{claims.project_id}'.")
        kept = book.successions.get(claims.jti)
        if kept is None:
            now = math.floor(self._clock.seconds())
            # A token that was issued short stays short.
            ends = now + claims.exp - claims.iat
            kept = Succession(claims.jti, self._new_id(), now, ends, claims.exp, self.keys.signing.key_id)
            book.follow(kept)
        key = self.keys.find(kept.key_id)  # if it was revoked, the one that signs now
        return self._sign(evolve(claims, jti=kept.successor, iat=kept.iat, exp=kept.exp), key)

    def renewed_at(self, claims: Claims) -> float:
        """Say from when on a token ends so soon that its holder should be given the next."""
        return claims.exp - min(self.refresh_before_seconds, (claims.exp - claims.iat) / 2)

    def wants_successor(self, claims: Claims) -> bool:
        """Say whether the token's holder should be given the next."""
        return self._clock.seconds() >= self.renewed_at(claims)

    def revoke(self, project_id: str, jti: str) -> "tuple[list[str], Deferred[None]]":
        """End a token and its successors; gives their ids, and fires when that is on disk."""
        book = self._book_of(project_id)
        if book is None:
            raise NotFound(f"There is no project '{project_id}'.")
        line = book.line_of(jti)
        longest = max(self.ttl_seconds, LONGEST_SECONDS)
        return line, book.revoke(line, math.ceil(self._clock.seconds()) + longest)


@define(eq=False)
class Standing:
    """Whether one token is still good: looked up when something may have changed, else known."""

    _authority: TokenAuthority
    _claims: Claims
    _good_in: int = -1  # the epoch in which it was last found good

    def refusal(self) -> Refusal | None:
        """Say why the token is no good any more; None if it still is."""
        authority, claims = self._authority, self._claims
        epoch = authority.epoch.value
        if self._good_in == epoch and claims.exp > authority.now:
            return None
        refusal = authority.refusal_of(claims)
        if refusal is None:
            self._good_in = epoch
        return refusal
