"""The start of a shim, as its sidecar hears it; once the agent runs, the shim has closed its pipes."""

import os
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from cco_sidecar.errors import SpawnFailed
from cco_sidecar.interfaces import Launched, ProcessIdentity

_MOST_WORDS = 4_096
_STAGES = {
    "directory": "its working directory",
    "limit": "its limits",
    "process": "its process",
    "shim": "its supervisor",
}


class ShimStart(ProcessProtocol):
    """The start of a shim; once the agent runs, the shim has closed its pipes and is followed by pidfd."""

    def __init__(self, order: bytes, program: str) -> None:
        self.answer: Deferred[Launched] = Deferred()
        self._order = order
        self._program = program
        self._words = b""
        self._trouble = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"%d\n" % len(self._order))
        self.transport.write(self._order)

    def outReceived(self, data: bytes) -> None:
        self._words = (self._words + data)[-_MOST_WORDS:]
        *lines, self._words = self._words.split(b"\n")
        for line in lines:
            self._heard(line.decode("ascii", "replace").split())

    def errReceived(self, data: bytes) -> None:
        self._trouble = (self._trouble + data)[-_MOST_WORDS:]

    def processEnded(self, reason: Failure) -> None:
        last = self._trouble.decode("utf-8", "replace").strip().rpartition("\n")[2]
        self._fail(last or f"its supervisor ended: {reason.getErrorMessage()}")

    def _heard(self, words: Sequence[str]) -> None:
        if words[:1] == ["ready"] and self.transport is not None:
            self.transport.write(b"go\n")
        elif words[:1] == ["failed"]:
            self._fail(self._reason(words[1], int(words[2])))
        elif words[:1] == ["started"] and not self.answer.called:
            agent, agent_start, watcher, watcher_start = map(int, words[1:5])
            boot = words[5]
            self.answer.callback(
                Launched(ProcessIdentity(boot, agent, agent_start), ProcessIdentity(boot, watcher, watcher_start))
            )

    def _reason(self, stage: str, number: int) -> str:
        return f"{_STAGES.get(stage, self._program)}: {os.strerror(number)}"

    def _fail(self, why: str) -> None:
        if not self.answer.called:
            self.answer.errback(refusal(why))


def refusal(why: str) -> SpawnFailed:
    """Say why an agent was not started."""
    return SpawnFailed(f"The agent could not be started: {why}.", reason=why)
