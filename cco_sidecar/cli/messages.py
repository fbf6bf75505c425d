"""``cco msg``: write to agents, read what they write, and see how far a message is."""

from typing import Any

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import limit_option, project_option, read_json, read_text
from cco_sidecar.cli.output import emit
from cco_sidecar.cli.sidecar import current, route
from cco_sidecar.client.values import ANSWER_SECONDS

_COLUMNS = ("id", "state", "kind", "from", "to", "agent_id", "body", "sent_at")
_TRACE_COLUMNS = ("agent_id", "agent_type", "state", "offers", "offered_at", "seen_at", "ended_at", "reason")


@click.group(cls=Group)
def msg() -> None:
    """Write to agents, and read what they write."""


@msg.command()
@click.argument("to", metavar="TO")
@click.argument("text", metavar="[TEXT]", required=False)
@click.option("--json", "as_json", metavar="JSON", help="Send this JSON value instead of a text.")
@click.option("--input", "file", metavar="FILE", help="Read the text from a file; - is stdin.")
@click.option("--kind", type=click.Choice(["info", "request", "steer"]), help="How much it matters (info).")
@click.option("--ack", is_flag=True, help="It is not over when it was seen, but when it was done.")
@click.option("--ttl", metavar="SECONDS", type=click.IntRange(1, 7 * 86_400), help="Give up after so long (86400).")
@click.option("--reply-to", metavar="ID", help="The message that this one answers; that one is done then.")
@click.option("--correlation-id", metavar="ID", help="What it belongs to.")
@click.option("--idempotency-key", metavar="KEY", help="Send it once, however often this is done.")
@project_option
def send(  # noqa: PLR0917  # click gives them by name
    to: str,
    text: str | None,
    as_json: str | None,
    file: str | None,
    kind: str | None,
    ack: bool,
    ttl: int | None,
    reply_to: str | None,
    correlation_id: str | None,
    idempotency_key: str | None,
    project: str | None,
) -> None:
    """Send a message to an agent, or to all who live of an agent type or on an issue.

    TO is a name, or agent:NAME, type:NAME or issue:NAME where names are alike.

    \b
    cco msg send issue-123 "Prices are in cents from now on." --kind steer
    cco msg send python-specialist "Who knows why shop.py rounds?" --kind request --ack
    """
    if sum(given is not None for given in (text, as_json, file)) != 1:
        raise click.UsageError("Give TEXT, --json JSON, or --input FILE (- is stdin): one of them.")
    body: Any = text
    if as_json is not None:
        body = read_json(as_json, None, "--json")
    elif file is not None:
        body = read_text(file)
    asked: dict[str, Any] = {"to": to, "body": body, "kind": kind, "ack": ack or None, "ttl_seconds": ttl}
    asked |= {"reply_to": reply_to, "correlation_id": correlation_id}
    # A body may be null.
    sent = {name: value for name, value in asked.items() if value is not None or name == "body"}
    answer = current().post(route("api", "messages"), sent, {"project": project}, key=idempotency_key)
    emit(answer, text=str(answer["id"]), rows=answer["deliveries"], columns=_TRACE_COLUMNS)


@msg.command()
@click.option("--wait", metavar="SECONDS", type=click.IntRange(0, 300), help="Wait so long for a new one.")
@click.option("--unread", is_flag=True, help="Only those that were not seen yet.")
@click.option("--sent", is_flag=True, help="Those that you sent.")
@click.option("--all", "everybody", is_flag=True, help="Those of all agents.")
@click.option("--agent", metavar="AGENT", help="Another agent's (for the person at the machine).")
@limit_option
@project_option
def inbox(  # noqa: PLR0917  # click gives them by name
    wait: int | None,
    unread: bool,
    sent: bool,
    everybody: bool,
    agent: str | None,
    limit: int | None,
    project: str | None,
) -> None:
    """List messages to you; with --wait give those that are new, and say that they were seen.

    \b
    cco msg inbox --wait 60
    cco msg inbox --agent AGENT --unread
    """
    if sent and everybody:
        raise click.UsageError("Give --sent, or --all, not both.")
    if wait is not None and (sent or everybody or agent is not None):
        raise click.UsageError("--wait is for your own inbox.")
    query = {
        "box": "sent" if sent else "all" if everybody else None,
        "agent": agent,
        "unread": "true" if unread else None,
        "limit": limit,
        "wait": None if wait is None else wait * 1000,
        "project": project,
    }
    seconds = ANSWER_SECONDS + (wait or 0)
    answer = current().call("GET", route("api", "messages"), query, seconds=seconds).json()
    emit(answer, rows=answer["messages"], columns=_COLUMNS)
    if wait is not None:
        for line in answer["messages"]:  # they are on the screen
            current().post(route("api", "messages", line["id"], "ack"), {"state": "seen"}, {"project": project})


@msg.command()
@click.argument("message_id", metavar="ID")
@project_option
def done(message_id: str, project: str | None) -> None:
    """Say that you have done what a message asks for."""
    emit(current().post(route("api", "messages", message_id, "ack"), {"state": "done"}, {"project": project}))


@msg.command()
@click.argument("message_id", metavar="ID")
@project_option
def trace(message_id: str, project: str | None) -> None:
    """Show how far a message is, with each of those whom it was sent to."""
    answer = current().get(route("api", "messages", message_id), {"project": project})
    emit(answer, rows=answer["deliveries"], columns=_TRACE_COLUMNS)
