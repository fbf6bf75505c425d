"""What is said to whoever works on a task that is not theirs any more."""

from cco_sidecar.core.tasks.task import Task
from cco_sidecar.core.times import rfc3339
from cco_sidecar.errors import StaleFence


def stale(task: Task, fence: int) -> StaleFence:
    """Make the refusal of a word that comes too late, or from somebody else."""
    lease, state = task.state.lease, task.state.state
    holder = lease.holder.agent_id if lease is not None and state == "leased" else None
    until = rfc3339(lease.expires_at) if lease is not None and state == "leased" else None
    now = f"'{holder}' has it until {until}" if holder is not None else f"it is {state}"
    return StaleFence(
        f"The fence {fence} is not that of a lease of yours on the task '{task.id}': {now}. "
        "Stop working on it, and take another (POST /api/tasks/claim).",
        task_id=task.id,
        fence=fence,
        state=state,
        agent_id=holder,
        until=until,
        attempts=task.state.attempts,
    )
