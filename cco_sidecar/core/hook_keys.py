"""Hook keys: what a spawned agent's hooks show instead of a token (contract section 8).

The environment of a process can't be changed, and a token lives an hour: a hook that carries its token would be turned
away after that. A hook key lives as long as its agent, and opens one route. It is computed from the agent's name and a
secret of the sidecar's, so nothing has to be kept of it, and a restart of the sidecar changes none.
"""

import base64
import hashlib
import hmac

from attrs import field, frozen

PREFIX = "cch_"
LEAST_SECRET = 32
"""How many bytes the secret has at least."""


@frozen
class HookKeys:
    """Makes keys, and says whose a key is; whether that agent still lives is for others to say."""

    _secret: bytes = field(repr=False)

    def make(self, project_id: str, agent_id: str) -> str:
        """Give the key of an agent."""
        return f"{PREFIX}{project_id}/{agent_id}/{self._proof(project_id, agent_id)}"

    def holder(self, key: str) -> tuple[str, str] | None:
        """Name the project and the agent of a key; None if it is none of ours."""
        parts = key.removeprefix(PREFIX).split("/")
        if not key.startswith(PREFIX) or len(parts) != 3:
            return None
        project_id, agent_id, proof = parts
        expected = self._proof(project_id, agent_id)
        return (project_id, agent_id) if hmac.compare_digest(proof.encode(), expected.encode()) else None

    def _proof(self, project_id: str, agent_id: str) -> str:
        # Neither name can have a slash, so no two pairs are the same text.
        text = f"hook/{project_id}/{agent_id}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self._secret, text, hashlib.sha256)).rstrip(b"=").decode()
