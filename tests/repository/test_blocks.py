"""A block of lines in a text that is not ours: put there and taken out to the byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.repository.blocks import HASH, MARKDOWN, Marks

LINES = st.sampled_from(["", "a", "# b", "<!-- c -->", "  ", HASH.end, MARKDOWN.end])
TEXTS = st.lists(LINES, max_size=5).map("\n".join)


@given(TEXTS, st.sampled_from([HASH, MARKDOWN]))
def test_put_and_drop_leave_no_trace(text: str, marks: Marks) -> None:
    """Whatever the text ends with, it is there again afterwards; a second time changes nothing."""
    changed = marks.put(text, "ours\n")
    assert marks.put(changed, "ours") == changed
    assert marks.drop(changed) == text
    assert marks.drop(text) == text


@pytest.mark.parametrize("before", ["a\n\n", "a\n"])
def test_moved_by_a_person(before: str) -> None:
    """A block that stands elsewhere takes no line of others with it."""
    text = before + HASH.put("", "ours") + "b\n"
    assert HASH.drop(text) == "a\nb\n"
