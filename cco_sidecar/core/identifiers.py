"""Names that people and programs give to things, checked before they reach a path (contract section 1)."""

import difflib
import re
from collections.abc import Iterable

from cco_sidecar.errors import InvalidParameter

PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_IDENTIFIER = re.compile(PATTERN)

NOT_EVENT_TYPES = frozenset({"wait", "stream", "replay", "dead-letters"})
"""Words that are routes below ``/api/events`` and so cannot be event types."""


def is_identifier(text: str) -> bool:
    """Say whether ``text``, whole, is an identifier."""
    return _IDENTIFIER.fullmatch(text) is not None


def identifier(text: str, what: str) -> str:
    """Give ``text`` back if it is an identifier.

    :param what: what it names, for the message (``issue_id``).
    :raises InvalidParameter: it is not one.
    """
    if is_identifier(text):
        return text
    raise InvalidParameter(
        f"{what} must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or digit.",
        parameter=what,
    )


def event_type(text: str) -> str:
    """Give ``text`` back if it can be an event type.

    :raises InvalidParameter: it is no identifier, or one of `NOT_EVENT_TYPES`.
    """
    if text in NOT_EVENT_TYPES:
        raise InvalidParameter(f"'{text}' is a route and cannot be an event type.", parameter="event_type")
    return identifier(text, "event_type")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that ``word`` was most likely meant to be, or None."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
