"""``cco budget``: how much a project, an issue or an agent type may take."""

from typing import Any

import click

from cco_sidecar.cli.command import Group
from cco_sidecar.cli.fields import project_option
from cco_sidecar.cli.output import emit
from cco_sidecar.cli.sidecar import current, route

_COLUMNS = ("kind", "id", "state", "fraction", "tokens", "usd", "seconds", "since")
_KIND = click.Choice(["project", "issue", "type"])


@click.group(cls=Group)
def budget() -> None:
    """Limit what a project, an issue or an agent type may take."""


@budget.command("set")
@click.argument("kind", metavar="KIND", type=_KIND)
@click.argument("budget_id", metavar="ID")
@click.option("--tokens", metavar="N", type=click.IntRange(1), help="So many tokens, without what a cache gives.")
@click.option("--usd", metavar="DOLLARS", type=click.FloatRange(0, min_open=True), help="So many dollars.")
@click.option("--seconds", metavar="N", type=click.IntRange(1), help="So many seconds that agents run, all added up.")
@click.option("--reset", is_flag=True, help="Count from now on.")
@project_option
def set_budget(  # noqa: PLR0917  # click gives them by name
    kind: str,
    budget_id: str,
    tokens: int | None,
    usd: float | None,
    seconds: int | None,
    reset: bool,
    project: str | None,
) -> None:
    """Set a budget, or change it: what is not given has no limit any more, what was taken counts on.

    KIND is project, issue or type. At 80 % there is an event; at 100 % no agent starts, and those that run are told to
    end. Setting it higher lets all go on.

    \b
    cco budget set issue issue-123 --usd 5
    cco budget set type python-specialist --tokens 2000000 --seconds 36000
    """
    if tokens is None and usd is None and seconds is None:
        raise click.UsageError("Give --tokens, --usd or --seconds.")
    asked = {"tokens": tokens, "usd": usd, "seconds": seconds, "reset": reset or None}
    body = {name: value for name, value in asked.items() if value is not None}
    answer = current().call("PUT", route("api", "budgets", kind, budget_id), {"project": project}, body=body).json()
    emit(answer, rows=[_row(answer)], columns=_COLUMNS)


@budget.command("list")
@project_option
def list_budgets(project: str | None) -> None:
    """List budgets, and how much of each is used up."""
    answer = current().get(route("api", "budgets"), {"project": project})
    emit(answer, rows=[_row(line) for line in answer["budgets"]], columns=_COLUMNS)


@budget.command()
@click.argument("kind", metavar="KIND", type=_KIND)
@click.argument("budget_id", metavar="ID")
@project_option
def show(kind: str, budget_id: str, project: str | None) -> None:
    """Show one budget, and how much of it is used up."""
    answer = current().get(route("api", "budgets", kind, budget_id), {"project": project})
    emit(answer, rows=[_row(answer)], columns=_COLUMNS)


@budget.command()
@click.argument("kind", metavar="KIND", type=_KIND)
@click.argument("budget_id", metavar="ID")
@project_option
def remove(kind: str, budget_id: str, project: str | None) -> None:
    """Remove a budget: what it held back goes on."""
    emit(current().delete(route("api", "budgets", kind, budget_id), {"project": project}))


def _row(answer: dict[str, Any]) -> dict[str, object]:
    """Make a line of a table: what was taken, of how much."""
    row = {name: answer[name] for name in ("kind", "id", "state", "since")}
    row["fraction"] = f"{answer['fraction']:.0%}"
    for what, limit in answer["limits"].items():
        spent = answer["spent"][what]
        row[what] = f"{spent:.16g}" if limit is None else f"{spent:.16g} of {limit:.16g}"
    return row
