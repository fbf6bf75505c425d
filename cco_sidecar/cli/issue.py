"""``cco issue``: what agents work on, in words, and the workflows that are run for it."""

from collections.abc import Iterator
from typing import Any

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import limit_option, project_option, read_text
from cco_sidecar.cli.output import emit, is_terminal, note
from cco_sidecar.cli.sidecar import current, route

_COLUMNS = ("issue_id", "status", "workflow", "phase", "agents_running", "agents_total", "started_at", "title")
_AGENT_COLUMNS = ("phase", "state", "round", "agent_type", "attempt", "agent", "agent_id", "error")


@click.group(cls=Group)
def issue() -> None:
    """Say what an issue is about, let agents work on it by a workflow, and see how far they are."""


@issue.command()
@click.argument("issue_id", metavar="ISSUE")
@click.option("--title", metavar="TEXT", required=True, help="What it is about, in one line.")
@click.option("--body", metavar="TEXT", help="The rest of it.")
@click.option("--input", "file", metavar="FILE", help="Read the rest from a file; - is stdin.")
@project_option
def describe(issue_id: str, title: str, body: str | None, file: str | None, project: str | None) -> None:
    """Keep the text of an issue, in the place of an earlier one.

    \b
    cco issue describe issue-123 --title "Prices must not be negative" --body "See shop.py."
    """
    if file is not None:
        if body is not None:
            raise click.UsageError("Give --body, or --input FILE (- is stdin), but not both.")
        body = read_text(file)
    sent = {"title": title} if body is None else {"title": title, "body": body}
    emit(current().post(route("api", "issues", issue_id), sent, {"project": project}))


@issue.command()
@click.argument("issue_id", metavar="ISSUE")
@click.option("--task", metavar="TEXT", help="What is to be done; the issue's text if not given.")
@click.option("--workflow", metavar="NAME", help="By which workflow of the roster; default if not given.")
@click.option("--runner", metavar="NAME", help="How the agents' processes are made; demo needs no model.")
@project_option
def start(issue_id: str, task: str | None, workflow: str | None, runner: str | None, project: str | None) -> None:
    """Let agents work on an issue, phase after phase, as a workflow says.

    Started again while it runs it is the same run; a run that needs a person, is done or was stopped is followed by a
    new one.

    \b
    cco issue start issue-123 --task "Prices must not be negative" --workflow tdd
    """
    asked = {"task": task, "workflow": workflow, "runner": runner}
    body = {name: value for name, value in asked.items() if value is not None}
    emit(current().post(route("api", "issues", issue_id, "start"), body, {"project": project}))
    if is_terminal():
        note(f"Follow it: cco issue show {issue_id} -w")


@issue.command("list")
@click.option("--status", metavar="STATUS", help="new, running, escalated, done or stopped.")
@limit_option
@project_option
def list_issues(status: str | None, limit: int | None, project: str | None) -> None:
    """List issues, those last begun first.

    \b
    cco issue list --status running
    """
    answer = current().get(route("api", "issues"), {"status": status, "limit": limit, "project": project})
    emit(answer, rows=answer["issues"], columns=_COLUMNS)


@issue.command()
@click.argument("issue_id", metavar="ISSUE")
@click.option("--watch", "-w", is_flag=True, help="Show it as it changes, until its run is over.")
@click.option("--interval", metavar="SECONDS", type=click.FloatRange(0.1), default=1.0, help="How often to look (1).")
@project_option
@click.pass_context
def show(ctx: click.Context, issue_id: str, watch: bool, interval: float, project: str | None) -> None:
    """Show an issue: its text, and the phases and agents of its run.

    With --watch it ends with 0 when the run is done, and with 1 when it needs a person or was stopped.
    """
    sidecar, path, query = current(), route("api", "issues", issue_id), {"project": project}
    if watch:
        from cco_sidecar.cli.issue_watch import follow

        ctx.exit(0 if follow(lambda: sidecar.get(path, query), interval) in {"done", "new"} else 1)
    answer = sidecar.get(path, query)
    text = f"{answer['title']}\n\n{answer['body']}".strip()
    if answer.get("phases"):
        emit(answer, rows=list(agent_rows(answer)), columns=_AGENT_COLUMNS, text=text)
    else:
        emit(answer, text=text)


def agent_rows(answer: Any) -> Iterator[dict[str, Any]]:
    """Give a row for each agent of each phase, and one for a phase without."""
    for phase in answer["phases"]:
        for agent in phase["agents"]:
            yield {**agent, "phase": phase["phase"], "state": phase["state"], "agent": agent["state"]}
        if not phase["agents"]:
            yield {"phase": phase["phase"], "state": phase["state"]}


@issue.command()
@click.argument("issue_id", metavar="ISSUE")
@click.option("--force", is_flag=True, help="Do not ask the agents' processes to end: end them.")
@click.option("--timeout", metavar="SECONDS", type=click.IntRange(0, 3600), help="How long they may take to end (30).")
@project_option
def stop(issue_id: str, force: bool, timeout: int | None, project: str | None) -> None:
    """End the work on an issue: no rule fires any more, and its agents are ended.

    They are asked to end, and made to after --timeout seconds; with --force at once.
    """
    query = {"force": True if force else None, "timeout_seconds": timeout, "project": project}
    seconds = 30 if timeout is None else timeout
    answer = current().call("POST", route("api", "issues", issue_id, "stop"), query, seconds=seconds + 60.0)
    emit(answer.json())
