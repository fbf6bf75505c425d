"""The answer never exceeds its budget, whatever the project, and says what it left out."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.core.context.assembly import ENDING_BYTES, OUT_OF_BUDGET, Assembled, assemble, ending
from cco_sidecar.core.context.fitting import encode, fit_list, head_of, shown
from cco_sidecar.core.context.project import (
    TOO_BIG,
    Change,
    Commit,
    GitFacts,
    Omission,
    Project,
    ProjectFile,
    Text,
    Unreadable,
)
from cco_sidecar.core.context.request import ContextRequest, PreviousOutput
from cco_sidecar.core.context.selection import Pick, Selection
from cco_sidecar.core.roster import AgentType, ContextWish

LONGEST = "a" * 128


def request(budget: int, results: list[PreviousOutput] | None = None, name: str = "issue-1") -> ContextRequest:
    entry = AgentType(
        type=name, name="", category="coding", model="", role="", capabilities=(), context=ContextWish(),
        publishes=(), subscribes=(), topics=None, permissions=frozenset(), rate_limit=None,
    )  # fmt: skip
    return ContextRequest("p", Path("/p"), name, entry, "", budget, results=results or [])


def project(texts: dict[str, str], git: GitFacts | None = None, root: str = "/p") -> Project:
    files = [
        ProjectFile(path, len(encode(text)) - 2, 1_700_000_000_000_000_000) for path, text in sorted(texts.items())
    ]
    metadata: dict[str, object] = {
        "project_type": "python",
        "test_command": None,
        "languages": {"python": 3},
        "dependencies": [{"name": "x" * 50, "version": "", "source": "a"}] * 200,
    }
    return Project(root, files, git, metadata, [Omission(".env", 3, "secret by name")])


def put_together(asked: ContextRequest, found: Project, texts: dict[str, str]) -> tuple[dict[str, object], Assembled]:
    selection = Selection([Pick(file, "because") for file in found.files], [Omission("b.js", 1, "other")])

    def read(path: str) -> Text | Unreadable:
        return Text(texts[path], hashlib.sha256(texts[path].encode("utf-8", "replace")).hexdigest())

    made = assemble(asked, found, selection, read)
    body = made.head + ending(1_700_000_000.25, False)
    assert len(body) <= asked.budget_bytes
    whole: dict[str, object] = msgspec.json.decode(body)
    return whole, made


path = st.text(st.characters(exclude_characters="\0/"), min_size=1, max_size=60) | st.from_regex(
    r"[a-z]{1,8}/[a-z]{1,8}\.py", fullmatch=True
)
text = st.text(max_size=400) | st.builds(lambda line, times: line * times, st.text(max_size=30), st.integers(0, 2_000))
commits = st.lists(
    st.builds(Commit, hash=st.just("0" * 40), message=st.text(max_size=300), author=st.text(max_size=50),
              timestamp=st.just("t"), files=st.lists(path, max_size=50)), max_size=25)  # fmt: skip
changes = st.lists(st.builds(Change, path=path, status=st.just("modified"), diff=text), max_size=40)
gits = st.none() | st.builds(
    GitFacts, branch=st.none() | st.text(max_size=300), head=st.just("0" * 64), commits=commits, changes=changes,
    remote=st.text(max_size=300), remote_url=st.text(max_size=5_000), more_changes=st.integers(0, 1),
)  # fmt: skip
json_values = st.recursive(st.none() | st.booleans() | st.text(max_size=50), lambda inner: st.lists(inner, max_size=5))
outputs = st.lists(
    st.builds(PreviousOutput, agent=st.text(max_size=128), agent_type=st.just("t"), timestamp=st.just("t"),
              status=st.just("success"), decisions=st.lists(json_values, max_size=30),
              files_affected=st.lists(path, max_size=30), result_id=st.just("r")), max_size=8)  # fmt: skip
budgets = st.integers(4096, 20_000) | st.integers(20_000, 2_000_000)


@settings(max_examples=100, deadline=None)
@given(
    budgets,
    st.dictionaries(path, text, max_size=30),
    gits,
    outputs,
    st.tuples(st.sampled_from(["i", LONGEST]), st.text(max_size=4096)),
)
def test_never_over_budget(
    budget: int, texts: dict[str, str], git: GitFacts | None, results: list[PreviousOutput], names: tuple[str, str]
) -> None:
    """For every budget and project the answer is JSON, within the budget, honest about what it left out."""
    name, root = names
    whole, made = put_together(request(budget, results, name), project(texts, git, root), texts)
    context = whole["context"]
    assert isinstance(context, dict)
    files = context["relevant_files"]
    assert whole["file_count"] == made.file_count == len(files)
    assert whole["truncated"] is made.truncated
    left_out = [one for one in texts if shown(one) not in {file["path"] for file in files}]
    assert whole["omitted_count"] == len(left_out) + 2
    assert not left_out or made.truncated
    for file in files:
        whole_text = next(texts[one] for one in texts if shown(one) == file["path"])
        assert whole_text.startswith(file["content"])
        assert file["truncated"] is (file["content"] != whole_text)
        assert made.truncated or not file["truncated"]


def test_all_of_it_when_it_fits() -> None:
    """With room for everything nothing is cut, and every field of the contract is there."""
    texts = {"a.py": "print()\n", "d/b.md": "# b\n"}
    git = GitFacts(
        "main", "0" * 40, [Commit("1" * 40, "m", "a", "t", ["a.py"])], [Change("a.py", "modified", "diff")], None, None
    )
    output = PreviousOutput("a-1", "architect", "t", "success", ["use x"], ["a.py"], "r-1")
    whole, _ = put_together(request(10_485_760, [output]), project(texts, git), texts)
    assert list(whole) == [
        "issue_id", "agent_type", "context", "truncated", "truncation_strategy", "omitted", "omitted_count",
        "total_size_bytes", "file_count", "timestamp", "cache_hit",
    ]  # fmt: skip
    assert (whole["truncated"], whole["truncation_strategy"]) == (False, "none")
    assert whole["timestamp"] == "2023-11-14T22:13:20.250Z"
    assert whole["total_size_bytes"] == 12
    context = msgspec.to_builtins(whole["context"])
    assert context["project_structure"] == {
        "root": "/p", "files": ["a.py", "d/b.md"], "directories": ["d"], "total_files": 2, "total_size_bytes": 14,
    }  # fmt: skip
    assert context["relevant_files"][0] == {
        "path": "a.py",
        "content": "print()\n",
        "last_modified": "2023-11-14T22:13:20.000Z",
        "size": 9,
        "language": "python",
        "checksum": "sha256:" + hashlib.sha256(b"print()\n").hexdigest(),
        "reason": "because",
        "truncated": False,
        "tokens": 3,
    }
    assert context["git_context"]["uncommitted_changes"] == [{"path": "a.py", "status": "modified", "diff": "diff"}]
    assert context["previous_agent_outputs"][0]["decisions"] == ["use x"]
    assert context["metadata"]["redactions"] == 0


def test_big_file_is_cut_before_small_ones_go() -> None:
    """A file that is too big gives its first lines, and leaves room for those after it."""
    texts = {"a.py": "line\n" * 20_000, **{f"b{n}.py": "small\n" for n in range(9)}}
    whole, _ = put_together(request(40_000), project(texts), texts)
    files = msgspec.to_builtins(whole["context"])["relevant_files"]
    assert len(files) == 10
    assert files[0]["truncated"]
    assert files[0]["content"].endswith("line\n")
    assert len(files[0]["content"]) > 10_000


def test_results_stay_to_the_last() -> None:
    """Even the smallest answer tells what the last agent decided."""
    texts = {f"f{n}.py": "x" * 1_000 for n in range(50)}
    output = PreviousOutput("a-1", "architect", "t", "success", ["use hexagons"], ["a.py"], "r-1")
    whole, _ = put_together(request(4096, [output]), project(texts), texts)
    assert msgspec.to_builtins(whole["context"])["previous_agent_outputs"][0]["decisions"] == ["use hexagons"]


def test_budget_is_used() -> None:
    """A budget with plenty to fill it is filled to nine tenths."""
    texts = {f"f{n:04}.py": "x = 1\n" * 300 for n in range(400)}
    for budget in (50_000, 200_000):
        _, made = put_together(request(budget), project(texts), texts)
        assert len(made.head) + ENDING_BYTES > budget * 0.85


def test_every_byte_counts() -> None:
    """Over a run of budgets, each filled to the brim with a long list of omissions, none is exceeded."""
    texts = {f"f{n:03}.py": "x" * 999 for n in range(600)}
    found = project(texts)
    lengths = [4096 + step - len(put_together(request(4096 + step), found, texts)[1].head) for step in range(120)]
    assert min(lengths) < ENDING_BYTES + 48


def test_omitted_says_why() -> None:
    """What does not go in is listed with its reason, at most 500 of it, and counted."""
    texts = {f"f{n:04}.py": "x" * 5_000 for n in range(800)}
    whole, _ = put_together(request(200_000), project(texts), texts)
    omitted = msgspec.to_builtins(whole["omitted"])
    assert omitted[0]["why"] == OUT_OF_BUDGET
    assert len(omitted) <= 500 < int(str(whole["omitted_count"]))


def test_unreadable_is_omitted() -> None:
    """A file that gives no text is in ``omitted`` with the reason."""
    found = project({"a.bin": "x", "b.log": "y"})
    selection = Selection([Pick(file, "r") for file in found.files], [])
    made = assemble(
        request(10_000), found, selection, lambda name: Unreadable(TOO_BIG if name == "b.log" else "binary")
    )
    whole = msgspec.json.decode(made.head + ending(0, True))
    assert [(one["path"], one["why"]) for one in whole["omitted"][:2]] == [("a.bin", "binary"), ("b.log", TOO_BIG)]
    assert whole["truncated"] is True


def test_hostile_names_encode() -> None:
    """Names with control characters or bytes that are no UTF-8 break nothing and stay apart."""
    names = [b"a\nb.py", b"\x1b[31m.py", b"\xff.py", b"\xfe.py"]
    texts = {name.decode("utf-8", "surrogateescape"): "x" for name in names}
    whole, _ = put_together(request(10_000), project(texts), texts)
    listed = [file["path"] for file in msgspec.to_builtins(whole["context"])["relevant_files"]]
    assert set(listed) == {"a\nb.py", "\x1b[31m.py", "\\xff.py", "\\xfe.py"}


def test_same_input_same_bytes() -> None:
    """The answer is a function of what it is made from."""
    texts = {"a.py": "x" * 9_000, "b.py": "y"}
    heads = {put_together(request(9_000), project(texts), texts)[1].head for _ in range(3)}
    assert len(heads) == 1


@given(st.text(max_size=200), st.integers(2, 300))
def test_head_fits(content: str, most: int) -> None:
    """The head of a text is a prefix of it whose JSON fits."""
    head = head_of(content, most)
    assert content.startswith(head)
    assert len(encode(head)) <= most


@pytest.mark.parametrize(("most", "count"), [(2, 0), (3, 1), (4, 1), (5, 2), (7, 3), (99, 3)])
def test_list_fits_to_the_byte(most: int, count: int) -> None:
    """A list takes all the items that its bound has room for."""
    fitted = fit_list([1, 2, 3], most)
    assert (fitted.count, len(fitted.json) <= most, fitted.cut) == (count, True, count < 3)
