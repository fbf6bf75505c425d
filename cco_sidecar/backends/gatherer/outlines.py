"""Outlines that were drawn already: the same text has the same one, whatever is asked."""

import threading

from attrs import define, field
from cachetools import LRUCache

from cco_sidecar.core.context.outline.drawing import outline_of
from cco_sidecar.core.context.outline.shape import Outline, Parse

_PART_BYTES = 240
_OVERHEAD_BYTES = 512


def _size(outline: Outline) -> int:
    return len(outline) * _PART_BYTES + _OVERHEAD_BYTES


@define(eq=False)
class OutlineCache:
    """Draws outlines and keeps them, the least recently used ones leaving first; any thread may use it."""

    _most_bytes: int
    _parse: Parse
    _outlines: "LRUCache[tuple[str, str], Outline]" = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._outlines = LRUCache(maxsize=self._most_bytes, getsizeof=_size)

    def outline(self, language: str, text: str, checksum: str) -> Outline:
        """Give the outline of a text, named by the checksum of the file it is of."""
        key = (language, checksum)
        with self._lock:
            known = self._outlines.get(key)
        if known is not None:
            return known
        outline = outline_of(language, text, self._parse)
        with self._lock:
            if _size(outline) <= self._most_bytes:
                self._outlines[key] = outline
        return outline

    @property
    def size_bytes(self) -> int:
        """About how many bytes the outlines take."""
        return int(self._outlines.currsize)
