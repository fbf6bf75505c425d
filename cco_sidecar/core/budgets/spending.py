"""What the agents of a project have taken: by project, issue and agent type, exact, each agent once."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Mapping
from itertools import islice
from typing import Literal

import msgspec
from attrs import define, field

from cco_sidecar.core.agent_rows import LIVE, Agent

Kind = Literal["project", "issue", "type"]
KINDS: tuple[Kind, ...] = ("project", "issue", "type")
Scope = tuple[Kind, str]
"""A kind, and the name of one: ``("issue", "issue-123")``."""

MOST_DROPPED = 10_000
"""For so many scopes is known what agents took whose rows are not kept any more."""
COUNTED_TOKENS = ("input_tokens", "output_tokens", "cache_creation_tokens")
"""What a model reads anew and writes. What it reads again from its cache is most of all, and costs least."""


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """An amount, in whole numbers, so that a sum of very many is exact.

    :param micro_usd: in millionths of a dollar; ``estimated_micro_usd`` of it are estimated.
    :param milliseconds: for which processes ran.
    """

    tokens: int = 0
    micro_usd: int = 0
    estimated_micro_usd: int = 0
    milliseconds: int = 0

    def plus(self, other: "Spent", times: int = 1) -> "Spent":
        """Add another one, or with -1 take it away."""
        return Spent(
            self.tokens + times * other.tokens,
            self.micro_usd + times * other.micro_usd,
            self.estimated_micro_usd + times * other.estimated_micro_usd,
            self.milliseconds + times * other.milliseconds,
        )


NOTHING = Spent()


def spent_of(usage: Mapping[str, float] | None, seconds: float) -> Spent:
    """Say what an agent took, by what it reported and how long it ran."""
    known = usage or {}
    estimated = round(known.get("cost_usd_estimated", 0.0) * 1e6)
    return Spent(
        sum(int(known.get(name, 0.0)) for name in COUNTED_TOKENS),
        round(known.get("cost_usd", 0.0) * 1e6) + estimated,
        estimated,
        round(seconds * 1000),
    )


def scopes_of(agent: Agent) -> tuple[Scope, Scope, Scope]:
    """Give all that an agent takes from."""
    return ("project", agent.project_id), ("issue", agent.issue_id), ("type", agent.agent_type)


@define(eq=False)
class Spending:
    """Sums over all agents of a project. Implements `cco_sidecar.core.agent_rows.Audience`.

    Each row that is kept counts as it is, so that nothing counts twice, whatever is recovered how often; what of rows
    is dropped is added up.

    :param usage_of: what an agent that runs has taken up to now.
    """

    _usage_of: Callable[[Agent], Mapping[str, float] | None]
    wanted: Container[Scope] = frozenset()
    """For these scopes nothing is ever forgotten."""
    has_changed: bool = False
    """Whether an agent has ended since somebody last set this back."""
    _live: dict[str, Agent] = field(factory=dict)
    _ended: dict[str, Spent] = field(factory=dict)
    _sums: dict[Scope, Spent] = field(factory=dict)  # of those that ended
    _dropped: "OrderedDict[Scope, Spent]" = field(factory=OrderedDict)

    @property
    def live(self) -> Collection[Agent]:
        """The agents that have, or are about to have, a process."""
        return list(self._live.values())

    def put(self, agent: Agent) -> None:
        """Count an agent as it is now."""
        self._live.pop(agent.agent_id, None)
        if agent.status in LIVE:
            self._live[agent.agent_id] = agent
        if not agent.ended:
            return
        before = self._ended.get(agent.agent_id, NOTHING)
        now = spent_of(agent.usage, agent.seconds_until(agent.ended_at or 0.0))
        if now != before:
            self.has_changed = True
            self._ended[agent.agent_id] = now
            for scope in scopes_of(agent):
                self._sums[scope] = self._sums.get(scope, NOTHING).plus(now).plus(before, -1)

    def dropped(self, agent: Agent) -> None:
        """Keep what an agent took whose row is dropped."""
        spent = self._ended.pop(agent.agent_id, NOTHING)
        for scope in scopes_of(agent):
            left = self._sums.get(scope, NOTHING).plus(spent, -1)
            if left == NOTHING:
                self._sums.pop(scope, None)
            else:
                self._sums[scope] = left
            self._dropped[scope] = self._dropped.pop(scope, NOTHING).plus(spent)
        if len(self._dropped) > MOST_DROPPED:
            unwanted = [scope for scope in islice(self._dropped, MOST_DROPPED) if scope not in self.wanted]
            for scope in unwanted[: len(self._dropped) - MOST_DROPPED]:
                del self._dropped[scope]

    def total(self, scope: Scope, now: float) -> Spent:
        """Say what was taken in a scope until now."""
        return self.totals(now, (scope,))[scope]

    def totals(self, now: float, scopes: Collection[Scope]) -> dict[Scope, Spent]:
        """Say it for several scopes at once."""
        total = {scope: self._sums.get(scope, NOTHING).plus(self._dropped.get(scope, NOTHING)) for scope in scopes}
        for agent in self._live.values():
            mine = [scope for scope in scopes_of(agent) if scope in total]
            if mine:
                spent = spent_of(self._usage_of(agent), agent.seconds_until(now))
                for scope in mine:
                    total[scope] = total[scope].plus(spent)
        return total

    def restore(self, dropped: Collection[tuple[Kind, str, Spent]]) -> None:
        """Take up what was dropped until then."""
        self._dropped = OrderedDict(((kind, name), spent) for kind, name, spent in dropped)

    def kept(self) -> list[tuple[Kind, str, Spent]]:
        """Give what was dropped, to be written down."""
        return [(kind, name, spent) for (kind, name), spent in self._dropped.items()]
