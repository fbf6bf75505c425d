"""Sending at once: a whole answer goes to the socket without a turn of the reactor, when nothing is queued before it.

`transport.write` asks epoll for permission first: four system calls and a turn of the reactor for an answer that the
socket would nearly always have taken at once (research/events.md section 4, level L6).
"""

from typing import Any

from twisted.internet.tcp import Connection


def has_unsent(transport: Any) -> bool:
    """Say whether something that was written before is still waiting for the peer."""
    return bool(getattr(transport, "dataBuffer", b"") or getattr(transport, "_tempDataBuffer", None))


def send(transport: Any, data: bytes) -> None:
    """Write ``data``, what comes of it at once, the rest in the reactor's time."""
    if not isinstance(transport, Connection) or transport.TLS or has_unsent(transport) or not transport.connected:
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except OSError:
        sent = 0  # no room, or the peer is gone: the reactor will see which
    if sent < len(data):
        transport.write(data[sent:] if sent else data)
