"""What an agent that failed left behind, for the one who tries next: its result's words, the last lines of its log."""

from collections.abc import Callable

import msgspec
from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from cco_sidecar.core.secrets.redacting import redact
from cco_sidecar.core.workflows.judging import Ending
from cco_sidecar.core.workflows.run import Attempt
from cco_sidecar.errors import Refusal
from cco_sidecar.interfaces import IResultStore

_log = Logger()

LINES = 10
MOST_LOG = 2_000
MOST_WORDS = 1_000

ReadLog = Callable[[str, int], "Deferred[bytes]"]
"""Reads the last so many lines of an agent's log."""


class _Words(msgspec.Struct, frozen=True):
    error: object = None
    message: object = None
    summary: object = None


class _Stored(msgspec.Struct, frozen=True):
    result: _Words = _Words()


@define(eq=False)
class Evidence:
    """Looks for it; what cannot be read is left out."""

    _project_id: str
    _store: IResultStore
    _read_log: ReadLog

    def of(self, attempt: Attempt, ending: Ending) -> "Deferred[str]":
        """Fire with it, bounded and without secrets; "" if there is nothing."""
        return Deferred.fromCoroutine(self._of(attempt, ending))

    async def _of(self, attempt: Attempt, ending: Ending) -> str:
        parts = []
        words = await self._words(attempt.result_id or ending.result_id)
        if words:
            parts.append(f"Its result says: {words}")
        lines = await self._lines(ending.agent_id)
        if lines:
            parts.append(f"The last lines of its log:\n{lines}")
        return redact("\n".join(parts))[0]

    async def _words(self, result_id: str | None) -> str:
        if result_id is None:
            return ""
        try:
            body = await self._store.by_id(self._project_id, result_id)
            found = msgspec.json.decode(body, type=_Stored).result
        except (Refusal, msgspec.DecodeError):
            return ""
        said = next((it for it in (found.error, found.message, found.summary) if it), "")
        return (said if isinstance(said, str) else msgspec.json.encode(said).decode())[:MOST_WORDS]

    async def _lines(self, agent_id: str) -> str:
        try:
            text = await self._read_log(agent_id, LINES)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a log that cannot be read must not keep the next one from trying
            _log.failure("the log of {agent} could not be read", agent=agent_id)
            return ""
        return text.decode("utf-8", "replace").strip()[-MOST_LOG:]
