"""CloudEvents 1.0 in the JSON format: what is given conforms, what is taken is checked, and nothing is lost between."""

import json
import re
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.events.event import Event, EventBody
from cco_sidecar.core.times import looks_like_time, rfc3339
from cco_sidecar.errors import InvalidEvent
from cco_sidecar.web.cloudevents import MOST_EXTENSIONS, CloudEvent, Received, batch, cloudevent, received
from cco_sidecar.web.negotiation import preferred

WHOLE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "https://example.org/builds#7",
    "type": "done",
    "subject": "tests",
    "time": "2018-04-05T17:31:00.5+02:00",
    "datacontenttype": "application/json",
    "data": {"count": 3},
}
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
ATTRIBUTES = st.one_of(
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=40),
)
KNOWN = set(CloudEvent.__struct_fields__)
EXTENSIONS = st.dictionaries(
    st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in KNOWN), ATTRIBUTES, max_size=5
)


def is_no_text(character: str) -> bool:
    """Say whether the specification keeps a character out of texts: control characters and noncharacters."""
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


def take(members: Any, event_type: str = "done") -> Received:
    """Take a CloudEvent as the route does."""
    text = members if isinstance(members, bytes) else json.dumps(members).encode()
    return received(msgspec.json.decode(text, type=CloudEvent), text, event_type)


def refused(members: Any) -> str:
    """Insist that it is refused; gives the path."""
    try:
        take(members)
    except InvalidEvent as refusal:
        assert len(refusal.message) > 10
        return str(refusal.details["path"])
    except msgspec.ValidationError as error:
        return str(error).partition(" - at `")[2].rstrip("`") or "$"
    raise AssertionError("it was taken")


def made(**more: Any) -> Event:
    """Make an event as the hub does."""
    fields: dict[str, Any] = {
        "event_id": "evt-0000000a-42", "sequence": 42, "event_type": "done", "topic": "tests", "publisher": "a-1",
        "agent_type": "rust-specialist", "project_id": "shop", "issue_id": "i-7", "data": msgspec.Raw(b'{"n":1.50}'),
        "correlation_id": "c", "references": ["evt-1"], "priority": "high", "ttl_seconds": 60,
        "timestamp": "2027-01-15T08:00:00.123Z",
    }  # fmt: skip
    return Event.of(EventBody(**{**fields, **more}), 0.0)


def conform(event: dict[str, Any]) -> None:
    """Hold a decoded event against the specification: names, types and forms of all attributes."""
    assert event["specversion"] == "1.0"
    for name in ("id", "source", "type", "subject", "time", "datacontenttype"):
        assert isinstance(event[name], str)
    assert re.fullmatch(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+", event["source"])
    assert looks_like_time(event["time"])
    for name, value in event.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        if name == "data":
            continue
        if isinstance(value, str):
            assert value
            assert not any(map(is_no_text, value))
        else:
            assert isinstance(value, bool | int)
            assert -(2**31) <= value < 2**31


# Given


def test_given() -> None:
    """Every field of an event has its attribute; the data is the same text."""
    text = cloudevent(made())
    assert json.loads(text) == {
        "specversion": "1.0",
        "id": "evt-0000000a-42",
        "source": "/projects/shop/agents/a-1",
        "type": "done",
        "subject": "tests",
        "time": "2027-01-15T08:00:00.123Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000000042",
        "agenttype": "rust-specialist",
        "issueid": "i-7",
        "correlationid": "c",
        "references": '["evt-1"]',
        "priority": "high",
        "ttlseconds": 60,
        "data": {"n": 1.5},
    }
    assert text.endswith(b'"data":{"n":1.50}}')
    conform(json.loads(text))


def test_given_without() -> None:
    """What an event does not have is left out."""
    event = made(agent_type=None, issue_id=None, correlation_id=None, references=[], data=msgspec.Raw(b"null"))
    found = json.loads(cloudevent(event))
    assert {"agenttype", "issueid", "correlationid", "references", "replayedfrom"}.isdisjoint(found)
    assert found["data"] is None
    conform(found)


def test_given_replay() -> None:
    """A replayed event says of which."""
    found = json.loads(cloudevent(made().as_replay()))
    assert (found["replayedfrom"], found["data"]) == ("evt-0000000a-42", {"n": 1.5})
    conform(found)


def test_sequence_is_in_order() -> None:
    """The sequence is a text, and texts are in the order of numbers."""
    texts = [json.loads(cloudevent(made(sequence=number)))["sequence"] for number in (2, 9, 10, 10**17)]
    assert texts == sorted(texts)


def test_batch() -> None:
    """A batch is a bare list."""
    assert batch([]) == b"[]"
    assert [event["sequence"][-1] for event in json.loads(batch([made(sequence=1), made(sequence=2)]))] == ["1", "2"]


# Taken


def test_taken() -> None:
    """The attributes that events have a place for go there, others are kept; null is nothing."""
    more = {"correlationid": "c", "ttlseconds": 60, "priority": "low", "references": '["a", "b,c"]'}
    own = {"traceparent": "00-ab-cd-01", "sampled": True, "n": -5, "nothing": None, "data_base64": None}
    schema = {"dataschema": "https://example.org/s.json", "datacontenttype": "application/vnd.x+json"}
    found = take({**WHOLE, **more, **own, **schema, "sequence": None})
    assert (found.topic, bytes(found.data), found.correlation_id) == ("tests", b'{"count": 3}', "c")
    assert (found.ttl_seconds, found.priority, found.references) == (60, "low", ["a", "b,c"])
    assert found.extensions == {**schema, "traceparent": "00-ab-cd-01", "sampled": True, "n": -5}


def test_least() -> None:
    """What is optional may be missing; no data is null."""
    least = {name: WHOLE[name] for name in ("specversion", "id", "source", "type", "subject")}
    found = take(least)
    assert (bytes(found.data), found.ttl_seconds, found.priority) == (b"null", 86400, "normal")
    assert (found.correlation_id, found.references, found.extensions) == (None, [], {})
    assert found == take({**least, **dict.fromkeys(("time", "datacontenttype", "priority", "ttlseconds"))})


def test_text_that_is_no_json() -> None:
    """Data of another media type is a text, and stays of that type."""
    found = take({**WHOLE, "datacontenttype": "text/xml; charset=utf-8", "data": "<a/>"})
    assert (bytes(found.data), found.extensions) == (b'"<a/>"', {"datacontenttype": "text/xml; charset=utf-8"})
    event = made(data=found.data, extensions=found.extensions)
    assert json.loads(cloudevent(event))["datacontenttype"] == "text/xml; charset=utf-8"


def test_key() -> None:
    """Source and id, and nothing else, name an event."""
    key = take(WHOLE).key
    assert take({**WHOLE, "data": 1, "time": None}).key == key
    assert len(key) < 100
    others = [{"id": "B"}, {"source": "/x"}]
    assert len({key, *(take({**WHOLE, **other}).key for other in others)}) == 3


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"specversion": "0.3"}, "$.specversion"),
        ({"specversion": 1.0}, "$.specversion"),
        ({"id": ""}, "$.id"),
        ({"id": None}, "$.id"),
        ({"id": "a\nb"}, "$.id"),
        ({"id": "x" * 257}, "$.id"),
        ({"id": 7}, "$.id"),
        ({"source": ""}, "$.source"),
        ({"source": "two words"}, "$.source"),
        ({"source": "/%zz"}, "$.source"),
        ({"source": "/ä"}, "$.source"),
        ({"source": "/\u007f"}, "$.source"),
        ({"type": "other"}, "$.type"),
        ({"type": ""}, "$.type"),
        ({"subject": None}, "$.subject"),
        ({"subject": ""}, "$.subject"),
        ({"subject": "../etc"}, "$.subject"),
        ({"time": "yesterday"}, "$.time"),
        ({"time": "2026-02-30T00:00:00Z"}, "$.time"),
        ({"time": "2026-02-03T00:00:00"}, "$.time"),
        ({"time": 1}, "$.time"),
        ({"datacontenttype": "json"}, "$.datacontenttype"),
        ({"datacontenttype": "text/xml"}, "$.data"),
        ({"dataschema": "schema.json"}, "$.dataschema"),
        ({"dataschema": "http://a b"}, "$.dataschema"),
        ({"data_base64": "AAAA"}, "$.data_base64"),
        ({"correlationid": ""}, "$.correlationid"),
        ({"correlationid": "a\u0085"}, "$.correlationid"),
        ({"ttlseconds": 0}, "$.ttlseconds"),
        ({"ttlseconds": "60"}, "$.ttlseconds"),
        ({"priority": "urgent"}, "$.priority"),
        ({"references": ["a"]}, "$.references"),
        ({"references": "a"}, "$.references"),
        ({"references": "[1]"}, "$.references"),
        ({"references": "[" * 100_000}, "$.references"),
        ({"references": json.dumps(["a"] * 65)}, "$.references"),
        ({"sequence": "1"}, "$.sequence"),
        ({"agenttype": "x"}, "$.agenttype"),
        ({"issueid": "x"}, "$.issueid"),
        ({"replayedfrom": "evt-0000000a-1"}, "$.replayedfrom"),
        ({"traceParent": "x"}, "$.traceParent"),
        ({"trace-parent": "x"}, "$.trace-parent"),
        ({"ключ": "x"}, "$.ключ"),
        ({"": "x"}, "$."),
        ({"x" * 65: "x"}, "$." + "x" * 64),
        ({"extra": 1.5}, "$.extra"),
        ({"extra": 2**31}, "$.extra"),
        ({"extra": []}, "$.extra"),
        ({"extra": {"a": 1}}, "$.extra"),
        ({"extra": "a\u0000"}, "$.extra"),
        ({"extra": "\ufdd0"}, "$.extra"),
        ({"extra": "\U0001ffff"}, "$.extra"),
        ({"extra": "x" * 1025}, "$.extra"),
        ({f"x{n}": n for n in range(MOST_EXTENSIONS + 1)}, "$"),
    ],
)
def test_refused(change: dict[str, Any], path: str) -> None:
    """What is no CloudEvent is refused, with the place."""
    assert refused({**WHOLE, **change}) == path


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_required(name: str) -> None:
    """The required attributes are."""
    assert refused({key: value for key, value in WHOLE.items() if key != name}) == "$"


def test_the_right_name() -> None:
    """A name that is written wrong is told with the right one."""
    with pytest.raises(InvalidEvent, match="correlationid"):
        take({**WHOLE, "correlation_id": "c"})


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(KNOWN)), TEXTS), SCALARS, max_size=8))
def test_never_a_surprise(change: dict[str, Any]) -> None:
    """Whatever comes is taken or refused."""
    with suppress(InvalidEvent, msgspec.ValidationError):
        take({**WHOLE, **change})


@given(st.integers(0, 200), st.binary(max_size=4), st.integers(0, 8))
def test_never_a_surprise_in_bytes(at: int, put: bytes, cut: int) -> None:
    """Also where the text itself is damaged: bytes that are no UTF-8, and numbers beyond all range."""
    text = json.dumps({"x": "y", **WHOLE, "extra": 7}).encode().replace(b": 7", b": 1e1")
    with suppress(InvalidEvent, msgspec.DecodeError, UnicodeDecodeError):
        take(text[:at] + put + text[at + cut :])


@pytest.mark.parametrize(
    ("member", "path"),
    [
        (b'"extra": 1e999', "$.extra"),
        (b'"extra": "\xff"', "$.extra"),
        (b'"extra": ' + b"9" * 5000, "$.extra"),
        (b'"extra": ' + b"[" * 50 + b"]" * 50, "$.extra"),
        (b'"ex\xfftra": 1', "$"),
    ],
)
def test_refused_bytes(member: bytes, path: str) -> None:
    """What no JSON library would write is refused all the same."""
    text = json.dumps(WHOLE).encode()
    assert refused(text[:-1] + b", " + member + b"}") == path


@given(
    topic=NAMES,
    publisher=NAMES,
    correlation_id=st.none() | TEXTS,
    references=st.lists(TEXTS, max_size=4),
    ttl_seconds=st.integers(1, 86400),
    priority=st.sampled_from(["low", "normal", "high"]),
    data=st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5),
    extensions=EXTENSIONS,
    at=st.floats(0, 4e9),
)
def test_there_and_back(data: object, extensions: dict[str, Any], at: float, **fields: Any) -> None:
    """What is given conforms, and taken again it is the same event; only characters that no text may have are lost."""
    raw = msgspec.Raw(msgspec.json.encode(data))
    rare = {"extensions": extensions} if extensions else {}
    event = made(**fields, **rare, data=raw, timestamp=rfc3339(at))
    given_members = json.loads(cloudevent(event))
    conform(given_members)
    for name in ("sequence", "agenttype", "issueid"):
        del given_members[name]
    found = take(given_members)
    same = {name: getattr(found, name) for name in ("topic", "ttl_seconds", "priority", "references")}
    assert same == {name: fields[name] for name in same}
    assert (found.extensions, json.loads(bytes(found.data))) == (extensions, json.loads(bytes(raw)))
    correlation_id = "".join("\ufffd" if is_no_text(one) else one for one in fields["correlation_id"] or "")
    assert (found.correlation_id or "") == correlation_id


# Which form is wanted


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "a/j"),
        ("*/*", "a/j"),
        ("a/ce", "a/ce"),
        ("A/CE; charset=utf-8", "a/ce"),
        ("a/ce, a/j", "a/j"),
        ("a/ce, a/j;q=0.9", "a/ce"),
        ("a/ce;q=0.5, */*;q=0.1", "a/ce"),
        ("a/ce;q=0.5, */*", "a/j"),
        ("a/*, a/ce;q=0", "a/j"),
        ("a/*;q=0.2, a/ce;q=0.3", "a/ce"),
        ("a/ce;q=0", "a/j"),
        ("text/html, a/ce;q=0.001", "a/ce"),
        ("a/ce;q=nan", "a/j"),
        ("a/ce;q=1.5", "a/j"),
        ("a/ce;q", "a/ce"),
        (";;,,/", "a/j"),
        ("text/html", "a/j"),
    ],
)
def test_preferred(accept: str, form: str) -> None:
    """The form that the client likes best; the first, unless another is liked better."""
    assert preferred(accept, ("a/j", "a/ce")) == form


@given(st.text(max_size=60))
def test_preferred_never_fails(accept: str) -> None:
    """Whatever the header says, there is a form."""
    assert preferred(accept, ("a/j", "a/ce")) in {"a/j", "a/ce"}
