"""Budgets over HTTP: set, look, remove (contract section 8)."""

from typing import Annotated, Any

import msgspec
from attrs import define
from msgspec import Meta

from cco_sidecar.core.budgets.budget import BudgetRecord, Level, Limits, State, What, plain
from cco_sidecar.core.budgets.spending import KINDS, Kind, Spent
from cco_sidecar.core.budgets.steward import Steward
from cco_sidecar.core.projects import Project, Projects
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import Foreign, InvalidBody, InvalidParameter, NoSuchAgentType, UnknownAgentType
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, ProjectQuery, audit

MOST_TOKENS = 10**15
MOST_USD = 10**9
MOST_SECONDS = 10**9


class BudgetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How much may be taken, at least one of the three; what is not given has no limit. ``reset`` counts from now."""

    tokens: Annotated[int, Meta(ge=1, le=MOST_TOKENS)] | None = None
    usd: Annotated[float, Meta(gt=0, le=MOST_USD)] | None = None
    seconds: Annotated[int, Meta(ge=1, le=MOST_SECONDS)] | None = None
    reset: bool = False


class LimitsAnswer(msgspec.Struct):
    """How much may be taken; null is as much as you like."""

    tokens: int | None
    usd: float | None
    seconds: int | None


class SpentAnswer(msgspec.Struct):
    """What was taken; ``usd_estimated`` of the dollars are reckoned by list prices: their agents have not said yet."""

    tokens: int
    usd: float
    usd_estimated: float
    seconds: float


class BudgetAnswer(msgspec.Struct):
    """A budget; ``fraction`` is of the limit that is ``nearest``. It counts from ``since``; null: all that is known."""

    kind: Kind
    id: str
    project_id: str
    state: State
    limits: LimitsAnswer
    spent: SpentAnswer
    fraction: float
    nearest: What
    since: str | None
    set_at: str
    warned_at: str | None
    exhausted_at: str | None


class BudgetsAnswer(msgspec.Struct):
    """Budgets, by kind and id."""

    budgets: list[BudgetAnswer]


class BudgetGoneAnswer(msgspec.Struct):
    """The budget that is no more."""

    kind: Kind
    id: str
    removed: bool


@define(eq=False)
class BudgetsAPI:
    """Parse, delegate, encode."""

    _steward: Steward
    _projects: Projects
    _roster: Roster

    async def set(self, call: Call[ProjectQuery, BudgetRequest]) -> Reply:
        """Set a budget, or change it."""
        body, (kind, name, project) = call.body, self._named(call)
        if body.tokens is None and body.usd is None and body.seconds is None:
            raise InvalidBody("A budget limits something: give tokens, usd or seconds.", path="$")
        if kind == "type":
            try:
                self._roster.get(name)
            except UnknownAgentType as error:
                raise NoSuchAgentType(error.message, **error.details) from None
        limits = Limits(body.tokens, body.usd, body.seconds)
        record = await self._steward.set(project.id, kind, name, limits, reset=body.reset)
        much = {"tokens": body.tokens, "usd": body.usd, "seconds": body.seconds, "reset": body.reset}
        audit(call.request, "budget set", target=f"{kind} {name}", **much)
        return Reply(_answer(project, project.budgets.get(record.kind, record.id), project.budgets.total(record)))

    async def show(self, call: Call[ProjectQuery, None]) -> Reply:
        """Give a budget, and how far it is."""
        kind, name, project = self._named(call)
        holder = call.holder
        if kind == "issue" and not holder.is_admin and name != holder.issue_id:
            raise Foreign(f"This token is for the issue '{holder.issue_id}' alone.")
        record = project.budgets.get(kind, name)
        return Reply(_answer(project, record, project.budgets.total(record)))

    async def list(self, call: Call[ProjectQuery, None]) -> Reply:
        """List budgets; of issues' an agent sees its own alone."""
        project, holder = call.project, call.holder
        found = [
            _answer(project, record, total)
            for record, total in project.budgets.totals()
            if holder.is_admin or record.kind != "issue" or record.id == holder.issue_id
        ]
        return Reply(BudgetsAnswer(sorted(found, key=lambda answer: (KINDS.index(answer.kind), answer.id))))

    async def remove(self, call: Call[ProjectQuery, None]) -> Reply:
        """Remove a budget: what it held back goes on."""
        kind, name, project = self._named(call)
        record = await self._steward.remove(project.id, kind, name)
        audit(call.request, "budget removed", target=f"{kind} {name}")
        return Reply(BudgetGoneAnswer(record.kind, record.id, removed=True))

    def _named(self, call: Call[ProjectQuery, Any]) -> tuple[Kind, str, Project]:
        """Give what a path names; a project's budget is that project's, whichever one the admin asks from."""
        name = call.path["budget_id"]
        kind = next((each for each in KINDS if each == call.path["kind"]), None)
        if kind is None:
            raise InvalidParameter(f"A budget is for one of {', '.join(KINDS)}.", parameter="kind")
        if kind != "project" or name == call.project.id:
            return kind, name, call.project
        if not call.holder.is_admin or call.query.project is not None:
            raise Foreign(f"This is asked in the project '{call.project.id}': its budget is the only one here.")
        return kind, name, self._projects.get(name)


def _answer(project: Project, record: BudgetRecord, total: Spent) -> BudgetAnswer:
    nearest, fraction = record.fraction(total)
    spent, limits = record.spent(total), record.limits
    return BudgetAnswer(
        kind=record.kind,
        id=record.id,
        project_id=project.id,
        state=record.state,
        limits=LimitsAnswer(limits.tokens, limits.usd, limits.seconds),
        spent=SpentAnswer(
            spent.tokens,
            plain("usd", spent.micro_usd),
            plain("usd", spent.estimated_micro_usd),
            plain("seconds", spent.milliseconds),
        ),
        fraction=round(fraction, 4),
        nearest=nearest,
        since=None if record.since is None else rfc3339(record.since),
        set_at=rfc3339(record.set_at),
        warned_at=_crossed_at(record, "warning"),
        exhausted_at=_crossed_at(record, "exhausted"),
    )


def _crossed_at(record: BudgetRecord, level: Level) -> str | None:
    times = [crossing.at for crossing in record.crossings if crossing.level == level]
    return rfc3339(min(times)) if times else None
