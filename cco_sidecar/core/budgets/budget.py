"""A budget: what may be taken in a scope, and how far that is."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from cco_sidecar.core.budgets.spending import NOTHING, Kind, Scope, Spent

What = Literal["tokens", "usd", "seconds"]
WHATS: tuple[What, ...] = ("tokens", "usd", "seconds")
Level = Literal["warning", "exhausted"]
State = Literal["ok", "warned", "exhausted"]
WARNING_PERCENT = 80


class Limits(msgspec.Struct, frozen=True):
    """How much of what; None is as much as you like."""

    tokens: int | None = None
    usd: float | None = None
    seconds: int | None = None

    def of(self, what: What) -> int | None:
        """Give a limit in the unit in which it is counted; None if there is none."""
        if what == "tokens":
            return self.tokens
        if what == "usd":
            return None if self.usd is None else max(1, round(self.usd * 1e6))
        return None if self.seconds is None else self.seconds * 1000


class Crossing(msgspec.Struct, frozen=True):
    """A budget came so far, at that time; ``told`` says that it was published.

    :param number: of the change of the budget that it followed.
    :param spent: how much it was then, as it is counted.
    """

    what: What
    level: Level
    at: float
    number: int
    limit: int
    spent: int
    told: bool = False


class BudgetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as it is now; times are seconds since the epoch.

    :param number: counts the changes of all budgets of the project.
    :param since: from when on it counts; None counts all that is known.
    :param before: what was taken by then, and so is not counted.
    """

    kind: Kind
    id: str
    limits: Limits
    number: int
    set_at: float
    since: float | None = None
    before: Spent = NOTHING
    crossings: tuple[Crossing, ...] = ()

    @property
    def scope(self) -> Scope:
        """What it is for."""
        return self.kind, self.id

    @property
    def name(self) -> str:
        """Name it in words."""
        return f"the budget of {'agent type' if self.kind == 'type' else self.kind} '{self.id}'"

    @property
    def state(self) -> State:
        """How far it is; what it came to once it stays at until it is changed."""
        levels = {crossing.level for crossing in self.crossings}
        return "exhausted" if "exhausted" in levels else "warned" if levels else "ok"

    def spent(self, total: Spent) -> Spent:
        """Say what counts, of all that was taken in its scope."""
        return total.plus(self.before, -1)

    def fraction(self, total: Spent) -> tuple[What, float]:
        """Say which of its limits is nearest, and how much of that is used up."""
        spent = self.spent(total)
        shares = [(what, counted(spent, what) / limit) for what in WHATS if (limit := self.limits.of(what)) is not None]
        return max(shares, key=lambda share: share[1])

    def crossed(self, total: Spent, now: float) -> Iterator[Crossing]:
        """Give what is crossed by now, as it was noted, or new."""
        noted = {(crossing.what, crossing.level): crossing for crossing in self.crossings}
        spent = self.spent(total)
        for what in WHATS:
            limit, many = self.limits.of(what), counted(spent, what)
            if limit is None:
                continue
            levels: tuple[tuple[Level, bool], ...] = (
                ("warning", 100 * many >= WARNING_PERCENT * limit),
                ("exhausted", many >= limit),
            )
            for level, is_crossed in levels:
                if is_crossed:
                    new = Crossing(what, level, now, self.number, limit, many)
                    yield noted.get((what, level), new)

    def why(self) -> str:
        """Say that it is used up, and of what; "" if it is not."""
        spent = [crossing for crossing in self.crossings if crossing.level == "exhausted"]
        if not spent:
            return ""
        much = ", ".join(f"{shown(it.what, it.spent)} of {shown(it.what, it.limit)}" for it in spent)
        return f"{self.name} is used up ({much})"


def counted(spent: Spent, what: What) -> int:
    """Give the part of an amount that a limit is for."""
    return {"tokens": spent.tokens, "usd": spent.micro_usd, "seconds": spent.milliseconds}[what]


def plain(what: What, number: int) -> float:
    """Give a counted number in the unit that people use."""
    return float(number) if what == "tokens" else number / (1e6 if what == "usd" else 1000)


def shown(what: What, number: int) -> str:
    """Say it in words."""
    value = plain(what, number)
    if what == "usd":
        return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"
    return f"{value:,.0f} {what}"
