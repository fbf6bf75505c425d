"""What all calls of one client share: who asks, with which token, how patiently, and what is remembered."""

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cco_sidecar.client.errors import SidecarError
from cco_sidecar.client.settings import Settings
from cco_sidecar.client.tokens import Tokens
from cco_sidecar.client.waiting import Standing, Wanted

PATIENCE_SECONDS = 30.0
"""How long a call is tried again, if nothing else is said: a restart of the sidecar takes a few seconds."""

_MOST_PLACES = 128  # twice as many as the sidecar keeps for an agent

Told = Callable[[SidecarError, float], None]
"""Told before each pause: what is wrong, and after how many seconds it is tried again."""


class Kept(NamedTuple):
    """A context that need not be sent again while it is true."""

    etag: str
    body: bytes


def even_chance() -> float:
    """Give a number from 0 up to 1; `random` takes longer to import than to ask the sidecar."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


class Desk:
    """What all calls of one client share.

    :param patience_seconds: how long a call is tried again after the first failure; None is for ever, 0 is not at all.
    :param lifetime_seconds: from now on; after that nothing is waited for any more.
    :param on_retry: see `Told`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience_seconds: float | None = PATIENCE_SECONDS,
        lifetime_seconds: float | None = None,
        on_retry: Told | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = even_chance,
    ) -> None:
        self.url = settings.server.url
        self.identity = settings.identity
        self.context_file: Path | None = settings.context_file
        self.tokens = Tokens(settings.token, settings.token_source, now)
        self.patience_seconds = patience_seconds
        self.on_retry = on_retry
        self.monotonic = monotonic
        self.chance = chance
        self.ends_at = None if lifetime_seconds is None else monotonic() + lifetime_seconds
        self.contexts: OrderedDict[str, Kept] = OrderedDict()
        self._standings: dict[Wanted, Standing] = {}
        self._lock = threading.Lock()

    def first_context(self) -> dict[str, Any] | None:
        """Read the context that the sidecar put beside the token at the agent's start."""
        try:
            found = None if self.context_file is None else json.loads(self.context_file.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def new_key(self) -> str:
        """Make an Idempotency-Key: one for a call, however often it is sent."""
        return os.urandom(16).hex()

    def seconds_until_end(self) -> float | None:
        """Give how long there is still time for anything; None if there is no end."""
        return None if self.ends_at is None else max(0.0, self.ends_at - self.monotonic())

    def standing(self, wanted: Wanted) -> Standing:
        """Give the place that is this client's; the sidecar keeps none for the admin, so that begins at the oldest."""
        self.tokens.current()  # what it says is not known before it was read
        is_admin = self.tokens.claims.get("sub") == "admin" and wanted.subscription is None
        with self._lock:
            found = self._standings.pop(wanted, None) or Standing("earliest" if is_admin else None)
            self._standings[wanted] = found  # the last used is the last
            while len(self._standings) > _MOST_PLACES:
                del self._standings[next(iter(self._standings))]
            return found
