"""The terms of texts, paths and tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.context import terms as terms_module
from cco_sidecar.core.context.query import query_of
from cco_sidecar.core.context.terms import (
    MOST_TERMS,
    TEXT_CHARACTERS,
    parts_of_word,
    term_of,
    terms_of,
    terms_of_path,
)


def counts(text: str) -> dict[int, int]:
    found = terms_of(text)
    return dict(zip(found._terms, found._counts, strict=True))


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("parseHTTPHeader", ["parsehttpheader", "parse", "http", "header"]),
        ("retry_after", ["retry_after", "retry", "after"]),
        ("__init__", ["init"]),
        ("Utf8Decoder", ["utf8decoder", "utf", "decoder"]),
        ("HTTP2", ["http2", "http"]),
        ("queries", ["query"]),
        ("classes", ["classe"]),
        ("class", ["class"]),
        ("Größe", ["größe", "gr", "öß"]),
        ("x", []),
        ("x" * 65, []),
    ],
)
def test_parts(word: str, parts: list[str]) -> None:
    """A word is found whole and by its parts, without a plural's end."""
    assert parts_of_word(word) == parts


def test_counts() -> None:
    """How often a word occurs is kept, whole or as a part, to a bound."""
    found = counts("bucket\n" * 9 + "a_bucket refill = refill\ndef leak(): pass\n" + "x1 " * 999)
    words = ["bucket", "refill", "leak", "x1"]
    assert [found[term_of(word)] for word in words] == [10, 2, 1, 255]


def test_bounds() -> None:
    """A big or hostile text has its bound."""
    many = " ".join(f"w{number}x" for number in range(60_000))
    found = terms_of(many)
    assert len(found._terms) == MOST_TERMS
    assert found.size_bytes < 5 * MOST_TERMS + 1_024
    assert not counts("a" * (1 << 20))
    late = "early " + " " * TEXT_CHARACTERS + "late"
    assert set(counts(late)) == {term_of("early")}


@given(st.lists(st.text("abAB_ 1é(\n", max_size=40), max_size=30))
def test_slices_do_not_show(lines: list[str]) -> None:
    """A text has the same terms in whatever slices it is split, if they end with lines."""
    text = "\n".join(lines)
    whole = terms_of(text)
    before = terms_module._SLICE
    terms_module._SLICE = 128
    try:
        assert terms_of(text) == whole
    finally:
        terms_module._SLICE = before


def test_paths() -> None:
    """A path is found by its names and their parts, whatever bytes they have."""
    assert terms_of_path("src/leakyBucket.py") == {*map(term_of, ["src", "leakybucket", "leaky", "bucket"])}
    assert term_of("odd") in terms_of_path("odd-\udcff.py")
    assert terms_of_path("v1.d/.gitignore") == {*map(term_of, ["v1", "gitignore"])}
    assert terms_of_path("v1.d/Makefile") == {*map(term_of, ["v1", "makefile"])}


def test_query() -> None:
    """The first line counts double, repeating less each time, words without meaning not at all."""
    query = query_of("Leaky bucket\n\nThe bucket has to refill_slowly")
    weights = {query.words[term]: round(weight, 2) for term, weight in query.weights.items()}
    assert weights == {"leaky": 1.69, "bucket": 2.1, "refill_slowly": 1.0, "refill": 0.6, "slowly": 0.6}
    assert not query_of(" \n the of ").weights
