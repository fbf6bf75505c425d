"""Hears what agents say of their work, while they run and at their end; reports for those that did not themselves."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

import msgspec
from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cco_sidecar.backends.agents.runners import Runner
from cco_sidecar.backends.agents.tailing import Tail
from cco_sidecar.backends.agents.tallying import Said, Tally
from cco_sidecar.core.agent_rows import Agent, LastWords
from cco_sidecar.core.agent_work import Work
from cco_sidecar.core.results import Report
from cco_sidecar.core.secrets.redacting import redact as redact_secrets
from cco_sidecar.errors import Refusal

_T = TypeVar("_T")

MOST_OF_ONE_BYTES = 256 * 1024
MOST_OF_ALL_BYTES = 4 * 1024 * 1024
"""How much one look reads; the next goes on from there."""


class InThread(Protocol):
    """Runs what blocks in a thread."""

    def __call__(self, work: Callable[[], _T], /) -> "Deferred[_T]":
        """Fire with what it gives."""


@frozen
class Heard:
    """What is known of agents' work now; ``is_behind`` says that there is more to read at once."""

    work: Mapping[str, Work]
    is_behind: bool


@define(eq=False)
class Ear:
    """Listens to one agent; threads may ask it at the same time."""

    _tail: Tail
    _tally: Tally = field(factory=Tally)
    _work: Work = field(factory=lambda: Work(None))
    _lock: Lock = field(factory=Lock)

    def listen(self) -> tuple[Work, int]:
        """Hear what is new; gives what is known of the agent's work, and how many bytes were read. Blocks."""
        with self._lock:
            many = self._read()
            if many:
                self._work = Work(self._tally.usage, self._tally.doing)
            return self._work, many

    def is_answered(self) -> bool:
        """Hear what is new; say whether the model has answered the agent's newest process. Blocks."""
        with self._lock:
            while self._read():
                pass
            return self._tally.is_answered

    def finish(self) -> Said | None:
        """Hear all that is left, and sum up. Blocks."""
        with self._lock:
            while self._read():
                pass
            self._tally.take(self._tail.rest)
            return self._tally.said()

    def _read(self) -> int:
        lines, many = self._tail.read(MOST_OF_ONE_BYTES)
        for line in lines:
            self._tally.take(line)
        return many


@define(eq=False)
class Hearing:
    """Implements ``last_words`` of `cco_sidecar.core.agent_lives.AgentHooks`.

    :param log_path: gives the file that has an agent's output.
    :param accept: stores a result, and publishes what follows from it, in a project.
    """

    _runners: Mapping[str, Runner]
    _log_path: Callable[[str], Path]
    _in_thread: InThread
    _accept: Callable[[str, Report], "Deferred[object]"]
    _ears: dict[str, Ear] = field(factory=dict)  # whoever was heard longest ago is the first
    _log = Logger()

    def listen(self, agents: Iterable[Agent]) -> "Deferred[Heard]":
        """Fire with what is known of the work of these agents, who run now, as far as a look may read."""
        speaking = [agent.agent_id for agent in agents if self._speaks(agent)]
        for gone in self._ears.keys() - speaking:
            del self._ears[gone]
        for agent_id in speaking:
            self._ear(agent_id)
        ears = dict(self._ears)
        return self._in_thread(lambda: self._listen(ears)).addCallback(self._heard)

    def _listen(self, ears: Mapping[str, Ear]) -> Heard:
        found: dict[str, Work] = {}
        left, is_behind = MOST_OF_ALL_BYTES, False
        for agent_id, ear in ears.items():
            if left <= 0:
                return Heard(found, is_behind=True)
            try:
                found[agent_id], many = ear.listen()
            except OSError:
                continue  # at its end it is said
            left -= many
            is_behind = is_behind or many == MOST_OF_ONE_BYTES
        return Heard(found, is_behind)

    def _heard(self, heard: Heard) -> Heard:
        for agent_id in heard.work:
            ear = self._ears.pop(agent_id, None)
            if ear is not None:
                self._ears[agent_id] = ear
        return heard

    def last_words(self, agent: Agent) -> "Deferred[LastWords | None] | None":
        """Fire with what an agent said; None when its runner's output says nothing."""
        return Deferred.fromCoroutine(self._hear(agent)) if self._speaks(agent) else None

    def _speaks(self, agent: Agent) -> bool:
        runner = self._runners.get(agent.runner)
        return runner is not None and runner.output == "stream-json"

    def _ear(self, agent_id: str) -> Ear:
        return self._ears.setdefault(agent_id, Ear(Tail(self._log_path(agent_id))))

    def is_answered(self, agent: Agent) -> "Deferred[bool]":
        """Fire with whether the model has answered an agent that runs."""
        return self._in_thread(self._ear(agent.agent_id).is_answered)

    async def _hear(self, agent: Agent) -> LastWords | None:
        ear = self._ear(agent.agent_id)
        try:
            said = await self._in_thread(ear.finish)
        except (OSError, Refusal) as error:
            self._unreadable(agent.agent_id, error)
            return None
        if said is None:
            return None
        if said.text and agent.result_id is None and agent.exit_code == 0 and not agent.is_ending:
            await self._report(agent, said)
        return evolve(said, reason=redact_secrets(said.reason)[0])

    def _unreadable(self, agent_id: str, error: OSError | Refusal) -> None:
        self._log.warn("the output of {id} can't be read: {why}", id=agent_id, why=str(error))

    async def _report(self, agent: Agent, said: Said) -> None:
        """Store the final text as the agent's result: better than none, and said to be that."""
        body = {"status": "success", "summary": redact_secrets(said.text or "")[0], "source": "final_text"}
        result = msgspec.Raw(msgspec.json.encode(body))
        report = Report(agent.agent_id, agent.agent_type, agent.issue_id, "success", result, None)
        try:
            await self._accept(agent.project_id, report)
        except Refusal as why:
            self._log.error("the final text of {id} is not stored: {why}", id=agent.agent_id, why=why.message)
