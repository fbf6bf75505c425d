"""The answer never exceeds its budget, whatever the project, and says what it left out."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.core.context.assembly import ENDING_BYTES, Assembled, assemble, ending
from cco_sidecar.core.context.budget import level_of
from cco_sidecar.core.context.filesection import OUT_OF_BUDGET, FileSection, Reader
from cco_sidecar.core.context.fitting import encode, fit_list, head_of, shown
from cco_sidecar.core.context.outline.comments import omission_line
from cco_sidecar.core.context.outline.cutting import cut
from cco_sidecar.core.context.outline.drawing import outline_of
from cco_sidecar.core.context.outline.focus import focus_of, focused_lines
from cco_sidecar.core.context.outline.shape import Outline, Outliner, lines_of
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
from cco_sidecar.core.secrets.redacting import redact

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


def outliner(language: str, text: str, _key: str) -> Outline:
    return outline_of(language, text, lambda _language, _text: None)


def reads(texts: dict[str, str]) -> Reader:
    def read(file: ProjectFile) -> Text:
        text = texts[file.path]
        return Text(text, hashlib.sha256(text.encode("utf-8", "replace")).hexdigest())

    return read


def taking(asked: ContextRequest, found: Project, read: Reader, draw: Outliner = outliner) -> FileSection:
    return FileSection(read, draw, focus_of(asked.task), found)


def put_together(asked: ContextRequest, found: Project, texts: dict[str, str]) -> tuple[dict[str, object], Assembled]:
    selection = Selection([Pick(file, "because") for file in found.files], [Omission("b.js", 1, "other")])

    made = assemble(asked, found, selection, taking(asked, found, reads(texts)))
    body = made.head + ending(1_700_000_000.25, False)
    assert len(body) <= asked.budget_bytes
    whole: dict[str, object] = msgspec.json.decode(body)
    return whole, made


def check_cut(file: dict[str, Any], whole_text: str) -> None:
    """What is shown of a file are its own lines, and one for each run of lines that are not shown."""
    ranges = file["omitted_lines"]
    lines = lines_of(whole_text)
    if ranges == [[1, len(lines)]]:
        assert whole_text.startswith(file["content"])
        return
    rebuilt = []
    at = 0
    for first, last in ranges:
        assert at < first <= last <= len(lines)
        rebuilt += [*lines[at : first - 1], omission_line(file["language"], first, last)]
        at = last
    assert file["content"] == "".join((*rebuilt, *lines[at:]))


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
        assert file["truncated"] is ("omitted_lines" in file)
        if file["truncated"]:
            check_cut(file, whole_text)
        else:
            assert file["content"] == whole_text
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
    ((first, last),) = files[0]["omitted_lines"]
    assert files[0]["content"].endswith("line\n" + omission_line("python", first, last))
    assert last == 20_000
    assert len(files[0]["content"]) > 10_000


def relevant(whole: dict[str, object]) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = msgspec.to_builtins(whole["context"])["relevant_files"]
    return files


def test_outline_and_windows() -> None:
    """Of a big file come the definitions to its end, and what lies around the words of the task."""
    body = "    pass\n" * 50
    texts = {f"a{n}.kt": "".join(f"class C{n}x{m} {{\n{body * 3}}}\n" for m in range(15)) for n in range(30)}
    texts["b.kt"] = (
        "class A {\n" + body * 20 + "  negativePrice()\n" + body * 20 + "}\nclass Last {\n" + body * 20 + "}\n"
    )
    asked = evolve(request(60_000), task="A negativePrice must be refused.")
    whole, _ = put_together(asked, project(texts), texts)
    files = {file["path"]: file for file in relevant(whole)}
    assert len(files) == 31
    assert "class C0x14 {" in files["a0.kt"]["content"]
    kept = files["b.kt"]["content"]
    assert all(line in kept for line in ("class A {", "class Last {", "    pass\n  negativePrice()\n    pass\n"))
    assert len(kept) < 1_000 < len(texts["b.kt"])


def test_best_are_whole() -> None:
    """Where there is room for many, the best are not cut, though they are bigger than the others may be."""
    texts = {f"f{n:02}.txt": f"word{n}\n" * (4_000 if n % 2 else 500) for n in range(40)}
    whole, _ = put_together(request(400_000), project(texts), texts)
    files = relevant(whole)
    assert len(files) == 40
    cut = [place for place, file in enumerate(files) if file["truncated"]]
    assert cut == list(range(cut[0], 40, 2))
    assert cut[0] > 3
    assert all(len(files[place]["content"]) > 8_192 for place in cut)


def test_named_and_changed_files_are_cut_last() -> None:
    """What the task names or what is changed stays whole, and in its place, where the rest has to be cut or to go."""
    texts = {f"f{n:02}.txt": f"word{n}\n" * 900 for n in range(40)}
    found = project(texts)
    files = [evolve(file, status="modified") if file.path == "f30.txt" else file for file in found.files]
    picks = [Pick(file, "because", named=file.path == "f39.txt") for file in files]
    taken = taking(request(60_000), found, reads(texts))
    made = assemble(request(60_000), evolve(found, files=files), Selection(picks, []), taken)
    got = relevant(msgspec.json.decode(made.head + ending(0, False)))
    assert [file["path"] for file in got] == sorted(file["path"] for file in got)
    assert [file["truncated"] for file in got if file["path"] in ("f30.txt", "f39.txt")] == [False, False]
    assert len(got) < 20


def test_windows_of_a_changed_file() -> None:
    """Of a big file that is changed come the lines around the changes."""
    text = "".join(f"line {n}\n" for n in range(1, 5_001))
    git = GitFacts(
        "main", "0" * 40, [], [Change("a.py", "modified", "@@ -3000 +3000 @@\n-x\n+line 3000\n")], None, None
    )
    whole, _ = put_together(request(10_000), project({"a.py": text}, git), {"a.py": text})
    (file,) = relevant(whole)
    assert "line 2997\nline 2998\nline 2999\nline 3000\nline 3001\n" in file["content"]
    assert len(file["omitted_lines"]) == 2


def test_generated_is_named() -> None:
    """A file that says a program wrote it is named with its size, and makes no answer truncated."""
    texts = {"a.go": "// Code generated by x. DO NOT EDIT.\npackage a\n", "b.go": "package b\n"}
    whole, made = put_together(request(60_000), project(texts), texts)
    assert [file["path"] for file in relevant(whole)] == ["b.go"]
    omitted = msgspec.to_builtins(whole["omitted"])
    assert omitted[0] == {"path": "a.go", "size": 49, "why": "generated"}
    assert not made.truncated


def test_unused_share_goes_on() -> None:
    """What small files leave of a small budget is history's and the tree's; what is full keeps to its share."""
    git = GitFacts(
        "main", "0" * 40, [Commit("1" * 40, "m" * 200, "a", "t", ["a.py"]) for _ in range(20)],
        [Change("a.py", "modified", "+" * 900)], None, None,
    )  # fmt: skip
    small = {"a.py": "x = 1\n"}
    whole, _ = put_together(request(12_000), project(small, git), small)
    facts = msgspec.to_builtins(whole["context"])["git_context"]
    assert len(facts["recent_commits"]) == 20
    assert facts["uncommitted_changes"][0]["diff"] == "+" * 900
    many = {f"f{n}.py": "x = 1\n" * 100 for n in range(60)}
    whole, _ = put_together(request(12_000), project(many, git), many)
    context = msgspec.to_builtins(whole["context"])
    assert len(encode(context["git_context"])) < 12_000 // 7
    assert len(encode(context["project_structure"])) < 12_000 // 7
    assert len(encode(context["relevant_files"])) > 12_000 // 2


def test_what_is_left_over_grows_the_cut() -> None:
    """When outlines are so short that all files got one, and there is room still, those that were cut get it."""
    texts = {f"f{n:02}.kt": f"class C{n} {{\n" + "  x()\n" * 4_000 + "}\nclass Z {}\n" for n in range(30)}
    whole, made = put_together(request(200_000), project(texts), texts)
    files = relevant(whole)
    assert len(files) == 30
    assert all("class Z {}" in file["content"] for file in files)
    assert [file["truncated"] for file in files[:5]] == [False] * 5
    assert len(made.head) + ENDING_BYTES > 195_000


def test_growing_takes_nothing_away() -> None:
    """What was looked at closely before stays so when it grows, though the time for close looks is used up."""
    texts = {f"f{n:02}.kt": f"class C{n} {{\n" + "  x()\n" * 60_000 + "}\nclass Z {}\n" for n in range(6)}
    whole, made = put_together(request(40_000), project(texts), texts)
    files = relevant(whole)
    assert [("class Z {}" in file["content"]) for file in files] == [True] * 3 + [False] * 3
    assert len(made.head) + ENDING_BYTES > 38_000


def test_closer_look_is_bounded() -> None:
    """Of very many files that are cut only the best are looked at closely; the others are cut to their beginnings."""
    asked: list[str] = []

    def counting(language: str, text: str, key: str) -> Outline:
        asked.append(key)
        return outliner(language, text, key)

    texts = {f"f{n:02}.kt": f"class C{n} {{\n" + "  x()\n" * 20_000 + "}\nclass Z {}\n" for n in range(40)}
    found = project(texts)
    made = assemble(
        request(500_000),
        found,
        Selection([Pick(file, "r") for file in found.files], []),
        taking(request(500_000), found, reads(texts), counting),
    )
    files = relevant(msgspec.json.decode(made.head + ending(0, False)))
    assert len(files) == 40
    assert len(set(asked)) == 9
    assert ["class Z {}" in file["content"] for file in files] == [True] * 9 + [False] * 31
    assert all(file["content"].startswith("class C") and file["omitted_lines"] for file in files)


def test_level() -> None:
    """Small files are whole, big ones alike; what is not taken is for the next; if not all get that, 8 kB for each."""
    level = level_of([10_000, 50_000, 90_000], 100_000)
    assert level.fill
    assert level.favour == 25_000
    assert [level.allowance(turn, left) for turn, left in enumerate([75_000, 65_000, 32_500])] == [
        32_500, 32_500, 32_500
    ]  # fmt: skip
    assert level.allowance(2, 60_000) == 60_000
    assert [level.beyond(size) for size in (10_000, 50_000)] == [0, 17_500]
    tight = level_of([20_000] * 100, 100_000)
    assert not tight.fill
    assert tight.favour == 0
    assert level_of([20_000] * 1_000, 800_000).favour == 200_000
    assert [tight.allowance(turn, left) for turn, left in ((0, 100_000), (99, 100_000), (9, 900))] == [
        8_192,
        8_192,
        900,
    ]
    assert level_of([1, 2], 100).allowance(0, 100) >= 1
    assert level_of([], 100).fill


def test_redactions_of_what_is_shown() -> None:
    """Secrets that are replaced in lines that are not shown do not count."""
    content = "a = [REDACTED:x]\n" * 2 + "b = 1\n" * 20_000 + "c = [REDACTED:x]\n" * 3
    found = project({"a.py": content})
    made = assemble(
        request(20_000),
        found,
        Selection([Pick(found.files[0], "r")], []),
        taking(request(20_000), found, lambda _: Text(content, "0" * 64, 5)),
    )
    whole = msgspec.json.decode(made.head + ending(0, False))
    assert whole["context"]["metadata"]["redactions"] == relevant(whole)[0]["content"].count("[REDACTED:") < 5


def test_secret_is_not_cut_in_half() -> None:
    """Wherever the cut falls, of a secret nothing is shown: it is replaced before."""
    secret = "ghp_" + "a8Kd0Lm3Qw5Zx7Vb9Nc1Rt2Yp4Us6Hj8G"[:32] + "x1Yz"
    key = (
        "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpQIBAAKCAQEA7bq9xkVgk2wq\n" * 12 + "-----END RSA PRIVATE KEY-----\n"
    )
    plain = (
        "class A {\n" + "  call()\n" * 60 + f'  token = "{secret}"\n{key}' + "  call()\n" * 400 + f"x {secret} " * 90
    )
    content, counts = redact(plain)
    assert counts.total() > 3
    for most in range(60, 4_000, 37):
        for fill in (True, False):
            focused = focused_lines(focus_of(f"{secret} token BEGIN MIIEpQIBAAKCAQEA"), content, lines_of(content))
            kept = cut(content, "kotlin", outliner("kotlin", content, ""), focused, most, fill=fill).content
            assert "ghp_" not in kept
            assert secret[8:16] not in kept
            assert "MIIE" not in kept


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
    asked = request(10_000)
    files = taking(asked, found, lambda file: Unreadable(TOO_BIG if file.path == "b.log" else "binary"))
    made = assemble(asked, found, selection, files)
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
