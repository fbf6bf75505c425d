"""What running agents have taken so far, and what they do now, as far as their output says it."""

from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from cco_sidecar.core.agent_rows import Agent


@frozen
class Work:
    """What an agent's output has said up to now; ``doing`` is empty where it says nothing of that."""

    usage: Mapping[str, float] | None
    doing: str = ""


@define(eq=False)
class AllWork:
    """The work of all agents that run here. It is not written down: after a restart it is read again."""

    _work: dict[str, Work] = field(factory=dict)

    def note(self, agent_id: str, work: Work) -> None:
        """Keep what is known now."""
        self._work[agent_id] = work

    def end(self, agent_id: str) -> None:
        """Forget an agent: its row has the rest."""
        self._work.pop(agent_id, None)

    def of(self, agent_id: str) -> Work | None:
        """Give the work of an agent, if it runs and something is known of it."""
        return self._work.get(agent_id)

    def usage_of(self, agent: Agent) -> dict[str, float] | None:
        """Give what an agent has taken: until now, or in all."""
        work = None if agent.ended else self._work.get(agent.agent_id)
        if work is None or work.usage is None:
            return agent.usage
        return dict(work.usage)


def summed(usages: Iterable[Mapping[str, float] | None]) -> dict[str, float] | None:
    """Sum up what several agents have taken; None if nothing is known of any."""
    total: dict[str, float] = {}
    for usage in usages:
        for name, value in (usage or {}).items():
            total[name] = total.get(name, 0.0) + value
    return total or None
