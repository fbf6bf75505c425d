"""The bytes of answers: fresh ones as they were made, kept ones compressed, to be sent so.

An answer ends with what differs each time, its timestamp. So what is kept is the beginning of a compressed stream, to
which the end is added as a block that is not compressed: nothing is compressed twice.
"""

import gzip
import struct
import zlib
from collections.abc import Callable
from threading import Lock

import zstandard
from attrs import define, field

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 1
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
_OVERHEAD_BYTES = 1_024


@define(eq=False)
class FreshBody:
    """A body that was just made."""

    _body: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """How long it is, plain."""
        return len(self._body)

    def encoded(self, encoding: str | None) -> bytes:
        """Give it plain (None), or as "zstd" or "gzip"; that takes tens of milliseconds."""
        if encoding == "zstd":
            return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(self._body)
        return gzip.compress(self._body, _GZIP_LEVEL, mtime=0) if encoding == "gzip" else self._body


@define(eq=False)
class KeptHead:
    """All of a body but its ending, compressed; several threads may use it. ``size_bytes`` is what it takes."""

    _length: int
    _ending_bytes: int
    _zstd: bytes = field(repr=False)
    _gzip: bytes | None = field(default=None, init=False, repr=False)
    _checksum: int = field(default=0, init=False)
    _lock: Lock = field(factory=Lock, init=False, repr=False)

    @classmethod
    def of(cls, head: bytes, ending_bytes: int) -> "KeptHead":
        """Compress a head of a byte at least; an ending of so many bytes will follow."""
        stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj(size=len(head) + ending_bytes)
        return cls(len(head), ending_bytes, stream.compress(head) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes in all its forms."""
        return len(self._zstd) + len(self._gzip or b"") + _OVERHEAD_BYTES

    def body(self, ending: bytes, grown: Callable[[], None]) -> "KeptBody":
        """Make a body of it; the ending must be as long as was said. ``grown`` is called when this takes more."""
        assert len(ending) == self._ending_bytes
        return KeptBody(self, ending, grown)

    @property
    def length(self) -> int:
        """How long the head is, plain."""
        return self._length

    def plain(self, ending: bytes) -> bytes:
        """Give the body plain."""
        return zstandard.ZstdDecompressor().decompressobj().decompress(self.as_zstd(ending))

    def as_zstd(self, ending: bytes) -> bytes:
        """Give the body as one zstd frame: the last block is raw."""
        return self._zstd + (len(ending) << 3 | 1).to_bytes(3, "little") + ending

    def as_gzip(self, ending: bytes) -> bytes:
        """Give the body gzipped: the last block is stored. The first time it is compressed anew."""
        with self._lock:
            if self._gzip is None:
                head = self.plain(bytes(self._ending_bytes))[: self._length]
                stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
                self._gzip = _GZIP_HEAD + stream.compress(head) + stream.flush(zlib.Z_SYNC_FLUSH)
                self._checksum = zlib.crc32(head)
        last = b"\1" + struct.pack("<HH", len(ending), ~len(ending) & 0xFFFF) + ending
        whole = (self._length + len(ending)) & 0xFFFFFFFF
        return self._gzip + last + struct.pack("<II", zlib.crc32(ending, self._checksum), whole)


@define(eq=False)
class KeptBody:
    """A body out of the cache."""

    _head: KeptHead
    _ending: bytes
    _grown: Callable[[], None]

    @property
    def size_bytes(self) -> int:
        """How long it is, plain."""
        return self._head.length + len(self._ending)

    def encoded(self, encoding: str | None) -> bytes:
        """Give it plain (None), or as "zstd" or "gzip"; the compressed forms cost next to nothing."""
        if encoding == "zstd":
            return self._head.as_zstd(self._ending)
        if encoding is None:
            return self._head.plain(self._ending)
        before = self._head.size_bytes
        body = self._head.as_gzip(self._ending)
        if self._head.size_bytes != before:
            self._grown()
        return body
