"""``cco issue``: what agents work on, in words."""

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import project_option, read_text
from cco_sidecar.cli.output import emit
from cco_sidecar.cli.sidecar import current, route


@click.group(cls=Group)
def issue() -> None:
    """Say what an issue is about: its agents get it as their task, and files are ranked for it."""


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
@project_option
def show(issue_id: str, project: str | None) -> None:
    """Show the text of an issue."""
    answer = current().get(route("api", "issues", issue_id), {"project": project})
    emit(answer, text=f"{answer['title']}\n\n{answer['body']}".strip())
