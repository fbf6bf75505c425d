"""Sending at once: a whole answer goes to the socket without a turn of the reactor, when nothing is queued before it.

`transport.write` asks epoll for permission first: four system calls and a turn of the reactor for an answer that the
socket would nearly always have taken at once (research/events.md section 4, level L6).
"""

from typing import Any

from twisted.internet.tcp import Connection


def can_send_at_once(transport: Any) -> bool:
    """Say whether a transport is a plain TCP connection of the reactor."""
    return isinstance(transport, Connection) and not transport.TLS


def has_unsent(transport: Connection) -> bool:
    """Say whether something that was written before is still waiting for the peer."""
    return bool(transport.dataBuffer or transport._tempDataBuffer)


def send_at_once(transport: Connection, data: bytes) -> None:
    """Write ``data``: what the socket takes now, and the rest in the reactor's time."""
    if transport.dataBuffer or transport._tempDataBuffer or not transport.connected:
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except OSError:
        sent = 0  # no room, or the peer is gone: the reactor will see which
    if sent < len(data):
        transport.write(data[sent:] if sent else data)
