"""An event: an immutable fact, numbered, with the bytes it is delivered as."""

import re
from typing import Any, Literal

import msgspec

from cco_sidecar.core.events.fields import EventFields

Priority = Literal["low", "normal", "high"]

Extensions = dict[str, str | int | bool]
"""Attributes that a CloudEvent brought with it and that have no place of their own in an event."""

SIDECAR = "sidecar"
"""The publisher of what the sidecar itself has to say; no token has this subject."""


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """An event as contract section 5 shows it; ``timestamp`` is RFC 3339, ``data`` any JSON.

    ``replayed_from`` is there in replayed events alone: the id of the event that this one repeats; ``extensions`` in
    those that came as CloudEvents with attributes of their own.
    """

    event_id: str
    sequence: int
    event_type: str
    topic: str
    publisher: str
    agent_type: str | None
    project_id: str
    issue_id: str | None
    data: msgspec.Raw
    correlation_id: str | None
    references: list[str]
    priority: Priority
    ttl_seconds: int
    timestamp: str
    extensions: Extensions | msgspec.UnsetType = msgspec.UNSET
    replayed_from: str | msgspec.UnsetType = msgspec.UNSET


class _OnlyData(msgspec.Struct):
    data: Any


class _OnlyText(msgspec.Struct):
    data: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_data_of = msgspec.json.Decoder(_OnlyData).decode
_text_of = msgspec.json.Decoder(_OnlyText).decode


class Event(msgspec.Struct, frozen=True, eq=False):
    """A published event: its envelope, when it was and when it ends, and its JSON text, made once for all readers.

    ``body.data`` is empty: the data lies in ``encoded`` alone, not twice in memory.
    """

    body: EventBody
    at: float
    expires_at: float
    encoded: bytes

    @classmethod
    def of(cls, body: EventBody, at: float, encoded: bytes | None = None) -> "Event":
        """Make an event of its body, which is the event's from now on; ``at`` is in seconds since the epoch."""
        text = _encode(body) if encoded is None else encoded
        msgspec.structs.force_setattr(body, "data", _NOTHING)
        return cls(body, at, at + body.ttl_seconds, text)

    @property
    def sequence(self) -> int:
        """The event's number in its project."""
        return self.body.sequence

    def fields(self) -> EventFields:
        """Give the event as filters look at it; the data is decoded for it, so make it once for many filters."""
        body = self.body
        envelope = {name: getattr(body, name) for name in _ENVELOPE}
        for name in _RARE:
            if envelope[name] is msgspec.UNSET:
                del envelope[name]  # a missing field matches nothing
        return EventFields(envelope, _data_of(self.encoded).data)

    @property
    def data(self) -> msgspec.Raw:
        """The JSON text of the event's data."""
        return _text_of(self.encoded).data

    @property
    def is_replay(self) -> bool:
        """Whether it repeats an earlier event: nothing may follow from it a second time."""
        return self.body.replayed_from is not msgspec.UNSET

    def as_replay(self) -> "Event":
        """Give the same event, marked as one that is given again."""
        name = self.body.event_id
        body = msgspec.structs.replace(self.body, replayed_from=name)
        text = b'%b,"replayed_from":"%b"}' % (self.encoded[:-1], name.encode())
        return Event(body, self.at, self.expires_at, text)


_NOTHING = msgspec.Raw()

_ENVELOPE = tuple(name for name in EventBody.__struct_fields__ if name != "data")
_RARE = ("extensions", "replayed_from")

_CURSOR = re.compile(r"(?:c|evt)-([0-9a-f]{8})-([0-9]{1,18})")
_DOWN_CURSOR = re.compile(r"d-([0-9a-f]{8})-([0-9]{1,18})-([0-9]{1,18})")


def event_id(log_id: str, sequence: int) -> str:
    """Name an event after its log and number, so that it can be found, and serve as a cursor, for ever."""
    return f"evt-{log_id}-{sequence}"


def cursor(log_id: str, sequence: int) -> str:
    """Name the place after event ``sequence``."""
    return f"c-{log_id}-{sequence}"


def down_cursor(log_id: str, before: int, after: int) -> str:
    """Name a place in a listing, newest first: on it goes below ``before``, and ends at ``after``."""
    return f"d-{log_id}-{before}-{after}"


def parse_cursor(text: str) -> tuple[str, int] | None:
    """Read a cursor or an event id as (log id, sequence); None if it is neither."""
    found = _CURSOR.fullmatch(text)
    return (found[1], int(found[2])) if found else None


def parse_down_cursor(text: str) -> tuple[str, int, int] | None:
    """Read a cursor of a listing as (log id, before, after); None if it is none."""
    found = _DOWN_CURSOR.fullmatch(text)
    return (found[1], int(found[2]), int(found[3])) if found else None
