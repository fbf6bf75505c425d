"""Where the sidecar is and which token to show it: flags, the environment, run files, in this order."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cco_sidecar import runfile
from cco_sidecar.client.server import Server, parse_server

DEFAULT_PORT = 3001


class Place(NamedTuple):
    """A sidecar, and its run file's entry where it has one."""

    server: Server
    entry: runfile.RunFile | None


def home(environ: Mapping[str, str]) -> Path:
    """Give the directory of keys, tokens and run files."""
    text = environ.get("CCO_HOME")
    return Path(text).expanduser().absolute() if text else Path.home() / ".cco"


def wanted_port(environ: Mapping[str, str]) -> tuple[int, bool]:
    """Give the port that is set, and whether the environment says so: then no other will do."""
    text = environ.get("CCO_SIDECAR_PORT", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 5:
        return int(text), True
    try:
        port = json.loads(_config(environ).read_bytes())["sidecar"]["port"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return DEFAULT_PORT, False  # a wrong file is the service's to refuse
    return (port, False) if type(port) is int else (DEFAULT_PORT, False)


def project_of(directory: Path, environ: Mapping[str, str]) -> str | None:
    """Name the project of the config file that a directory is in, the innermost; None for the sidecar's default."""
    try:
        projects: Mapping[str, Any] = json.loads(_config(environ).read_bytes())["projects"]
        roots = {name: Path(root).expanduser().resolve() for name, root in projects.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # a wrong file is the service's to refuse
    here = directory.resolve()
    around = [name for name, root in roots.items() if here.is_relative_to(root)]
    return max(around, key=lambda name: len(roots[name].parts), default=None)


def only_running(environ: Mapping[str, str], port: int | None = None) -> runfile.RunFile | None:
    """Give the sidecar on ``port``, or on the port that is set, or the only one that runs."""
    wanted, is_explicit = (port, True) if port is not None else wanted_port(environ)
    found = runfile.running_on(home(environ), wanted)
    if found is not None or is_explicit:
        return found
    running = runfile.running(home(environ))
    return running[0] if len(running) == 1 else None


def named(flag: str | None, environ: Mapping[str, str]) -> Place | None:
    """Give the sidecar whose URL was given, by ``flag`` or in the environment; None if none was.

    :raises click.UsageError: it is no URL.
    """
    url = flag or environ.get("CCO_SIDECAR_URL") or environ.get("SIDECAR_URL")
    if not url:
        return None
    try:
        server = parse_server(url)
    except ValueError:
        import click

        raise click.UsageError(f"The sidecar's URL must be like http://127.0.0.1:3001, not {url!r}.") from None
    return Place(server, next((entry for entry in runfile.running(home(environ)) if _is_at(entry, server)), None))


def _is_at(entry: runfile.RunFile, server: Server) -> bool:
    """This machine has several names, and a port of it one owner."""
    if entry.url == server.url:
        return True
    ours = parse_server(entry.url)
    return ours.port == server.port and is_loopback(ours.host) and is_loopback(server.host)


def find(flag: str | None, environ: Mapping[str, str]) -> Place:
    """Find the sidecar.

    :raises click.UsageError: the URL that was given is none.
    """
    given = named(flag, environ)
    if given is not None:
        return given
    entry = only_running(environ)
    if entry is not None:
        return Place(parse_server(entry.url), entry)
    return Place(Server("http", "127.0.0.1", wanted_port(environ)[0] or DEFAULT_PORT, ""), None)


def find_token(
    flag: str | None, environ: Mapping[str, str], entry: runfile.RunFile | None, host: str | None = None
) -> str | None:
    """Find the token: one that was given, a spawned agent's own, or the admin's; None where there is none.

    ``host`` is where it will be shown, if it will be.
    """
    if own := own_token(flag, environ):
        return own
    if entry is not None and (found := _content(Path(entry.admin_token_file))):
        return found
    # The admin's token opens this machine's sidecar: it goes to no other one unless somebody says so.
    return _content(home(environ) / "admin-token") if host is None or is_loopback(host) else None


def own_token(flag: str | None, environ: Mapping[str, str]) -> str | None:
    """Find the token that was given, or a spawned agent's own; None where there is none."""
    if given := flag or environ.get("CCO_TOKEN"):
        return given.strip()
    if environ.get("JWT_TOKEN_FILE") and (found := _content(Path(environ["JWT_TOKEN_FILE"]))):
        return found
    return environ.get("JWT_TOKEN", "").strip() or None


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _config(environ: Mapping[str, str]) -> Path:
    return Path(environ["CCO_CONFIG"]).expanduser() if environ.get("CCO_CONFIG") else home(environ) / "config.json"


def _content(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None
