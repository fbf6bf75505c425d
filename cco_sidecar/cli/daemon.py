"""``cco daemon`` and ``cco orchestration-server``: the service, in the background and in the foreground."""

import gc
import os
import time
from pathlib import Path
from typing import Any

import click

from cco_sidecar import __version__, runfile
from cco_sidecar.cli import background, place
from cco_sidecar.cli.command import Command, Group
from cco_sidecar.cli.output import emit, note
from cco_sidecar.cli.service_options import as_arguments, load_settings, service_options

_port_option = click.option("--port", metavar="PORT", help="Which sidecar, if --sidecar-url does not say.")


@click.group(cls=Group)
def daemon() -> None:
    """Start, stop, restart the sidecar in the background.

    \b
    cco daemon start
    cco daemon start --port 4000 --storage ~/cco-data --project-root ~/src/shop
    """


@daemon.command()
@service_options
def start(**flags: Any) -> None:
    """Start the sidecar in the background.

    Waits until it is ready. A sidecar that runs on the port already is left as it is.
    """
    _start(flags)


def _start(flags: dict[str, Any]) -> None:
    settings = load_settings(flags)  # what is wrong is said here, not only in a log
    already = runfile.running_on(settings.home, settings.port) if settings.port else None
    if already is not None and background.answers(already.url):
        note(f"The sidecar runs already (pid {already.pid}).")
        _show(already, background.log_path(settings.home, settings.port))
        return
    started = background.start(settings.home, settings.port, as_arguments(flags), os.environ, Path.cwd())
    note("The sidecar runs.")
    _show(started.entry, started.log)
    note(f"Log:  {started.log}\nNext: cco agent spawn --type python-specialist --issue issue-123")


def _show(entry: runfile.RunFile, log: Path) -> None:
    data = {"url": entry.url, "pid": entry.pid, "storage": entry.storage, "log": str(log)}
    emit(data, text=entry.url)


def _chosen(ctx: click.Context, port: str | None) -> runfile.RunFile | None:
    return background.chosen(port or ctx.meta.get("cco.port"), ctx.meta.get("cco.sidecar_url"))


@click.command(cls=Command)
@_port_option
@click.pass_context
def stop(ctx: click.Context, port: str | None) -> None:
    """Stop the sidecar.

    Agents go on, unless agents.on_shutdown in the config file says stop.
    """
    entry = _chosen(ctx, port)
    if entry is None:
        note("No sidecar runs.")
        return
    background.stop(entry)
    note(f"Stopped the sidecar at {entry.url} (pid {entry.pid}).")


@click.command(cls=Command)
@_port_option
@click.pass_context
def restart(ctx: click.Context, port: str | None) -> None:
    """Stop the sidecar and start it again.

    It then runs in the background, with the options that it had.
    """
    entry = _chosen(ctx, port)
    if entry is None:
        named = place.named(ctx.meta.get("cco.sidecar_url"), os.environ)
        port = port or ctx.meta.get("cco.port") or (None if named is None else str(named.server.port))
        _start({} if port is None else {"port": port})
        return
    launch = background.launch_of(entry)
    home = place.home(os.environ)
    port_as_given = runfile.port_as_given(home, entry)
    background.check(launch)
    background.stop(entry)
    started = background.start(home, port_as_given, launch.arguments, launch.environ, launch.directory)
    note("The sidecar runs again.")
    _show(started.entry, started.log)


@click.command(cls=Command)
@_port_option
@click.pass_context
def status(ctx: click.Context, port: str | None) -> None:
    """Show whether the sidecar runs, and where.

    Ends with 3 if it does not.
    """
    entry = _chosen(ctx, port)
    if entry is None:
        note("No sidecar runs. Start one: cco daemon start")
        ctx.exit(3)
    started = runfile.started_at(entry.pid)
    uptime = None if started is None else max(0, round(time.time() - started))
    state = "running" if background.answers(entry.url) else "not ready"
    emit({"status": state, **entry._asdict(), "uptime_seconds": uptime})


@click.group(cls=Group, invoke_without_command=True)
@click.version_option(__version__, message="cco %(version)s")
@service_options
@click.option("--daemon", "in_background", is_flag=True, help="Run in the background: cco daemon start.")
@click.pass_context
def orchestration_server(ctx: click.Context, /, in_background: bool, **flags: Any) -> None:
    """Run the sidecar in the foreground; Ctrl-C ends it.

    An option beats its environment variable (named beside it), which beats the config file, which beats the default.

    \b
    cco orchestration-server
    cco orchestration-server --port 4000 --storage /var/lib/cco-sidecar
    """
    if ctx.invoked_subcommand is not None:
        ctx.meta["cco.port"] = flags["port"]
        return
    if in_background:
        _start(flags)
        return
    settings = load_settings(flags)
    gc.disable()  # all of this stays: looking through it again and again makes a tenth of the start
    try:
        from cco_sidecar.service import run
    finally:
        gc.enable()

    ctx.exit(run(settings))


for _command in (stop, restart, status):
    daemon.add_command(_command)
    orchestration_server.add_command(_command)
