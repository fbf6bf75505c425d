"""What agents write down for themselves, so that they can go on after a restart, or after they have forgotten."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cco_sidecar.core.ledger import Ledger, Record

MOST_SIZE = 256 * 1024
MOST_CHECKPOINTS = 10_000
MOST_BYTES = 32 * 1024 * 1024
"""How much all checkpoints of a project may take: each segment of the journal begins with all of them."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's checkpoint, JSON text, and when it was written (seconds since the epoch)."""

    agent_id: str
    at: float
    text: msgspec.Raw

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return len(bytes(self.text))


@define(eq=False)
class Checkpoints:
    """The newest checkpoint of each agent of a project; those written longest ago go when there is too much."""

    _clock: IReactorTime
    _ledger: Ledger
    kinds: tuple[str, ...] = ("checkpoint",)
    _kept: "OrderedDict[str, Checkpoint]" = field(factory=OrderedDict)
    _bytes: int = 0

    def write(self, agent_id: str, text: msgspec.Raw) -> "Deferred[Checkpoint]":
        """Fire with the checkpoint when it is on disk, in the place of an older one; raises as `IJournal.append`."""
        checkpoint = Checkpoint(agent_id=agent_id, at=self._clock.seconds(), text=text)
        return self._ledger.record("checkpoint", checkpoint).addCallback(lambda _: self._keep(checkpoint))

    def find(self, agent_id: str) -> Checkpoint | None:
        """Give an agent's checkpoint, if it has one."""
        return self._kept.get(agent_id)

    def _keep(self, checkpoint: Checkpoint) -> Checkpoint:
        before = self._kept.pop(checkpoint.agent_id, None)
        self._bytes += checkpoint.size - (0 if before is None else before.size)
        self._kept[checkpoint.agent_id] = checkpoint
        while len(self._kept) > MOST_CHECKPOINTS or self._bytes > MOST_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].size
        return checkpoint

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a checkpoint."""
        # A copy: what is decoded as Raw would hold the whole segment in memory.
        self._keep(msgspec.json.decode(bytes(body), type=Checkpoint))

    def snapshot(self) -> Iterable[Record]:
        """Give all checkpoints."""
        for checkpoint in self._kept.values():
            yield "checkpoint", checkpoint
