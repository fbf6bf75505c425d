"""Does a context have the files that its task is about? Past commits are the tasks.

A commit's message is the task, and what it changed should be found, at its parent's state: the tree is checked out, and
gathered as for an agent. `python -m benchmarks.context_recall [--tasks N] [--type TYPE] [REPOSITORY…]` takes paths of
local clones with history, and prints one JSON line for each; without any it makes a small repository of its own.
"""

import argparse
import json
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from attrs import field, frozen

from benchmarks.context_repository import generate
from cco_sidecar.backends.gatherer.cache import ContextCache
from cco_sidecar.backends.gatherer.gathering import Gathering
from cco_sidecar.backends.gatherer.git import Git
from cco_sidecar.backends.gatherer.index import TermIndex
from cco_sidecar.backends.gatherer.looks import Looks
from cco_sidecar.backends.gatherer.outlines import OutlineCache
from cco_sidecar.backends.gatherer.parsing import parsed_outline
from cco_sidecar.core.context.languages import canonical, language_of
from cco_sidecar.core.context.request import ContextRequest
from cco_sidecar.core.roster import AgentType, parse_roster

TASKS = 100
NEWEST = 3_000
MOST_FILES = 20
BUDGET_BYTES = 200_000
SEED = 7
_MARK = b"//"
_CHANGELOG = re.compile(
    r"(?i)(^|/)(changelogs?|changes|news|newsfragments?|release[-_ ]?notes|history|authors)([./]|$)"
)
_NOISE = re.compile(r"https?://\S+|\(?#\d+\)?|\b[0-9a-f]{7,40}\b")
_TRAILER = re.compile(r"(?i)\s*([a-z-]+-by|change-id|fixes|closes|refs):?\s|\(cherry picked")


@frozen
class Task:
    """A past commit: what it said, and what it changed of what was there."""

    parent: str
    text: str = field(repr=False)
    wanted: frozenset[str]

    @property
    def names_a_file(self) -> bool:
        """Say whether the text has the name, without its ending, of a file to be found."""
        stems = (path.rpartition("/")[2].partition(".")[0].lower() for path in self.wanted)
        return any(stem and stem in self.text.lower() for stem in stems)


@frozen
class Found:
    """How much of what was wanted was found: among the first ten files, and in all of the answer."""

    first_ten: float
    answer: float


class Checkout:
    """A clone whose work tree goes from one past state to the next, as a long-lived project of a sidecar would."""

    def __init__(self, source: Path, directory: Path, agent_type: AgentType) -> None:
        self._root = directory / "clone"
        self._agent_type = agent_type
        self._cache = ContextCache(0)
        self._index = TermIndex(1 << 28)
        self._looks = Looks()
        self._outlines = OutlineCache(1 << 26, lambda language, text: parsed_outline(language, text, time.thread_time))
        self._languages = {canonical(name) for name in agent_type.context.languages}
        subprocess.run(["git", "clone", "-q", "--shared", "--no-checkout", source, self._root], check=True)

    def tasks(self, most: int) -> list[Task]:
        """Choose tasks among the newest 3,000 commits, oldest first."""
        possible = [task for task in self._commits() if self._is_fit(task)]
        chosen = set(random.Random(SEED).sample(range(len(possible)), min(most, len(possible))))
        return [task for place, task in reversed(list(enumerate(possible))) if place in chosen]

    def move(self, commit: str) -> None:
        """Check a commit out."""
        self._git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "-f", "--detach", commit)

    def find(self, task: Task, text: str) -> Found:
        """Gather for a text, and look for what the task wants."""
        request = ContextRequest(
            "benchmark", self._root, "issue", self._agent_type, text, budget_bytes=BUDGET_BYTES, refresh=False
        )
        now = time.monotonic_ns()
        gathering = Gathering(
            request, self._cache, self._index, Git(), self._looks, self._outlines, now, time.time, lambda: None
        )
        files = [file["path"] for file in json.loads(gathering.answer().body)["context"]["relevant_files"]]
        return Found(_share(task, files[:10]), _share(task, files))

    def find_by_extension(self, task: Task) -> float:
        """Give what is among the first ten if they are chosen by their language alone, in order of their paths."""
        paths = self._git("ls-files", "-z").decode("utf-8", "surrogateescape").split("\0")
        return _share(task, sorted(paths, key=lambda path: (language_of(path) not in self._languages, path))[:10])

    def _commits(self) -> Iterator[Task]:
        layout = f"--format=%x00{_MARK.decode()}%x00%P%x00%B%x00"
        log = self._git("log", f"--max-count={NEWEST}", "--no-renames", "--name-status", "-z", layout)
        tokens = log.split(b"\0")
        starts = [place for place, token in enumerate(tokens) if token == _MARK]
        for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
            parents, message = (token.decode("utf-8", "replace") for token in tokens[start + 1 : start + 3])
            names = [token.lstrip(b"\n").decode("utf-8", "surrogateescape") for token in tokens[start + 3 : end]]
            names = [name for name in names if name]
            changes = list(zip(names[::2], names[1::2], strict=True))
            wanted = frozenset(path for status, path in changes if status != "A" and not _CHANGELOG.search(path))
            if " " not in parents and parents and len(changes) <= MOST_FILES:
                yield Task(parents, _cleaned(message), wanted)

    def _is_fit(self, task: Task) -> bool:
        return bool(task.text) and any(language_of(path) in self._languages for path in task.wanted)

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=self._root, check=True, stdout=subprocess.PIPE).stdout


def measure(source: Path, directory: Path, agent_type: AgentType, most: int) -> dict[str, Any]:
    """Measure one repository: our choice, and beside it that without any text, and by extension alone."""
    checkout = Checkout(source, directory, agent_type)
    tasks = checkout.tasks(most)
    ours, textless, plain = [], [], []
    for task in tasks:
        checkout.move(task.parent)
        ours.append(checkout.find(task, task.text))
        textless.append(checkout.find(task, ""))
        plain.append(checkout.find_by_extension(task))
    unnamed = [found.first_ten for found, task in zip(ours, tasks, strict=True) if not task.names_a_file]
    recall = _mean([found.first_ten for found in ours])
    without = _mean([found.first_ten for found in textless])
    return {
        "benchmark": "context_recall",
        "repository": source.name,
        "tasks": len(tasks),
        "recall_at_10": recall,
        "recall_within_200_kb": _mean([found.answer for found in ours]),
        "recall_at_10_unnamed": _mean(unnamed),
        "unnamed": len(unnamed),
        "without_text_at_10": without,
        "without_text_within_200_kb": _mean([found.answer for found in textless]),
        "by_extension_at_10": _mean(plain),
        "ratio": round(recall / without, 2) if without else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each repository that is named, or the generated one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.context_recall")
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--type", default="python-specialist", help="for which agent type it is gathered")
    parser.add_argument("repositories", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    packaged = resources.files("cco_sidecar.data").joinpath("roster.json").read_bytes()
    agent_type = parse_roster(packaged, source="packaged roster").get(options.type)
    with tempfile.TemporaryDirectory(prefix="context-recall-") as name:
        repositories = options.repositories or [generate(Path(name) / "generated")]
        for number, repository in enumerate(repositories):
            directory = Path(name) / str(number)
            directory.mkdir()
            print(json.dumps(measure(repository.resolve(), directory, agent_type, options.tasks)), flush=True)


def _cleaned(message: str) -> str:
    """Leave out what only a commit has: numbers of requests, links, hashes, trailers."""
    return "\n".join(line for line in _NOISE.sub(" ", message).splitlines() if not _TRAILER.match(line)).strip()


def _share(task: Task, paths: Sequence[str]) -> float:
    return len(task.wanted.intersection(paths)) / len(task.wanted)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3) if values else 0.0


if __name__ == "__main__":
    main()
