"""Hears what agents said of their work, after they ended, and reports for those that did not report themselves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cco_sidecar.backends.agents.claude import Said, is_answered, last_words
from cco_sidecar.backends.agents.runners import Runner
from cco_sidecar.core.agent_rows import Agent, LastWords
from cco_sidecar.core.results import Report
from cco_sidecar.core.secrets.redacting import redact as redact_secrets
from cco_sidecar.errors import Refusal

_T = TypeVar("_T")


class InThread(Protocol):
    """Runs what blocks in a thread."""

    def __call__(self, work: Callable[[], _T], /) -> "Deferred[_T]":
        """Fire with what it gives."""


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
    _log = Logger()

    def last_words(self, agent: Agent) -> "Deferred[LastWords | None] | None":
        """Fire with what an agent said; None when its runner's output says nothing."""
        runner = self._runners.get(agent.runner)
        if runner is None or runner.output != "stream-json":
            return None
        return Deferred.fromCoroutine(self._hear(agent))

    def is_answered(self, agent: Agent) -> "Deferred[bool]":
        """Fire with whether the model has answered an agent that runs."""
        log = self._log_path(agent.agent_id)
        return self._in_thread(lambda: is_answered(log))

    async def _hear(self, agent: Agent) -> LastWords | None:
        log = self._log_path(agent.agent_id)
        try:
            said = await self._in_thread(lambda: last_words(log))
        except (OSError, Refusal) as error:
            self._log.warn("the output of {id} can't be read: {why}", id=agent.agent_id, why=str(error))
            return None
        if said is None:
            return None
        if said.text and agent.result_id is None and agent.exit_code == 0 and not agent.is_ending:
            await self._report(agent, said)
        return evolve(said, reason=redact_secrets(said.reason)[0])

    async def _report(self, agent: Agent, said: Said) -> None:
        """Store the final text as the agent's result: better than none, and said to be that."""
        body = {"status": "success", "summary": redact_secrets(said.text or "")[0], "source": "final_text"}
        result = msgspec.Raw(msgspec.json.encode(body))
        report = Report(agent.agent_id, agent.agent_type, agent.issue_id, "success", result, None)
        try:
            await self._accept(agent.project_id, report)
        except Refusal as why:
            self._log.error("the final text of {id} is not stored: {why}", id=agent.agent_id, why=why.message)
