"""``cco mcp``: the sidecar's MCP server on stdin and stdout, for clients that start theirs as a program."""

import os
import sys

import click

from cco_sidecar.cli.command import Command
from cco_sidecar.cli.person import who

_TOKEN_SECONDS = 60.0


@click.command(cls=Command)
@click.pass_context
def mcp(ctx: click.Context) -> None:
    """Speak the Model Context Protocol on stdin and stdout.

    For a client that starts its servers as programs; others use http://127.0.0.1:3001/api/mcp. A spawned agent is
    known by its environment. A person's own claude is an agent of type chief-architect, on the issue that CCO_ISSUE
    names, or main, and its hooks are the same one.

    \b
    claude mcp add cco -- cco mcp
    """
    from cco_sidecar.cli.mcp_bridge import Bridge

    asker = who(ctx.meta.get("cco.sidecar_url"), ctx.meta.get("cco.token"), os.environ, lambda: _TOKEN_SECONDS)
    Bridge(asker, sys.stdin.buffer, sys.stdout.buffer).run()
