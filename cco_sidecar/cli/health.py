"""``cco health`` and ``cco status``: how the sidecar is, and what it is doing."""

import time
from typing import Any

import click

from cco_sidecar.cli.command import Command
from cco_sidecar.cli.output import chosen_format, emit, is_terminal, to_json, write
from cco_sidecar.cli.sidecar import current, route

_CLEAR_SCREEN = "\x1b[H\x1b[2J"


@click.command(cls=Command)
@click.pass_context
def health(ctx: click.Context) -> None:
    """Show whether the sidecar is well.

    Ends with 0 if it is healthy or degraded, with 1 if it is unhealthy, with 3 if none is there.
    """
    answer = current().call("GET", route("health"), accept=(503,))
    found = answer.json()
    emit(found)
    if answer.status != 200:
        ctx.exit(1)


@click.command(cls=Command)
@click.option("--watch", "-w", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--interval", metavar="SECONDS", type=click.FloatRange(0.1), default=2.0, help="How often (2).")
def status(watch: bool, interval: float) -> None:
    """Show what the sidecar is doing: agents, events, storage, speed."""
    sidecar = current()
    if not watch:
        emit(sidecar.get(route("status")))
        return
    while True:
        _show(sidecar.get(route("status")))
        time.sleep(interval)


def _show(found: Any) -> None:
    if chosen_format() == "json" and not is_terminal():
        write(to_json(found, indent=None) + "\n")  # one line each: a program reads along
        return
    if is_terminal():
        write(_CLEAR_SCREEN)
    emit(found)
