"""The listening socket: a taken port is said by name, and which names a Host header may have."""

import os
import socket
from contextlib import closing

import psutil
import pytest

from cco_sidecar.backends.listening import PortError, bind, is_loopback, listen, served_names


def test_any_free_port() -> None:
    """Port 0 is any free one; the socket never blocks, and lets nobody in before it is told to."""
    with closing(bind("127.0.0.1", 0)) as listener:
        assert listener.getsockname()[1] > 0
        assert listener.getblocking() is False
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname())
        listen(listener, "127.0.0.1")
        with closing(socket.create_connection(listener.getsockname())):
            pass


def test_taken() -> None:
    """A taken port names the process that has it, and what to do."""
    with closing(bind("127.0.0.1", 0)) as listener:
        listen(listener, "127.0.0.1")
        port = listener.getsockname()[1]
        with pytest.raises(PortError) as refused:
            bind("127.0.0.1", port)
    line = str(refused.value)
    assert line.startswith(f"--port {port} is taken: process {os.getpid()} (")
    assert "\n" not in line


def test_taken_by_nobody_we_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the holder can't be known the line says so much."""

    def hidden(kind: str) -> None:
        raise PermissionError("not ours to see")

    monkeypatch.setattr(psutil, "net_connections", hidden)
    with closing(bind("127.0.0.1", 0)) as listener:
        listen(listener, "127.0.0.1")
        with pytest.raises(PortError, match="another process has it"):
            bind("127.0.0.1", listener.getsockname()[1])


def test_taken_at_the_same_time() -> None:
    """Of two that took a port while nobody listened, the later one is told so when it would listen."""
    with closing(bind("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with closing(bind("127.0.0.1", port)) as second:
            listen(first, "127.0.0.1")
            with pytest.raises(PortError, match=f"--port {port} is taken: process {os.getpid()} "):
                listen(second, "127.0.0.1")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_foreign_address(host: str) -> None:
    """An address that is not this machine's is refused by the option's name."""
    with pytest.raises(PortError, match=f"--host {host}"):
        bind(host, 0)


def test_names_on_loopback() -> None:
    """On loopback: its names, and what was allowed, in lower case and without brackets."""
    assert served_names("127.0.0.1", ()) == {"localhost", "127.0.0.1", "::1"}
    assert served_names("LOCALHOST", ("Sidecar.Example", "[::2]")) == {
        "localhost",
        "127.0.0.1",
        "::1",
        "sidecar.example",
        "::2",
    }


def test_names_beyond_loopback() -> None:
    """Reachable from other machines it is served under this machine's name and addresses, too."""
    names = served_names("0.0.0.0", ())
    assert {"localhost", "127.0.0.1", "0.0.0.0", socket.gethostname().lower()} <= names
    assert all("%" not in name for name in names)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Loopback is what only this machine reaches."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["::", "192.168.0.1", "127.example.com", "1270.0.0.1"])
def test_not_loopback(host: str) -> None:
    """A name that merely looks like it is not."""
    assert not is_loopback(host)
