"""Where names come from: ids that nobody can guess, and cheap ones for requests."""

import secrets
from collections.abc import Callable
from itertools import count


def new_id() -> str:
    """Make an id that nobody can guess: 128 random bits."""
    return secrets.token_hex(16)


def request_ids() -> Callable[[], str]:
    """Make a source of ids for requests: unique, not secret, and cheap, for every request needs one."""
    beginning, numbers = secrets.token_hex(8), count(1)
    return lambda: f"{beginning}{next(numbers):012x}"
