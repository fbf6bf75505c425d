"""What all commands have in common: the global options, sub-commands imported when used, and how a run ends."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import click

FORMATS = ("table", "json", "yaml", "csv", "text")


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Keep a global option where every sub-command finds it; the one given last, nearest the command, counts."""
    if value is not None:
        ctx.meta[f"cco.{param.name}"] = value


def _global_options(formats: Sequence[str] = FORMATS) -> list[click.Option]:
    def option(name: str, help_text: str, **more: Any) -> click.Option:
        return click.Option([name], expose_value=False, callback=_remember, help=help_text, **more)

    kinds = click.Choice(formats)
    return [
        option("--format", "How to print data; table on a terminal, json otherwise.", type=kinds, metavar="FORMAT"),
        option("--no-color", "Print without colours (also: NO_COLOR).", is_flag=True, default=None),
        option("--sidecar-url", "Where the sidecar is (also: CCO_SIDECAR_URL).", metavar="URL"),
        option("--token", "Token to show to the sidecar (also: CCO_TOKEN).", metavar="JWT"),
    ]


class Command(click.Command):
    """A command that takes the global options, too; ``formats`` are those of ``--format``."""

    def __init__(
        self,
        name: str | None,
        params: Sequence[click.Parameter] | None = None,
        formats: Sequence[str] = FORMATS,
        **more: Any,
    ) -> None:
        super().__init__(name, params=[*(params or ()), *_global_options(formats)], **more)


class Group(click.Group):
    """A group of commands that takes the global options, too."""

    command_class = Command

    def __init__(self, name: str | None = None, params: Sequence[click.Parameter] | None = None, **more: Any) -> None:
        super().__init__(name, params=[*(params or ()), *_global_options()], **more)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or refuse with the one that was probably meant."""
        name = args[0]
        is_known = name.startswith("-") or self.get_command(ctx, name) is not None
        if not is_known and not ctx.resilient_parsing:
            from cco_sidecar.core.identifiers import nearest

            near = nearest(name, self.list_commands(ctx))
            hint = f" Did you mean {near!r}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """The group of all commands; ``lazy`` gives for each its module, its name in there, and its line of help."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str, str]], **more: Any) -> None:
        super().__init__(*args, **more)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which they are worth knowing."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self._lazy:
            return None
        module, attribute, _ = self._lazy[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"cco_sidecar.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self._lazy.items()])

    def main(self, *args: Any, **more: Any) -> NoReturn:
        """Run, and end the process: 130 after Ctrl-C; click itself ends silently when the reader of a pipe has gone."""
        more["standalone_mode"] = False
        sys.exit(_exit_code(lambda: super(LazyGroup, self).main(*args, **more)))


def _exit_code(run: Callable[[], object]) -> int:
    try:
        code = run()
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0
