"""What becomes of an agent that its account stopped: it waits in the queue, as itself, and goes on where it was."""

from attrs import evolve, frozen

from cco_sidecar.core.agent_rows import QUEUED, Agent, LastWords


@frozen
class ParkingLimits:
    """How often an agent may be parked, and for how many seconds in all; then it fails of what it was parked for."""

    most_times: int = 200
    most_seconds: float = 3 * 86_400.0

    def leave_no_more(self, agent: Agent, now: float) -> bool:
        """Say whether an agent was parked as much as it may be."""
        return agent.parkings >= self.most_times or self.is_too_long(agent, now)

    def is_too_long(self, agent: Agent, now: float) -> bool:
        """Say whether an agent was parked for as long as it may be."""
        since = 0.0 if agent.parked_at is None else now - agent.parked_at
        return agent.parked_seconds + since >= self.most_seconds


def with_words(agent: Agent, said: LastWords) -> Agent:
    """Give an agent what its newest process said of its work."""
    return evolve(agent, usage=said.usage, failure=said.failure, reason=said.reason or agent.reason)


def parked(agent: Agent, said: LastWords, ended_at: float, now: float) -> Agent:
    """Make an agent wait whose process its account stopped; it has its words already."""
    return evolve(
        _without_process(agent, ended_at),
        status=QUEUED,
        session_id=said.session_id if said.answered else agent.session_id,
        parkings=agent.parkings + 1,
        parked_at=now,
    )


def started_again(agent: Agent, said: LastWords | None, now: float) -> Agent:
    """Make an agent start again that never began to work; what it was told before is not lost on it."""
    again = evolve(
        agent,
        restarts=agent.restarts + 1,
        restart_due=False,
        launched=None,
        started_at=None,
        earlier_seconds=agent.seconds_until(now),
    )
    if said is None:
        return again
    return evolve(again, usage=said.usage, session_id=said.session_id if said.answered else agent.session_id)


def started_over(agent: Agent, ended_at: float) -> Agent:
    """Make an agent begin from the beginning whose conversation is lost."""
    return evolve(_without_process(agent, ended_at), session_id="", failure="", reason="")


def unparked(agent: Agent, now: float) -> Agent:
    """Let an agent start, parked or not."""
    if agent.parked_at is None:
        return agent
    waited = max(0.0, now - agent.parked_at)
    return evolve(agent, parked_at=None, parked_seconds=agent.parked_seconds + waited, failure="", reason="")


def _without_process(agent: Agent, ended_at: float) -> Agent:
    return evolve(
        agent,
        launched=None,
        started_at=None,
        exit_code=None,
        timed_out=False,
        condition="",
        condition_at=None,
        told_at=None,
        earlier_seconds=agent.seconds_until(ended_at),
    )
