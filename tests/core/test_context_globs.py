"""Globs held against very many paths: as one pattern after the other would have it, only faster."""

from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.context.ignoring import Globs, first_match, globs

NAMES = st.sampled_from(["a", "b", "src", "x.py", "test_x.py", "a.b", "[a]", "a*"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
SEGMENTS = st.sampled_from(["a", "b", "src", "*", "**", "*.py", "test_*", "[ab]", "x.p?", r"\[a\]", r"a\*", "!b"])
PATTERNS = st.lists(
    st.tuples(st.sampled_from(["", "/", "!"]), st.lists(SEGMENTS, min_size=1, max_size=3), st.sampled_from(["", "/"])),
    max_size=5,
).map(lambda found: ["/".join(segments).join(ends) for *ends, segments in ((a, c, b) for a, b, c in found)])


@given(PATTERNS, st.lists(PATHS, min_size=1, max_size=20))
def test_like_one_by_one(patterns: list[str], paths: list[str]) -> None:
    """The first pattern that matches is the same, whatever was asked before."""
    read = globs(patterns)
    quick = Globs(read)
    for path in paths:
        expected = first_match(read, path)
        assert quick.first(path) is expected
        assert quick.has(path) is (expected is not None)
