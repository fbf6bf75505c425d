"""``cco issue show -w``: a table that lives, or, where no terminal is, a line for each change."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from cco_sidecar.cli.output import is_terminal, one_line, to_json, write

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {
    **dict.fromkeys(("completed", "done"), "green"),
    **dict.fromkeys(("failed", "escalated", "killed", "lost"), "red"),
    **dict.fromkeys(("running", "starting", "queued"), "cyan"),
    **dict.fromkeys(("waiting", "skipped", "new", "stopped"), "dim"),
}


def follow(look: Callable[[], Any], interval: float) -> str:
    """Show an issue as it changes until its run is over; give how it ended.

    :param look: asks the sidecar for the issue.
    :param interval: seconds between two looks.
    """
    wanted = click.get_current_context().meta.get("cco.format")
    if is_terminal() and wanted in {None, "table"}:
        return _live(look, interval)
    return _lines(look, interval, as_json=wanted == "json")


def _states(look: Callable[[], Any], interval: float) -> Iterator[Any]:
    """Give the issue at each look; the last is that of a run that is over."""
    while True:
        answer = look()
        yield answer
        if answer["status"] != "running":
            return
        time.sleep(interval)


def _live(look: Callable[[], Any], interval: float) -> str:
    from rich.console import Console
    from rich.live import Live

    is_plain = bool(click.get_current_context().meta.get("cco.no_color"))
    console = Console(color_system=None if is_plain else "auto", highlight=False)
    status = ""
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        for answer in _states(look, interval):
            status = answer["status"]
            live.update(_table(answer), refresh=True)
    return status


def _table(answer: Any) -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("PHASE", "STATE", "ROUND", "AGENT TYPE", "TRY", "AGENT", "ID"):
        table.add_column(column, overflow="fold")
    for cells in _rows(answer):
        table.add_row(*(Text(one_line(cell), style=_STYLES.get(cell, "")) for cell in cells))
    title = Text(one_line(f"{answer['issue_id']}  {answer['workflow'] or ''}  "))
    title.append(answer["status"], style=_STYLES.get(answer["status"], ""))
    troubles = [Text(one_line(f"! {text}"), style="red") for text in _troubles(answer)]
    waits = [Text(one_line(f"… {text}"), style="yellow") for text in _waits(answer)]
    return Group(title, table, *waits, *troubles)


def _rows(answer: Any) -> Iterator[tuple[str, ...]]:
    for phase in answer["phases"]:
        name, state = phase["phase"], phase["state"]
        for agent in phase["agents"]:
            place = (str(agent["round"]), agent["agent_type"], str(agent["attempt"]))
            yield name, state, *place, _agent_state(agent), agent["agent_id"]
            name = state = ""
        if not phase["agents"]:
            yield name, state, "", "", "", "", ""


def _agent_state(agent: Any) -> str:
    """Give the process's state while the agent is at work, then the judgement on it."""
    return str((agent["status"] or "queued") if agent["state"] == "running" else agent["state"])


def _waits(answer: Any) -> Iterator[str]:
    for phase in answer["phases"]:
        for agent in phase["agents"]:
            if agent["queued_because"]:
                yield f"{phase['phase']}: {agent['agent_type']} waits: {agent['queued_because']}"


def _troubles(answer: Any) -> list[str]:
    return [f"{it['phase'] or 'workflow'}: {it['message']}" for it in answer["escalations"] if it["open"]]


def _lines(look: Callable[[], Any], interval: float, *, as_json: bool) -> str:
    """Print what is new at each look: as JSON the whole issue, else a line for each thing that changed."""
    said: set[str] = set()
    before, status = None, ""
    for answer in _states(look, interval):
        status = answer["status"]
        if as_json:
            if answer != before:
                write(to_json(answer, indent=None) + "\n")
            before = answer
            continue
        for line in _facts(answer):
            if line not in said:
                said.add(line)
                write(one_line(line) + "\n")
    return status


def _facts(answer: Any) -> Iterator[str]:
    for phase in answer["phases"]:
        for agent in phase["agents"]:
            who = f"{phase['phase']} round {agent['round']}: {agent['agent_type']} {agent['agent_id']}"
            error = f" ({agent['error']})" if agent["error"] else ""
            yield f"{who} try {agent['attempt']} {_agent_state(agent)}{error}"
    for text in _troubles(answer):
        yield f"escalated: {text}"
    if answer["status"] != "running":
        yield f"{answer['issue_id']} {answer['status']}"
