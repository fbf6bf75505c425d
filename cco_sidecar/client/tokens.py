"""Which token to show: the newest of those that came by argument, by file, with an answer, or by asking."""

import binascii
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_REFRESH_SECONDS = 300.0
"""So long before its end a token is replaced; or in the middle of its life, if that is shorter."""


class TokenFile:
    """The file that always has the newest token; read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._text: str | None = None

    def __call__(self) -> str | None:
        """Give the token; None if there is none."""
        try:
            found = self._path.stat()
            signature = (found.st_ino, found.st_mtime_ns, found.st_size)
            if signature != self._seen:
                self._text = self._path.read_text(encoding="ascii", errors="replace").strip() or None
                self._seen = signature
        except OSError:
            return self._text  # it is being replaced, perhaps
        return self._text


class Tokens:
    """The token of one client; any thread may ask.

    :param given: what it begins with.
    :param source: asked before each request; a token that it newly gives counts.
    :param now: the time, in seconds since the epoch.
    """

    def __init__(self, given: str | None, source: Callable[[], str | None] | None, now: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._source = source
        self._now = now
        self._token = given
        self._from_source: str | None = None
        self.claims = claims_of(given)

    def current(self) -> str | None:
        """Give the token to show."""
        with self._lock:
            self._look()
            return self._token

    def take(self, successor: str | None) -> None:
        """Take a token that came with an answer; answers may overtake each other, so only a later one counts."""
        if not successor:
            return
        claims = claims_of(successor)
        with self._lock:
            if claims.get("exp", 0) >= self.claims.get("exp", 0):
                self._token, self.claims = successor, claims

    def is_other_than(self, refused: str | None) -> bool:
        """Say whether there is, by now, another token than the one that was refused."""
        with self._lock:
            self._look()
            if self._token == refused and self._from_source not in {None, refused}:
                self._adopt(self._from_source)
            return self._token != refused

    def _look(self) -> None:
        found = None if self._source is None else self._source()
        if found is not None and found != self._from_source:
            self._from_source = found
            claims = claims_of(found)
            # A successor that came with an answer may be newer than the file.
            if self._token is None or claims.get("exp", 0) >= self.claims.get("exp", 0):
                self._adopt(found)

    def _adopt(self, token: str | None) -> None:
        self._token, self.claims = token, claims_of(token)

    @property
    def seconds_left(self) -> float | None:
        """How long the token lives; None if it does not say."""
        ends = self.claims.get("exp")
        return None if ends is None else float(ends) - self._now()

    @property
    def is_due(self) -> bool:
        """Whether to ask for the successor: it ends soon, and nobody else sees to the next (the admin's file does)."""
        left = self.seconds_left
        if left is None or left <= 0 or self.claims.get("sub") == "admin":
            return False
        window = min(_REFRESH_SECONDS, self.lifetime_seconds / 2)
        return left <= (window if self._from_source is None else window / 2)

    @property
    def lifetime_seconds(self) -> float:
        """How long the token lives in all; 0 if it does not say."""
        return float(self.claims.get("exp", 0)) - float(self.claims.get("iat", 0))


def claims_of(token: str | None) -> dict[str, Any]:
    """Read what a token says, without checking who signed it (that is the sidecar's to do); nothing if it cannot be."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return {}
    try:
        text = binascii.a2b_base64(parts[1].translate(_URL_SAFE) + "==")
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if name not in {"exp", "iat"} or type(value) is int}


_URL_SAFE = str.maketrans("-_", "+/")
