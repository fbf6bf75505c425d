"""``cco demo``: see it all work, in one minute."""

import click

from cco_sidecar.cli.command import Command


@click.command(cls=Command)
@click.pass_context
def demo(ctx: click.Context) -> None:
    """See it all work, in one minute.

    No model and no network; a home, a port and a storage of its own. Shows a real repository, agents, events, results,
    and the timeline of it all.
    """
    from cco_sidecar.demo.main import run

    ctx.exit(run() or 0)
