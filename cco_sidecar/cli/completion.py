"""``cco completion``: the completion script of a shell."""

import click

from cco_sidecar.cli.command import Command
from cco_sidecar.cli.output import write


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(cco completion bash)"       in ~/.bashrc
    zsh:   eval "$(cco completion zsh)"        in ~/.zshrc
    fish:  cco completion fish > ~/.config/fish/completions/cco.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # click has all three
    write(found(ctx.find_root().command, {}, "cco", "_CCO_COMPLETE").source() + "\n")
