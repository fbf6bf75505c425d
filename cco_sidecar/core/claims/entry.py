"""A claim, held or waited for, and what is written down of it."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from cco_sidecar.core.claims.resources import NoResource, Resource, resource
from cco_sidecar.core.parking import Parked
from cco_sidecar.core.tenure import Holder
from cco_sidecar.errors import InvalidBody

Mode = Literal["exclusive", "shared"]

MOST_IN_ONE = 64
"""How many resources one claim may have."""


class ClaimRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as it is kept; times are in seconds since the epoch."""

    id: str
    resources: list[str]
    mode: Mode
    fence: int
    holder: Holder
    since: float
    ttl_seconds: int
    expires_at: float


@frozen(eq=False)
class Wish:
    """What somebody wants to claim, understood; ``names`` are the texts of the resources."""

    holder: Holder
    resources: tuple[Resource, ...]
    mode: Mode
    ttl_seconds: int
    names: frozenset[str] = field(init=False, repr=False)

    @names.default
    def _name(self) -> frozenset[str]:
        return frozenset(one.text for one in self.resources)


def read_resources(texts: Sequence[str], root: str) -> tuple[Resource, ...]:
    """Read a list of resources, each once.

    :param root: the project's root, absolute.
    :raises InvalidBody: one of them is none.
    """
    found: dict[str, Resource] = {}
    for number, text in enumerate(texts):
        try:
            one = resource(text, root)
        except NoResource as why:
            path = f"$.resources[{number}]" if len(texts) > 1 else "$.resource"
            raise InvalidBody(f"The resource '{_shown(text)}' {why}.", path=path) from None
        found[one.text] = one
    return tuple(found.values())


def _shown(text: str) -> str:
    shown = text if len(text) <= 100 else f"{text[:100]}…"
    return "".join(char if char.isprintable() else "�" for char in shown)


@define(eq=False)
class Entry:
    """Somebody's claim: held if it has a record, else waiting for its turn.

    :param number: the order in which they came.
    :param is_ending: that it is released is on its way to the disk: until then it stands in the way.
    :param awaited: those that stand in its way, held ones and earlier ones that wait, with what conflicts.
    :param behind: those in whose way it stands.
    :param answer: what the one who asked gets; None once that is done.
    """

    id: str
    wish: Wish
    since: float
    number: int
    record: ClaimRecord | None = None
    is_on_disk: bool = False
    is_ending: bool = False
    is_over: bool = False
    awaited: "dict[Entry, tuple[Resource, Resource]]" = field(factory=dict, repr=False)
    behind: "dict[Entry, None]" = field(factory=dict, repr=False)
    parked: Parked[ClaimRecord] | None = None
    answer: "Deferred[ClaimRecord] | None" = None
    slot: int = 0  # of the timer wheel

    @property
    def agent(self) -> str:
        """Whose it is."""
        return self.wish.holder.agent_id

    @property
    def is_held(self) -> bool:
        """Whether its turn has come."""
        return self.record is not None

    def excludes(self, wish: Wish) -> bool:
        """Say whether both cannot be at once where their resources conflict: nobody is in their own way."""
        return self.agent != wish.holder.agent_id and "exclusive" in (self.wish.mode, wish.mode)
