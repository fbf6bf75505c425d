"""``cco init``: make a repository known to Claude Code, and take that back."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cco_sidecar.cli import place
from cco_sidecar.cli.command import Command
from cco_sidecar.cli.output import chosen_format, emit, note, write
from cco_sidecar.cli.sidecar import Failed

if TYPE_CHECKING:
    from cco_sidecar.repository.files import Repository
    from cco_sidecar.repository.plan import Change


@click.command(cls=Command)
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False))
@click.option("--agent", "agents", metavar="TYPE", multiple=True, help="Write this agent type as a sub-agent, too.")
@click.option(
    "--on-failure",
    type=click.Choice(["allow", "deny"]),
    help="What becomes of an edit when the sidecar can't be asked; else as it was, at first allow.",
)
@click.option("--check", is_flag=True, help="Change nothing; end with 1 if something is missing.")
@click.option("--diff", "shows_diff", is_flag=True, help="Change nothing; show what would be changed.")
@click.option("--remove", is_flag=True, help="Take out what init wrote, and nothing else.")
@click.pass_context
def init(  # noqa: PLR0917  # click gives them by name
    ctx: click.Context,
    directory: str,
    agents: Sequence[str],
    on_failure: str | None,
    check: bool,
    shows_diff: bool,
    remove: bool,
) -> None:
    """Let Claude Code coordinate through the sidecar in this repository.

    Writes .mcp.json, hooks and a permission in .claude/settings.json, a skill, the agent types that are named,
    a block in CLAUDE.md and one in .gitignore. What else is in these files stays as it is; doing it again changes
    nothing.

    \b
    cco init
    cco init --agent python-specialist --agent security-auditor
    cco init --on-failure deny
    cco init --diff
    cco init --check
    cco init --remove
    """
    if remove and on_failure:
        raise click.UsageError("--remove takes the hooks out: leave --on-failure away.")
    if remove and agents:
        raise click.UsageError("--remove takes all agents out that init wrote: leave --agent away.")
    if check and shows_diff:
        raise click.UsageError("Give --check or --diff, not both.")
    from cco_sidecar.repository.files import NotOurs, Repository, find_root
    from cco_sidecar.repository.plan import carry_out, plan_removal

    repository = Repository(find_root(Path(directory)))
    try:
        changes = plan_removal(repository) if remove else _plan(ctx, repository, agents, on_failure)
        if not (check or shows_diff):
            carry_out(repository, changes)
    except NotOurs as error:
        raise Failed(str(error)) from None
    if shows_diff:
        write("".join(change.diff for change in changes))
        return
    _show(repository, changes, check=check)
    if check and any(change.is_due for change in changes):
        ctx.exit(1)


def _plan(
    ctx: click.Context, repository: "Repository", agents: Sequence[str], on_failure: str | None
) -> "list[Change]":
    from cco_sidecar.repository.agents import AgentTypes
    from cco_sidecar.repository.plan import denies_before, plan, url_before
    from cco_sidecar.repository.settings import Reach

    found = place.find(ctx.meta.get("cco.sidecar_url"), os.environ)
    is_named = ctx.meta.get("cco.sidecar_url") or os.environ.get("CCO_SIDECAR_URL")
    is_known = found.entry is not None or bool(is_named)
    url = found.server.url if is_known else url_before(repository) or found.server.url
    if not is_known:
        note(f"No sidecar runs; {url} is written. Start it: cco daemon start")
    types = AgentTypes(repository.root)
    picked = {}
    for agent_type in agents:
        text = types.file_of(agent_type)
        if text is None:
            near = types.nearest(agent_type)
            hint = f": did you mean {near!r}?" if near else " in the roster."
            raise click.UsageError(f"There is no agent type {agent_type!r}{hint}")
        picked[agent_type] = text
    denies = denies_before(repository) if on_failure is None else on_failure == "deny"
    return plan(repository, Reach(_program(), url, denies), picked, types.file_of)


def _program() -> str:
    """Give how Claude Code is to call this command: by its name where that is enough."""
    beside = Path(sys.executable).with_name("cco")
    return "cco" if shutil.which("cco") or not beside.exists() else str(beside)


def _show(repository: "Repository", changes: "Sequence[Change]", *, check: bool) -> None:
    rows = [{"file": change.name, "state": _state(change, check=check)} for change in changes]
    data = {"root": str(repository.root), "files": rows}
    emit(data, rows=rows, columns=("file", "state"), text="\n".join(f"{row['state']:9} {row['file']}" for row in rows))
    kept = [change.name for change in changes if change.kept]
    if kept:
        note(f"Left as it is, for it was not written by init: {', '.join(kept)}")
    if check and any(change.is_due for change in changes):
        note("Something is missing or old. See what: cco init --diff; write it: cco init")
    elif not check and chosen_format() == "table" and any(change.is_due and change.after for change in changes):
        note("Now start claude here; it asks once whether you trust this folder.")


def _state(change: "Change", *, check: bool) -> str:
    if change.kept:
        return "kept"
    if not change.is_due:
        return "unchanged"
    if check:
        return "missing" if change.before is None else "changed"
    return "removed" if change.after is None else "written"
