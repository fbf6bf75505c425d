"""What is asked of the engine, and what an event is about."""

import msgspec
from attrs import frozen

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.core.workflows.run import Run
from cco_sidecar.errors import IssueBusy


@frozen
class StartOrder:
    """What is asked of a start, complete and checked; ``parent`` is the agent that asks, or ``admin``."""

    issue_id: str
    workflow: str
    runner: str
    task: str
    parent: str
    timeout_seconds: float

    def run(self, run_id: str, at: float, mark: int) -> Run:
        """Make the run; ``mark`` is the newest event before it."""
        return Run(
            run_id, self.issue_id, self.workflow, self.runner, self.task, self.parent, at, mark, self.timeout_seconds
        )


def check_same(run: Run, order: StartOrder) -> None:
    """Check that a start asks for the run that is at work.

    :raises IssueBusy: it asks for another one.
    """
    asked = {"workflow": order.workflow, "runner": order.runner, "task": order.task}
    other = [name for name, value in asked.items() if getattr(run, name) != value]
    if other:
        raise IssueBusy(
            f"The workflow '{run.workflow}' is at work on the issue '{run.issue_id}', with another "
            f"{' and '.join(other)}: stop it first, or wait for its end.",
            run_id=run.run_id,
            workflow=run.workflow,
            different=other,
        )


class _Named(msgspec.Struct):
    issue_id: str | None = None


def issue_of(event: Event) -> str | None:
    """Say which issue an event is about: its publisher's own; the admin, who has none, names one in the data."""
    body = event.body
    if body.issue_id is not None or body.publisher != ADMIN:
        return body.issue_id
    try:
        return msgspec.json.decode(event.data, type=_Named).issue_id
    except msgspec.ValidationError:
        return None
