"""The budgets of one project: set, counted, kept over restarts. What follows from them is for the `steward`."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.budgets.budget import BudgetRecord, Crossing, Limits
from cco_sidecar.core.budgets.spending import NOTHING, Kind, Scope, Spending, Spent, scopes_of
from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.core.shielding import shielded
from cco_sidecar.errors import NotFound, TooManyRequests

MOST_BUDGETS = 1_000


class _Gone(msgspec.Struct, frozen=True):
    kind: Kind
    id: str


class _State(msgspec.Struct, frozen=True):
    numbered: int
    dropped: list[tuple[Kind, str, Spent]]


@define(eq=False)
class Budgets:
    """Knows the budgets, and how far each is. Join it to the ledger after the agents: its sums end what they begin."""

    _clock: IReactorTime
    _ledger: Ledger
    spending: Spending
    kinds: tuple[str, ...] = ("budgets", "budget", "budget_gone")
    _kept: dict[Scope, BudgetRecord] = field(factory=dict)
    _used_up: dict[Scope, str] = field(factory=dict)  # why nobody starts there: everybody in a long queue asks
    _writing: Counter[Scope] = field(factory=Counter)
    _numbered: int = 0

    def __attrs_post_init__(self) -> None:
        self.spending.wanted = self._kept

    # Setting

    def set(self, kind: Kind, name: str, limits: Limits, *, reset: bool = False) -> "Deferred[BudgetRecord]":
        """Fire with the budget when it is on disk; it takes the place of an older one, and counts on from there.

        :param reset: count from now on.
        :raises TooManyRequests: the project has too many budgets.
        """
        scope: Scope = (kind, name)
        before = self._kept.get(scope)
        if before is None and len(self._kept.keys() | self._writing.keys()) >= MOST_BUDGETS:
            raise TooManyRequests(f"This project has {MOST_BUDGETS} budgets: remove some.", 60)
        self._numbered += 1
        now = self._clock.seconds()
        total = self.spending.total(scope, now)
        record = BudgetRecord(
            kind=kind,
            id=name,
            limits=limits,
            number=self._numbered,
            set_at=now,
            since=now if reset else None if before is None else before.since,
            before=total if reset else NOTHING if before is None else before.before,
            crossings=() if reset or before is None else before.crossings,
        )
        crossings = tuple(replace(it, limit=limits.of(it.what)) for it in record.crossed(total, now))
        record = replace(record, crossings=crossings)
        return shielded(self._write(scope, "budget", record).addCallback(lambda _: self._take(record)))

    def remove(self, kind: Kind, name: str) -> "Deferred[BudgetRecord]":
        """Fire with the budget that is no more.

        :raises NotFound: there is none.
        """
        record = self.get(kind, name)

        def removed(_: object) -> BudgetRecord:
            self._forget(record.scope)
            return record

        return shielded(self._write(record.scope, "budget_gone", _Gone(kind, name)).addCallback(removed))

    def _write(self, scope: Scope, kind: str, body: object) -> "Deferred[object]":
        self._writing[scope] += 1

        def written(outcome: object) -> object:
            self._writing[scope] -= 1
            if not self._writing[scope]:
                del self._writing[scope]
            return outcome

        on_disk: Deferred[object] = self._ledger.record(kind, body)  # type: ignore[assignment]
        return on_disk.addBoth(written)

    def _take(self, record: BudgetRecord) -> BudgetRecord:
        self._forget(record.scope)
        self._kept[record.scope] = record
        if why := record.why():
            self._used_up[record.scope] = why
        return record

    def _forget(self, scope: Scope) -> None:
        self._kept.pop(scope, None)
        self._used_up.pop(scope, None)

    # Asking

    def get(self, kind: Kind, name: str) -> BudgetRecord:
        """Give a budget.

        :raises NotFound: there is none.
        """
        record = self._kept.get((kind, name))
        if record is None:
            raise NotFound(
                f"No budget is set for the {kind} '{name}'. To set one: cco budget set {kind} {name} --tokens N",
                kind=kind,
                id=name,
            )
        return record

    def total(self, record: BudgetRecord) -> Spent:
        """Say what was taken in the scope of a budget."""
        return self.spending.total(record.scope, self._clock.seconds())

    def totals(self) -> list[tuple[BudgetRecord, Spent]]:
        """Give all budgets, and what was taken in the scope of each."""
        totals = self.spending.totals(self._clock.seconds(), self._kept.keys())
        return [(record, totals[scope]) for scope, record in self._kept.items()]

    def exhausted(self, agent: Agent) -> str | None:
        """Say that an agent has no budget any more, and which; None while it has."""
        if self.spending.has_changed:
            self.check()
        if not self._used_up:
            return None
        return next((self._used_up[scope] for scope in scopes_of(agent) if scope in self._used_up), None)

    # Counting

    def check(self) -> Sequence[tuple[BudgetRecord, Crossing]]:
        """Note which budgets have come to a limit; gives all such crossings that nobody was told of."""
        self.spending.has_changed = False
        now = self._clock.seconds()
        for record, total in self.totals():
            if not self._writing[record.scope]:
                crossed = dict.fromkeys((*record.crossings, *record.crossed(total, now)))
                self._note(record, tuple(crossed))
        return [
            (record, crossing) for record in self._kept.values() for crossing in record.crossings if not crossing.told
        ]

    def told(self, record: BudgetRecord, crossing: Crossing) -> None:
        """Note that a crossing was published."""
        now = self._kept.get(record.scope)
        if now is not None and not self._writing[record.scope]:
            told = replace(crossing, told=True)
            self._note(now, tuple(told if it == crossing else it for it in now.crossings))

    def _note(self, record: BudgetRecord, crossings: tuple[Crossing, ...]) -> None:
        if crossings == record.crossings:
            return
        record = self._take(replace(record, crossings=crossings))
        # If a crash loses it, it is found again from what was spent.
        self._ledger.note("budget", record)

    # Lasting

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Apply a record."""
        if kind == "budget":
            record = self._take(msgspec.json.decode(body, type=BudgetRecord))
            self._numbered = max(self._numbered, record.number)
        elif kind == "budget_gone":
            gone = msgspec.json.decode(body, type=_Gone)
            self._forget((gone.kind, gone.id))
        else:
            state = msgspec.json.decode(body, type=_State)
            self._numbered = max(self._numbered, state.numbered)
            self.spending.restore(state.dropped)
            for scope in list(self._kept):
                self._forget(scope)  # the budgets of that moment follow

    def snapshot(self) -> Iterable[Record]:
        """Give what was taken by agents that are not kept, then all budgets."""
        yield "budgets", _State(self._numbered, self.spending.kept())
        for record in self._kept.values():
            yield "budget", record
