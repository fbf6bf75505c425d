"""What a roster entry wishes beyond the usual choice: pinned files and sources, and what it may not name."""

import json

import pytest

from cco_sidecar.core.context.project import Omission, Project, ProjectFile
from cco_sidecar.core.context.selection import EXCLUDED, OTHER_LANGUAGE, Selection, select
from cco_sidecar.core.context.wishes import NOTHING_PINNED, NOTHING_THERE, PINNED, SOURCE, Wishes
from cco_sidecar.core.roster import ContextWish, RosterError, parse_roster
from tests.core.test_context_selection import agent_type, paths, why


def project(*names: str, dirty: str = "") -> Project:
    files = [ProjectFile(name, 10, 0, "modified" if name == dirty else "") for name in sorted(names)]
    return Project("/p", files, None, {}, [Omission("keys/id_rsa", 3, "secret by name")])


def chosen(found: Project, task: str = "", **wish: tuple[str, ...]) -> Selection:
    return select(found, agent_type(languages=("python",), **wish), task, {})


def test_pinned_come_first() -> None:
    """What is pinned comes first, in its order, whatever its language, its kind, or a glob that excludes it."""
    found = chosen(
        project("a.py", "named.py", "dirty.py", "web/x.js", "docs/rules.md", "uv.lock", dirty="dirty.py"),
        "named.py",
        pinned=("docs/rules.md", "uv.lock", "web/x.js"),
        exclude=("web/**",),
    )
    assert paths(found) == ["docs/rules.md", "uv.lock", "web/x.js", "named.py", "dirty.py", "a.py"]
    assert why(found, "docs/rules.md") == PINNED
    assert [pick.named for pick in found.picks] == [True] * 4 + [False] * 2
    assert found.omitted == []


def test_sources_come_before_what_is_preferred() -> None:
    """Files of a source come after what is changed and before what the type prefers; globs still keep some out."""
    found = chosen(
        project("a.py", "b.js", "new.md", "lib/x.js", "lib/deep/y.min.js", "lib/z.go", "library.js", dirty="new.md"),
        prefer=("source",),
        sources=("lib/",),
        exclude=("*.go",),
    )
    assert paths(found) == ["new.md", "lib/x.js", "lib/deep/y.min.js", "a.py"]
    assert why(found, "lib/x.js") == SOURCE
    assert [pick.named for pick in found.picks] == [False, True, True, False]
    assert {one.path: one.why for one in found.omitted} == {
        "b.js": OTHER_LANGUAGE, "library.js": OTHER_LANGUAGE, "lib/z.go": EXCLUDED,
    }  # fmt: skip


def test_what_is_not_there_is_said() -> None:
    """A pinned file or a source of which nothing can be seen is an omission; one that is secret already is one."""
    found = chosen(project("docs/a.md"), pinned=("gone.md", "keys/id_rsa"), sources=("docs", "nowhere", "keys"))
    assert [(one.path, one.why) for one in found.omitted] == [
        ("gone.md", NOTHING_PINNED), ("nowhere", NOTHING_THERE),
    ]  # fmt: skip


def test_a_source_is_a_file_or_a_directory() -> None:
    """A source is meant as it stands, whole, and not as the beginning of a name."""
    wishes = Wishes(ContextWish(sources=("a/b", "c.js")))
    assert [wishes.has_source(path) for path in ("a/b", "a/b/c/d", "c.js")] == [True] * 3
    assert [wishes.has_source(path) for path in ("a/bc", "a", "x/c.js", "c.jsx")] == [False] * 4


def refusal(**wish: list[str]) -> str:
    text = json.dumps({"codingAgents": [{"type": "t", "context": wish}]}).encode()
    with pytest.raises(RosterError) as caught:
        parse_roster(text, source="my.json")
    return str(caught.value)


@pytest.mark.parametrize("key", ["pinned", "sources"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "outside of the project"),
        ("~/x", "outside of the project"),
        ("../x", "outside of the project"),
        ("a/../../x", "outside of the project"),
        ("a/..", "outside of the project"),
        ("./a", "as 'a'"),
        ("a//b", "as 'a/b'"),
        (".", "whole project"),
        ("a\\b", "is no path"),
        ("a\nb", "is no path"),
        ("docs/*.md", "globs go into 'include'"),
    ],
)
def test_refused_paths(key: str, path: str, words: str) -> None:
    """A path that leads outside, or is none, stops the reading of the roster, with what would be right."""
    message = refusal(**{key: [path]})
    assert message.startswith(f"my.json: $.codingAgents[0].context.{key}[0]: ")
    assert words in message


@pytest.mark.parametrize("key", ["include", "exclude"])
@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("../*.py", "outside of the project"),
        ("a/../../b", "outside of the project"),
        ("~/a", "outside of the project"),
        ("!a.py", "without the '!'"),
        ("# a", "matches nothing"),
        ("/", "matches nothing"),
        ("a\nb", "matches nothing"),
    ],
)
def test_refused_globs(key: str, pattern: str, words: str) -> None:
    """So does a glob that leads outside or matches nothing."""
    message = refusal(**{key: ["ok/**", pattern]})
    assert message.startswith(f"my.json: $.codingAgents[0].context.{key}[1]: ")
    assert words in message


def test_unknown_key_and_bounds() -> None:
    """An unknown key is refused with the nearest known one; lists and names are bounded."""
    assert "did you mean 'pinned'?" in refusal(pined=["a"])
    assert "did you mean 'sources'?" in refusal(source=["a"])
    for key in ("pinned", "sources", "include", "exclude"):
        assert f".context.{key}" in refusal(**{key: ["a"] * 65})
        assert f".context.{key}" in refusal(**{key: ["a" * 257]})
