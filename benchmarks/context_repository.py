"""A small repository with a history: what a file is about shows in its text, seldom in its name."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

TOPICS = 24
FILES_OF_A_TOPIC = 6
COMMITS = 160
SEED = 11
_SYLLABLE_WORDS = "ba be bi do du fa fi go gu ka ke li lo ma mi na no pa pe ra ri sa si ta to va vi zo"
_SYLLABLES = _SYLLABLE_WORDS.split()
_COMMON_WORDS = "value result error name index data item state path buffer config handler request response"
_COMMON = _COMMON_WORDS.split()


def generate(root: Path) -> Path:
    """Make the repository, the same each time, and give its path back."""
    root.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "-b", "main", root], check=True)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input=b"".join(_stream()), check=True)
    return root


class _Topic:
    """Files that are about the same: words of their own, and names that say little."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.words = [_word(chance) for _ in range(12)]
        self.paths = [f"src/part{number % 7}/{_word(chance)}.py" for _ in range(FILES_OF_A_TOPIC - 2)]
        self.paths += [f"tests/test_{self.paths[0].rpartition('/')[2]}", f"docs/{_word(chance)}.md"]


def _stream() -> Iterator[bytes]:
    chance = random.Random(SEED)
    topics = [_Topic(number, chance) for number in range(TOPICS)]
    texts = {path: _text(topic, chance) for topic in topics for path in topic.paths}
    yield _commit(0, "Begin", texts)
    for number in range(1, COMMITS):
        topic = chance.choice(topics)
        changed = chance.sample(topic.paths, chance.randint(1, 3))
        for path in changed:
            texts[path] += _lines(topic, chance, 3)
        subject = (
            f"Let {chance.choice(topic.words)} {chance.choice(topic.words)} be right after {chance.choice(_COMMON)}"
        )
        named = f"\n\nSeen in {changed[0].rpartition('/')[2]}." if number % 2 else ""
        yield _commit(number, subject + named, {path: texts[path] for path in changed})


def _commit(number: int, message: str, files: dict[str, str]) -> bytes:
    lines = [f"commit refs/heads/main\ncommitter Ada <ada@example.org> {1_700_000_000 + number * 3600} +0000"]
    lines += [f"data {len(message)}\n{message}"]
    lines += [f"M 100644 inline {path}\ndata {len(text)}\n{text}" for path, text in files.items()]
    return ("\n".join(lines) + "\n\n").encode()


def _text(topic: _Topic, chance: random.Random) -> str:
    return "".join(f"def {_word(chance)}():\n{_lines(topic, chance, 6)}\n" for _ in range(5))


def _lines(topic: _Topic, chance: random.Random, count: int) -> str:
    """Make lines of which one word in five is the topic's own."""
    words = [chance.choice(topic.words if chance.random() < 0.2 else _COMMON) for _ in range(count * 4)]
    return "".join(
        "    " + "_".join(words[at : at + 2]) + " = " + words[at + 2] + "\n" for at in range(0, count * 4, 4)
    )


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(_SYLLABLES, k=3))
