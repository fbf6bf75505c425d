"""The engine: takes the events of a project's issues in order, records what follows, then lets it happen.

Every decision is a record before it is an act, and whatever acts can be asked again: so the sidecar may end anywhere,
and its next life goes on from the records and the log.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.agent_news import COMPLETED_EVENT, FAILED_EVENT
from cco_sidecar.core.agents import Agents
from cco_sidecar.core.events.event import Event
from cco_sidecar.core.projects import Project
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.shielding import shielded
from cco_sidecar.core.workflows.deciding import after_end, after_event, after_refusal, after_silence
from cco_sidecar.core.workflows.definition import Workflow
from cco_sidecar.core.workflows.judging import Ending, ending_of, failure
from cco_sidecar.core.workflows.orders import StartOrder, check_same, issue_of
from cco_sidecar.core.workflows.pauses import Pauses
from cco_sidecar.core.workflows.run import (
    FINAL,
    RUNNING,
    STOPPED,
    Attempt,
    Effect,
    Finished,
    Run,
    Step,
    Told,
    apply,
)
from cco_sidecar.core.workflows.runs import MOST_RUNNING
from cco_sidecar.core.workflows.spawning import Spawner
from cco_sidecar.core.workflows.telling import Teller, due
from cco_sidecar.errors import NotFound, Refusal, TooManyRequests

_log = Logger()

RETRY_SECONDS = 5.0

Details = Callable[[Attempt, Ending], "Deferred[str]"]
"""Finds what else is known of an agent's failure: its result's words, the last lines of its log. Never fails."""


@define(eq=False)
class _Course:
    """A run that the engine looks after: what it has yet to take, in order."""

    run_id: str
    issue_id: str
    pending: deque[Event] = field(factory=deque)
    lost: deque[Ending] = field(factory=deque)  # ends whose events retention took
    busy: bool = False


@define(eq=False)
class Engine:
    """Runs the workflows of one project.

    :param new_id: makes the ids of runs.
    """

    _clock: IReactorTime
    _project: Project
    _agents: Agents
    _roster: Roster
    _details: Details
    _new_id: Callable[[], str]
    _pauses: Pauses = field(init=False)
    _spawner: Spawner = field(init=False)
    _teller: Teller = field(init=False)
    _courses: dict[str, _Course] = field(factory=dict)
    _starting: "dict[str, list[Deferred[None]]]" = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        project = self._project
        self._pauses = Pauses(self._clock)
        self._spawner = Spawner(
            self._agents, project.id, self._roster.types, self._pauses, project.runs.current, self._cannot_start
        )
        self._teller = Teller(self._clock, project.hub, project.keys, project.dead_letters)

    # Life

    def open(self) -> None:
        """Go on with what was under way, after the recovery of the log and of the agents."""
        agents = self._agents.listing(self._project.id, limit=1_000_000)
        at_work = {agent.issue_id for agent in agents if not agent.ended}
        for run in self._project.runs:
            if run.status == STOPPED and run.issue_id in at_work:
                self._spawner.end(run, 0.0)
            if run.status not in FINAL or next(due(run), None) is not None:
                self._courses[run.issue_id] = _Course(run.run_id, run.issue_id)
        self._look_back()
        self._project.hub.observe(self._hear)
        for course in list(self._courses.values()):
            self._take_up(course)

    def close(self) -> None:
        """Do nothing more; what is under way goes on after a restart."""
        self._pauses.close()

    def _look_back(self) -> None:
        if not self._courses:
            return
        runs = {run.issue_id: run for run in self._project.runs}
        first = min(max(runs[issue].through, runs[issue].mark) for issue in self._courses)
        for event in self._project.hub.ring.after(first):
            if not event.is_replay:
                self._queue(event)

    def _take_up(self, course: _Course) -> None:
        run = self._project.runs.find(course.issue_id)
        assert run is not None
        self._project.issues.begin(run.issue_id, run.mark)
        told = {ending.agent_id for event in course.pending if (ending := ending_of(run, event)) is not None}
        for attempt in run.live:
            agent = self._agents.find(self._project.id, attempt.agent_id)
            is_told = agent is not None and agent.announced in {COMPLETED_EVENT, FAILED_EVENT}
            if agent is not None and is_told and agent.agent_id not in told:
                course.lost.append(Ending.of(agent))
        self._wake(course)

    # What people and agents ask for

    def start(self, order: StartOrder) -> "Deferred[tuple[Run, bool]]":
        """Fire with the issue's run, on disk, and whether it is new; asked again for the same, it is the same.

        :raises IssueBusy: a run with another task, workflow or runner is at work.
        :raises TooManyRequests: too many issues are worked on.
        :raises StorageFull: nothing was accepted; `EventLogUnavailable` likewise.
        """
        return shielded(Deferred.fromCoroutine(self._start(order)))

    async def _start(self, order: StartOrder) -> tuple[Run, bool]:
        while order.issue_id in self._starting:
            turn: Deferred[None] = Deferred()
            self._starting[order.issue_id].append(turn)
            await turn
        self._starting[order.issue_id] = []
        try:
            return await self._begin(order)
        finally:
            for turn in self._starting.pop(order.issue_id):
                turn.callback(None)

    async def _begin(self, order: StartOrder) -> tuple[Run, bool]:
        runs = self._project.runs
        before = runs.find(order.issue_id)
        if before is not None and before.status == RUNNING:
            check_same(before, order)
            return before, False
        if len(runs.running) >= MOST_RUNNING:
            raise TooManyRequests(
                f"{MOST_RUNNING} issues are worked on: start this one when one of them is done.", retry_after=60
            )
        run = order.run(f"run-{self._new_id()}", self._clock.seconds(), self._project.hub.sequence)
        await runs.begin(run)
        self._project.issues.begin(run.issue_id, run.mark)
        course = self._courses[run.issue_id] = _Course(run.run_id, run.issue_id)
        self._wake(course)
        return run, True

    def stop(self, issue_id: str, grace_seconds: float) -> "Deferred[Run]":
        """Fire with the run when no rule of it fires any more and its agents, with all whom they started, are gone.

        :raises NotFound: no run was ever started for the issue.
        :raises StorageFull: nothing was done; `EventLogUnavailable` likewise.
        """
        return shielded(Deferred.fromCoroutine(self._stop(issue_id, grace_seconds)))

    async def _stop(self, issue_id: str, grace_seconds: float) -> Run:
        runs = self._project.runs
        run = runs.find(issue_id)
        if run is None:
            raise NotFound(f"No workflow was started for the issue '{issue_id}': there is nothing to stop.")
        if run.status not in FINAL:
            run = await self._record(run, (Finished(STOPPED),)) or run
        await self._spawner.end(run, grace_seconds)
        course = self._courses.get(issue_id)
        if course is not None:
            self._wake(course)
        return run

    # Events

    def _hear(self, event: Event) -> None:
        if self._courses and not self._pauses.closed:
            course = self._queue(event)
            if course is not None:
                self._wake(course)

    def _queue(self, event: Event) -> _Course | None:
        issue_id = issue_of(event)
        course = None if issue_id is None else self._courses.get(issue_id)
        if course is not None:
            course.pending.append(event)
        return course

    def _wake(self, course: _Course) -> None:
        if course.busy or self._pauses.closed:
            return
        course.busy = True
        self._clock.callLater(0, self._begin_work, course)  # the publisher waits for its answer

    def _begin_work(self, course: _Course) -> None:
        Deferred.fromCoroutine(self._work(course)).addBoth(self._worked, course)

    def _worked(self, outcome: object, course: _Course) -> None:
        course.busy = False
        if isinstance(outcome, Failure) and outcome.check(CancelledError) is None:
            _log.failure("the run of {issue} could not be looked after", outcome, issue=course.issue_id)
            self._clock.callLater(RETRY_SECONDS, self._wake, course)  # what went wrong is passed over

    async def _work(self, course: _Course) -> None:
        """Do all that there is to do for a run."""
        while not self._pauses.closed and (run := self._run_of(course)) is not None:
            workflow = self._workflow(run)
            self._spawner.see_to(run, workflow)
            news = next(due(run), None)
            if news is not None:
                await self._insist(self._teller.tell, run, news)
                await self._insist(self._record, run, (Told(news.key),))
            elif run.status in FINAL:
                del self._courses[course.issue_id]
                return
            elif course.pending:
                await self._take(course, workflow)
            elif course.lost:
                ending = course.lost.popleft()
                await self._end(course, workflow, ending)
            elif effects := after_silence(run, workflow, self._clock.seconds()):
                await self._insist(self._record, run, effects)
            else:
                return

    async def _take(self, course: _Course, workflow: Workflow) -> None:
        """Take the next event: all that follows from it is one record."""
        event = course.pending[0]
        try:
            run = self._run_of(course)
            if run is None or event.sequence <= run.through:
                return
            ending = ending_of(run, event)
            if ending is not None:
                await self._end(course, workflow, ending, event)
            elif effects := after_event(run, workflow, event, self._clock.seconds()):
                await self._insist(self._record, run, effects, event.sequence)
        finally:
            course.pending.popleft()

    async def _end(self, course: _Course, workflow: Workflow, ending: Ending, event: Event | None = None) -> None:
        """Take the end of an agent; rules may wait for its event, too."""
        run, details = self._run_of(course), ""
        attempt = None if run is None else run.attempt(ending.agent_id)
        agent = self._agents.find(self._project.id, ending.agent_id)
        if agent is not None and agent.ended:
            ending = Ending.of(agent)
        if attempt is not None and failure(workflow, attempt, ending):
            details = await self._details(attempt, ending)
        run = self._run_of(course)  # it may have been stopped meanwhile
        if run is None:
            return
        now = self._clock.seconds()
        effects = () if event is None else after_event(run, workflow, event, now)
        after = run
        for effect in effects:
            after = apply(after, effect, now)
        effects = (*effects, *after_end(after, workflow, ending, details, now))
        if effects:
            await self._insist(self._record, run, effects, 0 if event is None else event.sequence)

    def _cannot_start(self, run: Run, agent_id: str, reason: str) -> None:
        Deferred.fromCoroutine(self._give_up(run, agent_id, reason)).addErrback(_unforeseen)

    async def _give_up(self, run: Run, agent_id: str, reason: str) -> None:
        now = self._project.runs.current(run.run_id, run.issue_id)
        effects = () if now is None else after_refusal(now, agent_id, reason, self._clock.seconds())
        if now is not None and effects:
            await self._insist(self._record, now, effects)
            course = self._courses.get(run.issue_id)
            if course is not None:
                self._wake(course)

    # Records

    def _record(self, run: Run, effects: Sequence[Effect], through: int = 0) -> "Deferred[Run | None]":
        step = Step(run.run_id, run.issue_id, self._clock.seconds(), through, tuple(effects))
        return self._project.runs.take(step)

    async def _insist(self, act: Callable[..., Awaitable[object]], *args: object) -> None:
        """Do it, again and again while the log takes nothing."""
        while True:
            try:
                await act(*args)
            except Refusal as refusal:
                _log.warn("a workflow has to wait: {why}", why=refusal.message)
                await self._pauses.pause(RETRY_SECONDS)
            else:
                return

    def _run_of(self, course: _Course) -> Run | None:
        return self._project.runs.current(course.run_id, course.issue_id)

    def _workflow(self, run: Run) -> Workflow:
        found = self._roster.workflows.get(run.workflow)
        return Workflow(run.workflow, run.workflow, (), {}) if found is None else found


def _unforeseen(wrong: Failure) -> None:
    if wrong.check(CancelledError) is None:
        _log.failure("something went wrong with a workflow", wrong)
