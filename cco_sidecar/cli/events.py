"""``cco events``: publish events, wait for them, look back, give them again."""

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import issue_option, limit_option, project_option, read_json
from cco_sidecar.cli.output import emit, note
from cco_sidecar.cli.sidecar import current, route

_LETTER_COLUMNS = ("id", "webhook_id", "dead_at", "attempts", "reason", "event")
_COLUMNS = ("sequence", "timestamp", "event_type", "topic", "publisher", "issue_id", "data")


@click.group(cls=Group)
def events() -> None:
    """Publish events, wait for them, look back, see them again."""


@events.command()
@click.option("--type", "--event-type", "event_type", metavar="TYPE", required=True, help="What happened.")
@click.option("--topic", metavar="TOPIC", required=True, help="What it is about.")
@click.option("--data", metavar="JSON", help="What there is to tell.")
@click.option("--input", "file", metavar="FILE", help="Read the data from a file instead (- is stdin).")
@click.option("--correlation-id", metavar="ID", help="Ties events together that belong to one thing.")
@click.option("--ttl", metavar="SECONDS", type=int, help="How long it is kept, 1 to 86400 (a day).")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), help="normal if not given.")
@click.option("--idempotency-key", metavar="KEY", help="Publish it once, however often this is sent.")
@project_option
def publish(  # noqa: PLR0917  # click gives them by name
    event_type: str,
    topic: str,
    data: str | None,
    file: str | None,
    correlation_id: str | None,
    ttl: int | None,
    priority: str | None,
    idempotency_key: str | None,
    project: str | None,
) -> None:
    """Publish an event.

    When this ends with 0 the event is on disk.

    \b
    cco events publish --type custom_event --topic coordination --data '{"message": "checkpoint reached"}'
    """
    asked = {"topic": topic, "data": read_json(data, file, "--data"), "priority": priority}
    asked |= {"correlation_id": correlation_id, "ttl_seconds": ttl}
    body = {name: value for name, value in asked.items() if value is not None or name == "data"}
    emit(current().post(route("api", "events", event_type), body, {"project": project}, key=idempotency_key))


@events.command("list")
@click.option("--topic", metavar="TOPIC", help="Only events on this topic.")
@click.option("--type", "--event-type", "event_type", metavar="TYPE", help="Only events of this type.")
@click.option("--filter", "filter_text", metavar="FILTER", help="Only events that match, like issue_id:issue-123.")
@click.option("--publisher", metavar="AGENT", help="Only events of this agent.")
@click.option("--correlation-id", metavar="ID", help="Only events with this correlation id.")
@issue_option("Only events of this issue.")
@click.option("--since", metavar="WHERE", help="Only events after this cursor, event id or time.")
@click.option("--until", metavar="WHERE", help="Only events before.")
@click.option("--order", type=click.Choice(["desc", "asc"]), help="desc, the newest first, if not given.")
@limit_option
@project_option
def list_events(event_type: str | None, filter_text: str | None, **others: str | int | None) -> None:
    """List the events that are kept.

    The newest come first; kept are the newest 10,000 of the last 24 hours, if not configured otherwise.

    \b
    cco events list --limit 50
    cco events list --type agent_completed
    cco events list --topic implementation --filter "issue_id:issue-123"
    """
    answer = current().get(route("api", "events"), {"type": event_type, "filter": filter_text, **others})
    emit(answer, rows=answer["events"], columns=_COLUMNS)


@events.command()
@click.argument("event_type", metavar="TYPE")
@click.option("--timeout", metavar="MS", type=click.IntRange(0), default=30000, help="How long to wait (30000).")
@click.option("--filter", "filter_text", metavar="FILTER", help="Only events that match, like issue_id:issue-123.")
@click.option("--topic", metavar="TOPIC", help="Only events on this topic.")
@click.option("--since", metavar="WHERE", default="latest", help="After this cursor, event id or time, or earliest.")
@click.option("--continuous", is_flag=True, help="Go on waiting, until Ctrl-C, through restarts of the sidecar, too.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="End after N events.")
@project_option
@click.pass_context
def subscribe(  # noqa: PLR0917  # click gives them by name
    ctx: click.Context,
    event_type: str,
    timeout: int,
    filter_text: str | None,
    topic: str | None,
    since: str,
    continuous: bool,
    limit: int | None,
    project: str | None,
) -> None:
    """Wait for events of a type.

    TYPE may be several by commas, or '*'. Waits for events from now on, or with --since for those after it.

    Prints the first that come and ends, or ends with 124 when time is up. With --continuous it goes on. Where stdout is
    no terminal, each event is one line of JSON, written at once.

    \b
    cco events subscribe agent_completed --continuous
    cco events subscribe '*' --filter "issue_id:issue-123" --timeout 60000
    """
    from cco_sidecar.cli.subscription import Subscription, Wanted

    wanted = Wanted(event_type, filter_text, topic, project, timeout, limit)
    subscription = Subscription(current(), wanted, since)
    if continuous:
        subscription.run_on()
    elif not subscription.run():
        ctx.exit(124)


@events.command()
@click.option(
    "--correlation", "--correlation-id", "correlation_id", metavar="ID", help="Only with this correlation id."
)
@click.option("--type", "--event-type", "event_type", metavar="TYPE", help="Only this type (or several, by commas).")
@click.option("--topic", metavar="TOPIC", help="Only events on this topic.")
@click.option("--filter", "filter_text", metavar="FILTER", help="Only events that match, like issue_id:issue-123.")
@click.option("--publisher", metavar="AGENT", help="Only events of this agent.")
@issue_option("Only events of this issue.")
@click.option("--since", metavar="WHERE", help="Only events after this cursor, event id or time.")
@click.option("--until", metavar="WHERE", help="Only events before.")
@click.option("--speed", metavar="N", type=float, help="N times as fast as it was; without it, without pauses.")
@click.option("--to", type=click.Choice(["subscription", "topic"]), help="topic: publish them anew, for everybody.")
@click.option("--as-topic", metavar="TOPIC", help="With --to topic: publish them on this topic.")
@click.option("--agent-id", metavar="AGENT", help="Print nothing: this agent reads them, by a wait.")
@project_option
def replay(  # noqa: PLR0917  # click gives them by name
    correlation_id: str | None,
    event_type: str | None,
    topic: str | None,
    filter_text: str | None,
    publisher: str | None,
    issue: str | None,
    since: str | None,
    until: str | None,
    speed: float | None,
    to: str | None,
    as_topic: str | None,
    agent_id: str | None,
    project: str | None,
) -> None:
    """See events again, as they came.

    Prints them at their old pace times N; nobody else sees them. Ctrl-C ends it.

    With --to topic they are published anew instead, each marked with replayed_from. This prints the replay's id then,
    and does not wait for its end.

    \b
    cco events replay --correlation X --speed 10
    cco events replay --issue issue-123 --to topic --as-topic rehearsal
    """
    from cco_sidecar.cli.replay import Playback

    selection = {"correlation_id": correlation_id, "type": event_type, "topic": topic, "filter": filter_text}
    selection |= {"publisher": publisher, "issue": issue, "since": since, "until": until}
    asked: dict[str, object] = {"speed": speed, "to": to, "topic": as_topic, "agent_id": agent_id}
    body = {name: value for name, value in asked.items() if value is not None}
    body["selection"] = {name: value for name, value in selection.items() if value is not None}
    sidecar = current()
    answer = sidecar.post(route("api", "events", "replay"), body, {"project": project})
    if answer["to"] == "topic" or agent_id is not None:
        emit(answer)
        return
    note(f"{answer['events']} events are selected ({answer['replay_id']}); Ctrl-C ends this.")
    Playback(sidecar, answer["replay_id"], project).run()


@events.command("dead-letters")
@click.option("--webhook", metavar="ID", help="Only those of this webhook.")
@click.option("--clear", is_flag=True, help="Remove them, all that are there.")
@limit_option
@project_option
def dead_letters(webhook: str | None, clear: bool, limit: int | None, project: str | None) -> None:
    """List what could not be delivered to webhooks, the newest first.

    \b
    cco events dead-letters
    cco events dead-letters --clear
    """
    query = {"webhook": webhook, "project": project}
    path = route("api", "events", "dead-letters")
    if clear:
        if limit is not None:
            raise click.UsageError("--clear removes all: it takes no --limit.")
        emit(current().delete(path, query))
        return
    answer = current().get(path, {**query, "limit": limit})
    emit(answer, rows=answer["dead_letters"], columns=_LETTER_COLUMNS)
