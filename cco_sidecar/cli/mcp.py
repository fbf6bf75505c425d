"""``cco mcp``: the sidecar's MCP server on stdin and stdout, for clients that start theirs as a program."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cco_sidecar.cli import place
from cco_sidecar.cli.command import Command
from cco_sidecar.cli.sidecar import Sidecar, route

ITS_OWN = ("CCO_TOKEN", "JWT_TOKEN_FILE", "JWT_TOKEN")
PERSONS_TYPE = "chief-architect"
PERSONS_ISSUE = "main"


@click.command(cls=Command)
@click.pass_context
def mcp(ctx: click.Context) -> None:
    """Speak the Model Context Protocol on stdin and stdout.

    For a client that starts its servers as programs; others use http://127.0.0.1:3001/api/mcp. A spawned agent is
    known by its environment. Who starts their own claude acts as an agent of type chief-architect, on the issue that
    CCO_ISSUE names, or main.

    \b
    claude mcp add cco -- cco mcp
    """
    from cco_sidecar.cli.mcp_bridge import Bridge

    flag = ctx.meta.get("cco.token")
    bridge = Bridge(_Identity(ctx.meta.get("cco.sidecar_url"), flag, os.environ), sys.stdin.buffer, sys.stdout.buffer)
    bridge.run()


class _Identity:
    """Where the sidecar is and who asks it; looked up anew when that may have changed."""

    def __init__(self, url: str | None, token: str | None, environ: Mapping[str, str]) -> None:
        self._url = url
        self._flag = token
        self._environ = environ
        self._is_agent = token is not None or any(environ.get(name) for name in ITS_OWN)
        self._agent_id: str | None = None

    @property
    def place(self) -> place.Place:
        """Where the sidecar is now."""
        return place.find(self._url, self._environ)

    def token(self) -> str | None:
        """Give a token: the agent's own, or a new one for the person's agent, which stays the same one.

        :raises click.ClickException: the sidecar gives none.
        """
        found = self.place
        if self._is_agent:
            return place.find_token(self._flag, self._environ, found.entry, found.server.host)
        issue = self._environ.get("CCO_ISSUE") or PERSONS_ISSUE
        asked = {"agent_type": PERSONS_TYPE, "issue_id": issue, "agent_id": self._agent_id}
        asked["project_id"] = self._environ.get("PROJECT_ID") or project_of(Path.cwd(), self._environ)
        body = {name: value for name, value in asked.items() if value is not None}
        answer = Sidecar(self._url, None, self._environ).post(route("api", "tokens"), body)
        self._agent_id = str(answer["agent_id"])
        return str(answer["token"])


def project_of(directory: Path, environ: Mapping[str, str]) -> str | None:
    """Name the project of the config file that a directory is in, the innermost; None for the sidecar's default."""
    config = (
        Path(environ["CCO_CONFIG"]).expanduser() if environ.get("CCO_CONFIG") else place.home(environ) / "config.json"
    )
    try:
        projects: Mapping[str, Any] = json.loads(config.read_bytes())["projects"]
        roots = {name: Path(root).expanduser().resolve() for name, root in projects.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # a wrong file is the service's to refuse
    here = directory.resolve()
    around = [name for name, root in roots.items() if here.is_relative_to(root)]
    return max(around, key=lambda name: len(roots[name].parts), default=None)
