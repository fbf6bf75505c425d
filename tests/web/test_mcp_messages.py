"""JSON-RPC as MCP speaks it: what is a message, of which era it is, and that nothing at all breaks the reader."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.context.tokens import BYTES_PER_TOKEN
from cco_sidecar.web.mcp.messages import (
    CAPABILITIES_KEY,
    LEGACY,
    VERSION_KEY,
    Answered,
    Message,
    ProtocolError,
    Wrong,
    read_message,
    understand,
)
from cco_sidecar.web.mcp.tools import TOOLS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "other"])
META = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}
HEADERS = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list", "mcp-name": None}


def message(method: str = "tools/list", **params: Any) -> Message:
    found = read_message(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    assert isinstance(found, Message)
    return found


def refused(found: Message, headers: Mapping[str, str | None]) -> tuple[int, int]:
    with pytest.raises(ProtocolError) as caught:
        understand(found, headers)
    return caught.value.code, caught.value.status


@given(st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(text: bytes) -> None:
    """Whatever comes is a message, or is wrong in a way that can be said."""
    found = read_message(text)
    if isinstance(found, Wrong):
        assert found.error.code in {-32700, -32600}
        assert found.error.status == 400


@given(
    st.dictionaries(KEYS, JSON | st.just("2.0") | st.just({"_meta": META})),
    st.sampled_from([None, *LEGACY, "2026-07-28", "x"]),
)
def test_any_message(value: dict[str, Any], version: str | None) -> None:
    """What looks like a message is understood or refused; an answer has the id, where there is a sound one."""
    found = read_message(json.dumps(value).encode())
    if isinstance(found, Wrong) and isinstance(value.get("id"), str):
        assert found.id == value["id"]
    if not isinstance(found, Message):
        return
    try:
        asked = understand(found, {"mcp-protocol-version": version, "mcp-method": found.method})
    except ProtocolError as error:
        assert error.code in {-32602, -32020, -32022}
    else:
        assert asked.id == value.get("id")
        assert not asked.is_modern or version == "2026-07-28"


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        (b"", -32700, None),
        (b"{", -32700, None),
        (b"\xff", -32700, None),
        (b"[" * 5000, -32600, None),
        (b" [{}]", -32600, None),
        (b"7", -32600, None),
        (b'{"id": 7}', -32600, 7),
        (b'{"jsonrpc": "1.0", "id": "a", "method": "ping"}', -32600, "a"),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 2}', -32600, 1),
    ],
)
def test_wrong_messages(text: bytes, code: int, request_id: object) -> None:
    found = read_message(text)
    assert isinstance(found, Wrong)
    assert (found.error.code, found.id) == (code, request_id)


def test_responses() -> None:
    """A client's response is none of ours, and no mistake in the older era."""
    assert isinstance(read_message(b'{"jsonrpc": "2.0", "id": 1, "result": {}}'), Answered)
    assert isinstance(read_message(b'{"jsonrpc": "2.0", "id": 1, "error": {}}'), Answered)


@pytest.mark.parametrize("version", [None, *LEGACY])
def test_older_era(version: str | None) -> None:
    assert not understand(message(), {"mcp-protocol-version": version}).is_modern


def test_newer_era() -> None:
    """Headers and body say the same, or it is refused."""
    assert understand(message(_meta=META), HEADERS).is_modern
    assert refused(message(_meta=META), {**HEADERS, "mcp-protocol-version": None}) == (-32020, 400)
    assert refused(message(_meta=META), {**HEADERS, "mcp-protocol-version": "2025-11-25"}) == (-32020, 400)
    assert refused(message(_meta=META), {**HEADERS, "mcp-method": "tools/call"}) == (-32020, 400)
    assert refused(message(_meta=META), {**HEADERS, "mcp-method": None}) == (-32020, 400)
    assert refused(message(), HEADERS) == (-32602, 400)
    assert refused(message(_meta={VERSION_KEY: "2026-07-28"}), HEADERS) == (-32602, 400)
    assert refused(message(_meta={**META, CAPABILITIES_KEY: []}), HEADERS) == (-32602, 400)
    assert refused(message(_meta=3), HEADERS) == (-32602, 400)


def test_unknown_versions() -> None:
    """They are refused with those that are served; ``initialize`` negotiates by itself."""
    assert refused(message(), {"mcp-protocol-version": "1999-01-01"}) == (-32022, 400)
    later = message(_meta={**META, VERSION_KEY: "2099-01-01"})
    with pytest.raises(ProtocolError) as caught:
        understand(later, {**HEADERS, "mcp-protocol-version": "2099-01-01"})
    assert caught.value.data == {"supported": ["2026-07-28"], "requested": "2099-01-01"}
    assert understand(message("initialize"), {"mcp-protocol-version": "2099-01-01"})


@pytest.mark.parametrize(("name", "header"), [("claim", "claim"), ("é", "=?base64?w6k=?=")])
def test_name_header(name: str, header: str) -> None:
    """The name is in a header, too, encoded where a header cannot hold it."""
    headers = {**HEADERS, "mcp-method": "tools/call"}
    found = message("tools/call", name=name, _meta=META)
    assert understand(found, {**headers, "mcp-name": header}).is_modern
    for wrong in (None, "other", "=?base64?/w==?=", "=?base64?!?="):
        assert refused(found, {**headers, "mcp-name": wrong}) == (-32020, 400)


def test_schema_is_small() -> None:
    """All tools together stay under 2,000 tokens, by the house's estimate and by a harsher one."""
    text = msgspec.json.encode([tool.described() for tool in TOOLS])
    assert len(text) / BYTES_PER_TOKEN < 2000
    # A stricter one: each word and each mark by itself, and one more for every 4 letters of a word beyond the first.
    pieces = "".join(letter if letter.isalnum() else f" {letter} " for letter in text.decode()).split()
    assert sum(1 + (len(piece) - 1) // 6 for piece in pieces if piece != '"') < 2000
