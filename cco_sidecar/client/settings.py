"""What a client has to know to begin: given, or found in the environment of an agent (contract section 8)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cco_sidecar.client.errors import NotConfigured
from cco_sidecar.client.server import Server, parse_server
from cco_sidecar.client.tokens import TokenFile, claims_of

DEFAULT_URL = "http://127.0.0.1:3001/api"


class Identity(NamedTuple):
    """Who asks; empty where that is not known."""

    agent_id: str = ""
    agent_type: str = ""
    issue_id: str = ""
    project_id: str = ""


class Settings(NamedTuple):
    """Where the sidecar is, and who asks.

    :param token_source: gives the newest token; None if there is only the one that it begins with.
    """

    server: Server
    identity: Identity
    token: str | None
    token_source: Callable[[], str | None] | None
    context_file: Path | None


def settings_of(
    environ: Mapping[str, str],
    *,
    url: str | None = None,
    token: str | None = None,
    token_file: str | Path | None = None,
    identity: Mapping[str, str | None] | None = None,
) -> Settings:
    """Make the settings; what is given counts more than the environment, a file more than a token.

    :raises NotConfigured: there is no token, or the URL is none.
    """
    file = token_file or (environ.get("JWT_TOKEN_FILE") if token is None else None)
    text = token or (environ.get("JWT_TOKEN") if token_file is None else None)
    source = TokenFile(Path(file)) if file else None
    first = text.strip() if text else None
    if first is None and (source is None or source() is None):
        raise NotConfigured(
            "There is no token: set JWT_TOKEN or JWT_TOKEN_FILE, or give token=. An agent that the sidecar started has "
            "both; for one of your own ask with: cco token issue --type TYPE --issue ISSUE"
        )
    claims = claims_of((source() if source is not None else None) or first)
    given = identity or {}
    names = {"agent_id": "sub", "agent_type": "agent_type", "issue_id": "issue_id", "project_id": "project_id"}
    found = {
        name: str(given.get(name) or claims.get(claim) or environ.get(name.upper(), ""))
        for name, claim in names.items()
    }
    context_file = environ.get("CONTEXT_FILE")
    return Settings(
        server_of(url or environ.get("SIDECAR_URL") or DEFAULT_URL),
        Identity(**found),
        first,
        source,
        Path(context_file) if context_file else None,
    )


def server_of(url: str) -> Server:
    """Read a URL.

    :raises NotConfigured: it is none.
    """
    try:
        return parse_server(url)
    except ValueError:
        raise NotConfigured(
            f"The sidecar's URL (SIDECAR_URL, or url=) must be like {DEFAULT_URL}, not {url!r}."
        ) from None
