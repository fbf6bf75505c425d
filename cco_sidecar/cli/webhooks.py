"""``cco webhooks``: let other programs be told of events."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import issue_option, project_option
from cco_sidecar.cli.output import emit, note
from cco_sidecar.cli.sidecar import current, route

_COLUMNS = ("id", "url", "state", "pending", "delivered", "dead_letters", "last_success_at", "last_failure")


@click.group(cls=Group)
def webhooks() -> None:
    """Let other programs be told of events."""


@webhooks.command()
@click.argument("url", metavar="URL")
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only events of this type; may be repeated.")
@click.option("--topic", metavar="TOPIC", help="Only events on this topic.")
@click.option("--filter", "filter_text", metavar="FILTER", help="Only events that match, like issue_id:issue-123.")
@click.option("--publisher", metavar="AGENT", help="Only events of this agent.")
@click.option("--correlation-id", metavar="ID", help="Only events with this correlation id.")
@issue_option("Only events of this issue.")
@click.option("--secret", metavar="SECRET", help="whsec_...; - reads it from stdin; one is made if not given.")
@project_option
def add(  # noqa: PLR0917  # click gives them by name
    url: str,
    types: Sequence[str],
    topic: str | None,
    filter_text: str | None,
    publisher: str | None,
    correlation_id: str | None,
    issue: str | None,
    secret: str | None,
    project: str | None,
) -> None:
    """Post events to URL, from now on.

    Prints the secret that signs the messages: it is never shown again.

    \b
    cco webhooks add https://example.org/hook --type agent_completed --type agent_failed
    """
    named = [it.strip() for text in types for it in text.split(",") if it.strip()]
    asked = {"types": named or None, "topic": topic, "filter": filter_text, "publisher": publisher, "issue": issue}
    asked["correlation_id"] = correlation_id
    selection = {name: value for name, value in asked.items() if value is not None}
    body: dict[str, Any] = {"url": url, "selection": selection}
    if secret is not None:
        body["secret"] = sys.stdin.readline().strip() if secret == "-" else secret
    answer = current().post(route("api", "webhooks"), body, {"project": project})
    emit(answer, text=str(answer["secret"]))


@webhooks.command("list")
@project_option
def list_webhooks(project: str | None) -> None:
    """List webhooks, and how they do."""
    answer = current().get(route("api", "webhooks"), {"project": project})
    emit(answer, rows=answer["webhooks"], columns=_COLUMNS)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@project_option
def show(webhook_id: str, project: str | None) -> None:
    """Show a webhook."""
    emit(current().get(route("api", "webhooks", webhook_id), {"project": project}))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@project_option
def delete(webhook_id: str, project: str | None) -> None:
    """Delete a webhook, and its secret."""
    emit(current().delete(route("api", "webhooks", webhook_id), {"project": project}))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@project_option
@click.pass_context
def test(ctx: click.Context, webhook_id: str, project: str | None) -> None:
    """Send a test message now.

    Ends with 1 if the receiver does not take it. A webhook that 410 has disabled is enabled by one that it takes.
    """
    answer = current().post(route("api", "webhooks", webhook_id, "test"), None, {"project": project})
    emit(answer)
    if not answer["delivered"]:
        note(f"Not delivered: {answer['error']}.")
        ctx.exit(1)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--dead-letter", "letters", metavar="ID", multiple=True, help="Only this dead letter; several times.")
@click.option("--since", metavar="WHERE", help="Instead: all events after this cursor, event id or time, or earliest.")
@project_option
def redeliver(webhook_id: str, letters: Sequence[str], since: str | None, project: str | None) -> None:
    """Deliver the webhook's dead letters again.

    Messages keep the id that they had. A dead letter stays one until it is taken.

    \b
    cco webhooks redeliver ID
    cco webhooks redeliver ID --since earliest
    """
    if letters and since is not None:
        raise click.UsageError("Give --dead-letter or --since, not both.")
    body: dict[str, Any] = {"since": since} if since is not None else {}
    if letters:
        body["dead_letters"] = list(letters)
    emit(current().post(route("api", "webhooks", webhook_id, "redeliver"), body, {"project": project}))
