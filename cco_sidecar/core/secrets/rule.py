"""What a rule for secrets inside text is, and the pieces that patterns are made of, in the syntax of RE2."""

from collections.abc import Callable

import re2
from attrs import frozen

from cco_sidecar.core.secrets.checks import is_no_example

Check = Callable[[str], bool]
"""Says whether what a pattern found is a secret indeed."""

START = r"(?:\b|\\[nrt]|_)"
"""Where a word begins; in source an escaped line end puts a letter there."""

QUOTE = r"(?:\\{0,3}[\"'`])"

ASSIGN = (
    rf"{QUOTE}?[\])]?[ \t]*(?:::?[ \t]*&?(?:'static )?[A-Za-z_][\w.:<>\[\] ]{{0,40}}=|=>|->|:=|:-|<-|!={{1,2}}"
    rf"|={{1,3}}|:|\|\||\?\?|or\b)[ \t]*"
    rf"(?:[A-Za-z]{{1,2}}@?)?"
)
"""What stands between a name and its value, in some forty languages."""

HEX = "[0-9a-fA-F]"
UUID = rf"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}"


@frozen
class Rule:
    """One kind of secret.

    ``trigger`` must match wherever ``pattern`` does, and is cheap to look for; the first group of ``pattern`` is the
    secret, or all of it if there is none.
    """

    name: str
    trigger: str
    pattern: str
    check: Check = is_no_example


def near(name: str, word: str, value: str, check: Check = is_no_example) -> Rule:
    """Make the rule for values that mean something only beside a word: ``HEROKU_API_KEY = "…"``."""
    return Rule(name, f"(?i){word}", rf"(?i){word}[\w.-]{{0,40}}{ASSIGN}{QUOTE}?({value})(?:[^A-Za-z0-9_/+]|$)", check)


def with_room() -> re2.Options:
    """Make the options of a large pattern: its automaton is made as it runs; short of memory, it is slow or fails."""
    options = re2.Options()
    options.max_mem = 64 << 20
    return options
