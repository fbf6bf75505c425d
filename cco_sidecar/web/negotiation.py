"""Which of several forms of an answer a client would rather have (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Iterator, Sequence

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Give the media type that an ``Accept`` header asks for; the first that is offered unless another is liked better.

    The most specific range counts for each type. A header that accepts none of them gets the first all the same, for
    an answer is better than none; so does one that cannot be read.
    """
    ranges = list(_ranges(accept))
    return max(offered, key=lambda kind: _liking(kind, ranges))


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        weights = [text.removeprefix("q=") for text in parameters if text.startswith("q=")]
        weight = weights[0] if weights else "1"
        if "/" in kind and _WEIGHT.fullmatch(weight):
            yield kind, float(weight)


def _liking(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    for wanted in (kind, kind.partition("/")[0] + "/*", "*/*"):
        weights = [weight for name, weight in ranges if name == wanted]
        if weights:
            return max(weights)
    return 0.0
