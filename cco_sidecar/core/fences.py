"""Fence numbers: each right to something that is given away has one, greater than all before it.

Who keeps a number with what it protects can refuse the late word of a holder whose right has gone to another since.
"""

from collections.abc import Iterable

import msgspec
from attrs import define

from cco_sidecar.core.ledger import Record


class _Fences(msgspec.Struct, frozen=True):
    last: int


@define(eq=False)
class Fences:
    """The numbers of one project; they grow for ever, also over restarts."""

    kinds: tuple[str, ...] = ("fences",)
    last: int = 0

    def next(self) -> int:
        """Give a number that was never given before."""
        self.last += 1
        return self.last

    def seen(self, fence: int) -> None:
        """Take note of a number that a record has: it was given."""
        self.last = max(self.last, fence)

    def open(self, most_lost: int = 0) -> None:
        """Begin, after recovery.

        :param most_lost: how many records, at most, there may have been that cannot be read any more.
        """
        self.last += most_lost

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up the last number."""
        self.seen(msgspec.json.decode(body, type=_Fences).last)

    def snapshot(self) -> Iterable[Record]:
        """Give the last number: what it was for may be forgotten."""
        yield "fences", _Fences(self.last)
