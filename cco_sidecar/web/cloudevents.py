"""Events as CloudEvents 1.0 in the JSON format, both ways (docs/events.md says what becomes of each attribute)."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from attrs import frozen
from msgspec import Meta

from cco_sidecar.core.events.event import Event, Extensions, Priority
from cco_sidecar.core.identifiers import is_identifier, nearest
from cco_sidecar.core.times import seconds_of
from cco_sidecar.errors import InvalidEvent, InvalidParameter

ONE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ONE_UTF8 = f"{ONE}; charset=utf-8".encode()
BATCH_UTF8 = f"{BATCH}; charset=utf-8".encode()

MOST_EXTENSIONS = 32
MOST_EXTENSION_LENGTH = 1024
MOST_NAME_LENGTH = 64

JSON_TYPE = "application/json"

Word = Annotated[str, Meta(min_length=1, max_length=256)]
Link = Annotated[str, Meta(min_length=1, max_length=1024)]
Own = Annotated[str, Meta(description="Only in answers.")]


class CloudEvent(msgspec.Struct):
    """A CloudEvent in JSON; ``null`` is the same as nothing. Other members are extension attributes, and are kept."""

    specversion: Literal["1.0"]
    id: Word
    source: Link
    type: Word
    subject: Word | None = None
    time: Word | None = None
    datacontenttype: Word | None = None
    dataschema: Link | None = None
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    correlationid: Word | None = None
    ttlseconds: Annotated[int, Meta(ge=1, le=86400)] | None = None
    priority: Priority | None = None
    references: Annotated[str, Meta(max_length=200_000, description="A list of texts, as JSON.")] | None = None
    sequence: Own | None = None
    agenttype: Own | None = None
    issueid: Own | None = None
    replayedfrom: Own | None = None


@frozen
class Received:
    """A CloudEvent as the sidecar takes it; ``key`` names it, the same however often it is sent."""

    topic: str
    data: msgspec.Raw
    correlation_id: str | None
    ttl_seconds: int
    priority: Priority
    references: list[str]
    extensions: Extensions
    key: str


_OURS = ("sequence", "agenttype", "issueid", "replayedfrom")
_ATTRIBUTES = frozenset(CloudEvent.__struct_fields__)

_NAME = re.compile(r"[a-z0-9]+")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+[ \t]*(;.*)?", re.ASCII)
_JSON_TYPE = re.compile(r"[^/;]+/([^/;]+\+)?json[ \t]*(;.*)?", re.IGNORECASE)
_REFERENCE = re.compile(r"([\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")
_NO_TEXT = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr((plane << 16) + 0xFFFE + n) for plane in range(17) for n in (0, 1))
    + "]"
)  # control characters, and code points that are no characters

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_references = msgspec.json.Decoder(Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=64)]).decode


# Received


def received(event: CloudEvent, text: bytes, event_type: str) -> Received:
    """Take a CloudEvent that was decoded from ``text``.

    :param event_type: what the path says; the event must say the same.
    :raises InvalidEvent: it is no CloudEvent, or none that can be an event here (``details["path"]``).
    """
    if event.type != event_type:
        raise InvalidEvent(f"The CloudEvent's type is not the path's '{event_type}'.", path="$.type")
    for name in _OURS:
        if getattr(event, name) is not None:
            raise InvalidEvent(f"'{name}' is the sidecar's own to say: leave it out.", path=f"$.{name}")
    for name in ("id", "source", "subject", "datacontenttype", "dataschema", "correlationid", "references"):
        _check_text(getattr(event, name), name)
    _check_links(event)
    _check_time(event.time)
    return Received(
        topic=_topic(event.subject),
        data=event.data,
        correlation_id=event.correlationid,
        ttl_seconds=86400 if event.ttlseconds is None else event.ttlseconds,
        priority=event.priority or "normal",
        references=_listed(event.references),
        extensions={**_content(event), **_extensions(text)},
        key=f"cloudevent {hashlib.sha256(f'{event.source} {event.id}'.encode()).hexdigest()}",
    )


def _check_text(value: str | None, name: str) -> None:
    if value is not None and _NO_TEXT.search(value):
        raise InvalidEvent(f"'{name}' has a control character in it, which no attribute may have.", path=f"$.{name}")


def _check_links(event: CloudEvent) -> None:
    if not _REFERENCE.fullmatch(event.source):
        raise InvalidEvent("source must be a URI reference, such as /my/program.", path="$.source")
    schema = event.dataschema
    if schema is not None and not (_REFERENCE.fullmatch(schema) and _ABSOLUTE.fullmatch(schema)):
        raise InvalidEvent("dataschema must be an absolute URI.", path="$.dataschema")


def _check_time(time: str | None) -> None:
    try:
        if time is not None:
            seconds_of(time, "time")
    except InvalidParameter as wrong:
        raise InvalidEvent(wrong.message, path="$.time") from None


def _topic(subject: str | None) -> str:
    if subject is None or not is_identifier(subject):
        raise InvalidEvent(
            "subject is the event's topic here, and so needed: 1 to 128 letters, digits, '.', '_' or '-', "
            "the first of them a letter or digit.",
            path="$.subject",
        )
    return subject


def _listed(references: str | None) -> list[str]:
    try:
        return [] if references is None else _references(references)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidEvent(
            'references must be a JSON list of at most 64 texts, as text: "[\\"evt-…\\"]".', path="$.references"
        ) from None


def _content(event: CloudEvent) -> Extensions:
    """Give what says how the data is meant, unless it is plain JSON."""
    found: Extensions = {}
    kind = event.datacontenttype
    if kind is not None and not _MEDIA_TYPE.fullmatch(kind):
        raise InvalidEvent("datacontenttype must be a media type, such as application/json.", path="$.datacontenttype")
    if kind is not None and not _JSON_TYPE.fullmatch(kind) and not bytes(event.data).startswith((b'"', b"null")):
        raise InvalidEvent(f"data that is '{kind}', and so no JSON, must be a text.", path="$.data")
    if kind is not None and kind.lower() != JSON_TYPE:
        found["datacontenttype"] = kind
    if event.dataschema is not None:
        found["dataschema"] = event.dataschema
    return found


def _extensions(text: bytes) -> Extensions:
    try:
        members = _members(text)
    except (msgspec.DecodeError, UnicodeDecodeError):  # the decoder looks at no name that it does not know
        raise InvalidEvent("The name of a member is no UTF-8.", path="$") from None
    names = members.keys() - _ATTRIBUTES
    if len(names) > MOST_EXTENSIONS:
        raise InvalidEvent(f"At most {MOST_EXTENSIONS} extension attributes are kept.", path="$")
    read = {name: _attribute(name, bytes(raw)) for name, raw in members.items() if name in names}
    return {name: value for name, value in read.items() if value is not None}


def _attribute(name: str, raw: bytes) -> str | int | bool | None:
    """Read an extension attribute: a text, a whole number of 32 bits, true, false, or (None) nothing."""
    path = f"$.{name[:MOST_NAME_LENGTH]}"
    if name == "data_base64" and raw != b"null":
        raise InvalidEvent("Events carry JSON: put the data into 'data', encoded if need be.", path=path)
    if name != "data_base64" and (not _NAME.fullmatch(name) or len(name) > MOST_NAME_LENGTH):
        meant = nearest(name[:MOST_NAME_LENGTH].lower(), _ATTRIBUTES)
        raise InvalidEvent(
            f"Attributes have names of at most {MOST_NAME_LENGTH} lower-case letters and digits"
            + (f": did you mean '{meant}'?" if meant else "."),
            path=path,
        )
    if raw == b"null":
        return None
    value = _scalar(raw)
    if isinstance(value, str) and len(value) <= MOST_EXTENSION_LENGTH:
        _check_text(value, name)
        return value
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return value
    raise InvalidEvent(
        "An attribute is true, false, a whole number of 32 bits, or a text of at most "
        f"{MOST_EXTENSION_LENGTH} characters.",
        path=path,
    )


def _scalar(raw: bytes) -> object:
    """Read a JSON value that is neither array nor object; None if it is one, or cannot be read."""
    try:
        return None if raw[:1] in {b"[", b"{"} else msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


# Given


def cloudevent(event: Event) -> bytes:
    """Write an event as a CloudEvent in JSON."""
    body = event.body
    extensions = {} if body.extensions is msgspec.UNSET else body.extensions
    members: Mapping[str, object] = {
        "specversion": "1.0",
        "id": body.event_id,
        "source": f"/projects/{body.project_id}/agents/{body.publisher}",
        "type": body.event_type,
        "subject": body.topic,
        "time": body.timestamp,
        "datacontenttype": JSON_TYPE,
        "sequence": f"{body.sequence:020}",  # a text whose order is the order
        "agenttype": body.agent_type,
        "issueid": body.issue_id,
        "correlationid": _NO_TEXT.sub("\ufffd", body.correlation_id or ""),
        "references": json.dumps(body.references) if body.references else None,
        "priority": body.priority,
        "ttlseconds": body.ttl_seconds,
        "replayedfrom": None if body.replayed_from is msgspec.UNSET else body.replayed_from,
        **extensions,
    }
    given = {name: value for name, value in members.items() if value is not None and value != ""}
    return _encode({**given, "data": event.data})


def batch(events: Iterable[Event]) -> bytes:
    """Write events as a batch of CloudEvents."""
    return b"[" + b",".join(map(cloudevent, events)) + b"]"
