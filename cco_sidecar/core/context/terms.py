"""The words of code, paths and prose, as numbers: what a text is found by.

An identifier counts whole and by its parts: ``parseHTTPHeader`` is parseHTTPHeader, parse, http and header, and
``retry_after`` is retry_after, retry and after. A term is the CRC-32 of a word: no vocabulary has to be kept, and that
one of the words of a task shares its number with another word of a project is a matter of one in ten thousand.
"""

import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, repeat

from attrs import field, frozen

TEXT_CHARACTERS = 262_144
"""So much of a file is read for its terms."""
MOST_TERMS = 8_192
"""So many terms of a file are kept, the most frequent."""
MOST_REMEMBERED = 65_536
_MESSAGE_CHARACTERS = 2_000
_LONGEST = 64
_SHORTEST = 2
_SLICE = 65_536  # the interpreter's lock is held while a slice is split: a millisecond or so
_MOST_COUNT = 255
_OVERHEAD_BYTES = 600

_IN_WORDS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") | frozenset(range(128, 256))
_SPACED = bytes(byte if byte in _IN_WORDS else 0x20 for byte in range(256))
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")


@frozen
class Terms:
    """The terms of one text, each with how often it occurs, at most 255 times; ``length`` counts all words."""

    length: int
    _terms: "array[int]" = field(repr=False)
    _counts: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """How many bytes they take, about."""
        return _OVERHEAD_BYTES + 5 * len(self._terms)

    def found(self, wanted: frozenset[int]) -> list[tuple[int, int]]:
        """Give those of the wanted terms that occur, with their counts."""
        return [(term, self._counts[self._terms.index(term)]) for term in wanted.intersection(self._terms)]


NO_TERMS = Terms(0, array("I"), b"")


def terms_of(text: str) -> Terms:
    """Read the first 262,144 characters of a text."""
    words: Counter[bytes] = Counter()
    for part in _slices(text[:TEXT_CHARACTERS].encode("utf-8", "replace")):
        words.update(part.translate(_SPACED).split())
    by_count: dict[int, list[bytes]] = {}
    for word, count in words.items():
        by_count.setdefault(count, []).append(word)
    counts = Counter(_terms_of_words(by_count.pop(1, ())))
    for count, some in by_count.items():
        for term in _terms_of_words(some):
            counts[term] += count
    kept = dict(counts.most_common(MOST_TERMS)) if len(counts) > MOST_TERMS else counts
    return Terms(words.total(), array("I", kept), bytes(map(min, kept.values(), repeat(_MOST_COUNT))))


def _terms_of_words(words: Iterable[bytes]) -> Iterator[int]:
    return chain.from_iterable(map(terms_of_word, words))


def message_terms(message: str) -> "array[int]":
    """Give the terms of the first 2,000 characters of a commit's message."""
    words = message[:_MESSAGE_CHARACTERS].encode("utf-8", "replace").translate(_SPACED).split()
    return array("I", sorted({term for word in words for term in terms_of_word(word)}))


@lru_cache(MOST_REMEMBERED)
def terms_of_path(path: str) -> frozenset[int]:
    """Give the terms of a path: the names in it, and their parts, but for its ending, which says only what it is."""
    stem, _, ending = path.rpartition(".")
    said = path if "/" in ending or stem[-1:] in {"", "/"} else stem
    words = said.encode("utf-8", "surrogateescape").translate(_SPACED).split()
    return frozenset(term for word in words for term in terms_of_word(word))


def words_of(text: str) -> list[str]:
    """Give the words of a text in their order, identifiers whole."""
    return [word.decode("utf-8", "replace") for word in text.encode("utf-8", "replace").translate(_SPACED).split()]


def parts_of_word(word: str) -> list[str]:
    """Give what a word is found by: itself in lower case, and its parts if it has several.

    One of a single letter, or of more than 64, is found by nothing.
    """
    whole = word.strip("_").lower()
    if not _SHORTEST <= len(whole) <= _LONGEST:
        return []
    parts = [part.lower() for part in _PART.findall(word) if len(part) >= _SHORTEST]
    return list(dict.fromkeys(map(_stem, [whole, *parts])))


def term_of(part: str) -> int:
    """Give the number of a word that `parts_of_word` gave."""
    return zlib.crc32(part.encode("utf-8", "replace"))


@lru_cache(MOST_REMEMBERED)
def terms_of_word(word: bytes) -> tuple[int, ...]:
    """Give the terms of a word as it stands in a text."""
    if len(word) > _LONGEST:
        return ()
    return tuple(term_of(part) for part in parts_of_word(word.decode("utf-8", "replace")))


def _stem(word: str) -> str:
    """Take off the plural; more endings were tried and found no more."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def _slices(text: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = start + _SLICE
        end = len(text) if end >= len(text) else text.rfind(b"\n", start, end) + 1 or end
        end = end if end > start else start + _SLICE
        yield text[start:end]
        start = end
