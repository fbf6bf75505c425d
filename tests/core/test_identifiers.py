"""Identifiers: what may be a name, and so a part of a path."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.identifiers import NOT_EVENT_TYPES, event_type, identifier, is_identifier, nearest
from cco_sidecar.errors import InvalidParameter

FIRST = string.ascii_letters + string.digits


@pytest.mark.parametrize("text", ["a", "0", "issue-123", "a.b_c-d", "A" * 128, "1..2"])
def test_taken(text: str) -> None:
    """What contract section 1 allows is given back unchanged."""
    assert identifier(text, "issue_id") == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", ".a", "-a", "_a", "a/b", "a\\b", "a b", "a\n", "\na", "a\0", "A" * 129, "é", "a%2f", "٣", "a:b"],
)
def test_refused(text: str) -> None:
    """What could leave a directory, hide a file or end a line is refused, and the refusal names the parameter."""
    with pytest.raises(InvalidParameter) as refused:
        identifier(text, "issue_id")
    assert refused.value.details == {"parameter": "issue_id"}
    assert refused.value.message.startswith("issue_id ")


@given(st.text(max_size=140))
def test_form(text: str) -> None:
    """An identifier is exactly what the contract's pattern says, whole."""
    allowed = bool(text) and len(text) <= 128 and text[0] in FIRST and set(text) <= set(FIRST + "._-")
    assert is_identifier(text) == allowed


@pytest.mark.parametrize("word", sorted(NOT_EVENT_TYPES))
def test_routes_are_no_event_types(word: str) -> None:
    """An event type must not hide a route."""
    with pytest.raises(InvalidParameter):
        event_type(word)
    assert event_type(word + "s") == word + "s"


def test_event_type_is_identifier() -> None:
    """An event type is an identifier."""
    with pytest.raises(InvalidParameter) as refused:
        event_type("a/b")
    assert refused.value.details == {"parameter": "event_type"}


def test_nearest() -> None:
    """A slip finds the word that was meant, nonsense finds none."""
    assert nearest("read_contxt", ["read_context", "write_results"]) == "read_context"
    assert nearest("zzz", ["read_context"]) is None
    assert nearest("x", []) is None
