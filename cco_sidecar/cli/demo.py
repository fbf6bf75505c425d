"""``cco demo``: see it all work, in one minute."""

import click

from cco_sidecar.cli.command import Command


@click.command(cls=Command)
@click.option("--keep", is_flag=True, help="Leave the storage and the logs where they are.")
@click.pass_context
def demo(ctx: click.Context, keep: bool) -> None:
    """See it all work, in one minute.

    No model and no network; a home, a port and a storage of its own. Shows a real repository, agents, events, results,
    and the timeline of it all.
    """
    from cco_sidecar.demo.main import run

    ctx.exit(run(keep=keep))
