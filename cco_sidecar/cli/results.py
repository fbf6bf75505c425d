"""``cco results``: store and read what agents report."""

import os

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import (
    issue_option,
    limit_option,
    project_option,
    read_json,
    save,
    seconds_of,
    type_option,
)
from cco_sidecar.cli.output import emit, note, to_json
from cco_sidecar.cli.sidecar import current, route

_COLUMNS = ("id", "issue_id", "agent_type", "agent_id", "status", "timestamp")


@click.group(cls=Group)
def results() -> None:
    """Store and read what agents report."""


@results.command()
@issue_option("Issue that it is about (ISSUE_ID).")
@type_option("Agent type that reports (AGENT_TYPE).")
@click.option("--agent-id", metavar="ID", help="Agent that reports (AGENT_ID); admin if not given.")
@click.option("--status", type=click.Choice(["success", "failed", "partial"]), help="How it went, if not in the JSON.")
@click.option("--data", "--result", "data", metavar="JSON", help="The result itself.")
@click.option("--input", "file", metavar="FILE", help="Read the result from a file (- is stdin, also if not given).")
@click.option("--idempotency-key", metavar="KEY", help="Store it once, however often this is sent.")
@project_option
def store(  # noqa: PLR0917  # click gives them by name
    issue: str | None,
    agent_type: str | None,
    agent_id: str | None,
    status: str | None,
    data: str | None,
    file: str | None,
    idempotency_key: str | None,
    project: str | None,
) -> None:
    """Store a result.

    In a spawned agent, who reports on what is known from its environment.

    \b
    cco results store --issue issue-123 --type python-specialist --input result.json
    echo '{"status": "success"}' | cco results store --issue issue-123 --type python-specialist
    """
    issue, agent_type = issue or os.environ.get("ISSUE_ID"), agent_type or os.environ.get("AGENT_TYPE")
    if not issue or not agent_type:
        raise click.UsageError("Give --issue and --type.")
    result = read_json(data, file if data is not None or file is not None else "-", "--data")
    if not isinstance(result, dict):
        raise click.UsageError('The result must be a JSON object, like {"status": "success"}.')
    if status is not None:
        result["status"] = status
    agent_id = agent_id or os.environ.get("AGENT_ID") or "admin"
    body = {"agent_id": agent_id, "agent_type": agent_type, "issue_id": issue, "result": result}
    if in_project := project or os.environ.get("PROJECT_ID"):
        body["project_id"] = in_project
    emit(current().post(route("api", "results"), body, {"project": project}, key=idempotency_key))


@results.command("list")
@issue_option("Only results of this issue.")
@type_option("Only results of this agent type.")
@click.option("--status", metavar="STATUS", help="success, failed or partial.")
@click.option("--since", metavar="TIME", help="Only later ones (2026-01-31T12:00:00Z).")
@click.option("--until", metavar="TIME", help="Only earlier ones.")
@click.option("--cursor", metavar="CURSOR", help="Go on after an earlier list (its next_cursor).")
@limit_option
@project_option
def list_results(  # noqa: PLR0917  # click gives them by name
    issue: str | None,
    agent_type: str | None,
    status: str | None,
    since: str | None,
    until: str | None,
    cursor: str | None,
    limit: int | None,
    project: str | None,
) -> None:
    """List results.

    \b
    cco results list --issue issue-123
    """
    query = {"issue": issue, "agent_type": agent_type, "status": status, "since": since, "until": until}
    answer = current().get(route("api", "results"), {**query, "cursor": cursor, "limit": limit, "project": project})
    emit(answer, rows=answer["results"], columns=_COLUMNS)
    for damaged in answer.get("damaged") or ():
        note(f"Damaged, cannot be read: {damaged}")


@results.command()
@click.argument("names", metavar="RESULT_ID | ISSUE TYPE", nargs=-1)
@issue_option("Instead of ISSUE.")
@type_option("Instead of TYPE.")
@click.option("--output", metavar="FILE", help="Write it into a file, as JSON.")
@project_option
def get(
    names: tuple[str, ...], issue: str | None, agent_type: str | None, output: str | None, project: str | None
) -> None:
    """Show a result.

    The one with that id, or the newest of an agent type on an issue.

    \b
    cco results get issue-123 python-specialist
    """
    if issue is not None and agent_type is not None and not names:
        names = (issue, agent_type)
    elif issue is not None or agent_type is not None or len(names) not in {1, 2}:
        raise click.UsageError("Name a result: RESULT_ID, or ISSUE and TYPE.")
    path = route("api", "results", *(("id", *names) if len(names) == 1 else names))
    found = current().get(path, {"project": project})
    if output is None:
        emit(found)
        return
    save(output, to_json(found) + "\n")
    note(f"Saved to {output}")


@results.command()
@click.option("--older-than", metavar="AGE", required=True, help="30d, 12h, 90m, ...")
@project_option
def prune(older_than: str, project: str | None) -> None:
    """Delete old results for good.

    \b
    cco results prune --older-than 30d
    """
    query = {"older_than_seconds": seconds_of(older_than), "project": project}
    emit(current().delete(route("api", "results"), query))
