"""A repository of many files, made here: directories, names and sizes as large code bases have, text from few words."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

SEED = 5
FILES_OF_A_DIRECTORY = 16
_WORD_WORDS = (
    "queue buffer device driver frame page table index cache lock list node tree state value result error handle "
    "config init probe read write flush close open port link route packet stream timer event signal memory block"
)
_WORDS = _WORD_WORDS.split()
_ENDINGS = (".c", ".c", ".c", ".h", ".h", ".py", ".py", ".md", ".txt", ".yaml", ".sh", ".S")


def generate_tree(root: Path, files: int, mean_bytes: int = 3_000) -> Path:
    """Make a repository with one commit, the same each time, and give its path back."""
    root.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "-b", "main", root], check=True)
    with subprocess.Popen(["git", "fast-import", "--quiet"], cwd=root, stdin=subprocess.PIPE) as importer:
        assert importer.stdin is not None
        for part in _stream(files, mean_bytes):
            importer.stdin.write(part)
        importer.stdin.close()
        if importer.wait() != 0:
            raise SystemExit("git fast-import failed.")
    subprocess.run(["git", "reset", "-q", "--hard"], cwd=root, check=True)
    return root


def _stream(files: int, mean_bytes: int) -> Iterator[bytes]:
    chance = random.Random(SEED)
    yield b"commit refs/heads/main\ncommitter Ada <ada@example.org> 1700000000 +0000\ndata 6\nImport\n"
    directory = ""
    for number in range(files):
        if number % FILES_OF_A_DIRECTORY == 0:
            directory = "/".join(chance.choices(_WORDS, k=chance.randint(1, 3))) + f"/{number // FILES_OF_A_DIRECTORY}"
        text = _text(chance, int(chance.expovariate(1 / mean_bytes)) + 100)
        path = f"{directory}/{chance.choice(_WORDS)}_{number}{chance.choice(_ENDINGS)}"
        yield b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(text), text)
    yield b"\n"


def _text(chance: random.Random, size: int) -> bytes:
    lines = []
    while size > 0:
        one, two, three = chance.choices(_WORDS, k=3)
        line = f"def {one}_{two}({three}):\n    return {three}.{one} + {two}_{chance.randint(0, 999)}\n"
        lines.append(line)
        size -= len(line)
    return "".join(lines).encode()
