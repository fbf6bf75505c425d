"""What the kernel knows of an answer: whether the peer took it (contract section 5, docs/architecture.md)."""

import fcntl
import socket
import struct
import termios
from typing import Any


def peek(transport: Any) -> bytes | None:
    """Look at what the peer sent last: None for nothing yet, empty for its end.

    :raises OSError: it has reset the connection. The kernel tells this once.
    """
    peer = getattr(transport, "socket", None)
    if peer is None:
        return None
    try:
        return bytes(peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return None


def arrival(transport: Any) -> bool | None:
    """Say whether the peer's kernel took every byte and its program read them; None if that is not clear yet.

    Linux resets a connection whose program closes it with unread data, and one that gets data after its close.
    """
    peer = getattr(transport, "socket", None)
    if peer is None:
        return True
    try:
        if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return False
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    except OSError:
        return False
    return True if unacknowledged == 0 else None
