"""Which files a task names: by path, by the end of a path, by file name, or as a dotted module."""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[\w./@+~-]{3,256}")
MOST_CHARACTERS = 200_000
MOST_NAMESAKES = 5
"""A bare name that more files than this share (``__init__.py``) names none of them."""


def mentioned(task: str, paths: Iterable[str]) -> set[str]:
    """Give those of ``paths`` that the task names; its first 200,000 characters are read."""
    words = _words(task[:MOST_CHARACTERS])
    if not words:
        return set()
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(path.rpartition("/")[2], []).append(path)
    found: set[str] = set()
    for word in words:
        found.update(_named(word, by_name))
    return found


def _words(task: str) -> set[str]:
    words = {word.strip("./~-").removeprefix("a/").removeprefix("b/") for word in _WORD.findall(task)}
    words |= {word for word in _WORD.findall(task) if word.startswith(".")}  # .gitignore
    modules = {word.replace(".", "/") + ".py" for word in words if "." in word and "/" not in word}
    return {word for word in words | modules if "." in word or "/" in word}


def _named(word: str, by_name: dict[str, list[str]]) -> list[str]:
    candidates = by_name.get(word.rpartition("/")[2], [])
    if "/" not in word:
        return candidates if len(candidates) <= MOST_NAMESAKES else []
    whole = [path for path in candidates if path == word]
    return whole or [path for path in candidates if path.endswith("/" + word)][:MOST_NAMESAKES]
