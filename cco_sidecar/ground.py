"""What must be ours before anything is built: storage, port, keys, roster; and the one line that says why it is not."""

import socket
from importlib import resources

from attrs import frozen

from cco_sidecar.backends.keys import load_hook_keys, load_keys
from cco_sidecar.backends.listening import PortError, bind
from cco_sidecar.backends.storage import StorageError, claim_storage, make_below
from cco_sidecar.core.hook_keys import HookKeys
from cco_sidecar.core.keyring import KeyRing
from cco_sidecar.core.limits import RateLimit
from cco_sidecar.core.roster import Roster, RosterError, parse_roster
from cco_sidecar.settings import Settings


class StartError(Exception):
    """The sidecar cannot start; one line that says why and what to do."""


@frozen
class Ground:
    """What must be ours before anything is built: storage, port, keys, roster. Claiming it blocks, and may fail."""

    settings: Settings
    storage_lock: int
    listener: socket.socket
    keys: KeyRing
    hook_keys: HookKeys
    roster: Roster
    port: int
    """The port that is listened on; the one given, unless that was 0."""

    @property
    def url(self) -> str:
        """Where the sidecar is reached from this machine."""
        host = self.settings.host
        if host in {"0.0.0.0", "::", "[::]", ""}:
            host = "127.0.0.1"
        elif ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}"


def claim(settings: Settings) -> Ground:
    """Take storage and port, read keys and roster.

    :raises StartError: one of them cannot be had.
    """
    try:
        roster = _read_roster(settings)
        lock = claim_storage(settings.storage)
        for names in (("results",), ("events",), ("context-cache",), ("logs", "agents")):
            make_below(settings.storage, *names)
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = load_keys(settings.home / "keys")
        hook_keys = load_hook_keys(settings.home / "hook-secret")
        listener = bind(settings.host, settings.port)
    except (StorageError, PortError, RosterError, ValueError) as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"{error.filename or settings.home}: {error.strerror}") from error
    return Ground(settings, lock, listener, keys, hook_keys, roster, listener.getsockname()[1])


def _read_roster(settings: Settings) -> Roster:
    if settings.roster is None:
        source, text = "packaged roster", resources.files("cco_sidecar.data").joinpath("roster.json").read_bytes()
    else:
        source, text = str(settings.roster), settings.roster.read_bytes()
    limits = {
        name: RateLimit(bucket.per_minute, bucket.burst) for name, bucket in settings.rate_limits.categories.items()
    }
    return parse_roster(text, source=source, limits=limits, limited=settings.rate_limits.enabled)
