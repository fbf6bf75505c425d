"""The keys that sign tokens, changed over HTTP by the person at the machine (contract section 3)."""

from collections.abc import Callable

import msgspec
from attrs import define
from twisted.internet.defer import Deferred

from cco_sidecar.core.keyring import KeyRing
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import TokenAuthority
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, ProjectQuery, audit


class RotateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Whether tokens that older keys signed die at once."""

    revoke: bool = False


class OldKey(msgspec.Struct):
    """A key that signs no more, and until when it verifies."""

    key_id: str
    verifies_until: str | None


class RotateAnswer(msgspec.Struct):
    """The key that signs now, those that still verify, and those that were revoked."""

    key_id: str
    verifying: list[OldKey]
    revoked: list[str]


@define(eq=False)
class KeysAPI:
    """Parse, delegate, encode."""

    _tokens: TokenAuthority
    _rotate: "Callable[[bool], Deferred[KeyRing]]"

    async def rotate(self, call: Call[ProjectQuery, RotateRequest]) -> Reply:
        """Sign with a new key from now on."""
        before = self._tokens.keys
        audit(call.request, "keys rotated", revoke=call.body.revoke, before=before.signing.key_id)
        keys = await self._rotate(call.body.revoke)
        verifying = [OldKey(key.key_id, None if key.until is None else rfc3339(key.until)) for key in keys.keys[:-1]]
        revoked = [key.key_id for key in before.keys if keys.find(key.key_id) is None]
        return Reply(RotateAnswer(keys.signing.key_id, verifying, revoked))
