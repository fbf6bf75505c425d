"""What must last, as records: every keeper of state writes through here and is restored from here."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from cco_sidecar.interfaces import IJournal

Record = tuple[str, object]
"""A kind and a body that msgspec can encode."""


class Keeper(Protocol):
    """A part of the domain whose state lasts; it owns the record kinds it names."""

    kinds: tuple[str, ...]

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Apply one record, as it was written, in the order of writing; ``body`` is its JSON text."""

    def snapshot(self) -> Iterable[Record]:
        """Give records that, restored into a new keeper, make the state as it is now.

        Their bodies are encoded later, and so must not change any more.
        """


class KeyRecord(msgspec.Struct, frozen=True):
    """An Idempotency-Key and the answer it got; written in one record with the effect, so both last or neither."""

    agent_id: str
    route: str
    key: str
    digest: str
    at: float
    status: int
    answer: msgspec.Raw


ENTRY_KIND = "event"
"""The record kind of the log's entries: they lie in the segments where they were written, and in no snapshot."""
KEY_KIND = "key"
"""The record kind of a `KeyRecord` in a snapshot."""


_NO_KEY = msgspec.Raw(b"null")
_ENTRY = b'{"k":"%s",' % ENTRY_KIND.encode()


class _Line(msgspec.Struct):
    k: str
    b: msgspec.Raw
    i: msgspec.Raw = _NO_KEY


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def encode(kind: str, body: object, key: KeyRecord | None = None) -> bytes:
    """Make the JSON text of a record."""
    line = {"k": kind, "b": body}
    if key is not None:
        line["i"] = key
    return _encode(line)


@frozen
class Bodies:
    """Records of one kind: a keeper of very many gives them so, for a pair each takes long to make."""

    kind: str
    bodies: Sequence[object]

    def __len__(self) -> int:
        return len(self.bodies)

    def __iter__(self) -> Iterator[Record]:
        for body in self.bodies:
            yield self.kind, body


@frozen
class Snapshot:
    """The state of one moment; its records are encoded when somebody walks it, for that takes long."""

    _parts: Sequence[Sequence[Record] | Bodies]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            for kind, body in part:
                yield encode(kind, body)


@define(eq=False)
class Ledger:
    """The journal of one project, as its keepers see it."""

    _journal: IJournal
    _keepers: dict[str, Keeper] = field(factory=dict)

    def join(self, keeper: Keeper) -> None:
        """Let ``keeper`` have its records at recovery and write its state into snapshots."""
        for kind in keeper.kinds:
            if kind in self._keepers:
                raise ValueError(f"two keepers want the record kind {kind!r}")
            self._keepers[kind] = keeper

    def record(self, kind: str, body: object, key: KeyRecord | None = None) -> "Deferred[None]":
        """Fire when the record is on disk, and ``key`` with it; raises as `IJournal.append`."""
        return self._journal.append(encode(kind, body, key))

    def note(self, kind: str, body: object) -> None:
        """Write a record that a crash may lose."""
        self._journal.note(encode(kind, body))

    @staticmethod
    def lasts(text: bytes) -> bool:
        """Say whether a record is wanted although a later snapshot has the state: it is an entry of the log."""
        return text.startswith(_ENTRY)

    def restore(self, text: bytes) -> None:
        """Apply one recovered record; kinds of a later version are passed over."""
        line = _decode(text)
        self._restore(line.k, line.b)
        if line.i is not _NO_KEY:
            self._restore(KEY_KIND, line.i)

    def _restore(self, kind: str, body: msgspec.Raw) -> None:
        keeper = self._keepers.get(kind)
        if keeper is not None:
            keeper.restore(kind, body)

    def snapshot(self) -> "Snapshot":
        """Take the state of all keepers as it is now."""
        given = [keeper.snapshot() for keeper in dict.fromkeys(self._keepers.values())]
        return Snapshot([part if isinstance(part, Bodies) else list(part) for part in given])
