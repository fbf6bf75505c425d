"""Which files an agent type gets, in which order, with which reason."""

from collections.abc import Sequence

from cco_sidecar.core.context.mentions import mentioned
from cco_sidecar.core.context.project import Footprint, GitFacts, Project, ProjectFile
from cco_sidecar.core.context.selection import EXCLUDED, OTHER_LANGUAGE, Selection, select
from cco_sidecar.core.context.terms import message_terms, terms_of
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


def project(*paths: str, dirty: Sequence[str] = (), commits: Sequence[Footprint] = ()) -> Project:
    files = [ProjectFile(path, 10, 0, "modified" if path in dirty else "") for path in sorted(paths)]
    return Project("/p", files, GitFacts("main", "0" * 40, (), (), None, None, footprints=commits), {})


def commit(name: str, *files: str, message: str = "") -> Footprint:
    return Footprint(name * 40, files, message_terms(message))


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
    """Named, changed, touched, what speaks for itself, the rest, generated: in this order."""
    found = select(
        project(
            "notes.md", "recent.md", "a.py", "b.py", "touched.md", "dirty.md", "named.md", "uv.lock",
            dirty=["dirty.md"],
            commits=[commit("1", "recent.md"), commit("2", "b.py")],
        ),
        PYTHON,
        "see named.md",
        {"touched.md": "test-engineer"},
    )  # fmt: skip
    assert paths(found) == [
        "named.md", "dirty.md", "touched.md", "b.py", "a.py", "recent.md", "notes.md"
    ]  # fmt: skip


def test_reasons_are_true() -> None:
    """Each reason says what put the file there."""
    found = select(
        project("a.py", "b.md", "named.md", "dirty.md", dirty=["dirty.md"], commits=[commit("1", "b.md", "a.py")]),
        PYTHON,
        "named.md",
        {},
    )
    assert why(found, "named.md") == "named in the task, its path matches"
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


def test_without_text_type_and_recency() -> None:
    """A task without text: first what the type prefers, of that what changed last."""
    history = [commit("1", "new.md", "b.py"), commit("2", "a.py")]
    found = select(project("a.py", "b.py", "c.py", "new.md", "old.md", commits=history), PYTHON, "", {})
    assert paths(found) == ["b.py", "a.py", "c.py", "new.md", "old.md"]


def test_text_decides() -> None:
    """What the task speaks of comes before what is merely recent or preferred; the reason says in which words."""
    documents = {"notes.md": terms_of("The leaky bucket refills."), "a.py": terms_of("def parse(): pass")}
    found = select(project("a.py", "notes.md", commits=[commit("1", "a.py")]), PYTHON, "bucket leaks", {}, documents)
    assert paths(found) == ["notes.md", "a.py"]
    assert why(found, "notes.md") == "its text has bucket"
    assert found.picks[0].score > found.picks[1].score


def test_reasons_name_each_signal() -> None:
    """Text, path, message, company, wish and recency are told apart, the four strongest, the strongest first."""
    history = [
        commit("3", "b.py", "rare.md"),
        commit("2", "bucket.py", "b.py", message="Refill the bucket"),
        commit("1", "bucket.py", "b.py"),
    ]
    documents = {"bucket.py": terms_of("def refill(bucket): pass")}
    task = "The bucket does not refill"
    found = select(project("bucket.py", "b.py", "rare.md", commits=history), PYTHON, task, {}, documents)
    assert paths(found) == ["bucket.py", "b.py", "rare.md"]
    assert why(found, "bucket.py") == (
        "its text has refill, bucket, commit 2222222222 was about it, its path matches, "
        "python source, as this agent type prefers"
    )
    assert why(found, "b.py").startswith("commit 2222222222 was about it, ")
    assert "changes together with bucket.py" in why(found, "b.py")


def test_history_names_another_language() -> None:
    """Source in another language comes in when it keeps changing together with what the task is about."""
    history = [
        commit("1", "bucket.py", "bucket.c"),
        commit("2", "bucket.py", "bucket.c"),
        commit("3", "once.c", "bucket.py"),
    ]
    files = project("bucket.py", "bucket.c", "once.c", "never.c", commits=history)
    found = select(files, PYTHON, "the bucket", {}, {"bucket.py": terms_of("bucket")})
    assert set(paths(found)) == {"bucket.py", "bucket.c"}
    assert "changes together with bucket.py" in why(found, "bucket.c")
    assert set(paths(select(files, PYTHON, "", {}))) == {"bucket.py"}


def test_mentions() -> None:
    """A task names files by path, by its end, by name, as a module; shared and bare words name none."""
    files = ["src/app/core.py", "src/app/__init__.py", *(f"p{n}/__init__.py" for n in range(9)), "Makefile", "x/y.md"]
    assert mentioned("fix `app/core.py`, line 3", files) == {"src/app/core.py"}
    assert mentioned("src.app.core fails", files) == {"src/app/core.py"}
    assert mentioned("in y.md:", files) == {"x/y.md"}
    assert mentioned("all __init__.py; the core; y", files) == set()
