"""``cco token``: print the admin token, or issue one to an agent."""

import os
from collections.abc import Sequence

import click

from cco_sidecar.cli import place
from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import issue_option, project_option, type_option
from cco_sidecar.cli.output import emit, one_line, write
from cco_sidecar.cli.sidecar import NoSidecar, current, route


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def token(ctx: click.Context) -> None:
    """Print the token that cco itself shows: the admin's, or in a spawned agent its own.

    \b
    curl -H "Authorization: Bearer $(cco token)" http://127.0.0.1:3001/api/agents
    """
    if ctx.invoked_subcommand is not None:
        return
    entry = place.find(ctx.meta.get("cco.sidecar_url"), os.environ).entry
    found = place.find_token(ctx.meta.get("cco.token"), os.environ, entry)
    if found is None:
        file = place.home(os.environ) / "admin-token"
        raise NoSidecar(f"There is no admin token at {file}: no sidecar has run here.\nStart one: cco daemon start")
    write(one_line(found) + "\n")


@token.command()
@type_option("Agent type.", required=True)
@issue_option("Issue.", required=True)
@click.option("--agent-id", metavar="ID", help="Name of the agent; made up if not given.")
@click.option("--permissions", metavar="NAMES", multiple=True, help="Fewer than the type has, by commas.")
@click.option("--ttl", metavar="SECONDS", type=click.IntRange(1), help="How long it lives.")
@project_option
def issue(  # noqa: PLR0917  # click gives them by name
    agent_type: str,
    issue: str,
    agent_id: str | None,
    permissions: Sequence[str],
    ttl: int | None,
    project: str | None,
) -> None:
    """Issue a token to an agent that the sidecar does not start itself.

    \b
    cco token issue --type python-specialist --issue issue-123
    cco token issue --type python-specialist --issue issue-123 --permissions read_context --format text
    """
    asked: dict[str, object] = {"agent_type": agent_type, "issue_id": issue, "agent_id": agent_id, "ttl_seconds": ttl}
    asked["project_id"] = project
    asked["permissions"] = [it.strip() for text in permissions for it in text.split(",") if it.strip()] or None
    body = {name: value for name, value in asked.items() if value is not None}
    answer = current().post(route("api", "tokens"), body)
    emit(answer, text=str(answer["token"]))
