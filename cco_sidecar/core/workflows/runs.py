"""The runs of one project, kept in its journal: the newest of each issue."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred

from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.core.workflows.run import FINAL, RUNNING, Run, Step, fold, shortened

MOST_RUNNING = 100
MOST_ENDED = 1_000
MOST_ENDED_AGENTS = 10_000
"""How many agents the ended runs may name together: each segment of the journal begins with all of them."""


@define(eq=False)
class Runs:
    """The newest run of each issue, those that began longest ago first; the oldest that ended are forgotten."""

    _ledger: Ledger
    kinds: tuple[str, ...] = ("run", "run_step")
    _by_issue: dict[str, Run] = field(factory=dict)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._by_issue.values()))

    def find(self, issue_id: str) -> Run | None:
        """Give the newest run of an issue."""
        return self._by_issue.get(issue_id)

    def current(self, run_id: str, issue_id: str) -> Run | None:
        """Give a run, if it still is its issue's newest."""
        run = self._by_issue.get(issue_id)
        return run if run is not None and run.run_id == run_id else None

    @property
    def running(self) -> Sequence[Run]:
        """Those that are at work."""
        return [run for run in self._by_issue.values() if run.status == RUNNING]

    def begin(self, run: Run) -> "Deferred[Run]":
        """Fire with the run when it is on disk, in the place of the issue's run before it; raises as the journal."""
        return self._ledger.record("run", run).addCallback(lambda _: self._put(run))

    def take(self, step: Step) -> "Deferred[Run | None]":
        """Fire with the run after the step when that is on disk; raises as the journal."""
        return self._ledger.record("run_step", step).addCallback(lambda _: self._fold(step))

    def _put(self, run: Run) -> Run:
        self._by_issue.pop(run.issue_id, None)
        self._by_issue[run.issue_id] = run
        self._forget()
        return run

    def _fold(self, step: Step) -> Run | None:
        run = self.current(step.run_id, step.issue_id)
        if run is None:
            return None
        after = fold(run, step)
        if after.status in FINAL:
            after = shortened(after)
        self._by_issue[step.issue_id] = after
        if after.status != run.status:
            self._forget()
        return after

    def _forget(self) -> None:
        ended = [run for run in self._by_issue.values() if run.status != RUNNING]
        agents = sum(len(run.attempts) for run in ended)
        for number, run in enumerate(ended):
            if len(ended) - number <= MOST_ENDED and agents <= MOST_ENDED_AGENTS:
                return
            agents -= len(run.attempts)
            del self._by_issue[run.issue_id]

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a run, or a step of one."""
        if kind == "run":
            self._put(msgspec.json.decode(bytes(body), type=Run))
            return
        self._fold(msgspec.json.decode(bytes(body), type=Step))

    def snapshot(self) -> Iterable[Record]:
        """Give every run as it is now."""
        for run in self._by_issue.values():
            yield "run", run
