"""Tokens of a test's own making, signed with the sidecar's key as it lies on disk."""

import time
from pathlib import Path
from typing import Any

import jwt

from tests.web.sidecar import Sidecar, unique

HOUR = 3600
LONG_AGO = 1_700_000_000


def claims(now: int | None = None, **changed: Any) -> dict[str, Any]:
    """Give claims that are all in order for a token made ``now``, but for what is changed; None takes one out."""
    now = int(time.time()) if now is None else now
    whole: dict[str, Any] = {
        "iss": "cco-sidecar",
        "aud": "cco-agents",
        "sub": "forged",
        "agent_type": "chief-architect",
        "project_id": "alpha",
        "issue_id": "issue-1",
        "permissions": ["read_context", "write_results", "publish_events", "spawn_agents"],
        "iat": now,
        "nbf": now,
        "exp": now + HOUR,
        "jti": unique("jti"),
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def key_file(sidecar: Sidecar) -> Path:
    """Give the file of the key that signs: the newest."""
    return max((sidecar.settings.home / "keys").glob("*.pem"), key=lambda path: path.stat().st_mtime_ns)


def signed(sidecar: Sidecar, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """Sign claims as the sidecar itself would."""
    path = key_file(sidecar)
    return jwt.encode(claims(**changed), path.read_bytes(), "RS256", {"kid": path.stem, **(header or {})})
