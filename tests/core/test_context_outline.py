"""Outlines without a grammar, which lines matter to a task, and files cut down to them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.core.context.fitting import encode
from cco_sidecar.core.context.generated import generated_path, generated_text
from cco_sidecar.core.context.outline.comments import omission_line
from cco_sidecar.core.context.outline.cutting import Cut, beginning, cut
from cco_sidecar.core.context.outline.documents import document_outline
from cco_sidecar.core.context.outline.drawing import outline_of
from cco_sidecar.core.context.outline.focus import changed_lines, focus_of, focused_lines
from cco_sidecar.core.context.outline.plain import plain_outline
from cco_sidecar.core.context.outline.shape import Outline, Part, lines_of

MARKDOWN = """Intro, before all.

# Shop

It sells things,
and more.

Second paragraph.

## Prices

```bash
# no heading
```

Text
----

after
"""
RST = """====
Shop
====

It sells.

Prices
======

They are high.

Low
---

x
"""
ADOC = """= Shop

It sells.

== Prices

High.
"""
KOTLIN = """package a
// note
data class Shop(val name: String) {
    fun sell(x: Int): Int {
        return x
    }
}
fun main() {}
"""
YAML = """# settings
name: shop
on:
  push:
    branches: [main]
jobs:
  - one
"""
JSON = """{
  "name": "shop",
  "scripts": {
    "test": "x"
  },
  "a": [1,
  2]
}
"""
TOML = """title = "x"
[tool.ruff]
line-length = 1
"""
MAKE = """X := 1
test: build ## run
\tpytest
"""
SQL = """-- shop
CREATE TABLE shop (
    id INTEGER
);
create or replace function f() returns int as $$
"""


def shown(text: str, outline: Outline) -> list[str]:
    """The lines of an outline, its documentation in brackets."""
    lines = lines_of(text)
    found = []
    for part in outline:
        found += [f"{part.depth} {line.rstrip()}" for line in lines[part.start : part.stop]]
        found += [f"({line.strip()})" for line in lines[part.doc_start : part.doc_stop]]
    return found


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("markdown", MARKDOWN, [
            "0 Intro, before all.", "0 # Shop", "(It sells things,)", "(and more.)", "1 ## Prices", "(```bash)",
            "(# no heading)", "(```)", "1 Text", "1 ----", "(after)"]),
        ("restructuredtext", RST, [
            "0 ====", "0 Shop", "0 ====", "(It sells.)", "1 Prices", "1 ======", "(They are high.)", "2 Low", "2 ---",
            "(x)"]),
        ("text", "One\nparagraph.\n\nAnother.\n", ["0 One", "0 paragraph."]),
        ("text", ADOC, ["0 = Shop", "(It sells.)", "1 == Prices", "(High.)"]),
    ],
)  # fmt: skip
def test_documents(language: str, text: str, expected: list[str]) -> None:
    """A document gives its headings and the first paragraph below each."""
    assert shown(text, document_outline(language, text)) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("kotlin", KOTLIN, ["0 package a", "0 data class Shop(val name: String) {",
                            "1     fun sell(x: Int): Int {", "0 fun main() {}"]),
        ("yaml", YAML, ["0 name: shop", "0 on:", "1   push:", "0 jobs:"]),
        ("json", JSON, ['1   "name": "shop",', '1   "scripts": {', '2     "test": "x"', '1   "a": [1,']),
        ("toml", TOML, ['0 title = "x"', "0 [tool.ruff]", "0 line-length = 1"]),
        ("make", MAKE, ["0 test: build ## run"]),
        ("sql", SQL, ["0 CREATE TABLE shop (", "0 create or replace function f() returns int as $$"]),
    ],
)  # fmt: skip
def test_plain(language: str, text: str, expected: list[str]) -> None:
    """Without a grammar what looks like a definition, a section or a key is the outline."""
    assert shown(text, plain_outline(language, text)) == expected


def test_plain_ends() -> None:
    """A part reaches to the next that is no deeper."""
    assert [(part.start, part.end) for part in plain_outline("kotlin", KOTLIN)] == [(0, 2), (2, 7), (3, 7), (7, 8)]


def test_parser_comes_first() -> None:
    """What a parser knows is the outline; what it does not know is drawn plainly; a document is never parsed."""
    part = Part(0, 1, 1, 0)
    assert outline_of("kotlin", KOTLIN, lambda language, text: [part]) == [part]
    assert len(outline_of("kotlin", KOTLIN, lambda language, text: None)) == 4
    assert outline_of("markdown", "# A\n", lambda language, text: pytest.fail("parsed")) == [Part(0, 1, 1, 0, 1, 1)]


def test_lines_as_editors_count() -> None:
    """Only a line feed ends a line; nothing is lost."""
    assert lines_of("a\u2028b\x0c\r\nc") == ["a\u2028b\x0c\r\n", "c"]
    assert lines_of("a\n") == ["a\n"]
    assert lines_of("") == []


def test_focus() -> None:
    """Lines with rare words of the task come first; dull and short words say nothing; a plural finds the singular."""
    text = "price = 1\n" * 5 + "the line with a\nnegative price\nPRICES\nprice_list\n"
    focus = focus_of("The prices must not be negative: fix it, see line a")
    assert focus.terms == {"price", "negative"}
    assert focused_lines(focus, text, lines_of(text))[:2] == [6, 0]
    assert 5 not in focused_lines(focus, text, lines_of(text))
    assert focused_lines(focus_of("fix the line"), text, lines_of(text)) == []


def test_focus_is_on_whole_words() -> None:
    """A word of the task is found where a word or a part of an identifier begins, not inside another."""
    text = "password\nswordfish\nclass HTTPWord\nmyWord = 1\nthe_word\nword\n"
    assert sorted(focused_lines(focus_of("words"), text, lines_of(text))) == [2, 3, 4, 5]


def test_rare_words_say_more() -> None:
    """One word that the file has once is worth more than two that are everywhere."""
    text = "alpha beta\n" * 30 + "gamma\n"
    assert focused_lines(focus_of("alpha beta gamma"), text, lines_of(text))[0] == 30


def test_focus_is_bounded() -> None:
    """However long task and file are, there are at most 24 lines and 200 words."""
    focus = focus_of(" ".join(f"word{n}" for n in range(1_000)))
    assert len(focus.terms) == 200
    text = "word1 word2\n" * 50_000
    assert focused_lines(focus, text, lines_of(text)) == list(range(24))


def test_changed_lines() -> None:
    """A diff gives the first line of each run of changes, by the new text; a line that was taken out, its place."""
    diff = "--- a/x\n+++ b/x\n@@ -1,4 +1,5 @@ def f\n a\n-b\n+c\n+d\n e\n f\n@@ -20,3 +21,2 @@\n g\n-h\n i\n"
    assert changed_lines(diff) == [1, 21]
    assert changed_lines("@@ -1,5 +1,3 @@\n a\n-b\n-c\n d\n-e\n+f\n") == [1, 2]
    assert changed_lines("") == []


LINES = "".join(f"line {number}\n" for number in range(1, 101))


def test_windows_and_outline() -> None:
    """Around the lines that matter there is a window, with the parts that they lie in; the rest is named."""
    outline = [Part(9, 10, 60, 0), Part(19, 21, 40, 1, 21, 22)]
    kept = cut(LINES, "python", outline, [35], 600, fill=False)
    assert kept.content == (
        "# … lines 1–9 omitted\nline 10\n# … lines 11–19 omitted\nline 20\nline 21\nline 22\n"  # noqa: RUF001
        "# … lines 23–32 omitted\n" + "".join(f"line {n}\n" for n in range(33, 40)) + "# … lines 40–100 omitted\n"  # noqa: RUF001
    )
    assert kept.omitted == [(1, 9), (11, 19), (23, 32), (40, 100)]


def test_windows_leave_room_for_the_outline() -> None:
    """Very many lines that matter do not take the place of the outline."""
    outline = [Part(number, number + 1, number + 2, 0) for number in range(60, 100, 8)]
    kept = cut(LINES, "go", outline, list(range(50)), 600, fill=False)
    assert all(f"line {part.start + 1}\n" in kept.content for part in outline)
    assert "line 1\n" in kept.content


def test_fill() -> None:
    """To fill, the rest of the part around a line that matters comes before the beginning of the file."""
    outline = [Part(49, 50, 70, 0)]
    kept = cut(LINES, "go", outline, [55], 330, fill=True)
    assert "line 70\n" in kept.content
    assert kept.omitted[-1] == (71, 100)
    assert kept.omitted[0][0] > 1


def test_no_gap_where_the_line_is_as_short() -> None:
    """A line is shown rather than named where that takes no more."""
    kept = cut("a\nb\n\nc\n" + "long\n" * 50, "go", [Part(0, 1, 2, 0), Part(3, 4, 5, 0)], [], 200, fill=False)
    assert kept.content.startswith("a\nb\n\nc\n")


def test_endless_line() -> None:
    """A text of one line is shown from its beginning, and said to be cut."""
    kept = cut("x" * 9_000, "unknown", [], [], 300, fill=True)
    assert set(kept.content) == {"x"}
    assert 280 <= len(kept.content) <= 300
    assert kept.omitted == [(1, 1)]


parts = st.builds(
    lambda start, lines, more, depth, doc: Part(start, start + lines, start + lines + more, depth, *doc),
    st.integers(0, 30), st.integers(1, 3), st.integers(0, 20), st.integers(0, 5),
    st.tuples(st.integers(0, 30), st.integers(0, 3)).map(lambda one: (one[0], one[0] + one[1])),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(max_size=60), min_size=1, max_size=60).map("\n".join).filter(bool),
    st.sampled_from(["python", "css", "markdown", "unknown"]),
    st.lists(parts, max_size=12),
    st.lists(st.integers(-3, 80), max_size=10),
    st.tuples(st.integers(40, 2_000), st.booleans()),
)
def test_cut_keeps_to_its_bytes(
    text: str, language: str, outline: Outline, focused: list[int], how: tuple[int, bool]
) -> None:
    """Whatever the text: within the bytes, of the file's own lines and in their order, all that is left out named."""
    lines = lines_of(text)
    most, fill = how
    kept = cut(text, language, outline, focused, most, fill=fill)
    assert len(encode(kept.content)) - 2 + len(encode(kept.omitted)) - 2 <= most
    assert kept == cut(text, language, outline, focused, most, fill=fill)
    if kept.omitted != [(1, len(lines))]:
        assert kept.content == rebuilt(lines, language, kept)
    else:
        assert text.startswith(kept.content)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=60).map("\n".join).filter(bool), st.integers(40, 2_000))
def test_beginning_keeps_to_its_bytes(text: str, most: int) -> None:
    """The same holds of a mere beginning, which is as much of it as fits."""
    lines = lines_of(text)
    kept = beginning(text, "python", most)
    assert len(encode(kept.content)) - 2 + len(encode(kept.omitted)) - 2 <= most
    if kept.omitted != [(1, len(lines))]:
        assert len(kept.omitted) == 1
        assert kept.content == rebuilt(lines, "python", kept)
    else:
        assert text.startswith(kept.content)


def rebuilt(lines: list[str], language: str, kept: Cut) -> str:
    found = []
    at = 0
    for first, last in kept.omitted:
        found += [*lines[at : first - 1], omission_line(language, first, last)]
        at = last
    return "".join((*found, *lines[at:]))


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("python", "# … line 3 omitted\n"),
        ("go", "// … line 3 omitted\n"),
        ("css", "/* … line 3 omitted */\n"),
        ("markdown", "<!-- … line 3 omitted -->\n"),
        ("unknown", "… line 3 omitted\n"),
    ],
)
def test_omission_is_a_comment(language: str, line: str) -> None:
    """The line that stands for others is a comment of the language."""
    assert omission_line(language, 3, 3) == line


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("uv.lock", "generated or lock file"), ("web/package-lock.json", "generated or lock file"),
        ("a/x.min.js", "generated or lock file"), ("a_pb2.py", "generated or lock file"),
        ("vendor/a/b.go", "vendored"), ("web/node_modules/x/index.js", "vendored"), ("Third_Party/z.c", "vendored"),
        ("static/jquery-3.7.1.js", "vendored"), ("static/bootstrap.4.2.css", "vendored"),
        ("vendor.py", ""), ("src/vendors.py", ""), ("jquery.py", ""), ("lock.py", ""), ("src/react.js", ""),
    ],
)  # fmt: skip
def test_generated_by_path(path: str, why: str) -> None:
    """Lock files, build products and other people's code are known by their paths."""
    assert generated_path(path) == why


@pytest.mark.parametrize(
    ("language", "text", "why"),
    [
        ("go", "// Code generated by protoc-gen-go. DO NOT EDIT.\npackage a\n", "generated"),
        ("python", "#!/usr/bin/env python\n# This file was automatically generated by x\n", "generated"),
        ("c#", "//----\n// <auto-generated>\n", "generated"),
        ("javascript", "/**\n * @generated SignedSource<<x>>\n */\n", "generated"),
        ("python", '"""Makes files that say @ generated."""\nx = "# This file is generated"\n', ""),
        ("python", "\n" * 30 + "# Code generated by x. DO NOT EDIT.\n", ""),
        ("python", "# Not all values are present in this\n# autogenerated file.\n", ""),  # as Sphinx writes it
        ("python", "# Autogenerated file, do not edit.\n", "generated"),
        ("python", "# Tells whether the code of a file was generated, and why.\n", ""),
        ("javascript", "var a=1;" * 500, "minified"),
        ("javascript", "var a = 1;\n" * 500, ""),
        ("csv", "1,2,3," * 500, ""),
    ],
)
def test_generated_by_text(language: str, text: str, why: str) -> None:
    """Files that say of themselves that a program wrote them, and minified ones, are known by their text."""
    assert generated_text(language, text) == why
