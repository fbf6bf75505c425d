"""Outlines by grammar, and the process that draws them: whatever it is given, it answers or is replaced."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cco_sidecar.backends.gatherer import parsing
from cco_sidecar.backends.gatherer.grammars import GRAMMARS, Grammar
from cco_sidecar.backends.gatherer.outlines import OutlineCache
from cco_sidecar.backends.gatherer.parser_process import MOST_BYTES, ParserProcess
from cco_sidecar.backends.gatherer.parsing import parsed_outline
from cco_sidecar.core.context.outline.shape import Outline, Part, lines_of

PYTHON = '''"""Sells things.

More.
"""
import os
LIMIT = 1
@deco(
    1)
class Shop(Base):
    """A shop.

    More.
    """
    name: str = "x"
    print("no")
    async def sell(self, a: int,
                   b: int) -> int:
        """Sell."""
        return 1
def f(): return 1
if True:
    def g():
        # why
        pass
'''
JAVASCRIPT = """import x from "y";
/**
 * Makes prices.
 */
export class Shop extends Base {
  #count = 0;
  sell(item) {
    return 1;
  }
}
const f = (a) => {
  1;
  2;
  3;
  4;
  5;
  6;
};
call();
module.exports = { f };
"""
TYPESCRIPT = """// A shape.
export interface Shape {
  area(): number;
}
export abstract class Circle<T> implements Shape {
  private r = <T>1;
  constructor(r: number) {
    this.r = r;
  }
}
export type Pair<T> = [T, T];
"""
TSX = """export function App(): Element {
  return <div className="x"><b>{1}</b></div>;
}
export const Other = () => <p/>;
"""
GO = """package main

import "fmt"

// Shop sells.
// Much.
type Shop struct {
	Name string
}

// Sell sells one.
func (s *Shop) Sell(x int) error {
	return nil
}
"""
RUST = """use std::fmt;
/// A shop.
#[derive(Debug)]
pub struct Shop {
    pub name: String,
}
impl Shop {
    /// Sells.
    pub fn sell(&self)
        -> u32
    {
        1
    }
}
"""
JAVA = """package a;
/** A shop. */
@Service
public class Shop extends Base {
    private int count;
    /**
     * Sells.
     */
    @Override
    public int sell(int x) {
        return 1;
    }
}
"""
C = """#include <stdio.h>
/* Sells. */
int sell(int a,
         int b)
{
    return a;
}
struct shop {
    int a;
};
#ifdef A
void g(void) {
}
#endif
"""
CPP = """namespace n {
class Shop {
 public:
  int sell(int a) const;
};
template <typename T>
T most(T a) {
  return a;
}
}
"""
CPP_OUTLINE = [
    "0 namespace n {", "1 class Shop {", "3 int sell(int a) const;", "1 template <typename T> / T most(T a) {"
]  # fmt: skip
RUBY = """require "x"
# A shop.
class Shop < Base
  attr_reader :a
  # Sells.
  def sell(a)
    1
  end
end
"""
CSHARP = """using System;
namespace A
{
    /// Sells.
    public class Shop
    {
        public string Name { get; set; }
        [Test]
        public int Sell(int a)
        {
            return 1;
        }
    }
}
"""
PHP = """<?php
namespace A;
/** A shop. */
final class Shop {
    private int $x = 1;
    public function sell(int $a): int {
        return 1;
    }
}
"""
SHELL = """#!/bin/bash
X=1
# Sells.
sell() {
  echo 1
}
"""


def shown(text: str, outline: Outline | None) -> list[str]:
    """The depth and the lines of each part, its documentation in brackets."""
    lines = lines_of(text)
    return [
        f"{part.depth} " + " / ".join(line.strip() for line in lines[part.start : part.stop])
        + "".join(f" ({line.strip()})" for line in lines[part.doc_start : part.doc_stop])
        for part in outline or ()
    ]  # fmt: skip


def parsed(language: str, text: str) -> Outline | None:
    return parsed_outline(language, text, lambda: 0.0)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", PYTHON, [
            '0 """Sells things.', "1 import os", "1 LIMIT = 1", '0 @deco( / 1) / class Shop(Base): ("""A shop.)',
            '2 name: str = "x"', '1 async def sell(self, a: int, / b: int) -> int: ("""Sell.""")',
            "0 def f(): return 1", "0 def g(): / # why"]),
        ("javascript", JAVASCRIPT, [
            '1 import x from "y";', "0 export class Shop extends Base { (/**) (* Makes prices.)", "2 #count = 0;",
            "1 sell(item) {", "0 const f = (a) => {", "1 module.exports = { f };"]),
        ("typescript", TYPESCRIPT, [
            "0 export interface Shape { (// A shape.)", "1 area(): number;",
            "0 export abstract class Circle<T> implements Shape {", "2 private r = <T>1;", "1 constructor(r: number) {",
            "0 export type Pair<T> = [T, T];"]),
        ("typescript", TSX, ["0 export function App(): Element {", "0 export const Other = () => <p/>;"]),
        ("go", GO, [
            "1 package main", '1 import "fmt"', "0 type Shop struct { / Name string / } (// Shop sells.)",
            "2 Name string", "0 func (s *Shop) Sell(x int) error { (// Sell sells one.)"]),
        ("rust", RUST, [
            "1 use std::fmt;", "0 pub struct Shop { (/// A shop.)", "2 pub name: String,", "0 impl Shop {",
            "1 pub fn sell(&self) / -> u32 (/// Sells.)"]),
        ("java", JAVA, [
            "1 package a;", "0 @Service / public class Shop extends Base { (/** A shop. */)", "2 private int count;",
            "1 @Override / public int sell(int x) { (/**) (* Sells.)"]),
        ("c", C, [
            "1 #include <stdio.h>", "0 int sell(int a, / int b) (/* Sells. */)", "0 struct shop {", "2 int a;",
            "0 void g(void) {"]),
        ("c", CPP, CPP_OUTLINE),  # a header may be either
        ("c++", CPP, CPP_OUTLINE),
        ("ruby", RUBY, [
            '1 require "x"', "0 class Shop < Base (# A shop.)", "2 attr_reader :a", "1 def sell(a) (# Sells.)"]),
        ("c#", CSHARP, [
            "1 using System;", "0 namespace A", "1 public class Shop (/// Sells.)",
            "3 public string Name { get; set; }", "2 [Test] / public int Sell(int a)"]),
        ("php", PHP, [
            "1 namespace A;", "0 final class Shop { (/** A shop. */)", "2 private int $x = 1;",
            "1 public function sell(int $a): int {"]),
        ("shell", SHELL, ["1 X=1", "0 sell() { (# Sells.)"]),
    ],
)  # fmt: skip
def test_grammars(language: str, text: str, expected: list[str]) -> None:
    """Definitions by their signatures, with the first line of their documentation; what they hold is one deeper."""
    assert shown(text, parsed(language, text)) == expected


def test_each_grammar_is_there() -> None:
    """Every grammar of the table is installed and loads."""
    assert all(parsing._language(grammar) is not None for grammar in GRAMMARS.values())


def test_missing_grammar() -> None:
    """A grammar that is not installed makes no outline, and no error."""
    assert parsing._language(Grammar("tree_sitter_nothing")) is None
    assert parsing._language(Grammar("tree_sitter_python", "nothing")) is None
    assert parsed("unknown", "def f(): pass\n") is None


def test_given_up_by_time() -> None:
    """A parse ends when the thread's time is used up, with no outline."""
    clock = iter(range(10_000_000))
    assert parsed_outline("python", "x = 1\n" * 10_000, lambda: float(next(clock))) is None


def test_given_up_by_work() -> None:
    """A parse ends when it takes more steps than source does, whatever the time."""
    assert parsing._tree(GRAMMARS["python"], b"a[((" * 100_000, lambda: 0.0) is None
    assert parsing._tree(GRAMMARS["python"], b"a[((" * 10, lambda: 0.0) is not None


def test_broken_source() -> None:
    """Source with errors gives the parts that can be made out."""
    text = "x = = 1\ndef g():\n    pass\n"
    assert "0 def g():" in shown(text, parsed("python", text))
    assert parsed("go", "{{{ nothing") is None


def test_many_parts_are_bounded() -> None:
    """There are at most 5,000 parts."""
    outline = parsed("python", "def f(): pass\n" * 6_000)
    assert outline is not None
    assert len(outline) == 5_000


@pytest.fixture
def parser() -> Iterator[ParserProcess]:
    made = ParserProcess()
    yield made
    made.stop()
    made.close()


def pid_of(parser: ParserProcess) -> int:
    assert parser._running is not None
    return parser._running.process.pid


HOSTILE = "\\%w(=begin\n" * 3_000


def test_process_answers_as_the_parser(parser: ParserProcess) -> None:
    """What comes over the socket is the outline, also of text that is no Unicode; one process serves all."""
    assert list(parser.parse("python", PYTHON) or ()) == list(parsed("python", PYTHON) or ())
    first = pid_of(parser)
    assert parser.parse("python", "") is None
    odd = "def f(): return '\ud800'\n"
    assert shown(odd, parser.parse("python", odd)) == ["0 def f(): return '\ud800'"]
    assert pid_of(parser) == first


def test_process_is_not_started_in_vain(parser: ParserProcess) -> None:
    """What has no grammar, or is too big, is no question for it."""
    assert parser.parse("kotlin", "fun main() {}\n") is None
    assert parser.parse("python", "x = 1\n" * (MOST_BYTES // 6 + 1)) is None
    assert parser._running is None


def test_hostile_text(parser: ParserProcess) -> None:
    """A text that would take the parser a minute ends it within seconds; the next text gets a new one."""
    parser.parse("python", PYTHON)
    first = pid_of(parser)
    assert parser.parse("rust", HOSTILE) is None
    assert not psutil.pid_exists(first)
    assert parser.parse("go", GO)
    assert pid_of(parser) != first


def test_process_that_died(parser: ParserProcess) -> None:
    """A process that somebody ended is replaced."""
    parser.parse("python", PYTHON)
    process = psutil.Process(pid_of(parser))
    process.kill()
    psutil.wait_procs([process], timeout=10)
    assert parser.parse("go", GO)


def test_stop_frees_who_waits() -> None:
    """Stopping ends the process in the midst of its work; whoever waits gets no outline, and none is started again."""
    parser = ParserProcess()
    parser.parse("python", PYTHON)
    found: list[Outline | None] = []
    thread = threading.Thread(target=lambda: found.append(parser.parse("rust", HOSTILE)))
    thread.start()
    while not parser._turn.locked() and thread.is_alive():
        os.sched_yield()
    parser.stop()
    thread.join(10)
    parser.close()
    assert (found, parser._running) == ([None], None)
    assert parser.parse("python", PYTHON) is None


def test_process_knows_nothing_of_ours(parser: ParserProcess) -> None:
    """The process inherits no secret: neither our variables nor our open files."""
    with Path(__file__).open() as held:
        os.set_inheritable(held.fileno(), True)
        parser.parse("python", PYTHON)
        process = psutil.Process(pid_of(parser))
        assert set(process.environ()) <= {"PYTHONPATH", "LC_CTYPE"}
        assert [file.path for file in process.open_files()] == []


def test_outlines_are_kept() -> None:
    """A text is parsed once while there is room; the key is the file's checksum and the language, no task."""
    asked: list[str] = []

    def parse(language: str, text: str) -> Outline:
        asked.append(text)
        return [Part(0, 1, 1, 0)] * 10

    cache = OutlineCache(2 * (10 * 240 + 512), parse)
    for name in ("a", "b", "a", "c", "b", "a"):
        assert len(cache.outline("go", f"text {name}", name)) == 10
    assert asked == ["text a", "text b", "text c", "text b", "text a"]
    assert 0 < cache.size_bytes <= 2 * (10 * 240 + 512)
    tiny = OutlineCache(100, parse)
    assert len(tiny.outline("go", "text", "x")) == 10
    assert tiny.size_bytes == 0
