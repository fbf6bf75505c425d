"""The listening socket: bound before anything else happens, so that a taken port is said at once and by name.

It listens only when all is ready: whose connection is taken would wait in the kernel, with a token that may end there.
"""

import errno
import ipaddress
import socket

import psutil


class PortError(Exception):
    """The port cannot be had; one line that says why, who has it where that is known, and what to do."""


BACKLOG = 4096


def bind(host: str, port: int) -> socket.socket:
    """Take the address; nobody can connect before `listen`. Blocks for the look-up of a host name.

    :raises PortError: the address is taken, or not ours to take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PortError(f"--host {host} is no address of this machine: {error.strerror or error}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise PortError(_reason(host, port, error)) from error
    listener.setblocking(False)
    return listener


def listen(listener: socket.socket, host: str) -> None:
    """Let connections in; what they ask waits in the kernel until somebody accepts them.

    :raises PortError: another process took the address at the same time, and listens already.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise PortError(_reason(host, listener.getsockname()[1], error)) from error


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = _holder(port)
        who = f"{holder} has it" if holder else "another process has it"
        return f"--port {port} is taken: {who}. Stop that one ('cco daemon stop') or use another (0 is any free one)"
    if error.errno == errno.EACCES:
        return f"--port {port} needs more rights than this user has: use one above 1023"
    return f"--host {host} --port {port} cannot be bound: {error.strerror}"


def _holder(port: int) -> str | None:
    try:
        listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        pid = next((c.pid for c in listening if c.pid and getattr(c.laddr, "port", None) == port), None)
        return None if pid is None else f"process {pid} ({psutil.Process(pid).name()})"
    except (psutil.Error, OSError):
        return None


def served_names(host: str, allowed: tuple[str, ...]) -> frozenset[str]:
    """Give the names that a Host header may have, lower case (contract section 3)."""
    names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower(), *(name.strip("[]").lower() for name in allowed)}
    if not is_loopback(host):
        names.add(socket.gethostname().lower())
        for addresses in psutil.net_if_addrs().values():
            names |= {a.address.partition("%")[0].lower() for a in addresses if a.family in _ADDRESS_FAMILIES}
    return frozenset(names)


_ADDRESS_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def is_loopback(host: str) -> bool:
    """Say whether a bind to ``host`` is reachable from this machine alone."""
    name = host.strip("[]").lower()
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
