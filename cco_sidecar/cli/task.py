"""``cco task``: give agents something to do."""

from collections.abc import Sequence
from typing import Any

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import issue_option, limit_option, project_option, read_json, read_text, type_option
from cco_sidecar.cli.output import emit
from cco_sidecar.cli.sidecar import current, route

_COLUMNS = ("id", "title", "state", "priority", "types", "issue_id", "agent_id", "attempts", "lease_expires_at")


@click.group(cls=Group)
def task() -> None:
    """Give agents something to do, and see how it stands."""


@task.command()
@click.argument("title", metavar="TITLE")
@click.option("--task", "text", metavar="TEXT", help="All that is to do; the title if not given.")
@click.option("--input", "file", metavar="FILE", help="Read what is to do from a file; - is stdin.")
@click.option("--type", "types", metavar="TYPE", multiple=True, help="For agents of this type; may be repeated.")
@issue_option("For agents of this issue; of any, if not given.")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), help="Which first (normal).")
@click.option("--after", metavar="ID", multiple=True, help="Not before this task is completed; may be repeated.")
@click.option("--data", metavar="JSON", help="More for the agent's program.")
@click.option("--max-attempts", metavar="N", type=click.IntRange(1, 100), help="Fail it after so many (5).")
@click.option("--idempotency-key", metavar="KEY", help="Add it once, however often this is sent.")
@project_option
def add(  # noqa: PLR0917  # click gives them by name
    title: str,
    text: str | None,
    file: str | None,
    types: Sequence[str],
    issue: str | None,
    priority: str | None,
    after: Sequence[str],
    data: str | None,
    max_attempts: int | None,
    idempotency_key: str | None,
    project: str | None,
) -> None:
    """Add a task; the next agent that asks for one like it takes it.

    \b
    cco task add "Add a discount" --type python-specialist --issue issue-123
    cco task add "Document it" --after ID --priority low
    """
    if file is not None:
        if text is not None:
            raise click.UsageError("Give --task, or --input FILE (- is stdin), but not both.")
        text = read_text(file)
    asked: dict[str, Any] = {"title": title, "task": text, "types": list(types) or None, "issue_id": issue}
    asked |= {"priority": priority, "after": list(after) or None, "max_attempts": max_attempts}
    body = {name: value for name, value in asked.items() if value is not None}
    if data is not None:
        body["data"] = read_json(data, None, "--data")
    answer = current().post(route("api", "tasks"), body, {"project": project}, key=idempotency_key)
    emit(answer, text=str(answer["id"]))


@task.command("list")
@click.option("--state", metavar="STATE", help="waiting, ready, leased, completed, failed or cancelled.")
@type_option("Only those that an agent of this type may take.")
@issue_option("Only those of this issue.")
@click.option("--agent", metavar="AGENT", help="Only those that this agent has, or had last.")
@limit_option
@project_option
def list_tasks(  # noqa: PLR0917  # click gives them by name
    state: str | None,
    agent_type: str | None,
    issue: str | None,
    agent: str | None,
    limit: int | None,
    project: str | None,
) -> None:
    """List tasks, those that are over, too."""
    query = {"state": state, "type": agent_type, "issue": issue, "agent": agent, "limit": limit, "project": project}
    answer = current().get(route("api", "tasks"), query)
    emit(answer, rows=answer["tasks"], columns=_COLUMNS)


@task.command()
@click.argument("task_id", metavar="ID")
@project_option
def show(task_id: str, project: str | None) -> None:
    """Show a task, with its last checkpoint and what came of it."""
    emit(current().get(route("api", "tasks", task_id), {"project": project}))


@task.command()
@click.argument("task_id", metavar="ID")
@project_option
def cancel(task_id: str, project: str | None) -> None:
    """Take a task off the board; an agent that works on it is refused from now on."""
    emit(current().delete(route("api", "tasks", task_id), {"project": project}))
