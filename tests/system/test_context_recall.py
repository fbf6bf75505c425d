"""The context has the files that a task is about: the benchmark, on the repository that it makes itself."""

import json

import pytest

from benchmarks import context_recall


def test_recall(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a past commit's files most are among the first ten, also when it names none, and few are so by chance."""
    context_recall.main(["--tasks", "30"])
    told = json.loads(capsys.readouterr().out)
    assert told["tasks"] == 30
    assert told["recall_at_10"] >= 0.75
    assert told["recall_at_10_unnamed"] >= 0.7
    assert told["unnamed"] >= 10
    assert told["recall_at_10"] >= 4 * max(told["without_text_at_10"], told["by_extension_at_10"])
