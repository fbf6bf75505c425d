"""Times as the contract writes them: RFC 3339, UTC, milliseconds."""

import re
from datetime import UTC, datetime
from functools import lru_cache

from cco_sidecar.errors import InvalidParameter

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FRACTION = re.compile(r"\.(\d+)")


def rfc3339(seconds: float) -> str:
    """Write seconds since the epoch as ``2026-11-22T07:46:03.123Z``."""
    # Nearly all that is written in a row is of the same millisecond: an event, an answer and a line of the log each.
    return _of_millisecond(round(seconds * 1_000_000) // 1000)


@lru_cache(maxsize=16)
def _of_millisecond(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    return f"{moment}.{milliseconds % 1000:03}Z"


def looks_like_time(text: str) -> bool:
    """Say whether ``text`` has the form of an RFC 3339 time."""
    return _RFC3339.fullmatch(text) is not None


def _microseconds(fraction: "re.Match[str]") -> str:
    return "." + fraction[1][:6].ljust(6, "0")


def seconds_of(text: str, what: str) -> float:
    """Read an RFC 3339 time as seconds since the epoch.

    :param what: the parameter's name, for the message.
    :raises InvalidParameter: it is none.
    """
    if looks_like_time(text):
        try:
            return datetime.fromisoformat(_FRACTION.sub(_microseconds, text.upper())).timestamp()
        except ValueError:
            pass  # the form is right, the day is not: 2026-02-30
    raise InvalidParameter(f"{what} must be an RFC 3339 time such as 2026-11-22T07:46:03Z.", parameter=what)
