"""Which files an agent type gets, in which order, with which reason."""

from collections.abc import Sequence

from attrs import evolve

from cco_sidecar.core.context.mentions import mentioned
from cco_sidecar.core.context.project import Commit, GitFacts, Project, ProjectFile
from cco_sidecar.core.context.selection import EXCLUDED, OTHER_LANGUAGE, Selection, select
from cco_sidecar.core.roster import AgentType, ContextWish


def agent_type(**wish: tuple[str, ...]) -> AgentType:
    return AgentType(
        type="python-specialist",
        name="Python Specialist",
        category="coding",
        model="haiku",
        role="",
        capabilities=(),
        context=ContextWish(**wish),
        publishes=(),
        subscribes=(),
        topics=None,
        permissions=frozenset(),
        rate_limit=None,
    )


PYTHON = agent_type(languages=("python",), prefer=("source", "tests", "manifests"), exclude=("vendor/**",))


def project(*paths: str, dirty: Sequence[str] = (), commits: Sequence[Commit] = ()) -> Project:
    files = [ProjectFile(path, 10, 0, "modified" if path in dirty else "") for path in sorted(paths)]
    return Project("/p", files, GitFacts("main", "0" * 40, commits, (), None, None), {})


def commit(name: str, *files: str) -> Commit:
    return Commit(name * 40, "m", "a", "t", files)


def paths(selection: Selection) -> list[str]:
    return [pick.file.path for pick in selection.picks]


def why(selection: Selection, path: str) -> str:
    return next(pick.reason for pick in selection.picks if pick.file.path == path)


def test_specialist_gets_no_other_language() -> None:
    """Source in another programming language stays out; documents, configuration and manifests stay in."""
    found = select(project("a.py", "b.js", "c.go", "README.md", "ci.yml", "package.json", "s.sql"), PYTHON, "", {})
    assert set(paths(found)) == {"a.py", "README.md", "ci.yml", "package.json", "s.sql"}
    assert {one.path: one.why for one in found.omitted} == {"b.js": OTHER_LANGUAGE, "c.go": OTHER_LANGUAGE}


def test_other_language_by_task_or_change() -> None:
    """What the task names, or what is uncommitted, comes in whatever its language."""
    found = select(project("a.py", "web/b.js", "c.go", dirty=["c.go"]), PYTHON, "Look at web/b.js.", {})
    assert paths(found) == ["web/b.js", "c.go", "a.py"]


def test_order() -> None:
    """Named, changed, touched, preferred, recent, the rest: in this order."""
    found = select(
        project(
            "notes.md", "recent.md", "a.py", "b.py", "touched.md", "dirty.md", "named.md",
            dirty=["dirty.md"],
            commits=[commit("1", "recent.md"), commit("2", "b.py")],
        ),
        PYTHON,
        "see named.md",
        {"touched.md": "test-engineer"},
    )  # fmt: skip
    assert paths(found) == ["named.md", "dirty.md", "touched.md", "b.py", "a.py", "recent.md", "notes.md"]


def test_generated_by_name_only() -> None:
    """What is generated or vendored is named and not shown, also when it is changed; unless the task names it."""
    asked = project("a.py", "uv.lock", "go.sum", "node_modules/x.py", "vendor.py", dirty=["uv.lock"])
    found = select(asked, agent_type(), "why does go.sum differ?", {})
    assert set(paths(found)) == {"go.sum", "a.py", "vendor.py"}
    assert {one.path: one.why for one in found.omitted} == {
        "uv.lock": "generated or lock file", "node_modules/x.py": "vendored"
    }  # fmt: skip
    assert [pick.file.path for pick in found.picks if pick.named] == ["go.sum"]


def test_reasons_are_true() -> None:
    """Each reason says what put the file there."""
    found = select(
        project("a.py", "b.md", "named.md", "dirty.md", dirty=["dirty.md"], commits=[commit("1", "b.md", "a.py")]),
        PYTHON,
        "named.md",
        {},
    )
    assert why(found, "named.md") == "named in the task"
    assert why(found, "dirty.md") == "uncommitted change (modified)"
    assert why(found, "a.py") == "python source, as this agent type prefers, changed in commit 1111111111"
    assert why(found, "b.md") == "changed in commit 1111111111"


def test_exclude_and_include() -> None:
    """The roster's globs keep files out, and let files of another language in."""
    wanted = agent_type(languages=("python",), include=("web/*.js",), exclude=("vendor/**",))
    found = select(project("vendor/x.py", "web/a.js", "b.js"), wanted, "", {})
    assert paths(found) == ["web/a.js"]
    assert {one.path: one.why for one in found.omitted} == {"vendor/x.py": EXCLUDED, "b.js": OTHER_LANGUAGE}


def test_generalist_gets_all_languages() -> None:
    """Who has no language of their own gets all, what they prefer first."""
    found = select(project("a.py", "b.js", "z.md"), agent_type(prefer=("docs",)), "", {})
    assert paths(found) == ["z.md", "a.py", "b.js"]


def test_bulk_commit_says_nothing() -> None:
    """A commit over very many files makes none of them recent."""
    bulk = evolve(commit("1", "z.md"), bulk=True)
    found = select(project("a.md", "z.md", commits=[bulk]), PYTHON, "", {})
    assert paths(found) == ["a.md", "z.md"]


def test_mentions() -> None:
    """A task names files by path, by its end, by name, as a module; shared and bare words name none."""
    files = ["src/app/core.py", "src/app/__init__.py", *(f"p{n}/__init__.py" for n in range(9)), "Makefile", "x/y.md"]
    assert mentioned("fix `app/core.py`, line 3", files) == {"src/app/core.py"}
    assert mentioned("src.app.core fails", files) == {"src/app/core.py"}
    assert mentioned("in y.md:", files) == {"x/y.md"}
    assert mentioned("all __init__.py; the core; y", files) == set()
