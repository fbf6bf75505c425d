"""A context as Markdown: within its budget to the byte, and nothing in it ends its own block."""

import hashlib
import re
from collections.abc import Iterator

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.core.context.assembly import Assembled
from cco_sidecar.core.context.markdown import LEAST_BYTES, markdown
from cco_sidecar.core.context.project import Change, Commit, GitFacts, Omission, Project, Text
from cco_sidecar.core.context.request import PreviousOutput
from cco_sidecar.core.context.selection import Pick, Selection
from cco_sidecar.core.context.tokens import BYTES_PER_TOKEN, tokens_in
from tests.core.test_context_assembly import LONGEST, gits, outputs, path, project, request, taking, text

OURS = re.compile(
    r"# Context of .* on .*|## (Task|Project|Git|Uncommitted changes|Diffs|Recent commits|Earlier agents|Files)"
    r"|## Left out: \d+ files|### `.*`"
)


def written(
    budget: int,
    texts: dict[str, str],
    git: GitFacts | None = None,
    results: list[PreviousOutput] | None = None,
    *,
    task: str = "",
    name: str = "issue-1",
    found: Project | None = None,
) -> Assembled:
    """Make a document of files, in their order of path."""
    there = found or project(texts, git)
    selection = Selection([Pick(file, "because") for file in there.files], [Omission("b.js", 1, "other")])

    def read(one: str) -> Text:
        return Text(texts[one], hashlib.sha256(texts[one].encode("utf-8", "replace")).hexdigest())

    asked = evolve(request(budget, results, name), task=task)
    return markdown(asked, there, selection, taking(asked, there, read))


def blocks(document: str) -> Iterator[tuple[str, str, bool]]:
    """Give each line outside of fences and each fenced block, as CommonMark reads them: text, info, whether fenced."""
    fence, info, inside = "", "", list[str]()
    for line in re.split(r"\r\n|\n|\r", document):
        opened = re.fullmatch(r" {0,3}(`{3,})([^`]*)", line)
        if fence:
            closed = re.fullmatch(r" {0,3}(`{3,})[ \t]*", line)
            if closed and len(closed[1]) >= len(fence):
                yield "\n".join(inside), info, True
                fence, inside = "", []
            else:
                inside.append(line)
        elif opened:
            fence, info = opened[1], opened[2]
        else:
            yield line, "", False
    assert not fence, "a block is not closed"


hostile = st.lists(
    st.sampled_from(["```", "````\n", "\n", "# Context of x", "## Files\n", "~~~\n", "    ", "a", "<!--", "\r", "`"]),
    max_size=40,
).map("".join)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(LEAST_BYTES, 6_000) | st.integers(6_000, 300_000),
    st.dictionaries(path, text | hostile, max_size=20),
    gits,
    outputs,
    st.tuples(st.sampled_from(["i", LONGEST]), hostile | st.text(max_size=3_000)),
)
def test_never_over_budget(
    budget: int, texts: dict[str, str], git: GitFacts | None, results: list[PreviousOutput], said: tuple[str, str]
) -> None:
    """For every budget and project it fits, its blocks are closed, and every heading in it is ours."""
    name, task = said
    made = written(budget, texts, git, results, task=task, name=name)
    assert len(made.head) <= budget
    assert tokens_in(len(made.head)) <= -(-budget // BYTES_PER_TOKEN)
    document = made.head.decode()
    assert document.startswith(f"# Context of {name} on {name}\n")
    outside = [line for line, _, fenced in blocks(document) if not fenced]
    assert [line for line in outside if line.startswith("#") and not OURS.fullmatch(line)] == []
    assert sum(line.startswith("### ") for line in outside) == made.file_count
    assert made == written(budget, texts, git, results, task=task, name=name)
    left_out = len(texts) - made.file_count + 2
    assert any(line == f"## Left out: {left_out} files" for line in outside) or made.truncated


def test_all_of_it_when_it_fits() -> None:
    """With room for everything it has the task, the project, changes, history, results and whole files."""
    texts = {"a.py": "print()\n", "d/b.md": "# b\n```\ncode\n```\n", "no-end": "x"}
    git = GitFacts(
        "main",
        "0" * 40,
        [Commit("1" * 40, "Begin\n\nmore", "Ada", "2026-01-02T03:04:05.000Z", ["a.py"])],
        [Change("a.py", "modified", "-old\n+new\n"), Change("c.py", "deleted")],
        None,
        None,
    )
    output = PreviousOutput("a-1", "architect", "t", "success", ["use x", {"why": ["y"]}], ["a.py"], "r-1")
    made = written(1_000_000, texts, git, [output], task="Fix a.py,\n```\nplease.")
    assert (made.truncated, made.file_count) == (False, 3)
    assert made.head.decode() == DOCUMENT


DOCUMENT = """\
# Context of issue-1 on issue-1

The project as it is now, best files first.

## Task

````text
Fix a.py,
```
please.
````

## Project

- `p`: 3 files, 31 bytes
- Kind: `python`
- Languages: python (3)
- Depends on: NAMES, …
- `d/`

## Git

Branch `main`, at `0000000000`.

## Uncommitted changes

- `a.py`: modified
- `c.py`: deleted

## Diffs

```diff
-old
+new
```

## Recent commits

- `1111111111` Begin (Ada, 2026-01-02)

## Earlier agents

- `a-1` (architect): success, t
  - use x
  - {"why":["y"]}
  - files: `a.py`

## Files

### `a.py`

python, 9 bytes: because

```python
print()
```

### `d/b.md`

markdown, 21 bytes: because

````markdown
# b
```
code
```
````

### `no-end`

unknown, 1 bytes: because

```text
x
```

## Left out: 2 files

- `.env` (3 bytes): secret by name
- `b.js` (1 bytes): other
""".replace("NAMES", ", ".join(["`" + "x" * 50 + "`"] * 30))


def test_hostile_names() -> None:
    """Names and messages stay in one line, whatever stands in them."""
    name = "a`b\n## Files\n```\u2028\x1b[31m.py"
    git = GitFacts(
        "x\n# y", "0" * 40, [Commit("1" * 40, "```\n# z", "\n# A", "t", [])], [Change(name, "m")], None, None
    )
    output = PreviousOutput("a", "t", "t", "success", ["one\n# two"], [name], "r")
    document = written(50_000, {name: "x"}, git, [output]).head.decode()
    assert "### ```` a`b ## Files ```\\u2028\\x1b[31m.py ````\n" in document
    assert [line for line in document.splitlines() if line.startswith("#") and not OURS.fullmatch(line)] == []
    assert "\x1b" not in document


def test_secrets_of_a_task() -> None:
    """A secret in the task is replaced; that some were is said at the top."""
    key = "AKIA" + "Z2X9W4V7H3K5M8P6"
    document = written(50_000, {"a.py": "x"}, task=f"deploy with {key}").head.decode()
    assert key not in document
    assert "[REDACTED:aws-access-key-id]" in document


def test_many_files_each_short() -> None:
    """One big file does not push out the others, and what is cut says so."""
    texts = {"a.py": "line\n" * 20_000, **{f"b{n}.py": "small\n" for n in range(9)}}
    made = written(12_000, texts)
    document = made.head.decode()
    assert made.file_count == 10
    assert made.truncated
    assert "python, 120000 bytes, shortened: because" in document


def test_files_are_cut_for_the_document() -> None:
    """In a short document files are many and short: each has its outline to the end, and says what it lacks."""
    body = "    work()\n" * 60
    texts = {f"f{n:02}.py": "".join(f"def part_{n}_{m}() -> None:\n{body}" for m in range(9)) for n in range(30)}
    made = written(24_000, texts, task="part_7_8 is wrong")
    files = made.head.decode().split("\n### `")[1:]
    assert made.file_count == len(files) == 30
    assert len(made.head) > 21_000
    whole = [file for file in files if "omitted\n```\n" in file]
    assert len(whole) >= len(files) - 1  # the last may be cut where the page ends
    assert all(f"def part_{n}_8()" in file for n, file in enumerate(whole))


@pytest.mark.parametrize("budget", range(4_000, 4_400, 7))
def test_files_with_long_fences_are_in_or_named(budget: int) -> None:
    """Where the page ends, a file that needs a longer fence is cut the more: none is lost."""
    texts = {f"f{n}.md": "`" * 60 + "\ntext\n" * (40 + n) for n in range(12)}
    made = written(budget, texts)
    document = made.head.decode()
    assert made.file_count == document.count("\n### `") >= 2
    assert f"## Left out: {14 - made.file_count} files" in document
    assert len(made.head) <= budget


def test_diffs_are_cut() -> None:
    """A long diff gives its beginning, and leaves room for the next."""
    git = GitFacts("main", None, [], [Change(f"f{n}", "modified", "+line\n" * 5_000) for n in range(3)], None, None)
    document = written(40_000, {"a.py": "x"}, git).head.decode()
    assert document.count("(The rest of this diff is left out.)") == 3


def test_left_out_is_listed() -> None:
    """What does not fit is named at the end, with its reason, and counted."""
    texts = {f"f{n:03}.py": "x = 1\n" * 300 for n in range(100)}
    made = written(30_000, texts)
    last = made.head.decode().partition("\n## Left out: ")[2]
    assert last.startswith(f"{102 - made.file_count} files\n\n")
    assert f"- `f{made.file_count:03}.py` (2100 bytes): over the budget\n" in last
    assert re.search(r"\n- and \d+ more\n$", last)


@pytest.mark.parametrize("budget", [3_000, 24_000, 200_000])
def test_budget_is_used(budget: int) -> None:
    """A budget with plenty to fill it is filled to nine tenths."""
    texts = {f"f{n:04}.py": "x = 1\n" * 300 for n in range(400)}
    assert len(written(budget, texts).head) > budget * 0.9


def test_smallest() -> None:
    """The smallest document still says whose it is and what is to be done."""
    made = written(LEAST_BYTES, {"a.py": "x\n" * 900}, task="Fix a.py.\n" * 50, name=LONGEST)
    document = made.head.decode()
    assert f"# Context of {LONGEST} on {LONGEST}\n" in document
    assert "Fix a.py." in document


def test_every_byte_counts() -> None:
    """Over a run of budgets none is exceeded, and the room is used to the last lines."""
    texts = {f"f{n:03}.py": "é" * 499 for n in range(60)}
    lengths = [3_000 + step - len(written(3_000 + step, texts).head) for step in range(80)]
    assert min(lengths) >= 0
    assert max(lengths) < 300


def test_brim() -> None:
    """Where hardly a heading fits any more, even below the least budget, none is written beyond the last byte."""
    texts = {f"f{n}.py": "x = 1\n" * 9 for n in range(3)}
    changes = [Change(f"f{n}.py", "modified", "+x\n" * 99) for n in range(99)]
    commits = [Commit("1" * 40, "m" * 99, "a", "t", [], redactions=1)] * 9
    git = GitFacts("main", "0" * 40, commits, changes, None, None)
    output = PreviousOutput("a-1", "architect", "t", "success", ["use x"] * 99, ["a.py"], "r-1")
    for budget in range(LEAST_BYTES - 500, LEAST_BYTES + 100, 3):
        made = written(budget, texts, git, [output], task="Fix it.\n" * 90, name=LONGEST)
        assert len(made.head) <= budget
        assert made.truncated


def test_half_a_character() -> None:
    """A task that holds half a character, as JSON can, is no stumbling block."""
    found = project({"a.py": "x"})
    assert b"fix ? now" in written(5_000, {"a.py": "x"}, task="fix \ud83d now", found=evolve(found, root="/")).head
