"""``cco hook``: a hook of a person's own `claude`; as `cco init` writes it, click is not needed to read it."""

import os
import sys
from typing import NoReturn

import click

from cco_sidecar.cli.command import Command
from cco_sidecar.cli.hook_call import EVENTS, POLICIES, Call, run
from cco_sidecar.core.identifiers import nearest


class _Event(click.Choice[str]):
    """One of the events; the nearest one is named when it is none."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take the name, or refuse with the one that was probably meant; Claude Code's own names are understood."""
        return value if value in EVENTS else self._refuse(value, param, ctx)

    def _refuse(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        meant = next((name for name, named in EVENTS.items() if named == value), None) or nearest(value, EVENTS)
        hint = f" Did you mean {meant!r}?" if meant else f" There are {', '.join(EVENTS)}."
        self.fail(f"There is no event {value!r}.{hint}", param, ctx)


@click.command(cls=Command)
@click.argument("event", metavar="EVENT", type=_Event(list(EVENTS)))
@click.option(
    "--on-failure",
    type=click.Choice(POLICIES),
    default="allow",
    help="What becomes of an edit when the sidecar can't be asked: allow (default) or deny it.",
)
@click.pass_context
def hook(ctx: click.Context, event: str, on_failure: str) -> None:
    """Carry a hook of Claude Code to the sidecar, and its answer back.

    Claude Code runs it, with JSON on stdin, where `cco init` wrote it into a repository. EVENT is one of
    session-start, user-prompt-submit, pre-tool-use, post-tool-use, pre-compact, stop, session-end.

    Without a sidecar nothing is held up: that is said once, with exit code 1, and then passed over with 0. With
    --on-failure deny, pre-tool-use denies the edit.

    \b
    cco hook stop < hook.json
    """
    if sys.stdin.isatty():
        raise click.UsageError("Claude Code runs this, with JSON on stdin. Write its hooks with: cco init")
    call = Call(event, ctx.meta.get("cco.sidecar_url"), ctx.meta.get("cco.token"), on_failure)
    ctx.exit(run(call, os.environ, sys.stdin.buffer, sys.stdout, sys.stderr))
