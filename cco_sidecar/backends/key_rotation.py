"""Changes the keys that sign tokens while the sidecar runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.backends.keys import add_key, remove_others, replace_keys
from cco_sidecar.core.keyring import KeyRing
from cco_sidecar.core.tokens import TokenAuthority
from cco_sidecar.errors import StorageWriteFailed

Run = Callable[[Callable[[], KeyRing]], "Deferred[KeyRing]"]


@define(eq=False)
class KeyRotation:
    """Makes a new key that signs at once; the one before verifies until its tokens are over, or is revoked.

    :param directory: where the keys lie.
    :param run: does blocking work in a thread.
    :param longest_seconds: how long a token may live at most.
    :param reissue: gives new tokens to all who get theirs in a file, and ends what is parked under dead ones.
    """

    _clock: IReactorTime
    _directory: Path
    _tokens: TokenAuthority
    _run: Run
    _longest_seconds: float
    _reissue: "Callable[[], Deferred[None]]"
    _lock: DeferredLock = field(factory=DeferredLock)

    def rotate(self, revoke: bool) -> "Deferred[KeyRing]":
        """Fire with the keys as they are then, when they are in use and, if old ones were revoked, tokens made anew.

        :raises StorageWriteFailed: the new key cannot be written: all is as it was.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._rotate(revoke)))

    async def _rotate(self, revoke: bool) -> KeyRing:
        until = self._clock.seconds() + self._longest_seconds
        work = replace_keys if revoke else partial(add_key, ring=self._tokens.keys, until=until)
        try:
            keys = await self._run(lambda: work(self._directory))
        except OSError as error:
            raise StorageWriteFailed(f"The new key could not be written: {error.strerror or error}.") from error
        self._tokens.use(keys)
        if revoke:
            await self._reissue()
        return keys

    def drop_ended(self) -> "Deferred[KeyRing] | None":
        """Forget keys whose tokens are over; fires when their files are gone."""
        kept = self._tokens.keys.without_ended(self._clock.seconds())
        if len(kept.keys) == len(self._tokens.keys.keys) or self._lock.locked:
            return None
        self._tokens.use(kept)
        return self._run(lambda: self._removed(kept))

    def _removed(self, kept: KeyRing) -> KeyRing:
        remove_others(self._directory, kept)
        return kept
