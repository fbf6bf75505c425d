"""The bytes of answers: the same in every form, fresh or kept, whatever the ending."""

import gzip
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.backends.gatherer.bodies import FreshBody, KeptBody, KeptHead

DECODERS: dict[str | None, Callable[[bytes], bytes]] = {
    None: lambda body: body,
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
}


def nothing() -> None:
    """Take no notice."""


@given(st.binary(min_size=1, max_size=3_000), st.binary(max_size=100))
def test_all_forms_are_the_same(head: bytes, end: bytes) -> None:
    """Whatever is asked for decodes to head and ending, as often as it is asked for."""
    kept = KeptHead.of(head, len(end))
    for body in (FreshBody(head + end), kept.body(end, nothing), kept.body(end, nothing)):
        assert body.size_bytes == len(head + end)
        for encoding, decode in DECODERS.items():
            assert decode(body.encoded(encoding)) == head + end


@pytest.mark.parametrize("size", [1, 255, 256, 65_536 + 256, 3_000_000])
def test_sizes_in_headers(size: int) -> None:
    """The size that a frame says it has, in as many bytes as it takes, is that of all of it."""
    kept = KeptHead.of(b"x" * size, 60)
    for mark in (b"a", b"b"):
        zipped = kept.body(mark * 60, nothing).encoded("zstd")
        assert zstandard.get_frame_parameters(zipped).content_size == size + 60
        assert zstandard.ZstdDecompressor().decompress(zipped) == b"x" * size + mark * 60


def test_grows_once() -> None:
    """The gzipped form is made when it is first asked for, and its bytes are reported."""
    reports: list[int] = []
    kept = KeptHead.of(b"text " * 10_000, 3)
    body = KeptBody(kept, b"end", lambda: reports.append(kept.size_bytes))
    before = kept.size_bytes
    body.encoded("zstd")
    body.encoded(None)
    assert not reports
    body.encoded("gzip")
    body.encoded("gzip")
    assert reports == [kept.size_bytes]
    assert reports[0] > before
