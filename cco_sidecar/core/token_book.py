"""What a project remembers of its tokens: which follows which, and which do not count any more."""

from collections.abc import Iterable

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from cco_sidecar.core.ledger import Ledger, Record


class Succession(msgspec.Struct, frozen=True):
    """Which token follows which; enough, with the key that signed it, to make the successor again."""

    jti: str
    successor: str
    iat: int
    exp: int
    root_exp: int
    key_id: str = ""


class Revocation(msgspec.Struct, frozen=True):
    """A token that no longer counts; forgotten when it would have ended anyway."""

    jti: str
    exp: int


@define(eq=False)
class Epoch:
    """Turns whenever a token may have died before its time; until then, one that was good still is."""

    value: int = 0

    def turn(self) -> None:
        """Have every token looked at again."""
        self.value += 1


@define(eq=False)
class TokenBook:
    """What one project remembers of its tokens."""

    _clock: IReactorTime
    _ledger: Ledger
    _epoch: Epoch = field(factory=Epoch)
    kinds: tuple[str, ...] = ("succession", "revocation")
    successions: dict[str, Succession] = field(factory=dict)
    revoked: dict[str, int] = field(factory=dict)

    def follow(self, succession: Succession) -> None:
        """Write down a successor."""
        self._forget_ended()
        self.successions[succession.jti] = succession
        self._ledger.note("succession", succession)

    def revoke(self, jtis: Iterable[str], exp: int) -> "Deferred[None]":
        """Write down that tokens are dead; fires when that is on disk."""
        self._forget_ended()
        ended = [Revocation(jti, exp) for jti in jtis]
        self.revoked.update({revocation.jti: exp for revocation in ended})
        self._epoch.turn()
        written = [self._ledger.record("revocation", revocation) for revocation in ended]
        return gatherResults(written, consumeErrors=True).addCallbacks(lambda _: None, _first)

    def line_of(self, jti: str) -> list[str]:
        """Give a token's id and those of all that followed it."""
        line = [jti]
        while (after := self.successions.get(line[-1])) is not None:
            line.append(after.successor)
        return line

    def good_until(self, jti: str, exp: float) -> float | None:
        """Say until when, at least, a token or one that followed it is good; None if none of them is any more.

        :param exp: when the token itself ends.
        """
        now = self._clock.seconds()
        while jti not in self.revoked:
            if exp > now:
                return exp
            after = self.successions.get(jti)
            if after is None:
                return None
            jti, exp = after.successor, after.exp
        return None

    def _forget_ended(self) -> None:
        now = self._clock.seconds()
        # Newest first: whoever has a living descendant stays, so that revoking it reaches that.
        wanted: set[str] = set()
        for kept in reversed(self.successions.values()):
            if max(kept.exp, kept.root_exp) > now or kept.successor in wanted:
                wanted.add(kept.jti)
        for jti in [jti for jti in self.successions if jti not in wanted]:
            del self.successions[jti]
        for jti in [jti for jti, exp in self.revoked.items() if exp <= now]:
            del self.revoked[jti]

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a succession or a revocation."""
        if kind == "succession":
            kept = msgspec.json.decode(body, type=Succession)
            self.successions[kept.jti] = kept
            return
        ended = msgspec.json.decode(body, type=Revocation)
        self.revoked[ended.jti] = ended.exp
        self._epoch.turn()

    def snapshot(self) -> Iterable[Record]:
        """Give all that is still in force."""
        self._forget_ended()
        for kept in self.successions.values():
            yield "succession", kept
        for jti, exp in self.revoked.items():
            yield "revocation", Revocation(jti, exp)


def _first(failure: Failure) -> Failure:
    first = failure.value
    return first.subFailure if isinstance(first, FirstError) else failure
