"""Signs of life of running agents: their requests, their heartbeats, what their supervisors see. Facts, no opinions."""

from collections.abc import Callable

from attrs import define, field

from cco_sidecar.interfaces import Look

_MOVES = 0.01
"""Who uses less of a processor than this does nothing: a runtime that idles uses some, too."""


@define(eq=False)
class Signs:
    """What was seen of one agent since ``began``; times are seconds since the epoch.

    ``asked_at`` is its last request, ``beat_at`` its last heartbeat, ``moved_at`` when it was last seen to compute or
    write; ``repeats`` is how often its last request was made in a row with the same outcome.
    """

    began: float
    asked_at: float | None = None
    beat_at: float | None = None
    moved_at: float | None = None
    repeats: int = 0
    repeated: tuple[str, str, int] | None = None
    looked_at: float | None = None
    _look: Look | None = None
    _quiet_since: float | None = None
    _quiet_look: Look | None = None

    @property
    def lived_at(self) -> float:
        """The last sign of life."""
        return max(self.began, self.asked_at or 0.0, self.moved_at or 0.0)

    def outcome(self, method: str, path: str, status: int) -> None:
        """Note an answer that told the agent nothing new if it had it before."""
        same = (method, path, status)
        self.repeats = self.repeats + 1 if same == self.repeated else 1
        self.repeated = same

    def saw(self, look: Look, now: float) -> None:
        """Note what the agent's supervisor sees; asked only while there are no requests."""
        before, before_at = self._look, self.looked_at
        self._look, self.looked_at = look, now
        if self._quiet_since is None or self._quiet_since < (self.asked_at or self.began):
            self._quiet_since, self._quiet_look = now, look
        if before is None or before_at is None:
            return
        used = look.cpu_seconds - before.cpu_seconds
        if look.output_bytes > before.output_bytes or used > _MOVES * (now - before_at):
            self.moved_at = now

    def busy(self, now: float) -> tuple[float, float]:
        """Give for how long it was watched without a request, and how much of a processor it used in that time."""
        if self._look is None or self._quiet_look is None or self._quiet_since is None:
            return 0.0, 0.0
        if self._quiet_since < (self.asked_at or self.began):
            return 0.0, 0.0  # it asked for something since
        lasted = now - self._quiet_since
        used = self._look.cpu_seconds - self._quiet_look.cpu_seconds
        return lasted, used / lasted if lasted > 0 else 0.0


@define(eq=False)
class AllSigns:
    """The signs of all agents that run here; of others nothing is noted.

    :param on_first: hears of an agent's first request.
    """

    on_first: Callable[[str], None] = lambda _: None
    _signs: dict[str, Signs] = field(factory=dict)

    def begin(self, agent_id: str, now: float) -> None:
        """Begin to look at an agent, with a clean sheet."""
        self._signs[agent_id] = Signs(now)

    def end(self, agent_id: str) -> None:
        """Look at it no more."""
        self._signs.pop(agent_id, None)

    def of(self, agent_id: str) -> Signs | None:
        """Give the signs of an agent, if it runs."""
        return self._signs.get(agent_id)

    def heard(self, agent_id: str, now: float) -> None:
        """Note that a request of an agent came."""
        signs = self._signs.get(agent_id)
        if signs is None:
            return
        is_first = signs.asked_at is None
        signs.asked_at = now
        if is_first:
            self.on_first(agent_id)

    def beat(self, agent_id: str, now: float) -> None:
        """Note a heartbeat."""
        signs = self._signs.get(agent_id)
        if signs is not None:
            signs.beat_at = now

    def answered(self, agent_id: str, method: str, path: str, status: int) -> None:
        """Note an answer: one that comes again tells nothing new, unless something was done by it."""
        signs = self._signs.get(agent_id)
        if signs is None:
            return
        if method == "GET" or status >= 400:
            signs.outcome(method, path, status)
        else:
            signs.repeats, signs.repeated = 0, None
