"""``cco claims``: who works on which files."""

from collections.abc import Sequence

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import issue_option, limit_option, project_option
from cco_sidecar.cli.output import emit
from cco_sidecar.cli.sidecar import current, route
from cco_sidecar.client.values import ANSWER_SECONDS

_COLUMNS = ("id", "resources", "mode", "agent_id", "agent_type", "issue_id", "since", "expires_at")


@click.group(cls=Group)
def claims() -> None:
    """See who works on which files, and claim some."""


@claims.command("list")
@click.option("--agent", metavar="AGENT", help="Only those of this agent.")
@issue_option("Only those of this issue's agents.")
@click.option("--resource", metavar="PATH", help="Only those that conflict with this path, glob or name.")
@limit_option
@project_option
def list_claims(
    agent: str | None, issue: str | None, resource: str | None, limit: int | None, project: str | None
) -> None:
    """List claims, and those that wait for their turn (they have no id).

    \b
    cco claims list
    cco claims list --resource src/shop.py
    """
    query = {"agent": agent, "issue": issue, "resource": resource, "limit": limit, "project": project}
    answer = current().get(route("api", "claims"), query)
    emit(answer, rows=[*answer["claims"], *answer["waiting"]], columns=_COLUMNS)


@claims.command()
@click.argument("resources", metavar="PATH...", nargs=-1, required=True)
@click.option("--shared", is_flag=True, help="Let others share it.")
@click.option("--ttl", metavar="SECONDS", type=click.IntRange(1, 86_400), help="For so long (600).")
@click.option("--wait", metavar="SECONDS", type=click.IntRange(0, 300), help="Wait so long for your turn.")
@project_option
def add(resources: Sequence[str], shared: bool, ttl: int | None, wait: int | None, project: str | None) -> None:
    """Claim paths, globs or names, all or none.

    Without an agent's token it is the person at the machine who claims: agents keep off what you work on.

    \b
    cco claims add 'src/**' name:database --ttl 3600
    cco claims add shop.py --wait 60
    """
    body: dict[str, object] = {"resources": list(resources), "mode": "shared" if shared else "exclusive"}
    if ttl is not None:
        body["ttl_seconds"] = ttl
    query = {"wait": None if wait is None else wait * 1000, "project": project}
    seconds = ANSWER_SECONDS + (wait or 0)
    answer = current().call("POST", route("api", "claims"), query, body=body, seconds=seconds).json()
    emit(answer, text=str(answer["id"]))


@claims.command()
@click.argument("claim_id", metavar="ID")
@project_option
def release(claim_id: str, project: str | None) -> None:
    """End a claim; the person at the machine may end anybody's."""
    emit(current().delete(route("api", "claims", claim_id), {"project": project}))
