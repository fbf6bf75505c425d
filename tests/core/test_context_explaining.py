"""Why each file is in an answer or not."""

from typing import Any

import msgspec
import pytest
from attrs import evolve

from cco_sidecar.core.context.assembly import ENDING_BYTES, assemble, ending
from cco_sidecar.core.context.explaining import IGNORED, Evidence, Ignored, IgnoredPaths, explain, rule_text
from cco_sidecar.core.context.filesection import OUT_OF_BUDGET
from cco_sidecar.core.context.project import Omission, Project, ProjectFile, Text, Unreadable
from cco_sidecar.core.context.request import ContextRequest, Inquiry
from cco_sidecar.core.context.selection import EXCLUDED, OTHER_LANGUAGE, select
from tests.core.test_context_assembly import request, taking
from tests.core.test_context_selection import agent_type

TYPE = agent_type(languages=("python",), exclude=("*.tmp", "old/**"))
KEPT_OUT = IgnoredPaths([Ignored("build/", ".gitignore:3 build/")], False)


def explained(texts: dict[str, str | None], inquiry: Inquiry, budget: int = 100_000, more: bool = False) -> Any:
    """Explain an answer about files; one whose text is None is binary."""
    there = [ProjectFile(path, len(text or ""), 0) for path, text in texts.items()]
    project = Project("/p", there, None, {"languages": {}}, [Omission(".env", 3, "secret by name")])
    asked: ContextRequest = evolve(request(budget), agent_type=TYPE)
    selection = select(project, TYPE, "b.py", {})

    def read(path: str) -> Text | Unreadable:
        text = texts[path]
        return Unreadable("binary") if text is None else Text(text, "0" * 64)

    files = taking(asked, project, read)
    answer = assemble(asked, project, selection, files)
    kept_out = evolve(KEPT_OUT, more=more)
    made = explain(asked, inquiry, Evidence(project, selection, answer, files.outcomes, kept_out))
    body = msgspec.json.decode(made.head + ending(0, False))
    assert body["totals"]["used_bytes"] == len(answer.head) + ENDING_BYTES <= budget
    return body


def test_every_file_has_a_fate() -> None:
    """In, cut or out; with rank and reason, what cut it, and which rule that was."""
    found = explained(
        {"a.py": "x", "b.py": "y", "c.js": "z", "d.md": None, "old/e.py": "", "f.tmp": ""}, Inquiry("", 100)
    )
    fates = {one["path"]: one for one in found["files"]}
    assert fates["b.py"] == {
        "path": "b.py", "included": True, "truncated": False, "rank": 1,
        "reason": "named in the task, python source, as this agent type prefers", "score": fates["b.py"]["score"],
        "signals": fates["b.py"]["signals"], "size": 1, "tokens": 1, "cut": None, "rule": None,
    }  # fmt: skip
    assert fates["b.py"]["score"] == pytest.approx(sum(fates["b.py"]["signals"].values()), abs=1e-3)
    assert set(fates["b.py"]["signals"]) == {"wish"}
    assert (fates["d.md"]["score"], fates["c.js"]["score"], fates["c.js"]["signals"]) == (0, None, {})
    assert {path: (one["included"], one["rank"], one["cut"], one["rule"]) for path, one in fates.items()} == {
        "b.py": (True, 1, None, None),
        "a.py": (True, 2, None, None),
        "d.md": (False, 3, "binary", None),
        "c.js": (False, None, OTHER_LANGUAGE, None),
        "old/e.py": (False, None, EXCLUDED, "roster: old/**"),
        "f.tmp": (False, None, EXCLUDED, "roster: *.tmp"),
        ".env": (False, None, "secret by name", None),
        "build/": (False, None, IGNORED, ".gitignore:3 build/"),
    }
    assert found["totals"] == {
        "considered": 8, "included": 2, "truncated": 0, "left_out": 6, "not_looked_at": 0, "more_ignored": False,
        "by_cut": {EXCLUDED: 2, "binary": 1, OTHER_LANGUAGE: 1, "secret by name": 1, "ignored": 1},
        "used_bytes": found["totals"]["used_bytes"],
    }  # fmt: skip
    assert (found["listed"], found["matching"], found["budget_bytes"]) == (8, 8, 100_000)


def test_the_budget_cuts() -> None:
    """What is cut or left out by the budget says so, also far beyond what the answer lists."""
    found = explained({f"f{n:04}.py": "x = 1\n" * 2_000 for n in range(1_500)}, Inquiry("", 10_000), 60_000)
    totals = found["totals"]
    assert totals["truncated"] >= 1
    assert totals["by_cut"][OUT_OF_BUDGET] == 1_500 - totals["included"] > 1_000
    cut = [one for one in found["files"] if one["truncated"]]
    assert {(one["included"], one["cut"]) for one in cut} == {(True, OUT_OF_BUDGET)}
    ranks = [one["rank"] for one in found["files"] if one["rank"] is not None]
    assert ranks == list(range(1, 1_501))


def test_what_the_answer_does_not_list() -> None:
    """An answer lists its first 500 omissions; why the others could not be read is known all the same."""
    found = explained({f"b{n:03}.py": None for n in range(700)}, Inquiry("*.py", 1_000))
    assert {one["cut"] for one in found["files"]} == {"binary"}
    assert found["listed"] == 700


def test_it_is_bounded() -> None:
    """A glob picks files, a limit bounds them; the totals are still of all, and say if there is more."""
    texts: dict[str, str | None] = {f"src/f{n}.py": "x" for n in range(30)}
    found = explained({**texts, "x.md": "y"}, Inquiry("src/*.py", 10), more=True)
    assert (found["listed"], found["matching"]) == (10, 30)
    assert [one["path"] for one in found["files"]][:2] == ["src/f0.py", "src/f1.py"]
    assert found["totals"]["considered"] == 33
    assert found["totals"]["more_ignored"] is True
    assert [one["path"] for one in explained(texts, Inquiry("build", 10))["files"]] == ["build/"]
    assert explained(texts, Inquiry("nothing", 10))["files"] == []


def test_rules_tell_no_secret() -> None:
    """A rule of an ignore file is written by anybody: bounded, sound Unicode, without secrets."""
    key = "AKIA" + "Z2X9W4V7H3K5M8P6"
    assert rule_text(".gitignore:1", f"{key}.txt") == ".gitignore:1 [REDACTED:aws-access-key-id].txt"
    assert rule_text("a\udcff:1", "x") == "a\\xff:1 x"
    assert len(rule_text("a", "x" * 5_000)) == 512
