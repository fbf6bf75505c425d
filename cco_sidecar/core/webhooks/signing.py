"""Messages as Standard Webhooks has them (https://www.standardwebhooks.com, 1.0.0): body, headers, signature."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import msgspec
from attrs import frozen

from cco_sidecar.errors import InvalidBody

PREFIX = "whsec_"
FEWEST_BYTES = 24
MOST_BYTES = 64
NEW_BYTES = 32


@frozen
class Parcel:
    """A message before it is signed; ``message_id`` stays the same however often it is sent."""

    message_id: str
    body: bytes


class _Head(msgspec.Struct):
    event_id: str
    event_type: str
    timestamp: str


_head = msgspec.json.Decoder(_Head).decode
_text = msgspec.json.Encoder().encode


def parcel(event_type: str, timestamp: str, message_id: str, data: bytes) -> Parcel:
    """Make a message of JSON ``data``."""
    head = b'{"type":' + _text(event_type) + b',"timestamp":' + _text(timestamp) + b',"data":'
    return Parcel(message_id, head + data + b"}")


def parcel_of(event: bytes) -> Parcel:
    """Make the message of an event's JSON text: its id is the event's."""
    head = _head(event)
    return parcel(head.event_type, head.timestamp, head.event_id, event)


def read_secret(text: str) -> bytes:
    """Read ``whsec_<base64>``.

    :raises InvalidBody: it is none, or has fewer than 24 or more than 64 bytes.
    """
    try:
        if text.startswith(PREFIX):
            key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
            if FEWEST_BYTES <= len(key) <= MOST_BYTES:
                return key
    except (ValueError, binascii.Error):
        pass
    raise InvalidBody(
        f"A secret is '{PREFIX}' and then {FEWEST_BYTES} to {MOST_BYTES} bytes in base64; "
        "leave it out to have one made.",
        path="$.secret",
    )


def write_secret(key: bytes) -> str:
    """Write a secret as its receiver takes it."""
    return PREFIX + base64.b64encode(key).decode()


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message: HMAC-SHA256 over id, time and body, joined by dots."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def signed_headers(key: bytes, sent: Parcel, now: float) -> Mapping[str, str]:
    """Give a message's own headers; ``now``, when this attempt is made, is in seconds since the epoch."""
    timestamp = int(now)
    return {
        "webhook-id": sent.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(key, sent.message_id, timestamp, sent.body),
    }
