"""``cco agent``: start agents, watch them, end them."""

from collections.abc import Iterable, Sequence

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import issue_option, limit_option, project_option, type_option
from cco_sidecar.cli.output import emit, is_terminal, note, visible, write
from cco_sidecar.cli.sidecar import current, route

_COLUMNS = (
    "agent_id",
    "agent_type",
    "issue_id",
    "status",
    "condition",
    "process_id",
    "started_at",
    "ended_at",
    "exit_code",
    "queued_because",
)


@click.group(cls=Group)
def agent() -> None:
    """Start agents, watch them, end them."""


@agent.command()
@type_option("Agent type, as the roster names it.", required=True)
@issue_option("Issue that it works on.", required=True)
@click.option("--task", metavar="TEXT", help="What it is to do; the issue's text if not given.")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), help="Who first, when places are taken.")
@click.option("--env", "environment", metavar="K=V", multiple=True, help="Add a variable to its environment.")
@click.option("--runner", metavar="NAME", help="How its process is made; claude if not given, demo needs no model.")
@click.option("--timeout", metavar="SECONDS", type=click.IntRange(1), help="End it after so long.")
@click.option("--idempotency-key", metavar="KEY", help="Start it once, however often this is sent.")
@project_option
def spawn(  # noqa: PLR0917  # click gives them by name
    agent_type: str,
    issue: str,
    task: str | None,
    priority: str | None,
    environment: Sequence[str],
    runner: str | None,
    timeout: int | None,
    idempotency_key: str | None,
    project: str | None,
) -> None:
    """Start an agent.

    \b
    cco agent spawn --type python-specialist --issue issue-123
    cco agent spawn --type python-specialist --issue issue-123 --runner demo --env LEVEL=2
    """
    asked: dict[str, object] = {"agent_type": agent_type, "issue_id": issue, "task": task, "priority": priority}
    asked |= {"runner": runner, "timeout_seconds": timeout, "project_id": project}
    asked["environment"] = _variables(environment) or None
    body = {name: value for name, value in asked.items() if value is not None}
    answer = current().post(route("api", "agents", "spawn"), body, {"project": project}, key=idempotency_key)
    emit(answer)
    if is_terminal() and isinstance(answer, dict) and answer.get("agent_id"):
        waits = f" It waits: {answer.get('queued_because')}." if answer.get("queued") else ""
        note(f"{waits}\nFollow it: cco agent logs {answer['agent_id']} -f".lstrip())


def _variables(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--env must be like NAME=VALUE, not {text!r}.")
        found[name] = value
    return found


@agent.command("list")
@click.option("--status", metavar="STATUS", help="queued, starting, running, completed, failed, killed or lost.")
@type_option("Only agents of this type.")
@issue_option("Only agents of this issue.")
@limit_option
@project_option
def list_agents(
    status: str | None, agent_type: str | None, issue: str | None, limit: int | None, project: str | None
) -> None:
    """List agents, those that ended, too.

    \b
    cco agent list
    cco agent list --status running
    """
    query = {"status": status, "type": agent_type, "issue": issue, "limit": limit, "project": project}
    answer = current().get(route("api", "agents"), query)
    emit(answer, rows=answer["agents"], columns=_COLUMNS)


@agent.command()
@click.argument("agent_id", metavar="ID")
@project_option
def show(agent_id: str, project: str | None) -> None:
    """Show one agent."""
    emit(current().get(route("api", "agents", agent_id), {"project": project}))


@agent.command()
@click.argument("agent_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the agent has ended.")
@click.option("--tail", metavar="N", type=click.IntRange(0), help="Only the last N lines.")
@project_option
def logs(agent_id: str, follow: bool, tail: int | None, project: str | None) -> None:
    """Print what an agent wrote (its stdout and stderr)."""
    query = {"tail": tail, "follow": follow or None, "project": project}
    with current().follow(route("api", "agents", agent_id, "logs"), query) as pieces:
        _print_log(pieces)


def _print_log(pieces: Iterable[bytes]) -> None:
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    on_terminal = is_terminal()
    for piece in pieces:
        text = decoder.decode(piece)
        write(visible(text.replace("\r\n", "\n")) if on_terminal else text)
    write(decoder.decode(b"", final=True))


@agent.command()
@click.argument("agent_id", metavar="ID")
@click.option("--force", is_flag=True, help="Do not ask its processes to end: end them.")
@click.option("--timeout", metavar="SECONDS", type=click.IntRange(0, 3600), help="How long it may take to end (30).")
@project_option
def kill(agent_id: str, force: bool, timeout: int | None, project: str | None) -> None:
    """End an agent and all processes that it started.

    It is asked to end, and made to after --timeout seconds; with --force at once.
    """
    query = {"force": True if force else None, "timeout_seconds": timeout, "project": project}
    seconds = 30 if timeout is None else timeout
    emit(current().delete(route("api", "agents", agent_id), query, seconds=float(seconds)))
