"""Issues: the user's units of work, and from which event on each concerns its agents."""

from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec
from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.ledger import Ledger, Record

MOST_ISSUES = 10_000


class Issue(msgspec.Struct, frozen=True):
    """An issue; ``mark`` is the sequence of the last event before it was first seen."""

    issue_id: str
    mark: int
    first_seen: float


@define(eq=False)
class Issues:
    """The issues of one project, oldest first; the oldest are forgotten when there are too many."""

    _clock: IReactorTime
    _ledger: Ledger
    _last_seen: Callable[[], int]  # the number of the newest event that readers can see
    kinds: tuple[str, ...] = ("issue",)
    _seen: "OrderedDict[str, Issue]" = field(factory=OrderedDict)

    def see(self, issue_id: str) -> Issue:
        """Note that an issue was named by a token or a spawn; the first time counts (contract section 1)."""
        known = self._seen.get(issue_id)
        if known is not None:
            return known
        issue = Issue(issue_id, self._last_seen(), self._clock.seconds())
        self._keep(issue)
        self._ledger.note("issue", issue)
        return issue

    def begin(self, issue_id: str, mark: int) -> None:
        """Note that work on an issue begins anew: what comes after ``mark`` concerns its agents (contract 1)."""
        seen = self.see(issue_id)
        if seen.mark < mark:
            issue = Issue(issue_id, mark, seen.first_seen)
            self._keep(issue)
            self._ledger.note("issue", issue)

    @property
    def names(self) -> Iterable[str]:
        """The issues that were ever named."""
        return self._seen

    def find(self, issue_id: str) -> Issue | None:
        """Give the issue, if it was ever named."""
        return self._seen.get(issue_id)

    def mark(self, issue_id: str) -> int:
        """Give the sequence after which events concern the issue's agents."""
        return self.see(issue_id).mark

    def _keep(self, issue: Issue) -> None:
        self._seen[issue.issue_id] = issue
        if len(self._seen) > MOST_ISSUES:
            self._seen.popitem(last=False)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up an issue."""
        self._keep(msgspec.json.decode(body, type=Issue))

    def snapshot(self) -> Iterable[Record]:
        """Give all issues."""
        for issue in self._seen.values():
            yield "issue", issue
