"""What can be claimed, and what conflicts: held against all paths there are over a small alphabet."""

import re
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.core.claims.index import ResourceIndex
from cco_sidecar.core.claims.resources import NoResource, Resource, conflict, resource

ROOT = "/src/shop"
SEGMENTS = ["".join(letters) for length in (1, 2, 3) for letters in product("ab", repeat=length)]
PATHS = [path for length in (1, 2, 3) for path in product(SEGMENTS, repeat=length)]

segment = st.text("ab*?", min_size=1, max_size=3).filter(lambda text: "**" not in text)
glob = st.lists(segment | st.just("**"), min_size=1, max_size=3).map("/".join)


@cache
def matched(text: str) -> frozenset[tuple[str, ...]]:
    """Give all paths of the small world that a glob matches, found by regular expressions."""
    parts = []
    for part in resource(text, ROOT).segments:
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            letters = {"*": "[^/]*", "?": "[^/]"}
            parts.append("".join(letters.get(letter, letter) for letter in part) + "/")
    pattern = re.compile("".join(parts))
    return frozenset(path for path in PATHS if pattern.fullmatch("/".join(path) + "/"))


@settings(max_examples=800, deadline=None)
@given(glob, glob)
def test_conflict_against_all_paths(one: str, other: str) -> None:
    """Two conflict exactly if a path matches both: every shortest one lies in the small world.

    A segment of two globs of up to three characters meets in one of up to three, unless a star is in both, and then in
    one as long as both literal parts together; where none is that short, the world has no say.
    """
    ours, theirs = resource(one, ROOT), resource(other, ROOT)
    found = conflict(ours, theirs)
    assert found == conflict(theirs, ours)
    common = matched(one) & matched(other)
    if common:
        assert found
    elif found:
        assert _needs_more(ours, theirs)


def _needs_more(ours: Resource, theirs: Resource) -> bool:
    """Say whether the shortest common path may be longer than those of the small world, or deeper."""
    deep = sum(part != "**" for part in (*ours.segments, *theirs.segments)) > 3
    stars = [part for part in (*ours.segments, *theirs.segments) if "*" in part and part != "**"]
    return deep or any(len(a.replace("*", "")) + len(b.replace("*", "")) > 3 for a in stars for b in stars)


@settings(max_examples=300, deadline=None)
@given(glob, glob)
def test_whole_segments_against_all(one: str, other: str) -> None:
    """Where each is one segment, and a common one is at most three long, there is no doubt at all."""
    one, other = one.partition("/")[0], other.partition("/")[0]
    if "*" in one and "*" in other:
        return
    assert conflict(resource(one, ROOT), resource(other, ROOT)) == bool(matched(one) & matched(other))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.py", "a.py", True),
        ("a.py", "b.py", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/sub/a.py", False),
        ("src/**", "src/sub/a.py", True),
        ("src/**", "src", True),
        ("src/**", "srcs/a", False),
        ("src", "src/a.py", False),
        ("src/", "src/a.py", True),
        (".", "any/thing", True),
        ("**/*.py", "**/*.rs", False),
        ("**/*.py", "src/**", True),
        ("**/test_*", "**/*_test.py", True),
        ("a*b", "*ab*", True),
        ("a?", "?b", True),
        ("a?c", "a*d", False),
        ("*/a/**/z", "b/**/y/z", True),
        ("a/**/b/**/c", "a/x/c", False),
        ("a/**/b/**/c", "a/x/b/y/c", True),
        ("[id].tsx", "i.tsx", False),
        ("name:release", "name:release", True),
        ("name:release", "name:releases", False),
        ("name:**", "name:release", False),
        ("name:a", "./name:a", False),
        ("name:a", "**", False),
        ("./name:a", "**", True),
    ],
)
def test_conflicts(one: str, other: str, expected: bool) -> None:
    """The cases that people meet."""
    ours, theirs = resource(one, ROOT), resource(other, ROOT)
    assert conflict(ours, theirs) is conflict(theirs, ours) is expected


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a.py", "a.py"),
        ("./a//b", "a/b"),
        ("a/./b", "a/b"),
        ("src/", "src/**"),
        ("src/.", "src/**"),
        (".", "**"),
        ("/", None),
        ("/src/shop", "**"),
        ("/src/shop/", "**"),
        ("/src/shop/lib/a.py", "lib/a.py"),
        ("/src//shop/./lib/*.py", "lib/*.py"),
        ("/src/shopping/a", None),
        ("/etc/passwd", None),
        ("a/**/**/b", "a/**/b"),
        ("name:x y", "name:x y"),
        ("./name:x", "./name:x"),
        ("./././name:x", "./name:x"),
        ("a b/é.md", "a b/é.md"),
    ],
)
def test_normal_form(text: str, normal: str | None) -> None:
    """However a path is written, it is one, below the project's root; and its normal form is its own."""
    if normal is None:
        with pytest.raises(NoResource):
            resource(text, ROOT)
    else:
        found = resource(text, ROOT)
        assert found.text == normal
        assert resource(found.text, "/").segments == found.segments


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("..", "'..'"),
        ("a/../b", "'..'"),
        ("/src/shop/../x", "'..'"),
        ("a**b", "alone"),
        ("src/**.py", "alone"),
        ("***", "alone"),
        ("src/{a,b}.py", "not expanded"),
        ("a\\b", "backslash"),
        ("name:", "no name"),
        ("name: ", "no name"),
        ("a\n", "control"),
        ("a\0", "control"),
        ("\ud800", "halves"),
        ("a" * 513, "512"),
        ("?" * 17, "16 wildcards"),
        ("/".join("a" * 65), "64 directories"),
    ],
)
def test_no_resource(text: str, why: str) -> None:
    """What names nothing is refused, and says why."""
    with pytest.raises(NoResource, match=re.escape(why)):
        resource(text, ROOT)


@settings(max_examples=300, deadline=None)
@given(st.lists(glob | st.sampled_from(["name:a", "name:b"]), max_size=12, unique=True), glob | st.just("name:a"))
def test_index_finds_what_a_look_at_all_finds(filed: list[str], wanted: str) -> None:
    """Whatever is filed, the index gives those that conflict, and after they went, nothing."""
    index: ResourceIndex[str] = ResourceIndex()
    resources = {text: resource(text, ROOT) for text in filed}
    for text, one in resources.items():
        index.add(text, [one])
    ours = resource(wanted, ROOT)
    expected = {text for text, one in resources.items() if conflict(ours, one)}
    assert {owner for owner, _ in index.conflicting(ours, lambda _: True)} == expected
    counted = {owner for owner, _ in index.conflicting(ours, lambda owner: owner != wanted)}
    assert counted == expected - {wanted}
    for text, one in resources.items():
        index.remove(text, [one])
    assert len(index) == 0
    assert list(index.conflicting(resource("**", ROOT), lambda _: True)) == []
