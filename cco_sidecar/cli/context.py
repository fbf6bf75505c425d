"""``cco context``: see what an agent is told about the project."""

from collections.abc import Mapping
from typing import Any

import click

from cco_sidecar.cli.command import FORMATS, Group
from cco_sidecar.cli.fields import issue_option, limit_option, project_option, save, type_option
from cco_sidecar.cli.output import chosen_format, emit, is_terminal, note, to_json, visible, write
from cco_sidecar.cli.sidecar import Failed, Sidecar, current, route
from cco_sidecar.client.values import Query

_GATHER_SECONDS = 120.0
_FILE_COLUMNS = ("path", "size", "tokens", "truncated", "reason")
_FATE_COLUMNS = ("rank", "verdict", "path", "score", "size", "tokens", "reason", "cut", "rule")
_PROSE = ("markdown", "text")


@click.group(cls=Group)
def context() -> None:
    """See what an agent is told about the project, and have it gathered anew."""


@context.command(formats=(*FORMATS, "markdown"))
@click.argument("issue")
@click.argument("agent_type", metavar="TYPE")
@click.option("--output", metavar="FILE", help="Write it into a file: JSON, or with --format markdown Markdown.")
@click.option("--task", metavar="TEXT", help="Rank files for this task.")
@click.option("--budget-bytes", metavar="N", type=click.IntRange(1), help="At most so many bytes.")
@click.option("--budget-tokens", metavar="N", type=click.IntRange(1), help="At most so many tokens, as Markdown.")
@project_option
def get(  # noqa: PLR0917  # click gives them by name
    issue: str,
    agent_type: str,
    output: str | None,
    task: str | None,
    budget_bytes: int | None,
    budget_tokens: int | None,
    project: str | None,
) -> None:
    """Show what an agent type is told on an issue.

    A terminal shows the list of files; --format json has all of it, --format markdown (or text) is for a prompt.

    \b
    cco context get issue-123 python-specialist
    cco context get issue-123 python-specialist --output context.json
    cco context get issue-123 python-specialist --format markdown --budget-tokens 8000
    """
    query: Query = {"task": task, "budget_bytes": budget_bytes, "budget_tokens": budget_tokens, "project": project}
    path = route("api", "context", issue, agent_type)
    if chosen_format() in _PROSE:
        _print_document(path, query, output)
        return
    if budget_tokens is not None:
        raise click.UsageError("--budget-tokens goes with --format markdown; for JSON there is --budget-bytes.")
    found = current().get(path, query, seconds=_GATHER_SECONDS)
    if output is not None:
        save(output, to_json(found) + "\n")
        note(f"Saved to {output}: {_summary(found)}")
        return
    emit(found, rows=found["context"]["relevant_files"], columns=_FILE_COLUMNS)
    if chosen_format() == "table":
        note(f"{_summary(found)}. All of it: --format json")


def _print_document(path: str, query: Query, output: str | None) -> None:
    answer = current().call("GET", path, {**query, "format": "markdown"}, seconds=_GATHER_SECONDS)
    try:
        text = answer.body.decode()
    except UnicodeDecodeError:
        raise Failed("What answered is not the sidecar: its answer is not UTF-8.") from None
    if output is not None:
        save(output, text)
        note(f"Saved to {output}: {len(answer.body)} bytes of Markdown")
    else:
        write(visible(text) if is_terminal() else text)


def _summary(found: dict[str, Any]) -> str:
    git = found["context"].get("git_context") or {}
    branch = f" on branch {git['branch']}" if git.get("branch") else ""
    cut = ", cut to the budget" if found.get("truncated") else ""
    return f"{found.get('file_count')} files, {found.get('total_size_bytes')} bytes{branch}{cut}"


@context.command()
@click.argument("issue")
@click.argument("agent_type", metavar="TYPE")
@click.option("--task", metavar="TEXT", help="Rank files for this task.")
@click.option("--path", metavar="GLOB", help="Only the files that a glob matches.")
@click.option("--budget-bytes", metavar="N", type=click.IntRange(1), help="As if the context had so many bytes.")
@limit_option
@project_option
def explain(  # noqa: PLR0917  # click gives them by name
    issue: str,
    agent_type: str,
    task: str | None,
    path: str | None,
    budget_bytes: int | None,
    limit: int | None,
    project: str | None,
) -> None:
    """Show why each file is in a context or not: its rank, the reason, and what cut it.

    \b
    cco context explain issue-123 python-specialist
    cco context explain issue-123 python-specialist --path 'docs/**'
    """
    query: Query = {"task": task, "path": path, "budget_bytes": budget_bytes, "limit": limit, "project": project}
    found = current().get(route("api", "context", issue, agent_type, "explain"), query, seconds=_GATHER_SECONDS)
    emit(found, rows=[{**file, "verdict": _verdict(file)} for file in found["files"]], columns=_FATE_COLUMNS)
    if chosen_format() == "table":
        totals = found["totals"]
        counts = f"{totals['included']} in, of these {totals['truncated']} cut, {totals['left_out']} out"
        note(f"{found['listed']} of {found['matching']} files shown. In all: {counts}.")


def _verdict(file: Mapping[str, Any]) -> str:
    if not file["included"]:
        return "out"
    return "cut" if file["truncated"] else "in"


@context.command()
@issue_option("Only the contexts of this issue.")
@type_option("Only those of this agent type.")
@click.option("--force", is_flag=True, help="Gather anew even if nothing seems to have changed.")
@project_option
def refresh(issue: str | None, agent_type: str | None, force: bool, project: str | None) -> None:
    """Bring the contexts of agents up to date.

    With --issue and --agent-type that one, else those of the agents that the sidecar knows. A context is never
    older than the project, so this is to have the work done now, or with --force, done again.

    \b
    cco context refresh --issue issue-123 --force
    """
    sidecar = current()
    cleared = _clear(sidecar, issue, None, project) if force else None
    refreshed = []
    for an_issue, a_type in _wanted(sidecar, issue, agent_type, project):
        query = {"refresh": True if force else None, "project": project}
        found = sidecar.get(route("api", "context", an_issue, a_type), query, seconds=_GATHER_SECONDS)
        kept = {name: found.get(name) for name in ("file_count", "total_size_bytes", "truncated", "cache_hit")}
        refreshed.append({"issue_id": an_issue, "agent_type": a_type, **kept})
    columns = ("issue_id", "agent_type", "file_count", "total_size_bytes", "truncated", "cache_hit")
    emit({"cleared": cleared, "refreshed": refreshed}, rows=refreshed, columns=columns)
    if not refreshed:
        note("No agent has asked yet: its context is gathered when it does.")


def _wanted(sidecar: Sidecar, issue: str | None, agent_type: str | None, project: str | None) -> list[tuple[str, str]]:
    if issue is not None and agent_type is not None:
        return [(issue, agent_type)]
    query = {"issue": issue, "type": agent_type, "limit": 1000, "project": project}
    agents = sidecar.get(route("api", "agents"), query)["agents"]
    return list(dict.fromkeys((it["issue_id"], it["agent_type"]) for it in agents))


@context.command()
@issue_option("The contexts of this issue.")
@type_option("The contexts of this agent type.")
@click.option("--all", "everything", is_flag=True, help="All contexts.")
@project_option
def clear(issue: str | None, agent_type: str | None, everything: bool, project: str | None) -> None:
    """Forget gathered contexts.

    The next request gathers anew.

    \b
    cco context clear --issue issue-123
    cco context clear --all
    """
    if everything == (issue is not None or agent_type is not None):
        raise click.UsageError("Give --issue or --agent-type, or else --all.")
    emit(_clear(current(), issue, agent_type, project))


def _clear(sidecar: Sidecar, issue: str | None, agent_type: str | None, project: str | None) -> Any:
    path = route("api", "cache", "all") if issue is None else route("api", "cache", "context", issue)
    return sidecar.delete(path, {"agent_type": agent_type, "project": project})
